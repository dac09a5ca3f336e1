//! A topic in memory: its rules, its partitions, the newest records of each, and who waits for more.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use tidings_core::domain::{Output, Record, TopicPartition};
use tokio::sync::Notify;

use super::{MAX_RECORD_BYTES, hold, storage::StoredTopic};
use crate::log::{Bounds, LogError, TopicSpec, TopicState};

/// Kafka takes no longer names.
const MAX_NAME_CHARS: usize = 249;
/// Far more than one process can use; bounds the memory of tails.
const MAX_PARTITIONS: u32 = 1024;
/// What a record costs in memory beside its bytes: counted so that empty records are not free.
const RECORD_OVERHEAD_BYTES: usize = 64;

pub(super) struct Topic {
    pub name: Arc<str>,
    pub partitions: Vec<Arc<Partition>>,
    pub rules: Rules,
    settings: Vec<(String, String)>,
    watchers: Mutex<Vec<Weak<Notify>>>,
}

/// The settings that the local log obeys, by Kafka's names and with Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// `cleanup.policy`: `delete` or `compact`; both at once is refused.
    pub compacted: bool,
    /// `retention.ms`; -1 is for ever. Not for compacted topics.
    pub retention_ms: Option<i64>,
    /// `min.compaction.lag.ms`: how old a record must be before it displaces an older one of its key.
    pub compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long a tombstone is kept.
    pub tombstone_ms: i64,
    /// `max.message.bytes`
    pub max_record_bytes: usize,
}

/// One partition: where it begins and ends, and its tail. Only the writer changes it, after a commit.
pub(super) struct Partition {
    /// The number under which the file keeps this partition.
    pub slot: u32,
    pub name: TopicPartition,
    tail: Mutex<Tail>,
    tail_bytes: usize,
}

/// The newest records without gaps: the last one has offset `end - 1`.
struct Tail {
    start: i64,
    end: i64,
    records: VecDeque<Record>,
    bytes: usize,
}

/// How many more records and bytes a batch takes. The first record always fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub records: usize,
    pub bytes: usize,
    pub taken: usize,
}

/// What a look into the tail found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// What there was fits the budget or was cut by it; go on from this offset.
    Next(i64),
    /// These records have left memory: the file has them, up to this end.
    Cold { end: i64 },
}

// === impl Topic ===

impl Topic {
    pub fn new(stored: StoredTopic, tail_bytes: usize) -> Result<Topic, LogError> {
        let rules = Rules::read(&stored.settings)?;
        let name: Arc<str> = stored.name.into();
        let partition = |index: u32| {
            let tail = Tail { start: 0, end: 0, records: VecDeque::new(), bytes: 0 };
            Arc::new(Partition {
                slot: stored.first_slot + index,
                name: TopicPartition { topic: name.clone(), partition: index },
                tail: Mutex::new(tail),
                tail_bytes,
            })
        };
        Ok(Topic {
            partitions: (0..stored.partitions).map(partition).collect(),
            name,
            rules,
            settings: stored.settings,
            watchers: Mutex::default(),
        })
    }

    pub fn partition(&self, index: u32) -> Result<&Arc<Partition>, LogError> {
        self.partitions.get(index as usize).ok_or_else(|| {
            let (name, count) = (&self.name, self.partitions.len());
            LogError::Refused(format!("topic {name} has no partition {index}; it has {count}, counted from 0"))
        })
    }

    pub fn state(&self) -> TopicState {
        TopicState {
            name: self.name.clone(),
            partitions: self.partitions.len() as u32,
            settings: self.settings.clone(),
        }
    }

    /// From now on, `changed` is notified whenever the topic has more. Ends when the caller drops it.
    pub fn watch(&self, changed: &Arc<Notify>) {
        let mut watchers = hold(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(changed));
    }

    pub fn wake(&self) {
        for watcher in hold(&self.watchers).iter() {
            if let Some(changed) = watcher.upgrade() {
                changed.notify_one();
            }
        }
    }

    /// Whether the topic takes this record.
    pub fn admit(&self, output: &Output) -> Result<(), LogError> {
        if let Some(index) = output.partition {
            self.partition(index)?;
        }
        let size = size(&output.key, &output.value, &output.headers);
        if size > self.rules.max_record_bytes {
            let (topic, max) = (self.name.to_string(), self.rules.max_record_bytes);
            return Err(LogError::TooLarge { topic, size, max });
        }
        if self.rules.compacted && output.key.is_none() {
            return Err(LogError::Refused(format!(
                "a record without key for topic {}, which is compacted by key",
                self.name
            )));
        }
        Ok(())
    }
}

/// Refuses a topic that Kafka would not take either, or whose settings the local log cannot keep.
pub(super) fn check(spec: &TopicSpec) -> Result<(), LogError> {
    let name = &spec.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(fits) {
        return Err(LogError::Refused(format!(
            "topic name {name:?}: allowed are 1 to {MAX_NAME_CHARS} of a-z A-Z 0-9 . _ -"
        )));
    }
    if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
        let found = spec.partitions;
        return Err(LogError::Refused(format!("topic {name}: {found} partitions; allowed are 1 to {MAX_PARTITIONS}")));
    }
    Rules::read(&spec.settings).map(|_| ())
}

