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
//! - [`framing`]: what a record is; [`mapping`]: how one kind of producer is read; [`envelope`], [`attributes`]: what is in it,
//!   and within which bounds; [`types`]: what the catalog knows by name.
//! - [`json`], [`avro`]: the two encodings, read defensively.
//! - [`read`]: an event as the matcher takes it; [`tape`]: the JSON that it looks at.
//! - [`known`]: schemas that nobody is asked for; [`registered`]: as a registry has them; [`learned`]: those that it has told;
//!   [`evolution`]: data of an older one.
//! - [`delivery`]: records of the deliveries topic.
//! - [`deadletter`]: records of the dead-letter topic.
//! - [`directory`]: records of the directory topic, whoever wrote them.

pub mod attributes;
pub mod avro;
pub mod deadletter;
pub mod delivery;
pub mod directory;
pub mod envelope;
pub mod evolution;
pub mod framing;
pub mod json;
pub mod known;
pub mod learned;
pub mod mapping;
pub mod read;
pub mod registered;
pub mod source;
pub mod tape;
pub mod types;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod source_tests;

use std::fmt;

pub use attributes::Attributes;
pub use deadletter::{DeadLetter, dead_letter, original_headers};
pub use delivery::{Parts, decode_delivery, decode_shared_delivery, encode_delivery};
pub use directory::{DirectoryCodec, Written};
pub use framing::SchemaRef;
pub use mapping::Source;
pub use read::{Read, Undecoded};
pub use registered::Registered;
pub use source::{Decoded, Decoder, MAX_EVENT_BYTES, Recipe, Unread};

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
    /// A filter, or all of them together, cost more than they may on it: see [`filter::MAX_COST`](crate::filter::MAX_COST).
    FilterTooCostly,
    /// It matches more than one transaction may hold.
    Fanout,
}

/// Every reason, for documents, metrics and tests.
pub const REASONS: [Reason; 10] = [
    Reason::TooLarge,
    Reason::BadFrame,
    Reason::UnknownSchema,
    Reason::Decode,
    Reason::TooDeep,
    Reason::NoTeam,
    Reason::BadField,
    Reason::Panic,
    Reason::FilterTooCostly,
    Reason::Fanout,
];

/// The longest [`Poison::detail`], in bytes.
pub const MAX_DETAIL: usize = 1024;
/// What an error shows of a value that it refuses, in bytes.
const SHOWN: usize = 64;

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
            Reason::FilterTooCostly => "filter_too_costly",
            Reason::Fanout => "fanout",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn bad_field(name: &str, reason: &str) -> Poison {
    Poison::new(Reason::BadField, format!("{name}: {reason}"))
}

/// The beginning of a value, quoted. No more of it is written than is shown: it may be as large as a record.
fn shown(value: impl fmt::Display) -> String {
    struct Beginning(String);

    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = SHOWN - self.0.len();
            self.0.push_str(&text[..text.floor_char_boundary(left)]);
            if text.len() > left { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut beginning = Beginning(String::new());
    // An error says that there is more.
    let _ = fmt::write(&mut beginning, format_args!("{value}"));
    format!("{:?}", beginning.0)
}
