//! What holds an event in JSON: an envelope with its attributes and data, or a value with the data somewhere in it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::{Poison, attributes::attribute, bad_field, json, mapping::Pointer, shown};

/// A CloudEvent in structured mode, or Tidings' own envelope.
pub fn envelope(value: &[u8]) -> Result<Map<String, Value>, Poison> {
    let envelope = match json::parse(value)? {
        Value::Object(envelope) => envelope,
        other => return Err(bad_field("the event", &format!("found {}; an object is wanted", shown(&other)))),
    };
    match attribute(&envelope, "specversion")? {
        None | Some("1.0") => Ok(envelope),
        Some(other) => Err(bad_field("specversion", &format!("found {}; 1.0 is read", shown(other)))),
    }
}

/// An event without data may have no value at all.
pub fn json_body(text: &[u8]) -> Result<Value, Poison> {
    if text.is_empty() { Ok(Value::Null) } else { json::parse(text) }
}

/// Behind a registry's framing JSON may be either; nobody's data has both of these by chance.
pub fn looks_like_an_envelope(value: &Value) -> bool {
    value.get("type").is_some_and(Value::is_string)
        && (value.get("specversion").is_some() || value.get("data").is_some())
}

pub fn envelope_data(mut envelope: Map<String, Value>) -> Result<Value, Poison> {
    if let Some(encoded) = attribute(&envelope, "data_base64")? {
        let wrong = |e: base64::DecodeError| bad_field("data_base64", &e.to_string());
        envelope.insert("data".to_owned(), json::parse(&BASE64_STANDARD.decode(encoded).map_err(wrong)?)?);
    }
    object(envelope.swap_remove("data"))
}

pub fn data_at(pointer: &Pointer, value: Value) -> Result<Value, Poison> {
    object(pointer.take(value))
}

fn object(data: Option<Value>) -> Result<Value, Poison> {
    match data {
        Some(data @ Value::Object(_)) => Ok(data),
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(other) => Err(bad_field("data", &format!("found {}; an object is wanted", shown(&other)))),
    }
}
