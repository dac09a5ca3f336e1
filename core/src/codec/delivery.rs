//! Records of the deliveries topic: Avro single-object encoding by hand, after `schemas/topics/delivery.avsc` and, for
//! what a replay wrote, `schemas/topics/delivery-2.avsc`.
//!
//! A record is `C3 01`, the CRC-64-AVRO fingerprint of its schema, and the datum. Deliveries wait in the topic while
//! Tidings is upgraded, so a version once written is read for ever: when the schema changes, the new fingerprint is put
//! in front of [`VERSIONS`], and the old ones stay with their golden example in `schemas/topics/golden`. Written is the
//! oldest version that can say what is to be said, so that older senders beside newer matchers read on.

use bytes::Bytes;

use super::{
    Poison, Reason,
    avro::{Cursor, Malformed, put_bytes, put_long},
};
use crate::domain::{
    Day, Delivery, DestinationId, NameError, NotificationId, Position, SubscriptionId, TeamId, Timestamp,
};

/// What begins every single object: <https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding>.
const MARKER: [u8; 2] = [0xC3, 0x01];

/// The fingerprint of `schemas/topics/delivery.avsc`, least significant byte first.
///
/// That schema has no logical types, although it has times: apache-avro writes them into its canonical form otherwise
/// than the specification does, so readers in other languages would look for another fingerprint.
const FINGERPRINT: [u8; 8] = [0xE9, 0x2B, 0xE7, 0x63, 0x6D, 0x59, 0x83, 0x95];

/// The fingerprint of `schemas/topics/delivery-2.avsc`: a delivery with the time of its replay.
const FINGERPRINT_2: [u8; 8] = [0xEB, 0x98, 0x24, 0xD9, 0xD4, 0x60, 0x39, 0x42];

/// How each version's datum is read, the newest first.
const VERSIONS: [([u8; 8], Read); 2] = [(FINGERPRINT_2, read_2), (FINGERPRINT, read_1)];

type Read = fn(&mut Cursor<'_>, Keep<'_>) -> Result<Delivery, Wrong>;
/// Makes the event's bytes outlive the record that they were read from.
type Keep<'a> = &'a dyn Fn(&[u8]) -> Bytes;

/// A delivery that is to be written, of parts that others hold.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub id: NotificationId,
    pub day: Day,
    pub team: &'a str,
    pub subscription: &'a str,
    pub subscription_revision: u64,
    pub destination: &'a str,
    pub destination_revision: u64,
    pub destination_hash: u32,
    pub event_type: &'a str,
    pub event_id: &'a str,
    pub event_source: &'a str,
    pub event_time: Option<Timestamp>,
    pub event_subject: Option<&'a str>,
    pub index_version: i64,
    /// Where the event stands: topic, partition and offset.
    pub position: (&'a str, u32, i64),
    pub recorded_at: Timestamp,
    pub replayed_at: Option<Timestamp>,
    pub codec: &'a str,
    pub event: &'a [u8],
}

