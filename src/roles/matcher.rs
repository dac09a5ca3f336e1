//! The matcher's loop: reads a batch, lets `tidings_core::matcher` decide, commits what it says.

use std::{sync::Arc, time::Duration};

use tidings_core::{
    codec::SchemaRef,
    domain::{Record, TopicPartition},
    matcher::{Batch, Matcher, Options},
};
use tokio::time::Instant;

use super::{RoleError, directory::DirectoryView, seam::Seam, stop::Stop};
use crate::{
    log::{Group, Input, Log, LogError, Member},
    sources::{EventsTopics, Schemas},
    telemetry::{Readiness, facts},
};

/// What one matcher worker needs.
pub struct MatcherRole<L> {
    pub log: L,
    pub group: Group,
    /// What the group reads, as it becomes more.
    pub events: EventsTopics,
    pub view: DirectoryView,
    pub schemas: Schemas,
    pub options: Options,
    pub readiness: Readiness,
    pub seam: Seam<Batch>,
}

const ROLE: &str = "match";
/// The first wait after a failure of the log, doubled up to [`MAX_BACKOFF`].
const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A log that has failed for this long makes the process not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(30);
/// A schema that takes longer pauses the partitions. Before, the group is none the wiser.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

// === impl MatcherRole ===

impl<L: Log> MatcherRole<L> {
    /// Runs until the order to stop. The directory is folded to its end before the first event is read.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), RoleError> {
        self.readiness.not_ready(ROLE, "joining");
        tokio::select! {
            biased;
            _ = stop.ordered() => return Ok(()),
            ready = self.view.ready() => {
                ready.ok_or(RoleError::NoDirectory)?;
            }
        }
        let mut patience = Patience::new(self.readiness.clone());
        let mut member = self.log.join(self.group.clone()).await?;
        self.readiness.ready(ROLE);
        loop {
            let ended = self.serve(&mut member, &mut patience, &mut stop).await;
            member.leave().await;
            match ended? {
                Ended::Stopped => return Ok(()),
                Ended::Refused(error) => {
                    patience.refused(&error, &mut stop).await;
                    let Some(again) = self.join_again(&mut patience, &mut stop).await? else { return Ok(()) };
                    member = again;
                }
            }
        }
    }

    /// `None` if the order to stop came first.
    async fn join_again(&self, patience: &mut Patience, stop: &mut Stop) -> Result<Option<L::Member>, RoleError> {
        while !stop.is_ordered() {
            match self.log.join(self.group.clone()).await {
                Ok(member) => return Ok(Some(member)),
                Err(LogError::Fenced(why)) => return Err(LogError::Fenced(why).into()),
                Err(error) => patience.wait(&error, stop).await,
            }
        }
        Ok(None)
    }

    async fn serve(
        &mut self,
        member: &mut L::Member,
        patience: &mut Patience,
        stop: &mut Stop,
    ) -> Result<Ended, RoleError> {
        let mut matcher = Matcher::new(self.options.clone());
        loop {
            let input = tokio::select! {
                biased;
                _ = stop.ordered() => return Ok(Ended::Stopped),
                topics = self.events.more() => {
                    self.read_also(member, topics, patience, stop).await?;
                    continue;
                }
                input = member.next() => input,
            };
            match input {
                Ok(Input::Records(records)) => {
                    if let Some(error) = self.batch(member, &mut matcher, records, patience, stop).await? {
                        return Ok(Ended::Refused(error));
                    }
                }
                Ok(Input::Assigned(partitions)) => {
                    matcher.forget();
                    let partitions: Vec<_> = partitions.into_iter().map(|(partition, _)| partition).collect();
                    facts::partitions_assigned(ROLE, &partitions);
                }
                // Between batches nothing is in work, so partitions can go at once.
                Ok(Input::Revoking(partitions)) => {
                    matcher.forget();
                    member.release(&partitions).await?;
                    facts::partitions_released(ROLE, &partitions);
                }
                Ok(Input::Lost(partitions)) => {
                    matcher.forget();
                    facts::partitions_lost(ROLE, &partitions);
                }
                Err(LogError::Unavailable(why)) => patience.wait(&LogError::Unavailable(why), stop).await,
                Err(LogError::Aborted(why)) => {
                    matcher.forget();
                    facts::commit_aborted(ROLE, &why);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes up topics that have appeared. One that the log will not let us have is left out and disturbs nobody.
    async fn read_also(
        &mut self,
        member: &mut L::Member,
        mut topics: Vec<Arc<str>>,
        patience: &mut Patience,
        stop: &mut Stop,
    ) -> Result<(), RoleError> {
        topics.retain(|topic| !self.group.topics.contains(topic));
        for topic in topics {
            loop {
                match member.read_also(vec![topic.clone()]).await {
                    Ok(()) => {
                        patience.served();
                        self.group.topics.push(topic);
                    }
                    Err(LogError::Unavailable(why)) if !stop.is_ordered() => {
                        patience.wait(&LogError::Unavailable(why), stop).await;
                        continue;
                    }
                    Err(LogError::Fenced(why)) => return Err(LogError::Fenced(why).into()),
                    Err(error) => facts::log_failed(ROLE, &error),
                }
                break;
            }
        }
        Ok(())
    }

    /// Commits records as one batch or several, each against the newest snapshot of its time. Answers with the error
    /// of a log that will not take them as they are.
    async fn batch(
        &mut self,
        member: &mut L::Member,
        matcher: &mut Matcher,
        mut records: Vec<Record>,
        patience: &mut Patience,
        stop: &mut Stop,
    ) -> Result<Option<LogError>, RoleError> {
        while !records.is_empty() {
            let started = Instant::now();
            let directory = self.view.current().ok_or(RoleError::NoDirectory)?;
            let mut batch = matcher.step(&records, &directory, self.schemas.decoder());
            if let (0, Some(schema)) = (batch.taken, batch.needs) {
                if !self.learn(schema, member, matcher, &mut records, patience, stop).await? {
                    return Ok(None);
                }
                continue;
            }
            self.seam.tamper(&mut batch);
            loop {
                match member.commit(batch.outputs.clone(), batch.offsets.clone()).await {
                    Ok(()) => break,
                    Err(LogError::Unavailable(why)) if !stop.is_ordered() => {
                        patience.wait(&LogError::Unavailable(why), stop).await;
                    }
                    // The same records come again from the committed offsets on.
                    Err(LogError::Aborted(why)) | Err(LogError::Unavailable(why)) => {
                        matcher.forget();
                        facts::commit_aborted(ROLE, &why);
                        return Ok(None);
                    }
                    Err(LogError::Fenced(why)) => return Err(LogError::Fenced(why).into()),
                    Err(error) => return Ok(Some(error)),
                }
            }
            patience.served();
            state_facts(&batch, &records[..batch.taken], directory.version(), started.elapsed());
            records.drain(..batch.taken);
        }
        Ok(None)
    }

    /// Waits for a schema with the records that need it in hand. A registry that is down is nobody's fault: nothing is passed
    /// over, the partitions are paused, and the group goes on being polled, so that it does not take this member for dead.
    ///
    /// Answers whether to go on; `false` is the order to stop.
    async fn learn(
        &self,
        schema: SchemaRef,
        member: &mut L::Member,
        matcher: &mut Matcher,
        records: &mut Vec<Record>,
        patience: &mut Patience,
        stop: &mut Stop,
    ) -> Result<bool, RoleError> {
        let learned = self.schemas.insist(schema);
        tokio::pin!(learned);
        tokio::select! {
            biased;
            _ = stop.ordered() => return Ok(false),
            () = &mut learned => return Ok(true),
            _ = tokio::time::sleep(PAUSE_AFTER) => {}
        }
        while let Err(error) = member.pause().await {
            wait_out(error, patience, stop).await?;
            if stop.is_ordered() {
                return Ok(false);
            }
        }
        loop {
            let input = tokio::select! {
                biased;
                _ = stop.ordered() => return Ok(false),
                () = &mut learned => break,
                input = member.next() => input,
            };
            match input {
                // What was on its way when the partitions were paused.
                Ok(Input::Records(more)) => records.extend(more),
                // These come again, from the committed offsets on.
                Ok(Input::Assigned(partitions)) => {
                    matcher.forget();
                    let partitions: Vec<_> = partitions.into_iter().map(|(partition, _)| partition).collect();
                    give_up(records, &partitions);
                    facts::partitions_assigned(ROLE, &partitions);
                }
                Ok(Input::Revoking(partitions)) => {
                    matcher.forget();
                    give_up(records, &partitions);
                    member.release(&partitions).await?;
                    facts::partitions_released(ROLE, &partitions);
                }
                Ok(Input::Lost(partitions)) => {
                    matcher.forget();
                    give_up(records, &partitions);
                    facts::partitions_lost(ROLE, &partitions);
                }
                Err(LogError::Aborted(why)) => {
                    matcher.forget();
                    records.clear();
                    facts::commit_aborted(ROLE, &why);
                }
                Err(error) => wait_out(error, patience, stop).await?,
            }
        }
        while let Err(error) = member.resume().await {
            wait_out(error, patience, stop).await?;
            if stop.is_ordered() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Records of partitions that are no longer ours, or ours anew, are not ours to match.
fn give_up(records: &mut Vec<Record>, partitions: &[TopicPartition]) {
    records.retain(|record| !partitions.contains(&record.topic_partition()));
}

async fn wait_out(error: LogError, patience: &mut Patience, stop: &mut Stop) -> Result<(), RoleError> {
    match error {
        LogError::Unavailable(_) => {
            patience.wait(&error, stop).await;
            Ok(())
        }
        error => Err(error.into()),
    }
}

/// Why a membership of the group ended.
enum Ended {
    Stopped,
    /// An output topic is missing, forbidden, or takes no records of this size; the dead letters' for one. Nothing goes
    /// on and nothing is lost until somebody has mended it: whoever joins gets the same records again.
    Refused(LogError),
}

/// Stated once the batch is committed, so that an aborted one is not counted twice.
fn state_facts(batch: &Batch, records: &[Record], index_version: i64, took: Duration) {
    for same in records.chunk_by(|a, b| a.topic == b.topic) {
        facts::events_read(&same[0].topic, same.len());
        let tombstones = same.iter().filter(|record| record.value.is_none()).count();
        if tombstones > 0 {
            facts::tombstones_skipped(&same[0].topic, tombstones);
        }
    }
    for (position, poison) in &batch.set_aside {
        facts::dead_lettered(position, poison.reason.as_str(), &poison.detail);
    }
    facts::batch_matched(facts::Matched {
        events: batch.counts.records as usize,
        notifications: batch.counts.deliveries as usize,
        unmatched: batch.counts.unmatched as usize,
        unknown_type: batch.counts.unknown_type as usize,
        index_version,
        took,
    });
}

/// Waits out a log that fails, and says when that has gone on for long.
struct Patience {
    readiness: Readiness,
    failing_since: Option<Instant>,
    backoff: Duration,
}

// === impl Patience ===

impl Patience {
    fn new(readiness: Readiness) -> Patience {
        Patience { readiness, failing_since: None, backoff: BACKOFF }
    }

    async fn wait(&mut self, error: &LogError, stop: &mut Stop) {
        facts::log_failed(ROLE, error);
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= UNREADY_AFTER {
            self.readiness.not_ready(ROLE, "the log does not answer");
        }
        tokio::select! {
            biased;
            _ = stop.ordered() => {}
            _ = tokio::time::sleep(self.backoff) => {}
        }
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    /// Waits before another try that most likely fails as well.
    async fn refused(&mut self, error: &LogError, stop: &mut Stop) {
        self.readiness.not_ready(ROLE, format!("what is matched cannot be written: {error}"));
        self.wait(error, stop).await;
    }

    fn served(&mut self) {
        if self.failing_since.take().is_some() {
            self.readiness.ready(ROLE);
            self.backoff = BACKOFF;
        }
    }
}
