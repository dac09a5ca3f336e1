//! The thread of a member: it owns the consumer and the producer, and nobody else touches either.
//!
//! One [turn](Worker::turn) does whatever there is to do and waits for nothing; between turns the thread sleeps on its
//! commands. librdkafka sends one ([`Command::Wake`]) when records or events arrive, so that neither a commit waits
//! for a poll nor a record for a tick.
//!
//! Rebalances are not decided inside librdkafka's callback. It only takes notes ([`Notes`]); the assignment is changed
//! afterwards, on this thread, when it suits the role: librdkafka waits for that call, keeps the group informed
//! meanwhile, and holds back records of *all* partitions until it comes.
//!
//! - **Assigned**: committed offsets are asked for (waiting for a predecessor's open transaction), then taken up.
//! - **Revoked**: the role is told and goes on committing until it [releases](Worker::release) the partitions.
//! - **Lost**: given up at once. Whatever the role still says about them is refused.
//!
//! How a member writes, and what it does when that fails, is in [`commit`](super::commit); what if librdkafka does not read a
//! partition that it was given, in [`revive`](super::revive); what if nobody was given it, in [`orphans`](super::orphans).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    topic_partition_list::Offset,
    types::RDKafkaRespErr,
};
use tidings_core::domain::{Output, Record, TopicPartition};
use tokio::sync::oneshot;

use super::{
    admin::{Cluster, committed_offsets},
    commit::producer_id,
    errors::{by_code, is_fenced, is_refusal, log_error},
    inbox::Inbox,
    orphans::Orphans,
    plain::Plain,
    producer::Transactional,
    records::{TopicNames, forward_error, forward_log, offset_list, partition_list, partitions, record_bytes},
    revive::Unheard,
};
use crate::log::{Group, Input, LogError, Offsets, Outputs};

/// Upper bound of the sleep between turns. Wake-ups make it shorter; this is for one that was missed.
const TICK: Duration = Duration::from_millis(20);
/// Records after which it is asked whether the batch has been filled for long enough: the clock costs as much as a record.
const LOOK_AT_CLOCK_EVERY: usize = 16;
/// After this a revoked partition that the role did not release is taken from it.
const RELEASE_WITHIN: Duration = Duration::from_secs(300);
/// Between tries of what failed and must be done: offsets of an assignment, going back, lost offset commits.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);

pub(super) enum Command {
    Wake,
    Commit { outputs: Vec<Output>, offsets: Offsets, answer: oneshot::Sender<Result<(), LogError>> },
    Release { partitions: Vec<TopicPartition>, answer: oneshot::Sender<Result<(), LogError>> },
    Pause { paused: bool, answer: oneshot::Sender<Result<(), LogError>> },
    ReadAlso { topics: Vec<Arc<str>>, answer: oneshot::Sender<Result<(), LogError>> },
    Leave { answer: Option<oneshot::Sender<()>> },
}

/// Wakes the thread; many wakings before it looks are one.
#[derive(Clone)]
pub(super) struct Wake {
    pub(super) commands: Sender<Command>,
    pub(super) pending: Arc<AtomicBool>,
}

pub(super) struct Worker {
    pub(super) cluster: Arc<Cluster>,
    pub(super) group: Group,
    pub(super) inbox: Arc<Inbox>,
    pub(super) wake: Wake,
    pub(super) consumer: BaseConsumer<Notes>,
    pub(super) producer: Producer,
    pub(super) names: TopicNames,
    /// Partitions that are ours, revoked ones until they are released; with the offset last known to be committed,
    /// or at which reading started.
    pub(super) owned: BTreeMap<TopicPartition, i64>,
    pub(super) assigning: Option<Assigning>,
    pub(super) revoking: Option<Revoking>,
    pub(super) back: Option<GoingBack>,
    /// Offsets sent without waiting for the answer, until it comes.
    pub(super) unconfirmed: BTreeMap<TopicPartition, i64>,
    /// When to send them again, if an answer was an error.
    pub(super) resend: Option<Instant>,
    pub(super) paused: bool,
    pub(super) unheard: Unheard,
    pub(super) orphans: Orphans,
    pub(super) ended: bool,
}

