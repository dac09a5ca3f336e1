//! Which index version held for which events of a range, and whether the directory can still be folded to it.

use super::Range;
use crate::{domain::Timestamp, filter::Fault, matcher::IndexVersion};

/// What the records of the index versions topic, read in order, say of one range.
#[derive(Clone, Debug)]
pub struct Versions {
    range: Range,
    said: Vec<Said>,
}

/// From this event on.
#[derive(Clone, Copy, Debug)]
struct Said {
    from: i64,
    version: i64,
    at: Timestamp,
}

/// Events that were matched against one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub from: i64,
    /// Exclusive.
    pub to: i64,
    pub version: i64,
    /// When the matcher last wrote down that this version was the newest.
    pub said_at: Timestamp,
}

/// What is known of the directory topic.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// The next offset that it will give out.
    pub end: i64,
    /// For how long the topic keeps a record that a newer one of its key has displaced.
    pub kept_ms: i64,
    pub now: Timestamp,
}

/// How much later than the matcher has seen a version its log may have written that down: a version counts as younger
/// than [`History::kept_ms`] only with this much to spare.
const SPARE_MS: i64 = 3_600_000;

// === impl Versions ===

impl Versions {
    pub fn new(range: Range) -> Versions {
        Versions { range, said: Vec::new() }
    }

    /// The next record of the topic, written at `at`. It takes the place of what earlier ones said of the same events:
    /// they were matched again, after a crash without transactions or because somebody set the group back.
    pub fn say(&mut self, said: &IndexVersion, at: Timestamp) {
        if said.partition != self.range.partition || said.first >= self.range.to {
            return;
        }
        let from = said.first.max(self.range.from);
        self.said.retain(|earlier| earlier.from < from);
        match self.said.last_mut() {
            // Said again, as every day: it was still the newest then.
            Some(last) if last.version == said.version => last.at = last.at.max(at),
            _ => self.said.push(Said { from, version: said.version, at }),
        }
    }

    /// In the order of offsets, without gaps but for one that may be at the beginning.
    pub fn runs(&self) -> Vec<Run> {
        let ends = self.said.iter().skip(1).map(|next| next.from).chain([self.range.to]);
        let run = |(said, to): (&Said, i64)| Run { from: said.from, to, version: said.version, said_at: said.at };
        self.said.iter().zip(ends).map(run).collect()
    }

    /// Every part of the range whose version is not known or cannot be folded exactly.
    pub fn faults(&self, directory: &History) -> Vec<Fault> {
        let runs = self.runs();
        let known_from = runs.first().map_or(self.range.to, |run| run.from);
        let unknown = (known_from > self.range.from)
            .then(|| fault(self.range.from, known_from, "no index version is recorded".to_owned()));
        let lost = runs.iter().filter_map(|run| {
            let reason = directory.refusal(run)?;
            Some(fault(run.from, run.to, reason))
        });
        unknown.into_iter().chain(lost).collect()
    }
}

fn fault(from: i64, to: i64, found: String) -> Fault {
    let allowed = "a range after it, or --now, which matches against the directory as it is now".to_owned();
    Fault { path: format!("events {from} to {to}"), found, allowed }
}

// === impl History ===

impl History {
    /// Why the directory cannot be folded exactly to a run's version.
    ///
    /// Whatever has displaced a record of that version came after the matcher called the version the newest. Compaction
    /// spares a displaced record until its successor is [`kept_ms`](History::kept_ms) old: so a version called the
    /// newest less long ago than that is whole. So is the newest of all, however old.
    fn refusal(&self, run: &Run) -> Option<String> {
        let Run { version, said_at, .. } = *run;
        if version > self.end {
            return Some(format!("index version {version}, and the directory topic ends at {}", self.end));
        }
        let whole = version == self.end || self.now.since(said_at) + SPARE_MS < self.kept_ms;
        let reason = || {
            format!(
                "index version {version} of {said_at}, which compaction may have thinned: the directory topic keeps \
                 what is displaced for {} hours (min.compaction.lag.ms)",
                self.kept_ms / 3_600_000
            )
        };
        (!whole).then(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TopicPartition;

    const DAY_MS: i64 = 86_400_000;
    const NOW: Timestamp = Timestamp(100 * DAY_MS);

    fn partition(topic: &str) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: 3 }
    }

    /// Each record is (topic, first event, version, days ago). The range is 100 to 200.
    fn versions(records: &[(&str, i64, i64, i64)]) -> Versions {
        let mut versions = Versions::new(Range { partition: partition("events"), from: 100, to: 200 });
        for (topic, first, version, days_ago) in records {
            let said = IndexVersion { partition: partition(topic), first: *first, version: *version };
            versions.say(&said, NOW.plus(-days_ago * DAY_MS));
        }
        versions
    }

    #[test]
    fn runs_are_what_the_last_word_on_each_event_says() {
        let check = |records: &[(&str, i64, i64, i64)], expected: &[(i64, i64, i64)]| {
            let runs: Vec<_> = versions(records).runs().iter().map(|run| (run.from, run.to, run.version)).collect();
            assert_eq!(runs, expected, "{records:?}");
        };
        check(&[], &[]);
        check(&[("events", 0, 5, 0)], &[(100, 200, 5)]);
        check(&[("events", 0, 5, 0), ("events", 150, 6, 0), ("events", 200, 7, 0)], &[(100, 150, 5), (150, 200, 6)]);
        check(&[("events", 0, 5, 0), ("events", 50, 6, 0)], &[(100, 200, 6)]);
        check(&[("other", 0, 5, 0), ("events", 120, 6, 0)], &[(120, 200, 6)]);
        check(&[("events", 0, 5, 1), ("events", 150, 5, 0)], &[(100, 200, 5)]);
        // After a crash between outputs and offsets, events from 120 on were matched again.
        let again = [("events", 0, 5, 0), ("events", 120, 6, 0), ("events", 160, 7, 0), ("events", 120, 8, 0)];
        check(&again, &[(100, 120, 5), (120, 200, 8)]);
    }

    #[test]
    fn a_version_that_may_be_thinned_or_is_not_there_is_refused_by_its_events() {
        let check = |records: &[(&str, i64, i64, i64)], expected: &[&str]| {
            let history = History { end: 9, kept_ms: 14 * DAY_MS, now: NOW };
            let faults: Vec<String> = versions(records).faults(&history).iter().map(ToString::to_string).collect();
            let said = faults.iter().zip(expected).all(|(fault, words)| fault.contains(words));
            assert!(faults.len() == expected.len() && said, "{records:?}: {faults:?}");
        };
        check(&[("events", 0, 5, 13)], &[]);
        check(&[("events", 0, 5, 14)], &["events 100 to 200"]);
        check(&[("events", 0, 5, 14), ("events", 150, 5, 13)], &[]);
        check(&[("events", 0, 5, 15), ("events", 150, 6, 13)], &["events 100 to 150"]);
        check(&[("events", 0, 9, 90)], &[]);
        check(&[("events", 0, 10, 0)], &["ends at 9"]);
        check(&[], &["events 100 to 200: found no index version is recorded"]);
        check(&[("events", 130, 5, 15)], &["events 100 to 130", "events 130 to 200"]);
    }
}
