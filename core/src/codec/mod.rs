//! Bytes ↔ domain: source records in, our own topic records in and out.
//!
//! Every byte that comes from outside is read here, and nowhere else. Whatever is in them, the answer is a value or a
//! [`Poison`]: no panic, no recursion deeper than [`json::MAX_DEPTH`], no memory beyond a fixed multiple of the input.
//! The room does *not* decide what happens to poison, and does not validate events against the catalog: an event of an
//! unknown type, or with fields that its type does not have, is an event.
//!
//! Reading order:
//!
//! - [`source`]: a record of an events topic → [`Event`](crate::domain::Event).
//! - [`json`], [`avro`]: the two encodings, read defensively.
//! - [`tape`]: JSON again, as the matcher looks at it.
//! - [`delivery`]: records of the deliveries topic.
//! - [`deadletter`]: records of the dead-letter topic.

pub mod avro;
pub mod deadletter;
pub mod delivery;
pub mod json;
pub mod source;
pub mod tape;

#[cfg(test)]
mod hostile;

use std::fmt;

pub use deadletter::{DeadLetter, dead_letter, original_headers};
pub use delivery::{decode_delivery, decode_shared_delivery, encode_delivery};
pub use source::{Decoded, Decoder, MAX_EVENT_BYTES, Read};

/// A record that cannot be used, and why: what a dead letter says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    pub reason: Reason,
    /// For operators; at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// Why a record was set aside. Ordered as a record is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Larger than [`MAX_EVENT_BYTES`], or with more values than [`avro::MAX_VALUES`].
    TooLarge,
    /// Empty, or of no format that its first byte could name.
    BadFrame,
    /// Its schema id or fingerprint is not known.
    UnknownSchema,
    /// The bytes are not what their format or schema says.
    Decode,
    /// Nested deeper than [`json::MAX_DEPTH`].
    TooDeep,
    /// It names no team, and its source has no default.
    NoTeam,
    /// An attribute is missing, of the wrong kind, or beyond its bound.
    BadField,
    /// Reading or matching it panicked.
    Panic,
    /// It matches more than one transaction may hold.
    Fanout,
}

/// Every reason, for documents, metrics and tests.
pub const REASONS: [Reason; 9] = [
    Reason::TooLarge,
    Reason::BadFrame,
    Reason::UnknownSchema,
    Reason::Decode,
    Reason::TooDeep,
    Reason::NoTeam,
    Reason::BadField,
    Reason::Panic,
    Reason::Fanout,
];

/// The longest [`Poison::detail`], in bytes.
pub const MAX_DETAIL: usize = 1024;

// === impl Poison ===

impl Poison {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Poison {
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        Poison { reason, detail }
    }
}

// === impl Reason ===

impl Reason {
    /// The code in dead letters and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::BadFrame => "bad_frame",
            Reason::UnknownSchema => "unknown_schema",
            Reason::Decode => "decode",
            Reason::TooDeep => "too_deep",
            Reason::NoTeam => "no_team",
            Reason::BadField => "bad_field",
            Reason::Panic => "panic",
            Reason::Fanout => "fanout",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
