//! The store of a distributed installation is lost and rebuilt, step by step as `docs/OPERATIONS.md` says: the last dump, the
//! senders' group set back to before it, and every notification has its outcome again.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tidings::log::Log;
use tidings_core::domain::{Timestamp, TopicPartition};
use tokio::time::sleep;

use crate::{
    distributed::{self, succeeds},
    kafka, postgres,
    program::{Api, Program, event},
    receiver::{Receiver, notifications},
};

/// A group may be set back once its members' sessions have run out.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(60);
const EACH: usize = 100;
const PARTITIONS: u32 = 2;

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[track_caller]
fn runs(program: &str, arguments: &[&str]) {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `kafka-consumer-groups.sh --reset-offsets`, with Kafka's own tool.
async fn set_back(group: &str, topic: &str, place: &[&str]) {
    let jars = concat!(env!("CARGO_MANIFEST_DIR"), "/target/kafka-lib/tools/*");
    let brokers = kafka::brokers().unwrap();
    let tool = ["-cp", jars, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"];
    let which = ["--bootstrap-server", &brokers, "--group", group, "--topic", topic, "--reset-offsets", "--execute"];
    let arguments = [&tool[..], &which, place].concat();
    let deadline = Instant::now() + SESSIONS_END_WITHIN;
    loop {
        let output = run("java", &arguments);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        // It ends with 0 whether it has done it or not; a table of new offsets says that it has.
        if said.contains("NEW-OFFSET") && !said.contains("Error") {
            return;
        }
        assert!(Instant::now() < deadline, "{said}");
        sleep(Duration::from_secs(1)).await;
    }
}

fn named(kind: &str, to: &str) -> Vec<Value> {
    (0..EACH).map(|n| event(&format!("{kind}-{n}"), to)).collect()
}

/// How many notifications have each status.
async fn statuses(api: &Api) -> BTreeMap<String, usize> {
    let page = api.get("/v1/notifications?limit=1000").await;
    let mut counts = BTreeMap::new();
    for row in page["items"].as_array().unwrap() {
        *counts.entry(row["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

async fn wait_until(api: &Api, expected: &[(&str, usize)]) {
    let expected = expected.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect();
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let found = statuses(api).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_lost_store_is_rebuilt_from_its_last_dump_and_the_log() {
    let Some(store) = postgres::database("lost_store").await else { return };
    if kafka::log().is_none() {
        return;
    }
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let prefix = kafka::unique("lost") + ".";
    let settings = |name: &str| {
        let mut settings = distributed::settings(&prefix, &store, name);
        settings.push(format!("log.partitions={PARTITIONS}"));
        settings
    };
    let start = |role: &str| Program::start(folder.path(), role, &[role], &settings(role));
    succeeds(folder.path(), &["topics", "create"], &settings("tool")).await;
    let _matcher = start("match");
    let (mut api_process, mut sender) = (start("api"), start("send"));
    let api = api_process.api().await;
    let (done, _, stderr) = api.command(&["backup", folder.path().join("b.tar").to_str().unwrap()]).await;
    assert!(!done && stderr.contains("docs/OPERATIONS.md"), "{stderr}");

    let down = json!({"webhook": {"url": receiver.url("failing", "down")}, "retry": {"schedule_s": [3600]}});
    api.request(Method::PUT, "/v1/teams/acme/destinations/down", &down).await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("hook", &["hook"], &["hook"]).await;
    api.subscription("down", &["down"], &["down"]).await;
    sleep(Duration::from_secs(1)).await;

    let long_before = Timestamp(kafka::now_ms());
    api.publish(&named("before", "hook")).await;
    api.publish(&named("parked-before", "down")).await;
    wait_until(&api, &[("delivered", EACH), ("retrying", EACH)]).await;
    let dump = folder.path().join("store.dump");
    runs("pg_dump", &["-Fc", "-f", dump.to_str().unwrap(), &store]);
    api.publish(&named("after", "hook")).await;
    api.publish(&named("parked-after", "down")).await;
    wait_until(&api, &[("delivered", 2 * EACH), ("retrying", 2 * EACH)]).await;
    let ids = notifications(&receiver.receipts());

    // Lost. Senders and API are stopped, the last dump is put in place, the group is set back to before it.
    for program in [&mut sender, &mut api_process] {
        program.signal("-KILL");
        program.ended(Duration::from_secs(5)).await;
    }
    postgres::database("lost_store").await.unwrap();
    runs("pg_restore", &["--no-owner", "-d", &store, dump.to_str().unwrap()]);
    let (group, deliveries) = (format!("{prefix}send"), format!("{prefix}deliveries"));
    set_back(&group, &deliveries, &["--to-datetime", &long_before.to_string().replace('Z', "+00:00")]).await;
    (api_process, sender) = (start("api"), start("send"));
    let api = api_process.api().await;
    wait_until(&api, &[("delivered", 2 * EACH), ("retrying", 2 * EACH)]).await;
    let times = receiver.events();
    let came = |kind: &str| (0..EACH).map(|n| times[&format!("{kind}-{n}")]).collect::<Vec<_>>();
    assert_eq!(came("before"), vec![1; EACH], "the dump knows of these");
    assert_eq!(came("after"), vec![2; EACH], "nothing knows of these any more");
    assert_eq!(came("parked-before"), vec![1; EACH], "these wait for the time that the dump has");
    assert_eq!(came("parked-after"), vec![2; EACH], "these begin again with the first attempt");
    assert_eq!(notifications(&receiver.receipts()), ids, "a repeat has the id of what it repeats");

    // Lost again, and without any dump: all that the topic holds is sent again, under the same ids.
    for program in [&mut sender, &mut api_process] {
        program.signal("-KILL");
        program.ended(Duration::from_secs(5)).await;
    }
    postgres::database("lost_store").await.unwrap();
    set_back(&group, &deliveries, &["--to-earliest"]).await;
    (api_process, sender) = (start("api"), start("send"));
    let api = api_process.api().await;
    wait_until(&api, &[("delivered", 2 * EACH), ("retrying", 2 * EACH)]).await;
    assert_eq!(notifications(&receiver.receipts()), ids);

    // A third time, and as if the deliveries were gone, too: the events are matched again, under the same ids.
    assert_eq!(replay(&api, &prefix).await, (0, 4 * EACH as u64), "all is known");
    for program in [&mut sender, &mut api_process] {
        program.signal("-KILL");
        program.ended(Duration::from_secs(5)).await;
    }
    postgres::database("lost_store").await.unwrap();
    (api_process, sender) = (start("api"), start("send"));
    let api = api_process.api().await;
    assert_eq!(replay(&api, &prefix).await, (4 * EACH as u64, 0), "nothing is known");
    wait_until(&api, &[("delivered", 2 * EACH), ("retrying", 2 * EACH)]).await;
    assert_eq!(notifications(&receiver.receipts()), ids);
    sender.stopped().await;
    api_process.stopped().await;
}

/// Replays all events: new and known notifications.
async fn replay(api: &Api, prefix: &str) -> (u64, u64) {
    let (log, topic) = (kafka::log().unwrap(), format!("{prefix}events"));
    let (mut new, mut known) = (0, 0);
    for partition in 0..PARTITIONS {
        let to = log.bounds(TopicPartition { topic: topic.as_str().into(), partition }).await.unwrap().end.to_string();
        let number = partition.to_string();
        let range = ["--topic", &topic, "--partition", &number, "--from", "0", "--to", &to];
        let (done, stdout, stderr) = api.command(&[&["replay", "--again", "--json"], &range[..]].concat()).await;
        assert!(done, "{stderr}");
        let told: Value = serde_json::from_str(&stdout).unwrap();
        new += told["finished"]["new"].as_u64().unwrap();
        known += told["finished"]["known"].as_u64().unwrap();
    }
    (new, known)
}