// === impl Rules ===

impl Rules {
    pub fn read(settings: &[(String, String)]) -> Result<Rules, LogError> {
        let mut rules = Rules {
            compacted: false,
            retention_ms: Some(7 * 86_400_000),
            compaction_lag_ms: 0,
            tombstone_ms: 86_400_000,
            max_record_bytes: MAX_RECORD_BYTES,
        };
        for (name, value) in settings {
            match name.as_str() {
                "cleanup.policy" => {
                    rules.compacted = match value.as_str() {
                        "compact" => true,
                        "delete" => false,
                        _ => return Err(refused(name, value, "compact, delete")),
                    }
                }
                "retention.ms" => {
                    let ms = number(name, value, -1)?;
                    rules.retention_ms = (ms >= 0).then_some(ms);
                }
                "min.compaction.lag.ms" => rules.compaction_lag_ms = number(name, value, 0)?,
                "delete.retention.ms" => rules.tombstone_ms = number(name, value, 0)?,
                "max.message.bytes" => rules.max_record_bytes = number(name, value, 0)? as usize,
                _ => {}
            }
        }
        if rules.compacted {
            rules.retention_ms = None;
        }
        Ok(rules)
    }
}

fn number(name: &str, value: &str, least: i64) -> Result<i64, LogError> {
    let read = value.parse().ok().filter(|n| *n >= least);
    read.ok_or_else(|| refused(name, value, &format!("whole numbers from {least}")))
}

fn refused(name: &str, value: &str, allowed: &str) -> LogError {
    LogError::Refused(format!("topic setting {name}: found {value:?}; allowed: {allowed}"))
}

// === impl Partition ===

impl Partition {
    /// What the file held when it was opened.
    pub fn found(&self, bounds: Bounds) {
        let mut tail = hold(&self.tail);
        (tail.start, tail.end) = (bounds.start, bounds.end);
    }

    pub fn bounds(&self) -> Bounds {
        let tail = hold(&self.tail);
        Bounds { start: tail.start, end: tail.end }
    }

    /// Shows committed records to readers; they follow the present end without a gap.
    pub fn publish(&self, records: Vec<Record>) {
        let mut tail = hold(&self.tail);
        for record in records {
            tail.end = record.offset + 1;
            tail.bytes += record_size(&record);
            tail.records.push_back(record);
        }
        while tail.bytes > self.tail_bytes {
            tail.forget_oldest();
        }
    }

    /// Records before `start` are deleted.
    pub fn starts(&self, start: i64) {
        let mut tail = hold(&self.tail);
        tail.start = start;
        while tail.records.front().is_some_and(|oldest| oldest.offset < start) {
            tail.forget_oldest();
        }
    }

    /// Takes records from memory, from an offset on.
    pub fn look(&self, from: i64, budget: &mut Budget, into: &mut Vec<Record>) -> Looked {
        let tail = hold(&self.tail);
        if from >= tail.end {
            return Looked::Next(from);
        }
        let first = tail.end - tail.records.len() as i64;
        if from < first {
            return Looked::Cold { end: tail.end };
        }
        let mut next = from;
        for record in tail.records.range((from - first) as usize..) {
            if !budget.take(record) {
                break;
            }
            into.push(record.clone());
            next = record.offset + 1;
        }
        Looked::Next(next)
    }
}

// === impl Tail ===

impl Tail {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.bytes -= record_size(&oldest);
        }
    }
}

// === impl Budget ===

impl Budget {
    pub fn new(records: usize, bytes: usize) -> Budget {
        Budget { records, bytes, taken: 0 }
    }

    pub fn take(&mut self, record: &Record) -> bool {
        let size = record_size(record);
        if self.taken > 0 && (self.records == 0 || self.bytes < size) {
            return false;
        }
        self.taken += 1;
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        true
    }
}

fn record_size(record: &Record) -> usize {
    RECORD_OVERHEAD_BYTES + size(&record.key, &record.value, &record.headers)
}

fn size(key: &Option<bytes::Bytes>, value: &Option<bytes::Bytes>, headers: &[(String, bytes::Bytes)]) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.as_ref().map_or(0, |k| k.len()) + value.as_ref().map_or(0, |v| v.len()) + headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_kafka_reads_them() {
        let check = |settings: &[(&str, &str)]| {
            let settings: Vec<_> = settings.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            Rules::read(&settings).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[]).unwrap().retention_ms, Some(604_800_000));
        assert_eq!(check(&[("retention.ms", "-1")]).unwrap().retention_ms, None);
        assert_eq!(check(&[("retention.ms", "5"), ("cleanup.policy", "compact")]).unwrap().retention_ms, None);
        assert_eq!(check(&[("max.message.bytes", "10"), ("segment.bytes", "x")]).unwrap().max_record_bytes, 10);
        for (settings, message) in [
            (("retention.ms", "week"), "topic setting retention.ms: found \"week\"; allowed: whole numbers from -1"),
            (("cleanup.policy", "compact,delete"), "found \"compact,delete\"; allowed: compact, delete"),
            (("min.compaction.lag.ms", "-1"), "allowed: whole numbers from 0"),
        ] {
            let error = check(&[settings]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
