//! `/v1/teams/{team}/destinations[/{id}]`

use serde_json::json;
use tidings::log::{Log, Reader};
use tidings_core::domain::TopicPartition;

use crate::{cli::succeeds, harness::Api};

const PATH: &str = "/v1/teams/acme/destinations/d-1";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CANARY: &str = "canary-canary";

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let api = Api::start().await;
    let body = json!({"webhook": {
        "url": format!("https://user:{CANARY}@example.com/hook?key={CANARY}"),
        "secret": SECRET,
        "headers": [{"name": "Authorization", "value": CANARY}],
    }});
    let answers = [api.put(PATH, &body).await, api.get(PATH).await, api.get("/v1/teams/acme/destinations").await];
    for answer in &answers {
        assert!(answer.status.is_success(), "{}", answer.text);
        assert!(!answer.text.contains(CANARY) && !answer.text.contains(SECRET), "{}", answer.text);
    }
    let shown = answers[1].expect(200);
    assert_eq!(shown["webhook"]["url"], "https://example.com/hook");
    assert_eq!(shown["webhook"]["url_has_secret"], true);
    assert_eq!(shown["webhook"]["headers"][0]["name"], "Authorization");
    let topic = TopicPartition { topic: api.settings.topics().directory, partition: 0 };
    let mut reader = api.log.reader(topic, 0).await.unwrap();
    let records = reader.next(std::time::Duration::from_secs(5)).await.unwrap();
    let text = String::from_utf8(records[0].value.clone().unwrap().to_vec()).unwrap();
    assert!(text.contains("v1.") && !text.contains(CANARY) && !text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn a_signing_key_is_made_if_none_is_given_and_told_once() {
    let api = Api::start().await;
    let body = json!({"webhook": {"url": "https://example.com/hook"}});
    let created = api.put(PATH, &body).await.expect(201);
    assert!(created["generated_secret"].as_str().unwrap().starts_with("whsec_"));
    let again = api.put(PATH, &body).await.expect(200);
    assert!(again.get("generated_secret").is_none(), "the key stays");
}

#[tokio::test]
async fn what_is_shown_can_be_sent_back_and_keeps_its_secrets() {
    let api = Api::start().await;
    let body = json!({"webhook": {
        "url": "https://example.com/hook?key=x",
        "headers": [{"name": "Authorization", "value": CANARY}],
    }});
    api.put(PATH, &body).await.expect(201);
    let mut shown = api.get(PATH).await.expect(200);
    shown["enabled"] = json!(false);
    let kept = api.put(PATH, &shown).await.expect(200);
    assert_eq!((&kept["revision"], &kept["enabled"]), (&json!(2), &json!(false)));
    assert_eq!(kept["webhook"]["url_has_secret"], true);
    assert_eq!(kept["webhook"]["headers"][0]["name"], "Authorization");
    shown["webhook"]["url"] = json!("https://elsewhere.example.com/hook");
    let faults = api.put(PATH, &shown).await.faults(422);
    assert!(faults[0].starts_with("webhook.url_has_secret"), "a secret does not move to another host: {faults:?}");
}

#[tokio::test]
async fn what_must_not_be_called_or_set_is_refused_by_name() {
    let api = Api::start().await;
    let body = json!({"webhook": {
        "url": "https://169.254.169.254/latest",
        "secrets": ["plain"],
        "headers": [{"name": "Host", "value": "x"}, {"name": "X-New"}],
    }});
    let faults = api.put(PATH, &body).await.faults(422);
    let expected =
        ["webhook.url: ", "webhook.headers[0].name: ", "webhook.headers[1].value: nothing", "webhook.secrets[0]: "];
    for (fault, start) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start), "{fault} is not about {start}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    assert!(faults[0].contains("delivery.allow_networks"), "{faults:?}");
    let faults = api.put(PATH, &json!({"webhook": {"url": "http://example.com/"}})).await.faults(422);
    assert!(faults[0].contains("delivery.allow_http"), "{faults:?}");
    let limits = json!({"webhook": {"url": "https://example.com/"}, "limits": {"in_flight": 0}});
    let faults = api.put(PATH, &limits).await.faults(422);
    assert!(faults[0].starts_with("limits.in_flight"), "{faults:?}");
}

