//! The matcher's hot path in one process: what an event costs from its bytes to the bytes of its deliveries.
//!
//! Each group has its baseline beside it, so that a ratio can be quoted whatever the machine: reading beside serde_json's
//! `Value` and beside apache-avro's reader, the step beside the mere copy of its records.
//!
//! ```sh
//! cargo bench -p tidings-core --bench step
//! ```

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use apache_avro::{
    from_value, reader::datum::GenericDatumReader, types::Value as AvroValue, writer::datum::GenericDatumWriter,
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{self, Decoder, tape::Tape},
    directory::Directory,
    domain::{Record, Subscription, Timestamp},
    filter::{Index, Rule, Scanner},
    matcher::{Matcher, Options},
};

const TYPE: &str = "replicated.customer.created";
const TEAMS: usize = 50;
/// A team's subscriptions (1,000 in all, then 100,000), and whether it has one more, which has to be tried by itself and does not match.
const TEAM: [(usize, bool); 3] = [(20, false), (2_000, false), (20, true)];
/// Of one step.
const RECORDS: usize = 5_000;

/// The event that `scripts/bench` measures with: about 300 bytes.
fn event(n: usize, per_team: usize) -> Value {
    json!({
        "team": format!("team-{}", n % TEAMS),
        "type": TYPE,
        "id": format!("evt-{n:012}"),
        "data": {
            "app_id": format!("app-{}", n / TEAMS % per_team),
            "app_name": "Gitea Enterprise",
            "customer_id": format!("cus-{n}"),
            "customer_name": "Northwind Traders International",
            "license_type": "paid",
            "license_fields": {"seats": 250, "region": "eu-west"},
            "t": 1_790_000_000_000_000_u64 + n as u64,
        },
    })
}

fn record(topic: &str, offset: usize, key: Option<String>, value: &Value) -> Record {
    Record {
        topic: topic.into(),
        partition: 0,
        offset: offset as i64,
        timestamp: Timestamp(1_790_000_000_000),
        key: key.map(Bytes::from),
        value: Some(value.to_string().into()),
        headers: Vec::new(),
    }
}

fn directory(per_team: usize, is_tried: bool) -> Directory {
    let mut directory = Directory::new(Catalog::builtin());
    for n in 0..TEAMS * per_team {
        let (team, id) = (n / per_team, n % per_team);
        let value = json!({
            "team": format!("team-{team}"), "id": format!("subscription-{id}"), "revision": 1, "destinations": ["hook"],
            "events": [{"type": TYPE, "filter": {"appId": [format!("app-{id}")], "licenseType": ["paid"]}}],
        });
        directory.apply(&record("directory", n, Some(format!("sub/team-{team}/subscription-{id}")), &value));
    }
    for team in (0..TEAMS).filter(|_| is_tried) {
        let value = json!({
            "team": format!("team-{team}"), "id": "tried", "revision": 1, "destinations": ["hook"],
            "events": [{"type": TYPE, "filter": {"$or": [{"appId": ["none"]}, {"customerId": ["none"]}]}}],
        });
        directory.apply(&record("directory", TEAMS * per_team + team, Some(format!("sub/team-{team}/tried")), &value));
    }
    assert_eq!(directory.counts().subscriptions, TEAMS * (per_team + usize::from(is_tried)));
    // As whoever follows the topic does before a matcher sees it.
    directory.settle();
    directory
}

fn options(threads: usize) -> Options {
    Options {
        deliveries: "deliveries".into(),
        deadletters: "deadletters".into(),
        index_versions: "index_versions".into(),
        delivery_partitions: 12,
        max_fanout: 10_000,
        max_fanout_bytes: 1 << 28,
        max_batch_bytes: 1 << 28,
        threads,
    }
}

