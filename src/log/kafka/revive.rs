//! What if librdkafka does not read a partition that it was given.
//!
//! Pausing, resuming and starting a partition are messages between librdkafka's threads, and each may overtake another: while a
//! broker comes back, a partition that was lost and assigned again can stay paused for ever, without a word
//! (<https://github.com/confluentinc/librdkafka/issues/5591>). So a partition of which nothing was heard since it was taken up is looked
//! at: if committed records lie there, it is given back and taken up once more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::consumer::Consumer;
use tidings_core::domain::{Record, TopicPartition};

use super::{
    records::{offset_list, partition_list},
    worker::Worker,
};

/// Nothing heard for so long is looked at. Each time that it was taken up again in vain, twice as long: where only the ends of
/// transactions follow, there is nothing to hear.
const SILENCE: Duration = Duration::from_secs(5);
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
/// For one partition's end; while its broker is away, nobody hears anything.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Partitions of which no record has come since they were taken up.
#[derive(Debug, Default)]
pub(super) struct Unheard(BTreeMap<TopicPartition, Waiting>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    silence: Duration,
}

// === impl Unheard ===

impl Unheard {
    pub(super) fn expect(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let waiting = Waiting { since: Instant::now(), silence: SILENCE };
        self.0.extend(partitions.into_iter().map(|partition| (partition, waiting)));
    }

    pub(super) fn heard(&mut self, record: &Record) {
        if !self.0.is_empty() {
            self.0.remove(&record.topic_partition());
        }
    }

    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.0.remove(partition);
    }

    /// What was silent until now had a reason.
    pub(super) fn wait_on(&mut self) {
        let now = Instant::now();
        self.0.values_mut().for_each(|waiting| waiting.since = now);
    }

    fn silent(&self) -> Vec<TopicPartition> {
        let now = Instant::now();
        let silent = self.0.iter().filter(|(_, waiting)| now.duration_since(waiting.since) >= waiting.silence);
        silent.map(|(partition, _)| partition.clone()).collect()
    }
}

// === impl Worker ===

impl Worker {
    /// Looks at partitions that have been silent for long, and takes up again those that should not be.
    pub(super) fn revive(&mut self) {
        if self.unheard.0.is_empty() {
            return;
        }
        if self.paused || self.back.is_some() || self.revoking.is_some() || self.assigning.is_some() {
            return self.unheard.wait_on();
        }
        let mut stuck = Vec::new();
        for partition in self.unheard.silent() {
            match self.cluster.bounds_within(&partition, ASK_WITHIN) {
                Ok(bounds) if self.owned.get(&partition).is_some_and(|start| bounds.end > *start) => {
                    stuck.push(partition)
                }
                // All has been read; what comes later comes on its own.
                Ok(_) => self.unheard.forget(&partition),
                Err(error) => {
                    tracing::debug!(group = self.group.name, "asking for the end of a silent partition: {error}");
                    return self.unheard.wait_on();
                }
            }
        }
        if !stuck.is_empty() {
            self.take_up_again(stuck);
        }
    }

    fn take_up_again(&mut self, stuck: Vec<TopicPartition>) {
        let starts = match self.starts(&stuck) {
            Ok(starts) => starts,
            Err(error) => {
                tracing::debug!(group = self.group.name, "asking for the offsets of silent partitions: {error}");
                return self.unheard.wait_on();
            }
        };
        tracing::warn!(group = self.group.name, partitions = ?starts, "silent, although records lie there: taken up again");
        let list = partition_list(&stuck);
        let done = self
            .consumer
            .resume(&list)
            .and_then(|()| self.consumer.incremental_unassign(&list))
            .and_then(|()| offset_list(starts.iter().map(|(partition, offset)| (partition, *offset))))
            .and_then(|list| self.consumer.incremental_assign(&list));
        if !self.check_call(done) {
            return;
        }
        let now = Instant::now();
        for partition in &stuck {
            if let Some(waiting) = self.unheard.0.get_mut(partition) {
                *waiting = Waiting { since: now, silence: (waiting.silence * 2).min(LONGEST_SILENCE) };
            }
        }
    }
}