pub(super) enum Producer {
    Transactional(Transactional),
    Plain(Plain),
    /// The last one had to be thrown away, and there is no new one yet.
    None,
}

pub(super) struct Assigning {
    partitions: Vec<TopicPartition>,
    next_try: Instant,
}

pub(super) struct Revoking {
    pub(super) partitions: Vec<TopicPartition>,
    released: BTreeSet<TopicPartition>,
    give_up: Instant,
}

/// The member is on its way back to the committed offsets.
pub(super) struct GoingBack {
    pub(super) next_try: Instant,
}

/// What librdkafka says while it is polled.
#[derive(Default)]
pub(super) struct Notes {
    taken: Mutex<Vec<Note>>,
    /// The consumer is being closed: nobody will read a note, partitions are given up at once.
    closing: AtomicBool,
}

enum Note {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
    Committed { offsets: Vec<(TopicPartition, i64)>, error: Option<Code> },
}

// === impl Worker ===

impl Worker {
    pub(super) fn join(cluster: Arc<Cluster>, group: Group, inbox: Arc<Inbox>, wake: Wake) -> Result<Worker, LogError> {
        for topic in &group.topics {
            cluster.check_topic(topic)?;
        }
        // The producer first: it settles what a predecessor left open, so that the offsets read afterwards are final.
        let producer = match group.outputs {
            Outputs::Transactional => {
                Producer::Transactional(Transactional::new(&cluster.settings, &producer_id(&group))?)
            }
            Outputs::AtLeastOnce => Producer::Plain(Plain::new(&cluster.settings)?),
        };
        let mut consumer: BaseConsumer<Notes> = cluster
            .settings
            .member(&group.name, &group.instance)
            .create_with_context(Notes::default())
            .map_err(|error| log_error("making a consumer", error))?;
        let waking = wake.clone();
        consumer.set_nonempty_callback(move || waking.wake());
        subscribe(&consumer, &group.topics)?;

        Ok(Worker {
            cluster,
            group,
            inbox,
            wake,
            consumer,
            producer,
            names: TopicNames::default(),
            owned: BTreeMap::new(),
            assigning: None,
            revoking: None,
            back: None,
            unconfirmed: BTreeMap::new(),
            resend: None,
            paused: false,
            unheard: Unheard::default(),
            orphans: Orphans::default(),
            ended: false,
        })
    }

