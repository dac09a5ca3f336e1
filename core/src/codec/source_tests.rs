//! Sources by example: a source, a record, and the event that it is read as.

use std::collections::BTreeMap;

use apache_avro::{Schema, types::Value as Avro, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Decoded, Decoder, Poison, Reason, Recipe, Registered, SchemaRef, Source, Unread,
    hostile::{delivery_of, framed},
    mapping::{Format, Place, TopicPattern},
    registered::fingerprints,
};
use crate::{
    catalog::Catalog,
    domain::{Record, TeamId, Timestamp},
};

const QUOTA: &str = "tyk.QuotaExceeded";

fn record(headers: &[(&str, &[u8])], value: impl Into<Bytes>) -> Record {
    Record {
        topic: "orders.eu".into(),
        partition: 0,
        offset: 9,
        timestamp: Timestamp(0),
        key: Some(Bytes::from_static(b"k-1")),
        value: Some(value.into()),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), Bytes::copy_from_slice(v))).collect(),
    }
}

fn source() -> Source {
    Source::usual("orders.*".parse::<TopicPattern>().unwrap())
}

fn place(text: &str) -> Option<Place> {
    Some(text.parse().unwrap())
}

fn decoder(source: Source) -> Decoder {
    Decoder::of(&Catalog::builtin(), Recipe { sources: vec![source], registry: true, ..Recipe::default() }).unwrap()
}

/// Team, type, id, source, time, subject and data of an event, as one value.
fn seen(decoded: &Decoded) -> Value {
    let event = &decoded.event;
    json!([
        event.team.as_str(),
        &*event.event_type,
        &*event.id,
        &*event.source,
        event.time.map(|time| time.0),
        event.subject.as_deref(),
        event.data
    ])
}

/// Reads a record, holds the event to what is expected, and reads it again from the delivery by a decoder that has the same
/// schemas and no source.
fn check(decoder: &Decoder, record: &Record, codec: &str, expected: Value) {
    let decoded = decoder.decode(record).unwrap_or_else(|unread| panic!("{unread}: {record:?}"));
    assert_eq!((seen(&decoded), &*decoded.codec), (expected, codec));
    assert_eq!(decoder.again(&delivery_of(&decoded, record)), Ok(decoded.event));
}

fn poison(decoder: &Decoder, record: &Record) -> String {
    match decoder.decode(record) {
        Err(Unread::Poison(poison)) => poison.to_string(),
        other => panic!("{other:?} instead of poison"),
    }
}

fn datum(schema: &Schema, fields: &[(&str, Avro)]) -> Vec<u8> {
    let record = Avro::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(record).unwrap()
}

fn avro(text: &str) -> Registered {
    Registered { schema: text.to_owned(), ..Registered::default() }
}

fn quota() -> (Schema, Vec<u8>) {
    let schema = Catalog::builtin().get(QUOTA).unwrap().schema.clone();
    let text = |text: &str| Avro::String(text.to_owned());
    let datum = datum(
        &schema,
        &[
            ("message", text("m")),
            ("path", text("/p")),
            ("origin", text("o")),
            ("key", Avro::Union(0, Box::new(Avro::Null))),
            ("originating_request", Avro::Union(0, Box::new(Avro::Null))),
        ],
    );
    (schema, datum)
}

fn quota_data() -> Value {
    json!({"message": "m", "path": "/p", "origin": "o", "key": null, "originating_request": null})
}

const BINARY: [(&str, &[u8]); 6] = [
    ("ce_specversion", b"1.0"),
    ("ce_type", b"tyk.QuotaExceeded"),
    ("ce_id", b"e1"),
    ("ce_source", b"/gateway"),
    ("ce_team", b"acme"),
    ("ce_time", b"1970-01-01T00:00:01Z"),
];

