//! What every log promises (`src/log/mod.rs`), as cases that know only the contract. The local log always runs them;
//! Kafka runs them if `TIDINGS_TEST_KAFKA` names a broker.
//!
//! A case makes its own topics and groups, under a prefix that nobody else uses, and never relies on how fast
//! anything is. What only one of the logs promises is tested beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tidings::log::{
    Appender, BatchLimits, Bounds, Group, Input, Log, LogError, Member, Outputs, Reader, TopicSpec, partition_count,
};
use tidings_core::domain::{Output, Record, TopicPartition};
use tokio::time::{self, Instant};

#[cfg(feature = "kafka")]
#[path = "support/kafka.rs"]
mod kafka;

/// How long anything may take: Kafka gives a dead member ten seconds, and a busy machine needs some more.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest record the topics of this suite take.
const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

type Case<L> = fn(World<L>) -> BoxFuture<'static, ()>;

fn cases<L: Log>() -> Vec<(&'static str, Case<L>)> {
    vec![
        ("outputs and offsets become visible together", |w| outputs_and_offsets_become_visible_together(w).boxed()),
        ("a refused commit leaves nothing behind", |w| a_refused_commit_leaves_nothing_behind(w).boxed()),
        ("after an abort the same records come again", |w| after_an_abort_the_same_records_come_again(w).boxed()),
        ("a fold sees the last record of each key", |w| a_fold_sees_the_last_record_of_each_key(w).boxed()),
        ("any bytes survive", |w| any_bytes_survive(w).boxed()),
        ("a restart goes on from the committed offsets", |w| a_restart_goes_on_from_the_committed_offsets(w).boxed()),
        ("two members share and hand over without loss", |w| two_members_share_and_hand_over_without_loss(w).boxed()),
        ("topics that are read also are shared", |w| topics_that_are_read_also_are_shared(w).boxed()),
        ("two groups do not disturb each other", |w| two_groups_do_not_disturb_each_other(w).boxed()),
        ("the same instance fences its predecessor", |w| the_same_instance_fences_its_predecessor(w).boxed()),
        ("dropping next loses nothing", |w| dropping_next_loses_nothing(w).boxed()),
        ("a paused member is alive and gets nothing", |w| a_paused_member_is_alive_and_gets_nothing(w).boxed()),
        ("a reader reaches the end and waits there", |w| a_reader_reaches_the_end_and_waits_there(w).boxed()),
        ("batches keep their bounds", |w| batches_keep_their_bounds(w).boxed()),
        ("an appender fences its predecessor", |w| an_appender_fences_its_predecessor(w).boxed()),
        ("what does not exist is named", |w| what_does_not_exist_is_named(w).boxed()),
        ("records of one key are in one partition", |w| records_of_one_key_are_in_one_partition(w).boxed()),
        ("row 20: a hot key does not keep others waiting", |w| row_20_a_hot_key_keeps_no_other_waiting(w).boxed()),
        ("ten thousand records arrive once and in order", |w| ten_thousand_records_arrive_once_in_order(w).boxed()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_log_keeps_the_contract() {
    use tidings::log::local::{Durability, Local, LocalOptions};
    // Members and readers read from memory in the first round, from the file in the second.
    for tail_bytes in [1024 * 1024, 0] {
        let folder = tempfile::tempdir().expect("a folder");
        let options = LocalOptions { durability: Durability::Relaxed, tail_bytes, ..LocalOptions::default() };
        run_all(Local::open(folder.path(), options).expect("opens")).await;
    }
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_keeps_the_contract() {
    let Some(log) = kafka::log() else { return };
    run_all(log).await;
}

/// Runs every case and fails with the names of those that failed.
async fn run_all<L: Log>(log: L) {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
    let mut failed = Vec::new();
    for (index, (name, case)) in cases::<L>().into_iter().enumerate() {
        let began = Instant::now();
        let world = World { log: log.clone(), prefix: format!("conformance.{run}.{index}.") };
        let passed = AssertUnwindSafe(case(world)).catch_unwind().await.is_ok();
        println!("{} {name} ({:?})", if passed { "ok    " } else { "FAILED" }, began.elapsed());
        if !passed {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "the log broke its contract: {failed:#?}");
}

// --- cases ---

async fn outputs_and_offsets_become_visible_together<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 2, &[]).await, w.topic("out", 2, &[]).await);
    w.fill(&input, 2, 0..10).await;
    let mut member = w.join("g", &input, "one").await;
    let records = member.records(10).await;
    assert_eq!(w.committed("g", &input).await, []);
    w.until_contents(&output, &numbers(0..0)).await;

    member.commit(copies(&records, &output), next_of(&records)).await.expect("commits");
    assert_eq!(w.committed("g", &input).await, [(0, 5), (1, 5)]);
    w.until_contents(&output, &numbers(0..10)).await;

    w.fill(&input, 2, 10..12).await;
    let records = member.records(2).await;
    member.commit(vec![], next_of(&records)).await.expect("offsets alone are committed");
    assert_eq!(w.committed("g", &input).await, [(0, 6), (1, 6)]);
    w.until_contents(&output, &numbers(0..10)).await;
    member.leave().await;
}

async fn a_refused_commit_leaves_nothing_behind<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 1, &[]).await, w.topic("out", 1, &[]).await);
    w.fill(&input, 1, 0..3).await;
    let mut member = w.join("g", &input, "one").await;
    let records = member.records(3).await;
    let good = copies(&records, &output);

    let large = Output { value: Some(vec![b'x'; MAX_RECORD_BYTES + 1].into()), ..good[0].clone() };
    let outputs = vec![good[0].clone(), large, good[1].clone()];
    let refused = member.commit(outputs, next_of(&records)).await.expect_err("one is too large");
    assert!(matches!(&refused, LogError::TooLarge { topic, .. } if **topic == *output), "{refused}");
    let nowhere = Output { topic: format!("{}absent", w.prefix).into(), ..good[0].clone() };
    let refused = member.commit(vec![good[0].clone(), nowhere], next_of(&records)).await.expect_err("one goes nowhere");
    assert!(matches!(refused, LogError::UnknownTopic(_)), "{refused}");

    assert_eq!(w.committed("g", &input).await, []);
    w.until_contents(&output, &numbers(0..0)).await;
    member.commit(good, next_of(&records)).await.expect("the member is as good as before");
    w.until_contents(&output, &numbers(0..3)).await;
    member.leave().await;
}

