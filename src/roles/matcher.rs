//! The matcher's loop: reads a batch, lets `tidings_core::matcher` decide, commits what it says. While that is committed, the next batch
//! is matched, if it is there.

use std::{mem::take, sync::Arc, time::Duration};

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
/// What was matched longer ago than this and could not be committed is matched again, if the directory has changed since.
const STALE_AFTER: Duration = Duration::from_millis(100);
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
        let mut hand = Hand::default();
        loop {
            let input = tokio::select! {
                biased;
                _ = stop.ordered() => return Ok(Ended::Stopped),
                topics = self.events.more() => {
                    self.read_also(member, topics, patience, stop).await?;
                    continue;
                }
                () = std::future::ready(()), if !hand.is_empty() => {
                    if let Some(error) = self.batch(member, &mut matcher, &mut hand, patience, stop).await? {
                        return Ok(Ended::Refused(error));
                    }
                    continue;
                }
                input = member.next() => input,
            };
            match input {
                Ok(Input::Records(records)) => hand.rest = records,
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

    /// Commits one batch of what is in hand, matched against the newest snapshot of its time, and matches the next meanwhile.
    /// Answers with the error of a log that will not take it as it is.
    async fn batch(
        &self,
        member: &mut L::Member,
        matcher: &mut Matcher,
        hand: &mut Hand,
        patience: &mut Patience,
        stop: &mut Stop,
    ) -> Result<Option<LogError>, RoleError> {
        if hand.matched.as_ref().is_some_and(|matched| self.is_stale(matched)) {
            matcher.forget();
            hand.take_back(None);
        }
        if hand.matched.is_none()
            && let Some(schema) = self.match_rest(matcher, hand)?
        {
            if !self.learn(schema, member, matcher, &mut hand.rest, patience, stop).await? {
                hand.clear();
            }
            return Ok(None);
        }
        let Some(mut matched) = hand.matched.take() else { return Ok(None) };
        self.seam.tamper(&mut matched.batch);
        let mut outcome = Ok(None);
        let (outputs, offsets) = (take(&mut matched.batch.outputs), take(&mut matched.batch.offsets));
        let done = if hand.rest.is_empty() {
            let ahead = |records| {
                hand.tell();
                hand.rest = records;
                // A schema that is missing is waited for afterwards.
                outcome = self.match_rest(matcher, hand);
            };
            member.commit_ahead(outputs, offsets, ahead).await
        } else {
            member.commit_holding(outputs, offsets).await
        };
        hand.tell();
        outcome?;
        match done {
            Ok(stands) => {
                if !stands {
                    matcher.forget();
                    hand.clear();
                }
                patience.served();
                matched.took = matched.at.elapsed();
                hand.committed = Some(matched);
                if hand.matched.is_none() {
                    hand.tell();
                }
            }
            // Nothing of it has happened: the same once more.
            Err(LogError::Unavailable(why)) if !stop.is_ordered() => {
                hand.take_back(matched);
                matcher.forget();
                patience.wait(&LogError::Unavailable(why), stop).await;
            }
            // The same records come again from the committed offsets on.
            Err(LogError::Aborted(why)) | Err(LogError::Unavailable(why)) => {
                matcher.forget();
                hand.clear();
                facts::commit_aborted(ROLE, &why);
            }
            Err(LogError::Fenced(why)) => return Err(LogError::Fenced(why).into()),
            Err(error) => return Ok(Some(error)),
        }
        Ok(None)
    }

    /// Matches what is in hand, as much of it as makes one batch. Answers with the schema without which nothing can be.
    fn match_rest(&self, matcher: &mut Matcher, hand: &mut Hand) -> Result<Option<SchemaRef>, RoleError> {
        let at = Instant::now();
        let directory = self.view.current().ok_or(RoleError::NoDirectory)?;
        let batch = matcher.step(&hand.rest, &directory, self.schemas.decoder());
        if let (0, Some(schema)) = (batch.taken, batch.needs) {
            return Ok(Some(schema));
        }
        let after = hand.rest.split_off(batch.taken);
        let records = std::mem::replace(&mut hand.rest, after);
        hand.matched = Some(Matched { records, batch, index_version: directory.version(), at, took: Duration::ZERO });
        Ok(None)
    }

    /// A commit may take long, and what was matched meanwhile must not lag behind the directory.
    fn is_stale(&self, matched: &Matched) -> bool {
        matched.at.elapsed() >= STALE_AFTER
            && self.view.current().is_some_and(|directory| directory.version() > matched.index_version)
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

/// Records that were read and are not committed yet. The next that are read are not taken before these are gone.
#[derive(Default)]
struct Hand {
    /// The last batch, if the next is ready: what is to be told of it, and giving back its memory, has time until that one is on its way.
    committed: Option<Matched>,
    matched: Option<Matched>,
    /// What follows, not matched yet.
    rest: Vec<Record>,
}

struct Matched {
    records: Vec<Record>,
    batch: Batch,
    index_version: i64,
    at: Instant,
    /// From the beginning of matching to the commit.
    took: Duration,
}

// === impl Hand ===

impl Hand {
    fn is_empty(&self) -> bool {
        self.matched.is_none() && self.rest.is_empty()
    }

    /// What was matched is to be matched again: `committing`, which was taken out, and what comes after it.
    fn take_back(&mut self, committing: impl Into<Option<Matched>>) {
        let rest = take(&mut self.rest);
        let matched = committing.into().into_iter().chain(self.matched.take());
        self.rest = matched.flat_map(|matched| matched.records).chain(rest).collect();
    }

    fn clear(&mut self) {
        (self.matched, self.rest) = (None, Vec::new());
    }

    fn tell(&mut self) {
        self.committed.take().iter().for_each(state_facts);
    }
}

impl Drop for Hand {
    /// What is committed is told, however the role ends.
    fn drop(&mut self) {
        self.tell();
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
fn state_facts(Matched { records, batch, index_version, took, .. }: &Matched) {
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
        index_version: *index_version,
        took: *took,
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