#[tokio::test]
async fn secrets_may_stand_by_the_name_that_the_team_has_stored_them_under() {
    let api = Api::start().await;
    let named = |name: &str| json!({"secret_ref": name});
    let stored = async |team: &str, name: &str, value: &str| {
        api.put(&format!("/v1/teams/{team}/secrets/{name}"), &json!({"value": value})).await.expect(201);
    };
    let whole = format!("https://example.com/hook?key={CANARY}");
    for (name, value) in [("key", SECRET), ("token", CANARY), ("url", &whole)] {
        stored("acme", name, value).await;
    }
    stored("umbrella", "theirs", SECRET).await;
    let body = json!({"webhook": {
        "url": "https://example.com/hook",
        "url_secret": named("url"),
        "secrets": [named("key"), SECRET],
        "headers": [{"name": "Authorization", "value": named("token")}],
    }});
    let written = api.put(PATH, &body).await;
    let webhook = &written.expect(201)["webhook"];
    assert_eq!(webhook["url_secret"], named("url"));
    assert_eq!(webhook["secret_fingerprints"][0], named("key"));
    assert_eq!(webhook["headers"][0]["fingerprint"], named("token"));
    assert!(webhook["secret_fingerprints"][1].is_string() && !written.text.contains(CANARY), "{}", written.text);
    assert_eq!(api.get("/v1/directory/problems").await.expect(200)["items"], json!([]));

    // What is shown can be sent back, also by the command line, and some of it replaced.
    let shown = api.get(PATH).await.expect(200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("d.json"), shown.to_string()).unwrap();
    let said = succeeds(&api, folder.path(), &["destination", "apply", "d.json"]).await;
    assert_eq!(said, "destination acme/d-1: revision 2\n");
    let again = api.get(PATH).await.expect(200);
    assert_eq!(again["webhook"]["secret_fingerprints"][0], named("key"));
    let one = json!({"webhook": {"url": "https://example.com/hook", "secret": named("key")}});
    let one = api.put(PATH, &one).await.expect(200);
    assert_eq!(one["webhook"]["secret_fingerprints"], json!([named("key")]));
    assert_eq!(one["webhook"]["url_has_secret"], false);

    let refused = async |webhook: serde_json::Value, expected: &str| {
        let mut body = json!({"webhook": {"url": "https://example.com/hook"}});
        body["webhook"].as_object_mut().unwrap().extend(webhook.as_object().unwrap().clone());
        let answer = api.put("/v1/teams/acme/destinations/d-2", &body).await;
        let faults = answer.faults(422);
        assert!(faults.len() == 1 && faults[0].starts_with(expected), "{faults:?} is not {expected}");
        assert!(!answer.text.contains(CANARY) && !answer.text.contains("whsec_M"), "{}", answer.text);
    };
    let absent = "a reference to a secret that is not stored";
    refused(json!({"secret": named("theirs")}), &format!("webhook.secret: {absent}")).await;
    refused(json!({"secrets": [SECRET, named("none")]}), &format!("webhook.secrets[1]: {absent}")).await;
    refused(json!({"secret": named(SECRET)}), &format!("webhook.secret: {absent}")).await;
    let header = json!([{"name": "X-Key", "value": named("none")}]);
    refused(json!({"headers": header}), &format!("webhook.headers[0].value: {absent}")).await;
    refused(json!({"url_secret": named("none")}), &format!("webhook.url_secret: {absent}")).await;
    refused(json!({"url_secret": CANARY}), "webhook.url_secret: a text").await;
    refused(json!({"secret": {"secret": CANARY}}), "webhook.secret: another key than secret_ref").await;
    refused(json!({"secret": named("umbrella/theirs")}), "webhook.secret").await;
    let other = "a reference to a secret of another form";
    refused(json!({"secret": named("token")}), &format!("webhook.secrets: {other}")).await;
    refused(
        json!({"url": "https://example.com/", "url_secret": named("url")}),
        &format!("webhook.url_secret: {other}"),
    )
    .await;
    api.get("/v1/teams/acme/destinations/d-2").await.expect(404);
}
