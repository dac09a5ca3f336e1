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
        Log,
        local::{Local, LocalOptions},
    },
    roles::bodies::Bodies,
    sources::EventsTopics,
    telemetry::Readiness,
};
use tidings_core::{catalog::Catalog, codec::decode_delivery, domain::Record};
use tokio::time::{Instant, sleep};

use crate::{
    asking::{SCHEMA, schemas, sold},
    matcher::{Topics, until},
    stub::{Mode, Stub},
};

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
    let topics = Topics::made(log, prefix, &[]).await;
    let subscription = json!({"team": "acme", "id": "s", "name": "S", "enabled": true, "revision": 1,
        "events": [{"type": "*"}], "destinations": ["d"]});
    topics.put("directory", Some("sub/acme/s"), &[subscription.to_string().into()]).await;

    let stub = Stub::start();
    stub.has_schema(7, SCHEMA);
    stub.is(away);
    let readiness = Readiness::default();
    let events = EventsTopics::fixed(vec![topics.name("events")]);
    let matching = topics.start(readiness.clone(), schemas(&stub, readiness.clone()), events);
    matching.ready().await;

    let plain = |id: &str| -> Bytes { json!({"type": "a.b", "id": id}).to_string().into() };
    // What comes before the record that needs the schema goes on; what comes after keeps its place.
    topics.put("events", None, &[plain("before"), sold(7), plain("after")]).await;
    until("not ready", async || readiness.reasons().iter().any(|(what, _)| *what == "registry")).await;
    let began = Instant::now();
    let ids = async || -> Vec<String> {
        let deliveries = topics.read("deliveries").await;
        deliveries.iter().map(|d| decode_delivery(d.value.as_ref().unwrap()).unwrap().event_id.to_string()).collect()
    };
    until("what came before is matched", async || ids().await == ["before"]).await;
    // Still polling: what comes meanwhile is no trouble.
    topics.put("events", None, &[plain("meanwhile")]).await;
    sleep(AWAY.saturating_sub(began.elapsed())).await;
    assert_eq!(ids().await, ["before"]);
    assert!(topics.read("deadletters").await.is_empty(), "no record is blamed");
    assert!(matching.is_up(), "it stays up");

    stub.is(Mode::Answers);
    until("ready again", async || readiness.reasons().is_empty()).await;
    let own = format!("{}-0-1", topics.name("events"));
    let expected = ["before", own.as_str(), "after", "meanwhile"];
    until("all are matched, in order and once", async || ids().await == expected).await;
    assert!(topics.read("deadletters").await.is_empty());

    // A registry that says that there is none is another matter.
    topics.put("events", None, &[sold(99), plain("last")]).await;
    until("the dead letter", async || topics.read("deadletters").await.len() == 1).await;
    until("and what follows", async || ids().await.len() == 5).await;
    matching.stop().await;
}

#[tokio::test]
async fn a_matcher_that_waits_for_its_registry_stops_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    let topics = Topics::made(log, "hangs.".to_owned(), &[]).await;
    let stub = Stub::start();
    stub.is(Mode::Hangs);
    let readiness = Readiness::default();
    let events = EventsTopics::fixed(vec![topics.name("events")]);
    let matching = topics.start(readiness.clone(), schemas(&stub, readiness), events);
    topics.put("events", None, &[sold(7)]).await;
    until("it asks", async || stub.asked("/schemas/ids/7") > 0).await;
    matching.stop().await;
    assert_eq!(topics.committed("events").await, 0, "nothing is passed over");
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
    let delivery = delivery(&Arc::from(&*decoded.codec), &record);
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
