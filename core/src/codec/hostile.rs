//! Bad input records: each one that was thought of is a test, numbered as in the list it comes from.
//!
//! Rows that are not here concern the matcher, the directory or the log.

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Decoded, Decoder, MAX_DETAIL, MAX_EVENT_BYTES, Poison, Read, Reason, Undecoded, Unread,
    attributes::{MAX_ID, MAX_SOURCE, MAX_SUBJECT, MAX_TYPE},
    avro::{self, put_bytes, put_long},
    dead_letter, deadletter,
    tape::Tape,
};
use crate::{
    catalog::Catalog,
    domain::{Day, Delivery, DestinationId, Event, NotificationId, Record, SubscriptionId, TeamId, Timestamp},
};

/// The schema id under which tests know `tyk.QuotaExceeded`.
const QUOTA_EXCEEDED: u32 = 7;

/// Made once: cases of a property are hundreds.
fn decoder() -> &'static Decoder {
    static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
        let ids = BTreeMap::from([(QUOTA_EXCEEDED, "tyk.QuotaExceeded".to_owned())]);
        Decoder::new(Catalog::builtin(), ids, None).unwrap()
    });
    &DECODER
}

pub(super) fn record(value: impl Into<Bytes>) -> Record {
    Record {
        topic: "tidings.events".into(),
        partition: 2,
        offset: 17,
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: Some(value.into()),
        headers: vec![("ce_team".to_owned(), Bytes::from_static(b"acme"))],
    }
}

fn decode(value: impl Into<Bytes>) -> Result<Decoded, Poison> {
    let (decoder, record, mut tape) = (decoder(), record(value), Tape::new());
    let decoded = decoder.decode(&record);
    // The one door: what the matcher reads must be what is decoded.
    assert_eq!(decoder.read(&record, &mut tape).map(Read::whole), decoded);
    decoded.map_err(Poison::from)
}

/// A plain envelope with one attribute set.
pub(super) fn with(name: &str, value: Value) -> Vec<u8> {
    let mut envelope = json!({"team": "acme", "type": "x.y", "data": {}});
    envelope[name] = value;
    envelope.to_string().into()
}

fn refused(value: impl Into<Bytes>, reason: Reason) -> String {
    let poison = decode(value).expect_err("poison was wanted");
    assert_eq!(poison.reason, reason, "{poison}");
    poison.detail
}

pub(super) fn poison<T: std::fmt::Debug>(read: Result<T, Unread>) -> Poison {
    match read {
        Err(Unread::Poison(poison)) => poison,
        other => panic!("{other:?} instead of poison"),
    }
}

/// Confluent framing around a datum.
pub(super) fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn quota_exceeded() -> Vec<u8> {
    let mut datum = Vec::new();
    for text in ["Key Quota Limit Exceeded", "/orders/", "203.0.113.7"] {
        put_bytes(&mut datum, text.as_bytes());
    }
    put_long(&mut datum, 0);
    put_long(&mut datum, 0);
    datum
}

pub(super) fn delivery_of(decoded: &Decoded, record: &Record) -> Delivery {
    let event = &decoded.event;
    let (subscription, destination) = (SubscriptionId::new("s").unwrap(), DestinationId::new("d").unwrap());
    Delivery {
        id: NotificationId::of(event, &subscription, &destination, ""),
        day: Day(0),
        team: event.team.clone(),
        subscription,
        subscription_revision: 1,
        destination,
        destination_revision: 0,
        destination_hash: 0,
        event_type: event.event_type.clone(),
        event_id: event.id.clone(),
        event_source: event.source.clone(),
        event_time: event.time,
        event_subject: event.subject.clone(),
        index_version: 0,
        position: record.position(),
        recorded_at: record.timestamp,
        replayed_at: None,
        codec: (&*decoded.codec).into(),
        event: record.value.clone().unwrap(),
    }
}

