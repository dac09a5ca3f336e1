//! A replay: reads a range of events again, lets `tidings_core::replay` decide, appends what is new.
//!
//! Not a service but a job, carried out by whoever was asked. One at a time of each partition: the next one fences it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_core::{
    directory::Directory,
    domain::{Day, Known, NotificationId, Record, TopicPartition},
    filter::Fault,
    matcher::{IndexVersion, Matcher, Options},
    replay::{Basis, Batch, Counts, History, Marker, Range, Run, Versions},
};
use tokio::sync::mpsc;

use super::{Clock, DirectoryView, SystemClock};
use crate::{
    log::{Appender, Log, LogError, Reader},
    sources::{EventsTopics, Schemas},
    store::{Store, StoreError},
    telemetry::facts,
};

/// What replays of one installation have in common.
#[derive(Clone)]
pub struct Replays<L, S> {
    pub log: L,
    pub store: S,
    pub view: DirectoryView,
    pub schemas: Schemas,
    pub options: Options,
    /// The matchers' group: where it has not come yet, there is nothing to replay.
    pub group: String,
    /// Topics of events.
    pub events: EventsTopics,
    pub directory: Arc<str>,
    /// The first part of the names of appenders.
    pub prefix: String,
    /// For how long the store keeps what it knows.
    pub retention_days: u32,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub range: Range,
    pub basis: Basis,
    /// Counts, and writes nothing.
    pub dry_run: bool,
    /// Starts at the beginning, even if an earlier run of the same replay has come further.
    pub again: bool,
}

/// What a replay tells on its way. The last word is [`Told::Finished`], or an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Reading what has been recorded about the range.
    Preparing,
    /// The first event is of a day whose outcomes the store has dropped: what was delivered is not known any more.
    Forgotten {
        first: Day,
        kept_from: Day,
    },
    /// An earlier run of the same replay had come to this place.
    Resumed(Marker),
    Progress(Marker),
    Finished(Marker),
    /// An earlier run has finished; nothing was done. Carries the newest version of the directory, too.
    Complete(Marker, i64),
}

/// Why a replay is not begun or breaks off. One that breaks off goes on where it was when it is asked for again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{0} is no topic of events")]
    NoSuchTopic(String),
    #[error("the replay is refused")]
    Refused(Vec<Fault>),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the directory is no longer followed")]
    NoDirectory,
    /// Whoever asked is gone.
    #[error("nobody listens any longer")]
    Unheard,
}

/// The directory at one version after another.
struct Fold<L: Log> {
    log: L,
    topic: TopicPartition,
    directory: Directory,
    reader: Option<L::Reader>,
    /// Read, but of a later version.
    ahead: VecDeque<Record>,
}

/// Bytes of deliveries in one append; the event that crosses it still belongs to it.
const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;
/// Notifications that the store is asked for at once.
const MAX_LOOK_UP: usize = 1_000;
/// How long the log may take to give more of what it has.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Replays ===

