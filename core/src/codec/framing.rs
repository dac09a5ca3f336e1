//! What a record is, told by its headers first and by its first byte then.
//!
//! | how it is told | what it is |
//! | --- | --- |
//! | header `__value_schema_id` | Confluent's framing with the schema's id or GUID beside the value |
//! | header `content-type: application/cloudevents+json` | a CloudEvent in structured mode |
//! | first byte 0x00 | Confluent's framing: 0x00, schema id as 32 bits big-endian, payload |
//! | first bytes 0xC3 0x01 | Avro single-object encoding: the schema's fingerprint, datum |
//! | first byte `{` or white space | JSON |
//!
//! Beside that, header `ce_specversion` says that the record is a CloudEvent in binary mode: its attributes are in headers,
//! its value is the data alone, in any of these formats.

use std::fmt;

use super::{Poison, Reason, bad_field, mapping::Format, shown};
use crate::domain::Record;

/// A value with its framing taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'v> {
    Json(&'v [u8]),
    /// A payload whose schema, which also says its format, a registry knows.
    Registered {
        schema: SchemaRef,
        place: IdPlace,
        payload: &'v [u8],
    },
    /// Avro of a schema with this fingerprint (CRC-64-AVRO, least significant byte first).
    SingleObject {
        fingerprint: [u8; 8],
        datum: &'v [u8],
    },
    /// Avro that says nothing about its schema.
    Bare(&'v [u8]),
}

/// What a registry calls a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaRef {
    Id(u32),
    Guid([u8; 16]),
}

/// Where a record says which schema it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdPlace {
    Value,
    Header,
}

/// The headers that say something about a record, found in one pass: a record may have thousands.
///
/// Of a repeated header the last counts; one that is not UTF-8 counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'r> {
    pub content_type: Option<&'r str>,
    pub schema_id: Option<&'r [u8]>,
    /// Present in every CloudEvent in binary mode, and only there.
    pub specversion: Option<&'r str>,
    pub event_type: Option<&'r str>,
    pub team: Option<&'r str>,
    pub id: Option<&'r str>,
    pub source: Option<&'r str>,
    pub time: Option<&'r str>,
    pub subject: Option<&'r str>,
}

/// What begins every single object: <https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding>.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// The version byte before an id, in the value or in the header.
const MAGIC_ID: u8 = 0;
/// The version byte before a GUID; in headers only.
const MAGIC_GUID: u8 = 1;
/// Bytes of Confluent's framing in the value.
pub const CONFLUENT_FRAME: usize = 5;

/// Takes the framing off a value, as the configured format says or, where that is [`Format::Auto`], as the record does.
pub fn recognise<'v>(value: &'v [u8], headers: &Headers<'_>, format: Format) -> Result<Frame<'v>, Poison> {
    match format {
        Format::Auto => automatic(value, headers),
        Format::Json => Ok(Frame::Json(value)),
        Format::Confluent => registered(value, headers),
        Format::AvroObject => single_object(value),
        Format::Avro => Ok(Frame::Bare(value)),
    }
}

fn automatic<'v>(value: &'v [u8], headers: &Headers<'_>) -> Result<Frame<'v>, Poison> {
    if headers.schema_id.is_some() {
        return registered(value, headers);
    }
    if let Some(content_type) = headers.content_type.and_then(|text| text.strip_prefix("application/cloudevents")) {
        // Parameters such as a charset may follow.
        return match content_type.split(';').next().unwrap_or_default().trim() {
            "+json" | "" => Ok(Frame::Json(value)),
            other => {
                let detail = format!("CloudEvents as application/cloudevents{other} are not read; +json is");
                Err(Poison::new(Reason::BadFrame, detail))
            }
        };
    }
    match value {
        [b'{' | b' ' | b'\t' | b'\r' | b'\n', ..] => Ok(Frame::Json(value)),
        [MAGIC_ID, ..] => registered(value, headers),
        [0xC3, ..] => single_object(value),
        // In binary mode the content type speaks for the data, and there may be none.
        _ if headers.is_binary() && (headers.says_json() || value.is_empty()) => Ok(Frame::Json(value)),
        [byte, ..] => Err(Poison::new(Reason::BadFrame, format!("no format begins with the byte 0x{byte:02x}"))),
        [] => Err(Poison::new(Reason::BadFrame, "the value is empty")),
    }
}