#[test]
fn a_cloud_event_and_a_plain_envelope_say_the_same() {
    let plain = json!({"team": "acme", "type": "pandium.run_failed", "id": "e1", "source": "pandium",
        "time": "2026-11-20T09:14:03Z", "subject": "1183042", "data": {"run_id": 1}});
    let mut cloud = plain.clone();
    cloud["specversion"] = json!("1.0");
    cloud["datacontenttype"] = json!("application/json");
    let decoded = decode(plain.to_string()).unwrap();
    assert_eq!(decoded, decode(cloud.to_string()).unwrap());
    let event = decoded.event;
    assert_eq!((&*event.id, &*event.source, &*event.event_type), ("e1", "pandium", "pandium.run_failed"));
    assert_eq!(event.time, Timestamp::parse("2026-11-20T09:14:03Z"));
    assert_eq!(event.subject.as_deref(), Some("1183042"));
    assert_eq!(event.data, json!({"run_id": 1}));
    cloud["data"] = Value::Null;
    cloud["data_base64"] = json!("eyJydW5faWQiOiAxfQ==");
    assert_eq!(decode(cloud.to_string()).unwrap().event.data, json!({"run_id": 1}));
    cloud["specversion"] = json!("0.3");
    refused(cloud.to_string(), Reason::BadField);
}

/// With its data.
pub(super) fn with_data(undecoded: Undecoded<'_>) -> Decoded {
    let data = avro::decode(undecoded.shape, undecoded.datum).unwrap();
    Decoded { event: Event { data, ..undecoded.decoded.event }, codec: undecoded.decoded.codec }
}

#[test]
fn an_avro_event_takes_its_type_from_the_schema_and_the_rest_from_headers() {
    let mut record = record(framed(QUOTA_EXCEEDED, &quota_exceeded()));
    for (name, value) in
        [("ce_id", "e1"), ("ce_source", "tyk"), ("ce_time", "2026-11-20T09:14:03Z"), ("ce_type", "ignored")]
    {
        record.headers.push((name.to_owned(), Bytes::from_static(value.as_bytes())));
    }
    let decoded = decoder().decode(&record).unwrap();
    assert_eq!(decoder().read(&record, &mut Tape::new()).map(Read::whole), Ok(decoded.clone()));
    assert_eq!(decoder().undecoded(&record).map(with_data), Some(decoded.clone()));
    assert_eq!(&*decoded.codec, "confluent_avro");
    assert_eq!(&*decoded.event.event_type, "tyk.QuotaExceeded");
    assert_eq!((&*decoded.event.id, &*decoded.event.source), ("e1", "tyk"));
    assert_eq!(decoded.event.data["path"], json!("/orders/"));
    assert_eq!(decoded.event.data["key"], Value::Null);
}

#[test]
fn usual_events_are_read_where_they_stand_and_others_taken_apart() {
    let check = |value: Vec<u8>, in_place: bool| {
        let (decoder, record, mut tape) = (decoder(), record(value), Tape::new());
        assert_eq!(decoder.read(&record, &mut tape).unwrap().data.is_some(), in_place, "{:?}", record.value);
        let is_avro = record.value.as_deref().is_some_and(|value| value[0] == 0);
        assert_eq!(decoder.undecoded(&record).is_some(), is_avro, "{:?}", record.value);
    };
    check(with("id", json!("1")), true);
    check(framed(QUOTA_EXCEEDED, &quota_exceeded()), true);
    check(with("data", Value::Null), false);
    check(with("data", Value::Object((0..100).map(|n| (n.to_string(), json!(n))).collect())), false);
}

#[test]
fn the_event_behind_a_delivery_is_the_event_that_was_matched() {
    for value in
        [with("id", json!("e1")), with("data", json!({"a": [1, 2.50]})), framed(QUOTA_EXCEEDED, &quota_exceeded())]
    {
        let record = record(value);
        let decoded = decoder().decode(&record).unwrap();
        let delivery = delivery_of(&decoded, &record);
        assert_eq!(decoder().again(&delivery), Ok(decoded.event));
        let unknown = Delivery { codec: "smoke_signals".into(), ..delivery };
        assert_eq!(poison(decoder().again(&unknown)).reason, Reason::BadFrame);
    }
}

#[test]
fn a_schema_id_must_be_mapped_to_a_known_type() {
    let ids = BTreeMap::from([(1, "tyk.Unheard".to_owned())]);
    let error = Decoder::new(Catalog::builtin(), ids, None).unwrap_err();
    assert_eq!(error, "schema id 1 is mapped to \"tyk.Unheard\", which the catalog does not know");
}

