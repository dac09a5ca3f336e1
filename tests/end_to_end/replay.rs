//! `tidings replay`: the ids of the first time, against the subscriptions of the first time, wherever it was broken off.

use std::{fs, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    distributed::{self, succeeds},
    kafka, postgres,
    program::{Api, Program, event},
    receiver::{Receiver, notifications},
};

const TOPIC: &str = "tidings.events";
/// One partition, so that offsets are those of the events published.
const ONE_PARTITION: &[&str] = &["log.partitions=1"];

/// What a replay says it has done.
async fn replay(api: &Api, to: usize, flags: &[&str]) -> Value {
    let to = to.to_string();
    let arguments = ["replay", "--topic", TOPIC, "--partition", "0", "--from", "0", "--to", &to, "--json"];
    let (done, stdout, stderr) = api.command(&[&arguments, flags].concat()).await;
    assert!(done, "{flags:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn counts(done: &Value) -> (u64, u64, u64) {
    let count = |name: &str| done["finished"][name].as_u64().unwrap_or_else(|| panic!("{done}"));
    (count("events"), count("new"), count("known"))
}

/// Waits until the sender has nothing to do any more.
async fn settled(receiver: &Receiver) {
    let mut before = usize::MAX;
    while before != receiver.count() {
        before = receiver.count();
        sleep(Duration::from_secs(1)).await;
    }
}

fn lose_store(folder: &std::path::Path) {
    let data = folder.join("data/main");
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    assert!(data.join("log.db").exists());
}

#[tokio::test]
async fn what_was_matched_then_is_matched_again_whatever_has_changed_since() {
    const EVENTS: usize = 100;
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), ONE_PARTITION).await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    for id in ["kept", "changed", "deleted"] {
        api.subscription(id, &["a"], &["hook"]).await;
    }
    let events: Vec<Value> = (0..EVENTS).map(|n| event(&format!("e{n}"), "a")).collect();
    api.publish(&events).await;
    receiver.wait_for(EVENTS, Duration::from_secs(30)).await;
    settled(&receiver).await;
    assert_eq!(receiver.count(), 3 * EVENTS);
    api.subscription("changed", &["b"], &["hook"]).await;
    api.request(Method::DELETE, "/v1/teams/acme/subscriptions/deleted", &Value::Null).await;
    api.subscription("late", &["a"], &["hook"]).await;

    let all = EVENTS as u64;
    assert_eq!(counts(&replay(&api, EVENTS, &["--dry-run"]).await), (all, 0, 3 * all));
    assert_eq!(counts(&replay(&api, EVENTS, &["--dry-run", "--now"]).await), (all, all, all));
    assert_eq!(counts(&replay(&api, EVENTS, &[]).await), (all, 0, 3 * all));
    settled(&receiver).await;
    assert_eq!(receiver.count(), 3 * EVENTS, "what was delivered is not delivered again");
    assert_eq!(replay(&api, EVENTS, &[]).await["complete"]["next"], all, "it has finished");

    // A new subscription is given the past.
    assert_eq!(counts(&replay(&api, EVENTS, &["--now"]).await), (all, all, all));
    settled(&receiver).await;
    assert_eq!(receiver.count(), 4 * EVENTS);
    program.stopped().await;

    // The store is lost: nothing is known, and what was active then is matched again.
    lose_store(folder.path());
    let (mut program, api) = Program::up(folder.path(), ONE_PARTITION).await;
    assert_eq!(counts(&replay(&api, EVENTS, &["--dry-run"]).await), (all, 3 * all, 0));
    assert_eq!(counts(&replay(&api, EVENTS, &["--again"]).await), (all, 3 * all, 0));
    settled(&receiver).await;
    assert_eq!(receiver.count(), 6 * EVENTS, "kept and changed; there is no one to send deleted's to");
    assert_eq!(notifications(&receiver.receipts()), 4 * EVENTS, "the ids are those of the first time");
    let discarded = api.get("/v1/teams/acme/notifications?status=discarded&limit=1000").await;
    assert_eq!(discarded["items"].as_array().unwrap().len(), EVENTS);
    program.stopped().await;
}

#[tokio::test]
async fn a_replay_that_was_killed_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let (program, api) = Program::up(folder.path(), ONE_PARTITION).await;
        (vec![program], api)
    };
    killed_in_the_middle(TOPIC, start, async || lose_store(folder.path())).await;
}

