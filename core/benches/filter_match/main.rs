//! The filter index, one event after another, from JSON to the rules that match: beside its floor and beside plain evaluation.
//!
//! `floor` is what no index can do without: the fields in use taken out of the same bytes by the fastest of our scanner, sonic-rs
//! and simd-json, one probe into a table of as many partitions, and one independent cold line for each match. All is measured in
//! turns, so that ratios hold on a machine that is busy with other things.
//!
//! `Avro ns` is the whole match when the same data come in Avro; what each parser and the projection of Avro take by themselves goes
//! to standard error.
//!
//! ```sh
//! cargo bench -p tidings-core --bench filter_match                     # the quick profiles
//! cargo bench -p tidings-core --bench filter_match -- tenant 1000000   # one profile, so many subscriptions
//! cargo bench -p tidings-core --bench filter_match -- threads 100000  # two readers on one index; a reader beside a writer
//! cargo bench -p tidings-core --bench filter_match -- write tenant 10000 FOLDER   # its files, for other engines
//! cargo bench -p tidings-core --bench filter_match -- files FOLDER SECONDS        # such files, as other engines are measured
//! ```

mod avro;
mod files;
mod floor;
mod parsers;
mod threads;
mod workload;

use std::{
    collections::HashMap,
    env,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use avro::AvroEvents;
use floor::Floor;
use parsers::{Parser, Paths};
use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
    filter::{Index, Rule, Scanner},
};
use tikv_jemalloc_ctl::{epoch, stats};
use tikv_jemallocator::Jemalloc;
use workload::{Chance, Profile, TYPES, Workload};

/// The product's own, so that rules and index lie in memory as they do there; and it counts.
#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

/// Each is timed so often, in turns.
const ROUNDS: usize = 9;
/// A round takes at least so long.
const MIN_ROUND: Duration = Duration::from_millis(60);
const SEED: u64 = 42;
/// Events that are held against plain evaluation.
const PROVEN: usize = 100;

const PROFILES: [(&str, Profile, usize); 11] = [
    ("tenant", Profile::Tenant, 10_000),
    ("equal", Profile::Equal, 10_000),
    ("values", Profile::Values, 10_000),
    ("single", Profile::Single, 10_000),
    ("core", Profile::Core, 10_000),
    ("nots", Profile::Nots, 10_000),
    ("ranges", Profile::Ranges, 10_000),
    ("wildcards", Profile::Texts, 10_000),
    ("hot", Profile::Hot, 1_000),
    ("hypermatch", Profile::Hypermatch, 100_000),
    ("hypermatch-plain", Profile::HypermatchPlain, 100_000),
];

fn main() {
    // Cargo's own arguments begin with a dash.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let profile = |name: &str| {
        let found = PROFILES.into_iter().find(|(known, ..)| *known == name);
        found.unwrap_or_else(|| panic!("{name}: one of {:?}", PROFILES.map(|(known, ..)| known)))
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["write", name, count, folder] => {
            return files::write(profile(name).1, count.parse().expect("a number"), folder);
        }
        ["files", folder, seconds] => return files::measure(folder, seconds.parse().expect("a number")),
        ["threads", count] => return threads::measure(count.parse().expect("a number")),
        _ => {}
    }
    println!(
        "| profile | subscriptions | matches | floor ns | index ns | ratio | Avro ns | p50 | p99 | above parsing, ns | a match | plain ns | build s | index, bytes a subscription | by the allocator | as read | compiled too |"
    );
    println!(
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    match words[..] {
        [] => {
            for count in [1_000, 100_000] {
                measure("tenant", Profile::Tenant, count);
            }
            PROFILES[1..].iter().for_each(|(name, profile, count)| measure(name, *profile, *count));
        }
        [name] => measure(name, profile(name).1, profile(name).2),
        [name, count] => measure(name, profile(name).1, count.parse().expect("a number")),
        _ => panic!("[profile [subscriptions]] | write profile subscriptions folder | files folder seconds"),
    }
}

