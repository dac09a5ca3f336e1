//! Any bytes behind any framing, any headers, any schema of a registry: an event or poison, no panic, memory bounded.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Decoded, Decoder, MAX_DETAIL, Poison, Reason, Recipe, Registered, SchemaRef,
    avro::put_long,
    hostile::{delivery_of, framed, poison, record, with},
    registered::fingerprints,
};
use crate::{
    catalog::Catalog,
    domain::{Delivery, TeamId},
};

/// A schema of a registry in which a byte of input stands for as much as it may.
const WIDE: &str = r#"{"type": "record", "name": "w.Wide", "fields": [
    {"name": "rows", "type": {"type": "array", "items": {"type": "record", "name": "Row", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "kind", "type": ["null", {"type": "enum", "name": "K", "symbols": ["AAAAAAAAAAAAAAAA", "B"]}]},
        {"name": "more", "type": ["null", {"type": "map", "values": {"type": "array", "items": "double"}}]}]}}},
    {"name": "raw", "type": "bytes"}, {"name": "text", "type": "string"}]}"#;
/// Its id.
const WIDE_ID: u32 = 70;

/// What may come of a byte: an item with its name and its longest form, several times over.
const MAX_GROWTH: usize = 512;

fn learned() -> &'static Decoder {
    static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
        let recipe = Recipe { registry: true, default_team: Some(TeamId::new("acme").unwrap()), ..Recipe::default() };
        let decoder = Decoder::of(&Catalog::builtin(), recipe).unwrap();
        let wide = Registered { schema: WIDE.to_owned(), ..Registered::default() };
        assert!(decoder.learn(SchemaRef::Id(WIDE_ID), Some(&wide)));
        decoder
    });
    &DECODER
}

/// Bytes that a value takes, about: itself, its texts and its names.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.capacity(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(entries) => entries.iter().map(|(key, value)| 2 * key.len() + 64 + weight(value)).sum(),
            _ => 0,
        }
}

fn is_bounded(decoded: &Decoded, input: usize) -> bool {
    weight(&decoded.event.data) <= MAX_GROWTH * (input + 16)
}

#[test]
fn a_length_takes_no_memory_before_there_are_bytes_for_it() {
    let decoder = learned();
    for length in [1 << 20, 1 << 40, i64::MAX, -1, -(1 << 40), i64::MIN] {
        let mut datum = Vec::new();
        put_long(&mut datum, length);
        for tail in [&[][..], &[0; 8], &[0xFF; 64]] {
            let poison = poison(decoder.decode(&record(framed(WIDE_ID, &[&datum, tail].concat()))));
            assert_eq!(poison.reason, Reason::Decode, "{length}: {poison}");
        }
    }
}

/// As many items as a value can have bytes for; each is six values and three names.
#[test]
fn a_value_full_of_small_items_is_read_within_its_bound_or_refused() {
    let items = |count: usize| {
        let mut datum = Vec::new();
        put_long(&mut datum, count as i64);
        datum.extend(std::iter::repeat_n([2, 0, 0], count).flatten());
        datum.extend([0, 0, 0]);
        framed(WIDE_ID, &datum)
    };
    let decoder = learned();
    let value = items(30_000);
    assert!(is_bounded(&decoder.decode(&record(value.clone())).unwrap(), value.len()));
    assert_eq!(poison(decoder.decode(&record(items(80_000)))).reason, Reason::TooLarge);
}

proptest! {
    /// Every framing, around anything.
    #[test]
    fn arbitrary_bytes_behind_any_framing_are_an_event_or_poison(
        bytes in any::<Vec<u8>>(), known in any::<prop::sample::Index>(), guid in any::<Vec<u8>>(),
    ) {
        let decoder = learned();
        let types: Vec<_> = Catalog::builtin().types().map(|known| fingerprints(&known.schema)[0]).collect();
        let object = [&[0xC3, 1][..], &types[known.index(types.len())], &bytes].concat();
        for value in [object, framed(WIDE_ID, &bytes), framed(WIDE_ID, &[&[2][..], &bytes].concat()), bytes.clone()] {
            let size = value.len();
            for header in [None, Some(&b"\0\0\0\0\x46"[..]), Some(&guid[..])] {
                let mut record = record(value.clone());
                record.headers.extend(
                    header.map(|id| ("__value_schema_id".to_owned(), Bytes::copy_from_slice(id))),
                );
                match decoder.decode(&record) {
                    Ok(decoded) => {
                        prop_assert!(is_bounded(&decoded, size));
                        // What was read once is read again.
                        prop_assert_eq!(decoder.again(&delivery_of(&decoded, &record)), Ok(decoded.event));
                    }
                    Err(unread) => {
                        prop_assert!(Poison::from(unread).detail.len() <= MAX_DETAIL);
                    }
                }
            }
        }
    }

    #[test]
    fn arbitrary_headers_of_cloud_events_are_an_event_or_poison(
        names in prop::collection::vec(0..9usize, 0..12), values in prop::collection::vec(any::<Vec<u8>>(), 12),
        body in any::<Vec<u8>>(),
    ) {
        const NAMES: [&str; 9] = ["ce_specversion", "ce_type", "ce_id", "ce_source", "ce_team", "ce_time", "ce_subject",
            "content-type", "__value_schema_id"];
        let mut record = record([&b"{"[..], &body].concat());
        record.headers.push(("ce_specversion".to_owned(), Bytes::from_static(b"1.0")));
        for (name, value) in names.iter().zip(values) {
            record.headers.push((NAMES[*name].to_owned(), value.into()));
        }
        let _ = learned().decode(&record);
        record.value = Some(Bytes::from_static(b"{}"));
        let _ = learned().decode(&record);
    }

    #[test]
    fn arbitrary_codecs_of_deliveries_are_read_or_refused(text in any::<String>(), value in any::<Vec<u8>>()) {
        let decoder = learned();
        let record = record(with("id", json!("e")));
        let decoded = decoder.decode(&record).unwrap();
        for codec in [text.clone(), format!("json#{text}"), format!("confluent_avro:{text}"), format!("avro:{text}"),
            format!("confluent_json#/{text}"), "avro_object".to_owned()] {
            let delivery = Delivery { codec: codec.into(), event: value.clone().into(), ..delivery_of(&decoded, &record) };
            let _ = decoder.again(&delivery);
        }
    }

    #[test]
    fn arbitrary_schemas_of_a_registry_are_learned_or_refused(
        text in any::<String>(), cut in any::<prop::sample::Index>(), put in "[{}\\[\\]\",:a-z0-9]{0,8}",
    ) {
        let decoder = learned();
        let (at, mut broken) = (cut.index(WIDE.len()), WIDE.to_owned());
        broken.replace_range(at..(at + put.len()).min(WIDE.len()), &put);
        for schema in [text.clone(), broken, format!("[\"null\", {text}]")] {
            for schema_type in ["AVRO", "JSON"] {
                let references = vec![text.clone(), WIDE.to_owned()];
                let registered =
                    Registered { schema_type: schema_type.to_owned(), schema: schema.clone(), references, subjects: vec![] };
                if decoder.learn(SchemaRef::Id(1), Some(&registered)) {
                    let _ = decoder.decode(&record(framed(1, b"\x02\x02\x02\0\0\0\0")));
                }
            }
        }
    }
}
