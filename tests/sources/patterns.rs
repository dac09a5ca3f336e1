//! Topics by pattern, looked up in the log.

use std::sync::Arc;

use tidings::{
    config::{Sources, load},
    log::{
        Log, TopicSpec,
        local::{Local, LocalOptions},
    },
    sources::topics::expand,
};

/// Which topics events are read from, with these sources and these topics in the log.
async fn check(sources: &str, topics: &[&str], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    std::fs::write(&file, sources).unwrap();
    let settings = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    let log = Local::open(folder.path(), LocalOptions::default()).unwrap();
    for name in topics {
        let name: Arc<str> = (*name).into();
        log.create_topic(TopicSpec { name, partitions: 1, settings: Vec::new() }).await.unwrap();
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
