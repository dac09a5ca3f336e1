//! The attributes of an event, found where its producer puts them, and their bounds.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Poison, Reason, bad_field,
    framing::Headers,
    mapping::{Place, Source, time},
    shown,
};
use crate::domain::{Event, Record, TeamId, Timestamp};

/// The longest event id, in bytes.
pub const MAX_ID: usize = 256;
/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 512;
/// The longest event type, in bytes; of `A-Z a-z 0-9 . _ -`.
pub const MAX_TYPE: usize = 256;
/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 1024;

/// The attributes as they came. Texts from a [`Place`] are copied, the usual ones are not.
#[derive(Debug, Default)]
pub struct Attributes<'a> {
    pub event_type: Option<Cow<'a, str>>,
    pub team: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    pub source: Option<Cow<'a, str>>,
    pub subject: Option<Cow<'a, str>>,
    pub time: Option<Timestamp>,
}

/// Where attributes are that the source says nothing of.
#[derive(Clone, Copy, Debug)]
pub enum Usual<'a> {
    /// A CloudEvent in structured mode, or Tidings' own envelope.
    Envelope(&'a Map<String, Value>),
    /// The value is data alone: headers by the names of CloudEvents' binary mode.
    Headers(&'a Headers<'a>),
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    pub fn find(
        source: &Source,
        usual: Usual<'a>,
        record: &'a Record,
        value: &Value,
    ) -> Result<Attributes<'a>, Poison> {
        let find = |name: &'static str, place: &Option<Place>| match place {
            Some(place) => Ok(place.find(name, record, value)?.map(Cow::Owned)),
            None => Ok::<_, Poison>(usual.attribute(name)?.map(Cow::Borrowed)),
        };
        let found_time = find("time", &source.time)?.map(|text| {
            let wrong = |wanted: &str| bad_field("time", &format!("found {}; {wanted} is wanted", shown(&*text)));
            match source.time {
                Some(_) => time(&text).ok_or_else(|| wrong("RFC 3339, or a number since 1970,")),
                None => Timestamp::parse(&text).ok_or_else(|| wrong("RFC 3339")),
            }
        });
        Ok(Attributes {
            event_type: find("type", &source.event_type)?,
            team: find("team", &source.team)?,
            id: find("id", &source.id)?,
            source: find("source", &source.source)?,
            subject: find("subject", &source.subject)?,
            time: found_time.transpose()?,
        })
    }

    /// Checks the attributes and fills in what is missing; the data comes later.
    pub fn event(self, source: &Source, record: &Record, event_type: Arc<str>) -> Result<Event, Poison> {
        let team = match self.team {
            Some(text) => TeamId::new(&text).map_err(|e| bad_field("team", &e.to_string()))?,
            None => source
                .default_team
                .clone()
                .ok_or_else(|| Poison::new(Reason::NoTeam, "the event names no team, and its source has no default"))?,
        };
        let id = match self.id {
            Some(text) => bounded("id", &text, MAX_ID)?,
            None => record.position().to_string().into(),
        };
        let event_source = match self.source {
            Some(text) => bounded("source", &text, MAX_SOURCE)?,
            None => record.topic.clone(),
        };
        let subject = self.subject.map(|text| bounded("subject", &text, MAX_SUBJECT)).transpose()?;
        Ok(Event { team, id, source: event_source, event_type, time: self.time, subject, data: Value::Null })
    }
}

// === impl Usual ===

impl<'a> Usual<'a> {
    fn attribute(&self, name: &str) -> Result<Option<&'a str>, Poison> {
        match self {
            Usual::Envelope(envelope) => attribute(envelope, name),
            Usual::Headers(headers) => Ok(match name {
                "team" => headers.team,
                "id" => headers.id,
                "source" => headers.source,
                "time" => headers.time,
                "subject" => headers.subject,
                // Anybody may set such a header; only where the record is a CloudEvent does it say more than the schema.
                "type" => headers.event_type.filter(|_| headers.is_binary()),
                _ => None,
            }),
        }
    }
}

/// `null` counts as absent.
pub fn attribute<'a>(envelope: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Poison> {
    match envelope.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(bad_field(name, &format!("found {}; text is wanted", shown(other)))),
    }
}

/// A type that the catalog does not know, checked.
pub fn event_type(text: &str) -> Result<Arc<str>, Poison> {
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
