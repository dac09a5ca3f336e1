//! A record's value → the object it says, or why not: with field and reason, and without any value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    destination::{SIGNING_KEY_PREFIX, looks_sealed},
    problem::{Reason, Refusal},
};
use crate::{
    codec::{DirectoryCodec, Written, directory::Encoding},
    domain::Sealed,
};

/// Fields that hold a secret wherever a writer has misplaced them.
const SECRET_FIELDS: [&str; 12] = [
    "secret",
    "secrets",
    "signing_secret",
    "signing_key",
    "password",
    "passwd",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "value",
    "url_secret",
];

/// Reads a value of the kind that its key says. `written` is `None` where services write none of it.
pub(super) fn read<T: DeserializeOwned>(
    codec: &DirectoryCodec,
    written: Option<Written>,
    value: &[u8],
) -> Result<T, Refusal> {
    // The usual case costs no tree of values.
    if matches!(codec.encoding(value), Ok(Encoding::Json))
        && !mentions_signing_key(value)
        && let Ok(object) = serde_json::from_slice(value)
    {
        return Ok(object);
    }
    let object = codec.object(written, value)?;
    if let Some(field) = plain_secret(&object, written != Some(Written::Subscription)) {
        return Err(Refusal::plain_secret(field));
    }
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        Refusal {
            reason: Reason::Decode,
            field: Some(path).filter(|path| path != "."),
            detail: without_values(&error.inner().to_string()),
        }
    })
}

fn mentions_signing_key(value: &[u8]) -> bool {
    value.windows(SIGNING_KEY_PREFIX.len()).any(|window| window == SIGNING_KEY_PREFIX.as_bytes())
}

/// The field of the first secret that stands in clear: a signing key anywhere, and a text that is not sealed in a field
/// whose name says that it holds one.
fn plain_secret(value: &Value, by_name: bool) -> Option<String> {
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::String(text) if text.contains(SIGNING_KEY_PREFIX) => return Some(path),
            Value::String(text) => {
                let field = path.rsplit('.').next().unwrap_or_default();
                let field = field.split('[').next().unwrap_or_default().to_ascii_lowercase();
                let holds_one = by_name && SECRET_FIELDS.contains(&field.as_str());
                if holds_one && !looks_sealed(&Sealed(text.clone())) {
                    return Some(path);
                }
            }
            Value::Array(items) => {
                open.extend(items.iter().enumerate().map(|(i, item)| (format!("{path}[{i}]"), item)).rev());
            }
            Value::Object(object) => {
                // The name itself is one, and so it is not shown.
                if object.keys().any(|key| key.contains(SIGNING_KEY_PREFIX)) {
                    return Some(path);
                }
                let dot = if path.is_empty() { "" } else { "." };
                open.extend(object.iter().map(|(key, value)| (format!("{path}{dot}{key}"), value)).rev());
            }
            _ => {}
        }
    }
    None
}

/// What serde says, without the value that it found: that may be a secret in the wrong place.
fn without_values(message: &str) -> String {
    let quotes_a_value = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match (quotes_a_value, message.rfind(", expected ")) {
        (true, Some(place)) => format!("wrong type or value{}", &message[place..]),
        _ => message.to_owned(),
    }
}
