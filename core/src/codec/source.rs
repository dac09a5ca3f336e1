//! A record of an events topic → an event.
//!
//! The first byte says the format: `{` (or JSON white space) is JSON, 0x00 is Avro with Confluent framing. JSON is
//! either a CloudEvent in structured mode (it has `specversion`) or the plain envelope
//! `{"team", "type", "id"?, "source"?, "time"?, "subject"?, "data"?}`; their attributes have the same names, so that
//! one code reads both. Avro carries the event's data alone: its type comes from the schema id, the other attributes
//! from the headers `ce_team`, `ce_id`, `ce_source`, `ce_time` and `ce_subject` of CloudEvents' binary mode.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::{
    Poison, Reason, avro, json,
    tape::{Tape, View},
};
use crate::{
    catalog::{Catalog, Shape},
    domain::{Delivery, Event, Record, TeamId, Timestamp},
};

/// Reads source records. Built once per configuration; shared by all matchers and senders.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Says which type is meant by a name: see [`Catalog::key_of`].
    catalog: Arc<Catalog>,
    /// By Confluent schema id.
    schemas: HashMap<u32, Schema>,
    default_team: Option<TeamId>,
}

/// An event, and the format it was in.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub event: Event,
    /// Goes into [`Delivery::codec`], so that [`Decoder::again`] finds the way back.
    pub codec: &'static str,
}

/// An event as the matcher takes it.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    pub decoded: Decoded,
    /// The data where it stands in the record. `None` if it had to be taken out: then it is the event's.
    pub data: Option<View<'a>>,
}

/// JSON: CloudEvents structured mode or the plain envelope.
pub const JSON: &str = "json";
/// Avro with Confluent framing: 0x00, schema id as 32 bits big-endian, datum.
pub const CONFLUENT_AVRO: &str = "confluent_avro";

/// The largest event, in bytes: with its envelope it fits a delivery and a dead letter of 2 MiB.
pub const MAX_EVENT_BYTES: usize = 768 * 1024;
/// The longest event id, in bytes.
pub const MAX_ID: usize = 256;
/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 512;
/// The longest event type, in bytes; of `A-Z a-z 0-9 . _ -`.
pub const MAX_TYPE: usize = 256;
/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 1024;

/// What an error shows of a value that it refuses, in bytes.
const SHOWN: usize = 64;

#[derive(Clone, Debug)]
struct Schema {
    event_type: Arc<str>,
    shape: Arc<Shape>,
}

/// The attributes of an event as they came.
#[derive(Default)]
struct Attributes<'a> {
    team: Option<&'a str>,
    id: Option<&'a str>,
    source: Option<&'a str>,
    time: Option<&'a str>,
    subject: Option<&'a str>,
}

/// What the first byte says.
enum Format {
    Json,
    Confluent,
}

// === impl Decoder ===

impl Decoder {
    /// `schema_ids` gives the catalog key of each Confluent schema id; `default_team` is for records that name none.
    pub fn new(
        catalog: Arc<Catalog>,
        schema_ids: BTreeMap<u32, String>,
        default_team: Option<TeamId>,
    ) -> Result<Decoder, String> {
        let schema = |(id, key): (u32, String)| match catalog.resolve(&key) {
            Some(known) => Ok((id, Schema { event_type: known.key.as_str().into(), shape: known.shape.clone() })),
            None => Err(format!("schema id {id} is mapped to {key:?}, which the catalog does not know")),
        };
        let schemas = schema_ids.into_iter().map(schema).collect::<Result<_, _>>()?;
        Ok(Decoder { catalog, schemas, default_team })
    }

    /// Reads the event of a record. Tombstones are the caller's to skip.
    pub fn decode(&self, record: &Record) -> Result<Decoded, Poison> {
        let value = record.value.as_deref().unwrap_or_default();
        match format(value)? {
            Format::Json => {
                let envelope = envelope(value)?;
                let attributes = Attributes::of_envelope(&envelope)?;
                let event_type = match attribute(&envelope, "type")? {
                    Some(text) => self.event_type(text)?,
                    None => return Err(bad_field("type", "is missing")),
                };
                let event = self.event(record, attributes, event_type)?;
                Ok(Decoded { event: Event { data: data(envelope)?, ..event }, codec: JSON })
            }
            Format::Confluent => {
                let (schema, datum) = self.frame(value)?;
                let event = self.event(record, Attributes::of_headers(record), schema.event_type.clone())?;
                Ok(Decoded { event: Event { data: datum_data(schema, datum)?, ..event }, codec: CONFLUENT_AVRO })
            }
        }
    }

