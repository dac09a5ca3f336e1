//! How far a replay has come: a record of the index versions topic, the last one of its key.
//!
//! It stands beside the versions because a replay needs both, and because its retention is that of what can be replayed.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Basis, Counts, Range};
use crate::domain::{Output, Record};

/// The place of a replay. The one of a finished replay has `next` at the end of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The first event that is not done.
    pub next: i64,
    /// The version that the event before it was matched against.
    pub index_version: i64,
    pub counts: Counts,
}

// === impl Marker ===

impl Marker {
    pub fn output(&self, topic: &Arc<str>, range: &Range, basis: Basis) -> Output {
        Output {
            topic: topic.clone(),
            partition: None,
            key: Some(key(range, basis)),
            value: serde_json::to_vec(self).ok().map(Bytes::from),
            headers: Vec::new(),
        }
    }

    /// `None` for records of anything else than this replay.
    pub fn read(record: &Record, range: &Range, basis: Basis) -> Option<Marker> {
        if record.key.as_ref() != Some(&key(range, basis)) {
            return None;
        }
        serde_json::from_slice(record.value.as_deref()?).ok()
    }
}

/// No topic's name holds a slash, so this is no key of an index version.
fn key(Range { partition, from, to }: &Range, basis: Basis) -> Bytes {
    let basis = match basis {
        Basis::Recorded => "",
        Basis::Now => "/now",
    };
    Bytes::from(format!("replay/{}/{}/{from}-{to}{basis}", partition.topic, partition.partition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Timestamp, TopicPartition},
        matcher::IndexVersion,
    };

    #[test]
    fn a_marker_is_read_by_its_own_replay_alone() {
        let range = |from| Range { partition: TopicPartition { topic: "events".into(), partition: 3 }, from, to: 9 };
        let counts = Counts { events: 2, known: 1, ..Counts::default() };
        let marker = Marker { next: 7, index_version: 4, counts };
        let Output { topic, key, value, headers, .. } = marker.output(&"versions".into(), &range(5), Basis::Recorded);
        assert_eq!(key.as_deref(), Some(&b"replay/events/3/5-9"[..]));
        let record = Record { topic, partition: 0, offset: 0, timestamp: Timestamp(0), key, value, headers };
        assert_eq!(Marker::read(&record, &range(5), Basis::Recorded), Some(marker));
        assert_eq!(Marker::read(&record, &range(5), Basis::Now), None);
        assert_eq!(Marker::read(&record, &range(6), Basis::Recorded), None);
        assert_eq!(IndexVersion::read(&record), None);
    }
}
