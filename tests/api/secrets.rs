//! `/v1/teams/{team}/secrets[/{name}]` and `/v1/directory/problems`

use serde_json::json;
use tidings::log::{Log, Reader};
use tidings_core::domain::{Output, TopicPartition};

use crate::harness::Api;

const PATH: &str = "/v1/teams/acme/secrets/hooks";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn a_secret_is_stored_listed_replaced_and_deleted_and_never_shown() {
    let api = Api::start().await;
    let created = api.put(PATH, &json!({"value": SECRET})).await;
    let first = created.expect(201);
    let replaced = api.put(PATH, &json!({"value": "another"})).await.expect(200);
    assert_eq!((&first["revision"], &replaced["revision"]), (&json!(1), &json!(2)));
    assert_ne!(first["fingerprint"], replaced["fingerprint"]);
    let listed = api.get("/v1/teams/acme/secrets").await;
    assert_eq!(listed.expect(200)["items"], json!([replaced]));
    assert!(!created.text.contains("whsec_") && !listed.text.contains("another"), "{} {}", created.text, listed.text);
    assert_eq!(api.get("/v1/teams/umbrella/secrets").await.expect(200)["items"], json!([]));

    let topic = TopicPartition { topic: api.settings.topics().directory, partition: 0 };
    let mut reader = api.log.reader(topic, 0).await.unwrap();
    let records = reader.next(std::time::Duration::from_secs(5)).await.unwrap();
    let text = String::from_utf8(records[0].value.clone().unwrap().to_vec()).unwrap();
    assert!(text.contains("\"v1.") && !text.contains(SECRET), "{text}");

    api.delete(PATH).await.expect(204);
    api.delete(PATH).await.expect(404);
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_by_name() {
    let api = Api::start().await;
    let faults = |path: &'static str, body| {
        let api = &api;
        async move { api.put(path, &body).await.faults(422) }
    };
    assert_eq!(faults(PATH, json!({"value": ""})).await, ["value: 0 bytes; 1 to 4096"]);
    assert_eq!(faults(PATH, json!({"value": "x".repeat(4097)})).await, ["value: 4097 bytes; 1 to 4096"]);
    assert_eq!(faults(PATH, json!({"value": "a\nb"})).await, ["value: a control character; text on one line"]);
    assert_eq!(faults(PATH, json!({})).await, [": nothing; the field `value`"]);
    let taken_for_a_name = faults("/v1/teams/acme/secrets/whsec_abc", json!({"value": "x"})).await;
    assert_eq!(taken_for_a_name, ["id: a signing key; a name for one; the key itself is the value"]);
}

#[tokio::test]
async fn what_others_wrote_is_told_page_by_page_and_a_reference_stays_one() {
    let api = Api::start().await;
    let webhook = json!({"url": "https://example.com/hook", "secrets": [{"secret_ref": "hooks"}]});
    let records = [
        ("dst/acme/d-1", json!({"team": "acme", "id": "d-1", "webhook": webhook})),
        (
            "sub/acme/s-1",
            json!({"team": "acme", "id": "s-1", "events": [{"type": "no.such"}], "destinations": ["d-1"]}),
        ),
        (
            "sub/umbrella/s-1",
            json!({"team": "umbrella", "id": "s-2", "events": [{"type": "*"}], "destinations": ["d"]}),
        ),
        ("other", json!({})),
    ];
    let outputs = records.iter().map(|(key, value)| Output {
        topic: api.settings.topics().directory,
        partition: Some(0),
        key: Some((*key).into()),
        value: Some(value.to_string().into()),
        headers: Vec::new(),
    });
    api.log.append(outputs.collect()).await.unwrap();
    // An edit returns when everything before it has been folded.
    api.destination("acme", "d-2").await;

    let first = api.get("/v1/directory/problems?limit=2").await.expect(200);
    let path = format!("/v1/directory/problems?limit=2&cursor={}", first["next"].as_str().unwrap());
    let second = api.get(&path).await.expect(200);
    let found: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .map(|item| json!([item["key"], item["field"], item["reason"], item["active"]]))
        .collect();
    assert_eq!(
        json!(found),
        json!([
            ["dst/acme/d-1", "webhook.secrets[0]", "unknown_secret", true],
            ["other", null, "bad_key", false],
            ["sub/acme/s-1", "events[0].type", "invalid", false],
            ["sub/umbrella/s-1", null, "key_mismatch", false],
        ])
    );
    assert_eq!(second["next"], json!(null));
    let of_team = api.get("/v1/directory/problems?team=umbrella").await.expect(200);
    assert_eq!(of_team["items"].as_array().unwrap().len(), 1);

    let shown = api.get("/v1/teams/acme/destinations/d-1").await.expect(200);
    assert_eq!(shown["webhook"]["secret_fingerprints"], json!([{"secret_ref": "hooks"}]));
    let kept = api.put("/v1/teams/acme/destinations/d-1", &shown).await.expect(200);
    assert_eq!(kept["webhook"], shown["webhook"]);
    api.put(PATH, &json!({"value": SECRET})).await.expect(201);
    let left = api.get("/v1/directory/problems?team=acme").await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
}
