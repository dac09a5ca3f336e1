//! What a team wants to hear.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    pub name: Option<Box<str>>,
    /// A disabled subscription still matches: its notifications are recorded as suppressed.
    #[serde(default = "yes")]
    pub enabled: bool,
    pub events: Box<[EventSelector]>,
    pub destinations: Box<[DestinationId]>,
}

/// One event type, or several, and the filter the data must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSelector {
    #[serde(rename = "type")]
    pub event_type: TypeSelector,
    /// An Amazon EventBridge pattern over filter keys. Empty: every event of the type.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub filter: Filter,
}

/// An object of JSON, kept as its text: read, it takes twenty times as much memory, and there are as many as there are subscriptions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Filter(Option<Box<str>>);

/// Which event types are meant. All but a single key follow the catalog as it grows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TypeSelector {
    /// `*`: every event, of types that the catalog does not know too.
    Any,
    /// `scalingo.app_deployed`: one catalog key, or another name of that type.
    Key(Arc<str>),
    /// `scalingo.*`, `replicated.customer.*`: every type whose key begins so, without the `.*`.
    Under(Arc<str>),
    /// `category:scalingo.addon`: every type of one category of a platform.
    Category(Arc<str>),
    /// `critical:scalingo`, `critical:*`: every type marked critical, of one platform or of all.
    Critical(Arc<str>),
}

/// The most (event type + filter) pairs of one subscription.
pub const MAX_SELECTORS: usize = 100;
/// The most destinations of one subscription.
pub const MAX_DESTINATIONS: usize = 100;
/// The longest display name, in bytes.
pub const MAX_DISPLAY_NAME: usize = 255;

const CATEGORY: &str = "category:";
const CRITICAL: &str = "critical:";

fn yes() -> bool {
    true
}

// === impl Filter ===

impl Filter {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Its members, in the order written. `None` never comes, since the text was made of an object; if it did, it must not be taken for
    /// a filter that asks for nothing.
    pub fn read(&self) -> Option<Map<String, Value>> {
        match self.0.as_deref() {
            None => Some(Map::new()),
            Some(text) => serde_json::from_str(text).ok(),
        }
    }
}

impl From<Map<String, Value>> for Filter {
    fn from(members: Map<String, Value>) -> Filter {
        Filter((!members.is_empty()).then(|| Value::Object(members).to_string().into()))
    }
}

impl From<Filter> for Map<String, Value> {
    fn from(filter: Filter) -> Map<String, Value> {
        filter.read().unwrap_or_default()
    }
}

impl PartialEq for Filter {
    /// Objects are equal in whatever order they are written.
    fn eq(&self, other: &Filter) -> bool {
        self.0 == other.0 || self.read() == other.read()
    }
}

// === impl TypeSelector ===

impl From<String> for TypeSelector {
    /// A colon or an asterisk stands in no key, so the forms cannot be mistaken for each other.
    fn from(text: String) -> TypeSelector {
        if text == "*" {
            TypeSelector::Any
        } else if let Some(prefix) = text.strip_suffix(".*") {
            TypeSelector::Under(prefix.into())
        } else if let Some(category) = text.strip_prefix(CATEGORY) {
            TypeSelector::Category(category.into())
        } else if let Some(platform) = text.strip_prefix(CRITICAL) {
            TypeSelector::Critical(platform.into())
        } else {
            TypeSelector::Key(text.into())
        }
    }
}

impl From<TypeSelector> for String {
    fn from(selector: TypeSelector) -> String {
        selector.to_string()
    }
}

impl fmt::Display for TypeSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeSelector::Any => f.write_str("*"),
            TypeSelector::Key(key) => f.write_str(key),
            TypeSelector::Under(prefix) => write!(f, "{prefix}.*"),
            TypeSelector::Category(category) => write!(f, "{CATEGORY}{category}"),
            TypeSelector::Critical(platform) => write!(f, "{CRITICAL}{platform}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_written_as_it_was_read() {
        let check = |text: &str, expected: TypeSelector| {
            assert_eq!(TypeSelector::from(text.to_owned()), expected, "{text}");
            assert_eq!(String::from(expected), text);
        };
        check("*", TypeSelector::Any);
        check("scalingo.app_deployed", TypeSelector::Key("scalingo.app_deployed".into()));
        check("scalingo.*", TypeSelector::Under("scalingo".into()));
        check("category:scalingo.addon", TypeSelector::Category("scalingo.addon".into()));
        check("critical:*", TypeSelector::Critical("*".into()));
        check("critical:tyk", TypeSelector::Critical("tyk".into()));
        check("", TypeSelector::Key("".into()));
    }
}