fn measure(name: &str, profile: Profile, count: usize) {
    let events = if profile == Profile::Single { 1_000 } else { 10_000 };
    let workload = Workload::new(profile, count, events, SEED);
    let catalog = catalog();
    let before = allocated();
    let read = subscriptions(&workload, &catalog);
    let of_read = allocated() - before;
    let rules: Vec<Arc<Rule>> =
        read.into_iter().map(|subscription| Arc::new(compiled(subscription, &catalog))).collect();
    let of_rules = allocated() - before;
    let before = allocated();
    let start = Instant::now();
    let index = Index::of(rules.iter().cloned());
    let build = start.elapsed();
    // What others free meanwhile may be more than a small index takes.
    let of_heap = allocated() as f64 - before as f64;
    let stats = index.stats();

    // What matches, and that plain evaluation says the same.
    let mut scanner = Scanner::new();
    let mut counts = Vec::new();
    let (mut matches, mut checksum) = (0_usize, 0_u64);
    for (place, text) in workload.events.iter().enumerate() {
        let mut found = Vec::new();
        index.matching_json(text.as_bytes(), &mut scanner, &mut found).expect("usual JSON");
        if place < PROVEN {
            let event = event(text);
            let expected: Vec<&Arc<Rule>> = plain(&rules, &event).collect();
            assert!(
                found.iter().map(|rule| Arc::as_ptr(rule)).eq(expected.iter().map(|rule| Arc::as_ptr(rule))),
                "{text}"
            );
        }
        matches += found.len();
        counts.push(found.len());
        for rule in found {
            let number: u64 = rule.subscription.id.as_str()[1..].parse().expect("a number");
            checksum = checksum.wrapping_add(Chance(number).next());
        }
    }

    let floor = Floor::new(count, stats.partitions, &counts);
    let paths = Paths::of(&workload);
    let mut parsers = Parser::all(&paths);
    let mut avro = (!profile.is_hypermatch()).then(|| AvroEvents::of(&workload, &index));
    if let Some(avro) = &mut avro {
        for (place, count) in counts.iter().enumerate() {
            let mut found = Vec::new();
            avro.matching(place, &index, &mut found);
            assert_eq!(found.len(), *count, "{}", workload.events[place]);
        }
    }
    // A first round says which is the fastest.
    let first =
        parsers.iter_mut().map(|parser| time(&workload.events, |_, text| parser.read(text, &index, &paths) as usize));
    let first: Vec<f64> = first.collect();
    let fastest = (0..first.len()).min_by(|a, b| first[*a].total_cmp(&first[*b])).expect("several");
    let (mut of_floor, mut of_index) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    let mut of_parsers = vec![Vec::new(); parsers.len()];
    let (mut of_projection, mut of_avro) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let parser = &mut parsers[fastest];
        of_floor.push(time(&workload.events, |place, text| floor.run(place, parser.read(text, &index, &paths))));
        of_index.push(time(&workload.events, |_, text| run(text, &index, &mut scanner, &mut found)));
        for (parser, times) in parsers.iter_mut().zip(&mut of_parsers) {
            times.push(time(&workload.events, |_, text| parser.read(text, &index, &paths) as usize));
        }
        if let Some(avro) = &mut avro {
            of_projection.push(time(&workload.events, |place, _| avro.read(place)));
            of_avro.push(time(&workload.events, |place, _| {
                found.clear();
                avro.matching(place, &index, &mut found);
                touch(&found)
            }));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (of_floor, of_index, of_avro) = (median(of_floor), median(of_index), median(of_avro));
    let of_parsers: Vec<f64> = of_parsers.into_iter().map(median).collect();
    let (of_scan, of_projection) = (of_parsers[0], median(of_projection));
    let mut single: Vec<f64> = workload
        .events
        .iter()
        .map(|text| {
            let start = Instant::now();
            black_box(run(text.as_bytes(), &index, &mut scanner, &mut found));
            start.elapsed().as_nanos() as f64
        })
        .collect();
    single.sort_by(f64::total_cmp);
    // Each nine times in a row: the further eight find all that they need in the cache.
    let again = time(&workload.events, |_, text| (0..9).map(|_| run(text, &index, &mut scanner, &mut found)).sum());
    let warm = (again - of_index) / 8.0;
    let percentile = |share: f64| single[(single.len() as f64 * share) as usize];
    let plainly =
        workload.events.iter().take(PROVEN.min(2_000_000 / count)).map(|text| event(text)).collect::<Vec<_>>();
    let start = Instant::now();
    plainly.iter().for_each(|event| {
        black_box(plain(&rules, event).count());
    });
    let of_plain = start.elapsed().as_nanos() as f64 / plainly.len().max(1) as f64;
    let per_event = matches as f64 / workload.events.len() as f64;
    println!(
        "| {name} | {count} | {per_event:.1} | {of_floor:.0} | {of_index:.0} | {:.2} | {of_avro:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {of_plain:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
        of_index / of_floor,
        percentile(0.5),
        percentile(0.99),
        of_index - of_scan,
        (of_index - of_scan) / per_event.max(1.0),
        build.as_secs_f64(),
        stats.bytes.total as f64 / count as f64,
        of_heap / count as f64,
        of_read as f64 / count as f64,
        of_rules as f64 / count as f64,
    );
    eprintln!(
        "{name} {count}: {warm:.0} ns an event that came right before; above the scan {:.0} ns; {} partitions, {} clauses, {} verified, checksum {checksum:016x}; bytes {:?}",
        of_index - of_scan,
        stats.partitions,
        stats.clauses,
        stats.verified,
        stats.bytes
    );
    for (parser, each) in parsers.iter().zip(of_parsers) {
        eprintln!("    {each:.0} ns by {}", parser.name());
    }
    if let Some(avro) = avro {
        eprintln!(
            "    {of_projection:.0} ns by the projection of {} bytes of Avro; the whole match {of_avro:.0}",
            avro.bytes()
        );
    }
}

/// Bytes in use.
fn allocated() -> usize {
    epoch::advance().expect("counted");
    stats::allocated::read().expect("counted")
}

/// One event, and one line of each rule that matches.
fn run<'i>(text: impl AsRef<[u8]>, index: &'i Index, scanner: &mut Scanner, found: &mut Vec<&'i Arc<Rule>>) -> usize {
    found.clear();
    index.matching_json(text.as_ref(), scanner, found).expect("usual JSON");
    touch(found)
}