async fn after_an_abort_the_same_records_come_again<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 2, &[]).await, w.topic("out", 1, &[]).await);
    w.fill(&input, 2, 0..4).await;
    let mut member = w.join("g", &input, "one").await;
    let first = member.records(4).await;
    member.commit(copies(&first, &output), next_of(&first)).await.expect("commits");
    w.fill(&input, 2, 4..8).await;
    let second = member.records(4).await;

    // No member owns partition 7, so nobody can commit for it.
    let mut foreign = next_of(&second);
    foreign.push((at(&input, 7), 1));
    let aborted = member.commit(copies(&second, &output), foreign).await.expect_err("not its partition");
    assert!(matches!(aborted, LogError::Aborted(_)), "{aborted}");
    // Nothing of the aborted commit is visible.
    w.until_contents(&output, &numbers(0..4)).await;
    assert_eq!(w.committed("g", &input).await, [(0, 2), (1, 2)]);

    let again = member.records(4).await;
    assert_eq!(sorted(&again), sorted(&second));
    member.commit(copies(&again, &output), next_of(&again)).await.expect("commits");
    w.until_contents(&output, &numbers(0..8)).await;
    member.leave().await;
}

async fn a_fold_sees_the_last_record_of_each_key<L: Log>(w: World<L>) {
    let topic = w.topic("directory", 1, &[("cleanup.policy", "compact")]).await;
    let edits = [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None), ("c", Some("")), ("a", Some("3"))];
    for (key, value) in edits {
        w.append(vec![output(&topic, 0, Some(key), value)]).await;
    }
    let mut folded = BTreeMap::new();
    for record in w.read(&topic, 0).await {
        folded.insert(record.key.expect("a key"), record.value);
    }
    // The tombstone may be there or compacted away already: the fold is the same.
    folded.retain(|_, value| value.is_some());
    let expected = [("a", "3"), ("c", "")].map(|(key, value)| (Bytes::from(key), Some(Bytes::from(value))));
    assert_eq!(folded, BTreeMap::from(expected));
}

