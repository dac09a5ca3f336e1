//! What only the local log promises: its lock, restarts, a full disk, retention and compaction.
//! What it shares with Kafka is in `tests/log_conformance.rs`.

use std::time::Instant;

use bytes::Bytes;
use tempfile::TempDir;
use tidings_core::domain::Record;

use super::*;
use crate::log::{BatchLimits, Input, Member, Outputs, Reader};

/// No wait of these tests takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> LocalOptions {
    let upkeep_every = Duration::from_millis(20);
    LocalOptions { durability: Durability::Relaxed, upkeep_every, ..LocalOptions::default() }
}

fn open(folder: &TempDir, options: LocalOptions) -> Local {
    Local::open(folder.path(), options).unwrap()
}

async fn topic(log: &Local, name: &str, settings: &[(&str, &str)]) -> TopicPartition {
    let settings = settings.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    log.create_topic(TopicSpec { name: name.into(), partitions: 1, settings }).await.unwrap();
    TopicPartition { topic: name.into(), partition: 0 }
}

fn output(topic: &TopicPartition, key: &str, value: Option<Bytes>) -> Output {
    let key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes()));
    Output { topic: topic.topic.clone(), partition: Some(topic.partition), key, value, headers: vec![] }
}

fn text(value: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

async fn append(log: &Local, topic: &TopicPartition, key: &str, value: Option<&str>) {
    log.append(vec![output(topic, key, value.and_then(text))]).await.unwrap();
}

async fn read_all(log: &Local, topic: &TopicPartition) -> Vec<Record> {
    let end = log.bounds(topic.clone()).await.unwrap().end;
    let mut reader = log.reader(topic.clone(), 0).await.unwrap();
    let mut records = Vec::new();
    while reader.position() < end {
        records.extend(reader.next(PATIENCE).await.unwrap());
    }
    records
}

/// What is left, as `offset:key=value`.
async fn left(log: &Local, topic: &TopicPartition) -> String {
    let show = |bytes: &Option<Bytes>| bytes.as_ref().map_or("-".into(), |b| String::from_utf8_lossy(b).into_owned());
    let records = read_all(log, topic).await;
    records.iter().map(|r| format!("{}:{}={}", r.offset, show(&r.key), show(&r.value))).collect::<Vec<_>>().join(" ")
}

async fn until_left(log: &Local, topic: &TopicPartition, expected: &str) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let found = left(log, topic).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < give_up, "expected {expected}, found {found}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn group(topic: &TopicPartition, outputs: Outputs) -> Group {
    let batch = BatchLimits { records: 100, bytes: 1 << 20, time: Duration::ZERO };
    Group { name: "g".into(), topics: vec![topic.topic.clone()], instance: "i".into(), outputs, batch }
}

async fn records(member: &mut LocalMember) -> Vec<Record> {
    loop {
        if let Input::Records(records) = tokio::time::timeout(PATIENCE, member.next()).await.unwrap().unwrap() {
            return records;
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_which_folder() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, options());
    let refused = Local::open(folder.path(), options()).err().unwrap().to_string();
    assert!(refused.contains(&folder.path().display().to_string()) && refused.contains("in use"), "{refused}");
    drop(log);
    open(&folder, options());
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder, options()));
    rusqlite::Connection::open(folder.path().join("log.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Local::open(folder.path(), options()).err().unwrap().to_string();
    assert!(refused.contains("has format 99; this version reads 1"), "{refused}");
}

#[tokio::test]
async fn a_restart_keeps_records_topics_and_committed_offsets() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, options());
    let events = topic(&log, "events", &[("retention.ms", "-1")]).await;
    for n in 0..5 {
        let value = Some(n.to_string().into());
        let headers = vec![("h".to_owned(), Bytes::from_static(b"\xff")), ("h".to_owned(), Bytes::new())];
        log.append(vec![Output { headers, ..output(&events, "k", value) }]).await.unwrap();
    }
    let before = read_all(&log, &events).await;
    let mut member = log.join(group(&events, Outputs::Transactional)).await.unwrap();
    assert_eq!(records(&mut member).await.len(), 5);
    member.commit(vec![], vec![(events.clone(), 2)]).await.unwrap();
    drop((member, log));

    let log = open(&folder, options());
    assert_eq!(read_all(&log, &events).await, before);
    assert_eq!(log.bounds(events.clone()).await.unwrap(), Bounds { start: 0, end: 5 });
    assert_eq!(
        log.topics(std::slice::from_ref(&events.topic)).await.unwrap()[0].settings,
        [("retention.ms".into(), "-1".into())]
    );
    assert_eq!(log.committed("g", "events").await.unwrap(), [(events.clone(), 2)]);
    let mut member = log.join(group(&events, Outputs::Transactional)).await.unwrap();
    assert_eq!(records(&mut member).await, before[2..]);
    append(&log, &events, "k", Some("5")).await;
    assert_eq!(records(&mut member).await[0].offset, 5);
}

