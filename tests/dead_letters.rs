//! A matcher whose dead letters cannot be written: it stops reading, says so, loses nothing, and goes on by itself.
//!
//! The real role over both real logs; Kafka takes part if `TIDINGS_TEST_KAFKA` names a broker.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tidings::{
    log::Log,
    sources::{EventsTopics, Schemas},
    telemetry::Readiness,
};
use tidings_core::{catalog::Catalog, codec::Decoder};
use tokio::time::sleep;

#[cfg(feature = "kafka")]
#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/matcher.rs"]
mod matcher;

use matcher::{Topics, until};

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
    let topics = Topics::made(log, prefix, &["deadletters"]).await;
    let schemas = Schemas::local(Decoder::new(Catalog::builtin(), Default::default(), None).unwrap());
    let events = EventsTopics::fixed(vec![topics.name("events")]);
    let matching = topics.start(Readiness::default(), schemas, events);
    matching.ready().await;

    let good = json!({"team": "acme", "type": "demo.thing", "id": "1", "data": {}}).to_string();
    topics.put("events", None, &[Bytes::from_static(b"no event"), good.into()]).await;
    let readiness = matching.readiness.clone();
    until("not ready", async || readiness.reasons().iter().any(|(role, _)| *role == "match")).await;
    let (_, why) = readiness.reasons().remove(0);
    assert!(why.contains("cannot be written") && why.contains("deadletters"), "{why}");
    sleep(Duration::from_secs(1)).await;
    assert!(matching.is_up(), "it stays up");
    assert_eq!(topics.committed("events").await, 0, "nothing is passed over");

    topics.create("deadletters").await;
    matching.ready().await;
    until("both are done", async || topics.committed("events").await == 2).await;
    let letters = topics.read("deadletters").await;
    assert_eq!(letters.iter().map(|letter| letter.value.clone().unwrap()).collect::<Vec<_>>(), ["no event"]);
    matching.stop().await;
}
