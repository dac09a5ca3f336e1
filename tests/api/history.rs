//! `/v1/teams/{team}/notifications[/{id}]`, `/v1/teams/{team}/attempts`, and both of all teams.

use serde_json::{Value, json};
use tidings::store::Store;
use tidings_core::domain::{
    Attempt, DestinationId, ErrorClass, NotificationId, Outcome, Position, SubscriptionId, TeamId, Timestamp,
    WriteBatch,
};

use crate::harness::Api;

/// Attempt `number` of notification `n`, the later the greater.
fn attempt(team: &str, n: u8, number: u32, outcome: Option<Outcome>) -> Attempt {
    let at = Timestamp::parse("2026-11-23T12:00:00Z").unwrap().plus(i64::from(n) * 1_000 + i64::from(number));
    let failed = outcome != Some(Outcome::Delivered);
    Attempt {
        day: at.day(),
        notification: NotificationId([n; 16]),
        attempt: number,
        team: TeamId::new(team).unwrap(),
        subscription: SubscriptionId::new("s").unwrap(),
        destination: DestinationId::new("d").unwrap(),
        event_type: "replicated.customer.created".into(),
        event_id: format!("evt-{n}").into(),
        position: Position { topic: "tidings.events".into(), partition: 0, offset: i64::from(n) },
        content: None,
        index_version: 1,
        at,
        duration_ms: 12,
        code: Some(if failed { 500 } else { 200 }),
        error: failed.then_some(ErrorClass::ServerError),
        message: None,
        response: Some("body".to_owned()),
        outcome,
        next_attempt_at: None,
    }
}

async fn start(attempts: Vec<Attempt>) -> Api {
    let api = Api::start().await;
    let epoch = api.store.acquire(0, "test").await.unwrap();
    let batch = WriteBatch { fences: vec![(0, epoch)], attempts, ..WriteBatch::default() };
    api.store.write(&batch).await.unwrap();
    api
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["notification"].as_str().unwrap()[..2].to_owned()).collect()
}

#[tokio::test]
async fn notifications_are_narrowed_and_paged() {
    let api = start(vec![
        attempt("acme", 1, 1, Some(Outcome::Delivered)),
        attempt("acme", 2, 1, None),
        attempt("acme", 2, 2, Some(Outcome::Exhausted)),
        attempt("acme", 3, 1, Some(Outcome::Delivered)),
        attempt("other", 4, 1, Some(Outcome::Delivered)),
    ])
    .await;
    let list = "/v1/teams/acme/notifications";
    assert_eq!(ids(&api.get(list).await.expect(200)), ["03", "02", "01"]);
    assert_eq!(ids(&api.get("/v1/notifications").await.expect(200)), ["04", "03", "02", "01"]);
    assert_eq!(ids(&api.get(&format!("{list}?status=exhausted")).await.expect(200)), ["02"]);
    assert_eq!(ids(&api.get(&format!("{list}?error=server_error")).await.expect(200)), ["02"]);
    assert_eq!(ids(&api.get(&format!("{list}?event=evt-3")).await.expect(200)), ["03"]);
    assert_eq!(ids(&api.get(&format!("{list}?since=2026-11-23T12:00:02Z")).await.expect(200)), ["03", "02"]);
    let first = api.get(&format!("{list}?limit=2")).await.expect(200);
    let cursor = first["next"].as_str().unwrap().to_owned();
    assert_eq!(ids(&api.get(&format!("{list}?limit=2&cursor={cursor}")).await.expect(200)), ["01"]);
    api.get(&format!("/v1/teams/other/notifications?cursor={cursor}")).await.expect(400);
    api.get(&format!("{list}?cursor={}x", &cursor[..cursor.len() - 1])).await.expect(400);
    let faults = api.get(&format!("{list}?status=lost")).await.faults(400);
    assert!(faults[0].contains("retrying, delivered, exhausted"), "{faults:?}");
}

#[tokio::test]
async fn attempts_are_narrowed_and_paged() {
    let api = start(vec![
        attempt("acme", 1, 1, Some(Outcome::Delivered)),
        attempt("acme", 2, 1, None),
        attempt("acme", 2, 2, Some(Outcome::Exhausted)),
        attempt("acme", 3, 1, Some(Outcome::Delivered)),
    ])
    .await;
    let list = "/v1/teams/acme/attempts";
    assert_eq!(ids(&api.get(list).await.expect(200)), ["03", "02", "02", "01"]);
    assert_eq!(ids(&api.get(&format!("{list}?status=delivered")).await.expect(200)), ["03", "01"]);
    let of_one = api.get(&format!("{list}?notification={}", "02".repeat(16))).await.expect(200);
    assert_eq!((ids(&of_one).len(), &of_one["next"]), (2, &Value::Null));
    let first = api.get(&format!("{list}?status=delivered&limit=1")).await.expect(200);
    let cursor = first["next"].as_str().unwrap();
    let second = api.get(&format!("{list}?status=delivered&limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(ids(&second), ["01"]);
}

#[tokio::test]
async fn one_notification_shows_its_attempts_its_event_and_its_request() {
    let api = start(vec![
        Attempt {
            position: Position { topic: "tidings.events".into(), partition: 0, offset: 0 },
            ..attempt("acme", 2, 1, None)
        },
        Attempt {
            position: Position { topic: "tidings.events".into(), partition: 0, offset: 0 },
            ..attempt("acme", 2, 2, Some(Outcome::Exhausted))
        },
    ])
    .await;
    api.destination("acme", "d").await;
    // Two partitions: one of these events stands at offset 0 of the first.
    for n in 0..8 {
        let event = json!({"team": "acme", "type": "a.b", "subject": n.to_string(), "data": {"it's": n}});
        api.post("/v1/events", &event).await.expect(202);
    }
    let id = "02".repeat(16);
    let shown = api.get(&format!("/v1/teams/acme/notifications/{id}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["attempt"]), (&json!("exhausted"), &json!(2)));
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(shown["event"]["type"], "a.b");
    let curl = shown["curl"].as_str().unwrap();
    assert!(curl.starts_with("curl ") && curl.contains("https://example.com/hook") && curl.contains(&id), "{curl}");
    api.get(&format!("/v1/notifications/{id}")).await.expect(200);
    api.get(&format!("/v1/teams/other/notifications/{id}")).await.expect(404);
    api.get("/v1/teams/acme/notifications/x").await.expect(404);
}

#[tokio::test]
async fn an_event_that_the_log_has_forgotten_is_null() {
    let api = start(vec![attempt("acme", 2, 1, Some(Outcome::Delivered))]).await;
    let shown = api.get(&format!("/v1/notifications/{}", "02".repeat(16))).await.expect(200);
    assert_eq!(shown["event"], Value::Null);
    assert!(shown.get("curl").is_none());
}