    /// The same without taking the data out, where that is possible: which it is for all but unusual JSON.
    pub fn read<'a>(&self, record: &'a Record, tape: &'a mut Tape) -> Result<Read<'a>, Poison> {
        let value = record.value.as_deref().unwrap_or_default();
        if let Ok(Format::Json) = format(value)
            && let Ok(document) = tape.read_json(value)
            && let Some(envelope) = Envelope::of(document)
        {
            let event = self.event(record, envelope.attributes, self.event_type(envelope.event_type)?)?;
            return Ok(Read { decoded: Decoded { event, codec: JSON }, data: Some(envelope.data) });
        }
        Ok(Read { decoded: self.decode(record)?, data: None })
    }

    /// The event behind a delivery: attributes from the delivery, data from the untouched bytes.
    pub fn again(&self, delivery: &Delivery) -> Result<Event, Poison> {
        let data = match delivery.codec.as_ref() {
            JSON => data(envelope(&delivery.event)?)?,
            CONFLUENT_AVRO => {
                let (schema, datum) = self.frame(&delivery.event)?;
                datum_data(schema, datum)?
            }
            other => return Err(Poison::new(Reason::BadFrame, format!("{other:?} is no format"))),
        };
        Ok(Event {
            team: delivery.team.clone(),
            id: delivery.event_id.clone(),
            source: delivery.event_source.clone(),
            event_type: delivery.event_type.clone(),
            time: delivery.event_time,
            subject: delivery.event_subject.clone(),
            data,
        })
    }

    /// The key of the type that is meant, whatever name it came under. A name of the catalog is well formed, and its key
    /// is shared.
    fn event_type(&self, text: &str) -> Result<Arc<str>, Poison> {
        self.catalog.key_of(text).cloned().map_or_else(|| event_type(text), Ok)
    }

    fn frame<'v>(&self, value: &'v [u8]) -> Result<(&Schema, &'v [u8]), Poison> {
        let Some(([0, id @ ..], datum)) = value.split_first_chunk::<5>() else {
            let detail = format!("{} bytes; the Confluent framing takes 5", value.len());
            return Err(Poison::new(Reason::BadFrame, detail));
        };
        let id = u32::from_be_bytes(*id);
        let schema = self.schemas.get(&id);
        let unknown = || Poison::new(Reason::UnknownSchema, format!("schema id {id} is not mapped to an event type"));
        Ok((schema.ok_or_else(unknown)?, datum))
    }

    /// Checks the attributes and fills in what is missing; the data comes later.
    fn event(&self, record: &Record, found: Attributes<'_>, event_type: Arc<str>) -> Result<Event, Poison> {
        let team = match found.team {
            Some(text) => TeamId::new(text).map_err(|e| bad_field("team", &e.to_string()))?,
            None => self
                .default_team
                .clone()
                .ok_or_else(|| Poison::new(Reason::NoTeam, "the event names no team, and its source has no default"))?,
        };
        let id = match found.id {
            Some(text) => bounded("id", text, MAX_ID)?,
            None => record.position().to_string().into(),
        };
        let source = match found.source {
            Some(text) => bounded("source", text, MAX_SOURCE)?,
            None => record.topic.clone(),
        };
        let time = found.time.map(|text| {
            let wrong = || bad_field("time", &format!("found {}; RFC 3339 is wanted", shown(text)));
            Timestamp::parse(text).ok_or_else(wrong)
        });
        let subject = found.subject.map(|text| bounded("subject", text, MAX_SUBJECT));
        Ok(Event {
            team,
            id,
            source,
            event_type,
            time: time.transpose()?,
            subject: subject.transpose()?,
            data: Value::Null,
        })
    }
}

fn format(value: &[u8]) -> Result<Format, Poison> {
    if value.len() > MAX_EVENT_BYTES {
        let detail = format!("{} bytes; at most {MAX_EVENT_BYTES} are read", value.len());
        return Err(Poison::new(Reason::TooLarge, detail));
    }
    match value.first() {
        Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Ok(Format::Json),
        Some(0) => Ok(Format::Confluent),
        Some(byte) => Err(Poison::new(Reason::BadFrame, format!("no format begins with the byte 0x{byte:02x}"))),
        None => Err(Poison::new(Reason::BadFrame, "the value is empty")),
    }
}