impl<L: Log, S: Store> Replays<L, S> {
    /// Looks whether the range can be replayed at all. What is recorded about it is looked at later.
    pub async fn check(&self, range: &Range) -> Result<(), ReplayError> {
        let TopicPartition { topic, partition } = &range.partition;
        if !self.events.now().contains(topic) {
            return Err(ReplayError::NoSuchTopic(topic.to_string()));
        }
        let partitions = crate::log::partition_count(&self.log, topic).await?;
        if *partition >= partitions {
            let (found, allowed) = (partition.to_string(), format!("less than {partitions}, as {topic} has"));
            return Err(ReplayError::Refused(vec![Fault { path: "partition".to_owned(), found, allowed }]));
        }
        let bounds = self.log.bounds(range.partition.clone()).await?;
        let committed = self.log.committed(&self.group, topic).await?;
        let matched = committed.iter().find(|(of, _)| *of == range.partition).map_or(bounds.start, |(_, next)| *next);
        match range.faults(bounds.start, matched) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(ReplayError::Refused(faults)),
        }
    }

    /// Carries a replay out and tells how it goes. Nobody listening ends it.
    pub async fn run(&self, request: &Request, tell: &mpsc::Sender<Told>) -> Result<(), ReplayError> {
        let say = |told| async { tell.send(told).await.map_err(|_| ReplayError::Unheard) };
        say(Told::Preparing).await?;
        // Whoever replays this partition now is fenced before its place is read.
        let mut appender = match request.dry_run {
            true => None,
            false => Some(self.log.appender(&self.appender_name(&request.range.partition)).await?),
        };
        let (versions, marker) = self.recorded(request).await?;
        let marker = marker.filter(|_| !request.again && !request.dry_run);
        let newest = self.view.current().ok_or(ReplayError::NoDirectory)?;
        if let Some(marker) = marker.filter(|marker| marker.next >= request.range.to) {
            return say(Told::Complete(marker, newest.version())).await;
        }
        if let Some(marker) = marker {
            say(Told::Resumed(marker)).await?;
        }
        let runs = match request.basis {
            Basis::Now => Vec::new(),
            Basis::Recorded => self.foldable(&versions).await?,
        };
        let mut at = marker.unwrap_or(Marker { next: request.range.from, index_version: 0, counts: Counts::default() });
        let mut fold = Fold::new(self.log.clone(), self.directory.clone(), newest.emptied());
        let mut events = self.log.reader(request.range.partition.clone(), at.next).await?;
        let matcher = Matcher::new(self.options.clone());
        let mut warned = false;
        while at.next < request.range.to {
            let records = more(&mut events).await?;
            if let Some((first, kept_from)) = self.forgotten(&records).filter(|_| !warned) {
                say(Told::Forgotten { first, kept_from }).await?;
                warned = true;
            }
            let mut batch = Batch::default();
            for record in records.iter().take_while(|record| record.offset < request.range.to) {
                let directory = match version_of(&runs, record.offset) {
                    Some(version) => fold.at(version).await?,
                    None => &newest,
                };
                if let Some(schema) = self.schemas.decoder().needs(record) {
                    self.schemas.insist(schema).await;
                }
                batch.add(&matcher, record, directory, self.schemas.decoder(), SystemClock.now());
                (at.next, at.index_version) = (record.offset + 1, directory.version());
                if batch.bytes() >= MAX_APPEND_BYTES {
                    self.settle(request, std::mem::take(&mut batch), &mut at, &mut appender).await?;
                    say(Told::Progress(at)).await?;
                }
            }
            // Past holes, and past what is not a part of the range.
            at.next = at.next.max(events.position().min(request.range.to));
            self.settle(request, batch, &mut at, &mut appender).await?;
            say(Told::Progress(at)).await?;
        }
        facts::replayed(&request.range.partition, at.counts.events, at.counts.new, request.dry_run);
        say(Told::Finished(at)).await
    }

    /// Writes what is new and the place, together.
    async fn settle(
        &self,
        request: &Request,
        batch: Batch,
        at: &mut Marker,
        appender: &mut Option<L::Appender>,
    ) -> Result<(), ReplayError> {
        let known = self.known(&batch).await?;
        let (mut outputs, counts) = batch.settle(&known, self.oldest_kept());
        at.counts = at.counts.plus(counts);
        if let Some(appender) = appender {
            outputs.push(at.output(&self.options.index_versions, &request.range, request.basis));
            appender.append(outputs).await?;
        }
        Ok(())
    }

    async fn known(&self, batch: &Batch) -> Result<Vec<(NotificationId, Known)>, ReplayError> {
        let mut known = Vec::new();
        for ids in batch.ids().chunks(MAX_LOOK_UP) {
            known.extend(self.store.look_up(ids).await?);
        }
        Ok(known)
    }

    /// Reads the index versions topic: which versions held for the range, and how far an earlier run has come.
    async fn recorded(&self, request: &Request) -> Result<(Versions, Option<Marker>), ReplayError> {
        let mut versions = Versions::new(request.range.clone());
        let mut marker = None;
        let topic = &self.options.index_versions;
        for partition in 0..crate::log::partition_count(&self.log, topic).await? {
            let place = TopicPartition { topic: topic.clone(), partition };
            let bounds = self.log.bounds(place.clone()).await?;
            let mut reader = self.log.reader(place, bounds.start).await?;
            while reader.position() < bounds.end {
                for record in more(&mut reader).await? {
                    if let Some(said) = IndexVersion::read(&record) {
                        versions.say(&said, record.timestamp);
                    }
                    marker = Marker::read(&record, &request.range, request.basis).or(marker);
                }
            }
        }
        Ok((versions, marker))
    }

    /// The runs of the range, or every one whose version is lost.
    async fn foldable(&self, versions: &Versions) -> Result<Vec<Run>, ReplayError> {
        const KEPT: &str = "min.compaction.lag.ms";
        let topic = TopicPartition { topic: self.directory.clone(), partition: 0 };
        let found = self.log.topics(std::slice::from_ref(&topic.topic)).await?;
        let settings = found.iter().flat_map(|state| &state.settings);
        let kept = settings.filter(|(name, _)| name == KEPT).find_map(|(_, value)| value.parse().ok());
        let end = self.log.bounds(topic).await?.end;
        let history = History { end, kept_ms: kept.unwrap_or(0), now: SystemClock.now() };
        match versions.faults(&history) {
            faults if faults.is_empty() => Ok(versions.runs()),
            faults => Err(ReplayError::Refused(faults)),
        }
    }

    fn oldest_kept(&self) -> Day {
        let Day(today) = SystemClock.now().day();
        Day(today.saturating_sub_unsigned(self.retention_days))
    }

    /// The day of the first of these events and the first day that the store knows of, if that is later.
    fn forgotten(&self, records: &[Record]) -> Option<(Day, Day)> {
        let (first, kept_from) = (records.first()?.timestamp.day(), self.oldest_kept());
        (first < kept_from).then_some((first, kept_from))
    }

    fn appender_name(&self, partition: &TopicPartition) -> String {
        format!("{}replay-{partition}", self.prefix)
    }
}

