//! The step over real records: what comes out, and what bad input does to its neighbours.

use std::collections::BTreeMap;

use apache_avro::{Schema, types::Value as Avro, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde_json::json;

use super::{
    Batch, Matcher, Options, guarded,
    reading::{Found, Reading},
};
use crate::{
    catalog::{Catalog, builtin_files},
    codec::{self, Decoded, Decoder, Poison, Reason, registered::fingerprints},
    directory::Directory,
    domain::{Delivery, Event, Output, Record, Timestamp},
};

const TYPE: &str = "replicated.customer.created";

fn options() -> Options {
    Options {
        deliveries: "deliveries".into(),
        deadletters: "deadletters".into(),
        index_versions: "index_versions".into(),
        delivery_partitions: 12,
        max_fanout: 1_000,
        max_fanout_bytes: 1 << 20,
        max_batch_bytes: 1 << 20,
        threads: 1,
    }
}

fn record(offset: i64, value: Option<&str>) -> Record {
    Record {
        topic: "events".into(),
        partition: 3,
        offset,
        timestamp: Timestamp::parse("2026-11-23T10:00:00Z").unwrap(),
        key: None,
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

fn event(id: &str, license: &str) -> String {
    json!({"team": "acme", "type": TYPE, "id": id, "time": "2026-11-22T23:59:59Z",
           "data": {"license_type": license}})
    .to_string()
}

/// A directory with subscriptions of team acme, each to these destinations.
fn directory(subscriptions: &[(&str, serde_json::Value, &[&str])]) -> Directory {
    let mut directory = Directory::new(Catalog::builtin());
    for (offset, (id, filter, destinations)) in subscriptions.iter().enumerate() {
        let value = json!({"team": "acme", "id": id, "revision": 4, "events": [{"type": TYPE, "filter": filter}],
                           "destinations": destinations});
        let mut record = record(offset as i64, Some(&value.to_string()));
        record.key = Some(Bytes::from(format!("sub/acme/{id}")));
        directory.apply(&record);
    }
    assert_eq!(directory.counts().subscriptions, subscriptions.len(), "{:?}", directory.problems().next());
    // As whoever follows the topic does before a matcher sees it.
    directory.settle();
    directory
}

fn step(matcher: &mut Matcher, records: &[Record], directory: &Directory) -> Batch {
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
    matcher.step(records, directory, &decoder)
}

fn of<'a>(batch: &'a Batch, topic: &'a str) -> impl Iterator<Item = &'a Output> {
    batch.outputs.iter().filter(move |output| &*output.topic == topic)
}

fn deliveries(batch: &Batch) -> Vec<Delivery> {
    of(batch, "deliveries").map(|o| codec::decode_delivery(o.value.as_deref().unwrap()).unwrap()).collect()
}

#[test]
fn an_event_becomes_a_delivery_for_each_matching_pair_in_a_fixed_order() {
    let directory = directory(&[
        ("b", json!({"licenseType": ["paid"]}), &["ops", "crm"]),
        ("a", json!({}), &["ops"]),
        ("c", json!({"licenseType": ["trial"]}), &["ops"]),
    ]);
    let batch = step(&mut Matcher::new(options()), &[record(7, Some(&event("e1", "paid")))], &directory);
    let pairs: Vec<(String, String)> =
        deliveries(&batch).iter().map(|d| (d.subscription.to_string(), d.destination.to_string())).collect();
    let expected = [("a", "ops"), ("b", "ops"), ("b", "crm")].map(|(s, d)| (s.to_owned(), d.to_owned()));
    assert_eq!(pairs, expected);
    for (delivery, output) in deliveries(&batch).iter().zip(of(&batch, "deliveries")) {
        assert_eq!(output.partition, Some(delivery.destination_hash % 12));
        assert_eq!(delivery.day.to_string(), "2026-11-22", "the event's own day, not the record's");
        assert_eq!(delivery.subscription_revision, 4);
        assert_eq!(delivery.index_version, 3);
        assert_eq!(delivery.event, event("e1", "paid").into_bytes());
    }
}

#[test]
fn the_index_version_is_written_once_for_a_range_and_again_after_forgetting() {
    let mut matcher = Matcher::new(options());
    let directory = directory(&[("a", json!({}), &["ops"])]);
    let versions = |batch: &Batch| {
        let read = |o: &Output| serde_json::from_slice::<serde_json::Value>(o.value.as_deref().unwrap()).unwrap();
        of(batch, "index_versions").map(read).collect::<Vec<_>>()
    };
    let first = step(&mut matcher, &[record(5, Some(&event("e1", "paid")))], &directory);
    assert_eq!(versions(&first), [json!({"topic": "events", "partition": 3, "first": 5, "index_version": 1})]);
    assert!(versions(&step(&mut matcher, &[record(6, Some(&event("e2", "paid")))], &directory)).is_empty());
    matcher.forget();
    let again = step(&mut matcher, &[record(6, Some(&event("e2", "paid")))], &directory);
    assert_eq!(versions(&again)[0]["first"], 6);
}

/// A version may hold for longer than the topic keeps the record that says so.
#[test]
fn the_index_version_is_said_again_with_the_first_event_of_a_later_day() {
    let mut matcher = Matcher::new(options());
    let directory = directory(&[("a", json!({}), &["ops"])]);
    let mut on = |offset: i64, time: &str| {
        let timestamp = Timestamp::parse(time).unwrap();
        let batch =
            step(&mut matcher, &[Record { timestamp, ..record(offset, Some(&event("e", "paid"))) }], &directory);
        of(&batch, "index_versions").count()
    };
    assert_eq!(on(0, "2026-11-23T10:00:00Z"), 1);
    assert_eq!(on(1, "2026-11-23T23:59:59Z"), 0);
    assert_eq!(on(2, "2026-11-24T00:00:00Z"), 1);
    assert_eq!(on(3, "2026-11-23T23:59:59Z"), 0, "a producer's clock that goes back says nothing new");
}

#[test]
fn an_event_matched_again_has_the_ids_of_the_first_time_and_says_when_it_was_replayed() {
    let directory = directory(&[("a", json!({}), &["ops", "crm"])]);
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
    let matcher = Matcher::new(options());
    let record = record(7, Some(&event("e1", "paid")));
    let now = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
    let first = deliveries(&step(&mut Matcher::new(options()), std::slice::from_ref(&record), &directory));
    let again = matcher.again(&record, &directory, &decoder, now).unwrap();
    let decoded = again.iter().map(|r| codec::decode_delivery(r.output.value.as_deref().unwrap()).unwrap());
    let expected: Vec<Delivery> = first.into_iter().map(|d| Delivery { replayed_at: Some(now), ..d }).collect();
    assert_eq!(decoded.collect::<Vec<_>>(), expected);
    assert!(again.iter().zip(&expected).all(|(found, delivery)| (found.id, found.day) == (delivery.id, delivery.day)));
}

#[test]
fn a_full_batch_ends_between_events_and_leaves_the_rest() {
    let mut matcher = Matcher::new(Options { max_batch_bytes: 100, ..options() });
    let directory = directory(&[("a", json!({}), &["ops", "crm"])]);
    let records: Vec<Record> = (0..5).map(|n| record(n, Some(&event(&format!("e{n}"), "paid")))).collect();
    let batch = step(&mut matcher, &records, &directory);
    assert_eq!((batch.taken, deliveries(&batch).len()), (1, 2));
    assert_eq!(batch.offsets.iter().map(|(_, next)| *next).collect::<Vec<_>>(), [1]);
}

fn in_avro(json: &serde_json::Value) -> Avro {
    match json {
        serde_json::Value::Null => Avro::Null,
        serde_json::Value::Bool(boolean) => Avro::Boolean(*boolean),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Avro::Double(number.as_f64().unwrap()), Avro::Long)
        }
        serde_json::Value::String(text) => Avro::String(text.clone()),
        serde_json::Value::Array(elements) => Avro::Array(elements.iter().map(in_avro).collect()),
        serde_json::Value::Object(members) => {
            Avro::Map(members.iter().map(|(name, value)| (name.clone(), in_avro(value))).collect())
        }
    }
}

/// Only the fields that are asked for are read, unless a filter must be tried by itself: what matches is the same, and so are
/// dead letters of what is malformed.
#[test]
fn an_event_in_avro_matches_as_the_same_in_json_does() {
    let (_, file) =
        builtin_files().into_iter().find(|(name, _)| name.ends_with("replicated/customer.created.avsc")).unwrap();
    let schema = Schema::parse_str(&file).unwrap();
    let example = Catalog::builtin().get(TYPE).unwrap().example.clone();
    let value = in_avro(&example).resolve(&schema).unwrap();
    let datum = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap();
    let object = |datum: &[u8]| [&[0xC3, 1], &fingerprints(&schema)[0][..], datum].concat();
    let avro = |offset, datum: &[u8]| {
        let header = |name: &str, value: &'static str| (name.to_owned(), Bytes::from_static(value.as_bytes()));
        let headers = vec![header("ce_team", "acme"), header("ce_id", "e1"), header("ce_source", "shop")];
        Record { value: Some(object(datum).into()), headers, ..record(offset, None) }
    };
    let json = json!({"team": "acme", "type": TYPE, "id": "e1", "source": "shop", "data": example}).to_string();
    let filters = [
        (json!({"licenseType": ["paid"]}), false),
        (json!({"licenseType": [{"not": ["paid"]}]}), true),
        (json!({"$or": [{"licenseType": ["trial"]}, {"appId": [{"prefix": "2b"}]}]}), true),
        (json!({"licenseType": [{"anything-but": ["paid"]}]}), false),
        (json!({}), false),
    ];
    let mut matched = 0;
    for (filter, is_tried_by_itself) in &filters {
        let directory = directory(&[("sub", filter.clone(), &["hook"])]);
        let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
        let read = Reading::default().avro(&avro(1, &datum), &directory, &decoder);
        assert_eq!(read.is_none(), *is_tried_by_itself, "{filter}");
        let mut matcher = Matcher::new(options());
        let of = |batch: &Batch| {
            deliveries(batch).into_iter().map(|d| (d.id, d.subscription, d.event_type)).collect::<Vec<_>>()
        };
        let [in_json, in_avro] =
            [record(1, Some(&json)), avro(1, &datum)].map(|record| of(&step(&mut matcher, &[record], &directory)));
        assert_eq!(in_avro, in_json, "{filter}");
        matched += in_avro.len();
        // Cut off, the same bytes are poison, whatever was asked for.
        let cut = step(&mut matcher, &[avro(1, &datum[..datum.len() - 1])], &directory);
        assert_eq!((deliveries(&cut).len(), cut.set_aside.len()), (0, 1), "{filter}");
    }
    assert!((2..filters.len()).contains(&matched), "{matched} of {} match", filters.len());
}

#[test]
fn row_01_a_tombstone_is_counted_and_its_offset_advances() {
    let directory = directory(&[("a", json!({}), &["ops"])]);
    let batch = step(&mut Matcher::new(options()), &[record(0, None), record(1, None)], &directory);
    assert_eq!((batch.counts.tombstones, deliveries(&batch).len(), batch.set_aside.len()), (2, 0, 0));
    assert_eq!(batch.offsets[0].1, 2);
}

#[test]
fn poison_is_set_aside_whole_and_its_neighbours_go_on() {
    let directory = directory(&[("a", json!({}), &["ops"])]);
    let records = [
        record(0, Some(&event("e0", "paid"))),
        record(1, Some("{\"type\": \"cut o")),
        record(2, Some(&event("e2", "paid"))),
    ];
    let batch = step(&mut Matcher::new(options()), &records, &directory);
    assert_eq!(deliveries(&batch).len(), 2);
    let letters: Vec<&Output> = of(&batch, "deadletters").collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value, records[1].value);
    assert_eq!(batch.set_aside[0].0.offset, 1);
    assert_eq!(batch.offsets[0].1, 3);
}

