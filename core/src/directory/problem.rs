//! Why a key is inactive: what is told of a record that is no good.

use std::fmt;

use serde::Serialize;

#[cfg(doc)]
use super::{MAX_VALUE_BYTES, key};
use crate::{codec::directory::Unreadable, domain::TeamId, filter::Fault};

/// Why the last record of a key is not active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The record's key, as text.
    pub key: String,
    /// The team, where the key tells it.
    pub team: Option<TeamId>,
    /// Where the record stands.
    pub offset: i64,
    pub reason: Reason,
    /// The first field that is wrong, as a path, where one can be named.
    pub field: Option<String>,
    /// In words, without secrets, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// Which kind of reason. In the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The key is none of those in [`key`].
    BadKey,
    /// The value is longer than [`MAX_VALUE_BYTES`].
    TooLarge,
    /// The value is not the JSON or Avro of what the key names.
    Decode,
    /// The value names another team or id than the key.
    KeyMismatch,
    /// A secret stands there in clear.
    PlainSecret,
    /// Something in it is not allowed.
    Invalid,
}

/// Why a record makes its key inactive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: Reason,
    /// The first field that is wrong, as a path, where one can be named.
    pub field: Option<String>,
    pub detail: String,
}

/// The longest [`Problem::field`], in bytes.
pub const MAX_FIELD: usize = 256;
/// The longest [`Problem::detail`], in bytes.
pub const MAX_DETAIL: usize = 1024;

// === impl Problem ===

impl Problem {
    pub(super) fn of(refusal: Refusal, key: &[u8], team: Option<TeamId>, offset: i64) -> Problem {
        let Refusal { reason, field, detail } = refusal;
        Problem {
            key: String::from_utf8_lossy(key).into_owned(),
            team,
            offset,
            reason,
            field: field.map(|field| cut(field, MAX_FIELD)),
            detail: cut(detail, MAX_DETAIL),
        }
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

// === impl Reason ===

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadKey => "bad_key",
            Reason::TooLarge => "too_large",
            Reason::Decode => "decode",
            Reason::KeyMismatch => "key_mismatch",
            Reason::PlainSecret => "plain_secret",
            Reason::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Refusal ===

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, field: None, detail: detail.into() }
    }

    pub fn faults(reason: Reason, faults: &[Fault]) -> Refusal {
        let field = faults.first().map(|fault| fault.path.clone());
        let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
        Refusal { reason, field, detail: lines.join("\n") }
    }

    pub fn plain_secret(field: String) -> Refusal {
        let place = if field.is_empty() { "the record" } else { &field };
        let detail = format!("{place}: found a secret in clear; store it under a name and refer to that");
        Refusal { reason: Reason::PlainSecret, field: Some(field).filter(|field| !field.is_empty()), detail }
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Refusal {
        Refusal { reason: Reason::Decode, field: unreadable.field, detail: unreadable.detail }
    }
}
