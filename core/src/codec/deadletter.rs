//! Records of the dead-letter topic: the source record whole, and in headers where it stood and what was wrong.
//!
//! | header | value |
//! | --- | --- |
//! | `tidings-reason` | [`Reason`](super::Reason) |
//! | `tidings-detail` | in words, at most [`MAX_DETAIL`](super::MAX_DETAIL) bytes |
//! | `tidings-source-topic`, `-partition`, `-offset` | where the record stood |
//! | `tidings-source-timestamp` | its log timestamp, in milliseconds since 1970 |
//! | `tidings-value-bytes` | the size of the value, if it was cut to [`MAX_EVENT_BYTES`] |
//! | `tidings-headers-dropped` | how many of its own headers did not fit, if any |
//!
//! The record's own headers follow them unchanged, so that it can be fed in again.

use bytes::Bytes;

use super::{MAX_EVENT_BYTES, Poison};
use crate::domain::Record;

/// A dead letter, but for its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub key: Option<Bytes>,
    /// The source record's value, up to [`MAX_EVENT_BYTES`].
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

/// Headers that Tidings sets begin so. A record that comes again does not keep those of its last time.
pub const OWN_HEADERS: &str = "tidings-";
/// The most headers of its own that a dead letter keeps.
pub const MAX_HEADERS: usize = 100;
/// The most bytes of its own headers, names and values, that a dead letter keeps.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The longest key that a dead letter keeps, in bytes: key, value and headers must fit one record of 2 MiB.
pub const MAX_KEY_BYTES: usize = 64 * 1024;

pub fn dead_letter(record: &Record, poison: &Poison) -> DeadLetter {
    let mut headers = vec![
        own("reason", poison.reason.as_str()),
        own("detail", &poison.detail),
        own("source-topic", &record.topic),
        own("source-partition", record.partition),
        own("source-offset", record.offset),
        own("source-timestamp", record.timestamp.0),
    ];
    let value = record.value.as_ref().map(|value| value.slice(..value.len().min(MAX_EVENT_BYTES)));
    if let Some(whole) = record.value.as_ref().filter(|whole| whole.len() > MAX_EVENT_BYTES) {
        headers.push(own("value-bytes", whole.len()));
    }
    let (kept, dropped) = fitting(record);
    if dropped > 0 {
        headers.push(own("headers-dropped", dropped));
    }
    headers.extend(kept);
    let key = record.key.as_ref().map(|key| key.slice(..key.len().min(MAX_KEY_BYTES)));
    DeadLetter { key, value, headers }
}

/// The headers of the source record, out of those of its dead letter.
pub fn original_headers(headers: &[(String, Bytes)]) -> Vec<(String, Bytes)> {
    headers.iter().filter(|(name, _)| !name.starts_with(OWN_HEADERS)).cloned().collect()
}

fn own(name: &str, value: impl ToString) -> (String, Bytes) {
    (format!("{OWN_HEADERS}{name}"), Bytes::from(value.to_string()))
}

/// The first of the record's headers that fit the bounds, and the number of those left out.
fn fitting(record: &Record) -> (Vec<(String, Bytes)>, usize) {
    let mut kept = Vec::new();
    let mut dropped = 0;
    let mut left = MAX_HEADER_BYTES;
    for (name, value) in record.headers.iter().filter(|(name, _)| !name.starts_with(OWN_HEADERS)) {
        let size = name.len() + value.len();
        if kept.len() < MAX_HEADERS && size <= left {
            left -= size;
            kept.push((name.clone(), value.clone()));
        } else {
            dropped += 1;
        }
    }
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec::Reason, domain::Timestamp};

    fn record(headers: Vec<(String, Bytes)>, value: Vec<u8>) -> Record {
        Record {
            topic: "orders".into(),
            partition: 3,
            offset: 99,
            timestamp: Timestamp(1_700_000_000_000),
            key: Some(Bytes::from_static(b"k")),
            value: Some(value.into()),
            headers,
        }
    }

    fn text<'a>(letter: &'a DeadLetter, name: &str) -> Option<&'a str> {
        let (_, value) = letter.headers.iter().find(|(n, _)| n == name)?;
        std::str::from_utf8(value).ok()
    }

    #[test]
    fn a_dead_letter_is_the_whole_record_with_its_place_and_reason() {
        let own =
            vec![("ce_team".to_owned(), Bytes::from_static(b"acme")), ("raw".into(), Bytes::from_static(b"\xff"))];
        let record = record(own.clone(), b"{oops".to_vec());
        let letter = dead_letter(&record, &Poison::new(Reason::Decode, "expected a key"));
        assert_eq!((&letter.key, &letter.value), (&record.key, &record.value));
        let expected = [
            ("tidings-reason", "decode"),
            ("tidings-detail", "expected a key"),
            ("tidings-source-topic", "orders"),
            ("tidings-source-partition", "3"),
            ("tidings-source-offset", "99"),
            ("tidings-source-timestamp", "1700000000000"),
        ];
        for (name, value) in expected {
            assert_eq!(text(&letter, name), Some(value), "{name}");
        }
        assert_eq!(original_headers(&letter.headers), own);
    }

    #[test]
    fn a_record_that_comes_again_has_one_reason() {
        let first = dead_letter(&record(vec![], vec![1]), &Poison::new(Reason::BadFrame, "first"));
        let again = dead_letter(&record(first.headers, vec![1]), &Poison::new(Reason::NoTeam, "second"));
        assert_eq!(again.headers.len(), 6);
        assert_eq!(text(&again, "tidings-reason"), Some("no_team"));
    }

    #[test]
    fn key_and_value_are_cut_at_their_bounds_and_it_is_said() {
        let big = Record { key: Some(vec![0; 1 << 20].into()), ..record(vec![], vec![b'x'; 10 << 20]) };
        let letter = dead_letter(&big, &Poison::new(Reason::TooLarge, ""));
        assert_eq!(letter.value.as_ref().map(Bytes::len), Some(MAX_EVENT_BYTES));
        assert_eq!(letter.key.as_ref().map(Bytes::len), Some(MAX_KEY_BYTES));
        assert_eq!(text(&letter, "tidings-value-bytes"), Some("10485760"));
        let exact = dead_letter(&record(vec![], vec![b'x'; MAX_EVENT_BYTES]), &Poison::new(Reason::Decode, ""));
        assert_eq!(text(&exact, "tidings-value-bytes"), None);
    }
}
