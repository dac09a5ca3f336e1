//! a-tree on the files of `filter_match write`. It knows equalities, sets and ranges, and no comparison of texts, so it takes part where no
//! rule has one. It takes no JSON but events of declared attributes, which are made beforehand: only its search is timed.
//!
//! ```sh
//! peer-a-tree FOLDER [SECONDS]
//! ```
//!
//! Prints what the other runners print: engine, rules, events, matches, checksum of ids, nanoseconds an event (the median of passes;
//! p50 and p99 of single events), seconds to build, bytes a rule (which it cannot say: 0).

use std::{
    collections::{BTreeMap, HashSet},
    env, fs,
    hint::black_box,
    time::{Duration, Instant},
};

use a_tree::{ATree, AttributeDefinition, Event};
use serde_json::{Map, Value};

/// What the values of an attribute are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Boolean,
    Texts,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seconds = arguments.get(1).map_or(6.0, |seconds| seconds.parse().expect("a number"));
    let read = |name: &str| fs::read_to_string(format!("{}/{name}", arguments[0])).expect("a file");
    let (events, rules) = (read("events.ndjson"), read("rules.tsv"));
    let events: Vec<Vec<(String, Value)>> =
        events.lines().map(|line| leaves(&serde_json::from_str(line).expect("JSON"))).collect();
    // What is in the events says what the attributes are.
    let mut kinds = BTreeMap::new();
    for (name, value) in events.iter().flatten() {
        kinds.entry(name.clone()).or_insert_with(|| kind(value));
    }
    let definitions: Vec<AttributeDefinition> = kinds
        .iter()
        .map(|(name, kind)| match kind {
            Kind::Text => AttributeDefinition::string(name),
            Kind::Integer => AttributeDefinition::integer(name),
            Kind::Boolean => AttributeDefinition::boolean(name),
            Kind::Texts => AttributeDefinition::string_list(name),
        })
        .collect();

    let start = Instant::now();
    let mut expressions: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in rules.lines() {
        let (id, pattern) = line.split_once('\t').expect("an id and a pattern");
        let pattern: Map<String, Value> = serde_json::from_str(pattern).expect("JSON");
        let mut conditions = Vec::new();
        conjunction("", &pattern, &kinds, &mut conditions);
        expressions.entry(id.parse().expect("a number")).or_default().push(format!("({})", conditions.join(" and ")));
    }
    let mut tree = ATree::new(&definitions).expect("attributes");
    for (id, clauses) in &expressions {
        let expression = clauses.join(" or ");
        tree.insert(id, &expression).unwrap_or_else(|error| panic!("{expression}: {error:?}"));
    }
    let build = start.elapsed();

    let events: Vec<Event> = events.iter().map(|leaves| event(&tree, leaves, &kinds)).collect();
    let (mut matches, mut checksum) = (0, 0_u64);
    for event in &events {
        let report = tree.search(event).expect("a report");
        let found: HashSet<u64> = report.matches().iter().map(|id| **id).collect();
        matches += found.len();
        checksum = found.into_iter().fold(checksum, |sum, id| sum.wrapping_add(mix(id)));
    }
    let mut passes = Vec::new();
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    while passes.len() < 3 || Instant::now() < deadline {
        let start = Instant::now();
        events.iter().for_each(|event| drop(black_box(tree.search(event))));
        passes.push(start.elapsed().as_nanos() as f64 / events.len() as f64);
    }
    passes.sort_by(f64::total_cmp);
    let mut single: Vec<u128> = events
        .iter()
        .map(|event| {
            let start = Instant::now();
            drop(black_box(tree.search(event)));
            start.elapsed().as_nanos()
        })
        .collect();
    single.sort_unstable();
    println!(
        "a-tree 0.6.1, search only\t{}\t{}\t{matches}\t{checksum:016x}\t{:.0}\t{}\t{}\t{:.2}\t0",
        rules.lines().count(),
        events.len(),
        passes[passes.len() / 2],
        single[single.len() / 2],
        single[single.len() * 99 / 100],
        build.as_secs_f64(),
    );
}

/// Every value that is no object, by the names that lead to it.
fn leaves(event: &Value) -> Vec<(String, Value)> {
    fn add(prefix: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| add(&below(prefix, name), value, leaves)),
            leaf => leaves.push((prefix.to_owned(), leaf.clone())),
        }
    }
    let mut found = Vec::new();
    add("", event, &mut found);
    found
}

/// Attributes are identifiers: no dots.
fn below(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}__{name}") }
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Boolean,
        Value::Number(_) => Kind::Integer,
        Value::Array(_) => Kind::Texts,
        _ => Kind::Text,
    }
}

fn conjunction(prefix: &str, pattern: &Map<String, Value>, kinds: &BTreeMap<String, Kind>, out: &mut Vec<String>) {
    for (name, condition) in pattern {
        let path = below(prefix, name);
        match condition {
            Value::Object(inner) => conjunction(&path, inner, kinds, out),
            Value::Array(alternatives) => out.push(self::condition(&path, alternatives, kinds)),
            other => panic!("{path}: {other}"),
        }
    }
}

fn condition(path: &str, alternatives: &[Value], kinds: &BTreeMap<String, Kind>) -> String {
    if let Some(comparison) = alternatives[0].get("numeric").and_then(Value::as_array) {
        let bounds: Vec<String> = comparison
            .chunks(2)
            .map(|pair| format!("{path} {} {}", pair[0].as_str().expect("an operator"), pair[1]))
            .collect();
        return bounds.join(" and ");
    }
    let kind = kinds[path];
    if kind == Kind::Boolean {
        return if alternatives[0] == true { path.to_owned() } else { format!("not {path}") };
    }
    let values: Vec<String> = alternatives
        .iter()
        .map(|value| match value {
            Value::String(text) => format!("'{text}'"),
            Value::Number(number) => number.to_string(),
            other => panic!("{path}: {other}: it has no such operator"),
        })
        .collect();
    match (kind, &values[..]) {
        (Kind::Texts, _) => format!("{path} one of [{}]", values.join(", ")),
        (_, [value]) => format!("{path} = {value}"),
        _ => format!("{path} in [{}]", values.join(", ")),
    }
}

fn event(tree: &ATree<u64>, leaves: &[(String, Value)], kinds: &BTreeMap<String, Kind>) -> Event {
    let mut builder = tree.make_event();
    for (name, value) in leaves {
        let set = match (kinds[name], value) {
            (Kind::Text, Value::String(text)) => builder.with_string(name, text),
            (Kind::Integer, Value::Number(number)) => builder.with_integer(name, number.as_i64().expect("an integer")),
            (Kind::Boolean, Value::Bool(boolean)) => builder.with_boolean(name, *boolean),
            (Kind::Texts, Value::Array(values)) => {
                let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                builder.with_string_list(name, &texts)
            }
            (_, other) => panic!("{name}: {other}"),
        };
        set.expect("a declared attribute");
    }
    builder.build().expect("an event")
}

/// SplitMix64, as the other runners have it.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