#[test]
fn row_15_an_unknown_type_is_counted_and_still_offered_to_any_type() {
    let mut directory = directory(&[]);
    let any = json!({"team": "acme", "id": "any", "events": [{"type": "*"}], "destinations": ["ops"]});
    let mut change = record(0, Some(&any.to_string()));
    change.key = Some(Bytes::from_static(b"sub/acme/any"));
    directory.apply(&change);
    let unknown = json!({"team": "acme", "type": "acme.rocket.launched", "id": "1", "data": {}}).to_string();
    let batch = step(&mut Matcher::new(options()), &[record(0, Some(&unknown))], &directory);
    assert_eq!((batch.counts.unknown_type, deliveries(&batch).len(), batch.set_aside.len()), (1, 1, 0));
}

#[test]
fn row_19_an_event_with_too_many_matches_is_set_aside_and_never_split() {
    let destinations: Vec<String> = (0..60).map(|n| format!("d{n}")).collect();
    let names: Vec<&str> = destinations.iter().map(String::as_str).collect();
    let directory = directory(&[("a", json!({}), &names), ("b", json!({}), &names)]);
    let check = |options: Options, expected: Option<&str>| {
        let batch = step(&mut Matcher::new(options), &[record(0, Some(&event("e", "paid")))], &directory);
        match expected {
            None => assert_eq!((deliveries(&batch).len(), batch.set_aside.len()), (120, 0)),
            Some(words) => {
                let poison: &Poison = &batch.set_aside[0].1;
                assert_eq!((deliveries(&batch).len(), poison.reason), (0, Reason::Fanout));
                assert!(poison.detail.contains(words), "{}", poison.detail);
            }
        }
    };
    check(options(), None);
    check(Options { max_fanout: 119, ..options() }, Some("max_fanout is 119"));
    check(Options { max_fanout_bytes: 10_000, ..options() }, Some("max_fanout_bytes is 10000"));
    // Larger than a batch, it still goes as a whole.
    check(Options { max_batch_bytes: 1, ..options() }, None);
}