async fn any_bytes_survive<L: Log>(w: World<L>) {
    let topic = w.topic("in", 1, &[]).await;
    let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
    let written: Vec<Output> = [
        (None, None, vec![]),
        (None, bytes(b""), vec![]),
        (bytes(b""), bytes(b"{not json"), vec![]),
        (bytes(b"\0\xff"), bytes(b"\0\0\0\0\x07\xc3\x28\xff"), vec![header("ce_id", b"7")]),
        (bytes(b"k"), None, vec![header("", b""), header("", b"again"), header("\u{e9}\n", &[0, 255])]),
        (bytes(b"k"), Some(vec![0xaa; MAX_RECORD_BYTES / 2].into()), vec![]),
    ]
    .into_iter()
    .map(|(key, value, headers)| Output { topic: topic.clone(), partition: Some(0), key, value, headers })
    .collect();
    w.append(written.clone()).await;

    let mut member = w.join("g", &topic, "one").await;
    let by_member = member.records(written.len()).await;
    member.leave().await;
    let by_reader = w.read(&topic, 0).await;
    assert_eq!(by_member, by_reader);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    for (offset, (record, written)) in by_reader.into_iter().zip(written).enumerate() {
        assert_eq!((record.topic, record.partition, record.offset), (topic.clone(), 0, offset as i64));
        assert_eq!((record.key, record.value, record.headers), (written.key, written.value, written.headers));
        assert!((now - record.timestamp.0).abs() < 600_000, "{} is not about now", record.timestamp);
    }
}

async fn a_restart_goes_on_from_the_committed_offsets<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 1, &[]).await, w.topic("out", 1, &[]).await);
    w.fill(&input, 1, 0..10).await;
    let mut member = w.join("g", &input, "one").await;
    let records = member.records(10).await;
    member.commit(copies(&records[..4], &output), next_of(&records[..4])).await.expect("commits");
    drop(member);

    let mut member = w.join("g", &input, "one").await;
    let again = member.records(6).await;
    assert_eq!(again, records[4..]);
    member.commit(copies(&again, &output), next_of(&again)).await.expect("commits");
    w.until_contents(&output, &numbers(0..10)).await;
    member.leave().await;
}

async fn two_members_share_and_hand_over_without_loss<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 4, &[]).await, w.topic("out", 4, &[]).await);
    w.fill(&input, 4, 0..40).await;
    let mut one = w.join("g", &input, "one").await;
    // Open when the second member comes: the first commits them before it releases anything.
    one.records(40).await;
    let mut two = w.join("g", &input, "two").await;

    let give_up = Instant::now() + PATIENCE;
    while !(one.owned.len() == 2 && two.owned.len() == 2) {
        assert!(Instant::now() < give_up, "one has {:?}, two has {:?}", one.owned, two.owned);
        one.turn(&output, Duration::from_millis(100)).await;
        two.turn(&output, Duration::from_millis(100)).await;
    }
    assert!(one.owned.is_disjoint(&two.owned));
    w.fill(&input, 4, 40..60).await;
    let (mut by_one, mut by_two) = (0, 0);
    while by_one + by_two < 20 {
        assert!(Instant::now() < give_up, "one has copied {by_one}, two has copied {by_two}");
        by_one += one.turn(&output, Duration::from_millis(100)).await;
        by_two += two.turn(&output, Duration::from_millis(100)).await;
    }
    assert_eq!((by_one, by_two), (10, 10));
    // Each record once: no partition had two owners.
    w.until_contents(&output, &numbers(0..60)).await;

    // What the second member has read and not committed comes to the first when the second is gone.
    w.fill(&input, 4, 60..80).await;
    two.records(10).await;
    two.leave().await;
    let (mut copied, give_up) = (0, Instant::now() + PATIENCE);
    while copied < 20 {
        assert!(Instant::now() < give_up, "one has {:?} and copied {copied}", one.owned);
        copied += one.turn(&output, Duration::from_millis(100)).await;
    }
    w.until_contents(&output, &numbers(0..80)).await;
    assert_eq!(one.owned.len(), 4);
    one.leave().await;
}

