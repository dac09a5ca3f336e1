//! A type that has gained a field since: what was written before is read as it was written, and completed.

use std::collections::BTreeMap;

use apache_avro::{Schema, types::Value as Avro, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Decoded, Decoder, Recipe, Source,
    hostile::{delivery_of, framed, record, with_data},
    mapping::Format,
    registered::fingerprints,
    tape::Tape,
};
use crate::{
    catalog::{Catalog, builtin_files},
    domain::{Record, TeamId},
};

const FIELD: &str = r#"{"name": "total", "type": "long"}"#;
/// As the type is now: a field was renamed, another has come.
const NOW: &str = r#"{"name": "currency", "type": "string", "default": "EUR"},
                     {"name": "amount", "type": "long", "aliases": ["total"]}"#;

/// A file of the catalog with these fields.
fn file(fields: &str, example: Value) -> String {
    format!(
        r#"{{"type": "record", "namespace": "shop.order", "name": "paid", "doc": "An order was paid.",
            "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
            "tidings.example": {example}, "fields": [{fields}]}}"#
    )
}

fn before() -> String {
    file(FIELD, json!({"total": 1}))
}

fn now() -> String {
    file(NOW, json!({"currency": "USD", "amount": 1}))
}

fn catalog(file: String) -> Catalog {
    let mut files = builtin_files();
    files.push(("shop/order.paid.avsc".to_owned(), file));
    Catalog::load(&files).unwrap()
}

fn decoder(file: String, earlier: &[(&str, String)], ids: &[(u32, &str)]) -> Result<Decoder, Vec<String>> {
    let recipe = Recipe {
        earlier: earlier.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect(),
        schema_ids: ids.iter().map(|(id, name)| (*id, (*name).to_owned())).collect::<BTreeMap<_, _>>(),
        default_team: TeamId::new("acme").ok(),
        ..Recipe::default()
    };
    Decoder::of(&catalog(file), recipe)
}

/// Avro without framing, of a schema that the source names; what comes of it travels on and is read after the change.
#[test]
fn a_source_names_the_schema_of_what_has_no_framing() {
    let source = Source {
        format: Format::Avro,
        schema: Some("old.avsc".to_owned()),
        default_team: TeamId::new("acme").ok(),
        ..Source::usual("tidings.*".parse().unwrap())
    };
    let recipe = |file: String, name: &str| {
        let sources = vec![Source { schema: Some(name.to_owned()), ..source.clone() }];
        Decoder::of(
            &catalog(file),
            Recipe { sources, earlier: vec![("old.avsc".to_owned(), before())], ..Recipe::default() },
        )
    };
    let record = record(datum(&before(), &[("total", Avro::Long(5))]));
    let was = check(&recipe(before(), "old.avsc").unwrap(), &record, &json!({"total": 5}));
    let is = recipe(now(), "old.avsc").unwrap();
    let expected = json!({"amount": 5, "currency": "EUR"});
    assert_eq!(check(&is, &record, &expected).codec, was.codec);
    assert_eq!(is.again(&delivery_of(&was, &record)).unwrap().data, expected);
    let faults = recipe(now(), "older.avsc").unwrap_err();
    assert_eq!(faults, ["source[0].schema: found \"older.avsc\", which schemas.earlier does not have"]);
}

fn datum(file: &str, fields: &[(&str, Avro)]) -> Vec<u8> {
    let schema = Schema::parse_str(file).unwrap();
    let record = Avro::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(record).unwrap()
}

fn object(file: &str, datum: &[u8]) -> Vec<u8> {
    [&[0xC3, 1], &fingerprints(&Schema::parse_str(file).unwrap())[0][..], datum].concat()
}

/// Decoded, read as the matcher does, and read again from a delivery: all the same.
fn check(decoder: &Decoder, record: &Record, expected: &Value) -> Decoded {
    let decoded = decoder.decode(record).unwrap_or_else(|unread| panic!("{unread}: {record:?}"));
    assert_eq!((&*decoded.event.event_type, &decoded.event.data), ("shop.order.paid", expected));
    assert_eq!(decoder.read(record, &mut Tape::new()).unwrap().whole(), decoded);
    if let Some(undecoded) = decoder.undecoded(record) {
        assert_eq!(with_data(undecoded), decoded);
    }
    assert_eq!(decoder.again(&delivery_of(&decoded, record)), Ok(decoded.event.clone()));
    decoded
}

