//! Names that people choose: teams, subscriptions, destinations, stored secrets.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The tenant that owns subscriptions, destinations and history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TeamId(pub Name);

/// A subscription's id, unique within its team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(pub Name);

/// A destination's id, unique within its team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DestinationId(pub Name);

/// The name that a secret is stored under, unique within its team.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretId(pub Name);

/// 1 to 128 characters of `A-Z a-z 0-9 . _ : @ -`: safe in a topic key, a path and a header.
///
/// A slash is excluded because directory keys are `sub/<team>/<id>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The longest name, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name of {0} bytes; 1 to {MAX_NAME} are allowed")]
    Length(usize),
    #[error("{0:?} in a name; allowed are A-Z a-z 0-9 . _ : @ -")]
    Character(char),
}

// === impl Name ===

impl Name {
    pub fn new(text: &str) -> Result<Name, NameError> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(NameError::Length(text.len()));
        }
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'@' | b'-');
        match text.bytes().position(|byte| !is_allowed(&byte)) {
            // The first byte that is not allowed begins a character: those before it are one byte each.
            Some(at) => Err(NameError::Character(text[at..].chars().next().unwrap_or_default())),
            None => Ok(Name(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Name, NameError> {
        Name::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

// === impl TeamId, SubscriptionId, DestinationId, SecretId ===

impl TeamId {
    pub fn new(text: &str) -> Result<TeamId, NameError> {
        Name::new(text).map(TeamId)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl SubscriptionId {
    pub fn new(text: &str) -> Result<SubscriptionId, NameError> {
        Name::new(text).map(SubscriptionId)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl DestinationId {
    pub fn new(text: &str) -> Result<DestinationId, NameError> {
        Name::new(text).map(DestinationId)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl SecretId {
    pub fn new(text: &str) -> Result<SecretId, NameError> {
        Name::new(text).map(SecretId)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DestinationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_plain() {
        assert!(Name::new("acme.eu:team_1@x-y").is_ok());
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new(&"a".repeat(129)), Err(NameError::Length(129)));
        assert_eq!(Name::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(Name::new("a b"), Err(NameError::Character(' ')));
    }
}
