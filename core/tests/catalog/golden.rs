//! Every event type's example as it was encoded on the first day, with the schema of that day.
//!
//! `golden/<platform>.jsonl` has a line for each type: its key, the writer's schema, the datum in base64, and the data. A line
//! is never changed: events of that day are in the log. A new type's line is added by
//! `TIDINGS_GOLDEN=add cargo test -p tidings-core --test catalog golden`.

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

use apache_avro::Schema;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::{Catalog, EventType, Shape, evolution},
    codec::{Decoder, avro, registered::fingerprints},
    domain::{Record, TeamId, Timestamp},
};

use super::proof::{datum, is_example};

fn file(platform: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/catalog/golden/{platform}.jsonl"))
}

fn lines(platform: &str) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(file(platform)).unwrap_or_default();
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(read).map(|line| (line["type"].as_str().unwrap().to_owned(), line)).collect()
}

/// What a writer needs of the schema: without documentation and attributes.
fn plain(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !name.starts_with("tidings.") && *name != "doc");
            Value::Object(kept.map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn line(event_type: &EventType, file: &str) -> Value {
    json!({
        "type": event_type.key,
        "schema": plain(&serde_json::from_str(file).unwrap()),
        "datum": BASE64_STANDARD.encode(datum(event_type)),
        "data": event_type.example,
    })
}

#[test]
fn every_type_has_its_golden_line() {
    let catalog = Catalog::builtin();
    let files: BTreeMap<String, String> = tidings_core::catalog::builtin_files()
        .into_iter()
        .map(|(name, text)| (name.trim_end_matches(".avsc").replacen('/', ".", 1), text))
        .collect();
    for platform in catalog.platforms() {
        let mut known = lines(platform);
        let missing: Vec<&EventType> =
            catalog.types().filter(|t| t.platform == platform && !known.contains_key(&*t.key)).collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.iter().map(|t| &*t.key).collect();
        assert!(
            std::env::var("TIDINGS_GOLDEN").is_ok_and(|wish| wish == "add"),
            "no golden encoding of {names:?}; to add it: \
             TIDINGS_GOLDEN=add cargo test -p tidings-core --test catalog golden"
        );
        known.extend(missing.into_iter().map(|t| (t.key.to_string(), line(t, &files[&*t.key]))));
        let mut text = String::new();
        known.values().for_each(|line| writeln!(text, "{line}").unwrap());
        fs::create_dir_all(file(platform).parent().unwrap()).unwrap();
        fs::write(file(platform), text).unwrap();
    }
}

#[test]
fn yesterdays_bytes_are_read_with_yesterdays_schema() {
    for platform in Catalog::builtin().platforms() {
        for (key, line) in lines(platform) {
            let schema = Schema::parse(&line["schema"]).unwrap_or_else(|e| panic!("{key}: {e}"));
            let shape = Shape::of(&schema).unwrap_or_else(|e| panic!("{key}: {e}"));
            let datum = BASE64_STANDARD.decode(line["datum"].as_str().unwrap()).unwrap();
            let data = avro::decode(&shape, &datum).unwrap_or_else(|e| panic!("{key}: {e}"));
            assert!(is_example(&data, &line["data"]), "{key}: {data}");
        }
    }
}

/// Fields may have come and gone since; nothing else may have changed.
#[test]
fn todays_types_read_what_yesterdays_wrote() {
    let catalog = Catalog::builtin();
    let files: Vec<(String, String)> = catalog
        .platforms()
        .into_iter()
        .flat_map(lines)
        .map(|(key, line)| {
            let mut file = line["schema"].clone();
            file["doc"] = json!("As it was.");
            file["tidings.displayName"] = json!("As it was");
            file["tidings.category"] = json!("golden");
            file["tidings.severity"] = json!("info");
            file["tidings.example"] = line["data"].clone();
            (format!("{}.avsc", key.replacen('.', "/", 1)), file.to_string())
        })
        .collect();
    let yesterday = Catalog::load(&files).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let faults = evolution::faults(&yesterday, &catalog);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What producers of the first day write is read without a word of configuration, whatever has changed since.
#[test]
fn every_schema_of_the_first_day_is_known_still() {
    let catalog = Catalog::builtin();
    let decoder = Decoder::new(catalog.clone(), BTreeMap::new(), TeamId::new("acme").ok()).unwrap();
    for (key, line) in catalog.platforms().into_iter().flat_map(lines) {
        let fingerprint = fingerprints(&Schema::parse(&line["schema"]).unwrap())[0];
        let datum = BASE64_STANDARD.decode(line["datum"].as_str().unwrap()).unwrap();
        let record = Record {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp(0),
            key: None,
            value: Some([&[0xC3, 1], &fingerprint[..], &datum].concat().into()),
            headers: Vec::new(),
        };
        let decoded = decoder.decode(&record).unwrap_or_else(|unread| {
            panic!("{unread}; the file of {key} as it was before belongs into schemas/earlier")
        });
        assert_eq!(*decoded.event.event_type, *key);
    }
}
