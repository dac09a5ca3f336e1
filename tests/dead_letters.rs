//! A matcher whose dead letters cannot be written: it stops reading, says so, loses nothing, and goes on by itself.
//!
//! The real role over both real logs; Kafka takes part if `TIDINGS_TEST_KAFKA` names a broker.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tidings::{
    log::{BatchLimits, Group, Log, Outputs, Reader, TopicSpec},
    roles::{directory::follower, matcher::MatcherRole, seam::Seam, stop_pair},
    sources::Schemas,
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    codec::Decoder,
    domain::{Output, Record, TopicPartition},
    matcher::Options,
};
use tokio::time::{Instant, sleep};

#[cfg(feature = "kafka")]
#[path = "support/kafka.rs"]
mod kafka;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn row_23_unwritable_dead_letters_stop_the_matcher_of_the_local_log() {
    use tidings::log::local::{Local, LocalOptions};
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    stops_until_dead_letters_can_be_written(log, "row23.".to_owned()).await;
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn row_23_unwritable_dead_letters_stop_the_matcher_of_kafka() {
    let Some(log) = kafka::log() else { return };
    stops_until_dead_letters_can_be_written(log, kafka::unique("row23") + ".").await;
}

async fn stops_until_dead_letters_can_be_written<L: Log>(log: L, prefix: String) {
    let topic = |name: &str| -> Arc<str> { format!("{prefix}{name}").into() };
    for name in ["events", "directory", "deliveries", "index_versions"] {
        create(&log, topic(name)).await;
    }
    let schemas = Schemas::local(Decoder::new(Catalog::builtin(), Default::default(), None).unwrap());
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
        schemas,
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
    until("ready", || readiness.reasons().is_empty()).await;

    let good = json!({"team": "acme", "type": "demo.thing", "id": "1", "data": {}}).to_string();
    let event = |value: &str| Output {
        topic: topic("events"),
        partition: Some(0),
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    };
    log.append(vec![event("no event"), event(&good)]).await.unwrap();
    until("not ready", || readiness.reasons().iter().any(|(role, _)| *role == "match")).await;
    let (_, why) = readiness.reasons().remove(0);
    assert!(why.contains("cannot be written") && why.contains("deadletters"), "{why}");
    sleep(Duration::from_secs(1)).await;
    assert!(!running.is_finished(), "it stays up");
    let group = format!("{prefix}match");
    let committed = async || log.committed(&group, &topic("events")).await.unwrap().pop().map_or(0, |(_, next)| next);
    assert_eq!(committed().await, 0, "nothing is passed over");

    create(&log, topic("deadletters")).await;
    until("ready again", || readiness.reasons().is_empty()).await;
    let give_up = Instant::now() + PATIENCE;
    while committed().await < 2 {
        assert!(Instant::now() < give_up, "{} committed", committed().await);
        sleep(Duration::from_millis(50)).await;
    }
    let letters = read(&log, topic("deadletters")).await;
    assert_eq!(letters.iter().map(|letter| letter.value.clone().unwrap()).collect::<Vec<_>>(), ["no event"]);

    stopper.stop();
    running.await.unwrap().unwrap();
    following.await.unwrap();
}

async fn create<L: Log>(log: &L, name: Arc<str>) {
    log.create_topic(TopicSpec { name, partitions: 1, settings: Vec::new() }).await.unwrap();
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

async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
