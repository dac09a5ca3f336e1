//! Reading one partition from an offset on, outside any group. A thread reads ahead; the task takes what is there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    topic_partition_list::Offset,
};
use tidings_core::domain::{Record, TopicPartition};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    admin::{Cluster, blocking},
    errors::{by_code, is_refusal, log_error},
    records::{Quiet, TopicNames, offset_list, record_bytes},
};
use crate::log::{LogError, Reader};

/// How far the thread reads ahead of the task.
const AHEAD_RECORDS: usize = 5_000;
const AHEAD_BYTES: usize = 4 << 20;
/// Upper bound of the thread's sleep: for a wake-up that was missed, and for transaction markers, which wake nobody.
const TICK: Duration = Duration::from_millis(10);

pub struct KafkaReader {
    shared: Arc<Shared>,
    position: i64,
    wake: SyncSender<()>,
}

struct Shared {
    slot: Mutex<Slot>,
    changed: Notify,
    stop: AtomicBool,
}

/// What has been read and not been taken yet.
struct Slot {
    records: Vec<Record>,
    bytes: usize,
    /// Next offset after all of that, holes and markers included.
    position: i64,
    failure: Option<LogError>,
}

/// The thread's side.
struct Reading {
    cluster: Arc<Cluster>,
    partition: TopicPartition,
    consumer: BaseConsumer<Quiet>,
    names: TopicNames,
    shared: Arc<Shared>,
}

// === impl KafkaReader ===

impl KafkaReader {
    pub(super) async fn open(
        cluster: Arc<Cluster>,
        partition: TopicPartition,
        from: i64,
    ) -> Result<KafkaReader, LogError> {
        blocking(move || KafkaReader::start(cluster, partition, from)).await
    }

    fn start(cluster: Arc<Cluster>, partition: TopicPartition, from: i64) -> Result<KafkaReader, LogError> {
        let bounds = cluster.bounds(&partition)?;
        if from > bounds.end {
            return Err(LogError::Refused(format!("{partition} ends at offset {}, before {from}", bounds.end)));
        }
        // What retention has removed is a hole like any other.
        let from = from.max(bounds.start);
        let doing = "making a consumer";
        let mut consumer: BaseConsumer<Quiet> =
            cluster.settings.reader().create_with_context(Quiet).map_err(|error| log_error(doing, error))?;
        let (wake, woken) = sync_channel(1);
        let waking = wake.clone();
        // A full channel means that the thread is about to look anyway.
        consumer.set_nonempty_callback(move || _ = waking.try_send(()));
        let slot = Slot { records: Vec::new(), bytes: 0, position: from, failure: None };
        let shared = Arc::new(Shared { slot: Mutex::new(slot), changed: Notify::new(), stop: AtomicBool::new(false) });
        let reading = Reading { cluster, partition, consumer, names: TopicNames::default(), shared: shared.clone() };
        reading.assign(from)?;
        thread::Builder::new()
            .name(format!("read {}", reading.partition))
            .spawn(move || reading.run(woken))
            .map_err(|error| LogError::Unavailable(format!("starting a thread: {error}")))?;
        Ok(KafkaReader { shared, position: from, wake })
    }

    /// Takes what is there; `None` if that is nothing, not even a step over a hole.
    fn take(&mut self) -> Option<Result<Vec<Record>, LogError>> {
        let mut slot = self.shared.slot();
        let stepped = slot.position != self.position;
        self.position = slot.position;
        if !slot.records.is_empty() {
            slot.bytes = 0;
            let records = std::mem::take(&mut slot.records);
            drop(slot);
            self.wake.try_send(()).ok();
            return Some(Ok(records));
        }
        match slot.failure.take() {
            Some(error) => Some(Err(error)),
            None => stepped.then(|| Ok(Vec::new())),
        }
    }
}

impl Reader for KafkaReader {
    async fn next(&mut self, wait: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(found) = self.take() {
                return found;
            }
            let shared = self.shared.clone();
            if timeout_at(deadline, shared.changed.notified()).await.is_err() {
                return self.take().unwrap_or(Ok(Vec::new()));
            }
        }
    }

    fn position(&self) -> i64 {
        self.position
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake.try_send(()).ok();
    }
}

// === impl Shared ===

impl Shared {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reading ===

impl Reading {
    fn assign(&self, from: i64) -> Result<(), LogError> {
        let list = offset_list([(&self.partition, from)]);
        list.and_then(|list| self.consumer.assign(&list)).map_err(|error| log_error("assigning a partition", error))
    }

    fn run(mut self, woken: Receiver<()>) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.read();
            // Disconnected cannot be: librdkafka's callback holds a sender as long as the consumer lives.
            woken.recv_timeout(TICK).ok();
        }
    }

    /// Reads what is there, as far as it fits.
    fn read(&mut self) {
        let (mut count, mut bytes) = {
            let slot = self.shared.slot();
            (slot.records.len(), slot.bytes)
        };
        let mut records = Vec::new();
        let mut failure = None;
        // An empty answer may also mean that an event was served, with records behind it: ask twice.
        let mut empty = 0;
        while empty < 2 && count < AHEAD_RECORDS && bytes < AHEAD_BYTES && failure.is_none() {
            match self.consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let record = self.names.record(&message);
                    empty = 0;
                    count += 1;
                    bytes += record_bytes(&record);
                    records.push(record);
                }
                Some(Err(error)) => failure = self.failure(error),
                None => empty += 1,
            }
        }
        self.publish(records, bytes, failure);
    }

    fn publish(&self, mut records: Vec<Record>, bytes: usize, failure: Option<LogError>) {
        let position = self.position();
        let mut slot = self.shared.slot();
        let news =
            !records.is_empty() || failure.is_some() || position.is_some_and(|position| position > slot.position);
        if slot.records.is_empty() {
            // Taken while we read: only what is new counts.
            slot.bytes = records.iter().map(record_bytes).sum();
            slot.records = records;
        } else {
            slot.records.append(&mut records);
            slot.bytes = bytes;
        }
        if let Some(position) = position {
            slot.position = slot.position.max(position);
        }
        slot.failure = failure.or(slot.failure.take());
        drop(slot);
        if news {
            self.shared.changed.notify_one();
        }
    }

    /// Next offset after all that has been polled; `None` before the first fetch has been answered.
    fn position(&self) -> Option<i64> {
        let list = self.consumer.position().ok()?;
        match list.elements().first()?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn failure(&self, error: KafkaError) -> Option<LogError> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => self.out_of_range().err(),
            // Of the group that librdkafka wants the name of: nobody joins it, so nobody needs a right to it.
            Some(Code::GroupAuthorizationFailed) => None,
            Some(code) if code == Code::AllBrokersDown || is_refusal(code) => Some(by_code("reading", code)),
            _ => {
                tracing::debug!(partition = %self.partition, "while reading: {error}");
                None
            }
        }
    }

    /// The offset to be read is not held: retention removed it while we were behind, or the topic is another one now.
    fn out_of_range(&self) -> Result<(), LogError> {
        let bounds = self.cluster.bounds(&self.partition)?;
        let position = self.shared.slot().position;
        if position > bounds.end {
            let (partition, end) = (&self.partition, bounds.end);
            return Err(LogError::Refused(format!(
                "{partition} ends at offset {end}, before {position}: it was remade"
            )));
        }
        tracing::warn!(partition = %self.partition, position, start = bounds.start, "records were removed before they were read");
        self.assign(bounds.start)?;
        self.shared.slot().position = bounds.start;
        Ok(())
    }
}
