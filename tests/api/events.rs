//! `/v1/events`

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tidings::log::{Log, Reader};
use tidings_core::domain::TopicPartition;

use crate::harness::{Answer, Api, answer};

async fn post(api: &Api, content_type: &str, body: impl Into<String>) -> Answer {
    answer(api.request(Method::POST, "/v1/events").header("content-type", content_type).body(body.into())).await
}

/// Every value of the events topic, in any order of partitions.
async fn values(api: &Api) -> Vec<String> {
    let topic = api.settings.topics().events[0].clone();
    let mut values = Vec::new();
    for partition in 0..2 {
        let place = TopicPartition { topic: topic.clone(), partition };
        if api.log.bounds(place.clone()).await.unwrap().end > 0 {
            let mut reader = api.log.reader(place, 0).await.unwrap();
            let records = reader.next(Duration::from_secs(5)).await.unwrap();
            values.extend(records.iter().map(|r| String::from_utf8(r.value.clone().unwrap().to_vec()).unwrap()));
        }
    }
    values.sort();
    values
}

#[tokio::test]
async fn one_many_and_lines_are_in_the_log_byte_for_byte() {
    let api = Api::start().await;
    let event = |n: u32| format!(r#"{{"team": "acme", "type":"a.b", "data": {{"n": {n}.50}}}}"#);
    assert_eq!(post(&api, "application/json", event(1)).await.expect(202), json!({"accepted": 1}));
    let many = format!("[{}, {}]", event(2), event(3));
    assert_eq!(post(&api, "application/json; charset=utf-8", many).await.expect(202), json!({"accepted": 2}));
    let lines = format!("{}\n\n{}\r\n", event(4), event(5));
    assert_eq!(post(&api, "application/x-ndjson", lines).await.expect(202), json!({"accepted": 2}));
    assert_eq!(values(&api).await, (1..=5).map(event).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_refused_event_refuses_all_and_is_named() {
    let api = Api::start().await;
    let batch = json!([
        {"team": "acme", "type": "a.b"},
        {"type": "a.b"},
        {"team": "acme", "type": "a.b", "time": "soon"},
        7,
    ]);
    let faults = api.post("/v1/events", &batch).await.faults(422);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].starts_with("[1]: no_team"), "{faults:?}");
    assert!(faults[1].starts_with("[2]: bad_field"), "{faults:?}");
    assert!(faults[2].starts_with("[3]: "), "{faults:?}");
    assert_eq!(values(&api).await, Vec::<String>::new());
}

#[tokio::test]
async fn bodies_are_bounded_and_of_a_known_type() {
    let api = Api::start().await;
    post(&api, "text/plain", "{}").await.expect(415);
    post(&api, "application/json", "{").await.expect(400);
    post(&api, "application/json", "[]").await.expect(400);
    post(&api, "application/json", " ".repeat(8 * 1024 * 1024 + 1)).await.expect(413);
    let big = json!({"team": "acme", "type": "a.b", "data": {"x": "x".repeat(786_432)}});
    let faults = api.post("/v1/events", &big).await.faults(422);
    assert!(faults[0].starts_with("[0]: too_large"), "{faults:?}");
    api.put("/v1/teams/acme/subscriptions/s", &json!({"name": "x".repeat(600_000)})).await.expect(413);
}
