//! An event as the matcher takes it: its attributes, and its data where they stand in the record.
//!
//! [`Decoder::decode`] stays the authority. What is read here is the usual JSON envelope of a source that says nothing else of
//! it; whatever is out of the ordinary, and whatever is wrong, is left to it.

use std::borrow::Cow;

use super::{
    Decoded, Decoder, MAX_EVENT_BYTES, Unread,
    attributes::{Attributes, event_type},
    framing::{Frame, Headers, recognise},
    source::JSON,
    tape::{Tape, View},
};
use crate::domain::{Event, Record, Timestamp};

/// An event as the matcher takes it.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    pub decoded: Decoded,
    /// The data where it stands in the record. `None` if it had to be taken out: then it is the event's.
    pub data: Option<View<'a>>,
}

/// An envelope in which everything is as it should be.
struct Envelope<'a> {
    attributes: Attributes<'a>,
    event_type: Cow<'a, str>,
    data: View<'a>,
}

// === impl Decoder ===

impl Decoder {
    /// The same as [`Decoder::decode`], without taking the data out of the record where that can be helped.
    pub fn read<'a>(&self, record: &'a Record, tape: &'a mut Tape) -> Result<Read<'a>, Unread> {
        match self.usual_envelope(record, tape) {
            Some(read) => Ok(read),
            None => Ok(Read { decoded: self.decode(record)?, data: None }),
        }
    }

    fn usual_envelope<'a>(&self, record: &'a Record, tape: &'a mut Tape) -> Option<Read<'a>> {
        let value = record.value.as_deref().filter(|value| value.len() <= MAX_EVENT_BYTES)?;
        let source = Some(self.source(&record.topic)).filter(|source| source.is_usual())?;
        let headers = Headers::of(record).ok().filter(|headers| !headers.is_binary())?;
        let Frame::Json(text) = recognise(value, &headers, source.format).ok()? else { return None };
        let Envelope { attributes, event_type: name, data } = Envelope::of(tape.read_json(text).ok()?)?;
        let known = self.types.key(source, &name);
        let event_type = known.map_or_else(|| event_type(&name).ok(), Some)?;
        let event = attributes.event(source, record, event_type).ok()?;
        Some(Read { decoded: Decoded { event, codec: JSON.into() }, data: Some(data) })
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
