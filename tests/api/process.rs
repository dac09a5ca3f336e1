//! `/healthz`, `/readyz`, `/metrics`, and what holds for every path.

use reqwest::Method;

use crate::harness::{Api, TOKEN, answer};

#[tokio::test]
async fn readiness_gives_its_reasons() {
    let api = Api::start().await;
    assert_eq!(answer(api.stranger(Method::GET, "/healthz")).await.status, 200);
    assert_eq!(answer(api.stranger(Method::GET, "/readyz")).await.expect(200)["ready"], true);
    api.readiness.not_ready("store", "unreachable");
    let refusal = answer(api.stranger(Method::GET, "/readyz")).await.expect(503);
    assert_eq!(refusal["reasons"]["store"], "unreachable");
    assert_eq!(answer(api.stranger(Method::GET, "/healthz")).await.status, 200);
}

#[tokio::test]
async fn every_other_path_needs_the_token() {
    let api = Api::start().await;
    let guarded = [
        (Method::GET, "/metrics"),
        (Method::GET, "/v1/teams/acme/subscriptions"),
        (Method::PUT, "/v1/teams/acme/subscriptions/s"),
        (Method::GET, "/v1/teams/acme/destinations/d"),
        (Method::GET, "/v1/notifications"),
        (Method::GET, "/v1/teams/acme/attempts"),
        (Method::POST, "/v1/events"),
        (Method::POST, "/v1/deadletters/retry"),
        (Method::POST, "/v1/replays"),
        (Method::GET, "/v1/backup"),
        (Method::POST, "/v1/explain"),
        (Method::GET, "/v1/index"),
    ];
    for (method, path) in guarded {
        let refusal = answer(api.stranger(method.clone(), path)).await;
        assert_eq!(refusal.expect(401)["error"]["code"], "unauthorized", "{method} {path}");
        answer(api.stranger(method, path).bearer_auth(&TOKEN[1..])).await.expect(401);
    }
    assert_eq!(api.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn what_does_not_exist_is_an_error_in_json() {
    let api = Api::start().await;
    assert_eq!(api.get("/v2").await.expect(404)["error"]["code"], "not_found");
    assert_eq!(api.delete("/v1/events").await.expect(405)["error"]["code"], "method_not_allowed");
    let faults = api.get("/v1/notifications?colour=red").await.faults(400);
    assert!(faults[0].starts_with("colour"), "{faults:?}");
}