#[test]
fn an_event_on_which_a_filter_costs_too_much_is_set_aside_and_says_whose_it_is() {
    let choices: Vec<_> = (0..64).map(|i| json!({"a": [i], "license_type": ["paid"]})).collect();
    let mut directory = directory(&[("cheap", json!({}), &["ops"])]);
    let dear = json!({"team": "acme", "id": "dear", "events": [{"type": "*", "filter": {"$or": choices}}],
                      "destinations": ["ops"]});
    let mut change = record(1, Some(&dear.to_string()));
    change.key = Some(Bytes::from_static(b"sub/acme/dear"));
    directory.apply(&change);
    let check = |numbers: usize, expected: Option<&str>| {
        let data = json!({"license_type": "trial", "a": vec![100; numbers]});
        let event = json!({"team": "acme", "type": TYPE, "id": "1", "data": data}).to_string();
        let batch = step(&mut Matcher::new(options()), &[record(0, Some(&event))], &directory);
        let found = batch.set_aside.first().map(|(_, poison)| (poison.reason, poison.detail.as_str()));
        assert_eq!(found, expected.map(|detail| (Reason::FilterTooCostly, detail)), "{numbers} numbers");
        assert_eq!(deliveries(&batch).len(), usize::from(expected.is_none()), "{numbers} numbers");
        assert_eq!(batch.taken, 1);
    };
    check(100, None);
    check(
        100_000,
        Some("the filter of subscription dear costs more than 1000000 units on this event, the most of one filter"),
    );
}