/// A partition with a backlog, and one that always has something new: both go on.
async fn row_20_a_hot_key_keeps_no_other_waiting<L: Log>(w: World<L>) {
    const HOT: u32 = 30_000;
    const COLD: u32 = 10;
    let input = w.topic("in", 2, &[]).await;
    // Nothing in them comes twice, or compression would bring most of them in one answer of a broker, which may be one that it gave before
    // it was asked for the other partition.
    let random = |n: u32| {
        let mut bytes = [0; 128];
        blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes.map(|byte| format!("{byte:02x}")).concat()
    };
    for from in (0..HOT).step_by(5_000) {
        w.append((from..from + 5_000).map(|n| output(&input, 0, Some("hot"), Some(&random(n)))).collect()).await;
    }
    w.append((0..COLD).map(|n| output(&input, 1, None, Some(&n.to_string()))).collect()).await;

    let batch = BatchLimits { records: 1_000, bytes: 8 * 1024 * 1024, time: Duration::from_millis(20) };
    let mut member = w.join_with("g", &input, "one", batch).await;
    let (mut hot, mut cold, mut hot_before_cold) = (0, 0, 0);
    let give_up = Instant::now() + PATIENCE;
    while hot < HOT {
        assert!(Instant::now() < give_up, "{hot} hot ones and {cold} others came");
        let records = member.hear(Duration::from_secs(1)).await;
        let of_hot = records.iter().filter(|record| record.partition == 0).count() as u32;
        (hot, cold) = (hot + of_hot, cold + records.len() as u32 - of_hot);
        if cold < COLD {
            hot_before_cold = hot;
        } else if !records.is_empty() {
            // From now on the other partition has something new at every look.
            w.append(vec![output(&input, 1, None, Some("more"))]).await;
        }
    }
    assert!(cold >= COLD && hot_before_cold <= HOT / 2, "{hot_before_cold} hot ones came before {COLD} others");
    member.leave().await;
}

async fn topics_that_are_read_also_are_shared<L: Log>(w: World<L>) {
    let (first, output) = (w.topic("first", 2, &[]).await, w.topic("out", 1, &[]).await);
    let mut one = w.join("g", &first, "one").await;
    let mut two = w.join("g", &first, "two").await;
    let give_up = Instant::now() + PATIENCE;
    let turns = async |one: &mut Worker<L::Member>, two: &mut Worker<L::Member>| {
        assert!(Instant::now() < give_up, "one has {:?}, two has {:?}", one.owned, two.owned);
        one.turn(&output, Duration::from_millis(100)).await + two.turn(&output, Duration::from_millis(100)).await
    };
    while !(one.owned.len() == 1 && two.owned.len() == 1) {
        turns(&mut one, &mut two).await;
    }

    let second = w.topic("second", 2, &[]).await;
    w.fill(&second, 2, 0..10).await;
    let absent = format!("{}absent", w.prefix).into();
    let refused = one.member.read_also(vec![absent]).await.expect_err("there is none");
    assert!(matches!(refused, LogError::UnknownTopic(_)), "{refused}");
    // One after the other, as processes find out.
    one.member.read_also(vec![second.clone()]).await.expect("taken up");
    let mut copied = turns(&mut one, &mut two).await;
    two.member.read_also(vec![second.clone()]).await.expect("taken up");
    while copied < 10 || one.owned.len() != 2 || two.owned.len() != 2 {
        copied += turns(&mut one, &mut two).await;
    }
    assert!(one.owned.is_disjoint(&two.owned));
    w.fill(&first, 2, 10..20).await;
    w.fill(&second, 2, 20..30).await;
    while copied < 30 {
        copied += turns(&mut one, &mut two).await;
    }
    w.until_contents(&output, &numbers(0..30)).await;
    one.leave().await;
    two.leave().await;
}

async fn two_groups_do_not_disturb_each_other<L: Log>(w: World<L>) {
    let input = w.topic("in", 1, &[]).await;
    w.fill(&input, 1, 0..5).await;
    let mut one = w.join("g", &input, "one").await;
    let mut other = w.join("h", &input, "one").await;
    let records = one.records(5).await;
    one.commit(vec![], next_of(&records)).await.expect("commits");
    assert_eq!(other.records(5).await, records);
    assert_eq!(w.committed("g", &input).await, [(0, 5)]);
    assert_eq!(w.committed("h", &input).await, []);
    one.leave().await;
    other.leave().await;
}

async fn the_same_instance_fences_its_predecessor<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 1, &[]).await, w.topic("out", 1, &[]).await);
    w.fill(&input, 1, 0..3).await;
    let mut older = w.join("g", &input, "one").await;
    let records = older.records(3).await;
    let mut newer = w.join("g", &input, "one").await;
    let again = newer.records(3).await;
    assert_eq!(again, records);
    newer.commit(copies(&again, &output), next_of(&again)).await.expect("the newer one commits");

    let fenced = older.commit(copies(&records, &output), next_of(&records)).await.expect_err("the older one is out");
    assert!(matches!(fenced, LogError::Fenced(_)), "{fenced}");
    let give_up = Instant::now() + PATIENCE;
    loop {
        match time::timeout(PATIENCE, older.member.next()).await.expect("is told in time") {
            Err(LogError::Fenced(_)) => break,
            other => assert!(Instant::now() < give_up, "not fenced but {other:?}"),
        }
    }
    w.until_contents(&output, &numbers(0..3)).await;
    newer.leave().await;
}