#[test]
fn a_record_without_team_belongs_to_the_default_team_or_to_nobody() {
    refused(r#"{"type": "x.y"}"#, Reason::NoTeam);
    let mut avro = record(framed(QUOTA_EXCEEDED, &quota_exceeded()));
    avro.headers.clear();
    assert_eq!(poison(decoder().decode(&avro)).reason, Reason::NoTeam);
    let lenient = Decoder::new(Catalog::builtin(), BTreeMap::new(), Some(TeamId::new("house").unwrap())).unwrap();
    let decoded = lenient.decode(&record(r#"{"type": "x.y"}"#)).unwrap();
    assert_eq!(decoded.event.team.as_str(), "house");
    assert_eq!(lenient.decode(&record(with("team", json!("acme")))).unwrap().event.team.as_str(), "acme");
}

#[test]
fn attributes_have_bounds() {
    let long = |n: usize| json!("a".repeat(n));
    for (name, max) in [("id", MAX_ID), ("source", MAX_SOURCE), ("type", MAX_TYPE), ("subject", MAX_SUBJECT)] {
        assert!(decode(with(name, long(max))).is_ok(), "{name}");
        let detail = refused(with(name, long(max + 1)), Reason::BadField);
        assert_eq!(detail, format!("{name}: found {} bytes; 1 to {max} are allowed", max + 1));
        refused(with(name, json!("")), Reason::BadField);
        refused(with(name, json!(5)), Reason::BadField);
    }
    for (name, value) in [
        ("team", json!("a/b")),
        ("team", json!("")),
        ("team", json!({"id": "acme"})),
        ("type", Value::Null),
        ("type", json!("a b")),
        ("time", json!("yesterday")),
        ("time", json!(1_700_000_000)),
        ("data", json!("text")),
        ("data", json!([1])),
        ("data_base64", json!("???")),
    ] {
        refused(with(name, value), Reason::BadField);
    }
    refused("  []", Reason::BadField);
    assert_eq!(decode(with("data", Value::Null)).unwrap().event.data, json!({}));
}

#[test]
fn a_tombstone_that_is_not_skipped_does_no_harm() {
    let tombstone = Record { value: None, ..record("") };
    assert_eq!(poison(decoder().decode(&tombstone)).reason, Reason::BadFrame);
}

#[test]
fn row_02_without_key_and_id_the_position_is_the_id_and_the_topic_the_source() {
    let decoded = decode(r#"{"team": "acme", "type": "x.y", "id": null}"#).unwrap();
    assert_eq!((&*decoded.event.id, &*decoded.event.source), ("tidings.events-2-17", "tidings.events"));
    assert_eq!(decoded.event.time, None);
}

#[test]
fn row_03_empty_value_short_value_wrong_magic_byte() {
    for value in
        [&b""[..], b"\0", b"\0\0", b"\0\0\0\0", b"\x01\0\0\0\x07", b"\xc3\x01", b"hello", b"\xef\xbb\xbf{}", b"[]"]
    {
        refused(value, Reason::BadFrame);
    }
}

#[test]
fn row_04_unknown_schema_id() {
    let detail = refused(framed(4_000_000_000, b""), Reason::UnknownSchema);
    assert_eq!(detail, "schema id 4000000000 is not mapped to an event type");
}

#[test]
fn row_05_truncated_avro_and_hostile_lengths() {
    let whole = quota_exceeded();
    for cut in 0..whole.len() {
        refused(framed(QUOTA_EXCEEDED, &whole[..cut]), Reason::Decode);
    }
    for length in [1 << 60, i64::MAX, -1, i64::MIN] {
        let mut datum = Vec::new();
        put_long(&mut datum, length);
        refused(framed(QUOTA_EXCEEDED, &datum), Reason::Decode);
    }
    refused(framed(QUOTA_EXCEEDED, &[whole, vec![0]].concat()), Reason::Decode);
}

#[test]
fn row_06_recursive_schemas_and_wide_unions_are_refused_with_the_file() {
    let check = |fields: &str, expected: &str| {
        let text = format!(
            r#"{{"type": "record", "namespace": "p", "name": "k", "doc": "d", "tidings.displayName": "K",
                "tidings.category": "c", "tidings.severity": "info", "fields": [{fields}], "tidings.example": {{}}}}"#
        );
        let faults = Catalog::load(&[("p/k.avsc".to_owned(), text)]).unwrap_err();
        assert!(faults[0].to_string().starts_with(&format!("p/k.avsc: {expected}")), "{}", faults[0]);
    };
    check(r#"{"name": "a", "type": ["null", "k"]}"#, "a: p.k is recursive");
    let branches: Vec<String> =
        (0..10_000).map(|i| format!(r#"{{"type": "fixed", "name": "F{i}", "size": 1}}"#)).collect();
    let wide = format!(r#"{{"name": "a", "type": [{}]}}"#, branches[..33].join(","));
    check(&wide, "a: a union of 33 branches; at most 32 are allowed");
    check(&format!(r#"{{"name": "a", "type": [{}]}}"#, branches.join(",")), "");
    let deep = (0..65).fold("\"long\"".to_owned(), |t, _| format!(r#"{{"type": "array", "items": {t}}}"#));
    check(&format!(r#"{{"name": "a", "type": {deep}}}"#), "a: nested deeper than 64");
    let doubling: Vec<String> = (1..20)
        .map(|i| {
            let below = format!("R{}", i - 1);
            let fields = format!(r#"{{"name": "x", "type": "{below}"}}, {{"name": "y", "type": "{below}"}}"#);
            format!(r#"{{"name": "f{i}", "type": {{"type": "record", "name": "R{i}", "fields": [{fields}]}}}}"#)
        })
        .collect();
    let first =
        r#"{"name": "f0", "type": {"type": "record", "name": "R0", "fields": [{"name": "x", "type": "long"}]}}"#;
    let all = [&[first.to_owned()], &doubling[..]].concat().join(",");
    check(&all, "f");
    check(r#"{"name": "a", "type": {"type": "array", "items": "null"}}"#, "a: an array of items without content");
}

#[test]
fn row_07_json_100000_deep() {
    let deep = format!(r#"{{"team": "acme", "type": "x.y", "data": {}"#, "{\"a\":".repeat(100_000));
    refused(deep, Reason::TooDeep);
    let array = format!("{{\"data\":{}", "[".repeat(100_000));
    refused(array, Reason::TooDeep);
}

#[test]
fn row_08_ten_megabytes_are_refused_unparsed() {
    let mut value = vec![b' '; 10 << 20];
    value[0] = b'{';
    refused(value, Reason::TooLarge);
    let detail = refused(vec![0; MAX_EVENT_BYTES + 1], Reason::TooLarge);
    assert_eq!(detail, "786433 bytes; at most 786432 are read");
}

#[test]
fn row_09_a_huge_field_and_a_hundred_thousand_fields() {
    let huge = with("data", json!({"text": "x".repeat(MAX_EVENT_BYTES - 100)}));
    assert!(huge.len() <= MAX_EVENT_BYTES && decode(huge).is_ok());
    refused(with("data", json!({"text": "x".repeat(900_000)})), Reason::TooLarge);
    let fields = |n: usize| {
        let entries: Vec<String> = (0..n).map(|i| format!("\"{i}\":0")).collect();
        format!(r#"{{"team":"acme","type":"x.y","data":{{{}}}}}"#, entries.join(","))
    };
    assert_eq!(decode(fields(79_000)).unwrap().event.data.as_object().unwrap().len(), 79_000);
    refused(fields(100_000), Reason::TooLarge);
}

#[test]
fn row_10_of_duplicate_keys_the_last_wins() {
    let text =
        r#"{"team": "acme", "type": "x.y", "team": "other", "data": {"a": 1, "a": 2}, "data": {"a": 3, "a": 4}}"#;
    let event = decode(text).unwrap().event;
    assert_eq!((event.team.as_str(), event.data), ("other", json!({"a": 4})));
}

#[test]
fn row_11_invalid_utf8_lone_surrogates_and_nul() {
    refused(&b"{\"team\": \"acme\", \"type\": \"\xff\"}"[..], Reason::Decode);
    refused(r#"{"team": "acme", "type": "x.y", "data": {"a": "\ud800"}}"#, Reason::Decode);
    for name in ["team", "id", "source", "type", "subject"] {
        refused(with(name, json!("a\0b")), Reason::BadField);
    }
    assert_eq!(decode(with("data", json!({"a": "a\0b"}))).unwrap().event.data, json!({"a": "a\0b"}));
    let mut avro = record(framed(QUOTA_EXCEEDED, &quota_exceeded()));
    avro.headers.push(("ce_id".to_owned(), Bytes::from_static(b"a\0b")));
    assert_eq!(poison(decoder().decode(&avro)).reason, Reason::BadField);
}

#[test]
fn row_12_numbers_keep_their_digits() {
    let numbers = ["1e400", "-0", "9223372036854775808", "18446744073709551617", "0.30000000000000004", "-1E-400"];
    for number in numbers {
        let text = format!(r#"{{"team": "acme", "type": "x.y", "data": {{"n": {number}, "t": "NaN"}}}}"#);
        let data = decode(text).unwrap().event.data;
        assert_eq!(data["n"].to_string().to_lowercase(), number.to_lowercase().replace("e4", "e+4"), "{number}");
    }
    refused(r#"{"team": "acme", "type": "x.y", "data": {"n": NaN}}"#, Reason::Decode);
}

#[test]
fn row_13_the_same_event_id_makes_the_same_notification_whatever_the_content() {
    let (one, other) = (with("id", json!("e1")), {
        let mut envelope: Value = serde_json::from_slice(&with("id", json!("e1"))).unwrap();
        envelope["data"] = json!({"changed": true});
        envelope.to_string()
    });
    let id = |value: Bytes, offset: i64| {
        let record = Record { offset, ..record(value) };
        delivery_of(&decoder().decode(&record).unwrap(), &record).id
    };
    assert_eq!(id(one.into(), 1), id(other.into(), 2));
    let nameless = Bytes::from_static(br#"{"team": "acme", "type": "x.y"}"#);
    assert_eq!(id(nameless.clone(), 1), id(nameless.clone(), 1));
    assert_ne!(id(nameless.clone(), 1), id(nameless, 2));
}

#[test]
fn row_14_any_year_of_the_calendar_is_a_time() {
    for time in ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2036-11-23T11:17:07+14:00"] {
        assert!(decode(with("time", json!(time))).unwrap().event.time.is_some(), "{time}");
    }
    refused(with("time", json!("10000-01-01T00:00:00Z")), Reason::BadField);
    refused(with("time", json!("2026-02-30T00:00:00Z")), Reason::BadField);
}

#[test]
fn an_unknown_event_type_is_an_event() {
    let event = decode(with("type", json!("acme.never-heard_of.it"))).unwrap().event;
    assert_eq!(&*event.event_type, "acme.never-heard_of.it");
}

#[test]
fn row_21_ten_thousand_headers_and_headers_that_are_not_utf8() {
    let mut record = record(framed(QUOTA_EXCEEDED, &quota_exceeded()));
    (0..10_000).for_each(|i| record.headers.push((format!("h{i}"), Bytes::from_static(b"\xff\xfe"))));
    record.headers.push(("ce_id".to_owned(), Bytes::from_static(b"\xff")));
    record.headers.push(("ce_source".to_owned(), Bytes::from_static(b"tyk")));
    let event = decoder().decode(&record).unwrap().event;
    assert_eq!((&*event.id, &*event.source), ("tidings.events-2-17", "tyk"));
    let letter = dead_letter(&record, &Poison::new(Reason::Decode, "x".repeat(10 * MAX_DETAIL)));
    let dropped = letter.headers.iter().find(|(name, _)| name == "tidings-headers-dropped").unwrap();
    assert_eq!(dropped.1, Bytes::from("9903"));
    assert_eq!(deadletter::original_headers(&letter.headers).len(), deadletter::MAX_HEADERS);
    let wide = Record { headers: vec![("h".to_owned(), vec![0; 50_000].into()); 3], ..record };
    let letter = dead_letter(&wide, &Poison::new(Reason::Decode, ""));
    assert_eq!(deadletter::original_headers(&letter.headers).len(), 1);
    let total: usize = letter.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(total < deadletter::MAX_HEADER_BYTES + 2 * MAX_DETAIL, "{total}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_an_event_or_poison(bytes in any::<Vec<u8>>()) {
        let decoder = decoder();
        for prefix in [&b""[..], b"{", b"{\"data\":", &framed(QUOTA_EXCEEDED, b"")] {
            let record = record([prefix, &bytes].concat());
            match decoder.decode(&record) {
                Ok(decoded) => prop_assert!(decoded.event.data.is_object()),
                Err(unread) => {
                    let poison = Poison::from(unread);
                    prop_assert!(poison.detail.len() <= MAX_DETAIL);
                    prop_assert_eq!(dead_letter(&record, &poison).value, record.value);
                }
            }
        }
    }

    #[test]
    fn arbitrary_attributes_are_an_event_or_poison(
        texts in any::<[Option<String>; 6]>(), field in any::<String>(), number in any::<f64>(),
    ) {
        let [team, id, source, kind, time, subject] = texts;
        let envelope = json!({"team": team, "id": id, "source": source, "type": kind, "time": time, "subject": subject,
            "data": {field: number}});
        let _ = decode(envelope.to_string());
        let decoder = decoder();
        let mut record = record(framed(QUOTA_EXCEEDED, &quota_exceeded()));
        for (name, value) in [("ce_team", team), ("ce_id", id), ("ce_time", time), ("ce_subject", subject)] {
            record.headers.extend(value.map(|value| (name.to_owned(), Bytes::from(value))));
        }
        let _ = decoder.decode(&record);
    }
}