#[test]
fn producers_of_yesterday_and_of_today_are_both_understood() {
    let earlier = [("shop/order.paid-1.avsc", before())];
    let decoder = decoder(now(), &earlier, &[(7, "shop/order.paid-1.avsc"), (8, "shop.order.paid")]).unwrap();
    let old = datum(&before(), &[("total", Avro::Long(5))]);
    let new = datum(&now(), &[("currency", Avro::String("USD".into())), ("amount", Avro::Long(6))]);
    let (then, since) = (json!({"amount": 5, "currency": "EUR"}), json!({"currency": "USD", "amount": 6}));
    check(&decoder, &record(framed(7, &old)), &then);
    check(&decoder, &record(framed(8, &new)), &since);
    check(&decoder, &record(object(&before(), &old)), &then);
    check(&decoder, &record(object(&now(), &new)), &since);
}

#[test]
fn a_delivery_on_its_way_is_read_after_the_change_as_it_would_have_been_before() {
    let was = decoder(before(), &[], &[(7, "shop.order.paid")]).unwrap();
    let is = decoder(now(), &[("old.avsc", before())], &[(7, "old.avsc")]).unwrap();
    let old = datum(&before(), &[("total", Avro::Long(5))]);
    for record in [record(framed(7, &old)), record(object(&before(), &old))] {
        let decoded = check(&was, &record, &json!({"total": 5}));
        let again = is.again(&delivery_of(&decoded, &record)).unwrap();
        assert_eq!(again.data, json!({"amount": 5, "currency": "EUR"}), "{}", decoded.codec);
    }
}

#[test]
fn a_schema_of_somebody_elses_is_named_by_itself_or_by_the_record() {
    let foreign = r#"{"type": "record", "name": "com.example.Paid", "aliases": ["shop.order.paid"],
                      "fields": [{"name": "amount", "type": "long"}]}"#;
    let nameless = r#"{"type": "record", "name": "P", "fields": [{"name": "amount", "type": "int"}]}"#;
    let earlier = [("a.avsc", foreign.to_owned()), ("b.avsc", nameless.to_owned())];
    let decoder = decoder(now(), &earlier, &[]).unwrap();
    let expected = json!({"amount": 3, "currency": "EUR"});
    let long = datum(foreign, &[("amount", Avro::Long(3))]);
    check(&decoder, &record(object(foreign, &long)), &expected);
    let int = object(nameless, &datum(nameless, &[("amount", Avro::Int(3))]));
    let mut named = record(int.clone());
    named.headers.push(("ce_type".to_owned(), Bytes::from_static(b"shop.order.paid")));
    check(&decoder, &named, &expected);
    // Without a name that means anything it is an event of a type that the catalog does not know.
    assert_eq!(&*decoder.decode(&record(int)).unwrap().event.event_type, "P");
}

#[test]
fn what_cannot_be_read_with_is_refused_by_file_and_id() {
    let faults = |earlier: &[(&str, String)], ids: &[(u32, &str)]| decoder(now(), earlier, ids).unwrap_err();
    let record_of = |field: &str| format!(r#"{{"type": "record", "name": "R", "fields": [{field}]}}"#);
    let bad = [("x/none.avsc", "{".to_owned()), ("x/other.avsc", record_of(r#"{"name": "a", "type": "S"}"#))];
    let found = faults(&bad, &[]);
    assert!(found[0].starts_with("schemas.earlier: x/none.avsc: no JSON: "), "{found:?}");
    assert!(found[1].starts_with("schemas.earlier: x/other.avsc: no Avro schema: "), "{found:?}");
    assert_eq!(
        faults(&[("a.avsc", before())], &[(7, "b.avsc")]),
        [r#"schema id 7 is mapped to "b.avsc", which schemas.earlier does not have"#]
    );
}
