//! Services write events, each in its own way.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{installation::Installation, kafka, producers};

/// Events of each service that writes several.
const EVENTS: usize = 20;
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);

/// A program or schema of this repository.
fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

const CUSTOMER_CREATED: &str = "schemas/events/replicated/customer.created.avsc";

/// A topic of a platform's own, which is there before Tidings.
async fn foreign_topic(name: &str) -> Option<Arc<str>> {
    Some(kafka::topic(&kafka::log()?, name, 1, &[]).await)
}

/// An installation that reads it, and asks the registry what its schemas are.
async fn reading(name: &str, topic: &str, registry: &str) -> Installation {
    let settings = [format!("log.events_topics={topic}"), format!("registry.url={registry}/apis/ccompat/v7")];
    let it = Installation::start(name, &settings).await.expect("the producer has run");
    subscribe(&it).await;
    it
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
async fn confluents_python_serializer_writes_avro_with_a_registry() {
    let (Some(clients), Some(registry)) = (producers::folder(), producers::registry()) else { return };
    let Some(topic) = foreign_topic("python").await else { return };
    let (program, schema) = (file("tests/producers/python/avro_with_registry.py"), file(CUSTOMER_CREATED));
    let (brokers, confluent) = (kafka::brokers().unwrap(), format!("{registry}/apis/ccompat/v7"));
    let it = reading("python", &topic, &registry).await;
    let count = EVENTS.to_string();
    let arguments = [&*brokers, &*confluent, &*topic, schema.to_str().unwrap(), &count];
    producers::python(&clients, &program, &arguments).await;
    let bodies = bodies(&it, EVENTS).await;
    let example: Value = serde_json::from_str(&std::fs::read_to_string(&schema).unwrap()).unwrap();
    let body = &bodies["python-7"];
    assert_eq!((&body["type"], &body["source"]), (&json!("replicated.customer.created"), &json!("python")));
    assert_eq!(body["data"]["customer_id"], example["tidings.example"]["customer_id"]);
    it.stopped().await;
}

#[tokio::test]
async fn apicurios_java_serializer_writes_avro_with_confluents_ids() {
    let (Some(clients), Some(registry)) = (producers::folder(), producers::registry()) else { return };
    let Some(topic) = foreign_topic("java").await else { return };
    let (program, schema) = (file("tests/producers/java/Producer.java"), file(CUSTOMER_CREATED));
    let (brokers, apicurio) = (kafka::brokers().unwrap(), format!("{registry}/apis/registry/v2"));
    let arguments = [&*brokers, &*apicurio, &*topic, schema.to_str().unwrap()];
    let it = reading("java", &topic, &registry).await;
    producers::java(&clients, &program, &arguments).await;
    let body = &bodies(&it, 1).await["java-0"];
    assert_eq!((&body["type"], &body["source"]), (&json!("replicated.customer.created"), &json!("java")));
    assert_eq!((&body["data"]["customer_id"], &body["data"]["license_type"]), (&json!("java"), &json!("paid")));
    it.stopped().await;
}

/// The modes of the SDK's Kafka binding that are read.
const MODES: [&str; 2] = ["structured", "binary"];

#[tokio::test]
async fn the_cloudevents_sdk_is_read() {
    let Some(it) = Installation::start("sdk", &[]).await else { return };
    subscribe(&it).await;
    let (topic, program) = (it.topic("events"), file("tests/producers/python/cloudevents_both.py"));
    producers::python(&it.clients, &program, &[&it.brokers, &topic]).await;
    it.receiver.wait_for(MODES.len(), ARRIVE_WITHIN).await;
    for mode in MODES {
        let id = format!("sdk-{mode}");
        let receipts = it.receiver.receipts();
        let receipt = receipts.iter().find(|receipt| receipt.event() == id).unwrap_or_else(|| panic!("no {id}"));
        let body: Value = serde_json::from_slice(&receipt.body).unwrap();
        assert_eq!((&body["type"], &body["source"]), (&json!("test.thing.happened"), &json!("urn:shop")));
        assert_eq!((&body["subject"], &body["data"]), (&json!("order-1"), &json!({"to": "hook"})));
    }
    it.stopped().await;
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
