//! Records of the index versions topic: against which version of the directory a partition's events were matched.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::{Output, Record, TopicPartition};

/// From `first` on, until a later record of the same partition says otherwise, events were matched against this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexVersion {
    pub partition: TopicPartition,
    /// The first offset that it holds for.
    pub first: i64,
    /// The directory offset (exclusive) up to which the index was built.
    pub version: i64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    topic: Arc<str>,
    partition: u32,
    first: i64,
    index_version: i64,
}

// === impl IndexVersion ===

impl IndexVersion {
    pub fn output(&self, topic: &Arc<str>) -> Output {
        let TopicPartition { topic: of, partition } = self.partition.clone();
        let written = Written { topic: of, partition, first: self.first, index_version: self.version };
        Output {
            topic: topic.clone(),
            partition: None,
            key: Some(Bytes::from(self.partition.to_string())),
            value: serde_json::to_vec(&written).ok().map(Bytes::from),
            headers: Vec::new(),
        }
    }

    /// `None` for what says something else; replays keep their place in this topic, too.
    pub fn read(record: &Record) -> Option<IndexVersion> {
        let Written { topic, partition, first, index_version } =
            serde_json::from_slice(record.value.as_deref()?).ok()?;
        Some(IndexVersion { partition: TopicPartition { topic, partition }, first, version: index_version })
    }
}