async fn dropping_next_loses_nothing<L: Log>(w: World<L>) {
    let input = w.topic("in", 2, &[]).await;
    let mut member = w.join("g", &input, "one").await;
    let (mut seen, mut dropped, mut written) = (Vec::new(), 0, 0);
    let give_up = Instant::now() + PATIENCE;
    while seen.len() < 500 {
        assert!(Instant::now() < give_up, "{} of {written} records after {dropped} dropped waits", seen.len());
        if written < 500 {
            w.fill(&input, 2, written..written + 10).await;
            written += 10;
        }
        // Given up after a single look, and after waits that end in the middle of whatever is going on.
        match member.member.next().now_or_never() {
            None => dropped += 1,
            Some(input) => seen.extend(member.heard(input.expect("no error"))),
        }
        // One that waits for what is not written yet is dropped for certain.
        if seen.len() == written as usize {
            assert!(member.member.next().now_or_never().is_none());
            dropped += 1;
        }
        match time::timeout(Duration::from_micros(200), member.member.next()).await {
            Err(_) => dropped += 1,
            Ok(input) => seen.extend(member.heard(input.expect("no error"))),
        }
    }
    assert!(dropped > 0, "no wait was dropped: the case shows nothing");
    assert_in_order(&seen);
    assert_eq!(seen.len(), 500);
    member.leave().await;
}

async fn a_paused_member_is_alive_and_gets_nothing<L: Log>(w: World<L>) {
    let input = w.topic("in", 2, &[]).await;
    w.fill(&input, 2, 0..4).await;
    let mut member = w.join("g", &input, "one").await;
    let before = member.records(4).await;
    member.member.pause().await.expect("pauses");
    w.fill(&input, 2, 4..8).await;
    if let Ok(input) = time::timeout(Duration::from_millis(500), member.member.next()).await {
        panic!("a paused member got {input:?}");
    }
    member.commit(vec![], next_of(&before)).await.expect("commits while paused");
    member.member.resume().await.expect("resumes");
    assert_eq!(sorted(&member.records(4).await).iter().map(text).collect::<Vec<_>>(), ["4", "6", "5", "7"]);
    member.leave().await;
}

async fn a_reader_reaches_the_end_and_waits_there<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 1, &[]).await, w.topic("out", 1, &[]).await);
    assert_eq!(w.log.bounds(at(&output, 0)).await.expect("bounds"), Bounds { start: 0, end: 0 });
    let mut reader = w.log.reader(at(&output, 0), 0).await.expect("reader");
    assert_eq!(reader.next(Duration::ZERO).await.expect("reads"), []);

    // Written in transactions, so that Kafka puts markers in between.
    w.fill(&input, 1, 0..3).await;
    let mut member = w.join("g", &input, "one").await;
    for record in member.records(3).await {
        let outputs = copies(std::slice::from_ref(&record), &output);
        member.commit(outputs, next_of(&[record])).await.expect("commits");
    }
    w.until_contents(&output, &numbers(0..3)).await;
    let end = w.log.bounds(at(&output, 0)).await.expect("bounds").end;
    let give_up = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while reader.position() < end {
        assert!(Instant::now() < give_up, "at {} of {end}", reader.position());
        records.extend(reader.next(Duration::from_millis(200)).await.expect("reads"));
    }
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), numbers(0..3));
    assert_in_order(&records);

    // A reader from the middle, and one that waits before there is anything.
    let mut middle = w.log.reader(at(&output, 0), records[1].offset).await.expect("reader");
    assert_eq!(text(&some(&mut middle).await[0]), "1");
    let (log, late) = (w.log.clone(), self::output(&output, 0, None, Some("late")));
    let writer = tokio::spawn(async move {
        time::sleep(Duration::from_millis(50)).await;
        log.append(vec![late]).await
    });
    assert_eq!(text(&some(&mut reader).await[0]), "late");
    writer.await.expect("no panic").expect("appends");
    member.leave().await;
}

