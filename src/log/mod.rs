//! The log: where events, the directory, deliveries and dead letters are. The truth of Tidings.
//!
//! This file is the contract, written for Kafka first; [`local`] gives the same promises over one SQLite file.
//! The room does *not* know what records mean, and decides nothing: it moves bytes and keeps offsets.
//!
//! Reading order: this file, [`local`], [`kafka`].
//!
//! What both logs promise (held by one conformance suite, `tests/log_conformance.rs`):
//!
//! - [`Member::commit`] writes outputs and input offsets together or not at all.
//! - Readers and members see committed records only, in offset order; offsets may have holes.
//! - After an aborted commit the member has gone back to the committed offsets: the same records come again.
//! - A partition belongs to one member of a group at a time. It moves only after its owner has
//!   [released](Member::release) it, or is held to be dead; a dead owner that wakes up is [fenced](LogError::Fenced).

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod local;

use std::{future::Future, sync::Arc, time::Duration};

use tidings_core::domain::{Output, Record, TopicPartition};

/// Why a log refused. Callers decide on the variant; the text is for operators.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// Another process with the same name has taken over. The role must end, in good order.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Nothing of this commit is visible. The member went back to the committed offsets.
    #[error("aborted: {0}")]
    Aborted(String),
    /// The log cannot be reached or cannot take the request now. Try again.
    #[error("log unavailable: {0}")]
    Unavailable(String),
    /// The record is larger than the log takes.
    #[error("a record of {size} bytes for topic {topic}; the log takes {max}")]
    TooLarge { topic: String, size: usize, max: usize },
    /// The topic does not exist. Roles never create topics silently.
    #[error("topic {0} does not exist; `tidings topics create` creates what is missing")]
    UnknownTopic(String),
    /// Configuration, authorisation, or an error that no retry mends.
    #[error("log refused: {0}")]
    Refused(String),
}

/// How a member's outputs and offsets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// One transaction: outputs and offsets become visible together.
    Transactional,
    /// Outputs are acknowledged first, then offsets are committed. A crash in between repeats outputs.
    AtLeastOnce,
}

/// Membership of a consumer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// `tidings.match`, `tidings.send`.
    pub name: String,
    /// Topic names. Every one must exist.
    pub topics: Vec<Arc<str>>,
    /// Unique per worker and the same after a restart: `group.instance.id` and `transactional.id` come from it.
    pub instance: String,
    pub outputs: Outputs,
    pub batch: BatchLimits,
}

/// When a batch of input is closed: nothing more is there, or one of these bounds.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    pub records: usize,
    pub bytes: usize,
    /// How long a batch may be filled after its first record.
    pub time: Duration,
}

/// What happens to a member. Rebalances come in between batches, never inside one.
#[derive(Clone, Debug)]
pub enum Input {
    /// These partitions are now ours, from these offsets.
    Assigned(Vec<(TopicPartition, i64)>),
    /// These partitions are to go to another member. Finish what must be finished, commit, then [`Member::release`].
    /// No more records of them come. The group waits for that, but not for ever.
    Revoking(Vec<TopicPartition>),
    /// These partitions are gone without asking (session lost). Nothing may be committed for them.
    Lost(Vec<TopicPartition>),
    /// Records in offset order per partition; never empty.
    Records(Vec<Record>),
}

/// Next offset to read of a partition: one past the last record that is done.
pub type Offsets = Vec<(TopicPartition, i64)>;

/// A member of a consumer group with its producer.
pub trait Member: Send + 'static {
    /// Waits for the next [`Input`]. Cancel safe: dropping the future loses nothing.
    ///
    /// A member must be polled at least every few minutes, or the group takes it for dead; when it must not get
    /// records for long, [`pause`](Member::pause) it and go on polling.
    fn next(&mut self) -> impl Future<Output = Result<Input, LogError>> + Send;

    /// Writes `outputs` and `offsets` as [`Group::outputs`] says. With empty `outputs`, only offsets are committed.
    ///
    /// When it returns, the outcome is certain; readers may see the outputs a moment later.
    ///
    /// After [`LogError::Aborted`] the next records are again those from the committed offsets on. A commit that names a
    /// partition whose loss [`next`](Member::next) has not told yet is aborted too, even if the partition has come back.
    /// Not cancel safe: await it to its end.
    fn commit(&mut self, outputs: Vec<Output>, offsets: Offsets) -> impl Future<Output = Result<(), LogError>> + Send;

    /// [Commits](Member::commit) for who holds records that were given before and are not committed yet. `false`: they come again, since
    /// the outcome was learnt by going back to the committed offsets.
    fn commit_holding(
        &mut self,
        outputs: Vec<Output>,
        offsets: Offsets,
    ) -> impl Future<Output = Result<bool, LogError>> + Send {
        async { self.commit(outputs, offsets).await.map(|()| true) }
    }

    /// [Commits](Member::commit), and may give the next records to `ahead` meanwhile, at most once: those that [`Member::next`]
    /// would have given afterwards. They are void after every error but [`LogError::Unavailable`], and if the answer is `false`: then
    /// they come again.
    fn commit_ahead(
        &mut self,
        outputs: Vec<Output>,
        offsets: Offsets,
        ahead: impl FnOnce(Vec<Record>) + Send,
    ) -> impl Future<Output = Result<bool, LogError>> + Send {
        drop(ahead);
        async { self.commit(outputs, offsets).await.map(|()| true) }
    }

    /// Gives up partitions named by [`Input::Revoking`].
    fn release(&mut self, partitions: &[TopicPartition]) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Stops records of all partitions, present and future ones, until [`resume`](Member::resume).
    /// Costly on Kafka (prefetched data is thrown away): for stalls, not for flow control.
    fn pause(&mut self) -> impl Future<Output = Result<(), LogError>> + Send;

    fn resume(&mut self) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Reads these topics too from now on, besides those of [`Group::topics`]. Their partitions come by [`Input::Assigned`],
    /// shared with other members that read them, by a rebalance like any other. Every one must exist.
    fn read_also(&mut self, topics: Vec<Arc<str>>) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Leaves in good order. What is not committed comes again to the next owner.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// Records of one partition, in order, without a group: folds, listings, readings by position.
