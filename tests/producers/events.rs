//! Services write events, each in its own way.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{installation::Installation, kafka, producers};

/// Events of each service that writes several.
const EVENTS: usize = 20;
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);

/// A program or schema of this repository.
fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One subscription to all, and its destination.
async fn subscribe(it: &Installation) {
    it.api.destination("hook", &it.receiver.url("ok", "hook"), json!({})).await;
    let body = json!({"events": [{"type": "*"}], "destinations": ["hook"]});
    it.api.request(reqwest::Method::PUT, "/v1/teams/acme/subscriptions/all", &body).await;
}

/// The bodies that have come, by the id of their event.
async fn bodies(it: &Installation, count: usize) -> std::collections::BTreeMap<String, Value> {
    it.receiver.wait_for(count, ARRIVE_WITHIN).await;
    assert_eq!(it.api.get("/v1/deadletters").await["items"], json!([]));
    let receipts = it.receiver.receipts();
    receipts.iter().map(|receipt| (receipt.event(), serde_json::from_slice(&receipt.body).unwrap())).collect()
}

#[tokio::test]
async fn kafkajs_writes_the_plain_envelope_and_the_console_by_hand() {
    let Some(it) = Installation::start("node", &[]).await else { return };
    subscribe(&it).await;
    let topic = it.topic("events");
    let program = file("tests/producers/node/producer.js");
    producers::node(&it.clients, &program, &[&it.brokers, &topic, &EVENTS.to_string()]).await;
    let by_hand = json!({"team": "acme", "type": "test.thing.happened", "id": "console-0", "data": {"to": "hook"}});
    kafka::console_producer(&topic, &[], &format!("{by_hand}\n"));
    let bodies = bodies(&it, EVENTS + 1).await;
    assert_eq!(bodies["node-7"]["data"], json!({"to": "hook"}));
    assert_eq!(bodies["console-0"]["type"], "test.thing.happened");
    it.stopped().await;
}
