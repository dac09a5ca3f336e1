//! JSON from outside → [`Value`], with a depth that holds.
//!
//! Why not `serde_json::from_slice::<Value>`: with serde_json's `raw_value` feature on (this workspace has it, and any
//! dependency can switch it on), an object whose first key is `$serde_json::private::RawValue` is a *text of JSON* that
//! is parsed with a fresh recursion limit, again and again inside itself. Half a megabyte of that overflows the stack,
//! which no `catch_unwind` stops. Here such a key is refused.
//!
//! Numbers keep their digits, so that integers of any size stay exact. Of duplicate keys the last wins.

use std::{fmt, str::FromStr};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Poison, Reason};

/// The deepest nesting of arrays and objects that is read; serde_json's own limit.
pub const MAX_DEPTH: usize = 128;

/// Keys that serde_json gives a meaning of its own start so.
const PRIVATE: &str = "$serde_json::private::";
/// What serde_json calls the only "key" of a number whose digits it keeps.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads one JSON text. Poison is [`Reason::Decode`] or [`Reason::TooDeep`].
pub fn parse(text: &[u8]) -> Result<Value, Poison> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Plain.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|e| {
        let detail = e.to_string();
        // serde_json has no other way to tell; a test holds the wording.
        let too_deep = detail.starts_with("recursion limit exceeded");
        Poison::new(if too_deep { Reason::TooDeep } else { Reason::Decode }, detail)
    })
}

/// A value in which no key has a private meaning.
struct Plain;

// === impl Plain ===

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Plain)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    /// An object, or a number beyond 64 bits or with a fraction: serde_json hands its digits over as a map of one
    /// private key. An object that is written so is read as that number, which does no harm.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == NUMBER && object.is_empty() {
                let digits: String = entries.next_value()?;
                return Number::from_str(&digits).map(Value::Number).map_err(A::Error::custom);
            }
            if key.starts_with(PRIVATE) {
                return Err(A::Error::custom(format!("the key {key:?} is reserved")));
            }
            let value = entries.next_value_seed(Plain)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_as_serde_json_reads_them() {
        let texts = [
            r#"{"a": [1, -0, 1e400, 18446744073709551617, 0.30000000000000004, true, null, "ü\u0000\n"], "b": {}}"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
            " [] ",
            "12345678901234567890123456789012345678901234567890",
            "\"text\"",
        ];
        for text in texts {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
            assert_eq!(
                parse(text.as_bytes()).unwrap().to_string(),
                serde_json::from_str::<Value>(text).unwrap().to_string()
            );
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [&b"{"[..], b"{}{}", b"nul", b"\"\xff\"", br#""\ud800""#, b"NaN", b"01", b"", b"\xef\xbb\xbf{}"] {
            assert_eq!(parse(text).unwrap_err().reason, Reason::Decode, "{text:?}");
        }
    }

    #[test]
    fn nesting_up_to_the_limit_is_read_and_no_deeper() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH)).unwrap_err().reason, Reason::TooDeep);
        assert_eq!(parse(&nested(100_000)).unwrap_err().reason, Reason::TooDeep);
    }

    /// Each turn wraps the text as a private "raw value", with quotes escaped so that the length grows slowly.
    #[test]
    fn a_raw_value_inside_a_raw_value_does_not_start_a_new_recursion() {
        let mut text = "[".repeat(100) + &"]".repeat(100);
        for _ in 0..40 {
            let escaped = text.replace('\\', "\\u005c").replace('"', "\\u0022");
            text = "[".repeat(100) + "{\"$serde_json::private::RawValue\":\"" + &escaped + "\"}" + &"]".repeat(100);
        }
        let poison = parse(text.as_bytes()).unwrap_err();
        assert_eq!(poison.reason, Reason::Decode);
        assert!(poison.detail.contains("reserved"), "{poison}");
    }

    #[test]
    fn an_object_written_as_a_private_number_is_that_number_or_nothing() {
        assert_eq!(parse(br#"{"$serde_json::private::Number": "12"}"#).unwrap(), Value::from(12));
        for text in [r#"{"$serde_json::private::Number": "x"}"#, r#"{"a": 1, "$serde_json::private::Number": "1"}"#] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().reason, Reason::Decode);
        }
    }
}
