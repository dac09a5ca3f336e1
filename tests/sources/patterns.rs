//! Topics by pattern, looked up in the log when a process starts, and while it runs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tidings::{
    config::{Settings, Sources, load},
    log::{
        Log, TopicSpec,
        local::{Local, LocalOptions},
    },
    sources::{
        Schemas,
        topics::{Patterns, expand},
    },
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    codec::{Decoder, decode_delivery},
    domain::Output,
};

use crate::matcher::{Topics, until};

/// Settings of this file.
fn settings(file: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidings.toml");
    std::fs::write(&path, file).unwrap();
    load(&Sources { file: Some(path), ..Sources::default() }).unwrap()
}

async fn create<L: Log>(log: &L, name: &str) {
    log.create_topic(TopicSpec { name: name.into(), partitions: 1, settings: Vec::new() }).await.unwrap();
}

/// Which topics events are read from, with these sources and these topics in the log.
async fn check(sources: &str, topics: &[&str], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(sources);
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    for name in topics {
        create(&log, name).await;
    }
    let found: Vec<String> =
        expand(&log, settings).await.unwrap().topics().events.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{sources}");
}

const TOPICS: [&str; 6] = ["tidings.events", "tidings.deliveries", "crm.b", "crm.a", "shop", "__consumer_offsets"];

#[tokio::test]
async fn a_pattern_means_topics_of_others_that_are_there() {
    check("", &TOPICS, &["tidings.events"]).await;
    check("[[source]]\ntopic = 'crm.*'\n", &TOPICS, &["tidings.events", "crm.a", "crm.b"]).await;
    check("[[source]]\ntopic = '*'\n", &TOPICS, &["tidings.events", "crm.a", "crm.b", "shop"]).await;
    check("[[source]]\ntopic = 'none.*'\n", &TOPICS, &["tidings.events"]).await;
    let both = "[[source]]\ntopic = 'shop'\n[[source]]\ntopic = 's*'\n[[source]]\ntopic = 'crm.a'\n";
    check(both, &TOPICS, &["tidings.events", "shop", "crm.a"]).await;
}

#[tokio::test]
async fn a_matcher_of_the_local_log_takes_up_a_topic_that_appears() {
    let folder = tempfile::tempdir().unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    takes_up_a_topic_that_appears(log, "appears.".to_owned()).await;
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_matcher_of_kafka_takes_up_a_topic_that_appears() {
    let Some(log) = crate::kafka::log() else { return };
    takes_up_a_topic_that_appears(log, crate::kafka::unique("appears") + ".").await;
}

async fn takes_up_a_topic_that_appears<L: Log>(log: L, prefix: String) {
    let own = format!("{prefix}own.");
    let topics = Topics::made(log.clone(), own.clone(), &[]).await;
    let subscription = json!({"team": "acme", "id": "s", "name": "S", "enabled": true, "revision": 1,
        "events": [{"type": "*"}], "destinations": ["d"]});
    topics.put("directory", Some("sub/acme/s"), &[subscription.to_string().into()]).await;
    let crm = |name: &str| format!("{prefix}crm.{name}");
    let event = async |topic: &str, id: &str| {
        let value = json!({"team": "acme", "type": "a.b", "id": id, "data": {}}).to_string();
        let topic: Arc<str> = topic.into();
        let output = Output { topic, partition: Some(0), key: None, value: Some(Bytes::from(value)), headers: vec![] };
        log.append(vec![output]).await.unwrap();
    };
    create(&log, &crm("a")).await;
    event(&crm("a"), "1").await;

    let file =
        format!("[log]\ntopic_prefix = '{own}'\npattern_refresh_seconds = 1\n[[source]]\ntopic = '{prefix}crm.*'\n");
    let settings = expand(&log, settings(&file)).await.unwrap();
    let (patterns, events) = Patterns::new(log.clone(), &settings);
    let looking = tokio::spawn(patterns.run());
    let schemas = Schemas::local(Decoder::new(Catalog::builtin(), Default::default(), None).unwrap());
    let matching = topics.start(Readiness::default(), schemas, events.clone());
    matching.ready().await;
    let matched = async |expected: &[&str]| {
        let ids: Vec<_> = topics.read("deliveries").await.into_iter().map(|delivery| delivery.value.unwrap()).collect();
        let ids = ids.iter().map(|value| decode_delivery(value).unwrap().event_id.to_string());
        let ids: Vec<String> = ids.collect();
        assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "each once: {ids:?}");
        ids.iter().map(String::as_str).collect::<BTreeSet<_>>() == expected.iter().copied().collect()
    };
    until("the topic that was there", async || matched(&["1"]).await).await;

    // From its beginning, and beside those that were read before.
    create(&log, &crm("b")).await;
    event(&crm("b"), "2").await;
    create(&log, &format!("{prefix}shop")).await;
    event(&format!("{prefix}shop"), "never").await;
    until("the new topic", async || matched(&["1", "2"]).await).await;
    event(&crm("a"), "3").await;
    event(&topics.name("events"), "4").await;
    event(&crm("b"), "5").await;
    until("all of them", async || matched(&["1", "2", "3", "4", "5"]).await).await;
    let expected: Vec<Arc<str>> = vec![topics.name("events"), crm("a").into(), crm("b").into()];
    assert_eq!(events.now(), expected);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(matching.is_up() && matched(&["1", "2", "3", "4", "5"]).await);
    matching.stop().await;
    looking.abort();
}
