//! What is to be written to the store, and what is being written: one batch at a time.

use super::{MAX_WRITE, Ticket};
use crate::domain::{Attempt, Epoch, Parked, Timestamp, WriteBatch};

/// Rows on their way to the store. An offset is settled only when its entry comes out of [`Ledger::written`].
#[derive(Debug, Default)]
pub struct Ledger {
    pending: Vec<Entry>,
    pending_since: Option<Timestamp>,
    writing: Option<Vec<Entry>>,
    /// The epochs that the batch under way was given.
    fences: Vec<(u32, Epoch)>,
    /// Entries, pending or being written, whose request has been answered.
    answered: usize,
}

/// What is written of one notification, in one transaction.
#[derive(Clone, Debug)]
pub struct Entry {
    pub ticket: Ticket,
    pub partition: u32,
    pub attempt: Option<Attempt>,
    pub then: Then,
}

/// Where the notification stands after the write.
#[derive(Clone, Debug)]
pub enum Then {
    Ended {
        /// Whether it has a parked row to delete.
        unpark: bool,
    },
    Parked(Parked),
}

// === impl Entry ===

impl Entry {
    fn was_answered(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.attempt > 0)
    }
}

// === impl Ledger ===

impl Ledger {
    pub fn add(&mut self, entry: Entry, now: Timestamp) {
        self.answered += usize::from(entry.was_answered());
        self.pending_since.get_or_insert(now);
        self.pending.push(entry);
    }

    /// Notifications answered and not yet durable.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Starts a write if none is under way and there is enough, or it has waited long enough.
    pub fn begin(&mut self, now: Timestamp, linger_ms: i64) -> bool {
        let Some(since) = self.pending_since else { return false };
        if self.writing.is_some() || (self.pending.len() < MAX_WRITE && now.since(since) < linger_ms) {
            return false;
        }
        let rest = self.pending.split_off(self.pending.len().min(MAX_WRITE));
        self.writing = Some(std::mem::replace(&mut self.pending, rest));
        self.pending_since = (!self.pending.is_empty()).then_some(since);
        true
    }

    /// The batch under way as the store takes it; `None` if nothing of it is ours any more.
    pub fn batch(&mut self, epoch: impl Fn(u32) -> Option<Epoch>) -> Option<WriteBatch> {
        let mut batch = WriteBatch::default();
        for entry in self.writing.iter().flatten() {
            let Some(epoch) = epoch(entry.partition) else { continue };
            if !batch.fences.iter().any(|(partition, _)| *partition == entry.partition) {
                batch.fences.push((entry.partition, epoch));
            }
            batch.attempts.extend(entry.attempt.clone());
            match &entry.then {
                Then::Parked(parked) => batch.park.push(parked.clone()),
                Then::Ended { unpark: true } => {
                    batch.unpark.extend(entry.attempt.as_ref().map(|row| (row.day, row.notification)))
                }
                Then::Ended { unpark: false } => {}
            }
        }
        self.fences.clone_from(&batch.fences);
        (!batch.fences.is_empty()).then_some(batch)
    }

    /// The epoch that the batch under way was given for a partition.
    pub fn fence(&self, partition: u32) -> Option<Epoch> {
        self.fences.iter().find(|(number, _)| *number == partition).map(|(_, epoch)| *epoch)
    }

    /// The batch under way is durable (or void): its entries.
    pub fn written(&mut self) -> Vec<Entry> {
        let entries = self.writing.take().unwrap_or_default();
        self.answered -= entries.iter().filter(|entry| entry.was_answered()).count();
        entries
    }

    /// Takes a lost partition's rows out. A batch under way stays under way: its answer is still to come.
    pub fn drop_partition(&mut self, partition: u32) {
        let answered = &mut self.answered;
        let mut keep = |entry: &Entry| {
            let keep = entry.partition != partition;
            *answered -= usize::from(!keep && entry.was_answered());
            keep
        };
        self.pending.retain(&mut keep);
        self.writing.iter_mut().for_each(|writing| writing.retain(&mut keep));
        if self.pending.is_empty() {
            self.pending_since = None;
        }
    }

    pub fn next_flush(&self, linger_ms: i64) -> Option<Timestamp> {
        if self.writing.is_some() {
            return None;
        }
        self.pending_since.map(|since| since.plus(linger_ms))
    }
}