/// The version of the run that an event is in. The runs of a range that is not refused have no gaps.
fn version_of(runs: &[Run], offset: i64) -> Option<i64> {
    let after = runs.partition_point(|run| run.from <= offset);
    after.checked_sub(1).map(|index| runs[index].version)
}

/// What the reader has next; nothing only if it has stepped over a hole.
async fn more(reader: &mut impl Reader) -> Result<Vec<Record>, LogError> {
    let (before, began) = (reader.position(), Instant::now());
    loop {
        let records = reader.next(Duration::from_secs(1)).await?;
        if !records.is_empty() || reader.position() > before {
            return Ok(records);
        }
        if began.elapsed() >= READ_TIMEOUT {
            let waited = READ_TIMEOUT.as_secs();
            return Err(LogError::Unavailable(format!("nothing at offset {before} within {waited} s")));
        }
    }
}

// === impl Fold ===

impl<L: Log> Fold<L> {
    fn new(log: L, topic: Arc<str>, directory: Directory) -> Fold<L> {
        let topic = TopicPartition { topic, partition: 0 };
        Fold { log, topic, directory, reader: None, ahead: VecDeque::new() }
    }

    /// The directory as it was at exactly this version. Quick if versions are asked for in rising order.
    async fn at(&mut self, version: i64) -> Result<&Directory, LogError> {
        if version < self.directory.version() {
            self.directory = self.directory.emptied();
            self.reader = None;
            self.ahead.clear();
        }
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.log.reader(self.topic.clone(), 0).await?,
        };
        loop {
            while let Some(record) = self.ahead.pop_front_if(|record| record.offset < version) {
                self.directory.apply(&record);
            }
            if !self.ahead.is_empty() || reader.position() >= version {
                break;
            }
            self.ahead.extend(more(&mut reader).await?);
        }
        self.directory.advance(version);
        self.directory.settle();
        self.reader = Some(reader);
        Ok(&self.directory)
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::domain::Timestamp;

    use super::*;

    #[test]
    fn an_event_belongs_to_the_run_that_began_last() {
        let run = |from, to, version| Run { from, to, version, said_at: Timestamp(0) };
        let runs = [run(10, 20, 1), run(20, 30, 7)];
        for (offset, expected) in [(10, Some(1)), (19, Some(1)), (20, Some(7)), (29, Some(7)), (9, None)] {
            assert_eq!(version_of(&runs, offset), expected, "{offset}");
        }
    }
}
