//! A registry that is away while a matcher and a sender need it: they wait, say so, lose nothing and blame no record.
//!
//! The real roles over the local log, and over Kafka if `TIDINGS_TEST_KAFKA` names a broker.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tidings::{
    log::{
        BatchLimits, Group, Log, Outputs, Reader, TopicSpec,
        local::{Local, LocalOptions},
    },
    roles::{bodies::Bodies, directory::follower, matcher::MatcherRole, seam::Seam, stop_pair},
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    codec::decode_delivery,
    domain::{Output, Record, TopicPartition},
    matcher::Options,
};
use tokio::time::{Instant, sleep};

use crate::{
    asking::{SCHEMA, schemas, sold},
    stub::{Mode, Stub},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the registry is away.
const AWAY: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_matcher_of_the_local_log_waits_for_its_registry() {
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    waits_for_its_registry(log, "away.".to_owned(), Mode::Fails).await;
}

#[tokio::test]
async fn a_registry_that_hangs_is_away_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    waits_for_its_registry(log, "hangs.".to_owned(), Mode::Hangs).await;
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_matcher_of_kafka_waits_for_its_registry() {
    let Some(log) = crate::kafka::log() else { return };
    waits_for_its_registry(log, crate::kafka::unique("registry") + ".", Mode::Fails).await;
}

async fn waits_for_its_registry<L: Log>(log: L, prefix: String, away: Mode) {
    let topic = |name: &str| -> Arc<str> { format!("{prefix}{name}").into() };
    for name in ["events", "directory", "deliveries", "deadletters", "index_versions"] {
        log.create_topic(TopicSpec { name: topic(name), partitions: 1, settings: Vec::new() }).await.unwrap();
    }
    let subscription = json!({"team": "acme", "id": "s", "name": "S", "enabled": true, "revision": 1,
        "events": [{"type": "*"}], "destinations": ["d"]});
    let put = |name: &str, key: Option<&str>, value: Bytes| Output {
        topic: topic(name),
        partition: Some(0),
        key: key.map(|key| Bytes::from(key.to_owned())),
        value: Some(value),
        headers: Vec::new(),
    };
    log.append(vec![put("directory", Some("sub/acme/s"), subscription.to_string().into())]).await.unwrap();

    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    stub.is(away);
    let (stopper, stop) = stop_pair();
    let readiness = Readiness::default();
    let (following, view) = follower(log.clone(), topic("directory"), Catalog::builtin(), readiness.clone());
    let following = tokio::spawn(following.run(stop.clone(), |_| {}));
    let role = MatcherRole {
        log: log.clone(),
        group: Group {
            name: format!("{prefix}match"),
            topics: vec![topic("events")],
            instance: format!("{prefix}one"),
            outputs: Outputs::Transactional,
            batch: BatchLimits { records: 100, bytes: 1 << 20, time: Duration::from_millis(5) },
        },
        view,
        schemas: schemas(&stub, readiness.clone()),
        options: Options {
            deliveries: topic("deliveries"),
            deadletters: topic("deadletters"),
            index_versions: topic("index_versions"),
            delivery_partitions: 1,
            max_fanout: 100,
            max_fanout_bytes: 1 << 20,
            max_batch_bytes: 1 << 20,
            threads: 2,
        },
        readiness: readiness.clone(),
        seam: Seam::closed(),
    };
    let running = tokio::spawn(role.run(stop));
    until("ready", async || readiness.reasons().is_empty()).await;

    let plain = |id: &str| -> Bytes { json!({"type": "a.b", "id": id}).to_string().into() };
    // What comes before the record that needs the schema goes on; what comes after keeps its place.
    log.append(vec![
        put("events", None, plain("before")),
        put("events", None, sold(7)),
        put("events", None, plain("after")),
    ])
    .await
    .unwrap();
    until("not ready", async || readiness.reasons().iter().any(|(what, _)| *what == "registry")).await;
    let began = Instant::now();
    let ids = async || -> Vec<String> {
        let deliveries = read(&log, topic("deliveries")).await;
        deliveries.iter().map(|d| decode_delivery(d.value.as_ref().unwrap()).unwrap().event_id.to_string()).collect()
    };
    until("what came before is matched", async || ids().await == ["before"]).await;
    // Still polling: what comes meanwhile is no trouble.
    log.append(vec![put("events", None, plain("meanwhile"))]).await.unwrap();
    sleep(AWAY.saturating_sub(began.elapsed())).await;
    assert_eq!(ids().await, ["before"]);
    assert!(read(&log, topic("deadletters")).await.is_empty(), "no record is blamed");
    assert!(!running.is_finished(), "it stays up");

    stub.is(Mode::Answers);
    until("ready again", async || readiness.reasons().is_empty()).await;
    let own = format!("{prefix}events-0-1");
    let expected = ["before", own.as_str(), "after", "meanwhile"];
    until("all are matched, in order and once", async || ids().await == expected).await;
    assert!(read(&log, topic("deadletters")).await.is_empty());

    // A registry that says that there is none is another matter.
    log.append(vec![put("events", None, sold(99)), put("events", None, plain("last"))]).await.unwrap();
    until("the dead letter", async || read(&log, topic("deadletters")).await.len() == 1).await;
    until("and what follows", async || ids().await.len() == 5).await;
    stopper.stop();
    running.await.unwrap().unwrap();
    following.await.unwrap();
}

#[tokio::test]
async fn a_matcher_that_waits_for_its_registry_stops_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    for name in ["events", "directory", "deliveries", "deadletters", "index_versions"] {
        log.create_topic(TopicSpec { name: name.into(), partitions: 1, settings: Vec::new() }).await.unwrap();
    }
    let stub = Stub::start();
    stub.is(Mode::Hangs);
    let (stopper, stop) = stop_pair();
    let readiness = Readiness::default();
    let (following, view) = follower(log.clone(), "directory".into(), Catalog::builtin(), readiness.clone());
    tokio::spawn(following.run(stop.clone(), |_| {}));
    let role = MatcherRole {
        log: log.clone(),
        group: Group {
            name: "match".to_owned(),
            topics: vec!["events".into()],
            instance: "one".to_owned(),
            outputs: Outputs::Transactional,
            batch: BatchLimits { records: 100, bytes: 1 << 20, time: Duration::from_millis(5) },
        },
        view,
        schemas: schemas(&stub, readiness.clone()),
        options: Options {
            deliveries: "deliveries".into(),
            deadletters: "deadletters".into(),
            index_versions: "index_versions".into(),
            delivery_partitions: 1,
            max_fanout: 100,
            max_fanout_bytes: 1 << 20,
            max_batch_bytes: 1 << 20,
            threads: 1,
        },
        readiness: readiness.clone(),
        seam: Seam::closed(),
    };
    let running = tokio::spawn(role.run(stop));
    let event =
        Output { topic: "events".into(), partition: Some(0), key: None, value: Some(sold(7)), headers: Vec::new() };
    log.append(vec![event]).await.unwrap();
    until("it asks", async || stub.asked("/schemas/ids/7") > 0).await;
    stopper.stop();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("in time").unwrap().unwrap();
    let committed = log.committed("match", "events").await.unwrap();
    assert!(committed.iter().all(|(_, next)| *next == 0), "nothing is passed over: {committed:?}");
}