    pub(super) fn run(mut self, commands: Receiver<Command>) {
        loop {
            match commands.recv_timeout(TICK) {
                Ok(Command::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Commit { outputs, offsets, answer }) => {
                    let done = self.commit(&outputs, offsets);
                    if done.is_err() {
                        self.inbox.shut();
                    }
                    // The outputs are dropped afterwards: giving back thousands of them takes a while.
                    answer.send(done).ok();
                }
                Ok(Command::Release { partitions, answer }) => drop(answer.send(self.release(partitions))),
                Ok(Command::Pause { paused, answer }) => drop(answer.send(self.pause(paused))),
                Ok(Command::ReadAlso { topics, answer }) => drop(answer.send(self.read_also(topics))),
                Ok(Command::Leave { answer }) => {
                    self.leave();
                    if let Some(answer) = answer {
                        answer.send(()).ok();
                    }
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
            self.turn();
        }
    }

    fn turn(&mut self) {
        // Before looking, so that what arrives while we look wakes us again.
        self.wake.pending.store(false, Ordering::Release);
        if self.ended {
            return;
        }
        if self.back.as_ref().is_some_and(|back| back.next_try <= Instant::now()) {
            self.repair();
        }
        self.poll();
        self.assign();
        self.resend();
        self.revive();
        self.look_for_orphans();
        if self.revoking.as_ref().is_some_and(|revoking| revoking.give_up <= Instant::now()) {
            self.take_back();
        }
    }

    pub(super) fn end(&mut self, error: LogError) {
        tracing::error!(group = self.group.name, instance = self.group.instance, "member of the group ends: {error}");
        self.ended = true;
        self.inbox.end(error);
    }

    // Reading.

    /// Takes what is there, up to a batch, and whatever librdkafka has to say.
    fn poll(&mut self) {
        let mut records: Vec<Record> = Vec::new();
        let mut filling_until = None;
        let mut room = self.inbox.room();
        let mut empty = 0;
        // An empty answer may also mean that an event was served, with records behind it: ask twice.
        while empty < 2 && !self.ended {
            // While paused, no records come: rebalances must be served even so.
            if room.is_none() && !self.paused {
                break;
            }
            match self.consumer.poll(Duration::ZERO) {
                // They come again from where the member goes back to.
                Some(Ok(_)) if self.back.is_some() => {
                    empty = 0;
                    if self.back.as_ref().is_some_and(|back| back.next_try <= Instant::now()) {
                        break;
                    }
                }
                Some(Ok(message)) => {
                    empty = 0;
                    let record = self.names.record(&message);
                    self.unheard.heard(&record);
                    if let Some((left, bytes)) = &mut room {
                        *left = left.saturating_sub(1);
                        *bytes = bytes.saturating_sub(record_bytes(&record));
                        if *left == 0 || *bytes == 0 {
                            room = None;
                        }
                    }
                    records.push(record);
                    let until = *filling_until.get_or_insert_with(|| Instant::now() + self.group.batch.time);
                    if records.len().is_multiple_of(LOOK_AT_CLOCK_EVERY) && Instant::now() >= until {
                        break;
                    }
                }
                Some(Err(error)) => self.poll_error(error),
                None => {
                    empty += 1;
                    let notes = self.consumer.context().take();
                    if !notes.is_empty() {
                        empty = 0;
                        self.inbox.add(&mut records);
                        notes.into_iter().for_each(|note| self.heed(note));
                        room = self.inbox.room();
                    }
                }
            }
        }
        self.inbox.add(&mut records);
        if empty < 2 {
            // Their records may stand behind those that there was no room for.
            self.unheard.wait_on();
        }
        if empty < 2 && self.inbox.room().is_some() {
            // There may be more, and librdkafka wakes us only when its queue was empty.
            self.wake.wake();
        }
    }

    fn poll_error(&mut self, error: KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(code) => self.end(fatal(code)),
            error => match error.rdkafka_error_code() {
                Some(code) if is_fenced(code) => self.end(fatal(code)),
                Some(code) if code == Code::AllBrokersDown || is_refusal(code) => {
                    self.inbox.warn(by_code("reading", code));
                }
                // librdkafka goes on by itself; it has logged what it thinks worth it.
                _ => tracing::debug!(group = self.group.name, "while reading: {error}"),
            },
        }
    }

    fn pause(&mut self, paused: bool) -> Result<(), LogError> {
        let all = partition_list(self.owned.keys());
        let done = if paused { self.consumer.pause(&all) } else { self.consumer.resume(&all) };
        done.map_err(|error| log_error("pausing or resuming", error))?;
        self.paused = paused;
        self.inbox.pause(paused);
        Ok(())
    }

    /// The group shares the new partitions out by a rebalance, which is cooperative: reading goes on meanwhile.
    fn read_also(&mut self, topics: Vec<Arc<str>>) -> Result<(), LogError> {
        let mut all = self.group.topics.clone();
        for topic in topics.into_iter().filter(|topic| !self.group.topics.contains(topic)) {
            self.cluster.check_topic(&topic)?;
            all.push(topic);
        }
        subscribe(&self.consumer, &all)?;
        self.group.topics = all;
        Ok(())
    }

    // Rebalances.

    fn heed(&mut self, note: Note) {
        match note {
            Note::Assign(partitions) => {
                self.assigning = Some(Assigning { partitions, next_try: Instant::now() });
                self.assign();
            }
            Note::Revoke { partitions, lost } => {
                if let Some(assigning) = self.assigning.take() {
                    // librdkafka takes back only what it has been told of.
                    self.check_call(self.consumer.incremental_assign(&partition_list(&assigning.partitions)));
                }
                if lost || partitions.is_empty() {
                    self.lose(partitions);
                } else {
                    tracing::info!(group = self.group.name, ?partitions, "partitions are to go");
                    let give_up = Instant::now() + RELEASE_WITHIN;
                    self.inbox.tell(Input::Revoking(partitions.clone()));
                    self.revoking = Some(Revoking { partitions, released: BTreeSet::new(), give_up });
                }
            }
            Note::Committed { offsets, error: None } => {
                for (partition, offset) in offsets {
                    if self.unconfirmed.get(&partition) == Some(&offset) {
                        self.unconfirmed.remove(&partition);
                    }
                    self.owned.entry(partition).and_modify(|committed| *committed = offset);
                }
            }
            Note::Committed { error: Some(code), .. } if is_fenced(code) => self.end(fatal(code)),
            Note::Committed { error: Some(code), .. } => {
                tracing::warn!(group = self.group.name, "offsets were not committed, they are sent again: {code}");
                self.resend = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    /// Takes up partitions once it is known from where.
    fn assign(&mut self) {
        let now = Instant::now();
        let Some(assigning) = self.assigning.take_if(|assigning| assigning.next_try <= now) else { return };
        let starts = match self.starts(&assigning.partitions) {
            Ok(starts) => starts,
            Err(error) => {
                tracing::warn!(group = self.group.name, "assignment waits: {error}");
                self.inbox.warn(error);
                self.assigning = Some(Assigning { next_try: Instant::now() + RETRY_AFTER, ..assigning });
                return;
            }
        };
        self.orphans.look_soon();
        // An empty assignment must be confirmed as well.
        let called = offset_list(starts.iter().map(|(partition, offset)| (partition, *offset)))
            .and_then(|list| self.consumer.incremental_assign(&list));
        if !self.check_call(called) || starts.is_empty() {
            return;
        }
        if self.paused {
            self.check_call(self.consumer.pause(&partition_list(&assigning.partitions)));
        }
        tracing::info!(group = self.group.name, ?starts, "partitions are ours");
        self.owned.extend(starts.iter().cloned());
        self.unheard.expect(assigning.partitions);
        self.inbox.tell(Input::Assigned(starts));
    }

    /// Where to read on: at the committed offset, or at the start of what is held.
    pub(super) fn starts(&self, partitions: &[TopicPartition]) -> Result<Offsets, LogError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let committed = committed_offsets(&self.consumer, partitions)?;
        let start = |partition: &TopicPartition| match committed.get(partition) {
            Some(offset) => Ok((partition.clone(), *offset)),
            None => Ok((partition.clone(), self.cluster.bounds(partition)?.start)),
        };
        partitions.iter().map(start).collect()
    }

    fn release(&mut self, partitions: Vec<TopicPartition>) -> Result<(), LogError> {
        let Some(revoking) = &mut self.revoking else {
            // They were lost while the role was busy letting go of them: it has been told, or will be.
            return Ok(());
        };
        revoking.released.extend(partitions.into_iter().filter(|partition| revoking.partitions.contains(partition)));
        if revoking.released.len() < revoking.partitions.len() {
            return Ok(());
        }
        let Some(revoking) = self.revoking.take() else { return Ok(()) };
        let gone = &revoking.partitions;
        // The next owner starts at the committed offsets: wait until the last ones are.
        let last: Offsets =
            self.unconfirmed.iter().filter(|(p, _)| gone.contains(p)).map(|(p, offset)| (p.clone(), *offset)).collect();
        let committed = if last.is_empty() { Ok(()) } else { self.commit_offsets(&last) };
        self.forget(gone);
        self.check_call(self.consumer.incremental_unassign(&partition_list(gone)));
        tracing::info!(group = self.group.name, partitions = ?gone, "partitions released");
        committed
    }

    /// The role did not release in time, and the group cannot wait for ever.
    fn take_back(&mut self) {
        if let Some(revoking) = self.revoking.take() {
            tracing::error!(group = self.group.name, partitions = ?revoking.partitions, "not released in time: lost");
            self.lose(revoking.partitions);
        }
    }

    fn lose(&mut self, partitions: Vec<TopicPartition>) {
        self.revoking = None;
        self.forget(&partitions);
        self.check_call(self.consumer.incremental_unassign(&partition_list(&partitions)));
        if !partitions.is_empty() {
            tracing::warn!(group = self.group.name, ?partitions, "partitions lost");
            self.inbox.tell(Input::Lost(partitions));
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
            self.unconfirmed.remove(partition);
            self.unheard.forget(partition);
        }
        if self.paused {
            // librdkafka keeps the mark, and would not read them should they come back.
            self.check_call(self.consumer.resume(&partition_list(partitions)));
        }
    }

    /// A call that fails only if our idea of the assignment is not librdkafka's: then this member is of no use.
    pub(super) fn check_call(&mut self, called: KafkaResult<()>) -> bool {
        // A fenced consumer refuses everything, and says why when it is polled.
        let fenced = self.consumer.client().fatal_error();
        match (called, fenced) {
            (Ok(()), _) => true,
            (Err(_), Some((code, _))) => {
                self.end(fatal(code));
                false
            }
            (Err(error), None) => {
                self.end(LogError::Refused(format!("the assignment could not be changed: {error}")));
                false
            }
        }
    }

    fn leave(mut self) {
        if !self.ended && !self.unconfirmed.is_empty() {
            let last: Offsets = std::mem::take(&mut self.unconfirmed).into_iter().collect();
            if let Err(error) = self.commit_offsets(&last) {
                tracing::warn!(group = self.group.name, "last offsets were not committed, they come again: {error}");
            }
        }
        self.consumer.context().closing.store(true, Ordering::Release);
        if let Some(revoking) = self.revoking.take() {
            self.consumer.incremental_unassign(&partition_list(&revoking.partitions)).ok();
        }
        if let Some(assigning) = self.assigning.take() {
            self.consumer.incremental_assign(&partition_list(&assigning.partitions)).ok();
        }
        tracing::info!(group = self.group.name, instance = self.group.instance, "left");
        // Dropping the consumer closes it. A static member does not tell the group: its session runs out.
    }
}

fn subscribe(consumer: &BaseConsumer<Notes>, topics: &[Arc<str>]) -> Result<(), LogError> {
    let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    consumer.subscribe(&topics).map_err(|error| log_error("subscribing", error))
}

pub(super) fn fatal(code: Code) -> LogError {
    if is_fenced(code) {
        LogError::Fenced(format!("another member of this name has joined the group ({code})"))
    } else {
        LogError::Refused(format!("the consumer has failed: {code}"))
    }
}

// === impl Wake ===

impl Wake {
    pub(super) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // If the thread is gone there is nobody to wake.
            self.commands.send(Command::Wake).ok();
        }
    }
}

// === impl Notes ===

impl Notes {
    fn note(&self, note: Note) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Notes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        forward_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        forward_error(&error, reason);
    }
}

impl ConsumerContext for Notes {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let called = if assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            called.ok();
        } else if assign {
            self.note(Note::Assign(partitions(list)));
        } else {
            self.note(Note::Revoke { partitions: partitions(list), lost: consumer.assignment_lost() });
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        let mut error = result.err().map(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown));
        let mut offsets = Vec::new();
        for element in list.elements() {
            if let Err(failed) = element.error() {
                error = error.or(failed.rdkafka_error_code());
            }
            if let Offset::Offset(offset) = element.offset() {
                let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() as u32 };
                offsets.push((partition, offset));
            }
        }
        self.note(Note::Committed { offsets, error });
    }
}
