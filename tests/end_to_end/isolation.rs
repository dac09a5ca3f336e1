//! What one receiver does is no other receiver's trouble.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{Program, event},
    receiver::Receiver,
};

const SILENT: usize = 150;
const HEALTHY: usize = 49;
/// Queued for the destination that takes one a second.
const QUEUED: usize = 10_000;
/// Events to each healthy destination, one round of all of them every [`ROUND`].
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_millis(500);
/// The promise for the healthy, from publishing to receipt, at the 99th percentile.
const PROMISED: Duration = Duration::from_secs(1);

/// 150 destinations accept and never answer, one is limited to one a second and has 10,000 waiting, all on the same
/// two partitions as 49 healthy ones.
#[tokio::test]
async fn healthy_destinations_do_not_notice_the_others() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap();
    let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let (mut program, api) = Program::up(folder.path(), &["log.partitions=2"]).await;
    let mut silent = Vec::new();
    for n in 0..SILENT {
        let id = format!("silent-{n}");
        api.destination(&id, &receiver.url("silent", &id), json!({})).await;
        silent.push(id);
    }
    for ids in silent.chunks(50) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        api.subscription(ids[0], &["silent"], &ids).await;
    }
    api.destination("limited", &receiver.url("ok", "limited"), json!({"per_second": 1})).await;
    api.subscription("limited", &["limited"], &["limited"]).await;
    for n in 0..HEALTHY {
        let id = format!("healthy-{n}");
        api.destination(&id, &receiver.url("ok", &id), json!({})).await;
        api.subscription(&id, &[&id], &[&id]).await;
    }

    let trouble = (0..20).map(|n| event(&format!("silent-{n}"), "silent"));
    let trouble: Vec<Value> = trouble.chain((0..QUEUED).map(|n| event(&format!("limited-{n}"), "limited"))).collect();
    api.publish(&trouble).await;
    let mut published = BTreeMap::new();
    for round in 0..ROUNDS {
        let began = Instant::now();
        let ids = (0..HEALTHY).map(|n| (format!("{round}-healthy-{n}"), format!("healthy-{n}")));
        let events: Vec<Value> = ids.clone().map(|(id, to)| event(&id, &to)).collect();
        published.extend(ids.map(|(id, _)| (id, Instant::now())));
        api.publish(&events).await;
        tokio::time::sleep(ROUND.saturating_sub(began.elapsed())).await;
    }
    tokio::time::sleep(PROMISED).await;

    let receipts = receiver.receipts();
    let healthy = receipts.iter().filter(|receipt| receipt.name.starts_with("healthy-"));
    let mut took: Vec<Duration> = healthy.map(|receipt| receipt.at - published[&receipt.event()]).collect();
    took.sort();
    assert_eq!(took.len(), ROUNDS * HEALTHY, "each came once");
    let p99 = took[took.len() * 99 / 100];
    let measured = format!("p50 {:?}, p99 {p99:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    println!("{measured}");
    assert!(p99 < PROMISED, "{measured}");
    let limited = receipts.iter().filter(|receipt| receipt.name == "limited").count();
    assert!((5..60).contains(&limited), "one a second: {limited}");
    let reached = receipts.iter().filter(|receipt| receipt.name.starts_with("silent-")).count();
    assert!(reached >= SILENT / 2, "the silent ones were called: {reached}");
    program.stopped().await;
}
