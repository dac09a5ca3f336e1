//! Writing with transactions, for members and appenders; and what is told of a record that was written, also [without](super::plain).
//!
//! Two flaws of rdkafka 0.39 shape this file. `commit_transaction` flushes first, and that sleeps in steps of 100 ms
//! while a record is unacknowledged: so everything is [drained](Transactional::try_commit) before it is called. And a
//! `BaseProducer` that nobody polls cannot abort: so every producer is a `ThreadedProducer`, which polls itself.
//!
//! librdkafka speaks the transaction protocol without KIP-890: when the answer to "commit" or "abort" does not
//! arrive, it may still be carried out during a *later* transaction of the same producer. Such a producer must never
//! be used again ([`Failure::Replace`]); one with the same id, newly initialised, is safe from it. Nor must one be whose call never came
//! back, which [`super::caller`] sees to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tidings_core::domain::{Output, TopicPartition};

use super::{
    caller::Caller,
    errors::{by_code, is_fenced, is_refusal, log_error},
    records::{forward_error, forward_log, owned_headers},
    settings::{KafkaSettings, REQUEST_TIMEOUT},
};
use crate::{
    crash::{self, Point},
    log::LogError,
};

/// How long to wait for room in librdkafka's queue before looking again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);
/// Between looks at what is still in flight: far below the time of a commit, far above a busy loop.
const DRAIN_PAUSE: Duration = Duration::from_micros(50);
/// How much later than its time limit a transactional call may come back.
const CALL_SLACK: Duration = Duration::from_secs(2);
/// Between tries of a transactional call that librdkafka calls retriable.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A producer with a `transactional.id`, initialised: whoever had the id before is fenced, its open transaction settled.
pub(super) struct Transactional {
    /// For the one call that may never come back. The others keep their time, and changes of threads are felt where transactions are
    /// small (row c of `docs/BENCHMARKS.md`). Goes first when this is dropped, so that the client is gone afterwards.
    calls: Caller<ThreadedProducer<Reports>>,
    producer: Arc<ThreadedProducer<Reports>>,
    /// Bounds one transaction. The broker aborts what is open for longer.
    timeout: Duration,
}

/// Why a transaction did not commit, by what must be done now.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is aborted, nothing of it is visible; the producer stays good.
    Aborted(LogError),
    /// Nobody knows whether it is committed. The producer must be replaced by a new one with the same id, whose
    /// initialisation settles it; committed offsets then tell.
    Replace(String),
    /// It is not committed, and trying again is of no use: fenced, or forbidden.
    Final(LogError),
}

/// Counts the delivery reports of one batch.
pub(super) struct Batch {
    state: Mutex<BatchState>,
    done: Condvar,
}

struct BatchState {
    open: usize,
    /// The first report that was an error, with its topic.
    failure: Option<(String, Code)>,
    /// The last offset written of each partition, if anybody wants to know.
    places: Option<BTreeMap<(String, i32), i64>>,
}

/// Hands delivery reports to their batch.
pub(super) struct Reports;

// === impl Transactional ===