#[tokio::test]
async fn a_full_disk_takes_nothing_half_and_recovers_when_space_is_freed() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, LocalOptions { max_bytes: Some(256 * 1024), tail_bytes: 0, ..options() });
    let events = topic(&log, "events", &[("retention.ms", "-1")]).await;
    let filler = topic(&log, "filler", &[("retention.ms", "3000")]).await;
    append(&log, &events, "", Some("first")).await;
    let mut member = log.join(group(&events, Outputs::Transactional)).await.unwrap();
    assert_eq!(records(&mut member).await.len(), 1);

    let block = || output(&filler, "", Some(vec![7; 10_000].into()));
    let mut written = 0;
    let full = loop {
        match log.append(vec![block()]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, LogError::Unavailable(_)), "{full}");
    assert_eq!(log.bounds(filler.clone()).await.unwrap().end, written);

    // A member's commit is aborted as on Kafka: no output is visible, no offset moves, the records come again.
    let outputs = vec![output(&filler, "", text("small")), block(), block(), block()];
    let aborted = member.commit(outputs.clone(), vec![(events.clone(), 1)]).await.unwrap_err();
    assert!(matches!(aborted, LogError::Aborted(_)), "{aborted}");
    assert_eq!(log.bounds(filler.clone()).await.unwrap().end, written);
    assert_eq!(log.committed("g", "events").await.unwrap(), []);
    assert_eq!(records(&mut member).await.len(), 1);

    let give_up = Instant::now() + PATIENCE;
    while let Err(error) = member.commit(outputs.clone(), vec![(events.clone(), 1)]).await {
        assert!(matches!(error, LogError::Aborted(_)) && Instant::now() < give_up, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(log.bounds(filler.clone()).await.unwrap().end, written + 4);
    assert_eq!(log.committed("g", "events").await.unwrap(), [(events, 1)]);
}

#[tokio::test]
async fn offsets_alone_at_least_once_leave_out_what_is_gone() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, options());
    let (events, other) = (topic(&log, "events", &[]).await, topic(&log, "other", &[]).await);
    append(&log, &events, "", Some("1")).await;
    let mut member = log.join(group(&events, Outputs::AtLeastOnce)).await.unwrap();
    assert_eq!(records(&mut member).await.len(), 1);
    member.commit(vec![], vec![(events.clone(), 1), (other.clone(), 1)]).await.unwrap();
    assert_eq!(log.committed("g", "events").await.unwrap(), [(events, 1)]);
    assert_eq!(log.committed("g", "other").await.unwrap(), []);
}

