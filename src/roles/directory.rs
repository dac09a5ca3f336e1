//! The directory's follower: folds the directory topic to its end, then keeps the fold current.
//!
//! One per process; every role of it reads the same snapshots. The fold itself is `tidings_core::directory`.

use std::{sync::Arc, time::Duration};

use tidings_core::{
    catalog::Catalog,
    codec::DirectoryCodec,
    directory::{Applied, Directory},
    domain::{Record, TopicPartition},
};
use tokio::sync::watch;

use super::stop::Stop;
use crate::{
    log::{Log, LogError, Reader},
    telemetry::{Readiness, facts},
};

/// Snapshots of the directory. Cheap to clone; reading never waits for the follower.
#[derive(Clone)]
pub struct DirectoryView(watch::Receiver<Option<Arc<Directory>>>);

/// How far the first fold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub position: i64,
    pub end: i64,
}

/// The follower's side of a [`DirectoryView`].
pub struct Follower<L> {
    log: L,
    topic: TopicPartition,
    directory: Directory,
    snapshots: watch::Sender<Option<Arc<Directory>>>,
    readiness: Readiness,
}

/// How long the follower waits for more at a time; new records wake it at once.
const POLL: Duration = Duration::from_secs(1);
/// How long the follower waits before it tries a log again that has failed it.
const BACKOFF: Duration = Duration::from_millis(500);
const CONDITION: &str = "directory";

/// Starts from nothing. The view is empty until [`Follower::run`] has reached the end of the topic once.
pub fn follower<L: Log>(
    log: L,
    topic: Arc<str>,
    catalog: Arc<Catalog>,
    readiness: Readiness,
) -> (Follower<L>, DirectoryView) {
    let (snapshots, view) = watch::channel(None);
    readiness.not_ready(CONDITION, "not read yet");
    let topic = TopicPartition { topic, partition: 0 };
    (Follower { log, topic, directory: Directory::new(catalog), snapshots, readiness }, DirectoryView(view))
}

// === impl Follower ===

impl<L: Log> Follower<L> {
    /// Reads records with the schema ids that services here use. Before it runs.
    pub fn reading(mut self, codec: Arc<DirectoryCodec>) -> Follower<L> {
        self.directory = Directory::read_with(self.directory.catalog().clone(), codec);
        self
    }

    /// Folds to the end, says so, and follows until the order to stop. A log that fails is tried again and again.
    pub async fn run(mut self, mut stop: Stop, mut progress: impl FnMut(Progress) + Send) {
        loop {
            tokio::select! {
                biased;
                _ = stop.ordered() => return,
                Err(error) = self.follow(&mut progress) => {
                    facts::log_failed("directory", &error);
                    self.readiness.not_ready(CONDITION, "the log does not answer");
                }
            }
            tokio::select! {
                biased;
                _ = stop.ordered() => return,
                _ = tokio::time::sleep(BACKOFF) => {}
            }
        }
    }

    async fn follow(&mut self, progress: &mut impl FnMut(Progress)) -> Result<(), LogError> {
        let end = self.log.bounds(self.topic.clone()).await?.end;
        let mut reader = self.log.reader(self.topic.clone(), self.directory.version()).await?;
        while reader.position() < end {
            let records = reader.next(POLL).await?;
            for record in &records {
                self.directory.apply(record);
            }
            progress(Progress { position: reader.position(), end });
        }
        self.publish(reader.position());
        self.readiness.ready(CONDITION);
        loop {
            let records = reader.next(POLL).await?;
            records.iter().for_each(|record| self.apply(record));
            if !records.is_empty() || reader.position() > self.directory.version() {
                self.publish(reader.position());
            }
        }
    }

    /// What comes in bad while somebody may be watching is said; what has been so for long, the gauge says.
    fn apply(&mut self, record: &Record) {
        if let Applied::Inactive(_) = self.directory.apply(record)
            && let Some(problem) = record.key.as_ref().and_then(|key| self.directory.problem(key))
        {
            facts::directory_record_refused(problem);
        }
    }

    /// The version is the reader's position: it steps over what compaction and transactions leave behind, so that every
    /// process comes to the same number at the same end.
    fn publish(&mut self, position: i64) {
        self.directory.advance(position);
        self.directory.settle();
        let counts = self.directory.counts();
        facts::directory_folded("directory", position, counts.subscriptions, counts.destinations, counts.problems);
        self.snapshots.send_replace(Some(Arc::new(self.directory.clone())));
    }
}

// === impl DirectoryView ===

impl DirectoryView {
    /// A view that never changes. For tests and for tools that fold once.
    pub fn fixed(directory: Directory) -> DirectoryView {
        DirectoryView(watch::channel(Some(Arc::new(directory))).1)
    }

    /// Waits until the directory has been folded to its end once. `None`: the follower has ended before.
    pub async fn ready(&mut self) -> Option<Arc<Directory>> {
        self.wait_for(i64::MIN).await
    }

    /// Waits until the fold has passed `version` (a next offset). `None`: the follower has ended before.
    pub async fn wait_for(&mut self, version: i64) -> Option<Arc<Directory>> {
        let passed = |seen: &Option<Arc<Directory>>| seen.as_ref().is_some_and(|d| d.version() >= version);
        self.0.wait_for(passed).await.ok().and_then(|seen| seen.clone())
    }

    /// The newest snapshot, if the first fold is done.
    pub fn current(&self) -> Option<Arc<Directory>> {
        self.0.borrow().clone()
    }

    /// Waits for the next snapshot. Cancel safe. Never returns once the follower has ended.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