pub trait Reader: Send + 'static {
    /// Waits until there is more or `wait` has passed, and returns what is there (possibly nothing).
    /// Cancel safe.
    fn next(&mut self, wait: Duration) -> impl Future<Output = Result<Vec<Record>, LogError>> + Send;

    /// Next offset to be read. Steps over holes and transaction markers, so that it reaches
    /// [`Bounds::end`] at the end of a topic.
    fn position(&self) -> i64;
}

/// A writer that fences its predecessor of the same name. For directory edits under a lock.
pub trait Appender: Send + 'static {
    /// Appends all or nothing. `Ok` once it is durable and visible to readers.
    fn append(&mut self, outputs: Vec<Output>) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// First offset held and end (exclusive, committed) of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub start: i64,
    pub end: i64,
}

/// A topic to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: Arc<str>,
    pub partitions: u32,
    /// Topic settings by Kafka's names (`cleanup.policy`, `retention.ms`, …), in a fixed order.
    pub settings: Vec<(String, String)>,
}

/// A topic as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    pub name: Arc<str>,
    pub partitions: u32,
    /// Settings the log can tell; names as in [`TopicSpec::settings`].
    pub settings: Vec<(String, String)>,
}

/// A log. Cheap to clone; all clones are one connection pool or file.
pub trait Log: Clone + Send + Sync + 'static {
    type Member: Member;
    type Reader: Reader;
    type Appender: Appender;

    /// Joins a group. Partitions come by [`Input::Assigned`].
    fn join(&self, group: Group) -> impl Future<Output = Result<Self::Member, LogError>> + Send;

    /// Reads one partition from an offset on.
    fn reader(
        &self,
        partition: TopicPartition,
        from: i64,
    ) -> impl Future<Output = Result<Self::Reader, LogError>> + Send;

    /// A fencing writer: from now on, any other appender of that name gets [`LogError::Fenced`].
    fn appender(&self, name: &str) -> impl Future<Output = Result<Self::Appender, LogError>> + Send;

    /// Appends independent records. `Ok` when all are durable; after an error some may be there.
    fn append(&self, outputs: Vec<Output>) -> impl Future<Output = Result<(), LogError>> + Send;

    /// First and end offsets of a partition, as a reader of committed records sees them.
    fn bounds(&self, partition: TopicPartition) -> impl Future<Output = Result<Bounds, LogError>> + Send;

    /// Offsets committed by a group, for the partitions of a topic that have any.
    fn committed(&self, group: &str, topic: &str) -> impl Future<Output = Result<Offsets, LogError>> + Send;

    /// What exists of these topics; absent ones are left out.
    fn topics(&self, names: &[Arc<str>]) -> impl Future<Output = Result<Vec<TopicState>, LogError>> + Send;

    /// The names of all topics that can be seen, in no order.
    fn topic_names(&self) -> impl Future<Output = Result<Vec<Arc<str>>, LogError>> + Send;

    /// Creates a topic; `Ok(false)` if it is there already (its settings are left as they are).
    fn create_topic(&self, spec: TopicSpec) -> impl Future<Output = Result<bool, LogError>> + Send;
}

/// The partitions of a topic.
pub async fn partition_count<L: Log>(log: &L, topic: &Arc<str>) -> Result<u32, LogError> {
    let found = log.topics(std::slice::from_ref(topic)).await?;
    found.first().map(|state| state.partitions).ok_or_else(|| LogError::UnknownTopic(topic.to_string()))
}