async fn batches_keep_their_bounds<L: Log>(w: World<L>) {
    const LARGE_BYTES: usize = 3000;
    let input = w.topic("in", 3, &[]).await;
    let large = "x".repeat(LARGE_BYTES);
    w.append((0..30).map(|n| output(&input, n % 3, None, Some(&large))).collect()).await;
    let batch = BatchLimits { records: 7, bytes: 10_000, time: Duration::from_millis(20) };
    let mut member = w.join_with("g", &input, "one", batch).await;
    let (mut seen, give_up) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.len() < 30 {
        assert!(Instant::now() < give_up, "{} of 30", seen.len());
        let records = member.hear(Duration::from_secs(1)).await;
        assert!(records.len() <= 7, "{} records in a batch", records.len());
        // The record that reaches the bound may end the batch or begin the next one.
        let bytes: usize = records.iter().map(|record| text(record).len()).sum();
        assert!(bytes <= 10_000 + LARGE_BYTES, "{bytes} bytes in a batch");
        seen.extend(records);
    }
    assert_in_order(&seen);

    // A record larger than a batch comes alone instead of never.
    w.append(vec![output(&input, 0, None, Some(&"y".repeat(50_000)))]).await;
    assert_eq!(text(&member.records(1).await[0]).len(), 50_000);
    member.leave().await;
}

async fn an_appender_fences_its_predecessor<L: Log>(w: World<L>) {
    let topic = w.topic("directory", 1, &[]).await;
    let name = format!("{}edits", w.prefix);
    let edit = |value: &str| ["k", "l"].map(|key| output(&topic, 0, Some(key), Some(value))).to_vec();
    let mut older = w.log.appender(&name).await.expect("appender");
    older.append(edit("1")).await.expect("appends");
    let mut newer = w.log.appender(&name).await.expect("appender");
    newer.append(edit("2")).await.expect("appends");
    let fenced = older.append(edit("3")).await.expect_err("the older one is out");
    assert!(matches!(fenced, LogError::Fenced(_)), "{fenced}");
    newer.append(edit("4")).await.expect("is not disturbed by it");
    let mut other = w.log.appender(&format!("{name}.other")).await.expect("appender");
    other.append(edit("5")).await.expect("another name is another matter");
    assert_eq!(w.contents(&topic).await, ["1", "1", "2", "2", "4", "4", "5", "5"], "visible at once");
}

async fn what_does_not_exist_is_named<L: Log>(w: World<L>) {
    let absent: Arc<str> = format!("{}absent", w.prefix).into();
    let named = |error: LogError| {
        assert!(matches!(&error, LogError::UnknownTopic(text) if text.contains(&*absent)), "{error}");
    };
    named(w.log.append(vec![output(&absent, 0, None, Some("x"))]).await.expect_err("no such topic"));
    named(partition_count(&w.log, &absent).await.expect_err("no such topic"));
    assert_eq!(w.log.topics(std::slice::from_ref(&absent)).await.expect("answers"), []);

    let topic = w.topic("there", 3, &[("retention.ms", "3600000")]).await;
    let spec = TopicSpec { name: topic.clone(), partitions: 5, settings: vec![] };
    assert!(!w.log.create_topic(spec).await.expect("answers"), "it is there already");
    assert_eq!(partition_count(&w.log, &topic).await.expect("answers"), 3, "and is left as it is");
    let found = w.log.topics(&[absent, topic]).await.expect("answers");
    assert_eq!(found.len(), 1);
    assert!(found[0].settings.contains(&("retention.ms".into(), "3600000".into())), "{:?}", found[0].settings);
}

async fn records_of_one_key_are_in_one_partition<L: Log>(w: World<L>) {
    let topic = w.topic("in", 4, &[]).await;
    let keyed = |n: usize| Output { partition: None, ..output(&topic, 0, Some(&format!("key {}", n % 20)), Some("x")) };
    w.append((0..100).map(keyed).collect()).await;
    let mut places: BTreeMap<Bytes, BTreeSet<u32>> = BTreeMap::new();
    for partition in 0..4 {
        for record in w.read(&topic, partition).await {
            places.entry(record.key.expect("a key")).or_default().insert(partition);
        }
    }
    assert_eq!(places.len(), 20);
    assert!(places.values().all(|partitions| partitions.len() == 1), "{places:?}");
    assert!(places.values().flatten().collect::<BTreeSet<_>>().len() > 1, "all keys in one partition");
}

async fn ten_thousand_records_arrive_once_in_order<L: Log>(w: World<L>) {
    let (input, output) = (w.topic("in", 3, &[]).await, w.topic("out", 3, &[]).await);
    let writing = {
        let (w, input) = (w.clone(), input.clone());
        tokio::spawn(async move {
            for n in 0..20 {
                w.fill(&input, 3, n * 500..(n + 1) * 500).await;
            }
        })
    };
    let mut member = w.join("g", &input, "one").await;
    let (mut copied, give_up) = (0, Instant::now() + PATIENCE);
    while copied < 10_000 {
        assert!(Instant::now() < give_up, "{copied} of 10000");
        copied += member.turn(&output, Duration::from_secs(1)).await;
    }
    writing.await.expect("no panic");
    w.until_contents(&output, &numbers(0..10_000)).await;
    for source in 0..3_u64 {
        for partition in 0..3 {
            let records = w.read(&output, partition).await;
            let values: Vec<u64> = records.iter().map(|record| text(record).parse().expect("a number")).collect();
            let from_source = values.iter().filter(|value| **value % 3 == source);
            assert!(from_source.is_sorted(), "partition {partition} is out of order");
        }
    }
    member.leave().await;
}

