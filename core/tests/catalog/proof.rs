//! Every event type: its example through every format and back, and through each of its filters both ways.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apache_avro::{types::Value as Avro, writer::datum::GenericDatumWriter};
use bytes::Bytes;
use serde_json::{Value, json};
use tidings_core::{
    catalog::{Catalog, EventType, FilterKind, FilterSpec},
    codec::{Decoder, avro},
    domain::{Record, Timestamp},
    filter::NEEDS_CONDITIONS,
    message::body::redact,
};

use super::{matches, rule};

/// Filters that no single event can answer: `type/filter`.
const CONDITIONS: [&str; 10] = [
    "replicated.customer.ep_access_granted/accessType",
    "replicated.instance.custom_metric_threshold_reached/frequency",
    "replicated.instance.custom_metric_threshold_reached/operator",
    "replicated.instance.custom_metric_threshold_reached/thresholdValue",
    "replicated.instance.state.duration/durationMinutes",
    "replicated.instance.state.flapping/cooldownMinutes",
    "replicated.instance.state.flapping/minStateChanges",
    "replicated.instance.state.flapping/windowMinutes",
    "replicated.platform.egress_threshold_reached/thresholdTiB",
    "replicated.release.asset_downloaded/pullType",
];

/// The example as one Avro datum of the type's own schema.
pub fn datum(event_type: &EventType) -> Vec<u8> {
    let encode = |example: Value| -> apache_avro::AvroResult<Vec<u8>> {
        let value = Avro::try_from(example)?.resolve(&event_type.schema)?;
        GenericDatumWriter::builder(&event_type.schema).build()?.write_value_to_vec(value)
    };
    encode(event_type.example.clone()).unwrap_or_else(|e| panic!("{}: {e}", event_type.key))
}

/// Whether decoded data is the example: what the example leaves out is null or empty.
pub fn is_example(decoded: &Value, example: &Value) -> bool {
    match (decoded, example) {
        (Value::Object(decoded), Value::Object(example)) => {
            let there = |(name, value): (&String, &Value)| match example.get(name) {
                Some(example) => is_example(value, example),
                None => value.is_null() || *value == json!({}) || *value == json!([]),
            };
            example.keys().all(|name| decoded.contains_key(name)) && decoded.iter().all(there)
        }
        _ => decoded == example,
    }
}

fn record(value: Vec<u8>, headers: &[(&str, &str)]) -> Record {
    Record {
        topic: "tidings.events".into(),
        partition: 0,
        offset: 7,
        timestamp: Timestamp(0),
        key: None,
        value: Some(Bytes::from(value)),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from((*value).to_owned()))).collect(),
    }
}

#[test]
fn every_example_comes_back_from_every_format() {
    let catalog = Catalog::builtin();
    let ids: BTreeMap<u32, String> = (1..).zip(catalog.types().map(|t| t.key.to_string())).collect();
    let decoder = Decoder::new(catalog.clone(), ids.clone(), None).unwrap();
    for (id, key) in &ids {
        let event_type = catalog.get(key).unwrap();
        event_type.shape.check(&event_type.example).unwrap_or_else(|wrong| panic!("{key}: {wrong}"));
        let datum = datum(event_type);

        let plain = avro::decode(&event_type.shape, &datum).unwrap();
        assert!(is_example(&plain, &event_type.example), "{key}: {plain}");
        event_type.shape.check(&plain).unwrap_or_else(|wrong| panic!("{key}: {wrong}"));

        let framed = [&[0], &id.to_be_bytes()[..], &datum].concat();
        let decoded = decoder.decode(&record(framed, &[("ce_team", "acme")])).unwrap();
        assert_eq!((&*decoded.event.event_type, &decoded.event.data), (key.as_str(), &plain));

        for name in event_type.other_names().map(|name| format!("{}.{name}", event_type.platform)).chain([key.clone()])
        {
            let envelope = json!({"team": "acme", "type": name, "data": event_type.example});
            let decoded = decoder.decode(&record(envelope.to_string().into_bytes(), &[])).unwrap();
            assert_eq!((&*decoded.event.event_type, &decoded.event.data), (key.as_str(), &event_type.example));
            let cloud_event = json!({"specversion": "1.0", "id": "1", "source": "s", "type": name, "team": "acme",
                "data": event_type.example});
            let decoded = decoder.decode(&record(cloud_event.to_string().into_bytes(), &[])).unwrap();
            assert_eq!((&*decoded.event.event_type, &decoded.event.data), (key.as_str(), &event_type.example));
        }
    }
}

#[test]
fn every_filter_lets_the_example_pass_and_its_opposite_does_not() {
    let catalog = Catalog::builtin();
    let (mut tried, mut conditions) = (0, BTreeSet::new());
    for event_type in catalog.types() {
        for spec in &event_type.filters {
            if spec.kind == FilterKind::Condition {
                conditions.insert(format!("{}/{}", event_type.key, spec.key));
                continue;
            }
            check_filter(event_type, spec, &catalog);
            tried += 1;
        }
    }
    assert_eq!(conditions, CONDITIONS.into_iter().map(str::to_owned).collect());
    assert!(tried > 500, "{tried}");
}