/// A sender reads the event again, and may be the first of its process to need the schema.
#[tokio::test]
async fn a_body_waits_for_its_schema() {
    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    stub.is(Mode::Fails);
    let readiness = Readiness::default();
    let bodies = Arc::new(Bodies::new(schemas(&stub, readiness.clone()), Catalog::builtin()));
    let matcher = schemas(&stub, Readiness::default());
    stub.is(Mode::Answers);
    let record = Record {
        topic: "events".into(),
        partition: 0,
        offset: 0,
        timestamp: tidings_core::domain::Timestamp(0),
        key: None,
        value: Some(sold(7)),
        headers: Vec::new(),
    };
    let decoded = matcher.decode(&record).await.unwrap();
    stub.is(Mode::Fails);
    let delivery = delivery(&decoded.codec, &record);
    let body = Arc::new(Mutex::new(None));
    let (into, rendering) = (body.clone(), bodies.clone());
    tokio::spawn(async move {
        let rendered = rendering.of(&delivery).await;
        *into.lock().unwrap() = Some(rendered);
    });
    until("not ready", async || !readiness.reasons().is_empty()).await;
    assert!(body.lock().unwrap().is_none(), "an outage is no failure of the attempt");
    stub.is(Mode::Answers);
    until("the body", async || body.lock().unwrap().is_some()).await;
    let rendered = body.lock().unwrap().take().unwrap().unwrap();
    let rendered: Value = serde_json::from_slice(&rendered).unwrap();
    assert_eq!(rendered["data"], json!({"sku": "x", "n": 1}));
    assert!(readiness.reasons().is_empty());
}

fn delivery(codec: &Arc<str>, record: &Record) -> tidings_core::domain::Delivery {
    use tidings_core::domain::{Day, Delivery, DestinationId, NotificationId, SubscriptionId, TeamId, Timestamp};
    Delivery {
        id: NotificationId([1; 16]),
        day: Day(0),
        team: TeamId::new("acme").unwrap(),
        subscription: SubscriptionId::new("s").unwrap(),
        subscription_revision: 1,
        destination: DestinationId::new("d").unwrap(),
        destination_revision: 1,
        destination_hash: 0,
        event_type: "shop.Sold".into(),
        event_id: "1".into(),
        event_source: "shop".into(),
        event_time: None,
        event_subject: None,
        index_version: 1,
        position: record.position(),
        recorded_at: Timestamp(0),
        replayed_at: None,
        codec: codec.clone(),
        event: record.value.clone().unwrap(),
    }
}

async fn read<L: Log>(log: &L, topic: Arc<str>) -> Vec<Record> {
    let partition = TopicPartition { topic, partition: 0 };
    let bounds = log.bounds(partition.clone()).await.unwrap();
    let mut reader = log.reader(partition, bounds.start).await.unwrap();
    let (mut records, give_up) = (Vec::new(), Instant::now() + PATIENCE);
    while reader.position() < bounds.end {
        assert!(Instant::now() < give_up, "at {} of {}", reader.position(), bounds.end);
        records.extend(reader.next(Duration::from_millis(200)).await.unwrap());
    }
    records
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