fn registered<'v>(value: &'v [u8], headers: &Headers<'_>) -> Result<Frame<'v>, Poison> {
    if let Some(header) = headers.schema_id {
        let schema = SchemaRef::of_header(header)?;
        return Ok(Frame::Registered { schema, place: IdPlace::Header, payload: value });
    }
    let Some(([MAGIC_ID, id @ ..], payload)) = value.split_first_chunk::<CONFLUENT_FRAME>() else {
        let detail = match value.first() {
            Some(byte) if *byte != MAGIC_ID => format!("begins with 0x{byte:02x}; the Confluent framing with 0x00"),
            _ => format!("{} bytes; the Confluent framing takes {CONFLUENT_FRAME}", value.len()),
        };
        return Err(Poison::new(Reason::BadFrame, detail));
    };
    Ok(Frame::Registered { schema: SchemaRef::Id(u32::from_be_bytes(*id)), place: IdPlace::Value, payload })
}

fn single_object(value: &[u8]) -> Result<Frame<'_>, Poison> {
    let wrong = || {
        let detail = format!("{} bytes; an Avro single object begins with C3 01 and 8 bytes more", value.len());
        Poison::new(Reason::BadFrame, detail)
    };
    let rest = value.strip_prefix(&SINGLE_OBJECT).ok_or_else(wrong)?;
    let (fingerprint, datum) = rest.split_first_chunk().ok_or_else(wrong)?;
    Ok(Frame::SingleObject { fingerprint: *fingerprint, datum })
}

// === impl SchemaRef ===

impl SchemaRef {
    /// Reads what [`Display`](fmt::Display) writes: a decimal id, or 32 digits of a GUID (dashes do not count).
    pub fn parse(text: &str) -> Option<SchemaRef> {
        if let Ok(id) = text.parse() {
            return Some(SchemaRef::Id(id));
        }
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let digits: [u8; 32] = digits.try_into().ok()?;
        let mut guid = [0; 16];
        for (byte, pair) in guid.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(SchemaRef::Guid(guid))
    }

    /// As Confluent's serializers write `__value_schema_id`.
    fn of_header(bytes: &[u8]) -> Result<SchemaRef, Poison> {
        match bytes {
            [MAGIC_ID, id @ ..] if id.len() == 4 => Ok(SchemaRef::Id(u32::from_be_bytes([id[0], id[1], id[2], id[3]]))),
            [MAGIC_GUID, guid @ ..] if guid.len() == 16 => {
                let mut copy = [0; 16];
                copy.copy_from_slice(guid);
                Ok(SchemaRef::Guid(copy))
            }
            _ => {
                let detail = format!("__value_schema_id: {} bytes; 0x00 and an id or 0x01 and a GUID", bytes.len());
                Err(Poison::new(Reason::BadFrame, detail))
            }
        }
    }
}

