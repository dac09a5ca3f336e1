//! `/v1/teams/{team}/destinations[/{id}]`

use serde_json::json;
use tidings::log::{Log, Reader};
use tidings_core::domain::TopicPartition;

use crate::harness::Api;

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
