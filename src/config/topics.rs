//! Topic names, and the settings they are to have.
//!
//! Each setting says why it is what it is, because `tidings check` compares them with what a cluster has.

use std::sync::Arc;

use super::Settings;
use crate::log::TopicSpec;

/// The topics of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Never empty. The first takes what is published through the API.
    pub events: Vec<Arc<str>>,
    pub directory: Arc<str>,
    pub deliveries: Arc<str>,
    pub dead_letters: Arc<str>,
    pub index_versions: Arc<str>,
}

/// The largest record of any topic, in bytes: a delivery or dead letter with the largest event always fits.
pub const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How much longer than the events what a replay needs of the directory is kept: matchers say at least once a day which
/// version holds, and an event may wait for its matcher.
const HISTORY_MARGIN_MS: u64 = 2 * DAY_MS;

/// What `tidings topics create` creates, in the order of the flow. Foreign events topics are left to their owners.
pub fn topic_specs(settings: &Settings) -> Vec<TopicSpec> {
    let topics = settings.topics();
    let retention_ms = u64::from(settings.retention.days) * DAY_MS;
    // What the last events still held were matched against was written before them, and displaced after.
    let history_ms = retention_ms + HISTORY_MARGIN_MS;
    let keep_for = |ms: u64, clock: &str| {
        vec![
            ("cleanup.policy".to_owned(), "delete".to_owned()),
            ("retention.ms".to_owned(), ms.to_string()),
            ("message.timestamp.type".to_owned(), clock.to_owned()),
            ("max.message.bytes".to_owned(), MAX_MESSAGE_BYTES.to_string()),
        ]
    };
    let keep = |clock: &str| keep_for(retention_ms, clock);
    let compact = vec![
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        // History must outlive the replay horizon: a replay needs the subscriptions that were active then.
        ("min.compaction.lag.ms".to_owned(), history_ms.to_string()),
        ("max.compaction.lag.ms".to_owned(), (retention_ms + 7 * DAY_MS).to_string()),
        // A slow reader from offset 0 must still see that a subscription was deleted.
        ("delete.retention.ms".to_owned(), (retention_ms + 7 * DAY_MS).to_string()),
        // The active segment is never compacted, and this topic is quiet.
        ("segment.ms".to_owned(), DAY_MS.to_string()),
        ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned()),
        ("max.message.bytes".to_owned(), MAX_MESSAGE_BYTES.to_string()),
    ];
    let spec = |name: &Arc<str>, partitions, settings| TopicSpec { name: name.clone(), partitions, settings };
    let own = topics.events.iter().filter(|name| name.starts_with(&settings.log.topic_prefix));
    let partitions = settings.log.partitions;
    own.map(|name| spec(name, partitions, keep("CreateTime")))
        .chain([
            // One partition: an offset is then the version of the whole directory.
            spec(&topics.directory, 1, compact),
            // Append time: latency and age are measured from it, and no producer may set it.
            spec(&topics.deliveries, partitions, keep("LogAppendTime")),
            spec(&topics.dead_letters, 1, keep("LogAppendTime")),
            spec(&topics.index_versions, 1, keep_for(history_ms, "LogAppendTime")),
        ])
        .collect()
}

// === impl Settings ===

impl Settings {
    pub fn topics(&self) -> Topics {
        let named = |name: &str| Arc::from(format!("{}{name}", self.log.topic_prefix));
        let mut events: Vec<Arc<str>> = match self.log.events_topics.as_slice() {
            [] => vec![named("events")],
            topics => topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
        };
        // Patterns become names when the log is there to be asked, and again and again after that.
        for source in self.sources().iter().filter(|source| !source.topic.is_pattern()) {
            if !events.iter().any(|topic| **topic == *source.topic.as_str()) {
                events.push(source.topic.as_str().into());
            }
        }
        Topics {
            events,
            directory: named("directory"),
            deliveries: named("deliveries"),
            dead_letters: named("deadletters"),
            index_versions: named("index_versions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, load, topic_specs};

    #[test]
    fn foreign_events_topics_are_not_created() {
        let flags = vec!["log.topic_prefix=x.".to_owned(), "log.events_topics=platform.all,x.events".to_owned()];
        let settings = load(&Sources { flags, ..Sources::default() }).unwrap();
        let names: Vec<_> =
            topic_specs(&settings).into_iter().map(|spec| (spec.name.to_string(), spec.partitions)).collect();
        let expected =
            [("x.events", 12), ("x.directory", 1), ("x.deliveries", 12), ("x.deadletters", 1), ("x.index_versions", 1)];
        assert_eq!(names, expected.map(|(name, partitions)| (name.to_owned(), partitions)));
        assert_eq!(settings.topics().events[0].as_ref(), "platform.all");
    }
}
