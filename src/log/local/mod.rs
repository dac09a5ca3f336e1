//! The embedded log: one SQLite file that keeps the promises of [`super`] for one process.
//!
//! ```text
//!  Local · Member · Reader · Appender ── requests ──► writer thread ──► log.db (WAL, one fsync per group of commits)
//!        ▲                                                 │
//!        └──────── tails (newest records in memory) ◄──────┘ published after the commit, then waiters are woken
//! ```
//!
//! The writer thread is the broker: it alone writes, gives out offsets, owns groups and epochs, so that everything that
//! Kafka settles between brokers is settled by the order of one queue. Whoever keeps up reads from memory; who lags
//! reads the file over connections of its own and never disturbs the writer.
//!
//! What differs from Kafka: outputs and offsets are always one transaction, whatever [`super::Outputs`] says; a member
//! that is dropped is dead at once; timestamps are always append times; settings other than those in [`topic`] are kept
//! and shown, but have no effect. Freed space is used again; the file does not shrink.
//!
//! Reading order: this file, [`request`], [`writer`], [`assignment`], [`topic`], [`storage`], [`member`], [`reader`],
//! [`hold`](mod@hold).

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tidings_core::domain::{Output, Timestamp, TopicPartition};
use tokio::sync::{Notify, oneshot};

use super::{Appender, Bounds, Group, Log, LogError, Offsets, TopicSpec, TopicState};

mod assignment;
mod hold;
mod member;
mod reader;
mod request;
mod storage;
mod topic;
mod writer;

pub use hold::Held;
pub use member::LocalMember;
pub use reader::LocalReader;
use request::{Author, Mailbox, Refusal, Request, Write};
use storage::{ColdReads, Storage};
use topic::{Partition, Topic};
use writer::Writer;

/// The largest record taken, in bytes of key, value and headers, unless its topic sets `max.message.bytes`.
pub const MAX_RECORD_BYTES: usize = 2 * 1024 * 1024;

/// Offsets that are left out after a restore: more than were given out between any backup and its restore, and still a
/// thousandth of all there are.
const GAP_OFFSETS: i64 = 1_000_000_000;

/// What a process holds that uses a data folder.
pub const LOCK_FILE: &str = "lock";

/// The log of an embedded Tidings. Clones share one writer; the file is closed when the last clone, member, reader and
/// appender is gone.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

/// How the local log treats its disk and its groups.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    pub durability: Durability,
    /// Bytes of the newest records kept in memory, per partition.
    pub tail_bytes: usize,
    /// The file grows to this size and no further; then writes are [`LogError::Unavailable`] until retention has freed
    /// space. `None`: as far as the disk goes. The write-ahead log beside the file comes on top.
    pub max_bytes: Option<u64>,
    /// How often retention and compaction look for work.
    pub upkeep_every: Duration,
    /// How long a member may take to release partitions before they are taken from it.
    pub revoke_within: Duration,
}

/// What a commit has survived when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: `synchronous=FULL`.
    Full,
    /// The end of the process, but not of the machine: `synchronous=OFF`. For tests.
    Relaxed,
}

/// A fencing writer of the local log.
pub struct LocalAppender {
    shared: Arc<Shared>,
    name: Arc<str>,
    epoch: u64,
}

/// What all handles of one open log have in common. Dropping the last one stops the writer and frees the folder.
struct Shared {
    /// Unbounded, but every caller waits for its reply: no longer than there are members, appenders and requests.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    topics: Arc<Topics>,
    cold: Arc<ColdReads>,
    /// Held until the writer has ended.
    _lock: File,
}

/// The topics that exist. The writer adds, everybody reads.
type Topics = RwLock<HashMap<Arc<str>, Arc<Topic>>>;

// === impl Local ===

impl Local {
    /// Opens or creates the log in a data folder. One process at a time: the folder is locked until the log is dropped.
    pub fn open(folder: &Path, options: LocalOptions) -> Result<Local, LogError> {
        let lock = lock(folder)?;
        let path = folder.join("log.db");
        let storage = Storage::open(&path, options.durability, options.max_bytes)?;
        let mut topics = HashMap::new();
        for stored in storage.topics()? {
            let topic = Arc::new(Topic::new(stored, options.tail_bytes)?);
            for partition in &topic.partitions {
                let bounds = storage.bounds(partition.slot)?;
                partition.found(bounds);
            }
            topics.insert(topic.name.clone(), topic);
        }
        let topics = Arc::new(RwLock::new(topics));
        let (requests, queue) = mpsc::channel();
        let writer = Writer::new(storage, queue, topics.clone(), options)?;
        let writer = thread::Builder::new()
            .name("local-log".into())
            .spawn(move || writer.run())
            .map_err(|e| LogError::Unavailable(format!("the log's writer thread could not be started: {e}")))?;
        let shared = Shared {
            requests: Some(requests),
            writer: Some(writer),
            topics,
            cold: Arc::new(ColdReads::new(path)),
            _lock: lock,
        };
        Ok(Local { shared: Arc::new(shared) })
    }

    /// Holds the writer: what is committed now is all there is until it is released.
    pub async fn hold(&self) -> Result<Held, LogError> {
        let (reply, answer) = oneshot::channel();
        let (held, hold) = Held::new(reply);
        self.shared.tell(Request::Hold(hold));
        answer.await.map_err(|_| LogError::Unavailable("the log's writer has stopped".into()))?;
        Ok(held)
    }
}

