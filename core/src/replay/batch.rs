//! Notifications of some events, until it is known which of them are new.

use std::collections::BTreeSet;

use super::Counts;
use crate::{
    codec::Decoder,
    directory::Directory,
    domain::{Day, Known, NotificationId, Output, Record, Timestamp},
    matcher::{Matcher, Rematched},
};

/// What is written with one append.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    found: Vec<Rematched>,
    bytes: usize,
    counts: Counts,
}

// === impl Batch ===

impl Batch {
    /// Matches one event again. All that it makes goes into this batch.
    pub fn add(
        &mut self,
        matcher: &Matcher,
        record: &Record,
        directory: &Directory,
        decoder: &Decoder,
        now: Timestamp,
    ) {
        self.counts.events += 1;
        match matcher.again(record, directory, decoder, now) {
            Ok(found) => {
                self.bytes +=
                    found.iter().map(|f| f.output.value.as_ref().map_or(0, |value| value.len())).sum::<usize>();
                self.found.extend(found);
            }
            Err(_) => self.counts.poison += 1,
        }
    }

    /// Bytes of deliveries so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What to ask the store for.
    pub fn ids(&self) -> Vec<(Day, NotificationId)> {
        self.found.iter().map(|found| (found.day, found.id)).collect()
    }

    /// What is to be delivered, and what came of the batch. The store has forgotten days before `oldest_kept`.
    pub fn settle(self, known: &[(NotificationId, Known)], oldest_kept: Day) -> (Vec<Output>, Counts) {
        let mut counts = self.counts;
        let known: BTreeSet<NotificationId> = known.iter().map(|(id, _)| *id).collect();
        let mut seen = BTreeSet::new();
        let mut outputs = Vec::new();
        for Rematched { id, day, output } in self.found {
            // One event may stand in the topic twice.
            if !seen.insert(id) {
                continue;
            }
            if known.contains(&id) {
                counts.known += 1;
                continue;
            }
            counts.new += 1;
            counts.forgotten += u64::from(day < oldest_kept);
            outputs.push(output);
        }
        (outputs, counts)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{Outcome, Standing};

    fn found(id: u8, day: i32) -> Rematched {
        let value = Some(Bytes::from(vec![id]));
        let output = Output { topic: "deliveries".into(), partition: Some(0), key: None, value, headers: Vec::new() };
        Rematched { id: NotificationId([id; 16]), day: Day(day), output }
    }

    #[test]
    fn only_what_the_store_does_not_know_is_written_and_once() {
        let batch = Batch {
            found: vec![found(1, 9), found(2, 10), found(3, 10), found(4, 11), found(4, 11)],
            ..Batch::default()
        };
        let known = [(2, Standing::Final(Outcome::Exhausted)), (3, Standing::Parked)]
            .map(|(id, standing)| (NotificationId([id; 16]), Known { standing, content: None }));
        let (outputs, counts) = batch.settle(&known, Day(10));
        let written: Vec<&[u8]> = outputs.iter().map(|output| output.value.as_deref().unwrap()).collect();
        assert_eq!(written, [&[1][..], &[4]]);
        assert_eq!(counts, Counts { new: 2, known: 2, forgotten: 1, ..Counts::default() });
    }
}