#[tokio::test]
async fn retention_deletes_old_records_but_never_gives_an_offset_twice() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, options());
    let short = topic(&log, "short", &[("retention.ms", "50")]).await;
    let kept = topic(&log, "kept", &[("retention.ms", "-1")]).await;
    append(&log, &kept, "", Some("k")).await;
    let many = 2 * 500 + 10;
    log.append((0..many).map(|_| output(&short, "", text("x"))).collect()).await.unwrap();
    append(&log, &short, "", Some("last")).await;

    until_left(&log, &short, &format!("{many}:-=last")).await;
    assert_eq!(log.bounds(short.clone()).await.unwrap(), Bounds { start: many, end: many + 1 });
    assert_eq!(left(&log, &kept).await, "0:-=k");
    drop(log);

    let log = open(&folder, options());
    assert_eq!(log.bounds(short.clone()).await.unwrap(), Bounds { start: many, end: many + 1 });
    append(&log, &short, "", Some("next")).await;
    until_left(&log, &short, &format!("{}:-=next", many + 1)).await;
    // A member without commits starts with what is left.
    let mut member = log.join(group(&short, Outputs::Transactional)).await.unwrap();
    let Input::Assigned(given) = member.next().await.unwrap() else { panic!("not assigned") };
    assert_eq!(given, [(short, many + 1)]);
}

#[tokio::test]
async fn compaction_keeps_the_last_record_of_each_key_and_drops_old_tombstones() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, LocalOptions { tail_bytes: 0, ..options() });
    let compact = [("cleanup.policy", "compact"), ("delete.retention.ms", "300")];
    let directory = topic(&log, "directory", &compact).await;
    for (key, value) in [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None), ("c", Some("1"))] {
        append(&log, &directory, key, value).await;
    }
    until_left(&log, &directory, "2:a=2 3:b=- 4:c=1").await;
    until_left(&log, &directory, "2:a=2 4:c=1").await;
    assert_eq!(log.bounds(directory.clone()).await.unwrap(), Bounds { start: 2, end: 5 });

    // A key that came back before its tombstone was dropped keeps its new value; a tombstone at the end waits.
    append(&log, &directory, "c", None).await;
    append(&log, &directory, "c", Some("2")).await;
    append(&log, &directory, "a", None).await;
    until_left(&log, &directory, "6:c=2 7:a=-").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(left(&log, &directory).await, "6:c=2 7:a=-");
    append(&log, &directory, "d", Some("1")).await;
    until_left(&log, &directory, "6:c=2 8:d=1").await;

    let keyless = log.append(vec![output(&directory, "", text("x"))]).await.unwrap_err();
    assert!(matches!(keyless, LogError::Refused(_)), "{keyless}");
}

#[tokio::test]
async fn a_displaced_record_stays_for_the_compaction_lag() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, LocalOptions { tail_bytes: 0, ..options() });
    let compact = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];
    let directory = topic(&log, "directory", &compact).await;
    append(&log, &directory, "a", Some("1")).await;
    append(&log, &directory, "a", Some("2")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(left(&log, &directory).await, "0:a=1 1:a=2");
}

#[tokio::test]
async fn a_member_that_does_not_release_in_time_loses_its_partitions() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, LocalOptions { revoke_within: Duration::from_millis(50), ..options() });
    let spec = TopicSpec { name: "events".into(), partitions: 2, settings: vec![] };
    log.create_topic(spec).await.unwrap();
    let at = |partition| TopicPartition { topic: "events".into(), partition };
    let mut slow = log.join(group(&at(0), Outputs::Transactional)).await.unwrap();
    let Input::Assigned(both) = slow.next().await.unwrap() else { panic!("not assigned") };
    assert_eq!(both, [(at(0), 0), (at(1), 0)]);
    let mut quick = log.join(Group { instance: "j".into(), ..group(&at(0), Outputs::Transactional) }).await.unwrap();
    assert!(matches!(slow.next().await.unwrap(), Input::Revoking(taken) if taken == [at(1)]));
    assert!(matches!(quick.next().await.unwrap(), Input::Assigned(given) if given == [(at(1), 0)]));
    let aborted = slow.commit(vec![], vec![(at(1), 1)]).await.unwrap_err();
    assert!(matches!(aborted, LogError::Aborted(_)), "{aborted}");
    assert!(matches!(slow.next().await.unwrap(), Input::Lost(lost) if lost == [at(1)]));
}

