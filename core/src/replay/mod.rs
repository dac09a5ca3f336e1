//! Matching a range of events again: what may be, against which versions of the directory, and how far it has come.
//!
//! A replay makes the ids that the matcher made, so whatever the store knows of is left out and only the rest is written
//! to the deliveries topic again. It goes through one partition in the order of offsets and keeps its place in the log,
//! in one append with what it writes: a killed one goes on where it was.
//!
//! What is deliberately absent: dead letters (the matcher has written them), and any guess. A version that cannot be
//! folded exactly any more is a fault, not the next best one.
//!
//! Reading order: this file, [`versions`], [`batch`], [`marker`].

pub mod batch;
pub mod marker;
pub mod versions;

use serde::{Deserialize, Serialize};

pub use batch::Batch;
pub use marker::Marker;
pub use versions::{History, Run, Versions};

use crate::{domain::TopicPartition, filter::Fault};

/// Events of one partition: `from` is the first, `to` the first not to be matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub partition: TopicPartition,
    pub from: i64,
    pub to: i64,
}

/// What events are matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// For each event the version that the matcher has recorded for it.
    Recorded,
    /// The directory as it is now. Pairs that had matched keep their ids, so only new ones are delivered.
    Now,
}

/// What a replay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub events: u64,
    /// Records that cannot be matched; the matcher has set them aside.
    pub poison: u64,
    /// Notifications that the store knows nothing of: delivered.
    pub new: u64,
    /// Notifications that have ended, or wait for their next attempt: left alone.
    pub known: u64,
    /// Of the new ones, those so old that the store has forgotten whether it knew them.
    pub forgotten: u64,
}

// === impl Range ===

impl Range {
    /// What is wrong with it, where the partition holds events from `held` on and the matcher has come to `matched`.
    pub fn faults(&self, held: i64, matched: i64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut refuse = |path: &str, found: i64, allowed: String| {
            faults.push(Fault { path: path.to_owned(), found: found.to_string(), allowed });
        };
        if self.from < held {
            refuse("from", self.from, format!("at least {held}, the first offset still held"));
        }
        if self.to > matched {
            let allowed = format!("at most {matched}, where the matcher is; it will come to the rest by itself");
            refuse("to", self.to, allowed);
        }
        if self.to <= self.from {
            refuse("to", self.to, format!("more than {}, which is from", self.from));
        }
        faults
    }
}

// === impl Counts ===

impl Counts {
    pub fn plus(self, more: Counts) -> Counts {
        Counts {
            events: self.events + more.events,
            poison: self.poison + more.poison,
            new: self.new + more.new,
            known: self.known + more.known,
            forgotten: self.forgotten + more.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_is_held_and_matched() {
        let check = |from: i64, to: i64, expected: &[&str]| {
            let range = Range { partition: TopicPartition { topic: "events".into(), partition: 0 }, from, to };
            let faults: Vec<String> = range.faults(10, 20).iter().map(ToString::to_string).collect();
            let said = faults.iter().zip(expected).all(|(fault, words)| fault.contains(words));
            assert!(faults.len() == expected.len() && said, "{from} to {to}: {faults:?}");
        };
        check(10, 20, &[]);
        check(12, 13, &[]);
        check(9, 20, &["at least 10"]);
        check(10, 21, &["at most 20"]);
        check(15, 15, &["more than 15"]);
        check(5, 50, &["at least 10", "at most 20"]);
    }
}
