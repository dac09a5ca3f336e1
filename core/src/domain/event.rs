//! Something that happened on the platform.

use std::sync::Arc;

use super::{TeamId, Timestamp};

/// CloudEvents attributes, the team it concerns, and typed data.
///
/// Field values are what the producer wrote; redaction happens in [`crate::message`].
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub team: TeamId,
    /// Unique within `source`. An event without one gets `<topic>-<partition>-<offset>`.
    pub id: Arc<str>,
    pub source: Arc<str>,
    /// The catalog key, `<platform>.<key>`; may be unknown to the catalog.
    pub event_type: Arc<str>,
    pub time: Option<Timestamp>,
    pub subject: Option<Arc<str>>,
    /// Always a JSON object.
    pub data: serde_json::Value,
}
