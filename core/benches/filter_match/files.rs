//! A workload as files that every engine can read, and ours measured on them as the others are (`scripts/bench-filter`).
//!
//! A folder holds `events.ndjson`; `rules.tsv`, an id and a pattern over the whole envelope a line; and for `tidings filter bench` the
//! same in the product's form: `subscriptions.ndjson` and the event types under `schemas/`.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidings_core::{
    domain::Subscription,
    filter::{Index, Rule, Scanner},
};

use super::{SEED, catalog, run, schema_files, subscription};
use crate::workload::{Chance, Profile, Workload, tree};

const EVENTS: usize = 10_000;
/// Passes over all events, at least.
const MIN_PASSES: usize = 3;

pub fn write(profile: Profile, count: usize, folder: &str) {
    let workload = Workload::new(profile, count, EVENTS, SEED);
    let folder = Path::new(folder);
    let create = |name: &str| BufWriter::new(File::create(folder.join(name)).expect("a file"));
    for (name, text) in schema_files() {
        let path = folder.join("schemas").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    let (mut events, mut subscriptions, mut rules) =
        (create("events.ndjson"), create("subscriptions.ndjson"), create("rules.tsv"));
    for event in &workload.events {
        writeln!(events, "{event}").expect("written");
    }
    for (number, of) in workload.subscriptions.iter().enumerate() {
        let text = serde_json::to_string(&subscription(number, of)).expect("JSON");
        writeln!(subscriptions, "{text}").expect("written");
        for (of_type, conditions) in &of.clauses {
            let mut pattern = json!({"team": [of.team], "type": [of_type]});
            if !conditions.is_empty() {
                pattern["data"] = Value::Object(tree(conditions));
            }
            // Others have no `all`: they are asked for less.
            if let Some(tags) = pattern.pointer_mut("/data/tags").filter(|tags| tags[0].get("all").is_some()) {
                *tags = json!(["tag1"]);
            }
            writeln!(rules, "{number}\t{pattern}").expect("written");
        }
    }
}

/// Prints a line as the runners in `benches/peers` do: engine, rules, events, matches, checksum of ids, nanoseconds an event (the
/// median of passes; p50 and p99 of single events), seconds to build, bytes a rule.
pub fn measure(folder: &str, seconds: f64) {
    let lines = |name: &str| {
        let text = fs::read_to_string(Path::new(folder).join(name)).expect("a file");
        text.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let (events, clauses) = (lines("events.ndjson"), lines("rules.tsv").len());
    let catalog = catalog();
    let read = |line: &String| {
        let subscription: Subscription = serde_json::from_str(line).expect("a subscription");
        let rule = Rule::compile(Arc::new(subscription), &catalog);
        Arc::new(rule.unwrap_or_else(|faults| panic!("{}", faults[0])))
    };
    // Others take texts apart while they build, so ours does.
    let texts = lines("subscriptions.ndjson");
    let start = Instant::now();
    let rules: Vec<Arc<Rule>> = texts.iter().map(read).collect();
    let index = Index::of(rules.iter().cloned());
    let build = start.elapsed();

    let mut scanner = Scanner::new();
    let (mut matches, mut checksum) = (0_usize, 0_u64);
    for text in &events {
        let mut found = Vec::new();
        index.matching_json(text.as_bytes(), &mut scanner, &mut found).expect("usual JSON");
        matches += found.len();
        for rule in found {
            let number: u64 = rule.subscription.id.as_str()[1..].parse().expect("a number");
            checksum = checksum.wrapping_add(Chance(number).next());
        }
    }
    let (mut passes, mut found) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while passes.len() < MIN_PASSES || Instant::now() < end {
        let start = Instant::now();
        events.iter().for_each(|text| {
            black_box(run(text, &index, &mut scanner, &mut found));
        });
        passes.push(start.elapsed().as_nanos() as f64 / events.len() as f64);
    }
    passes.sort_by(f64::total_cmp);
    let mut single: Vec<u128> = events
        .iter()
        .map(|text| {
            let start = Instant::now();
            black_box(run(text, &index, &mut scanner, &mut found));
            start.elapsed().as_nanos()
        })
        .collect();
    single.sort_unstable();
    println!(
        "Tidings\t{clauses}\t{}\t{matches}\t{checksum:016x}\t{:.0}\t{}\t{}\t{:.2}\t{}",
        events.len(),
        passes[passes.len() / 2],
        single[single.len() / 2],
        single[single.len() * 99 / 100],
        build.as_secs_f64(),
        index.stats().bytes.total / clauses.max(1),
    );
}