/// 5,000 events, each matched by one of 1,000 subscriptions, or of 100,000. As many events as there are subscriptions take turns, so that
/// what is seldom asked for is not in the cache.
fn step(criterion: &mut Criterion) {
    let decoder = Decoder::new(Catalog::builtin(), BTreeMap::new(), None).expect("no schemas to map");
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (per_team, is_tried) in TEAM {
        let count = (TEAMS * per_team).max(RECORDS);
        let records: Vec<Record> = (0..count).map(|n| record("events", n, None, &event(n, per_team))).collect();
        let mut turns = records.chunks(RECORDS).cycle();
        let directory = directory(per_team, is_tried);
        let among = format!("{} subscriptions{}", TEAMS * per_team, if is_tried { ", one tried" } else { "" });
        group.bench_function(format!("copied, events of {among}"), |b| {
            let copy = |record: &Record| Bytes::copy_from_slice(record.value.as_deref().unwrap_or_default());
            b.iter(|| turns.next().into_iter().flatten().map(copy).collect::<Vec<_>>());
        });
        for threads in [1, 2] {
            let mut matcher = Matcher::new(options(threads));
            group.bench_function(format!("matched, {among}, {threads} threads"), |b| {
                b.iter(|| {
                    let batch = matcher.step(black_box(turns.next().unwrap_or_default()), &directory, &decoder);
                    assert_eq!(batch.counts.deliveries, RECORDS as u64);
                    batch
                });
            });
        }
    }
    group.finish();
}

/// One event's JSON.
fn read_json(criterion: &mut Criterion) {
    let text = event(7, TEAM[0].0).to_string();
    let mut group = criterion.benchmark_group("read JSON");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("serde_json", |b| b.iter(|| serde_json::from_str::<Value>(black_box(&text))));
    let mut tape = Tape::new();
    group.bench_function("tape", |b| b.iter(|| tape.read_json(black_box(text.as_bytes())).is_ok()));
    group.bench_function("defensively", |b| b.iter(|| codec::json::parse(black_box(text.as_bytes()))));
    group.finish();
}

/// The same event's data from Avro, beside apache-avro's way to a dynamic value.
fn read_avro(criterion: &mut Criterion) {
    let catalog = Catalog::builtin();
    let known = catalog.get(TYPE).expect("a built-in type");
    let value = AvroValue::try_from(known.example.clone()).and_then(|value| value.resolve(&known.schema));
    let datum = GenericDatumWriter::builder(&known.schema)
        .build()
        .and_then(|writer| writer.write_value_to_vec(value.expect("an example of the schema")))
        .expect("encodes");
    let reader = GenericDatumReader::builder(&known.schema).build().expect("a reader");
    let mut group = criterion.benchmark_group("read Avro");
    group.throughput(Throughput::Bytes(datum.len() as u64));
    group.bench_function("apache-avro", |b| {
        b.iter(|| {
            let value = reader.read_value(&mut black_box(&datum[..])).expect("decodes");
            from_value::<Value>(&value).expect("a value")
        });
    });
    let mut tape = Tape::new();
    group.bench_function("tape", |b| b.iter(|| tape.read_avro(&known.shape, black_box(&datum)).is_ok()));
    group.bench_function("defensively", |b| b.iter(|| codec::avro::decode(&known.shape, black_box(&datum))));
    // Only what some filters ask for, which is all that the index needs.
    let subscription: Subscription = serde_json::from_value(json!({
        "team": "acme", "id": "s", "revision": 1, "destinations": ["hook"],
        "events": [{"type": TYPE, "filter": {"appId": ["app-1"], "licenseType": ["paid"]}}],
    }))
    .expect("a subscription");
    let rule = Rule::compile(Arc::new(subscription), &catalog).expect("filters of the type");
    let program = Index::of([Arc::new(rule)]).avro_program(&known.shape).expect("a record");
    let mut scanner = Scanner::new();
    assert!(program.read(&datum, &mut scanner).is_ok());
    group.bench_function("two fields", |b| b.iter(|| program.read(black_box(&datum), &mut scanner).is_ok()));
    group.finish();
}

criterion_group!(benches, read_json, read_avro, step);
criterion_main!(benches);
