//! One event, matched by one subscription, for one destination.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Day, DestinationId, Event, Position, SubscriptionId, TeamId, Timestamp};

/// BLAKE3-128 over what makes a notification itself, so that a replay makes the same one.
///
/// It is the key of every write and goes to receivers as `webhook-id`: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(pub [u8; 16]);

/// A record of the deliveries topic: ids, revisions, position and the untouched event. Never settings, never secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub id: NotificationId,
    /// UTC date of the event's own time, or of the source record's timestamp where it has none: fixed for ever.
    pub day: Day,
    pub team: TeamId,
    pub subscription: SubscriptionId,
    pub subscription_revision: u64,
    pub destination: DestinationId,
    pub destination_revision: u64,
    /// See [`destination_hash`].
    pub destination_hash: u32,
    pub event_type: Arc<str>,
    pub event_id: Arc<str>,
    pub event_source: Arc<str>,
    pub event_time: Option<Timestamp>,
    pub event_subject: Option<Arc<str>>,
    /// The directory offset (exclusive) up to which the index that matched was built.
    pub index_version: i64,
    /// Where the event stands.
    pub position: Position,
    /// The source record's log timestamp: what an event without time is dated by.
    pub recorded_at: Timestamp,
    /// When somebody had the event matched again; `None` for the matcher's own deliveries.
    pub replayed_at: Option<Timestamp>,
    /// How to read `event`: the name of a format of [`crate::codec`].
    pub codec: Arc<str>,
    /// The source record's value, untouched.
    pub event: Bytes,
}

/// Tells one event's bytes from another's, with 64 bits: good for counting conflicts, never for deciding what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub i64);

/// The fixed hash that places a destination: its delivery partition is this modulo the partition count.
pub fn destination_hash(team: &TeamId, destination: &DestinationId) -> u32 {
    let hash = hash_of([team.as_str(), destination.as_str()]);
    let bytes = hash.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Length-prefixed, so that no two lists of parts read the same.
fn hash_of<const N: usize>(parts: [&str; N]) -> blake3::Hash {
    const LENGTH: usize = size_of::<u64>();
    // In one piece where it is as short as it mostly is: a hasher's calls cost more than its work on so few bytes.
    let mut whole = [0; 512];
    let mut rest = &mut whole[..];
    for part in parts {
        if rest.len() < LENGTH + part.len() {
            let mut hasher = blake3::Hasher::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            return hasher.finalize();
        }
        let (length, after) = rest.split_at_mut(LENGTH);
        length.copy_from_slice(&(part.len() as u64).to_le_bytes());
        let (text, after) = after.split_at_mut(part.len());
        text.copy_from_slice(part.as_bytes());
        rest = after;
    }
    let left = rest.len();
    blake3::hash(&whole[..whole.len() - left])
}

// === impl Delivery ===

impl Delivery {
    /// Where age and latency start: what is too old to be sent by itself is not when a person has it sent.
    pub fn begins_at(&self) -> Timestamp {
        self.replayed_at.unwrap_or(self.recorded_at)
    }

    /// Of the event's value as the producer wrote it. Fixed for ever, since the store keeps it.
    pub fn content(&self) -> Fingerprint {
        let hash = blake3::hash(&self.event);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        Fingerprint(i64::from_le_bytes(first))
    }
}

// === impl NotificationId ===

impl NotificationId {
    /// `occurrence` is empty unless one event makes several notifications for the same pair.
    pub fn of(
        event: &Event,
        subscription: &SubscriptionId,
        destination: &DestinationId,
        occurrence: &str,
    ) -> NotificationId {
        let parts =
            [event.team.as_str(), &event.source, &event.id, subscription.as_str(), destination.as_str(), occurrence];
        let mut id = [0; 16];
        id.copy_from_slice(&hash_of(parts).as_bytes()[..16]);
        NotificationId(id)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: [u8; 32] = std::array::from_fn(|i| {
            let byte = self.0[i / 2];
            DIGITS[usize::from(if i % 2 == 0 { byte >> 4 } else { byte & 15 })]
        });
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NotificationId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<NotificationId, &'static str> {
        const WRONG: &str = "a notification id is 32 hexadecimal digits";
        if text.len() != 32 || !text.is_ascii() {
            return Err(WRONG);
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(NotificationId(id))
    }
}

impl Serialize for NotificationId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NotificationId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<NotificationId, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(team: &str, source: &str, id: &str) -> Event {
        Event {
            team: TeamId::new(team).unwrap(),
            id: id.into(),
            source: source.into(),
            event_type: "t".into(),
            time: None,
            subject: None,
            data: serde_json::json!({}),
        }
    }

    #[test]
    fn an_id_is_fixed_for_ever() {
        let id = NotificationId::of(
            &event("acme", "replicated", "evt-1"),
            &SubscriptionId::new("s").unwrap(),
            &DestinationId::new("d").unwrap(),
            "",
        );
        assert_eq!(id.to_string(), "0d619e6b8ac72a4a4d6509623c26c56c");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    /// What is hashed in one piece and what is not must not differ.
    #[test]
    fn a_long_id_hashes_as_a_short_one_does() {
        for length in (0..600).chain([5_000]) {
            let (long, short) = ("x".repeat(length), "y");
            let mut hasher = blake3::Hasher::new();
            for part in [&long, short] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            assert_eq!(hash_of([&long, short]), hasher.finalize(), "{length} bytes");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |source: &str, id: &str| {
            NotificationId::of(
                &event("acme", source, id),
                &SubscriptionId::new("s").unwrap(),
                &DestinationId::new("d").unwrap(),
                "",
            )
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }
}