enum Wrong {
    Malformed(Malformed),
    Name(NameError),
    Range(&'static str, i64),
}

pub fn encode_delivery(delivery: &Delivery) -> Bytes {
    let mut out = Vec::new();
    Parts::from(delivery).write(&mut out);
    out.into()
}

/// Poison here means that something else than Tidings wrote the record, or a newer version did.
pub fn decode_delivery(record: &[u8]) -> Result<Delivery, Poison> {
    decode(record, &Bytes::copy_from_slice)
}

/// The same, with the event as a part of the record instead of a copy: for who holds the record anyway.
pub fn decode_shared_delivery(record: &Bytes) -> Result<Delivery, Poison> {
    decode(record, &|event| record.slice_ref(event))
}

fn decode(record: &[u8], keep: Keep<'_>) -> Result<Delivery, Poison> {
    let Some((header, datum)) = record.split_first_chunk::<10>() else {
        let detail = format!("{} bytes; the header alone takes 10", record.len());
        return Err(Poison::new(Reason::BadFrame, detail));
    };
    let Some(fingerprint) = header.strip_prefix(&MARKER) else {
        return Err(Poison::new(Reason::BadFrame, "no Avro single object"));
    };
    let Some((_, read)) = VERSIONS.iter().find(|(known, _)| known == fingerprint) else {
        let detail = format!("no version of the delivery schema has the fingerprint {fingerprint:02x?}");
        return Err(Poison::new(Reason::UnknownSchema, detail));
    };
    let mut cursor = Cursor::new(datum);
    read(&mut cursor, keep).and_then(|delivery| Ok(cursor.end().map(|()| delivery)?)).map_err(Poison::from)
}

fn read_1(cursor: &mut Cursor<'_>, keep: Keep<'_>) -> Result<Delivery, Wrong> {
    read(cursor, keep, |_| Ok(None))
}

fn read_2(cursor: &mut Cursor<'_>, keep: Keep<'_>) -> Result<Delivery, Wrong> {
    read(cursor, keep, |cursor| Ok(option(cursor, Cursor::long)?.map(Timestamp)))
}

/// `replayed_at` reads the one field that the versions differ in.
fn read(
    cursor: &mut Cursor<'_>,
    keep: Keep<'_>,
    replayed_at: impl Fn(&mut Cursor<'_>) -> Result<Option<Timestamp>, Wrong>,
) -> Result<Delivery, Wrong> {
    let mut id = [0; 16];
    id.copy_from_slice(cursor.take(16)?);
    Ok(Delivery {
        id: NotificationId(id),
        day: Day(cursor.int()?),
        team: TeamId::new(cursor.string()?)?,
        subscription: SubscriptionId::new(cursor.string()?)?,
        subscription_revision: cursor.long()? as u64,
        destination: DestinationId::new(cursor.string()?)?,
        destination_revision: cursor.long()? as u64,
        destination_hash: in_range("destination_hash", cursor.long()?)?,
        event_type: cursor.string()?.into(),
        event_id: cursor.string()?.into(),
        event_source: cursor.string()?.into(),
        event_time: option(cursor, Cursor::long)?.map(Timestamp),
        event_subject: option(cursor, Cursor::string)?.map(Into::into),
        index_version: cursor.long()?,
        position: Position { topic: cursor.string()?.into(), partition: cursor.int()? as u32, offset: cursor.long()? },
        recorded_at: Timestamp(cursor.long()?),
        replayed_at: replayed_at(cursor)?,
        codec: cursor.string()?.into(),
        event: keep(cursor.bytes()?),
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// A union of null and one more.
fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl Fn(&mut Vec<u8>, T)) {
    match value {
        None => put_long(out, 0),
        Some(value) => {
            put_long(out, 1);
            put(out, value);
        }
    }
}

fn option<'a, T>(
    cursor: &mut Cursor<'a>,
    get: impl Fn(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match cursor.long()? {
        0 => Ok(None),
        1 => get(cursor).map(Some),
        index => Err(Malformed::Branch { index, branches: 2 }),
    }
}

fn in_range(name: &'static str, long: i64) -> Result<u32, Wrong> {
    u32::try_from(long).map_err(|_| Wrong::Range(name, long))
}

// === impl Parts ===

impl Parts<'_> {
    /// Appends the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        out.extend_from_slice(self.event);
    }

    /// Appends the record but for the bytes of the event, which are the last.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MARKER);
        out.extend_from_slice(if self.replayed_at.is_some() { &FINGERPRINT_2 } else { &FINGERPRINT });
        out.extend_from_slice(&self.id.0);
        put_long(out, self.day.0.into());
        put_text(out, self.team);
        put_text(out, self.subscription);
        put_long(out, self.subscription_revision as i64);
        put_text(out, self.destination);
        put_long(out, self.destination_revision as i64);
        put_long(out, self.destination_hash.into());
        put_text(out, self.event_type);
        put_text(out, self.event_id);
        put_text(out, self.event_source);
        put_option(out, self.event_time, |out, time| put_long(out, time.0));
        put_option(out, self.event_subject, put_text);
        put_long(out, self.index_version);
        let (topic, partition, offset) = self.position;
        put_text(out, topic);
        // Kafka numbers partitions by 32 bits with sign, as Avro's int is.
        put_long(out, i64::from(partition as i32));
        put_long(out, offset);
        put_long(out, self.recorded_at.0);
        if self.replayed_at.is_some() {
            put_option(out, self.replayed_at, |out, time| put_long(out, time.0));
        }
        put_text(out, self.codec);
        put_long(out, self.event.len() as i64);
    }
}

impl<'a> From<&'a Delivery> for Parts<'a> {
    fn from(delivery: &'a Delivery) -> Parts<'a> {
        let Position { topic, partition, offset } = &delivery.position;
        Parts {
            id: delivery.id,
            day: delivery.day,
            team: delivery.team.as_str(),
            subscription: delivery.subscription.as_str(),
            subscription_revision: delivery.subscription_revision,
            destination: delivery.destination.as_str(),
            destination_revision: delivery.destination_revision,
            destination_hash: delivery.destination_hash,
            event_type: &delivery.event_type,
            event_id: &delivery.event_id,
            event_source: &delivery.event_source,
            event_time: delivery.event_time,
            event_subject: delivery.event_subject.as_deref(),
            index_version: delivery.index_version,
            position: (topic, *partition, *offset),
            recorded_at: delivery.recorded_at,
            replayed_at: delivery.replayed_at,
            codec: &delivery.codec,
            event: &delivery.event,
        }
    }
}

// === impl Wrong ===

impl From<Malformed> for Wrong {
    fn from(malformed: Malformed) -> Wrong {
        Wrong::Malformed(malformed)
    }
}

impl From<NameError> for Wrong {
    fn from(error: NameError) -> Wrong {
        Wrong::Name(error)
    }
}

impl From<Wrong> for Poison {
    fn from(wrong: Wrong) -> Poison {
        match wrong {
            Wrong::Malformed(malformed) => Poison::new(Reason::Decode, malformed.to_string()),
            Wrong::Name(error) => Poison::new(Reason::BadField, error.to_string()),
            Wrong::Range(name, found) => {
                Poison::new(Reason::BadField, format!("{name}: found {found}; 32 bits allowed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::{Schema, rabin::Rabin, reader::datum::GenericDatumReader, types};
    use proptest::prelude::*;

    use super::*;

    const SCHEMA: &str = include_str!("../../../schemas/topics/delivery.avsc");
    const SCHEMA_2: &str = include_str!("../../../schemas/topics/delivery-2.avsc");
    /// Each version as it was first written: never to be changed.
    const GOLDEN_1: &str = include_str!("../../../schemas/topics/golden/delivery-1.hex");
    const GOLDEN_2: &str = include_str!("../../../schemas/topics/golden/delivery-2.hex");

    fn golden() -> Delivery {
        Delivery {
            id: "0d619e6b8ac72a4a4d6509623c26c56c".parse().unwrap(),
            day: Day::parse("2026-11-23").unwrap(),
            team: TeamId::new("acme").unwrap(),
            subscription: SubscriptionId::new("big-trials").unwrap(),
            subscription_revision: 7,
            destination: DestinationId::new("ops:webhook").unwrap(),
            destination_revision: 3,
            destination_hash: 4_000_000_000,
            event_type: "replicated.customer.created".into(),
            event_id: "evt-1".into(),
            event_source: "tidings.events".into(),
            event_time: Timestamp::parse("2026-11-23T11:17:07.250Z"),
            event_subject: Some("Nörthwind".into()),
            index_version: 42,
            position: Position { topic: "tidings.events".into(), partition: 11, offset: 1 << 40 },
            recorded_at: Timestamp::parse("2026-11-23T11:17:08Z").unwrap(),
            replayed_at: None,
            codec: "json".into(),
            event: Bytes::from_static(br#"{"team": "acme", "type": "replicated.customer.created"}"#),
        }
    }

    fn any_name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9._:@-]{1,128}"
    }

    fn any_delivery() -> impl Strategy<Value = Delivery> {
        let ids = (any::<[u8; 16]>(), any::<i32>(), any_name(), any_name(), any::<u64>(), any_name(), any::<u32>());
        let text = || any::<String>();
        let event = (text(), text(), text(), any::<Option<i64>>(), any::<Option<String>>());
        let times = (any::<i64>(), any::<Option<i64>>());
        let rest = (any::<i64>(), text(), any::<u32>(), any::<i64>(), times, text(), any::<Vec<u8>>());
        (ids, event, rest).prop_map(|(ids, event, rest)| Delivery {
            id: NotificationId(ids.0),
            day: Day(ids.1),
            team: TeamId::new(&ids.2).unwrap(),
            subscription: SubscriptionId::new(&ids.3).unwrap(),
            subscription_revision: ids.4,
            destination: DestinationId::new(&ids.5).unwrap(),
            destination_revision: ids.4 ^ 1,
            destination_hash: ids.6,
            event_type: event.0.into(),
            event_id: event.1.into(),
            event_source: event.2.into(),
            event_time: event.3.map(Timestamp),
            event_subject: event.4.map(Into::into),
            index_version: rest.0,
            position: Position { topic: rest.1.into(), partition: rest.2, offset: rest.3 },
            recorded_at: Timestamp(rest.4.0),
            replayed_at: rest.4.1.map(Timestamp),
            codec: rest.5.into(),
            event: rest.6.into(),
        })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let text = text.trim();
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn fingerprints_are_those_of_the_schema_files() {
        let check = |schema: &str, fingerprint: [u8; 8]| {
            let schema = Schema::parse_str(schema).unwrap();
            assert_eq!(
                hex(&schema.fingerprint::<Rabin>().bytes),
                hex(&fingerprint),
                "a schema has changed: keep its old reader in VERSIONS, add the new one, and keep a golden example"
            );
        };
        check(SCHEMA, FINGERPRINT);
        check(SCHEMA_2, FINGERPRINT_2);
    }

    #[test]
    fn version_1_is_read_and_written_as_on_its_first_day() {
        assert_eq!(decode_delivery(&unhex(GOLDEN_1)), Ok(golden()));
        assert_eq!(hex(&encode_delivery(&golden())), GOLDEN_1.trim());
    }

    #[test]
    fn version_2_is_read_and_written_as_on_its_first_day() {
        let replayed = Delivery { replayed_at: Timestamp::parse("2026-11-25T08:30:00Z"), ..golden() };
        assert_eq!(decode_delivery(&unhex(GOLDEN_2)), Ok(replayed.clone()));
        assert_eq!(hex(&encode_delivery(&replayed)), GOLDEN_2.trim());
    }

    #[test]
    fn what_is_no_delivery_is_poison() {
        let written = encode_delivery(&golden());
        let check = |record: &[u8], reason: Reason| {
            assert_eq!(decode_delivery(record).unwrap_err().reason, reason, "{record:02x?}");
        };
        let changed = |at: usize, byte: u8| {
            let mut record = written.to_vec();
            record[at] = byte;
            record
        };
        check(b"", Reason::BadFrame);
        check(&written[..9], Reason::BadFrame);
        check(&changed(0, b'{'), Reason::BadFrame);
        check(&changed(5, !written[5]), Reason::UnknownSchema);
        check(&written[..written.len() - 1], Reason::Decode);
        check(&[&written[..], b"x"].concat(), Reason::Decode);
        let team = written.windows(4).position(|window| window == b"acme").unwrap();
        check(&changed(team, b'/'), Reason::BadField);
    }

    proptest! {
        #[test]
        fn deliveries_round_trip(delivery in any_delivery()) {
            let record = encode_delivery(&delivery);
            prop_assert_eq!(decode_shared_delivery(&record), Ok(delivery.clone()));
            prop_assert_eq!(decode_delivery(&record), Ok(delivery));
        }

        #[test]
        fn apache_avro_reads_what_is_written(delivery in any_delivery()) {
            use types::Value as V;
            let schema = if delivery.replayed_at.is_some() { SCHEMA_2 } else { SCHEMA };
            let schema = Schema::parse_str(schema).unwrap();
            let reader = GenericDatumReader::builder(&schema).build().unwrap();
            let record = encode_delivery(&delivery);
            let mut datum = &record[10..];
            let V::Record(fields) = reader.read_value(&mut datum).unwrap() else { panic!("no record") };
            prop_assert!(datum.is_empty());
            let field = |name: &str| fields.iter().find(|(n, _)| n == name).unwrap().1.clone();
            let text = |text: &str| V::String(text.to_owned());
            let optional = |value: Option<V>| match value {
                None => V::Union(0, Box::new(V::Null)),
                Some(value) => V::Union(1, Box::new(value)),
            };
            prop_assert_eq!(field("id"), V::Fixed(16, delivery.id.0.to_vec()));
            prop_assert_eq!(field("day"), V::Int(delivery.day.0));
            prop_assert_eq!(field("team"), text(delivery.team.as_str()));
            prop_assert_eq!(field("subscription_revision"), V::Long(delivery.subscription_revision as i64));
            prop_assert_eq!(field("destination_hash"), V::Long(delivery.destination_hash.into()));
            prop_assert_eq!(field("event_time"), optional(delivery.event_time.map(|t| V::Long(t.0))));
            prop_assert_eq!(field("event_subject"), optional(delivery.event_subject.as_deref().map(text)));
            prop_assert_eq!(field("partition"), V::Int(delivery.position.partition as i32));
            prop_assert_eq!(field("offset"), V::Long(delivery.position.offset));
            prop_assert_eq!(field("event"), V::Bytes(delivery.event.to_vec()));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in any::<Vec<u8>>()) {
            let _ = decode_delivery(&bytes);
            let _ = decode_delivery(&[&MARKER[..], &FINGERPRINT, &bytes].concat());
        }
    }
}