fn touch(found: &[&Arc<Rule>]) -> usize {
    found.iter().map(|rule| rule.destination_hashes.len()).sum()
}

/// Nanoseconds an event.
fn time(events: &[String], mut run: impl FnMut(usize, &[u8]) -> usize) -> f64 {
    let start = Instant::now();
    let mut passes = 0;
    while start.elapsed() < MIN_ROUND {
        for (place, text) in events.iter().enumerate() {
            black_box(run(place, text.as_bytes()));
        }
        passes += 1;
    }
    start.elapsed().as_nanos() as f64 / (passes * events.len()) as f64
}

fn plain<'r>(rules: &'r [Arc<Rule>], event: &Event) -> impl Iterator<Item = &'r Arc<Rule>> {
    rules.iter().filter(move |rule| rule.matches(event))
}

/// Event types of the workload, as catalog entries.
fn catalog() -> Catalog {
    Catalog::load(&schema_files()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// Their files, by name and text.
fn schema_files() -> Vec<(String, String)> {
    let record = |name: &str, fields: Vec<Value>| json!({"type": "record", "name": name, "fields": fields});
    let field = |name: &str, kind: Value| json!({"name": name, "type": kind, "tidings.title": name.to_uppercase()});
    let filter = |key: &str, path: &str, kind: &str| json!({"key": key, "label": key, "field": path, "kind": kind, "many": true});
    (0..TYPES)
        .map(|number| {
            let schema = json!({
                "type": "record", "namespace": "evt", "name": format!("type_{number:02}"), "doc": "Of the benchmark.",
                "tidings.displayName": "Benchmark", "tidings.category": "bench", "tidings.severity": "info",
                "fields": [
                    field("app", json!("string")), field("channel", json!("string")), field("env", json!("string")),
                    field("number", json!("string")), field("region", json!("string")), field("type", json!("string")),
                    field("name", json!("string")),
                    field("tags", json!({"type": "array", "items": "string"})),
                    field("customer", record("customer", ["id", "name", "email"].map(|name| field(name, json!("string"))).into())),
                    field("license", record("license", vec![
                        field("id", json!("string")), field("type", json!("string")), field("expires", json!("long")),
                        field("fields", json!({"type": "map", "values": ["string", "long", "boolean"]})),
                    ])),
                    field("instance", record("instance", vec![
                        field("status", json!("string")), field("nodes", json!("long")),
                        field("tags", json!({"type": "array", "items": "string"})),
                    ])),
                    field("version", record("version", vec![field("ord", json!("long"))])),
                    field("actor", record("actor", vec![field("email", json!("string"))])),
                ],
                "tidings.filters": [
                    filter("app", "app", "text"), filter("channel", "channel", "text"), filter("env", "env", "text"),
                    filter("number", "number", "text"), filter("region", "region", "text"), filter("type", "type", "text"),
                    filter("name", "name", "text"), filter("tags", "tags", "text"),
                    filter("customerId", "customer.id", "text"), filter("customerName", "customer.name", "text"),
                    filter("licenseType", "license.type", "text"), filter("licenseExpires", "license.expires", "number"),
                    filter("licenseFields", "license.fields", "map"),
                    filter("instanceStatus", "instance.status", "text"), filter("instanceTags", "instance.tags", "text"),
                    filter("instanceNodes", "instance.nodes", "number"), filter("versionOrd", "version.ord", "number"),
                    filter("actorEmail", "actor.email", "text"),
                ],
                "tidings.example": {
                    "app": "a", "channel": "b", "env": "c", "number": "1", "region": "d", "type": "e", "name": "f", "tags": ["g"],
                    "customer": {"id": "h", "name": "i", "email": "j"},
                    "license": {"id": "k", "type": "l", "expires": 1, "fields": {"seats": 1}},
                    "instance": {"status": "m", "nodes": 2, "tags": ["n"]}, "version": {"ord": 3}, "actor": {"email": "o"},
                },
            });
            (format!("evt/type_{number:02}.avsc"), schema.to_string())
        })
        .collect()
}

/// The filter's key of a field.
fn key_of(path: &str) -> (String, Option<&str>) {
    if let Some(name) = path.strip_prefix("license.fields.") {
        return ("licenseFields".to_owned(), Some(name));
    }
    let mut words = path.split('.');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        key.push_str(&word[..1].to_uppercase());
        key.push_str(&word[1..]);
    }
    (key, None)
}

fn subscription(number: usize, of: &workload::Subscription) -> Subscription {
    let events = of.clauses.iter().map(|(event_type, conditions)| {
        let mut filter = serde_json::Map::new();
        for (path, value) in conditions {
            match key_of(path) {
                (key, None) => drop(filter.insert(key, value.clone())),
                (key, Some(name)) => {
                    let inner = filter.entry(key).or_insert_with(|| json!({}));
                    inner.as_object_mut().expect("an object").insert(name.to_owned(), value.clone());
                }
            }
        }
        EventSelector { event_type: TypeSelector::Key(event_type.as_str().into()), filter: filter.into() }
    });
    Subscription {
        team: TeamId::new(&of.team).expect("a name"),
        id: SubscriptionId::new(&format!("s{number:07}")).expect("a name"),
        revision: 1,
        name: None,
        enabled: true,
        events: events.collect(),
        destinations: vec![DestinationId::new("hook").expect("a name")].into(),
    }
}

/// In the order of ids. Names of teams, destinations and types are in memory once, as the directory has them.
fn subscriptions(workload: &Workload, catalog: &Catalog) -> Vec<Arc<Subscription>> {
    let (mut teams, hook) = (HashMap::new(), DestinationId::new("hook").expect("a name"));
    let numbered = workload.subscriptions.iter().enumerate();
    numbered
        .map(|(number, of)| {
            let mut subscription = subscription(number, of);
            subscription.team = teams.entry(subscription.team.clone()).or_insert(subscription.team).clone();
            subscription.destinations.fill(hook.clone());
            for selector in &mut subscription.events {
                if let TypeSelector::Key(name) = &mut selector.event_type {
                    *name = catalog.get(name).expect("a type of the catalog").key.clone();
                }
            }
            Arc::new(subscription)
        })
        .collect()
}

/// In the order of ids.
fn compile(workload: &Workload) -> Vec<Arc<Rule>> {
    let catalog = catalog();
    let subscriptions = subscriptions(workload, &catalog).into_iter();
    subscriptions.map(|subscription| Arc::new(compiled(subscription, &catalog))).collect()
}

fn compiled(subscription: Arc<Subscription>, catalog: &Catalog) -> Rule {
    Rule::compile(subscription, catalog).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

fn event(text: &str) -> Event {
    let envelope: Value = serde_json::from_str(text).expect("JSON");
    let word = |name: &str| envelope[name].as_str().expect("a text").to_owned();
    Event {
        team: TeamId::new(&word("team")).expect("a name"),
        id: "1".into(),
        source: "bench".into(),
        event_type: word("type").into(),
        time: None,
        subject: None,
        data: envelope["data"].clone(),
    }
}
