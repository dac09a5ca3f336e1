//! What a team wants to hear.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DestinationId, SubscriptionId, TeamId};

/// One or more (event type + filter), any of which may match, and one or more destinations.
///
/// The directory topic holds this as JSON under the key `sub/<team>/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    pub team: TeamId,
    pub id: SubscriptionId,
    /// Counts the writes of this key, starting at 1. Set by Tidings' own writers; 0 from others.
    #[serde(default)]
    pub revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A disabled subscription still matches: its notifications are recorded as suppressed.
    #[serde(default = "yes")]
    pub enabled: bool,
    pub events: Vec<EventSelector>,
    pub destinations: Vec<DestinationId>,
}

/// One event type, or any, and the filter its data must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSelector {
    #[serde(rename = "type")]
    pub event_type: TypeSelector,
    /// An Amazon EventBridge pattern over filter keys. Empty: every event of the type.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub filter: serde_json::Map<String, serde_json::Value>,
}

/// `*` or one catalog key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TypeSelector {
    Any,
    Key(Arc<str>),
}

/// The most (event type + filter) pairs of one subscription.
pub const MAX_SELECTORS: usize = 100;
/// The most destinations of one subscription.
pub const MAX_DESTINATIONS: usize = 100;
/// The longest display name, in bytes.
pub const MAX_DISPLAY_NAME: usize = 255;

fn yes() -> bool {
    true
}

// === impl TypeSelector ===

impl From<String> for TypeSelector {
    fn from(text: String) -> TypeSelector {
        if text == "*" { TypeSelector::Any } else { TypeSelector::Key(text.into()) }
    }
}

impl From<TypeSelector> for String {
    fn from(selector: TypeSelector) -> String {
        match selector {
            TypeSelector::Any => "*".to_owned(),
            TypeSelector::Key(key) => key.as_ref().to_owned(),
        }
    }
}