#[test]
fn a_cloud_event_in_either_mode_needs_no_source() {
    let decoder = decoder(Source::usual("elsewhere".parse().unwrap()));
    let expected = json!(["acme", QUOTA, "e1", "/gateway", 1000, null, {"path": "/p"}]);
    let structured = json!({"specversion": "1.0", "type": QUOTA, "id": "e1", "source": "/gateway", "team": "acme",
        "time": "1970-01-01T00:00:01Z", "data": {"path": "/p"}});
    let mode = [("content-type", &b"application/cloudevents+json; charset=UTF-8"[..])];
    check(&decoder, &record(&mode, structured.to_string()), "json", expected.clone());
    let mut binary = BINARY.to_vec();
    check(&decoder, &record(&binary, r#"{"path": "/p"}"#), "json#", expected.clone());
    // Data that looks like an envelope is data all the same.
    let data = json!({"type": "x.y", "data": {"a": 1}, "specversion": "9"});
    let like = json!(["acme", QUOTA, "e1", "/gateway", 1000, null, data]);
    check(&decoder, &record(&binary, data.to_string()), "json#", like);
    check(&decoder, &record(&binary, ""), "json#", json!(["acme", QUOTA, "e1", "/gateway", 1000, null, {}]));
    binary.push(("content-type", b"application/json"));
    assert_eq!(poison(&decoder, &record(&binary, "[1]")), "bad_field: data: found \"[1]\"; an object is wanted");
    binary[1].1 = b"x y";
    assert!(poison(&decoder, &record(&binary, "{}")).starts_with("bad_field: type"));
}

#[test]
fn a_cloud_event_may_carry_avro() {
    let decoder = decoder(source());
    let (schema, datum) = quota();
    let expected = json!(["acme", QUOTA, "e1", "/gateway", 1000, null, quota_data()]);
    let object = [&[0xC3, 1][..], &fingerprints(&schema)[0], &datum].concat();
    check(&decoder, &record(&BINARY, object), "avro_object", expected.clone());
    let bare = self::decoder(Source { format: Format::Avro, ..source() });
    let fingerprint = u64::from_be_bytes(fingerprints(&schema)[0]);
    check(&bare, &record(&BINARY, datum), &format!("avro:{fingerprint:016x}"), expected);
    assert!(poison(&bare, &record(&BINARY[2..], "x")).contains("Avro without framing needs it"));
}

#[test]
fn single_objects_of_every_type_of_the_catalog_are_known() {
    let decoder = decoder(source());
    for known in Catalog::builtin().types() {
        for fingerprint in fingerprints(&known.schema) {
            let record = record(&[("ce_team", b"acme")], [&[0xC3, 1][..], &fingerprint].concat());
            // Without a datum most are too short, but for no unknown schema.
            if let Err(unread) = decoder.decode(&record) {
                assert_eq!(Poison::from(unread).reason, Reason::Decode, "{}", known.key);
            }
        }
    }
    let stranger = record(&[], [&[0xC3, 1][..], &[7; 8]].concat());
    let expected =
        "unknown_schema: no schema of the catalog or of schemas.earlier has the fingerprint 0707070707070707";
    assert_eq!(poison(&decoder, &stranger), expected);
}

#[test]
fn somebody_elses_json_is_read_by_its_places() {
    let mapped = Source {
        format: Format::Json,
        event_type: place("/meta/event"),
        id: place("/meta/id"),
        source: place("constant:shop"),
        team: place("header:tenant"),
        time: place("/meta/at"),
        subject: place("key"),
        data: Some("/payload".parse().unwrap()),
        types: BTreeMap::from([("quota".to_owned(), QUOTA.to_owned())]),
        default_team: Some(TeamId::new("house").unwrap()),
        ..source()
    };
    let decoder = decoder(mapped);
    let value = json!({"meta": {"event": "quota", "id": 17, "at": 1_700_000_000}, "payload": {"path": "/p"}});
    let expected = json!(["acme", QUOTA, "17", "shop", 1_700_000_000_000i64, "k-1", {"path": "/p"}]);
    check(&decoder, &record(&[("tenant", b"acme")], value.to_string()), "json#/payload", expected);
    let bare = json!({"meta": {"event": "other.thing"}});
    let expected = json!(["house", "other.thing", "orders.eu-0-9", "shop", null, "k-1", {}]);
    check(&decoder, &record(&[], bare.to_string()), "json#/payload", expected);
    let refused =
        |value: Value, expected: &str| assert_eq!(poison(&decoder, &record(&[], value.to_string())), expected);
    refused(json!({"meta": {}}), "bad_field: type: is missing");
    refused(json!([1]), "bad_field: type: is missing");
    let found = "bad_field: type: found \"{\\\"a\\\":1}\" at /meta/event; text or a number is wanted";
    refused(json!({"meta": {"event": {"a": 1}}}), found);
    let late = "bad_field: time: found \"soon\"; RFC 3339, or a number since 1970, is wanted";
    refused(json!({"meta": {"event": "a.b", "at": "soon"}}), late);
    refused(json!({"meta": {"event": "a.b"}, "payload": 5}), "bad_field: data: found \"5\"; an object is wanted");
}

#[test]
fn the_whole_value_may_be_the_data() {
    let whole = Source {
        event_type: place("/kind"),
        team: place("constant:acme"),
        data: Some("".parse().unwrap()),
        ..source()
    };
    let value = json!({"kind": "a.b", "n": 1});
    let expected = json!(["acme", "a.b", "orders.eu-0-9", "orders.eu", null, null, value]);
    check(&decoder(whole), &record(&[], value.to_string()), "json#", expected);
}

#[test]
fn a_topic_is_read_by_the_source_that_names_it_or_else_by_the_first_that_means_it() {
    let team = |topic: &str, team: &str| Source {
        default_team: Some(TeamId::new(team).unwrap()),
        ..Source::usual(topic.parse().unwrap())
    };
    let sources = vec![team("orders.*", "rest"), team("orders.us", "us"), team("*", "last"), team("own.b", "named")];
    let own_prefix = "own.".to_owned();
    let recipe = Recipe { sources, own_prefix, default_team: TeamId::new("none").ok(), ..Recipe::default() };
    let decoder = Decoder::of(&Catalog::builtin(), recipe).unwrap();
    let read = |topic: &str| {
        let record = Record { topic: topic.into(), ..record(&[], r#"{"type": "a.b"}"#) };
        decoder.decode(&record).unwrap().event.team.to_string()
    };
    let topics = ["orders.us", "orders.eu", "x", "own.a", "own.b"];
    assert_eq!(topics.map(read), ["us", "rest", "last", "none", "named"]);
}

#[test]
fn types_are_mapped_to_what_the_catalog_knows() {
    let types = BTreeMap::from([("a".to_owned(), "tyk.Unheard".to_owned())]);
    let recipe = Recipe {
        sources: vec![Source { types, ..source() }],
        schema_ids: BTreeMap::from([(7, "x.y".to_owned())]),
        ..Recipe::default()
    };
    let faults = Decoder::of(&Catalog::builtin(), recipe).unwrap_err();
    let expected = [
        "schema id 7 is mapped to \"x.y\", which the catalog does not know",
        "source[0].types.a: found \"tyk.Unheard\", which the catalog does not know",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn names_that_one_type_alone_has_mean_it() {
    let decoder = decoder(source());
    let catalog = Catalog::builtin();
    let names = |known: &crate::catalog::EventType| {
        known.wire_name.iter().chain(&known.aliases).cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let mut tried = 0;
    for known in catalog.types() {
        for name in names(known) {
            let only = catalog.get(&name).is_none()
                && catalog.types().filter(|other| names(other).contains(&name)).count() == 1;
            let value = json!({"type": name, "team": "acme"});
            let Ok(decoded) = decoder.decode(&record(&[], value.to_string())) else { continue };
            tried += 1;
            assert_eq!(*decoded.event.event_type == *known.key, only || *known.key == *name, "{name}");
        }
    }
    assert!(tried > 0, "no type has another name");
}

#[test]
fn a_schema_is_needed_learned_and_forgotten() {
    let decoder = decoder(source());
    let (schema, datum) = quota();
    let id = SchemaRef::Id(41);
    let record = record(&[("ce_team", b"acme")], framed(41, &datum));
    assert_eq!(decoder.needs(&record), Some(id));
    assert_eq!(decoder.decode(&record), Err(Unread::Needs(id)));
    decoder.learn(id, None);
    assert_eq!(poison(&decoder, &record), "unknown_schema: the registry has no schema 41");
    assert!(decoder.has_learned(&id) && decoder.needs(&record).is_none());
    decoder.forget(&id);
    assert_eq!(decoder.decode(&record), Err(Unread::Needs(id)));
    decoder.learn(id, Some(&avro(&serde_json::to_string(&schema).unwrap())));
    let expected = json!(["acme", QUOTA, "orders.eu-0-9", "orders.eu", null, null, quota_data()]);
    check(&decoder, &record, "confluent_avro", expected);
    decoder.learn(id, Some(&Registered { schema_type: "PROTOBUF".to_owned(), ..avro("x") }));
    let expected =
        "unknown_schema: schema 41 cannot be read with: schemas of type PROTOBUF are not read; AVRO and JSON are";
    assert_eq!(poison(&decoder, &record), expected);
}

#[test]
fn a_schema_id_in_a_header_travels_in_the_codec() {
    let decoder = decoder(source());
    let (schema, datum) = quota();
    let text = avro(&serde_json::to_string(&schema).unwrap());
    let expected = json!(["acme", QUOTA, "orders.eu-0-9", "orders.eu", null, null, quota_data()]);
    let guid = [0x5A; 16];
    let header = [&[1][..], &guid].concat();
    let by_guid = record(&[("ce_team", b"acme"), ("__value_schema_id", &header)], datum.clone());
    assert_eq!(decoder.needs(&by_guid), Some(SchemaRef::Guid(guid)));
    decoder.learn(SchemaRef::Guid(guid), Some(&text));
    check(&decoder, &by_guid, &format!("confluent_avro:{}", SchemaRef::Guid(guid)), expected.clone());
    decoder.learn(SchemaRef::Id(41), Some(&text));
    let by_id = record(&[("ce_team", b"acme"), ("__value_schema_id", b"\0\0\0\0\x29")], datum);
    check(&decoder, &by_id, "confluent_avro:41", expected);
}

#[test]
fn data_is_read_with_its_writers_schema_and_completed_by_the_catalogs() {
    let catalog = Catalog::load(&[(
        "p/k.avsc".to_owned(),
        r#"{"type": "record", "namespace": "p", "name": "k", "doc": "d", "tidings.displayName": "K",
            "tidings.category": "c", "tidings.severity": "info", "tidings.example": {"seats": 1}, "fields": [
            {"name": "seats", "type": "long", "aliases": ["places"]},
            {"name": "tier", "type": "string", "default": "free"}]}"#
            .to_owned(),
    )])
    .unwrap();
    let recipe = Recipe { registry: true, ..Recipe::default() };
    let decoder = Decoder::of(&catalog, recipe).unwrap();
    let read = |id: u32, text: &str, fields: &[(&str, Avro)], expected: Value| {
        decoder.learn(SchemaRef::Id(id), Some(&avro(text)));
        let value = framed(id, &datum(&Schema::parse_str(text).unwrap(), fields));
        let expected = json!(["acme", "p.k", "orders.eu-0-9", "orders.eu", null, null, expected]);
        check(&decoder, &record(&[("ce_team", b"acme")], value), "confluent_avro", expected);
    };
    read(
        1,
        r#"{"type": "record", "name": "p.k", "fields": [{"name": "gone", "type": "int"}, {"name": "places", "type": "int"}]}"#,
        &[("gone", Avro::Int(1)), ("places", Avro::Int(5))],
        json!({"gone": 1, "seats": 5, "tier": "free"}),
    );
    read(
        2,
        r#"{"type": "record", "name": "p.k", "fields": [{"name": "tier", "type": "string"},
            {"name": "seats", "type": "long"}, {"name": "later", "type": "boolean"}]}"#,
        &[("tier", Avro::String("paid".into())), ("seats", Avro::Long(6)), ("later", Avro::Boolean(true))],
        json!({"tier": "paid", "seats": 6, "later": true}),
    );
    // Under another name altogether, with the key said outright.
    read(
        3,
        r#"{"type": "record", "name": "com.acme.Seats", "tidings.key": "p.k", "fields": [{"name": "seats", "type": "long"}]}"#,
        &[("seats", Avro::Long(7))],
        json!({"seats": 7, "tier": "free"}),
    );
}

#[test]
fn a_registered_schema_says_the_type_by_its_name_its_subject_or_the_sources_map() {
    let types = BTreeMap::from([("com.acme.Quota".to_owned(), QUOTA.to_owned()), ("b".to_owned(), QUOTA.to_owned())]);
    let decoder = decoder(Source { types, ..source() });
    let record_of =
        |name: &str| format!(r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "a", "type": "int"}}]}}"#);
    let check = |name: &str, subjects: &[&str], headers: &[(&str, &[u8])], expected: &str| {
        let subjects: Vec<String> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        decoder.learn(SchemaRef::Id(1), Some(&Registered { subjects, ..avro(&record_of(name)) }));
        let headers = [&[("ce_team", &b"acme"[..])], headers].concat();
        let decoded = decoder.decode(&record(&headers, framed(1, &[2]))).unwrap();
        assert_eq!(&*decoded.event.event_type, expected, "{name} {headers:?}");
    };
    check("com.acme.Quota", &[], &[], QUOTA);
    check("tyk.QuotaExceeded", &[], &[], QUOTA);
    check("com.acme.Other", &["b-value"], &[], QUOTA);
    check("com.acme.Other", &["b"], &[], QUOTA);
    check("com.acme.Other", &["c"], &[], "com.acme.Other");
    check("com.acme.Other", &["c"], &[("ce_type", b"x.y")], "x.y");
    check("com.acme.Quota", &[], &[("ce_type", b"x.y")], QUOTA);
    check("com.acme.Quota", &[], &[("ce_type", b"x.y"), ("ce_specversion", b"1.0")], "x.y");
    assert!(decoder.is_named(&avro(&record_of("com.acme.Quota"))));
    assert!(!decoder.is_named(&avro(&record_of("com.acme.Other"))));
}

