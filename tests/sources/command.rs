//! Sources as an operator meets them: a pattern in the file, `tidings source test`, and events that come through.
#![cfg(feature = "kafka")]

use bytes::Bytes;
use serde_json::{Value, json};
use tidings::log::{Log, TopicSpec};
use tidings_core::domain::Output;

use crate::{
    asking::{SCHEMA, sold},
    kafka,
    stub::Stub,
};

/// Runs `tidings` with the configuration of a folder.
async fn tidings(folder: &std::path::Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).current_dir(folder);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

#[tokio::test]
async fn the_last_records_of_a_topic_are_shown_as_they_would_be_read() {
    let Some(log) = kafka::log() else { return };
    let (folder, stub) = (tempfile::tempdir().unwrap(), Stub::start());
    stub.has_schema(7, SCHEMA);
    let topic = kafka::unique("shop") + ".sales";
    let pattern = topic.replace(".sales", ".*");
    let configuration = format!(
        "mode = 'distributed'\n[log.kafka]\nbrokers = '{}'\n[store]\nurl = 'postgres://nobody@127.0.0.1:1/none'\n\
         [registry]\nurl = '{}'\n[[source]]\ntopic = '{pattern}'\nteam = 'header:tenant'\ntype = '/kind'\nid = '/no'\n\
         data = '/body'\nformat = 'json'\ntypes = {{sold = 'tyk.QuotaExceeded'}}\n",
        kafka::brokers().unwrap(),
        stub.url,
    );
    std::fs::write(folder.path().join("tidings.toml"), configuration).unwrap();
    log.create_topic(TopicSpec { name: topic.as_str().into(), partitions: 2, settings: Vec::new() }).await.unwrap();
    let put = |value: &str, tenant: &str| Output {
        topic: topic.as_str().into(),
        partition: Some(1),
        key: None,
        value: Some(Bytes::from(value.to_owned())),
        headers: vec![("tenant".to_owned(), Bytes::from(tenant.to_owned()))],
    };
    let event = json!({"kind": "sold", "no": 5, "body": {"path": "/p"}}).to_string();
    log.append(vec![put("{", "acme"), put(&event, "acme"), put(&event, "a/b")]).await.unwrap();

    let (ok, shown, error) = tidings(folder.path(), &["source", "test", "--topic", &topic, "--last", "2"]).await;
    assert!(ok, "{error}");
    assert!(shown.contains("type     tyk.QuotaExceeded\n  team     acme\n  id       5\n"), "{shown}");
    assert!(shown.contains("would be set aside: bad_field: team: '/' in a name"), "{shown}");
    assert!(shown.ends_with(&format!("2 record(s) of {topic}, 1 would be set aside\n")), "{shown}");
    let (_, shown, _) = tidings(folder.path(), &["--json", "source", "test", "--topic", &topic]).await;
    let answer: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(answer["items"].as_array().unwrap().len(), 3);
    assert_eq!(answer["items"][0]["problem"]["reason"], "decode");
    assert_eq!(answer["items"][1]["format"], "json#/body");
}

#[tokio::test]
async fn avro_of_the_registry_is_shown_too() {
    let Some(log) = kafka::log() else { return };
    let (folder, stub) = (tempfile::tempdir().unwrap(), Stub::start());
    stub.has_schema(7, SCHEMA);
    let topic = kafka::unique("avro");
    let configuration = format!(
        "mode = 'distributed'\n[log.kafka]\nbrokers = '{}'\n[store]\nurl = 'postgres://nobody@127.0.0.1:1/none'\n\
         [registry]\nurl = '{}'\n[[source]]\ntopic = '{topic}'\ndefault_team = 'acme'\n",
        kafka::brokers().unwrap(),
        stub.url,
    );
    std::fs::write(folder.path().join("tidings.toml"), configuration).unwrap();
    log.create_topic(TopicSpec { name: topic.as_str().into(), partitions: 1, settings: Vec::new() }).await.unwrap();
    let put = |value: Bytes| Output {
        topic: topic.as_str().into(),
        partition: Some(0),
        key: None,
        value: Some(value),
        headers: Vec::new(),
    };
    log.append(vec![put(sold(7)), put(sold(8))]).await.unwrap();
    let (ok, shown, error) = tidings(folder.path(), &["source", "test", "--topic", &topic]).await;
    assert!(ok, "{error}");
    assert!(shown.contains("confluent_avro\n  type     shop.Sold (not in the catalog)"), "{shown}");
    assert!(shown.contains(r#"data     {"sku":"x","n":1}"#), "{shown}");
    assert!(shown.contains("would be set aside: unknown_schema: the registry has no schema 8"), "{shown}");
}