#[tokio::test]
async fn a_replay_that_was_killed_goes_on_where_it_was_on_kafka_too() {
    let Some(store) = postgres::database("replay").await else { return };
    if kafka::log().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = kafka::unique("replay") + ".";
    let settings = |role: &str| {
        let mut settings = distributed::settings(&prefix, &store, role);
        settings.push("log.partitions=1".to_owned());
        settings
    };
    succeeds(folder.path(), &["topics", "create"], &settings("tool")).await;
    let start = async || {
        // The API comes first: it is the one to be killed.
        let roles = ["api", "match", "send"];
        let programs = roles.map(|role| Program::start(folder.path(), role, &[role], &settings(role)));
        let api = programs[0].api().await;
        (programs.into(), api)
    };
    let lose = async || drop(postgres::database("replay").await);
    killed_in_the_middle(&format!("{prefix}events"), start, lose).await;
}

/// Publishes, loses the store, and kills the first of the processes while it replays.
async fn killed_in_the_middle(
    topic: &str,
    start: impl AsyncFn() -> (Vec<Program>, Api),
    lose_store: impl AsyncFn() -> (),
) {
    /// A batch is at most 4 MiB of events, so these are at least ten.
    const EVENTS: usize = 12_000;
    const EVENT_BYTES: usize = 4_000;
    const HEARD: usize = EVENTS / 20;
    let receiver = Receiver::start().await;
    let (mut programs, api) = start().await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    // A change holds in every process within a second.
    sleep(Duration::from_secs(1)).await;
    let events = (0..EVENTS).map(|n| {
        let mut event = event(&format!("e{n}"), if n % 20 == 0 { "hook" } else { "nobody" });
        event["data"]["filling"] = json!("x".repeat(EVENT_BYTES));
        event
    });
    api.publish(&events.collect::<Vec<_>>()).await;
    receiver.wait_for(HEARD, Duration::from_secs(60)).await;
    settled(&receiver).await;
    // What was matched then is matched again, also if it would match nothing now.
    api.subscription("all", &["nobody-else"], &["hook"]).await;
    stop(&mut programs).await;
    assert_eq!(receiver.count(), HEARD);

    lose_store().await;
    let (mut programs, api) = start().await;
    let request = json!({"topic": topic, "partition": 0, "from": 0, "to": EVENTS});
    let first = api.until_line("/v1/replays", &request, "progress").await;
    programs[0].signal("-KILL");
    programs[0].ended(Duration::from_secs(5)).await;
    assert!(first["progress"]["next"].as_u64().unwrap() < EVENTS as u64, "{first}");
    stop(&mut programs[1..]).await;

    let (mut programs, api) = start().await;
    let to = EVENTS.to_string();
    let arguments = ["replay", "--topic", topic, "--partition", "0", "--from", "0", "--to", &to];
    let (done, stdout, stderr) = api.command(&arguments).await;
    assert!(done && stderr.contains("goes on at offset"), "{stderr}");
    assert!(stdout.starts_with(&format!("{EVENTS} event(s) matched again: {HEARD} notification(s)")), "{stdout}");
    settled(&receiver).await;
    stop(&mut programs).await;
    let receipts = receiver.receipts();
    assert_eq!(notifications(&receipts), HEARD);
    let twice = receiver.events().values().filter(|count| **count >= 2).count();
    assert_eq!(twice, HEARD, "each came once before the store was lost and again after");
}

async fn stop(programs: &mut [Program]) {
    for program in programs {
        program.stopped().await;
    }
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused_with_its_bound() {
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), ONE_PARTITION).await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("all", &["a"], &["hook"]).await;
    api.publish(&[event("e0", "a")]).await;
    receiver.wait_for(1, Duration::from_secs(30)).await;
    let refusals = [
        (["no.such.topic", "0", "0", "1"], "no.such.topic is no topic of events here"),
        ([TOPIC, "7", "0", "1"], "partition: found 7; allowed: less than 1"),
        ([TOPIC, "0", "0", "2"], "to: found 2; allowed: at most 1, where the matcher is"),
        ([TOPIC, "0", "1", "1"], "to: found 1; allowed: more than 1"),
    ];
    for ([topic, partition, from, to], words) in refusals {
        let range = ["replay", "--topic", topic, "--partition", partition, "--from", from, "--to", to];
        let (done, _, stderr) = api.command(&range).await;
        assert!(!done && stderr.contains(words), "{range:?}: {stderr}");
    }
    program.stopped().await;
}
