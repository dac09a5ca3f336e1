//! What no reader of committed records ever sees: the deliveries of transactions that were aborted.

use std::{collections::HashSet, time::Duration};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tidings_core::domain::{Delivery, Record};

const WAIT: Duration = Duration::from_secs(10);
/// Records of one transaction are appended closer to each other than those of two that were cut off by two blows.
const APART_MS: i64 = 100;

/// Aborted transactions, and the deliveries in them.
pub async fn count(brokers: &str, topic: &str, partitions: u32, committed: &[(Record, Delivery)]) -> (usize, usize) {
    let committed: HashSet<(i32, i64)> = committed.iter().map(|(r, _)| (r.partition as i32, r.offset)).collect();
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let read = move || {
        let mut hidden = Vec::new();
        for partition in 0..partitions as i32 {
            let seen = times(&brokers, &topic, partition);
            hidden.extend(seen.into_iter().filter(|(at, _)| !committed.contains(&(partition, *at))).map(|(_, ms)| ms));
        }
        hidden.sort_unstable();
        let records = hidden.len();
        let transactions = hidden.chunk_by(|a, b| b - a < APART_MS).count();
        (transactions, records)
    };
    tokio::task::spawn_blocking(read).await.expect("the topic is read")
}

/// Offset and append time of every record, aborted ones included.
fn times(brokers: &str, topic: &str, partition: i32) -> Vec<(i64, i64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "kill-test.uncommitted")
        .set("isolation.level", "read_uncommitted")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut seen = Vec::new();
    loop {
        match consumer.poll(WAIT) {
            Some(Ok(message)) => seen.push((message.offset(), message.timestamp().to_millis().unwrap_or_default())),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return seen,
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => panic!("reading {topic}: no answer"),
        }
    }
}