fn check_filter(event_type: &EventType, spec: &FilterSpec, catalog: &Arc<Catalog>) {
    let place = format!("{} {}", event_type.key, spec.key);
    // What requires a condition cannot be named, so it is met as one of its platform's types.
    let needs_conditions = event_type.filters.iter().any(|spec| spec.required && spec.kind == FilterKind::Condition);
    let selector = if needs_conditions { format!("{}.*", event_type.platform) } else { event_type.key.to_string() };
    for (passes, alternatives) in both_ways(event_type, spec) {
        let mut filter = json!({});
        if !needs_conditions {
            for required in event_type.filters.iter().filter(|other| other.required) {
                filter[&required.key] = both_ways(event_type, required)[0].1.clone();
            }
        }
        filter[&spec.key] = alternatives;
        let rule = rule(&selector, &filter, catalog).unwrap_or_else(|faults| panic!("{place}: {}", faults[0]));
        assert_eq!(matches(&rule, &event_type.key, &event_type.example), passes, "{place}: {filter}");
    }
}

/// What lets the example pass, then what does not.
fn both_ways(event_type: &EventType, spec: &FilterSpec) -> Vec<(bool, Value)> {
    let found = spec.field.iter().try_fold(&event_type.example, |value, name| value.get(name)).expect("a value");
    let first = |value: &Value| match value {
        Value::Array(items) => items[0].clone(),
        value => value.clone(),
    };
    let mut ways = match (spec.kind, first(found)) {
        (FilterKind::Map, Value::Object(entries)) => {
            let (name, value) = entries.iter().next().expect("an entry");
            let opposite = json!([{"anything-but": value}]);
            vec![
                (true, json!({name: [value]})),
                (false, json!({name: opposite})),
                (false, json!({"no such name": [value]})),
            ]
        }
        (FilterKind::Number, value) if spec.allows("numeric") => vec![
            (true, json!([{"numeric": ["<=", value]}])),
            (true, json!([{"numeric": [">=", value]}])),
            (false, json!([{"numeric": [">", value]}])),
            (false, json!([{"numeric": ["<", value]}])),
        ],
        (FilterKind::Boolean, value) => vec![(true, json!([value])), (false, json!([value == json!(false)]))],
        (FilterKind::Enum, value) => {
            let held = if let Value::Array(items) = found { items.clone() } else { vec![value.clone()] };
            let other = spec.allowed.iter().find(|allowed| !held.contains(allowed)).expect("another value");
            vec![(true, json!([value])), (false, json!([other]))]
        }
        (FilterKind::Text, value) => vec![(true, json!([value])), (false, json!([format!("{value} and more")]))],
        (kind, value) => panic!("{} {}: {value} is no {}", event_type.key, spec.key, kind.as_str()),
    };
    if spec.kind != FilterKind::Map && spec.allows("exists") {
        ways.extend([(true, json!([{"exists": true}])), (false, json!([{"exists": false}]))]);
    }
    if spec.kind == FilterKind::Number && spec.allows("equals") {
        ways.push((true, json!([first(found)])));
    }
    ways
}

#[test]
fn a_condition_is_refused_by_name() {
    let catalog = Catalog::builtin();
    for name in CONDITIONS {
        let (key, condition) = name.split_once('/').unwrap();
        let event_type = catalog.get(key).unwrap();
        let spec = event_type.filter(condition).unwrap();
        let mut filter = json!({});
        for required in event_type.filters.iter().filter(|other| other.required && other.kind != FilterKind::Condition)
        {
            filter[&required.key] = both_ways(event_type, required)[0].1.clone();
        }
        let wanted = spec.allowed.iter().find(|value| spec.default.as_ref() != Some(value)).cloned();
        filter[condition] = json!([wanted.unwrap_or(json!("5.5"))]);
        let faults = rule(key, &filter, &catalog).unwrap_err();
        let fault = faults.iter().find(|fault| fault.path == format!("events[0].filter.{condition}")).expect("a fault");
        assert!(fault.found.contains(NEEDS_CONDITIONS), "{fault}");

        // The default asks for nothing; a type that requires a condition is refused all the same, and says so.
        filter.as_object_mut().unwrap().swap_remove(condition);
        if let Some(default) = &spec.default {
            filter[condition] = json!([default]);
        }
        let requires = event_type.filters.iter().any(|spec| spec.required && spec.kind == FilterKind::Condition);
        match rule(key, &filter, &catalog) {
            Ok(rule) => assert!(!requires && matches(&rule, key, &event_type.example), "{name}"),
            Err(faults) => {
                assert!(requires, "{name}: {}", faults[0]);
                assert!(faults.iter().all(|fault| fault.found.contains(NEEDS_CONDITIONS)), "{}", faults[0]);
            }
        }
    }
}

#[test]
fn what_is_sensitive_stays_out_of_the_body() {
    let mut tried = 0;
    for event_type in Catalog::builtin().types() {
        let sensitive = event_type.fields.iter().filter(|field| field.sensitive);
        let paths: Vec<Vec<String>> = sensitive.map(|field| field.path.clone()).collect();
        let shown = redact(&event_type.example, &paths).to_string();
        for secret in paths.iter().flat_map(|path| texts_at(&event_type.example, path)) {
            assert!(!shown.contains(&secret), "{}: {secret}", event_type.key);
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

/// Every text below a path, arrays and maps stepped through.
fn texts_at(value: &Value, path: &[String]) -> Vec<String> {
    match (value, path) {
        (Value::Array(items), _) => items.iter().flat_map(|item| texts_at(item, path)).collect(),
        (Value::Object(members), []) => members.values().flat_map(|member| texts_at(member, path)).collect(),
        (Value::Object(members), [name, rest @ ..]) => {
            members.get(name).map(|member| texts_at(member, rest)).unwrap_or_default()
        }
        (Value::String(text), []) => vec![text.clone()],
        _ => Vec::new(),
    }
}
