//! Kafka and PostgreSQL: two matchers, two senders, one API, each a process of its own.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tidings::log::Log;
use tidings_core::domain::Output;

use crate::{
    kafka, postgres,
    program::{Program, client, common, event},
    receiver::{Receiver, notifications},
};

/// A key ring of these tests.
const KEYS: &str = "test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const EVENTS: usize = 1_000;
/// The id under which a schema registry would know the type.
const SCHEMA: u32 = 7;

#[tokio::test]
async fn nothing_is_lost_while_processes_come_and_go() {
    let (Some(log), Some(store)) = (kafka::log(), postgres::database("end_to_end").await) else { return };
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let prefix = kafka::unique("e2e") + ".";
    let settings = |name: &str| {
        let mut settings = settings(&prefix, &store, name);
        settings.extend([
            "log.partitions=4".to_owned(),
            format!("schemas.ids.{SCHEMA}=replicated.customer.created"),
            "telemetry.listen=127.0.0.1:0".to_owned(),
        ]);
        settings
    };
    let start = |role: &str, name: &str| Program::start(folder.path(), name, &[role], &settings(name));

    // Nothing is created behind an operator's back.
    let mut early = start("match", "early");
    assert_eq!(early.ended(Duration::from_secs(30)).await.0.code(), Some(1));
    assert!(early.log().contains("`tidings topics create`"), "{}", early.log());
    succeeds(folder.path(), &["topics", "create"], &settings("tool")).await;
    succeeds(folder.path(), &["check"], &settings("tool")).await;

    let api_process = start("api", "api-a");
    let mut others =
        vec![start("match", "match-a"), start("match", "match-b"), start("send", "send-a"), start("send", "send-b")];
    let api = api_process.api().await;
    for program in &others {
        program.logs("partitions assigned").await;
        let metrics = client().get(format!("{}/metrics", program.health().await)).send().await.unwrap();
        assert!(metrics.text().await.unwrap().contains("tidings_ready 1"), "{}", program.name);
    }
    let mut secrets = Vec::new();
    for n in 0..8 {
        let id = format!("hook-{n}");
        secrets.push((id.clone(), api.destination(&id, &receiver.url("slow", &id), json!({})).await));
        api.subscription(&id, &[&id], &[&id]).await;
    }
    let customers = json!({"events": [{"type": "replicated.customer.created", "filter": {"licenseType": ["paid"]}}], "destinations": ["hook-0"]});
    api.request(Method::PUT, "/v1/teams/acme/subscriptions/customers", &customers).await;
    // A change holds in every process within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;

    // As another program's producer writes them, past our API.
    let topic = format!("{prefix}events");
    let events = (0..EVENTS).map(|n| {
        let value = event(&format!("e{n}"), &format!("hook-{}", n % 8)).to_string();
        output(&topic, format!("k{n}"), value.into(), &[])
    });
    let events: Vec<Output> = events.collect();
    let (first, second) = events.split_at(EVENTS / 2);
    log.append(first.to_vec()).await.unwrap();
    receiver.wait_for(EVENTS / 10, Duration::from_secs(60)).await;

    // One of each is killed in the middle of its work and started again under its name.
    for (role, name) in [("match", "match-a"), ("send", "send-a")] {
        let place = others.iter().position(|program| program.name == name).unwrap();
        let mut killed = others.remove(place);
        killed.signal("-KILL");
        killed.ended(Duration::from_secs(5)).await;
        others.push(start(role, name));
    }
    log.append(second.to_vec()).await.unwrap();
    // The receiver lives in this thread and stands still meanwhile: what it holds up must not come minutes later.
    kafka::console_producer(&topic, &[], &format!("{}\n", event("console", "hook-1")));
    let attributes = [("ce_id", "customer-1"), ("ce_team", "acme"), ("ce_source", "vendor-portal")];
    log.append(vec![output(&topic, "c1".to_owned(), customer_created(), &attributes)]).await.unwrap();
    // And one of each is stopped in good order, for good: the other takes over what it leaves.
    receiver.wait_for(EVENTS / 2, Duration::from_secs(60)).await;
    for name in ["match-b", "send-b"] {
        let place = others.iter().position(|program| program.name == name).unwrap();
        others.remove(place).stopped().await;
    }
    receiver.wait_for(EVENTS + 2, Duration::from_secs(120)).await;

    let receipts = receiver.receipts();
    assert_eq!(notifications(&receipts), EVENTS + 2, "a repeat has the id of what it repeats");
    for receipt in &receipts {
        let (_, secret) = secrets.iter().find(|(id, _)| *id == receipt.name).unwrap();
        receipt.verify(secret);
    }
    let customer = receipts.iter().find(|receipt| receipt.event() == "customer-1").unwrap();
    let body: Value = serde_json::from_slice(&customer.body).unwrap();
    assert_eq!(body["type"], "replicated.customer.created");
    assert_eq!(body["data"]["customer_name"], "Northwind Traders");
    assert_eq!(api.get("/v1/deadletters").await["items"], json!([]));
    println!("{} requests for {} notifications", receipts.len(), EVENTS + 2);

    others.push(api_process);
    for program in &mut others {
        program.stopped().await;
    }
}

/// Settings of one process of a distributed installation.
pub fn settings(prefix: &str, store: &str, name: &str) -> Vec<String> {
    let mut settings = common();
    settings.extend([
        "mode=distributed".to_owned(),
        format!("log.kafka.brokers={}", kafka::brokers().unwrap()),
        format!("log.topic_prefix={prefix}"),
        "log.replication=1".to_owned(),
        format!("store.url={store}"),
        format!("secrets.keys={KEYS}"),
        format!("process.name={name}"),
        "api.listen=127.0.0.1:0".to_owned(),
    ]);
    settings
}

/// Runs a command that ends by itself.
pub async fn succeeds(folder: &Path, arguments: &[&str], settings: &[String]) {
    let mut program = Program::start(folder, "tool", arguments, settings);
    let (status, _) = program.ended(Duration::from_secs(60)).await;
    assert!(status.success(), "{arguments:?}: {}", program.log());
}

fn output(topic: &str, key: String, value: Bytes, headers: &[(&str, &str)]) -> Output {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), Bytes::from((*value).to_owned())));
    Output {
        topic: topic.into(),
        partition: None,
        key: Some(key.into()),
        value: Some(value),
        headers: headers.collect(),
    }
}

/// A customer in Confluent's frame, written field by field as the Avro specification says.
fn customer_created() -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(SCHEMA.to_be_bytes());
    let string = |bytes: &mut Vec<u8>, text: &str| {
        // Zigzag; one byte holds lengths up to 63.
        bytes.push(2 * u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    };
    const NULL: u8 = 0;
    const SECOND_BRANCH: u8 = 2;
    const EMPTY_MAP: u8 = 0;
    string(&mut bytes, "app-1"); // app_id
    string(&mut bytes, "Gitea Enterprise"); // app_name
    bytes.extend([NULL, NULL, NULL, NULL]); // app_slug, team_id, event_type, subscription_name
    string(&mut bytes, "customer-1"); // customer_id
    string(&mut bytes, "Northwind Traders"); // customer_name
    bytes.extend([NULL, NULL]); // channel_id, channel_name
    bytes.push(SECOND_BRANCH); // license_type
    string(&mut bytes, "paid");
    bytes.extend([NULL, NULL, NULL]); // created_at, expires_at, expiration_status
    bytes.push(EMPTY_MAP); // license_fields
    bytes.into()
}