impl Transactional {
    /// Blocks until the broker has settled the last transaction under this id.
    pub(super) fn new(settings: &KafkaSettings, id: &str) -> Result<Transactional, LogError> {
        let producer = Arc::new(create(&settings.transactional(id))?);
        let calls = Caller::new(producer.clone())
            .map_err(|error| LogError::Unavailable(format!("starting a thread: {error}")))?;
        let doing = format!("initialising transactions of {id}");
        let deadline = Instant::now() + settings.transaction_timeout() + REQUEST_TIMEOUT;
        loop {
            match producer.init_transactions(REQUEST_TIMEOUT) {
                Ok(()) => return Ok(Transactional { calls, producer, timeout: settings.transaction_timeout() }),
                // A predecessor's transaction may be on its way out. Calling again goes on waiting.
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                    thread::sleep(RETRY_PAUSE);
                }
                Err(error) => return Err(log_error(&doing, error)),
            }
        }
    }

    /// Commits outputs, and with them a member's offsets.
    ///
    /// The broker answers when the outcome is certain. Readers of committed records see the outputs a moment later, when
    /// the end of the transaction has been written to every partition.
    pub(super) fn commit(
        &self,
        outputs: &[Output],
        offsets: Option<(TopicPartitionList, ConsumerGroupMetadata)>,
    ) -> Result<(), Failure> {
        self.finish(&Batch::of(outputs), outputs, offsets)
    }

    /// Commits outputs and says where the last of each partition is.
    pub(super) fn commit_where(&self, outputs: &[Output]) -> Result<Vec<(TopicPartition, i64)>, Failure> {
        let batch = Batch::with_places(outputs);
        self.finish(&batch, outputs, None).map(|()| batch.places())
    }

    fn finish(
        &self,
        batch: &Arc<Batch>,
        outputs: &[Output],
        offsets: Option<(TopicPartitionList, ConsumerGroupMetadata)>,
    ) -> Result<(), Failure> {
        let error = match self.try_commit(batch, outputs, offsets) {
            Err(Failure::Aborted(error)) => error,
            done => return done,
        };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        match repeat("aborting a transaction", deadline, |left| Some(self.producer.abort_transaction(left))) {
            // A refused record makes every later call fail: the record's own reason says more than the call's.
            Ok(()) => Err(Failure::Aborted(batch.failure().unwrap_or(error))),
            Err(Failure::Final(error)) => Err(Failure::Final(error)),
            Err(worse) => Err(Failure::Replace(format!("{error}; then {worse:?}"))),
        }
    }

    /// The same, but [`Failure::Aborted`] means that it must be aborted yet.
    fn try_commit(
        &self,
        batch: &Arc<Batch>,
        outputs: &[Output],
        offsets: Option<(TopicPartitionList, ConsumerGroupMetadata)>,
    ) -> Result<(), Failure> {
        // Some time is kept for aborting before the broker does it by itself.
        let deadline = Instant::now() + self.timeout.mul_f32(0.8);
        self.producer.begin_transaction().map_err(|error| Failure::of("beginning a transaction", error))?;

        crash::point(Point::TransactionBegun);
        send(&self.producer, batch, outputs, deadline).map_err(Failure::Aborted)?;
        crash::point(Point::Produced);
        if let Some(offsets) = offsets.map(Arc::new) {
            // A coordinator that has moved is found within seconds.
            let deadline = deadline.min(Instant::now() + REQUEST_TIMEOUT);
            repeat("adding offsets to a transaction", deadline, |left| {
                let offsets = offsets.clone();
                self.calls.call(left + CALL_SLACK, move |producer| {
                    producer.send_offsets_to_transaction(&offsets.0, &offsets.1, left)
                })
            })?;
        }
        batch.wait(deadline).map_err(Failure::Aborted)?;
        // The last report arrives a moment before librdkafka forgets the record.
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return Err(Failure::Aborted(LogError::Unavailable("records are still in flight".into())));
            }
            thread::sleep(DRAIN_PAUSE);
        }
        crash::point(Point::OffsetsSent);
        repeat("committing a transaction", deadline, |left| Some(self.producer.commit_transaction(left)))?;
        crash::point(Point::Committed);
        Ok(())
    }
}

/// Calls again what librdkafka calls retriable. `None` is a call that did not come back.
fn repeat(
    doing: &str,
    deadline: Instant,
    mut call: impl FnMut(Duration) -> Option<Result<(), KafkaError>>,
) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(RETRY_PAUSE);
        match call(left) {
            Some(Ok(())) => return Ok(()),
            Some(Err(KafkaError::Transaction(error)))
                if error.is_retriable() && !is_indefinite(error.code()) && Instant::now() < deadline =>
            {
                thread::sleep(RETRY_PAUSE);
            }
            Some(Err(error)) => return Err(Failure::of(doing, error)),
            None => return Err(Failure::Replace(format!("{doing}: {NEVER_CAME_BACK}"))),
        }
    }
}

const NEVER_CAME_BACK: &str = "librdkafka did not come back in time, and its client is left behind";

/// The request may have been carried out, or may yet be.
fn is_indefinite(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::NetworkException
    )
}

// === impl Failure ===