fn envelope(value: &[u8]) -> Result<Map<String, Value>, Poison> {
    let envelope = match json::parse(value)? {
        Value::Object(envelope) => envelope,
        other => return Err(bad_field("the event", &format!("found {}; an object is wanted", shown(&other)))),
    };
    match attribute(&envelope, "specversion")? {
        None | Some("1.0") => Ok(envelope),
        Some(other) => Err(bad_field("specversion", &format!("found {}; 1.0 is read", shown(other)))),
    }
}

/// `null` counts as absent.
fn attribute<'a>(envelope: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Poison> {
    match envelope.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(bad_field(name, &format!("found {}; text is wanted", shown(other)))),
    }
}

fn data(mut envelope: Map<String, Value>) -> Result<Value, Poison> {
    if let Some(encoded) = attribute(&envelope, "data_base64")? {
        let wrong = |e: base64::DecodeError| bad_field("data_base64", &e.to_string());
        envelope.insert("data".to_owned(), json::parse(&BASE64_STANDARD.decode(encoded).map_err(wrong)?)?);
    }
    match envelope.swap_remove("data") {
        Some(data @ Value::Object(_)) => Ok(data),
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(other) => Err(bad_field("data", &format!("found {}; an object is wanted", shown(&other)))),
    }
}

fn datum_data(schema: &Schema, datum: &[u8]) -> Result<Value, Poison> {
    avro::decode(&schema.shape, datum).map_err(|e| {
        let reason = if e == avro::Malformed::TooMany { Reason::TooLarge } else { Reason::Decode };
        Poison::new(reason, format!("{}: {e}", schema.event_type))
    })
}

fn event_type(text: &str) -> Result<Arc<str>, Poison> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(bad_field("type", &format!("found {c:?}; A-Z a-z 0-9 . _ - are allowed"))),
        None => bounded("type", text, MAX_TYPE),
    }
}

/// NUL is refused because PostgreSQL's text cannot hold it.
fn bounded(name: &str, text: &str, max: usize) -> Result<Arc<str>, Poison> {
    if text.is_empty() || text.len() > max {
        return Err(bad_field(name, &format!("found {} bytes; 1 to {max} are allowed", text.len())));
    }
    if text.contains('\0') {
        return Err(bad_field(name, "found a NUL character"));
    }
    Ok(text.into())
}

fn bad_field(name: &str, reason: &str) -> Poison {
    Poison::new(Reason::BadField, format!("{name}: {reason}"))
}

/// The beginning of a value, quoted.
fn shown(value: impl ToString) -> String {
    let text = value.to_string();
    format!("{:?}", &text[..text.floor_char_boundary(SHOWN)])
}

/// An envelope in which everything is as it should be.
struct Envelope<'a> {
    attributes: Attributes<'a>,
    event_type: &'a str,
    data: View<'a>,
}

// === impl Envelope ===

impl<'a> Envelope<'a> {
    /// `None` for whatever deserves a closer look: [`Decoder::decode`] knows what to say of it.
    fn of(document: View<'a>) -> Option<Envelope<'a>> {
        let mut attributes = Attributes::default();
        let (mut event_type, mut data) = (None, None);
        for (name, value) in document.members()? {
            let place = match name {
                "team" => &mut attributes.team,
                "id" => &mut attributes.id,
                "source" => &mut attributes.source,
                "time" => &mut attributes.time,
                "subject" => &mut attributes.subject,
                "type" => &mut event_type,
                "data" => {
                    value.members()?;
                    data = Some(value);
                    continue;
                }
                "specversion" if value.as_str() != Some("1.0") => return None,
                "data_base64" => return None,
                _ => continue,
            };
            *place = if value.is_null() { None } else { Some(value.as_str()?) };
        }
        Some(Envelope { attributes, event_type: event_type?, data: data? })
    }
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    fn of_envelope(envelope: &'a Map<String, Value>) -> Result<Attributes<'a>, Poison> {
        Ok(Attributes {
            team: attribute(envelope, "team")?,
            id: attribute(envelope, "id")?,
            source: attribute(envelope, "source")?,
            time: attribute(envelope, "time")?,
            subject: attribute(envelope, "subject")?,
        })
    }

    /// One pass, since a record may have thousands of headers. Of a repeated header the last counts; one that is not
    /// UTF-8 counts as absent.
    fn of_headers(record: &'a Record) -> Attributes<'a> {
        let mut found = Attributes::default();
        for (name, value) in &record.headers {
            let place = match name.as_str() {
                "ce_team" => &mut found.team,
                "ce_id" => &mut found.id,
                "ce_source" => &mut found.source,
                "ce_time" => &mut found.time,
                "ce_subject" => &mut found.subject,
                _ => continue,
            };
            *place = std::str::from_utf8(value).ok();
        }
        found
    }
}