#[test]
fn row_22_a_panic_costs_its_own_record_alone() {
    let result: Result<(), Poison> = guarded(|| panic!("boom at {}", 7)).map_err(Poison::from);
    let poison = result.unwrap_err();
    assert_eq!((poison.reason, poison.detail.as_str()), (Reason::Panic, "boom at 7"));
    assert_eq!(guarded(|| Ok(5)), Ok(5));
}

#[test]
fn another_teams_subscription_never_sees_the_event() {
    let directory = directory(&[("a", json!({}), &["ops"])]);
    let other = event("e", "paid").replace("acme", "globex");
    let batch = step(&mut Matcher::new(options()), &[record(0, Some(&other))], &directory);
    assert_eq!((batch.counts.unmatched, deliveries(&batch).len()), (1, 0));
}

#[test]
fn any_number_of_threads_makes_the_same_batch() {
    let directory = directory(&[("a", json!({"licenseType": ["paid"]}), &["x", "y"]), ("b", json!({}), &["z"])]);
    let records: Vec<Record> = (0..1_000)
        .map(|n| match n % 7 {
            0 => record(n, None),
            1 => record(n, Some("no event")),
            n_ => record(n, Some(&event(&n.to_string(), if n_ % 2 == 0 { "paid" } else { "trial" }))),
        })
        .collect();
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
    // All of it, and closed somewhere in the middle.
    for max_batch_bytes in [1 << 20, 50_000, 1] {
        let step = |threads| {
            let mut matcher = Matcher::new(Options { max_batch_bytes, threads, ..options() });
            format!("{:?}", matcher.step(&records, &directory, &decoder))
        };
        let one = step(1);
        for threads in [2, 3, 5, 100] {
            assert!(step(threads) == one, "{threads} threads, {max_batch_bytes} bytes");
        }
    }
}

