//! `tidings up`: everything in one process.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    program::{Program, event},
    receiver::{Receiver, notifications},
};

#[tokio::test]
async fn every_event_is_delivered_once_and_verifies() {
    const EVENTS: usize = 500;
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), &[]).await;
    let secret = api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    let events: Vec<Value> = (0..EVENTS).map(|n| event(&format!("e{n}"), "hook")).collect();
    api.publish(&events).await;
    api.publish(&[event("for-nobody", "nobody")]).await;
    receiver.wait_for(EVENTS, Duration::from_secs(30)).await;
    program.stopped().await;

    let receipts = receiver.receipts();
    assert_eq!(receipts.len(), EVENTS, "nothing came twice");
    assert_eq!(notifications(&receipts), EVENTS);
    receipts.iter().for_each(|receipt| receipt.verify(&secret));

    // What is in the history after a stop is all that happened.
    let (mut program, api) = Program::up(folder.path(), &[]).await;
    let attempts = api.get("/v1/teams/acme/attempts?limit=1000").await;
    let delivered = attempts["items"].as_array().unwrap().iter().filter(|row| row["outcome"] == "delivered");
    assert_eq!(delivered.count(), EVENTS);
    assert_eq!(api.get("/v1/teams/other/attempts").await["items"], json!([]));
    program.stopped().await;
    assert_eq!(receiver.count(), EVENTS, "a start repeats nothing");
}

/// The promise is one second; in one process a change holds once it is answered.
#[tokio::test]
async fn a_change_of_the_directory_takes_effect_at_once() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), &[]).await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    for round in 0..5 {
        let changed = Instant::now();
        api.subscription("all", &["hook"], &["hook"]).await;
        api.publish(&[event(&format!("heard-{round}"), "hook")]).await;
        receiver.wait_for(round + 1, Duration::from_secs(10)).await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{:?}", changed.elapsed());
        api.request(Method::DELETE, "/v1/teams/acme/subscriptions/all", &Value::Null).await;
        api.publish(&[event(&format!("unheard-{round}"), "hook")]).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(receiver.events().keys().all(|id| id.starts_with("heard-")), "{:?}", receiver.events());
    program.stopped().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_loses_nothing_and_repeats_nothing() {
    const EVENTS: usize = 300;
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), &[]).await;
    api.destination("hook", &receiver.url("slow", "hook"), json!({"in_flight": 16})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    let events: Vec<Value> = (0..EVENTS).map(|n| event(&format!("e{n}"), "hook")).collect();
    api.publish(&events).await;
    receiver.wait_for(50, Duration::from_secs(30)).await;
    program.stopped().await;
    let before = receiver.count();
    assert!((50..EVENTS).contains(&before), "{before} came before the stop");

    let (mut program, _) = Program::up(folder.path(), &[]).await;
    receiver.wait_for(EVENTS, Duration::from_secs(30)).await;
    program.stopped().await;
    assert_eq!(receiver.count(), EVENTS, "nothing came twice");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_and_loses_nothing() {
    const EVENTS: usize = 5;
    let (folder, silent, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await, Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), &[]).await;
    api.destination("hook", &silent.url("silent", "hook"), json!({})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    let events: Vec<Value> = (0..EVENTS).map(|n| event(&format!("e{n}"), "hook")).collect();
    api.publish(&events).await;
    silent.wait_for(1, Duration::from_secs(30)).await;

    program.signal("-TERM");
    program.logs("once more to stop at once").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    program.signal("-INT");
    let (status, took) = program.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(1), "{took:?}");

    let (mut program, api) = Program::up(folder.path(), &[]).await;
    api.request(
        Method::PUT,
        "/v1/teams/acme/destinations/hook",
        &json!({"webhook": {"url": receiver.url("ok", "hook")}}),
    )
    .await;
    // What was under way to the silent one may first have to time out.
    receiver.wait_for(EVENTS, Duration::from_secs(60)).await;
    program.stopped().await;
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (mut program, _) = Program::up(folder.path(), &[]).await;
    let mut second = Program::start(folder.path(), "second", &["up"], &["api.listen=127.0.0.1:0".to_owned()]);
    let (status, _) = second.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1));
    assert!(second.log().contains("is in use by another process"), "{}", second.log());
    program.stopped().await;
}
