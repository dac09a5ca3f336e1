//! `/v1/explain`

use serde_json::json;

use crate::harness::Api;

const PATH: &str = "/v1/explain";

fn event(kind: &str) -> serde_json::Value {
    json!({"team": "acme", "type": "replicated.customer.created", "data": {"license_type": kind, "name": "Globex"}})
}

#[tokio::test]
async fn conditions_are_told_one_by_one() {
    let api = Api::start().await;
    api.destination("acme", "d").await;
    let subscription = json!({
        "events": [{"type": "*", "filter": {"license_type": ["paid"], "name": [{"prefix": "Glo"}]}}],
        "destinations": ["d"],
    });
    api.put("/v1/teams/acme/subscriptions/s", &subscription).await.expect(201);
    let by_name = json!({"event": event("trial"), "subscription": {"team": "acme", "id": "s"}});
    let answer = api.post(PATH, &by_name).await.expect(200);
    assert_eq!(answer["matches"], false, "{answer}");
    let conditions = answer["selectors"][0]["conditions"].as_array().unwrap();
    let held: Vec<_> = conditions.iter().map(|c| (c["path"].as_str().unwrap(), c["held"].as_bool().unwrap())).collect();
    assert_eq!(held, [("license_type", false), ("name", true)]);
    let paid = json!({"event": event("paid"), "subscription": {"team": "acme", "id": "s"}});
    assert_eq!(api.post(PATH, &paid).await.expect(200)["matches"], true);
}

#[tokio::test]
async fn a_filter_that_costs_too_much_is_said_to() {
    let api = Api::start().await;
    let mut many = event("paid");
    many["data"]["name"] = json!(vec!["x"; 100_000]);
    let draft = json!({"team": "acme", "events": [{"type": "*", "filter": {"name": ["y"]}}]});
    let answer = api.post(PATH, &json!({"event": many, "subscription": draft})).await.expect(200);
    assert!(answer["matches"].is_null(), "{answer}");
    assert!(answer["verdict"].as_str().unwrap().contains("filter_too_costly"), "{answer}");
}

#[tokio::test]
async fn drafts_and_events_of_the_log_can_be_asked_about() {
    let api = Api::start().await;
    let mut of_the_log = event("paid");
    of_the_log["subject"] = json!("globex");
    api.post("/v1/events", &of_the_log).await.expect(202);
    let draft = json!({"team": "acme", "events": [{"type": "*"}]});
    let mut matches = 0;
    for partition in 0..2 {
        let position = format!("tidings.events-{partition}-0");
        let answer = api.post(PATH, &json!({"position": position, "subscription": draft})).await;
        matches += u32::from(answer.status.is_success() && answer.expect(200)["matches"] == true);
    }
    assert_eq!(matches, 1);
    let other = json!({"team": "other", "events": [{"type": "*"}]});
    let answer = api.post(PATH, &json!({"event": event("paid"), "subscription": other})).await.expect(200);
    assert_eq!(answer["matches"], false);
    assert!(answer["verdict"].as_str().unwrap().contains("team"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_explained_is_said() {
    let api = Api::start().await;
    let absent = json!({"team": "acme", "id": "nowhere"});
    api.post(PATH, &json!({"event": event("paid"), "subscription": absent})).await.expect(404);
    api.post(PATH, &json!({"position": "tidings.directory-0-0", "subscription": absent})).await.expect(404);
    let faults = api.post(PATH, &json!({"subscription": absent})).await.faults(422);
    assert!(faults[0].contains("event and position"), "{faults:?}");
    let draft = json!({"team": "acme", "events": [{"type": "no.such"}]});
    let faults = api.post(PATH, &json!({"event": event("paid"), "subscription": draft})).await.faults(422);
    assert!(faults[0].starts_with("subscription.events[0].type"), "{faults:?}");
}