/// Whatever a byte is replaced by: what is taken out of an envelope is what reading all of it gives, and nothing is taken out of what is
/// refused.
#[test]
fn an_event_in_json_read_in_part_matches_as_the_same_read_whole_does() {
    let filters = [
        json!({"licenseType": ["paid", "trial"]}),
        json!({"licenseType": [{"exists": false}]}),
        json!({"licenseType": [{"anything-but": ["paid"]}], "licenseFields": {"seats": [{"numeric": [">", 10]}]}}),
        json!({}),
    ];
    let ids = ["a", "b", "c", "d"];
    let subscriptions: Vec<_> =
        ids.iter().zip(&filters).map(|(id, filter)| (*id, filter.clone(), &["ops"][..])).collect();
    let directory = directory(&subscriptions);
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
    // Used again for each, as in the product.
    let mut reading = Reading::default();
    let (mut in_part, mut matched) = (0, 0);
    let mut check = |text: &[u8]| {
        let record = Record { value: Some(Bytes::copy_from_slice(text)), ..record(7, None) };
        let found = |(Decoded { event, codec }, rules): Found<'_>| {
            let ids: Vec<_> = rules.iter().map(|rule| rule.subscription.id.clone()).collect();
            (Event { data: serde_json::Value::Null, ..event }, codec, ids)
        };
        let read = reading.without_habits().json(&record, &directory, &decoder).map(found);
        if let Some(read) = read {
            let whole = reading.whole(&record, &directory, &decoder);
            let whole = whole.map(found).unwrap_or_else(|unread| panic!("{}: {unread}", String::from_utf8_lossy(text)));
            assert_eq!(read, whole, "{}", String::from_utf8_lossy(text));
            in_part += 1;
            matched += read.2.len();
            return true;
        }
        false
    };
    let usual = [
        r#"{"team":"acme","type":"replicated.customer.created","data":{"license_type":"paid","license_fields":{"seats":25}}}"#,
        r#"{"specversion":"1.0","id":"e1","source":"/shop","subject":"é","time":"2026-11-22T23:59:59.5+02:00","x":[{}],"type":"customer.created","team":"acme","data":{"license_type":["x","paid"]}}"#,
        r#"{"data":{"license_type":null},"id":null,"time":null,"team":"acme","source":null,"subject":null,"type":"no.such.type"}"#,
    ];
    for text in usual {
        assert!(check(text.as_bytes()), "{text}");
        let mut bytes = text.as_bytes().to_vec();
        for at in 0..bytes.len() {
            for replaced in *b"\"{}[]:,\\n0a \0\xE9" {
                let before = std::mem::replace(&mut bytes[at], replaced);
                check(&bytes);
                bytes[at] = before;
            }
            check(&text.as_bytes()[..at]);
        }
    }
    let left_to_others = [
        r#"{"type":"t","data":{}}"#,
        r#"{"team":"acme","data":{}}"#,
        r#"{"team":"acme","type":"t"}"#,
        r#"{"team":"acme","type":"t","data":null}"#,
        r#"{"team":"acme","type":"t","data":{},"data_base64":"e30="}"#,
        r#"{"team":"acme","type":"t","data":{},"specversion":"0.3"}"#,
        r#"{"team":"acme","type":"t","data":{},"specversion":null}"#,
        r#"{"team":"acme","type":"t","data":{},"id":7}"#,
        r#"{"team":"acme","type":"t","data":{},"id":"1","id":"2"}"#,
        r#"{"team":"acme","type":"t","data":{},"id":"\u0031"}"#,
        r#"{"team":"acme","type":"t","data":{},"id":""}"#,
        r#"{"team":"no team","type":"t","data":{}}"#,
        r#"{"team":"acme","type":"no type","data":{}}"#,
        r#"{"team":"acme","type":"t","data":{},"time":"yesterday"}"#,
        r#"{"team":"acme","type":"t","data":{"license_type":[["paid"]]}}"#,
        r#"{"team":"acme","type":"t","data":{"license_type":[{}]}}"#,
    ];
    for text in left_to_others {
        assert!(!check(text.as_bytes()), "{text}");
    }
    assert!(in_part > 1_000 && matched > 1_000, "{in_part} read in part, {matched} matches");
}

/// What had to be read whole is not begun in part again, until it may have changed.
#[test]
fn events_that_had_to_be_read_whole_are_begun_in_part_again_after_a_while() {
    let mut reading = Reading::default();
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).unwrap();
    let tried_by_itself = directory(&[("a", json!({"$or": [{"licenseType": ["paid"]}, {"appId": ["x"]}]}), &["ops"])]);
    let plain = directory(&[("a", json!({"licenseType": ["paid"]}), &["ops"])]);
    let record = record(1, Some(&event("e1", "paid")));
    let mut in_part = |directory: &Directory| {
        let matched = reading.matching(&record, directory, &decoder).unwrap();
        assert_eq!(matched.1.len(), 1);
        reading.json(&record, directory, &decoder).is_some()
    };
    assert!(!in_part(&tried_by_itself));
    let tries = (0..1_000).take_while(|_| !in_part(&plain)).count();
    assert!((40..60).contains(&tries), "twice {tries} events were read whole");
    assert!((0..1_000).all(|_| in_part(&plain)));
}