// --- the world of a case ---

/// A log and a prefix for the topics and groups of one case.
#[derive(Clone)]
struct World<L> {
    log: L,
    prefix: String,
}

/// A member that keeps account of what it owns and of what it has read and not committed.
struct Worker<M> {
    member: M,
    owned: BTreeSet<TopicPartition>,
    open: Vec<Record>,
    releasing: Vec<TopicPartition>,
}

impl<L: Log> World<L> {
    async fn topic(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) -> Arc<str> {
        let name: Arc<str> = format!("{}{name}", self.prefix).into();
        let max = ("max.message.bytes".to_owned(), MAX_RECORD_BYTES.to_string());
        let settings = settings.iter().map(|(n, v)| (n.to_string(), v.to_string())).chain([max]).collect();
        let spec = TopicSpec { name: name.clone(), partitions, settings };
        assert!(self.log.create_topic(spec).await.expect("creates the topic"));
        name
    }

    async fn append(&self, outputs: Vec<Output>) {
        self.log.append(outputs).await.expect("appends");
    }

    /// Appends these numbers, each to the partition that is its remainder.
    async fn fill(&self, topic: &Arc<str>, partitions: u32, numbers: Range<u32>) {
        self.append(numbers.map(|n| output(topic, n % partitions, None, Some(&n.to_string()))).collect()).await;
    }

    async fn join(&self, group: &str, topic: &Arc<str>, instance: &str) -> Worker<L::Member> {
        let batch = BatchLimits { records: 100, bytes: 8 * 1024 * 1024, time: Duration::from_millis(20) };
        self.join_with(group, topic, instance, batch).await
    }

    async fn join_with(&self, group: &str, topic: &Arc<str>, instance: &str, batch: BatchLimits) -> Worker<L::Member> {
        let group = Group {
            name: format!("{}{group}", self.prefix),
            topics: vec![topic.clone()],
            instance: format!("{}{group}.{instance}", self.prefix),
            outputs: Outputs::Transactional,
            batch,
        };
        let member = self.log.join(group).await.expect("joins");
        Worker { member, owned: BTreeSet::new(), open: Vec::new(), releasing: Vec::new() }
    }

    /// Committed offsets as (partition, next).
    async fn committed(&self, group: &str, topic: &str) -> Vec<(u32, i64)> {
        let group = format!("{}{group}", self.prefix);
        let offsets = self.log.committed(&group, topic).await.expect("answers");
        let mut offsets: Vec<_> = offsets.into_iter().map(|(partition, next)| (partition.partition, next)).collect();
        offsets.sort();
        offsets
    }

    /// Every record of a partition that can be seen now.
    async fn read(&self, topic: &Arc<str>, partition: u32) -> Vec<Record> {
        let bounds = self.log.bounds(at(topic, partition)).await.expect("bounds");
        let mut reader = self.log.reader(at(topic, partition), bounds.start).await.expect("reader");
        let (mut records, give_up) = (Vec::new(), Instant::now() + PATIENCE);
        while reader.position() < bounds.end {
            assert!(Instant::now() < give_up, "at {} of {}", reader.position(), bounds.end);
            records.extend(reader.next(Duration::from_millis(200)).await.expect("reads"));
        }
        assert_in_order(&records);
        records
    }

    /// Waits until exactly these values can be seen: a commit has its outcome before readers have.
    async fn until_contents(&self, topic: &Arc<str>, expected: &[String]) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let found = self.contents(topic).await;
            if found == expected {
                return;
            }
            assert!(found.len() < expected.len() && Instant::now() < give_up, "{found:?} instead of {expected:?}");
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The values of all partitions, sorted as numbers.
    async fn contents(&self, topic: &Arc<str>) -> Vec<String> {
        let mut values = Vec::new();
        for partition in 0..partition_count(&self.log, topic).await.expect("exists") {
            values.extend(self.read(topic, partition).await.iter().map(text));
        }
        values.sort_by_key(|value| value.parse::<u64>().ok());
        values
    }
}

