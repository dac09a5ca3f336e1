//! A service writes subscriptions and destinations itself, as `docs/DIRECTORY.md` shows.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tidings::log::{Log, Reader};
use tidings_core::domain::TopicPartition;

use crate::{installation::Installation, kafka, producers, program::event};

/// In which a record that is in the topic holds.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(1);
const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A secret that somebody wrote in clear.
const CANARY: &str = "canary-canary-canary";

#[tokio::test]
async fn a_python_service_writes_the_directory_with_avro_and_it_holds_within_a_second() {
    let Some(it) = Installation::start("directory", &[]).await else { return };
    let folder = tempfile::tempdir().unwrap();

    // The secret comes from a file, and is not seen again.
    let key = folder.path().join("key.txt");
    fs::File::create(&key).unwrap().write_all(format!("{SIGNING_KEY}\n").as_bytes()).unwrap();
    let put = ["secret", "put", "shop-signing-key", "--team", "acme", "--from", key.to_str().unwrap()];
    let (stored, said, complaint) = it.api.command(&put).await;
    assert!(stored && said.contains("revision 1"), "{said} {complaint}");
    let (_, listed, _) = it.api.command(&["secret", "list", "--team", "acme"]).await;
    assert!(listed.contains("shop-signing-key") && !listed.contains("whsec_"), "{listed}");

    let program = folder.path().join("service.py");
    fs::write(&program, example()).unwrap();
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/topics");
    let (topic, url) = (it.topic("directory"), it.receiver.url("ok", "shop"));
    producers::python(&it.clients, &program, &[&it.brokers, &topic, schemas.to_str().unwrap(), &url]).await;
    // The program has ended, so its records were acknowledged before. What the API shows is what the matcher goes by: they
    // read one snapshot.
    let (written, path) = (Instant::now(), "/v1/teams/acme/subscriptions/shop-orders");
    let shown = loop {
        match it.api.ask(Method::GET, path, &Value::Null).await.unwrap() {
            (status, shown) if status.is_success() => break shown,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        assert!(written.elapsed() < EFFECTIVE_WITHIN, "not within {EFFECTIVE_WITHIN:?}:\n{}", it.log());
    };
    println!("it holds {} ms after the client has ended", written.elapsed().as_millis());
    assert_eq!(shown["events"][0]["filter"], json!({"to": ["shop"]}));
    it.api.publish(&[event("at-once", "shop"), event("other", "another")]).await;
    it.receiver.wait_for(1, Duration::from_secs(30)).await;
    assert_eq!(it.receiver.receipts()[0].event(), "at-once");
    it.receiver.receipts()[0].verify(SIGNING_KEY);
    assert_eq!(it.api.get("/v1/directory/problems").await["items"], json!([]));
    it.stopped().await;
}

#[tokio::test]
async fn bad_records_are_listed_and_a_secret_in_clear_is_echoed_nowhere() {
    let Some(it) = Installation::start("problems", &[]).await else { return };
    let webhook = |part: Value| {
        let mut webhook = json!({"url": "https://hooks.example.com/in", "secrets": [{"secret_ref": "absent"}]});
        webhook.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        webhook
    };
    let destination = |id: &str, part: Value| json!({"team": "acme", "id": id, "webhook": webhook(part)});
    let header = json!({"headers": [{"name": "authorization", "value": format!("Bearer {CANARY}")}]});
    let records = [
        ("dst/acme/in-header", destination("in-header", header)),
        ("dst/acme/in-place", destination("in-place", json!({"secrets": [format!("whsec_{CANARY}")]}))),
        ("dst/acme/in-url", destination("in-url", json!({"url": format!("https://x:{CANARY}@hooks.example.com/")}))),
        ("dst/acme/as-name", destination("as-name", json!({"secrets": [{"secret_ref": format!("whsec_{CANARY}")}]}))),
        ("dst/acme/waiting", destination("waiting", json!({}))),
        ("sub/acme/typo", json!({"team": "acme", "id": "typo", "evnts": [], "destinations": ["waiting"]})),
        (
            "sub/acme/unknown",
            json!({"team": "acme", "id": "unknown", "events": [{"type": "no.such"}], "destinations": ["waiting"]}),
        ),
    ];
    // By hand, as an operator would.
    let lines: String = records.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
    kafka::console_producer(&it.topic("directory"), &["--reader-property", "parse.key=true"], &lines);

    let deadline = Instant::now() + Duration::from_secs(10);
    let problems = loop {
        let items = it.api.get("/v1/directory/problems?team=acme").await["items"].clone();
        if items.as_array().unwrap().len() == records.len() {
            break items;
        }
        assert!(Instant::now() < deadline, "{items}\n{}", it.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let found: Vec<_> = problems.as_array().unwrap().iter().map(|p| [&p["key"], &p["field"], &p["reason"]]).collect();
    assert_eq!(
        json!(found),
        json!([
            ["dst/acme/as-name", "webhook.secrets[0].secret_ref", "plain_secret"],
            ["dst/acme/in-header", "webhook.headers[0].value", "plain_secret"],
            ["dst/acme/in-place", "webhook.secrets[0]", "plain_secret"],
            ["dst/acme/in-url", "webhook.url", "plain_secret"],
            ["dst/acme/waiting", "webhook.secrets[0]", "unknown_secret"],
            ["sub/acme/typo", "evnts", "decode"],
            ["sub/acme/unknown", "events[0].type", "invalid"],
        ])
    );
    let (listed, table, complaint) = it.api.command(&["directory", "problems"]).await;
    assert!(listed && table.contains("dst/acme/in-url") && table.contains("plain_secret"), "{table} {complaint}");
    let metrics = it.api.get("/metrics").await.as_str().unwrap().to_owned();
    assert!(metrics.contains("tidings_directory_problems 6"), "{metrics}");
    assert!(metrics.contains(r#"tidings_directory_refused_total{reason="plain_secret"} 4"#), "{metrics}");
    it.api.request(Method::PUT, "/v1/teams/acme/secrets/absent", &json!({"value": SIGNING_KEY})).await;
    let left = it.api.get("/v1/directory/problems").await;
    assert_eq!(left["items"].as_array().unwrap().len(), records.len() - 1, "{left}");

    // An event that would go there, so that whatever speaks of these destinations has spoken.
    it.api.publish(&[event("e", "in-header")]).await;
    let log = it.log();
    assert!(log.contains("dst/acme/in-header"), "{log}");
    for (place, text) in [
        ("the log", log),
        ("the list", problems.to_string()),
        ("the table", table),
        ("the metrics", metrics),
        ("the API", it.api.get("/v1/teams/acme/destinations").await.to_string()),
        ("other topics", others(&it).await),
    ] {
        assert!(!text.contains(CANARY), "{place}: {text}");
        assert!(!text.contains(SIGNING_KEY), "{place}: {text}");
    }
    it.stopped().await;
}

/// All that Tidings itself has written.
async fn others(it: &Installation) -> String {
    let log = kafka::log().expect("it runs on it");
    let mut text = String::new();
    for (topic, partitions) in [("deliveries", 2), ("deadletters", 1), ("index_versions", 1), ("events", 2)] {
        for partition in 0..partitions {
            let partition = TopicPartition { topic: it.topic(topic).into(), partition };
            let end = log.bounds(partition.clone()).await.unwrap().end;
            let mut reader = log.reader(partition, 0).await.unwrap();
            while reader.position() < end {
                for record in reader.next(Duration::from_secs(1)).await.unwrap() {
                    text.push_str(&String::from_utf8_lossy(&record.value.unwrap_or_default()));
                }
            }
        }
    }
    text
}

/// The program that the document shows.
fn example() -> String {
    let document = include_str!("../../docs/DIRECTORY.md");
    let (_, rest) = document.split_once("```python\n").expect("a program");
    rest.split_once("\n```").expect("its end").0.to_owned()
}
