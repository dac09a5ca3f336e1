//! A record of the directory topic → the JSON object that it means.
//!
//! Tidings' own writers write JSON. Services write JSON or Avro, after `schemas/topics/subscription.avsc` and
//! `schemas/topics/destination.avsc`; the first byte says which: 0x00 is Confluent framing with an id out of
//! `schemas.ids`, `C3 01` the single-object encoding with the schema's fingerprint, all else JSON. Avro becomes the same
//! object as JSON, so that there is one reading of what it says: `null` is left out, and a filter, which Avro has as a
//! text, is parsed.
//!
//! Nothing here repeats a value of the record: any of them may be a secret in the wrong place.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use apache_avro::{Schema, rabin::Rabin};
use serde_json::{Map, Value};

use super::{avro, json};
use crate::catalog::Shape;

/// Reads directory records. Built once per configuration.
#[derive(Clone, Debug)]
pub struct DirectoryCodec {
    /// By Confluent schema id.
    ids: BTreeMap<u32, Written>,
}

/// What a directory record can be about, where services write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    Subscription,
    Destination,
}

/// How a value is encoded, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding<'v> {
    Json,
    Avro(Written, &'v [u8]),
}

/// Why a value is no object. The field is a path in it, where one can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub field: Option<String>,
    pub detail: String,
}

/// What begins every single object.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// Every version of each schema, the oldest first: one that was once published is read for ever.
const SCHEMAS: [(Written, &str); 2] = [
    (Written::Subscription, include_str!("../../../schemas/topics/subscription.avsc")),
    (Written::Destination, include_str!("../../../schemas/topics/destination.avsc")),
];

struct Known {
    written: Written,
    fingerprint: Vec<u8>,
    shape: Shape,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let known = SCHEMAS.iter().map(|(written, text)| {
        let schema = Schema::parse_str(text).expect("compiled in; a test holds it");
        let shape = Shape::of(&schema).expect("compiled in; a test holds it");
        Known { written: *written, fingerprint: schema.fingerprint::<Rabin>().bytes, shape }
    });
    known.collect()
});

// === impl DirectoryCodec ===

impl DirectoryCodec {
    /// Without ids: JSON and single objects are read.
    pub fn plain() -> Arc<DirectoryCodec> {
        static PLAIN: LazyLock<Arc<DirectoryCodec>> =
            LazyLock::new(|| Arc::new(DirectoryCodec { ids: BTreeMap::new() }));
        PLAIN.clone()
    }

    pub fn new(ids: BTreeMap<u32, Written>) -> DirectoryCodec {
        DirectoryCodec { ids }
    }

    pub fn encoding<'v>(&self, value: &'v [u8]) -> Result<Encoding<'v>, Unreadable> {
        match value {
            [0, rest @ ..] => {
                let (id, datum) = rest.split_first_chunk().ok_or_else(|| whole("Confluent framing that breaks off"))?;
                let id = u32::from_be_bytes(*id);
                let unknown = || whole(format!("schema id {id} stands for no directory record in schemas.ids"));
                Ok(Encoding::Avro(*self.ids.get(&id).ok_or_else(unknown)?, datum))
            }
            [0xC3, 0x01, rest @ ..] => {
                let (fingerprint, datum) =
                    rest.split_first_chunk::<8>().ok_or_else(|| whole("an Avro single object that breaks off"))?;
                let known = KNOWN.iter().find(|known| known.fingerprint == fingerprint);
                let unknown = || {
                    let published = "schemas/topics/subscription.avsc or destination.avsc";
                    whole(format!("the fingerprint {fingerprint:02x?} is not that of {published}"))
                };
                Ok(Encoding::Avro(known.ok_or_else(unknown)?.written, datum))
            }
            _ => Ok(Encoding::Json),
        }
    }

    /// The object that a value is, whatever its encoding. `wanted` is what the record's key says it is about.
    pub fn object(&self, wanted: Option<Written>, value: &[u8]) -> Result<Value, Unreadable> {
        match self.encoding(value)? {
            Encoding::Json => json::parse(value).map_err(|poison| whole(not_json(&poison.detail))),
            Encoding::Avro(written, _) if Some(written) != wanted => {
                Err(whole(format!("the schema is that of {}, the key is not", written.as_str())))
            }
            Encoding::Avro(written, datum) => {
                let known = KNOWN.iter().rev().find(|known| known.written == written);
                let shape = &known.expect("every kind has a schema").shape;
                let mut value = avro::decode(shape, datum).map_err(|malformed| whole(malformed.to_string()))?;
                drop_nulls(&mut value);
                parse_filters(&mut value)?;
                Ok(value)
            }
        }
    }
}

/// Puts the header of a single object in front of a datum: what a service's client does.
pub fn single_object(written: Written, datum: &[u8]) -> Vec<u8> {
    let known = KNOWN.iter().rev().find(|known| known.written == written);
    let fingerprint = &known.expect("every kind has a schema").fingerprint;
    [&MARKER[..], fingerprint, datum].concat()
}

/// serde_json quotes nothing of the text but keys that are reserved.
fn not_json(detail: &str) -> String {
    if detail.starts_with("the key ") { "not JSON: a reserved key".to_owned() } else { format!("not JSON: {detail}") }
}

fn whole(detail: impl Into<String>) -> Unreadable {
    Unreadable { field: None, detail: detail.into() }
}