/// Makes a log that was restored give out other offsets than it did after the backup: event ids may come from them, and
/// receivers remember ids. `now` is the time of the restore. The file is that of a closed log, and is one again.
pub fn leave_gap(file: &Path, topics: &[Arc<str>], now: Timestamp) -> Result<(), LogError> {
    let storage = Storage::open(file, Durability::Full, None)?;
    storage.leave_gap(topics, GAP_OFFSETS, now)?;
    storage.close()
}

/// Takes the folder for this process until the file is dropped, or says who cannot have it.
pub fn lock(folder: &Path) -> Result<File, LogError> {
    let place = folder.display();
    std::fs::create_dir_all(folder)
        .map_err(|e| LogError::Refused(format!("the data folder {place} cannot be created: {e}")))?;
    let file = File::create(folder.join(LOCK_FILE))
        .map_err(|e| LogError::Refused(format!("the data folder {place} cannot be written: {e}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Refused(format!(
            "the data folder {place} is in use by another process (its file `{LOCK_FILE}` is held)"
        ))),
        Err(TryLockError::Error(e)) => Err(LogError::Refused(format!("the data folder {place} cannot be locked: {e}"))),
    }
}

impl Log for Local {
    type Member = LocalMember;
    type Reader = LocalReader;
    type Appender = LocalAppender;

    async fn join(&self, group: Group) -> Result<LocalMember, LogError> {
        let mailbox = Arc::new(Mailbox::default());
        for name in &group.topics {
            self.shared.topic(name)?.watch(&mailbox.changed);
        }
        let (name, topics, instance) = (group.name.clone(), group.topics.clone(), group.instance.clone());
        let letters = mailbox.clone();
        let id =
            self.shared.ask(|reply| Request::Join { group: name, topics, instance, mailbox: letters, reply }).await??;
        Ok(LocalMember::new(self.shared.clone(), id, group, mailbox))
    }

    async fn reader(&self, partition: TopicPartition, from: i64) -> Result<LocalReader, LogError> {
        let found = self.shared.partition(&partition)?;
        let changed = Arc::new(Notify::new());
        self.shared.topic(&partition.topic)?.watch(&changed);
        Ok(LocalReader::new(self.shared.clone(), found, changed, from))
    }

    async fn appender(&self, name: &str) -> Result<LocalAppender, LogError> {
        let name: Arc<str> = name.into();
        let asked = name.clone();
        let epoch = self.shared.ask(|reply| Request::Appender { name: asked, reply }).await?;
        Ok(LocalAppender { shared: self.shared.clone(), name, epoch })
    }

    async fn append(&self, outputs: Vec<Output>) -> Result<(), LogError> {
        self.shared.write(Author::Anyone, outputs).await.map_err(|refusal| refusal.error)
    }

    async fn bounds(&self, partition: TopicPartition) -> Result<Bounds, LogError> {
        Ok(self.shared.partition(&partition)?.bounds())
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, LogError> {
        let topic = self.shared.topic(topic)?.name.clone();
        let group = group.to_owned();
        self.shared.ask(|reply| Request::Committed { group, topic, reply }).await
    }

    async fn topics(&self, names: &[Arc<str>]) -> Result<Vec<TopicState>, LogError> {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(names.iter().filter_map(|name| topics.get(name)).map(|topic| topic.state()).collect())
    }

    async fn topic_names(&self) -> Result<Vec<Arc<str>>, LogError> {
        let topics = self.shared.topics.read().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.keys().cloned().collect())
    }

    async fn create_topic(&self, spec: TopicSpec) -> Result<bool, LogError> {
        self.shared.ask(|reply| Request::Create { spec, reply }).await?
    }
}

// === impl LocalAppender ===

impl Appender for LocalAppender {
    async fn append(&mut self, outputs: Vec<Output>) -> Result<(), LogError> {
        let author = Author::Appender { name: self.name.clone(), epoch: self.epoch };
        self.shared.write(author, outputs).await.map_err(|refusal| refusal.error)
    }
}

// === impl Shared ===

impl Shared {
    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    fn partition(&self, wanted: &TopicPartition) -> Result<Arc<Partition>, LogError> {
        self.topic(&wanted.topic)?.partition(wanted.partition).cloned()
    }

    async fn write(&self, author: Author, outputs: Vec<Output>) -> Result<(), Refusal> {
        self.ask(|reply| Request::Write(Write { author, outputs, reply })).await?
    }

    /// Puts a request to the writer and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply));
        answer.await.map_err(|_| LogError::Unavailable("the log's writer has stopped".into()))
    }

    /// Puts a request to the writer. If the writer is gone, the request is dropped with its reply, and that tells.
    fn tell(&self, request: Request) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(request);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Default for LocalOptions {
    fn default() -> LocalOptions {
        LocalOptions {
            durability: Durability::Full,
            tail_bytes: 512 * 1024,
            max_bytes: None,
            upkeep_every: Duration::from_secs(30),
            revoke_within: Duration::from_secs(60),
        }
    }
}

/// A lock whose data stays valid whatever its holder did: every change under it is a single step.
fn hold<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
