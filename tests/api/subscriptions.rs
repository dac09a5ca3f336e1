//! `/v1/teams/{team}/subscriptions[/{id}]`

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Api, answer};

const PATH: &str = "/v1/teams/acme/subscriptions";

fn body(filter: Value) -> Value {
    json!({"events": [{"type": "replicated.customer.created", "filter": filter}], "destinations": ["d"]})
}

#[tokio::test]
async fn a_subscription_is_created_changed_listed_and_deleted() {
    let api = Api::start().await;
    api.destination("acme", "d").await;
    let mut new = body(json!({}));
    new["id"] = json!("s-1");
    let created = api.post(PATH, &new).await;
    assert_eq!(created.expect(201)["revision"], 1);
    assert_eq!(created.headers["etag"], "\"1\"");
    api.post(PATH, &new).await.expect(409);
    new["name"] = json!("Customers");
    assert_eq!(api.put(&format!("{PATH}/s-1"), &new).await.expect(200)["revision"], 2);
    let shown = api.get(&format!("{PATH}/s-1")).await.expect(200);
    assert_eq!((&shown["name"], &shown["enabled"]), (&json!("Customers"), &json!(true)));
    api.put(&format!("{PATH}/s-2"), &body(json!({}))).await.expect(201);
    let first = api.get(&format!("{PATH}?limit=1")).await.expect(200);
    assert_eq!(first["items"][0]["id"], "s-1");
    let cursor = first["next"].as_str().unwrap();
    let second = api.get(&format!("{PATH}?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&json!("s-2"), &Value::Null));
    api.delete(&format!("{PATH}/s-1")).await.expect(204);
    api.delete(&format!("{PATH}/s-1")).await.expect(404);
    api.get(&format!("{PATH}/s-1")).await.expect(404);
}

#[tokio::test]
async fn preconditions_guard_against_lost_updates() {
    let api = Api::start().await;
    api.destination("acme", "d").await;
    let path = format!("{PATH}/s-1");
    let put = |name: &'static str, value: &'static str| {
        answer(api.request(Method::PUT, &path).header(name, value).json(&body(json!({}))))
    };
    put("if-match", "\"1\"").await.expect(412);
    put("if-none-match", "*").await.expect(201);
    put("if-none-match", "*").await.expect(412);
    put("if-match", "\"1\"").await.expect(200);
    put("if-match", "\"1\"").await.expect(412);
    put("if-match", "*").await.expect(200);
    answer(api.request(Method::DELETE, &path).header("if-match", "\"2\"")).await.expect(412);
    answer(api.request(Method::DELETE, &path).header("if-match", "\"3\"")).await.expect(204);
}

#[tokio::test]
async fn of_many_writers_with_the_same_revision_one_wins() {
    let api = Api::start().await;
    api.destination("acme", "d").await;
    let path = format!("{PATH}/s-1");
    api.put(&path, &body(json!({}))).await.expect(201);
    let writers =
        (0..20).map(|_| answer(api.request(Method::PUT, &path).header("if-match", "\"1\"").json(&body(json!({})))));
    let answers = futures_util::future::join_all(writers).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status.as_u16() == status).count();
    assert_eq!((count(200), count(412)), (1, 19));
}

#[tokio::test]
async fn every_fault_is_named_by_path() {
    let api = Api::start().await;
    let path = format!("{PATH}/s-1");
    let wrong = json!({"events": [{"type": "replicated.customer.creatd"}], "destinations": ["nowhere"]});
    let faults = api.put(&path, &wrong).await.faults(422);
    assert!(
        faults.iter().any(|fault| fault.starts_with("events[0].type: \"replicated.customer.creatd\"")),
        "{faults:?}"
    );
    assert!(faults.iter().any(|fault| fault.starts_with("destinations[0]: \"nowhere\"")), "{faults:?}");
    let faults = api.put(&path, &body(json!({"colour": ["red"]}))).await.faults(422);
    assert!(faults[0].starts_with("events[0].filter.colour"), "{faults:?}");
    let faults = api.put(&path, &json!({"events": [], "destination": []})).await.faults(422);
    assert!(faults[0].contains("destination"), "{faults:?}");
    let faults = api.put(&path, &json!({"team": "other"})).await.faults(422);
    assert!(faults[0].starts_with("team: \"other\""), "{faults:?}");
}

#[tokio::test]
async fn what_is_of_another_team_is_not_found() {
    let api = Api::start().await;
    api.destination("acme", "d").await;
    api.put(&format!("{PATH}/s-1"), &body(json!({}))).await.expect(201);
    api.get("/v1/teams/other/subscriptions/s-1").await.expect(404);
    api.delete("/v1/teams/other/subscriptions/s-1").await.expect(404);
    let faults = api.put("/v1/teams/other/subscriptions/s-1", &body(json!({}))).await.faults(422);
    assert!(faults[0].starts_with("destinations[0]"), "another team's destination cannot be named: {faults:?}");
    assert_eq!(api.get("/v1/teams/other/subscriptions").await.expect(200)["items"], json!([]));
    let listing = api.get(&format!("{PATH}?limit=1")).await.expect(200);
    assert_eq!(listing["next"], Value::Null);
    api.get("/v1/teams/a%2Fb/subscriptions").await.expect(404);
}
