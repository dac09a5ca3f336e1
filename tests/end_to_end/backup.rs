//! `tidings backup` under load, and an installation made from it after the first one is gone.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    program::{Program, event},
    receiver::Receiver,
};

/// Marks of events whose body came to the receiver under this name.
fn received(receiver: &Receiver, name: &str) -> Vec<String> {
    let receipts = receiver.receipts();
    let of_name = receipts.iter().filter(|receipt| receipt.name == name);
    let mark =
        |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["data"]["mark"].as_str().unwrap().to_owned();
    of_name.map(|receipt| mark(&receipt.body)).collect()
}

async fn wait_for(receiver: &Receiver, name: &str, marks: impl Iterator<Item = String>) {
    let mut missing: Vec<String> = marks.collect();
    for _ in 0..600 {
        let there = received(receiver, name);
        missing.retain(|mark| !there.contains(mark));
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} never came to {name}, among them {:?}", missing.len(), missing.first());
}

/// An event without an id of its own: it gets that of its place in the log.
fn unnamed(mark: &str) -> Value {
    let mut event = event("", "hook");
    event.as_object_mut().unwrap().remove("id");
    event["data"]["mark"] = json!(mark);
    event
}

/// The restore command, by which no API is asked.
fn restore(file: &Path, folder: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    let output = command.arg("restore").arg(file).arg("--data-dir").arg(folder).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn nothing_acknowledged_before_a_backup_is_lost_and_nothing_after_it_is_taken_for_known() {
    const PARKED: usize = 40;
    const AFTER: usize = 200;
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let file = folder.path().join("saved.tar");
    // One partition: what is published after the restore certainly stands where something stood that is gone.
    let (mut program, api) = Program::up(folder.path(), &["log.partitions=1"]).await;
    let api = Arc::new(api);
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    // A destination that is down, so that notifications wait in the store when the backup is made.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = json!({"webhook": {"url": format!("http://{nobody}/")}, "retry": {"schedule_s": vec![2; 10]}});
    api.request(Method::PUT, "/v1/teams/acme/destinations/down", &down).await;
    api.subscription("parked", &["down"], &["down"]).await;
    let parked = (0..PARKED).map(|n| {
        let mut event = event(&format!("parked-{n}"), "down");
        event["data"]["mark"] = json!(format!("parked-{n}"));
        event
    });
    api.publish(&parked.collect::<Vec<_>>()).await;

    let (acknowledged, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = {
        let (api, acknowledged, enough) = (api.clone(), acknowledged.clone(), enough.clone());
        tokio::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let from = acknowledged.load(Ordering::Relaxed);
                let events: Vec<Value> = (from..from + 10).map(|n| unnamed(&format!("load-{n}"))).collect();
                api.publish(&events).await;
                acknowledged.store(from + 10, Ordering::Relaxed);
            }
        })
    };
    while acknowledged.load(Ordering::Relaxed) < 300 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = acknowledged.load(Ordering::Relaxed);
    let (done, stdout, stderr) = api.command(&["backup", file.to_str().unwrap(), "--json"]).await;
    assert!(done, "{stderr}");
    let manifest: Value = serde_json::from_str(&stdout).unwrap();
    println!("{} bytes, writers held for {} ms", manifest["bytes"], manifest["writers_held_ms"]);
    assert_eq!(manifest["files"], json!(["log.db", "store.db", "keys"]), "the token is in the configuration");
    assert!(manifest["writers_held_ms"].as_u64().unwrap() < 1_000, "{manifest}");
    let after = acknowledged.load(Ordering::Relaxed);
    // It goes on: of the second half of this nothing is in the backup, and all of it is delivered.
    while acknowledged.load(Ordering::Relaxed) < after + AFTER {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    enough.store(true, Ordering::Relaxed);
    load.await.unwrap();
    wait_for(&receiver, "hook", (0..after + AFTER).map(|n| format!("load-{n}"))).await;
    program.signal("-KILL");
    program.ended(Duration::from_secs(5)).await;
    fs::remove_dir_all(folder.path().join("data")).unwrap();

    // What is altered is refused, and nothing is written of it.
    let (altered, elsewhere) = (folder.path().join("altered.tar"), folder.path().join("elsewhere"));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&altered, bytes).unwrap();
    let (done, stderr) = restore(&altered, &elsewhere);
    assert!(!done && stderr.contains("altered"), "{stderr}");
    assert!(!elsewhere.exists());

    let (done, stderr) = restore(&file, &elsewhere);
    assert!(done, "{stderr}");
    let (done, stderr) = restore(&file, &elsewhere);
    assert!(!done && stderr.contains("is not empty"), "{stderr}");
    let restored = Receiver::start().await;
    let data = format!("data.dir={}", elsewhere.display());
    let (mut program, api) = Program::up(folder.path(), &["log.partitions=1", &data]).await;
    let (done, stderr) = restore(&file, &elsewhere);
    assert!(!done && stderr.contains("is in use by another process"), "{stderr}");

    // All subscriptions and destinations are there, and whatever waited goes on waiting, for where it can be delivered now.
    for (id, name) in [("hook", "hook"), ("down", "down")] {
        let now = json!({"webhook": {"url": restored.url("ok", name)}, "retry": {"schedule_s": vec![2; 10]}});
        api.request(Method::PUT, &format!("/v1/teams/acme/destinations/{id}"), &now).await;
    }
    wait_for(&restored, "down", (0..PARKED).map(|n| format!("parked-{n}"))).await;
    let published: Vec<Value> = (0..after + AFTER - before).map(|n| unnamed(&format!("new-{n}"))).collect();
    api.publish(&published).await;
    wait_for(&restored, "hook", (0..published.len()).map(|n| format!("new-{n}"))).await;

    // No id of these is one that a receiver has seen for another event, although none of them has one of its own.
    let seen = |receiver: &Receiver, mark: &'static str| -> BTreeSet<String> {
        let receipts = receiver.receipts();
        let marked = receipts.iter().filter(|receipt| String::from_utf8_lossy(&receipt.body).contains(mark));
        marked.map(|receipt| receipt.notification().to_owned()).collect()
    };
    assert!(seen(&restored, "\"new-").is_disjoint(&seen(&receiver, "\"load-")));

    // Every event that was acknowledged before the backup has its outcome.
    let mut marks = received(&receiver, "hook");
    marks.extend(received(&restored, "hook"));
    let mut outcomes = 0;
    let mut path = "/v1/teams/acme/notifications?subscription=all&limit=1000".to_owned();
    loop {
        let page = api.get(&path).await;
        outcomes += page["items"].as_array().unwrap().iter().filter(|row| row["status"] == "delivered").count();
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/teams/acme/notifications?subscription=all&limit=1000&cursor={next}"),
            None => break,
        }
    }
    assert!(outcomes >= before + published.len(), "{outcomes} of at least {before} and {}", published.len());
    assert!((0..before).all(|n| marks.contains(&format!("load-{n}"))));
    program.stopped().await;
}
