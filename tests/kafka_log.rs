//! What only a real Kafka can show of the log: rebalances, fencing, transaction markers, other clients.
//! The promises that both logs share are in `tests/log_conformance.rs`.
#![cfg(feature = "kafka")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
};
use tidings::log::{
    Appender, BatchLimits, Group, Input, Log, LogError, Member, Outputs, Reader,
    kafka::{KafkaLog, KafkaMember},
};
use tidings_core::domain::{Output, Record, TopicPartition};

#[path = "support/kafka.rs"]
mod kafka;

/// No single wait of these tests takes longer than this on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

fn group(name: &str, topic: &Arc<str>, instance: &str) -> Group {
    let batch = BatchLimits { records: 100, bytes: 1 << 20, time: Duration::from_millis(50) };
    let (topics, outputs) = (vec![topic.clone()], Outputs::Transactional);
    Group { name: name.into(), topics, instance: instance.into(), outputs, batch }
}

fn output(topic: &Arc<str>, partition: Option<u32>, value: impl Into<String>) -> Output {
    let value: String = value.into();
    Output {
        topic: topic.clone(),
        partition,
        key: Some(value.clone().into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

fn tp(topic: &Arc<str>, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

async fn fill(log: &KafkaLog, topic: &Arc<str>, partitions: u32, values: std::ops::Range<u32>) {
    let outputs = values.map(|n| output(topic, Some(n % partitions), n.to_string())).collect();
    log.append(outputs).await.expect("appended");
}

async fn next(member: &mut KafkaMember) -> Input {
    tokio::time::timeout(PATIENCE, member.next()).await.expect("in time").expect("no error")
}

/// Goes on until the member has been assigned something.
async fn assigned(member: &mut KafkaMember) -> BTreeMap<u32, i64> {
    loop {
        if let Input::Assigned(partitions) = next(member).await {
            return partitions.into_iter().map(|(tp, offset)| (tp.partition, offset)).collect();
        }
    }
}

async fn records(member: &mut KafkaMember) -> Vec<Record> {
    loop {
        match next(member).await {
            Input::Records(records) => return records,
            Input::Assigned(_) => {}
            other => panic!("{other:?} instead of records"),
        }
    }
}

/// The next offsets after these records.
fn after(records: &[Record]) -> Vec<(TopicPartition, i64)> {
    let offsets: BTreeMap<_, _> = records.iter().map(|r| (r.topic_partition(), r.offset + 1)).collect();
    offsets.into_iter().collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text")
}

fn copies(records: &[Record], to: &Arc<str>, partitions: u32) -> Vec<Output> {
    records.iter().map(|r| output(to, Some(r.partition % partitions), text(r))).collect()
}

/// All committed records of a topic, up to the end it has now.
async fn committed_values(log: &KafkaLog, topic: &Arc<str>, partitions: u32) -> Vec<String> {
    committed_values_at(&kafka::brokers().expect("asked before"), log, topic, partitions).await
}

async fn committed_values_at(brokers: &str, log: &KafkaLog, topic: &Arc<str>, partitions: u32) -> Vec<String> {
    let mut values = Vec::new();
    for partition in 0..partitions {
        until_settled(brokers, log, topic, partition).await;
        let bounds = log.bounds(tp(topic, partition)).await.expect("bounds");
        let mut reader = log.reader(tp(topic, partition), bounds.start).await.expect("a reader");
        let give_up = Instant::now() + PATIENCE;
        while reader.position() < bounds.end {
            assert!(Instant::now() < give_up, "stuck at {} of {}", reader.position(), bounds.end);
            match reader.next(Duration::from_secs(1)).await {
                Ok(found) => values.extend(found.iter().map(text)),
                // A busy machine may lose sight of its broker for a moment; only the outcome is promised here.
                Err(LogError::Unavailable(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    values
}

/// Waits until no transaction is open: the broker answers a commit a moment before readers see it.
async fn until_settled(brokers: &str, log: &KafkaLog, topic: &Arc<str>, partition: u32) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("isolation.level", "read_uncommitted")
        .create()
        .expect("a consumer");
    let give_up = Instant::now() + PATIENCE;
    loop {
        let (_, end) = consumer.fetch_watermarks(topic, partition as i32, PATIENCE).expect("watermarks");
        let committed = log.bounds(tp(topic, partition)).await.expect("bounds").end;
        if committed == end {
            return;
        }
        assert!(Instant::now() < give_up, "partition {partition} ends at {end}, committed records at {committed}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many records a reader sees that does not ask for committed ones only.
fn uncommitted_count(topic: &str, partitions: u32) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka::brokers().expect("asked before"))
        .set("group.id", kafka::unique("uncommitted"))
        .set("isolation.level", "read_uncommitted")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions as i32 - 1);
    consumer.assign(&list).expect("assigned");
    let (mut count, mut ends) = (0, 0);
    while ends < partitions {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => count += usize::from(message.payload().is_some()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            other => panic!("{other:?}"),
        }
    }
    count
}

fn numbers(values: impl IntoIterator<Item = String>) -> Vec<u32> {
    let mut numbers: Vec<u32> = values.into_iter().map(|value| value.parse().expect("a number")).collect();
    numbers.sort();
    numbers
}

/// A commit that fails after some of its outputs have been written: the last one is for a partition that is not there.
fn poisoned(mut outputs: Vec<Output>, to: &Arc<str>) -> Vec<Output> {
    outputs.push(output(to, Some(99), "nowhere"));
    outputs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_an_aborted_commit_is_complete_and_has_no_doubles() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 3, &[]).await;
    let to = kafka::topic(&log, "to", 3, &[]).await;
    fill(&log, &from, 3, 0..1000).await;

    let mut member = log.join(group(&kafka::unique("g"), &from, "copy-1")).await.expect("joined");
    let (mut copied, mut aborted) = (0, 0);
    while copied < 1000 {
        let batch = records(&mut member).await;
        let outputs = copies(&batch, &to, 3);
        if copied >= 300 && aborted == 0 {
            aborted = batch.len();
            // The broker must have seen some of them, or there is nothing to hide: let them be sent before the last.
            let result = member.commit(poisoned(outputs, &to), after(&batch)).await;
            assert!(matches!(result, Err(LogError::Refused(_))), "{result:?}");
            continue;
        }
        copied += batch.len();
        member.commit(outputs, after(&batch)).await.expect("committed");
    }
    assert!(aborted > 0);
    member.leave().await;

    assert_eq!(numbers(committed_values(&log, &to, 3).await), (0..1000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_commit_the_same_records_come_again() {
    let Some(log) = kafka::log_with(&[("compression.type", "none")]) else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let to = kafka::topic(&log, "to", 1, &[]).await;
    let small = kafka::topic(&log, "small", 1, &[("max.message.bytes", "2000")]).await;
    fill(&log, &from, 2, 0..500).await;
    let mut member = log.join(group(&kafka::unique("g"), &from, "again-1")).await.expect("joined");

    let first = records(&mut member).await;
    member.commit(copies(&first, &to, 1), after(&first)).await.expect("committed");
    let second = records(&mut member).await;
    let third = records(&mut member).await;

    // Too large for its topic, which only the broker finds, when the others have been written.
    let mut outputs = copies(&third, &to, 1);
    outputs.push(output(&small, Some(0), "x".repeat(4000)));
    let result = member.commit(outputs, after(&third)).await;
    assert!(matches!(result, Err(LogError::Refused(_))), "{result:?}");
    assert!(uncommitted_count(&to, 1) > first.len(), "aborted outputs are in the log, hidden");

    // Neither was committed: both come again, each partition in order and without holes.
    let mut seen: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for record in &first {
        seen.entry(record.partition).or_default().push(record.offset);
    }
    while seen.values().map(Vec::len).sum::<usize>() < 500 {
        let batch = records(&mut member).await;
        match member.commit(copies(&batch, &to, 1), after(&batch)).await {
            Ok(()) => {}
            // librdkafka stumbles once over the sequence numbers of the refused record.
            Err(LogError::Aborted(_)) => continue,
            Err(error) => panic!("{error:?}"),
        }
        for record in &batch {
            seen.entry(record.partition).or_default().push(record.offset);
        }
    }
    for offsets in seen.values() {
        assert_eq!(*offsets, (0..250).collect::<Vec<i64>>());
    }
    assert!(!second.is_empty());
    assert_eq!(numbers(committed_values(&log, &to, 1).await), (0..500).collect::<Vec<_>>());
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_partitions_and_hand_over_without_loss_or_doubles() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 4, &[]).await;
    let to = kafka::topic(&log, "to", 4, &[]).await;
    let name = kafka::unique("g");
    let total = 6000;
    let producer = {
        let (log, from) = (log.clone(), from.clone());
        tokio::spawn(async move {
            for start in (0..total).step_by(100) {
                fill(&log, &from, 4, start..start + 100).await;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        })
    };

    /// Copies until nothing has come for a while; says which partitions it had, and how many it gave away.
    async fn copy(log: KafkaLog, group: Group, to: Arc<str>) -> (BTreeSet<u32>, usize) {
        let mut member = log.join(group).await.expect("joined");
        let (mut had, mut given) = (BTreeSet::new(), 0);
        while let Ok(input) = tokio::time::timeout(Duration::from_secs(6), member.next()).await {
            match input.expect("no error") {
                Input::Assigned(partitions) => had.extend(partitions.iter().map(|(tp, _)| tp.partition)),
                Input::Revoking(partitions) => {
                    // As a role that has work in flight: the group must wait for it.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    given += partitions.len();
                    member.release(&partitions).await.expect("released");
                }
                Input::Lost(partitions) => panic!("lost {partitions:?}"),
                Input::Records(batch) => {
                    let done = member.commit(copies(&batch, &to, 4), after(&batch)).await;
                    // A rebalance between taking and committing may refuse the commit; the records come again.
                    assert!(matches!(done, Ok(()) | Err(LogError::Aborted(_))), "{done:?}");
                }
            }
        }
        member.leave().await;
        (had, given)
    }

    let first = tokio::spawn(copy(log.clone(), group(&name, &from, "pair-1"), to.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = tokio::spawn(copy(log.clone(), group(&name, &from, "pair-2"), to.clone()));
    producer.await.expect("produced");
    let ((had_1, given_1), (had_2, _)) = (first.await.expect("first"), second.await.expect("second"));

    assert_eq!(had_1, (0..4).collect(), "the first had all before the second came");
    assert_eq!((given_1, had_2.len()), (2, 2), "and gave away half");
    assert_eq!(numbers(committed_values(&log, &to, 4).await), (0..total).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_only_after_its_owner_released_it() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let to = kafka::topic(&log, "to", 1, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 2, 0..20).await;

    let mut first = log.join(group(&name, &from, "owner-1")).await.expect("joined");
    assert_eq!(assigned(&mut first).await.len(), 2);
    let batch = records(&mut first).await;

    let (log_2, group_2) = (log.clone(), group(&name, &from, "owner-2"));
    let mut second = log_2.join(group_2).await.expect("joined");
    let gone = loop {
        match next(&mut first).await {
            Input::Revoking(gone) => break gone,
            Input::Records(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(gone.len(), 1);
    // The heir waits, whatever the group does meanwhile.
    let heir = tokio::time::timeout(Duration::from_secs(5), second.next()).await;
    assert!(heir.is_err(), "{heir:?}");

    // What was taken before can still be committed, in full.
    first.commit(copies(&batch, &to, 1), after(&batch)).await.expect("committed before release");
    first.release(&gone).await.expect("released");
    let taken = assigned(&mut second).await;
    let expected = after(&batch).into_iter().find(|(tp, _)| *tp == gone[0]).map_or(0, |(_, offset)| offset);
    assert_eq!(taken, BTreeMap::from([(gone[0].partition, expected)]), "it goes on where the first committed");

    // The first is no owner any more: what it says about the partition is refused, and nothing of it is visible.
    let result = first.commit(vec![output(&to, Some(0), "77777")], vec![(gone[0].clone(), 5)]).await;
    assert!(matches!(result, Err(LogError::Aborted(_))), "{result:?}");
    assert!(!committed_values(&log, &to, 1).await.contains(&"77777".to_string()));
    first.leave().await;
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced_by_its_successor() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let to = kafka::topic(&log, "to", 1, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 2, 0..10).await;
    let mut zombie = log.join(group(&name, &from, "same-name")).await.expect("joined");
    let batch = records(&mut zombie).await;

    let mut successor = log.join(group(&name, &from, "same-name")).await.expect("joined");
    let inherited = assigned(&mut successor).await;
    assert_eq!(inherited.len(), 2);

    let late = zombie.commit(copies(&batch, &to, 1), after(&batch)).await;
    assert!(matches!(late, Err(LogError::Fenced(_))), "{late:?}");
    let after_that = tokio::time::timeout(PATIENCE, zombie.next()).await.expect("in time");
    assert!(matches!(after_that, Err(LogError::Fenced(_))), "{after_that:?}");

    let mut got = Vec::new();
    while got.len() < 10 {
        let batch = records(&mut successor).await;
        successor.commit(copies(&batch, &to, 1), after(&batch)).await.expect("committed");
        got.extend(batch.iter().map(text));
    }
    assert_eq!(numbers(committed_values(&log, &to, 1).await), (0..10).collect::<Vec<_>>());
    zombie.leave().await;
    successor.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_zombie_learns_by_itself_that_it_is_fenced() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 1, &[]).await;
    let name = kafka::unique("g");
    let mut config = group(&name, &from, "same-name");
    config.outputs = Outputs::AtLeastOnce;
    let mut zombie = log.join(config.clone()).await.expect("joined");
    assigned(&mut zombie).await;
    let mut successor = log.join(config).await.expect("joined");
    assigned(&mut successor).await;
    // It does nothing but wait, and has no producer that could be fenced.
    let told = tokio::time::timeout(PATIENCE, zombie.next()).await.expect("in time");
    assert!(matches!(told, Err(LogError::Fenced(_))), "{told:?}");
    successor.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_within_the_session_keeps_the_assignment() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 4, &[]).await;
    let name = kafka::unique("g");
    let mut first = log.join(group(&name, &from, "static-1")).await.expect("joined");
    assigned(&mut first).await;
    let mut second = log.join(group(&name, &from, "static-2")).await.expect("joined");
    let Input::Revoking(gone) = next(&mut first).await else { panic!("half is to go") };
    first.release(&gone).await.expect("released");
    let has = assigned(&mut second).await;

    let started = Instant::now();
    second.leave().await;
    let left = started.elapsed();
    assert!(left < Duration::from_secs(5), "leaving took {left:?}");
    let mut second = log.join(group(&name, &from, "static-2")).await.expect("joined again");
    assert_eq!(assigned(&mut second).await.keys().collect::<Vec<_>>(), has.keys().collect::<Vec<_>>());
    // The other has not even noticed.
    let noticed = tokio::time::timeout(Duration::from_secs(2), first.next()).await;
    assert!(noticed.is_err(), "{noticed:?}");
    first.leave().await;
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_not_polled_loses_its_partitions_and_cannot_commit_for_them() {
    let properties = [("max.poll.interval.ms", "3000"), ("session.timeout.ms", "3000")];
    let Some(log) = kafka::log_with(&properties) else { return };
    let from = kafka::topic(&log, "from", 1, &[]).await;
    let to = kafka::topic(&log, "to", 1, &[]).await;
    fill(&log, &from, 1, 0..30).await;
    let mut config = group(&kafka::unique("g"), &from, "slow-1");
    config.batch.records = 5;
    let mut member = log.join(config).await.expect("joined");
    let stale = records(&mut member).await;

    // A full batch waits, nobody takes it, and so nobody polls.
    tokio::time::sleep(Duration::from_secs(6)).await;
    member.next().await.expect("the batch that was waiting");
    // Lost and assigned again, perhaps already: as long as the role has not been told, its records are stale.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let late = member.commit(copies(&stale, &to, 1), after(&stale)).await;
    assert!(matches!(late, Err(LogError::Aborted(_))), "{late:?}");

    let Input::Lost(lost) = next(&mut member).await else { panic!("lost") };
    assert_eq!(lost.len(), 1);
    let (mut done, give_up) = (0, Instant::now() + PATIENCE);
    while done < 30 {
        assert!(Instant::now() < give_up, "{done} of 30");
        match next(&mut member).await {
            Input::Assigned(partitions) => assert_eq!(partitions, [(tp(&from, 0), done)]),
            Input::Records(batch) => match member.commit(copies(&batch, &to, 1), after(&batch)).await {
                Ok(()) => done += batch.len() as i64,
                // It was slow while it slept, too, and loses them once more.
                Err(error) => assert!(matches!(error, LogError::Aborted(_)), "{error:?}"),
            },
            Input::Lost(_) => {}
            Input::Revoking(gone) => panic!("{gone:?} wanted by whom?"),
        }
    }
    assert_eq!(numbers(committed_values(&log, &to, 1).await), (0..30).collect::<Vec<_>>());
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_alone_are_committed_before_a_partition_is_released() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 2, 0..40).await;
    let mut config = group(&name, &from, "send-1");
    config.outputs = Outputs::AtLeastOnce;
    let mut first = log.join(config.clone()).await.expect("joined");
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.extend(records(&mut first).await);
    }
    let heir = Group { instance: "send-2".into(), ..config.clone() };
    let mut second = log.join(heir).await.expect("joined");
    let Input::Revoking(gone) = next(&mut first).await else { panic!("one is to go") };
    first.commit(vec![], after(&seen)).await.expect("sent");
    first.release(&gone).await.expect("released");
    assert_eq!(assigned(&mut second).await, BTreeMap::from([(gone[0].partition, 20)]));
    first.leave().await;
    second.leave().await;
    let offsets: Vec<i64> = log.committed(&name, &from).await.expect("asked").iter().map(|(_, o)| *o).collect();
    assert_eq!(offsets, [20, 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_at_least_once_are_there_before_their_offsets() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 1, &[]).await;
    let to = kafka::topic(&log, "to", 1, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 1, 0..10).await;
    let mut config = group(&name, &from, "alo-1");
    config.outputs = Outputs::AtLeastOnce;
    let mut member = log.join(config).await.expect("joined");
    let batch = records(&mut member).await;
    let failed = member.commit(poisoned(copies(&batch, &to, 1), &to), after(&batch)).await;
    assert!(matches!(failed, Err(LogError::Refused(_))), "{failed:?}");
    assert_eq!(log.committed(&name, &from).await.expect("asked"), []);
    let mut again = Vec::new();
    while again.len() < 10 {
        let batch = records(&mut member).await;
        member.commit(copies(&batch, &to, 1), after(&batch)).await.expect("committed");
        again.extend(batch);
    }
    assert_eq!(log.committed(&name, &from).await.expect("asked"), [(tp(&from, 0), 10)]);
    member.leave().await;
    // Twice, as the name says; but not once too few.
    let values: BTreeSet<String> = committed_values(&log, &to, 1).await.into_iter().collect();
    assert_eq!(numbers(values), (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_member_gets_news_but_no_records() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 2, 0..100).await;
    let mut member = log.join(group(&name, &from, "pause-1")).await.expect("joined");
    member.pause().await.expect("paused before anything is assigned");
    assert_eq!(assigned(&mut member).await.len(), 2);
    let quiet = tokio::time::timeout(Duration::from_secs(2), member.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    member.resume().await.expect("resumed");
    let first = records(&mut member).await;
    member.pause().await.expect("paused in the middle");
    fill(&log, &from, 2, 100..200).await;
    let mut other = log.join(group(&name, &from, "pause-2")).await.expect("joined");
    let Input::Revoking(gone) = next(&mut member).await else { panic!("rebalances are served while paused") };
    member.resume().await.expect("resumed");
    member.release(&gone).await.expect("released");

    // Nothing was lost or doubled by it.
    let kept = 1 - gone[0].partition;
    let mut offsets: Vec<i64> = first.iter().filter(|r| r.partition == kept).map(|r| r.offset).collect();
    while offsets.len() < 100 {
        offsets.extend(records(&mut member).await.iter().filter(|r| r.partition == kept).map(|r| r.offset));
    }
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    assigned(&mut other).await;
    member.leave().await;
    other.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_goes_while_paused_and_comes_back_later_is_read() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let name = kafka::unique("g");
    let mut member = log.join(group(&name, &from, "comeback-1")).await.expect("joined");
    assert_eq!(assigned(&mut member).await.len(), 2);
    member.pause().await.expect("paused");
    let mut other = log.join(group(&name, &from, "comeback-2")).await.expect("joined");
    let Input::Revoking(gone) = next(&mut member).await else { panic!("one is for the other member") };
    member.release(&gone).await.expect("released");
    member.resume().await.expect("resumed");
    assigned(&mut other).await;
    fill(&log, &from, 2, 0..100).await;

    // A static member that leaves is missed when its session runs out.
    other.leave().await;
    let mut found = BTreeSet::new();
    while found.len() < 100 {
        match next(&mut member).await {
            Input::Records(records) => found.extend(records.iter().map(text)),
            Input::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_an_owner_that_died_while_handing_over_find_one() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let name = kafka::unique("g");
    fill(&log, &from, 2, 0..100).await;
    let mut first = log.join(group(&name, &from, "handover-1")).await.expect("joined");
    assert_eq!(assigned(&mut first).await.len(), 2);
    let mut heir = log.join(group(&name, &from, "handover-2")).await.expect("joined");
    loop {
        match next(&mut first).await {
            Input::Revoking(gone) => break assert_eq!(gone.len(), 1),
            Input::Records(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // It never asks for the round that would give the partition to its heir, and comes back before it is missed.
    first.leave().await;
    let mut again = log.join(group(&name, &from, "handover-1")).await.expect("joined");

    let mut found = BTreeSet::new();
    let began = Instant::now();
    while found.len() < 100 {
        assert!(began.elapsed() < PATIENCE, "{} of 100 after {:?}", found.len(), began.elapsed());
        let input = tokio::select! { input = next(&mut heir) => input, input = next(&mut again) => input };
        match input {
            Input::Records(records) => found.extend(records.iter().map(text)),
            Input::Assigned(_) => {}
            // Whoever got more than its share on the way gives it back.
            Input::Revoking(gone) => {
                heir.release(&gone).await.expect("released");
                again.release(&gone).await.expect("released");
            }
            other => panic!("{other:?}"),
        }
    }
    again.leave().await;
    heir.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_wait_loses_nothing() {
    let Some(log) = kafka::log() else { return };
    let from = kafka::topic(&log, "from", 1, &[]).await;
    fill(&log, &from, 1, 0..2000).await;
    let mut member = log.join(group(&kafka::unique("g"), &from, "drop-1")).await.expect("joined");
    let mut offsets = Vec::new();
    let give_up = Instant::now() + PATIENCE;
    while offsets.len() < 2000 {
        assert!(Instant::now() < give_up, "{} of 2000", offsets.len());
        if let Ok(Ok(Input::Records(batch))) = tokio::time::timeout(Duration::from_micros(300), member.next()).await {
            offsets.extend(batch.iter().map(|r| r.offset));
        }
    }
    assert_eq!(offsets, (0..2000).collect::<Vec<_>>());
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reaches_the_end_although_the_last_offsets_are_markers() {
    let Some(log) = kafka::log() else { return };
    let topic = kafka::topic(&log, "edits", 1, &[]).await;
    let mut appender = log.appender(&kafka::unique("a")).await.expect("an appender");
    for n in 0..5 {
        appender
            .append((0..3).map(|i| output(&topic, Some(0), format!("{}", n * 3 + i))).collect())
            .await
            .expect("appended");
    }
    let bounds = log.bounds(tp(&topic, 0)).await.expect("bounds");
    assert_eq!((bounds.start, bounds.end), (0, 20), "15 records and 5 markers");

    let mut reader = log.reader(tp(&topic, 0), 0).await.expect("a reader");
    let (mut offsets, started) = (Vec::new(), Instant::now());
    while reader.position() < bounds.end {
        assert!(started.elapsed() < PATIENCE);
        offsets.extend(reader.next(Duration::from_secs(10)).await.expect("records").iter().map(|r| r.offset));
    }
    assert!(started.elapsed() < Duration::from_secs(9), "without waiting for more: {:?}", started.elapsed());
    assert_eq!(offsets, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18]);

    // It goes on from there, and an empty wait is no error.
    assert_eq!(reader.next(Duration::from_millis(50)).await.expect("nothing"), []);
    appender.append(vec![output(&topic, Some(0), "15")]).await.expect("appended");
    let more = reader.next(Duration::from_secs(10)).await.expect("records");
    assert_eq!(more.iter().map(|r| r.offset).collect::<Vec<_>>(), [20]);

    // One that starts at the end gets what comes later.
    let mut late = log.reader(tp(&topic, 0), 22).await.expect("a reader");
    assert_eq!(late.position(), 22);
    appender.append(vec![output(&topic, Some(0), "16")]).await.expect("appended");
    assert_eq!(late.next(Duration::from_secs(10)).await.expect("records")[0].offset, 22);
    let beyond = log.reader(tp(&topic, 0), 1000).await.err();
    assert!(matches!(beyond, Some(LogError::Refused(_))), "{beyond:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appender_fences_the_one_before() {
    let Some(log) = kafka::log() else { return };
    let topic = kafka::topic(&log, "edits", 1, &[]).await;
    let name = kafka::unique("a");
    let mut old = log.appender(&name).await.expect("an appender");
    old.append(vec![output(&topic, None, "1")]).await.expect("appended");
    let failed = old.append(poisoned(vec![output(&topic, None, "2")], &topic)).await;
    assert!(matches!(failed, Err(LogError::Refused(_))), "{failed:?}");
    old.append(vec![output(&topic, None, "3")]).await.expect("it goes on after an abort");

    let mut new = log.appender(&name).await.expect("an appender");
    let late = old.append(vec![output(&topic, None, "4")]).await;
    assert!(matches!(late, Err(LogError::Fenced(_))), "{late:?}");
    new.append(vec![output(&topic, None, "5")]).await.expect("appended");
    assert_eq!(committed_values(&log, &topic, 1).await, ["1", "3", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_folds_to_the_last_record_of_each_key() {
    let Some(log) = kafka::log() else { return };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "100"),
    ];
    let topic = kafka::topic(&log, "directory", 1, &settings).await;
    let mut appender = log.appender(&kafka::unique("a")).await.expect("an appender");
    let edit = |key: u32, value: Option<u32>| Output {
        topic: topic.clone(),
        partition: Some(0),
        key: Some(format!("k{key}").into()),
        value: value.map(|value| value.to_string().into()),
        headers: vec![],
    };
    let mut expected = BTreeMap::new();
    for round in 0..20u32 {
        let edits: Vec<Output> = (0..10).map(|key| edit(key, ((key + round) % 7 != 0).then_some(round))).collect();
        for edit in &edits {
            match &edit.value {
                Some(value) => drop(expected.insert(edit.key.clone(), value.clone())),
                None => drop(expected.remove(&edit.key)),
            }
        }
        appender.append(edits).await.expect("appended");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }

    async fn fold(log: &KafkaLog, topic: &Arc<str>) -> (BTreeMap<Option<Bytes>, Bytes>, usize) {
        let bounds = log.bounds(tp(topic, 0)).await.expect("bounds");
        let mut reader = log.reader(tp(topic, 0), 0).await.expect("a reader");
        let (mut state, mut read) = (BTreeMap::new(), 0);
        while reader.position() < bounds.end {
            for record in reader.next(Duration::from_secs(1)).await.expect("records") {
                read += 1;
                match record.value {
                    Some(value) => drop(state.insert(record.key, value)),
                    None => drop(state.remove(&record.key)),
                }
            }
        }
        (state, read)
    }
    let give_up = Instant::now() + PATIENCE;
    loop {
        let (state, read) = fold(&log, &topic).await;
        assert_eq!(state, expected);
        if read < 150 {
            return;
        }
        assert!(Instant::now() < give_up, "not compacted: {read} records of 200");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_the_console_producer_are_read() {
    let Some(log) = kafka::log() else { return };
    let topic = kafka::topic(&log, "console", 1, &[]).await;
    kafka::console_producer(
        &topic,
        &["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"],
        "ce_id:42,ce_team:acme\tkey-1\t{\"a\":1}\n",
    );

    let mut member = log.join(group(&kafka::unique("g"), &topic, "console-1")).await.expect("joined");
    let batch = records(&mut member).await;
    let [record] = &batch[..] else { panic!("{batch:?}") };
    assert_eq!((record.key.as_deref(), text(record).as_str()), (Some(&b"key-1"[..]), "{\"a\":1}"));
    assert_eq!((record.header("ce_id"), record.header("ce_team")), (Some("42"), Some("acme")));
    let age = kafka::now_ms() - record.timestamp.0;
    assert!((0..60_000).contains(&age), "{age}");
    member.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_record_comes_back_as_it_was_written() {
    let Some(log) = kafka::log() else { return };
    let topic = kafka::topic(&log, "whole", 3, &[]).await;
    let headers = vec![("a".to_string(), Bytes::from_static(b"1")), ("b".into(), Bytes::new())];
    let whole = Output {
        topic: topic.clone(),
        partition: Some(2),
        key: Some(Bytes::from_static(b"\x00\xff")),
        value: Some(Bytes::new()),
        headers: headers.clone(),
    };
    let tombstone = Output { value: None, headers: vec![], ..whole.clone() };
    let keyless = Output { key: None, ..tombstone.clone() };
    log.append(vec![whole.clone(), tombstone, keyless]).await.expect("appended");
    let mut reader = log.reader(tp(&topic, 2), 0).await.expect("a reader");
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(reader.next(Duration::from_secs(10)).await.expect("records"));
    }
    assert_eq!(found[0].headers, headers);
    let parts: Vec<_> = found.iter().map(|r| (r.key.clone(), r.value.clone())).collect();
    assert_eq!(parts, [(whole.key.clone(), whole.value), (whole.key, None), (None, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_what_is_wrong() {
    let Some(log) = kafka::log() else { return };
    let here = kafka::topic(&log, "here", 2, &[("retention.ms", "3600000")]).await;
    let absent: Arc<str> = kafka::unique("absent").into();

    let result = log.append(vec![output(&absent, None, "1")]).await;
    assert!(matches!(&result, Err(LogError::UnknownTopic(topic)) if **topic == *absent), "{result:?}");
    let result = log.join(group("g", &absent, "i")).await.err();
    assert!(matches!(result, Some(LogError::UnknownTopic(_))), "{result:?}");
    let result = log.bounds(tp(&absent, 0)).await;
    assert!(matches!(result, Err(LogError::UnknownTopic(_))), "{result:?}");
    let result = log.bounds(tp(&here, 2)).await;
    assert!(matches!(result, Err(LogError::Refused(_))), "{result:?}");
    let result = log.append(vec![output(&here, None, "x".repeat(2 << 20))]).await;
    assert!(matches!(result, Err(LogError::TooLarge { max: 2_097_152, .. })), "{result:?}");

    let found = log.topics(&[here.clone(), absent.clone()]).await.expect("asked");
    assert_eq!(found.iter().map(|t| (&t.name, t.partitions)).collect::<Vec<_>>(), [(&here, 2)]);
    assert!(found[0].settings.contains(&("retention.ms".into(), "3600000".into())), "{:?}", found[0].settings);
    let spec = tidings::log::TopicSpec { name: here.clone(), partitions: 5, settings: vec![] };
    assert!(!log.create_topic(spec).await.expect("asked"), "it is there already");
    assert_eq!(log.topics(&[here]).await.expect("asked")[0].partitions, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_is_unavailable() {
    if kafka::brokers().is_none() {
        return;
    }
    // Port 9 of loopback: nobody listens.
    let log = KafkaLog::new(tidings::log::kafka::KafkaSettings::new("127.0.0.1:9")).expect("settings");
    let result = log.bounds(tp(&"t".into(), 0)).await;
    assert!(matches!(result, Err(LogError::Unavailable(_))), "{result:?}");
}

/// A broker of this test's own, to be mistreated.
struct OwnBroker {
    port: String,
}

impl OwnBroker {
    /// `place` keeps those of one test program apart.
    fn start(place: u32) -> OwnBroker {
        let port = (20_000 + std::process::id() % 2_500 * 2 + place).to_string();
        let started = OwnBroker::script("start", &port).output().expect("the script runs");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        OwnBroker { port }
    }

    fn script(command: &str, port: &str) -> Command {
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka-for-tests"));
        script.args([command, port]);
        script
    }

    fn control(&self, command: &str) {
        assert!(OwnBroker::script(command, &self.port).status().expect("the script runs").success(), "{command}");
    }

    fn signal(&self, signal: &str) {
        let pid_file = format!("{}/target/test-servers/kafka-{}/1/pid", env!("CARGO_MANIFEST_DIR"), self.port);
        let pid = std::fs::read_to_string(pid_file).expect("a pid");
        assert!(Command::new("kill").args([signal, pid.trim()]).status().expect("kill runs").success());
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.signal("-CONT");
        OwnBroker::script("stop", &self.port).status().expect("the script runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stalls_in_the_middle_of_commits_costs_neither_loss_nor_doubles() {
    if kafka::brokers().is_none() {
        return;
    }
    let broker = OwnBroker::start(0);
    let brokers = format!("127.0.0.1:{}", broker.port);
    let mut settings = tidings::log::kafka::KafkaSettings::new(&brokers);
    for (key, value) in [("transaction.timeout.ms", "4000"), ("message.timeout.ms", "3000")] {
        settings.properties.insert(key.into(), value.into());
    }
    let log = KafkaLog::new(settings).expect("settings");
    let from = kafka::topic(&log, "from", 2, &[]).await;
    let to = kafka::topic(&log, "to", 2, &[]).await;
    fill(&log, &from, 2, 0..4000).await;

    let mut config = group("g", &from, "stalled-1");
    config.batch.records = 20;
    let mut member = log.join(config.clone()).await.expect("joined");
    let stalls = async {
        for seconds in [5, 1, 6] {
            tokio::time::sleep(Duration::from_millis(400)).await;
            broker.signal("-STOP");
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            broker.signal("-CONT");
        }
    };
    let (copied_log, copied_to) = (log.clone(), to.clone());
    let copy = tokio::spawn(async move {
        let (mut failed, mut restarts) = (0, 0);
        // Done when nothing has come for longer than any stall.
        while let Ok(input) = tokio::time::timeout(Duration::from_secs(12), member.next()).await {
            let done = match input {
                Ok(Input::Records(batch)) => member.commit(copies(&batch, &copied_to, 2), after(&batch)).await,
                Ok(Input::Revoking(gone)) => panic!("{gone:?} wanted by whom?"),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {}
                Err(LogError::Aborted(_) | LogError::Unavailable(_)) => failed += 1,
                // The broker has aborted a transaction that was open for too long: for librdkafka that is fencing,
                // and for a process the reason to be started anew.
                Err(LogError::Fenced(_)) => {
                    restarts += 1;
                    drop(member);
                    member = copied_log.join(config.clone()).await.expect("joined again");
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        (failed, restarts)
    });
    stalls.await;
    let (failed, restarts) = copy.await.expect("copied");
    println!("{failed} commits failed, {restarts} times fenced");
    assert!(failed + restarts > 0, "the stalls were felt");
    assert_eq!(numbers(committed_values_at(&brokers, &log, &to, 2).await), (0..4000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_without_a_transaction_arrives_again_after_a_broker_was_away() {
    if kafka::brokers().is_none() {
        return;
    }
    // Longer than a record is waited for: librdkafka gives up what it has sent, and that is where it may stop for good.
    const AWAY: Duration = Duration::from_secs(20);
    const APPENDERS: u32 = 8;
    let outages = std::env::var("TIDINGS_TEST_OUTAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(1);
    let broker = OwnBroker::start(1);
    let brokers = format!("127.0.0.1:{}", broker.port);
    let log = KafkaLog::new(tidings::log::kafka::KafkaSettings::new(&brokers)).expect("settings");
    let to = kafka::topic(&log, "to", 6, &[]).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|appender| {
            let (log, to, stop) = (log.clone(), to.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut written, mut failed) = (BTreeSet::new(), 0);
                for number in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                    let value = appender * 10_000_000 + number;
                    match log.append(vec![output(&to, None, value.to_string())]).await {
                        Ok(()) => drop(written.insert(value)),
                        Err(LogError::Unavailable(_)) => failed += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                (written, failed)
            })
        })
        .collect();
    for outage in 0..outages {
        tokio::time::sleep(Duration::from_secs(2)).await;
        broker.control("halt");
        tokio::time::sleep(AWAY).await;
        broker.control("resume");
        let back = Instant::now();
        let probe = async { while log.append(vec![output(&to, None, "0")]).await.is_err() {} };
        tokio::time::timeout(PATIENCE, probe).await.expect("what is appended arrives again");
        println!("outage {outage}: appended again after {:?}", back.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut written, mut failed) = (BTreeSet::new(), 0);
    for appender in appenders {
        let (its, failures) = tokio::time::timeout(PATIENCE, appender).await.expect("in time").expect("no panic");
        written.extend(its);
        failed += failures;
    }
    println!("{} appended, {failed} appends failed", written.len());
    assert!(failed > 0, "the broker's absence was felt");
    let there: BTreeSet<u32> = numbers(committed_values_at(&brokers, &log, &to, 6).await).into_iter().collect();
    assert!(written.is_subset(&there), "what was acknowledged is there");
}
