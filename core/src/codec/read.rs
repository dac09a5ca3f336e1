//! An event as the matcher takes it: its attributes, and its data where they stand in the record.
//!
//! [`Decoder::decode`] stays the authority. What is read here are the usual JSON envelope and Avro of the catalog's own schemas,
//! of a source that says nothing else of them; whatever is out of the ordinary, and whatever is wrong, is left to it.

use std::{borrow::Cow, sync::Arc};

use serde_json::Value;

use super::{
    Decoded, Decoder, MAX_EVENT_BYTES, Unread,
    attributes::{Attributes, Usual, event_type},
    framing::{Frame, Headers, IdPlace, recognise},
    mapping::Source,
    source::{AVRO_OBJECT, CONFLUENT_AVRO, JSON},
    tape::{Tape, View},
    types::Schema,
};
use crate::{
    catalog::Shape,
    domain::{Event, Record, Timestamp},
};

/// An event as the matcher takes it.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    pub decoded: Decoded,
    /// The data where it stands in the record. `None` if it had to be taken out: then it is the event's.
    pub data: Option<View<'a>>,
}

/// An event in Avro of which nothing was read but its attributes: for who takes the fields he needs out of the data himself.
#[derive(Clone, Debug)]
pub struct Undecoded<'a> {
    /// Its event has no data.
    pub decoded: Decoded,
    /// Of a schema of the catalog's.
    pub shape: &'a Arc<Shape>,
    /// What should be data of that shape. Nobody has looked.
    pub datum: &'a [u8],
}

/// An envelope in which everything is as it should be.
struct Envelope<'a> {
    attributes: Attributes<'a>,
    event_type: Cow<'a, str>,
    data: View<'a>,
}

/// As no frame of Avro does.
fn begins_like_json(value: &[u8]) -> bool {
    matches!(value, [b'{' | b' ' | b'\t' | b'\r' | b'\n', ..])
}

// === impl Decoder ===

impl Decoder {
    /// The same as [`Decoder::decode`], without taking the data out of the record where that can be helped.
    pub fn read<'a>(&self, record: &'a Record, tape: &'a mut Tape) -> Result<Read<'a>, Unread> {
        match self.usual(record, tape) {
            Some(read) => Ok(read),
            None => Ok(Read { decoded: self.decode(record)?, data: None }),
        }
    }

    fn usual<'a>(&self, record: &'a Record, tape: &'a mut Tape) -> Option<Read<'a>> {
        let (source, headers, frame) = self.framed(record)?;
        match frame {
            Frame::Json(text) if !headers.is_binary() => self.envelope(record, source, tape.read_json(text).ok()?),
            frame => {
                let (known, codec, datum) = self.avro(frame)?;
                let data = tape.read_avro(&known.shape, datum).ok()?;
                data.members()?;
                let decoded = self.named_by(record, source, &headers, known, codec)?;
                Some(Read { decoded, data: Some(data) })
            }
        }
    }

    /// The same as [`Decoder::read`] for an event in Avro, its data left unread; `None` for everything else. Who then finds the data
    /// to be what their shape says has what [`Decoder::decode`] would have given, and who does not must ask that.
    pub fn undecoded<'a>(&'a self, record: &'a Record) -> Option<Undecoded<'a>> {
        record.value.as_deref().filter(|value| !begins_like_json(value))?;
        let (source, headers, frame) = self.framed(record)?;
        let (known, codec, datum) = self.avro(frame)?;
        let Shape::Record(_) = *known.shape else { return None };
        let decoded = self.named_by(record, source, &headers, known, codec)?;
        Some(Undecoded { decoded, shape: &known.shape, datum })
    }