impl fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaRef::Id(id) => write!(f, "{id}"),
            SchemaRef::Guid(guid) => {
                for (index, byte) in guid.iter().enumerate() {
                    if [4, 6, 8, 10].contains(&index) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

// === impl Headers ===

impl<'r> Headers<'r> {
    pub fn of(record: &'r Record) -> Result<Headers<'r>, Poison> {
        let mut found = Headers::default();
        for (name, value) in &record.headers {
            let place = match name.as_str() {
                "ce_specversion" => &mut found.specversion,
                "ce_type" => &mut found.event_type,
                "ce_team" => &mut found.team,
                "ce_id" => &mut found.id,
                "ce_source" => &mut found.source,
                "ce_time" => &mut found.time,
                "ce_subject" => &mut found.subject,
                "__value_schema_id" => {
                    found.schema_id = Some(value);
                    continue;
                }
                name if name.eq_ignore_ascii_case("content-type") => &mut found.content_type,
                _ => continue,
            };
            *place = std::str::from_utf8(value).ok();
        }
        match found.specversion {
            None | Some("1.0") => Ok(found),
            Some(other) => Err(bad_field("ce_specversion", &format!("found {}; 1.0 is read", shown(other)))),
        }
    }

    /// Whether the record is a CloudEvent in binary mode.
    pub fn is_binary(&self) -> bool {
        self.specversion.is_some()
    }

    fn says_json(&self) -> bool {
        let essence = self.content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::Timestamp;

    const GUID: [u8; 16] = [0xAB; 16];

    fn check(headers: &[(&str, &[u8])], value: &[u8], format: Format, expected: Result<Frame<'_>, &str>) {
        let record = Record {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp(0),
            key: None,
            value: None,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v))).collect(),
        };
        let found = Headers::of(&record).and_then(|headers| recognise(value, &headers, format));
        let found = found.map_err(|poison| poison.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{headers:?} {value:?} {format:?}");
    }

    #[test]
    fn headers_speak_before_the_first_byte() {
        use Format::{Auto, Avro, AvroObject, Confluent, Json};
        let guid = [&[1][..], &GUID].concat();
        let by_id = |place, payload| Frame::Registered { schema: SchemaRef::Id(7), place, payload };
        check(&[], b"{}", Auto, Ok(Frame::Json(b"{}")));
        check(&[], b"\0\0\0\0\x07x", Auto, Ok(by_id(IdPlace::Value, b"x")));
        check(&[("__value_schema_id", b"\0\0\0\0\x07")], b"{}", Auto, Ok(by_id(IdPlace::Header, b"{}")));
        let by_guid = Frame::Registered { schema: SchemaRef::Guid(GUID), place: IdPlace::Header, payload: b"\0" };
        check(&[("__value_schema_id", &guid)], b"\0", Auto, Ok(by_guid));
        check(
            &[("__value_schema_id", b"7")],
            b"",
            Auto,
            Err("bad_frame: __value_schema_id: 1 bytes; 0x00 and an id or 0x01 and a GUID"),
        );
        let object = Frame::SingleObject { fingerprint: [9; 8], datum: b"x" };
        check(&[], b"\xc3\x01\x09\x09\x09\x09\x09\x09\x09\x09x", Auto, Ok(object));
        check(
            &[],
            b"\xc3\x02\x09\x09\x09\x09\x09\x09\x09\x09x",
            AvroObject,
            Err("bad_frame: 11 bytes; an Avro single object begins with C3 01 and 8 bytes more"),
        );
        let structured = ("content-type", &b"application/cloudevents+json; charset=utf-8"[..]);
        check(&[structured], b"\xff", Auto, Ok(Frame::Json(b"\xff")));
        check(
            &[("Content-Type", b"application/cloudevents-batch+json")],
            b"[]",
            Auto,
            Err("bad_frame: CloudEvents as application/cloudevents-batch+json are not read; +json is"),
        );
        let binary = ("ce_specversion", &b"1.0"[..]);
        check(&[binary, ("content-type", b"application/json")], b"[1]", Auto, Ok(Frame::Json(b"[1]")));
        check(&[binary], b"[1]", Auto, Err("bad_frame: no format begins with the byte 0x5b"));
        check(&[binary], b"", Auto, Ok(Frame::Json(b"")));
        check(&[], b"", Auto, Err("bad_frame: the value is empty"));
        check(&[("ce_specversion", b"2")], b"{}", Auto, Err("bad_field: ce_specversion: found \"2\"; 1.0 is read"));
        check(&[], b"\0", Avro, Ok(Frame::Bare(b"\0")));
        check(&[], b"\0", Json, Ok(Frame::Json(b"\0")));
        check(&[], b"{}", Confluent, Err("bad_frame: begins with 0x7b; the Confluent framing with 0x00"));
    }

    #[test]
    fn references_are_read_as_they_are_written() {
        for schema in [SchemaRef::Id(0), SchemaRef::Id(u32::MAX), SchemaRef::Guid(GUID)] {
            assert_eq!(SchemaRef::parse(&schema.to_string()), Some(schema));
        }
        assert_eq!(SchemaRef::Guid(GUID).to_string(), "abababab-abab-abab-abab-abababababab");
        for text in ["", "-1", "4294967296", "abab", "zzababab-abab-abab-abab-abababababab"] {
            assert_eq!(SchemaRef::parse(text), None, "{text}");
        }
    }
}