#[test]
fn json_behind_a_registrys_framing_is_data_or_an_envelope() {
    let decoder = decoder(source());
    let schema =
        |title: &str| Registered { schema_type: "JSON".to_owned(), ..avro(&json!({"title": title}).to_string()) };
    decoder.learn(SchemaRef::Id(5), Some(&schema(QUOTA)));
    let data = record(&[("ce_team", b"acme")], framed(5, br#"{"path": "/p"}"#));
    let expected = json!(["acme", QUOTA, "orders.eu-0-9", "orders.eu", null, null, {"path": "/p"}]);
    check(&decoder, &data, "confluent_json#", expected.clone());
    let header = [("ce_team", &b"acme"[..]), ("__value_schema_id", b"\0\0\0\0\x05")];
    check(&decoder, &record(&header, r#"{"path": "/p"}"#), "json#", expected);
    let envelope = json!({"team": "acme", "type": "a.b", "data": {"x": 1}}).to_string();
    let expected = json!(["acme", "a.b", "orders.eu-0-9", "orders.eu", null, null, {"x": 1}]);
    check(&decoder, &record(&[], framed(5, envelope.as_bytes())), "confluent_json", expected);
}

#[test]
fn a_pointer_leads_into_avro_too() {
    let mapped =
        Source { event_type: place("/kind"), team: place("/tenant"), data: Some("/body".parse().unwrap()), ..source() };
    let decoder = decoder(mapped);
    let text = r#"{"type": "record", "name": "Message", "fields": [{"name": "tenant", "type": "string"},
        {"name": "kind", "type": "string"}, {"name": "body", "type": {"type": "map", "values": "long"}}]}"#;
    decoder.learn(SchemaRef::Id(2), Some(&avro(text)));
    let fields = [
        ("tenant", Avro::String("acme".into())),
        ("kind", Avro::String("a.b".into())),
        ("body", Avro::Map([("n".to_owned(), Avro::Long(3))].into())),
    ];
    let value = framed(2, &datum(&Schema::parse_str(text).unwrap(), &fields));
    let expected = json!(["acme", "a.b", "orders.eu-0-9", "orders.eu", null, null, {"n": 3}]);
    check(&decoder, &record(&[], value), "confluent_avro#/body", expected);
}
