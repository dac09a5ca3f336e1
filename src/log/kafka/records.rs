//! Records between librdkafka's form and ours, and what librdkafka has to say about itself.

use std::{panic, sync::Arc};

use bytes::Bytes;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders},
    topic_partition_list::Offset,
};
use tidings_core::domain::{Output, Record, Timestamp, TopicPartition};

/// Headers of a record beyond these are left out: a record may carry ten thousand, and nothing here needs more.
const MAX_HEADERS: usize = 256;

/// Topic names, shared by all records of a reader.
#[derive(Default)]
pub(super) struct TopicNames(Vec<Arc<str>>);

/// A client that only forwards librdkafka's log lines.
pub(super) struct Quiet;

// === impl TopicNames ===

impl TopicNames {
    fn name(&mut self, topic: &str) -> Arc<str> {
        // A handful of topics: looking at each is cheaper than hashing.
        if let Some(known) = self.0.iter().find(|known| ***known == *topic) {
            return known.clone();
        }
        let name: Arc<str> = topic.into();
        self.0.push(name.clone());
        name
    }

    pub(super) fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        Record {
            topic: self.name(message.topic()),
            partition: message.partition() as u32,
            offset: message.offset(),
            timestamp: Timestamp(message.timestamp().to_millis().unwrap_or_default()),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: headers(message),
        }
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    (0..headers.count().min(MAX_HEADERS))
        .filter_map(|index| {
            // rdkafka 0.39 panics on a name that is not UTF-8. Anybody who may write to the topic could stop us with
            // such a record, so the header is left out instead.
            panic::catch_unwind(panic::AssertUnwindSafe(|| {
                let header = headers.try_get(index)?;
                Some((header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())))
            }))
            .ok()
            .flatten()
        })
        .collect()
}

/// Bytes that a record takes in memory and, uncompressed, in a request.
pub(super) fn record_bytes(record: &Record) -> usize {
    bytes(record.key.as_ref(), record.value.as_ref(), &record.headers)
}

pub(super) fn output_bytes(output: &Output) -> usize {
    bytes(output.key.as_ref(), output.value.as_ref(), &output.headers)
}

fn bytes(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[(String, Bytes)]) -> usize {
    /// Offsets, lengths, timestamp: what a record of format 2 adds at most.
    const FRAME: usize = 70;
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    FRAME + key.map_or(0, Bytes::len) + value.map_or(0, Bytes::len) + headers
}

/// Headers to be written; `None` if there are none. A name with a NUL cannot be said to librdkafka and is left out.
pub(super) fn owned_headers(headers: &[(String, Bytes)]) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let mut owned = OwnedHeaders::new_with_capacity(headers.len());
    for (name, value) in headers.iter().filter(|(name, _)| !name.contains('\0')) {
        owned = owned.insert(Header { key: name, value: Some(&value[..]) });
    }
    Some(owned)
}

/// librdkafka's list of partitions, without offsets.
pub(super) fn partition_list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for tp in partitions {
        list.add_partition(&tp.topic, tp.partition as i32);
    }
    list
}

/// librdkafka's list of partitions with offsets.
pub(super) fn offset_list<'a>(
    offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (tp, offset) in offsets {
        list.add_partition_offset(&tp.topic, tp.partition as i32, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Our names of librdkafka's partitions.
pub(super) fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements()
        .iter()
        .map(|e| TopicPartition { topic: e.topic().into(), partition: e.partition() as u32 })
        .collect()
}

/// A log line of librdkafka as one of ours.
pub(super) fn forward_log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        // A property of consumers given to a producer, or the other way round: `properties` are for both.
        _ if facility == "CONFWARN" => tracing::debug!(facility, "librdkafka: {text}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(facility, "librdkafka: {text}")
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "librdkafka: {text}"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "librdkafka: {text}"),
    }
}

/// An error of a client as a whole: mostly connections that come and go, which librdkafka mends by itself.
pub(super) fn forward_error(error: &KafkaError, reason: &str) {
    tracing::warn!("kafka: {error}: {reason}");
}

// === impl Quiet ===

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        forward_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        forward_error(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