impl<M: Member> Worker<M> {
    /// Keeps the account and returns the records, if it is records that came.
    fn heard(&mut self, input: Input) -> Vec<Record> {
        match input {
            Input::Assigned(partitions) => {
                for (partition, _) in partitions {
                    assert!(self.owned.insert(partition.clone()), "{partition} was assigned twice");
                }
            }
            Input::Revoking(partitions) => self.releasing.extend(partitions),
            Input::Lost(partitions) => {
                self.owned.retain(|owned| !partitions.contains(owned));
                self.open.retain(|record| !partitions.contains(&record.topic_partition()));
            }
            Input::Records(records) => {
                assert!(!records.is_empty(), "an empty batch");
                for record in &records {
                    let partition = record.topic_partition();
                    assert!(self.owned.contains(&partition), "a record of {partition}, which is not ours");
                    assert!(!self.releasing.contains(&partition), "a record of {partition}, which is being revoked");
                }
                self.open.extend(records.iter().cloned());
                return records;
            }
        }
        Vec::new()
    }

    /// Waits for one input, at most so long.
    async fn hear(&mut self, wait: Duration) -> Vec<Record> {
        match time::timeout(wait, self.member.next()).await {
            Ok(input) => self.heard(input.expect("no error")),
            Err(_) => Vec::new(),
        }
    }

    /// Exactly so many records, however many batches they come in.
    async fn records(&mut self, count: usize) -> Vec<Record> {
        let (mut records, give_up) = (Vec::new(), Instant::now() + PATIENCE);
        while records.len() < count {
            assert!(Instant::now() < give_up, "{} of {count} records came", records.len());
            records.extend(self.hear(Duration::from_secs(1)).await);
        }
        assert_eq!(records.len(), count, "more came than there are");
        records
    }

    async fn commit(&mut self, outputs: Vec<Output>, offsets: Vec<(TopicPartition, i64)>) -> Result<(), LogError> {
        let done = self.member.commit(outputs, offsets.clone()).await;
        if done.is_ok() {
            let next: BTreeMap<_, _> = offsets.into_iter().collect();
            self.open.retain(|record| next.get(&record.topic_partition()).is_none_or(|next| record.offset >= *next));
        }
        done
    }

    /// What a role does: hears, copies everything open, commits, releases. Returns how many were copied.
    async fn turn(&mut self, to: &Arc<str>, wait: Duration) -> usize {
        self.hear(wait).await;
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.commit(copies(&open, to), next_of(&open)).await.expect("commits");
        }
        let releasing = std::mem::take(&mut self.releasing);
        if !releasing.is_empty() {
            self.member.release(&releasing).await.expect("releases");
            self.owned.retain(|owned| !releasing.contains(owned));
        }
        open.len()
    }

    async fn leave(self) {
        self.member.leave().await;
    }
}

/// Waits until a reader has something.
async fn some<R: Reader>(reader: &mut R) -> Vec<Record> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let records = reader.next(Duration::from_secs(1)).await.expect("reads");
        if !records.is_empty() {
            return records;
        }
        assert!(Instant::now() < give_up, "nothing came");
    }
}

// --- records ---

fn at(topic: &Arc<str>, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

fn output(topic: &Arc<str>, partition: u32, key: Option<&str>, value: Option<&str>) -> Output {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let (key, value) = (key.map(bytes), value.map(bytes));
    Output { topic: topic.clone(), partition: Some(partition), key, value, headers: vec![] }
}

/// The same values for another topic. The key is the partition they come from, so they stay in order.
fn copies(records: &[Record], to: &Arc<str>) -> Vec<Output> {
    let copy = |record: &Record| {
        let from = record.partition.to_string();
        Output { partition: None, ..output(to, 0, Some(&from), Some(&text(record))) }
    };
    records.iter().map(copy).collect()
}

fn next_of(records: &[Record]) -> Vec<(TopicPartition, i64)> {
    let next: BTreeMap<_, _> = records.iter().map(|record| (record.topic_partition(), record.offset + 1)).collect();
    next.into_iter().collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.as_ref().expect("a value").to_vec()).expect("text")
}

fn numbers(range: Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn sorted(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    records.sort_by_key(Record::position);
    records
}

fn assert_in_order(records: &[Record]) {
    let mut last = BTreeMap::new();
    for record in records {
        let before = last.insert(record.topic_partition(), record.offset);
        assert!(before < Some(record.offset), "{} after {before:?}", record.position());
    }
}
