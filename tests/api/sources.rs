//! `GET /v1/sources/test`.

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tidings::log::Log;
use tidings_core::domain::Output;

use crate::harness::Api;

#[tokio::test]
async fn the_last_records_are_shown_as_they_would_be_read() {
    let api = Api::start().await;
    let put = |value: Option<&str>| Output {
        topic: "tidings.events".into(),
        partition: Some(1),
        key: None,
        value: value.map(|value| Bytes::from(value.to_owned())),
        headers: Vec::new(),
    };
    let event = json!({"team": "acme", "type": "tyk.QuotaExceeded", "id": "e1", "subject": "s",
        "data": {"message": "m", "path": "/p", "origin": "o", "key": "hush"}});
    api.log.append(vec![put(Some("{")), put(None), put(Some(&event.to_string()))]).await.unwrap();
    let answer = api.request(Method::GET, "/v1/sources/test?last=2").send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["skipped"], "a tombstone");
    assert_eq!(
        (&items[1]["format"], &items[1]["known_type"], &items[1]["subject"]),
        (&json!("json"), &json!(true), &json!("s"))
    );
    assert_eq!((&items[1]["event"]["id"], &items[1]["event"]["data"]["path"]), (&json!("e1"), &json!("/p")));
    assert!(!answer.to_string().contains("hush"), "what is sensitive is shown to nobody");
    let all = api.request(Method::GET, "/v1/sources/test?topic=tidings.events").send().await.unwrap();
    let all: serde_json::Value = all.json().await.unwrap();
    assert_eq!(all["items"][0]["problem"]["reason"], "decode");
}

#[tokio::test]
async fn other_topics_are_not_shown() {
    let api = Api::start().await;
    let check = async |query: &str, expected: StatusCode| {
        let answer = api.request(Method::GET, &format!("/v1/sources/test{query}")).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{query}");
    };
    check("?topic=tidings.directory", StatusCode::NOT_FOUND).await;
    check("?topic=nothing", StatusCode::NOT_FOUND).await;
    check("?last=0", StatusCode::BAD_REQUEST).await;
    check("?last=1001", StatusCode::BAD_REQUEST).await;
    check("?lost=1", StatusCode::BAD_REQUEST).await;
    let stranger = api.stranger(Method::GET, "/v1/sources/test").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
}