/// `null` in Avro is what is left out in JSON.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn parse_filters(value: &mut Value) -> Result<(), Unreadable> {
    let Some(Value::Array(selectors)) = value.get_mut("events") else { return Ok(()) };
    for (i, selector) in selectors.iter_mut().enumerate() {
        let Some(filter) = selector.get_mut("filter") else { continue };
        let parsed = match filter {
            Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
            Value::String(text) => json::parse(text.as_bytes()).map_err(|poison| Unreadable {
                field: Some(format!("events[{i}].filter")),
                detail: not_json(&poison.detail),
            })?,
            _ => continue,
        };
        *filter = parsed;
    }
    Ok(())
}

// === impl Written ===

impl Written {
    /// The full name of its schema, as `schemas.ids` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Written::Subscription => "tidings.Subscription",
            Written::Destination => "tidings.Destination",
        }
    }

    pub fn parse(name: &str) -> Option<Written> {
        SCHEMAS.iter().map(|(written, _)| *written).find(|written| written.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::{types, writer::datum::GenericDatumWriter};
    use serde_json::json;

    use super::*;

    /// Each as it was first published: never to be changed, since writers elsewhere have them compiled in.
    const FINGERPRINTS: [(Written, &str); 2] =
        [(Written::Subscription, "f20a085965e183b6"), (Written::Destination, "24eb17af235fa361")];

    fn datum(written: Written, value: Value) -> Vec<u8> {
        let (_, text) = SCHEMAS.iter().find(|(found, _)| *found == written).unwrap();
        let schema = Schema::parse_str(text).unwrap();
        let value = types::Value::try_from(value).unwrap().resolve(&schema).unwrap();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
    }

    fn subscription(filter: Value) -> Vec<u8> {
        let events = json!([{"type": "*", "filter": filter}]);
        let fields = json!({"team": "acme", "id": "s", "revision": 0, "name": null, "enabled": true});
        let mut fields = fields.as_object().unwrap().clone();
        fields.insert("events".into(), events);
        fields.insert("destinations".into(), json!(["hook"]));
        datum(Written::Subscription, Value::Object(fields))
    }

    #[test]
    fn published_schemas_keep_their_fingerprint() {
        for (written, expected) in FINGERPRINTS {
            let known = KNOWN.iter().find(|known| known.written == written).unwrap();
            let found: String = known.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{written:?}");
        }
    }

    /// Written by fastavro, which shares no code with us.
    #[test]
    fn what_was_once_written_is_read_for_ever() {
        let check = |written: Written, hex: &str, expected: Value| {
            let byte = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
            let value: Vec<u8> = (0..hex.trim().len()).step_by(2).map(byte).collect();
            assert_eq!(DirectoryCodec::plain().object(Some(written), &value), Ok(expected));
        };
        check(
            Written::Subscription,
            include_str!("../../../schemas/topics/golden/subscription-1.hex"),
            json!({
                "team": "acme", "id": "big-trials", "revision": 0, "name": "Big trials", "enabled": true,
                "events": [
                    {"type": "replicated.customer.created", "filter": {"licenseType": ["trial"]}},
                    {"type": "*"},
                ],
                "destinations": ["ops:webhook", "audit"],
            }),
        );
        let by_name = |name: &str| json!({"secret_ref": name});
        check(
            Written::Destination,
            include_str!("../../../schemas/topics/golden/destination-1.hex"),
            json!({
                "team": "acme", "id": "ops:webhook", "revision": 0, "enabled": false,
                "webhook": {
                    "url": "https://hooks.example.com/in",
                    "url_secret": by_name("ops-url"),
                    "secrets": [by_name("ops-key-2"), by_name("ops-key-1")],
                    "headers": [{"name": "authorization", "value": by_name("ops-token")}],
                    "timeout_ms": 5000,
                },
                "limits": {"per_second": 2.5, "burst": 10, "in_flight": 4},
                "retry": {"schedule_s": [5, 60], "jitter": 0.1},
            }),
        );
    }

    #[test]
    fn avro_in_either_framing_means_what_json_means() {
        let codec = DirectoryCodec::new(BTreeMap::from([(7, Written::Subscription)]));
        let datum = subscription(json!(r#"{"plan": ["pro"]}"#));
        let framed = [&[0, 0, 0, 0, 7], &datum[..]].concat();
        let meant = json!({
            "team": "acme", "id": "s", "revision": 0, "enabled": true,
            "events": [{"type": "*", "filter": {"plan": ["pro"]}}],
            "destinations": ["hook"],
        });
        for value in [framed, single_object(Written::Subscription, &datum), meant.to_string().into_bytes()] {
            assert_eq!(codec.object(Some(Written::Subscription), &value), Ok(meant.clone()));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_values() {
        let codec = DirectoryCodec::new(BTreeMap::from([(7, Written::Destination)]));
        let check = |value: &[u8], field: Option<&str>, expected: &str| {
            let found = codec.object(Some(Written::Subscription), value).unwrap_err();
            assert_eq!(found.field.as_deref(), field, "{found:?}");
            assert!(found.detail.contains(expected) && !found.detail.contains("hush"), "{found:?}");
        };
        check(b"", None, "not JSON: EOF");
        check(b"{\"hush\": hush}", None, "not JSON");
        check(b"{\"$serde_json::private::hush\": 1}", None, "a reserved key");
        check(b"\0\0", None, "breaks off");
        check(b"\0\0\0\0\x08x", None, "schema id 8 stands for no directory record");
        check(b"\0\0\0\0\x07x", None, "the schema is that of tidings.Destination");
        check(b"\xC3\x01abc", None, "breaks off");
        check(b"\xC3\x0112345678x", None, "is not that of schemas/topics/");
        check(&single_object(Written::Subscription, b"\x08hush"), None, "ends inside");
        let filter = single_object(Written::Subscription, &subscription(json!("{hush")));
        check(&filter, Some("events[0].filter"), "not JSON");
    }
}
