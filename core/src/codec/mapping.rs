//! How one kind of producer is read: a source of the configuration.
//!
//! What is not said is looked for where a CloudEvent or Tidings' own envelope has it, so that those need no source at all.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde_json::Value;

use super::{Poison, bad_field, shown};
use crate::domain::{Record, TeamId, Timestamp};

/// One `[[source]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub topic: TopicPattern,
    pub format: Format,
    /// For [`Format::Avro`]: the name of the earlier schema that values are written with.
    pub schema: Option<String>,
    pub event_type: Option<Place>,
    pub id: Option<Place>,
    pub source: Option<Place>,
    pub team: Option<Place>,
    pub time: Option<Place>,
    pub subject: Option<Place>,
    /// Where in the value the data is; the empty pointer is the whole value.
    pub data: Option<Pointer>,
    /// What the producer calls a type → its key in the catalog.
    pub types: BTreeMap<String, String>,
    /// For records that name none.
    pub default_team: Option<TeamId>,
}

/// How the values of a source are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As each record says by itself.
    Auto,
    Json,
    /// A registry's framing, in the value or in headers: Avro or JSON.
    Confluent,
    AvroObject,
    /// Avro without any framing, of the schema that the source names, or else the catalog has for the record's type.
    Avro,
}

/// Where an attribute comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// `/meta/id`: in the value.
    Pointer(Pointer),
    /// `header:x-team`
    Header(String),
    /// `constant:acme`
    Constant(String),
    /// `key`: the record's key, as text.
    Key,
}

/// A JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

/// A topic's name, or a pattern in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern(Arc<str>);

/// Every format by its name in the configuration.
pub const FORMATS: [(&str, Format); 5] = [
    ("auto", Format::Auto),
    ("json", Format::Json),
    ("confluent", Format::Confluent),
    ("avro_object", Format::AvroObject),
    ("avro", Format::Avro),
];

/// The longest place, in bytes: pointers travel in deliveries.
pub const MAX_PLACE: usize = 256;
/// The most steps of a pointer; values are no deeper than [`super::json::MAX_DEPTH`].
pub const MAX_STEPS: usize = 32;
/// The longest name of a Kafka topic.
const MAX_TOPIC: usize = 249;

/// What a place may be, for complaints.
pub const PLACES: &str = "/json/pointer, header:NAME, constant:TEXT or key, up to 256 bytes";

// === impl Source ===

impl Source {
    /// Everything where CloudEvents and Tidings' envelope have it.
    pub fn usual(topic: TopicPattern) -> Source {
        Source {
            topic,
            format: Format::Auto,
            schema: None,
            event_type: None,
            id: None,
            source: None,
            team: None,
            time: None,
            subject: None,
            data: None,
            types: BTreeMap::new(),
            default_team: None,
        }
    }
}

impl Source {
    /// Whether it says nothing but which topic, which team, and what types are called.
    pub fn is_usual(&self) -> bool {
        let Source { format, event_type, id, source, team, time, subject, data, .. } = self;
        let places = [event_type, id, source, team, time, subject];
        matches!(format, Format::Auto | Format::Json) && data.is_none() && places.iter().all(|place| place.is_none())
    }
}

// === impl Place ===

impl Place {
    /// The text that stands there; `null` and nothing are the same. `value` is what the record's value says, in JSON.
    pub fn find(&self, name: &str, record: &Record, value: &Value) -> Result<Option<String>, Poison> {
        match self {
            Place::Constant(text) => Ok(Some(text.clone())),
            Place::Header(header) => Ok(record.header(header).map(str::to_owned)),
            Place::Key => Ok(record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned)),
            Place::Pointer(pointer) => match pointer.at(value) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(Value::Number(number)) => Ok(Some(number.to_string())),
                Some(other) => {
                    let found = format!("found {} at {pointer}; text or a number is wanted", shown(other));
                    Err(bad_field(name, &found))
                }
            },
        }
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        if text.len() > MAX_PLACE {
            return Err(PLACES);
        }
        if text == "key" {
            return Ok(Place::Key);
        }
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Place::Header(name.to_owned())),
            Some(("constant", text)) if !text.is_empty() => Ok(Place::Constant(text.to_owned())),
            _ if text.starts_with('/') => text.parse().map(Place::Pointer).map_err(|_| PLACES),
            _ => Err(PLACES),
        }
    }
}

// === impl Pointer ===

impl Pointer {
    pub fn whole() -> Pointer {
        Pointer { text: String::new(), steps: Vec::new() }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn at<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(value, |value, step| match value {
            Value::Object(object) => object.get(step),
            Value::Array(items) => items.get(index(step)?),
            _ => None,
        })
    }

    /// The same, out of the value.
    pub fn take(&self, value: Value) -> Option<Value> {
        self.steps.iter().try_fold(value, |value, step| match value {
            Value::Object(mut object) => object.swap_remove(step),
            Value::Array(mut items) => {
                let at = index(step)?;
                (at < items.len()).then(|| items.swap_remove(at))
            }
            _ => None,
        })
    }
}

fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| plain)
}

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pointer, &'static str> {
        const ALLOWED: &str = "a JSON pointer such as /payload/data, up to 256 bytes and 32 steps";
        if text.is_empty() {
            return Ok(Pointer::whole());
        }
        let rest = text.strip_prefix('/').filter(|_| text.len() <= MAX_PLACE).ok_or(ALLOWED)?;
        let unescaped = |step: &str| {
            let mut escapes = step.split('~').skip(1);
            escapes.all(|after| after.starts_with(['0', '1'])).then(|| step.replace("~1", "/").replace("~0", "~"))
        };
        let steps: Vec<String> = rest.split('/').map(unescaped).collect::<Option<_>>().ok_or(ALLOWED)?;
        if steps.len() > MAX_STEPS {
            return Err(ALLOWED);
        }
        Ok(Pointer { text: text.to_owned(), steps })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl TopicPattern ===

impl TopicPattern {
    pub fn is_pattern(&self) -> bool {
        self.0.contains('*')
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every topic begins with that it means, and whether it means every topic that begins so.
    pub fn beginning(&self) -> (&str, bool) {
        let (first, rest) = self.0.split_once('*').unwrap_or((&self.0, "no pattern"));
        (first, rest.is_empty())
    }

    pub fn matches(&self, topic: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return *self.0 == *topic };
        let Some(mut topic) = topic.strip_prefix(first) else { return false };
        // Each part at its first place leaves the most for those after it; the last one must end the name.
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            match topic.find(part) {
                Some(at) => topic = &topic[at + part.len()..],
                None => return false,
            }
        }
        topic.ends_with(last)
    }
}

impl FromStr for TopicPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TopicPattern, &'static str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
        match (1..=MAX_TOPIC).contains(&text.len()) && text.chars().all(allowed) {
            true => Ok(TopicPattern(text.into())),
            false => Err("1 to 249 of A-Z a-z 0-9 . _ - and * for any of them"),
        }
    }
}

/// A time as producers write it: RFC 3339, or a number since 1970 in seconds, milli-, micro- or nanoseconds.
///
/// The unit of a number is told by its size. Each is right from 1973 to 5138.
pub fn time(text: &str) -> Option<Timestamp> {
    const SECONDS_END: i64 = 100_000_000_000;
    let number = match text.split_once('.') {
        // A fraction is one of a second: Python's `time.time()`.
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            let seconds: i64 = whole.parse().ok().filter(|n: &i64| n.unsigned_abs() < SECONDS_END as u64)?;
            let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
            return Some(Timestamp(seconds * 1000 + if whole.starts_with('-') { -ms } else { ms }));
        }
        _ => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return Timestamp::parse(text),
        },
    };
    let size = number.unsigned_abs() as i128;
    let end = i128::from(SECONDS_END);
    Some(Timestamp(match () {
        _ if size < end => number * 1000,
        _ if size < end * 1_000 => number,
        _ if size < end * 1_000_000 => number.div_euclid(1_000),
        _ => number.div_euclid(1_000_000),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_find_what_rfc_6901_says() {
        let value = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "o": {"p": null}});
        let check = |text: &str, expected: Option<Value>| {
            let pointer: Pointer = text.parse().unwrap();
            assert_eq!(pointer.at(&value).cloned(), expected, "{text}");
            assert_eq!(pointer.take(value.clone()), expected, "{text}");
        };
        check("", Some(value.clone()));
        check("/foo/0", Some(json!("bar")));
        check("/foo/2", None);
        check("/foo/01", None);
        check("/foo/-", None);
        check("/", Some(json!(0)));
        check("/a~1b", Some(json!(1)));
        check("/m~0n", Some(json!(8)));
        check("/o/p", Some(Value::Null));
        check("/o/p/q", None);
        for text in ["foo", "/~", "/~2", &"/a".repeat(33), &"/a".repeat(129)] {
            assert!(text.parse::<Pointer>().is_err(), "{text}");
        }
    }

    #[test]
    fn places_are_read_from_texts() {
        let check = |text: &str, expected: Option<Place>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("/a", Some(Place::Pointer("/a".parse().unwrap())));
        check("header:x-team", Some(Place::Header("x-team".to_owned())));
        check("constant:a:b", Some(Place::Constant("a:b".to_owned())));
        check("key", Some(Place::Key));
        for text in ["", "a", "header:", "constant:", "kez", "/~", &format!("header:{}", "x".repeat(250))] {
            check(text, None);
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        let check = |pattern: &str, topic: &str, expected: bool| {
            assert_eq!(pattern.parse::<TopicPattern>().unwrap().matches(topic), expected, "{pattern} {topic}");
        };
        check("orders", "orders", true);
        check("orders", "orders.eu", false);
        check("orders.*", "orders.eu", true);
        check("orders.*", "orders", false);
        check("*", "anything", true);
        check("*.events", "a.events", true);
        check("*.events", "a.events.dlq", false);
        check("a*b*a", "aba", true);
        check("a*b*a", "ab", false);
        check("a*a", "a", false);
        check("*ab*ab", "xabyab", true);
        check("*ab*ab", "xab", false);
        for text in ["", "a b", "é", &"a".repeat(250)] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_the_unit_that_their_size_tells() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(time(text).map(|t| t.0), expected, "{text}");
        check("2026-11-23T11:17:07Z", Some(1_795_432_627_000));
        check("1795432627", Some(1_795_432_627_000));
        check("1795432627.25", Some(1_795_432_627_250));
        check("1795432627250", Some(1_795_432_627_250));
        check("1795432627250999", Some(1_795_432_627_250));
        check("1795432627250999999", Some(1_795_432_627_250));
        check("-1.5", Some(-1_500));
        check("0", Some(0));
        for text in ["", "yesterday", "1.x", "1e3", "99999999999999999999", "999999999999.5"] {
            check(text, None);
        }
    }
}