/// A partition that was lost and has come back, both unheard, may have been committed by another member in between.
#[tokio::test]
async fn a_commit_for_a_partition_whose_loss_is_untold_is_aborted_even_if_it_came_back() {
    for (outputs, aborts) in [(Outputs::Transactional, true), (Outputs::AtLeastOnce, false)] {
        let folder = TempDir::new().unwrap();
        let log = open(&folder, LocalOptions { revoke_within: Duration::from_millis(50), ..options() });
        let spec = TopicSpec { name: "events".into(), partitions: 2, settings: vec![] };
        log.create_topic(spec).await.unwrap();
        let at = |partition| TopicPartition { topic: "events".into(), partition };
        append(&log, &at(1), "", Some("1")).await;
        let mut slow = log.join(group(&at(0), outputs)).await.unwrap();
        assert_eq!(records(&mut slow).await.len(), 1);
        let mut quick = log.join(Group { instance: "j".into(), ..group(&at(0), outputs) }).await.unwrap();
        assert!(matches!(quick.next().await.unwrap(), Input::Assigned(given) if given == [(at(1), 0)]));
        quick.leave().await;

        // Now the slow one owns the partition again, and has heard neither that it lost it nor that it got it back.
        let done = slow.commit(vec![], vec![(at(1), 1)]).await;
        assert_eq!(matches!(done, Err(LogError::Aborted(_))), aborts, "{done:?}");
        assert_eq!(log.committed("g", "events").await.unwrap(), [], "nothing is committed from before the loss");
        assert!(matches!(slow.next().await.unwrap(), Input::Revoking(taken) if taken == [at(1)]));
        assert!(matches!(slow.next().await.unwrap(), Input::Lost(lost) if lost == [at(1)]));
        assert!(matches!(slow.next().await.unwrap(), Input::Assigned(given) if given == [(at(1), 0)]));
        let again = records(&mut slow).await;
        slow.commit(vec![], vec![(at(1), again[0].offset + 1)]).await.unwrap();
        assert_eq!(log.committed("g", "events").await.unwrap(), [(at(1), 1)]);
    }
}

#[tokio::test]
async fn bad_topics_are_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder, options());
    for (name, partitions, setting, message) in [
        ("a b", 1, ("retention.ms", "1"), "topic name \"a b\""),
        ("", 1, ("retention.ms", "1"), "topic name \"\""),
        ("t", 0, ("retention.ms", "1"), "topic t: 0 partitions; allowed are 1 to 1024"),
        ("t", 1, ("retention.ms", "soon"), "topic setting retention.ms: found \"soon\""),
    ] {
        let settings = vec![(setting.0.to_owned(), setting.1.to_owned())];
        let error = log.create_topic(TopicSpec { name: name.into(), partitions, settings }).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(log.topics(&["t".into()]).await.unwrap(), []);
}

#[tokio::test]
async fn while_the_writer_is_held_writes_wait() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder, options());
    let topic = topic(&log, "events", &[]).await;
    append(&log, &topic, "", Some("before")).await;
    let held = log.hold().await.unwrap();
    let (writing, to) = (log.clone(), topic.clone());
    let write = tokio::spawn(async move { append(&writing, &to, "", Some("meanwhile")).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(log.bounds(topic.clone()).await.unwrap().end, 1);
    assert!(held.release().unwrap() >= Duration::from_millis(200));
    write.await.unwrap();
    assert_eq!(left(&log, &topic).await, "0:-=before 1:-=meanwhile");
    // Who forgets to release it has dropped it, and that is the same.
    drop(log.hold().await.unwrap());
    append(&log, &topic, "", Some("after")).await;
}

#[tokio::test]
async fn a_log_that_was_restored_goes_on_at_other_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder, options());
    let (events, others) = (topic(&log, "events", &[]).await, topic(&log, "others", &[]).await);
    append(&log, &events, "", Some("old")).await;
    drop(log);
    leave_gap(&folder.path().join("log.db"), std::slice::from_ref(&events.topic), Timestamp(0)).unwrap();
    assert!(!folder.path().join("log.db-wal").exists());
    let log = open(&folder, options());
    append(&log, &events, "", Some("new")).await;
    append(&log, &others, "", Some("new")).await;
    assert_eq!(left(&log, &events).await, "0:-=old 1000000001:-=- 1000000002:-=new");
    assert_eq!(left(&log, &others).await, "0:-=new");
}