    /// The text of what should be an event in the usual envelope of JSON, and how it is read; `None` for everything else. Nobody has looked
    /// at the text.
    pub fn enveloped<'a>(&'a self, record: &'a Record) -> Option<(&'a Source, &'a [u8])> {
        record.value.as_deref().filter(|value| begins_like_json(value))?;
        match self.framed(record)? {
            (source, headers, Frame::Json(text)) if !headers.is_binary() => Some((source, text)),
            _ => None,
        }
    }

    /// What the record of a usual source is.
    fn framed<'s, 'a>(&'s self, record: &'a Record) -> Option<(&'s Source, Headers<'a>, Frame<'a>)> {
        let value = record.value.as_deref().filter(|value| value.len() <= MAX_EVENT_BYTES)?;
        let source = Some(self.source(&record.topic)).filter(|source| source.is_usual())?;
        let headers = Headers::of(record).ok()?;
        let frame = recognise(value, &headers, source.format).ok()?;
        Some((source, headers, frame))
    }

    /// The event that has these attributes, without its data. `None`: [`Decoder::decode`] knows why.
    pub fn attributed(
        &self,
        record: &Record,
        source: &Source,
        attributes: Attributes<'_>,
        event_type: Arc<str>,
    ) -> Option<Decoded> {
        let event = attributes.event(source, record, event_type).ok()?;
        Some(Decoded { event, codec: JSON.into() })
    }

    /// Avro of a schema of the catalog's own: the schema, what the codec is called, and the data.
    fn avro<'a>(&self, frame: Frame<'a>) -> Option<(&Schema, &'static str, &'a [u8])> {
        match frame {
            Frame::Registered { schema, place: IdPlace::Value, payload } => {
                Some((self.mapped_schema(&schema)?, CONFLUENT_AVRO, payload))
            }
            Frame::SingleObject { fingerprint, datum } => Some((self.object(&fingerprint)?, AVRO_OBJECT, datum)),
            _ => None,
        }
    }

    /// Everything is in the value.
    fn envelope<'a>(&self, record: &'a Record, source: &Source, document: View<'a>) -> Option<Read<'a>> {
        let Envelope { attributes, event_type, data } = Envelope::of(document)?;
        let event_type = self.named(source, &event_type)?;
        let decoded = self.attributed(record, source, attributes, event_type)?;
        Some(Read { decoded, data: Some(data) })
    }

    /// The value is the data alone, of a schema of the catalog's: headers and the source say the rest.
    fn named_by(
        &self,
        record: &Record,
        source: &Source,
        headers: &Headers<'_>,
        known: &Schema,
        codec: &'static str,
    ) -> Option<Decoded> {
        let attributes = Attributes::find(source, Usual::Headers(headers), record, &Value::Null).ok()?;
        let event_type = match attributes.event_type.as_deref() {
            Some(name) => self.named(source, name)?,
            None => known.event_type.clone(),
        };
        let event = attributes.event(source, record, event_type).ok()?;
        Some(Decoded { event, codec: codec.into() })
    }

    /// The type that a producer of this source means by a name; `None` if no type may be called so.
    pub fn named(&self, source: &Source, name: &str) -> Option<Arc<str>> {
        self.types.key(source, name).map_or_else(|| event_type(name).ok(), Some)
    }
}

// === impl Read ===

impl Read<'_> {
    /// The event with its data taken out, as [`Decoder::decode`] gives it.
    pub fn whole(self) -> Decoded {
        let Read { decoded: Decoded { event, codec }, data } = self;
        let data = data.map_or_else(|| event.data.clone(), View::to_value);
        Decoded { event: Event { data, ..event }, codec }
    }
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// `None` for whatever deserves a closer look.
    fn of(document: View<'a>) -> Option<Envelope<'a>> {
        let mut attributes = Attributes::default();
        let (mut event_type, mut time, mut data): (_, Option<Cow<'_, str>>, _) = (None, None, None);
        for (name, value) in document.members()? {
            let place = match name {
                "type" => &mut event_type,
                "time" => &mut time,
                "team" => &mut attributes.team,
                "id" => &mut attributes.id,
                "source" => &mut attributes.source,
                "subject" => &mut attributes.subject,
                "data" => {
                    value.members()?;
                    data = Some(value);
                    continue;
                }
                "specversion" if value.as_str() != Some("1.0") => return None,
                "data_base64" => return None,
                _ => continue,
            };
            *place = if value.is_null() { None } else { Some(value.as_str()?.into()) };
        }
        attributes.time = match time {
            Some(text) => Some(Timestamp::parse(&text)?),
            None => None,
        };
        Some(Envelope { attributes, event_type: event_type?, data: data? })
    }
}
