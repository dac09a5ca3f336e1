//! `/v1/deadletters`, `/v1/deadletters/retry`

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidings::log::{Log, Reader};
use tidings_core::{
    codec::{Poison, Reason, dead_letter},
    domain::{Output, Record, Timestamp, TopicPartition},
};

use crate::harness::Api;

const PATH: &str = "/v1/deadletters";

/// Sets a record of the events topic aside.
async fn set_aside(api: &Api, topic: &str, value: &[u8], reason: Reason) {
    let record = Record {
        topic: topic.into(),
        partition: 1,
        offset: 17,
        timestamp: Timestamp(1_700_000_000_000),
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value)),
        headers: vec![("trace".to_owned(), Bytes::from_static(b"t-1"))],
    };
    let letter = dead_letter(&record, &Poison::new(reason, "why"));
    let topic = api.settings.topics().dead_letters;
    let output = Output { topic, partition: Some(0), key: letter.key, value: letter.value, headers: letter.headers };
    api.log.append(vec![output]).await.unwrap();
}

/// What stands in partition 1 of the events topic.
async fn fed_in(api: &Api) -> Vec<Record> {
    let place = TopicPartition { topic: api.settings.topics().events[0].clone(), partition: 1 };
    let end = api.log.bounds(place.clone()).await.unwrap().end;
    let mut reader = api.log.reader(place, 0).await.unwrap();
    let mut records = Vec::new();
    while reader.position() < end {
        records.extend(reader.next(Duration::from_secs(5)).await.unwrap());
    }
    records
}

#[tokio::test]
async fn dead_letters_are_listed_with_reason_and_place() {
    let api = Api::start().await;
    set_aside(&api, "tidings.events", b"{oops", Reason::Decode).await;
    set_aside(&api, "tidings.events", &[0xff; 5_000], Reason::BadFrame).await;
    let page = api.get(&format!("{PATH}?limit=1")).await.expect(200);
    let first = &page["items"][0];
    assert_eq!((&first["position"], &first["reason"]), (&json!("0-0"), &json!("decode")));
    assert_eq!((&first["source"], &first["value"]), (&json!("tidings.events-1-17"), &json!("{oops")));
    let cursor = page["next"].as_str().unwrap();
    let rest = api.get(&format!("{PATH}?cursor={cursor}")).await.expect(200);
    let second = &rest["items"][0];
    assert_eq!((&second["bytes"], &second["shortened"]), (&json!(5_000), &json!(true)));
    assert_eq!(second["value_base64"].as_str().unwrap().len(), 4_096_usize.div_ceil(3) * 4);
    assert_eq!(rest["next"], Value::Null);
    let some = api.get(&format!("{PATH}?reason=bad_frame")).await.expect(200);
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    api.get(&format!("{PATH}?cursor=AAAA")).await.expect(400);
}

#[tokio::test]
async fn the_original_goes_back_where_it_came_from() {
    let api = Api::start().await;
    set_aside(&api, "tidings.events", b"one", Reason::Decode).await;
    set_aside(&api, "tidings.events", b"two", Reason::NoTeam).await;
    set_aside(&api, "tidings.events", b"three", Reason::NoTeam).await;
    let retry = format!("{PATH}/retry");
    assert_eq!(api.post(&retry, &json!({"positions": ["0-0"]})).await.expect(200)["retried"], 1);
    assert_eq!(api.post(&retry, &json!({"reason": "no_team"})).await.expect(200)["retried"], 2);
    let records = fed_in(&api).await;
    let values: Vec<&[u8]> = records.iter().map(|record| record.value.as_deref().unwrap()).collect();
    assert_eq!(values, [&b"one"[..], b"two", b"three"]);
    assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(records[0].headers, [("trace".to_owned(), Bytes::from_static(b"t-1"))]);
}

#[tokio::test]
async fn what_cannot_go_back_is_said() {
    let api = Api::start().await;
    set_aside(&api, "tidings.directory", b"{}", Reason::Decode).await;
    set_aside(&api, "tidings.events", &vec![b'x'; 800_000], Reason::TooLarge).await;
    let retry = format!("{PATH}/retry");
    let answer = api.post(&retry, &json!({"positions": ["0-0", "0-1"]})).await.expect(200);
    assert_eq!(answer["retried"], 0);
    let reasons: Vec<_> = answer["skipped"].as_array().unwrap().iter().map(|s| s["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["its source is no events topic now", "its value was cut because it was too large"]);
    api.post(&retry, &json!({"positions": ["0-99"]})).await.expect(404);
    let faults = api.post(&retry, &json!({"positions": ["x"]})).await.faults(422);
    assert!(faults[0].starts_with("positions[0]"), "{faults:?}");
    api.post(&retry, &json!({})).await.expect(422);
}