impl Failure {
    fn of(doing: &str, error: KafkaError) -> Failure {
        let KafkaError::Transaction(error) = error else { return Failure::Aborted(log_error(doing, error)) };
        let code = error.code();
        let text = format!("{doing}: {error} ({code:?})");
        match code {
            code if is_fenced(code) => Failure::Final(LogError::Fenced(text)),
            code if is_indefinite(code) => Failure::Replace(text),
            code if error.txn_requires_abort() && is_refusal(code) => Failure::Aborted(LogError::Refused(text)),
            _ if error.txn_requires_abort() => Failure::Aborted(LogError::Unavailable(text)),
            code if is_refusal(code) => Failure::Final(LogError::Refused(text)),
            // Fatal, or neither flag: librdkafka's guide says to treat both alike.
            _ => Failure::Replace(text),
        }
    }
}

pub(super) fn create(config: &ClientConfig) -> Result<ThreadedProducer<Reports>, LogError> {
    config.create_with_context(Reports).map_err(|error| log_error("making a producer", error))
}

/// Hands all records to librdkafka, which copies them.
pub(super) fn send(
    producer: &ThreadedProducer<Reports>,
    batch: &Arc<Batch>,
    outputs: &[Output],
    deadline: Instant,
) -> Result<(), LogError> {
    for output in outputs {
        let mut record: BaseRecord<'_, [u8], [u8], Arc<Batch>> =
            BaseRecord::with_opaque_to(&output.topic, batch.clone());
        record.partition = output.partition.map(|partition| partition as i32);
        record.key = output.key.as_deref();
        record.payload = output.value.as_deref();
        record.headers = owned_headers(&output.headers);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), same)) if Instant::now() < deadline => {
                    record = same;
                    thread::sleep(QUEUE_FULL_PAUSE);
                }
                Err((KafkaError::MessageProduction(code), _)) => return Err(not_written(&output.topic, code)),
                Err((error, _)) => return Err(log_error(&format!("writing to {}", output.topic), error)),
            }
        }
    }
    Ok(())
}

fn not_written(topic: &str, code: Code) -> LogError {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => LogError::UnknownTopic(topic.into()),
        // The topic exists, so it is the record that asks for a partition beyond the topic's.
        Code::UnknownPartition => LogError::Refused(format!("topic {topic} has no such partition")),
        code => by_code(&format!("writing to {topic}"), code),
    }
}

// === impl Batch ===

impl Batch {
    pub(super) fn of(outputs: &[Output]) -> Arc<Batch> {
        let state = BatchState { open: outputs.len(), failure: None, places: None };
        Arc::new(Batch { state: Mutex::new(state), done: Condvar::new() })
    }

    fn with_places(outputs: &[Output]) -> Arc<Batch> {
        let batch = Batch::of(outputs);
        batch.state.lock().unwrap_or_else(PoisonError::into_inner).places = Some(BTreeMap::new());
        batch
    }

    fn places(&self) -> Vec<(TopicPartition, i64)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |((topic, partition), offset): (&(String, i32), &i64)| {
            (TopicPartition { topic: topic.as_str().into(), partition: *partition as u32 }, *offset)
        };
        state.places.iter().flatten().map(named).collect()
    }

    /// What the first refused record was refused for.
    fn failure(&self) -> Option<LogError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failure.as_ref().map(|(topic, code)| not_written(topic, *code))
    }

    /// Waits for every report.
    pub(super) fn wait(&self, deadline: Instant) -> Result<(), LogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.open > 0 && state.failure.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LogError::Unavailable(format!("{} records were not acknowledged in time", state.open)));
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.failure {
            Some((topic, code)) => Err(not_written(topic, *code)),
            None => Ok(()),
        }
    }
}

// === impl Reports ===

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        forward_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        forward_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, report: &DeliveryResult<'_>, batch: Arc<Batch>) {
        use rdkafka::Message as _;

        let mut state = batch.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open -= 1;
        if let (Ok(message), Some(places)) = (report, &mut state.places) {
            let last = places.entry((message.topic().to_owned(), message.partition())).or_insert(-1);
            *last = message.offset().max(*last);
        }
        if let Err((error, message)) = report {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            // Purged are those that an abort has caught on their way: not why it was aborted.
            if state.failure.is_none() && !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
                state.failure = Some((message.topic().to_owned(), code));
            }
        }
        if state.open == 0 || state.failure.is_some() {
            batch.done.notify_all();
        }
    }
}
