//! The matcher's one step: a batch of source records in; deliveries, dead letters and index versions out.
//!
//! Everything that a step writes goes into one transaction with the input offsets, so a crash repeats a whole batch or
//! nothing of it. A record that cannot be used is set aside with its reason; it never stops its partition.
//!
//! What is deliberately absent: any knowledge of destinations' settings (a delivery carries ids only), any waiting,
//! any memory of events. The room keeps one number a partition, the index version it last wrote down, and in [`reading`], for speed
//! alone, which teams' types had to be read whole.
//!
//! Reading order: this file, [`reading`], [`index_version`].

pub mod index_version;
mod reading;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    iter,
    mem::take,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use bytes::{Bytes, BytesMut};
pub use index_version::IndexVersion;
use reading::Reading;

use crate::{
    codec::{self, DeadLetter, Decoded, Decoder, Parts, Poison, Reason, SchemaRef, Unread},
    directory::Directory,
    domain::{Day, DestinationId, NotificationId, Output, Position, Record, Subscription, Timestamp, TopicPartition},
};

/// Bounds and names of one matcher process.
#[derive(Clone, Debug)]
pub struct Options {
    pub deliveries: Arc<str>,
    pub deadletters: Arc<str>,
    pub index_versions: Arc<str>,
    /// Partitions of the deliveries topic.
    pub delivery_partitions: u32,
    /// Deliveries that one event may make; more, and it is set aside.
    pub max_fanout: usize,
    /// Bytes of deliveries that one event may make; more, and it is set aside.
    pub max_fanout_bytes: usize,
    /// Bytes of output after which a batch is closed; the event that crosses it still belongs to it.
    pub max_batch_bytes: usize,
    /// Threads that a large batch may be divided among. What comes of it is the same with any number.
    pub threads: usize,
}

/// What one transaction writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub outputs: Vec<Output>,
    /// Next input offsets.
    pub offsets: Vec<(TopicPartition, i64)>,
    /// How many of the records are in it. The rest are for the next step.
    pub taken: usize,
    /// Records that became dead letters, and why.
    pub set_aside: Vec<(Position, Poison)>,
    /// The schema without which the record after those taken cannot be read. It is neither written nor passed over.
    pub needs: Option<SchemaRef>,
    pub counts: Counts,
}

/// What a batch did, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub tombstones: u64,
    /// Events whose type the catalog does not know; matched like others.
    pub unknown_type: u64,
    /// Events that no subscription matched.
    pub unmatched: u64,
    pub deliveries: u64,
}

/// One matcher process: which index version it last wrote down for each input partition, and on which day of its events.
pub struct Matcher {
    options: Options,
    recorded: BTreeMap<TopicPartition, (i64, Day)>,
    /// One for each thread, used again.
    desks: Vec<Desk>,
}

/// A notification of an event that is matched again.
#[derive(Clone, Debug)]
pub struct Rematched {
    pub id: NotificationId,
    pub day: Day,
    pub output: Output,
}

/// Records that are worth a thread: starting one costs as much as some of them.
const MIN_RECORDS_PER_THREAD: usize = 128;
/// How much of the wire a delivery takes beyond its event, at most: ids, names and position.
const DELIVERY_OVERHEAD: usize = 2_048;
/// Bytes of memory taken at a time for what is written.
const PIECE: usize = 64 * 1024;

// === impl Matcher ===

impl Matcher {
    pub fn new(options: Options) -> Matcher {
        Matcher { options, recorded: BTreeMap::new(), desks: Vec::new() }
    }

    /// Forgets what was written down: after an assignment, or a transaction that came to nothing.
    pub fn forget(&mut self) {
        self.recorded.clear();
    }

    /// Matches records against one directory snapshot, in order, until all are taken, the batch is full, or a schema is
    /// missing.
    pub fn step(&mut self, records: &[Record], directory: &Directory, decoder: &Decoder) -> Batch {
        let mut batch = Batch::default();
        // The first record and the next offset of each run of one partition's records: mostly they come in long ones.
        let mut runs: Vec<(&Record, i64)> = Vec::new();
        let mut bytes = 0;
        let mut left = records;
        let mut desks = take(&mut self.desks);
        let parts = self.judge_all(records, directory, decoder, &mut desks);
        self.desks = desks;
        for Part { judged, mut outputs } in parts {
            let mut taken = 0;
            let mut full = false;
            for judged in judged {
                full = bytes >= self.options.max_batch_bytes;
                let Some((record, after)) = left.split_first().filter(|_| !full) else { break };
                if let Verdict::Needs(schema) = judged.verdict {
                    batch.needs = Some(schema);
                    full = true;
                    break;
                }
                left = after;
                bytes += judged.bytes;
                taken += judged.outputs;
                batch.count(record, judged);
                match runs.last_mut() {
                    Some((first, next)) if first.partition == record.partition && first.topic == record.topic => {
                        *next = record.offset + 1;
                    }
                    _ => runs.push((record, record.offset + 1)),
                }
            }
            outputs.truncate(taken);
            if batch.outputs.is_empty() {
                batch.outputs = outputs;
            } else {
                batch.outputs.append(&mut outputs);
            }
            if full {
                break;
            }
        }
        let mut next: BTreeMap<TopicPartition, (&Record, i64)> = BTreeMap::new();
        for (first, after) in runs {
            next.entry(first.topic_partition()).or_insert((first, after)).1 = after;
        }
        batch.taken = records.len() - left.len();
        for (partition, (first, _)) in &next {
            let (version, day) = (directory.version(), first.timestamp.day());
            // Said again every day, or retention would forget what holds for events that are still there.
            if self.recorded.get(partition).is_none_or(|(said, on)| *said != version || *on < day) {
                self.recorded.insert(partition.clone(), (version, day));
                let said = IndexVersion { partition: partition.clone(), first: first.offset, version };
                batch.outputs.push(said.output(&self.options.index_versions));
            }
        }
        batch.offsets = next.into_iter().map(|(partition, (_, next))| (partition, next)).collect();
        batch
    }

    /// Matches one record again, for a replay: the same ids as the first time, and nothing written down beside them.
    pub fn again(
        &self,
        record: &Record,
        directory: &Directory,
        decoder: &Decoder,
        now: Timestamp,
    ) -> Result<Vec<Rematched>, Poison> {
        let mut found = Vec::new();
        if record.value.is_some() {
            guarded(|| {
                // What is found is kept for long, and one by one: each in memory of its own.
                let (mut reading, mut written) = (Reading::default(), Written { at_once: 0, ..Written::default() });
                self.deliveries(record, directory, decoder, &mut reading, Some(now), |delivery| {
                    let output = self.output(delivery, &mut written);
                    found.push(Rematched { id: delivery.id, day: delivery.day, output });
                })
            })?;
        }
        Ok(found)
    }

    /// What becomes of each record, in their order: a record says nothing about another, so they can be judged at once. A part ends
    /// where the batch will be closed at the latest, be it full or for want of a schema; the rest would be thrown away.
    fn judge_all(
        &self,
        records: &[Record],
        directory: &Directory,
        decoder: &Decoder,
        desks: &mut Vec<Desk>,
    ) -> Vec<Part> {
        let part = &|records: &[Record], desk: &mut Desk| {
            let mut bytes = 0;
            let mut part =
                Part { judged: Vec::with_capacity(records.len()), outputs: Vec::with_capacity(records.len()) };
            for record in records {
                if bytes >= self.options.max_batch_bytes {
                    break;
                }
                let judged = self.judge(record, directory, decoder, desk, &mut part.outputs);
                bytes += judged.bytes;
                let ends = matches!(judged.verdict, Verdict::Needs(_));
                part.judged.push(judged);
                if ends {
                    break;
                }
            }
            part
        };
        let threads = self.options.threads.min(records.len() / MIN_RECORDS_PER_THREAD).max(1);
        desks.resize_with(threads.max(desks.len()), Desk::default);
        let Some((desk, desks)) = desks.split_first_mut() else { return Vec::new() };
        if threads < 2 {
            return vec![part(records, desk)];
        }
        let (first, rest) = records.split_at(records.len().div_ceil(threads));
        thread::scope(|scope| {
            let others: Vec<_> = iter::zip(rest.chunks(first.len()), desks)
                .map(|(records, desk)| (records, scope.spawn(move || part(records, desk))))
                .collect();
            let mut parts = vec![part(first, desk)];
            // A panic is a record's poison and ends no thread; if one ended all the same, its part is judged here.
            let judged_here = |records| part(records, &mut Desk::default());
            parts.extend(
                others.into_iter().map(|(records, other)| other.join().unwrap_or_else(|_| judged_here(records))),
            );
            parts
        })
    }

    /// Puts what comes of one record behind the other outputs.
    fn judge(
        &self,
        record: &Record,
        directory: &Directory,
        decoder: &Decoder,
        desk: &mut Desk,
        outputs: &mut Vec<Output>,
    ) -> Judged {
        if record.value.is_none() {
            return Judged { outputs: 0, bytes: 0, verdict: Verdict::Tombstone };
        }
        let before = outputs.len();
        let judged = guarded(|| {
            let Desk { reading, written } = desk;
            self.deliveries(record, directory, decoder, reading, None, |delivery| {
                outputs.push(self.output(delivery, written));
            })
        });
        let verdict = match judged {
            Ok(Matched { known_type }) => Verdict::Matched { known_type },
            Err(unread) => {
                outputs.truncate(before);
                match unread {
                    Unread::Needs(schema) => Verdict::Needs(schema),
                    Unread::Poison(poison) => {
                        outputs.push(self.dead_letter(record, &poison));
                        Verdict::Poison(poison)
                    }
                }
            }
        };
        let new = &outputs[before..];
        Judged { outputs: new.len(), bytes: new.iter().map(size).sum(), verdict }
    }

    /// Gives each delivery of one event to `take`, in a fixed order.
    fn deliveries(
        &self,
        record: &Record,
        directory: &Directory,
        decoder: &Decoder,
        reading: &mut Reading,
        replayed_at: Option<Timestamp>,
        mut take: impl FnMut(Parts<'_>),
    ) -> Result<Matched, Unread> {
        let (Decoded { event, codec }, rules) = reading.matching(record, directory, decoder)?;
        let fanout: usize = rules.iter().map(|rule| rule.destination_hashes.len()).sum();
        self.check_fanout(fanout, record)?;
        let day = event.time.unwrap_or(record.timestamp).day();
        for rule in rules {
            let subscription = &rule.subscription;
            for (destination, hash) in iter::zip(&subscription.destinations, &rule.destination_hashes) {
                take(Parts {
                    id: NotificationId::of(&event, &subscription.id, destination, ""),
                    day,
                    team: event.team.as_str(),
                    subscription: subscription.id.as_str(),
                    subscription_revision: subscription.revision,
                    destination: destination.as_str(),
                    destination_revision: revision_of(directory, subscription, destination),
                    destination_hash: *hash,
                    event_type: &event.event_type,
                    event_id: &event.id,
                    event_source: &event.source,
                    event_time: event.time,
                    event_subject: event.subject.as_deref(),
                    index_version: directory.version(),
                    position: (&record.topic, record.partition, record.offset),
                    recorded_at: record.timestamp,
                    replayed_at,
                    codec: &codec,
                    event: record.value.as_deref().unwrap_or_default(),
                });
            }
        }
        Ok(Matched { known_type: directory.catalog().get(&event.event_type).is_some() })
    }

    fn output(&self, delivery: Parts<'_>, written: &mut Written) -> Output {
        Output {
            topic: self.options.deliveries.clone(),
            partition: Some(delivery.destination_hash % self.options.delivery_partitions),
            key: Some(written.bytes(&[delivery.team.as_bytes(), b"/", delivery.destination.as_bytes()])),
            value: Some(written.delivery(&delivery)),
            headers: Vec::new(),
        }
    }

    fn check_fanout(&self, fanout: usize, record: &Record) -> Result<(), Poison> {
        let bytes = fanout * (record.value.as_ref().map_or(0, Bytes::len) + DELIVERY_OVERHEAD);
        let Options { max_fanout, max_fanout_bytes, .. } = self.options;
        if fanout > max_fanout {
            let detail = format!("{fanout} deliveries from one event; max_fanout is {max_fanout}");
            return Err(Poison { reason: Reason::Fanout, detail });
        }
        if bytes > max_fanout_bytes {
            let detail = format!("{bytes} bytes of deliveries from one event; max_fanout_bytes is {max_fanout_bytes}");
            return Err(Poison { reason: Reason::Fanout, detail });
        }
        Ok(())
    }

    fn dead_letter(&self, record: &Record, poison: &Poison) -> Output {
        let DeadLetter { key, value, headers } = codec::dead_letter(record, poison);
        let topic = self.options.deadletters.clone();
        Output { topic, partition: None, key, value, headers }
    }
}

struct Matched {
    known_type: bool,
}

/// What becomes of some records that follow each other.
struct Part {
    judged: Vec<Judged>,
    /// Of all of them, one after the other.
    outputs: Vec<Output>,
}

/// What becomes of one record.
struct Judged {
    /// How many of the outputs are its own.
    outputs: usize,
    bytes: usize,
    verdict: Verdict,
}

/// What one thread works with, record after record.
#[derive(Default)]
struct Desk {
    reading: Reading,
    written: Written,
}

/// Bytes of outputs, many in one piece of memory: they are made together and given back together.
struct Written {
    piece: BytesMut,
    /// Bytes taken at a time, at least.
    at_once: usize,
    /// What stands before an event.
    draft: Vec<u8>,
}

enum Verdict {
    Tombstone,
    Matched { known_type: bool },
    Poison(Poison),
    Needs(SchemaRef),
}

// === impl Written ===

impl Default for Written {
    fn default() -> Written {
        Written { piece: BytesMut::new(), at_once: PIECE, draft: Vec::new() }
    }
}

impl Written {
    fn delivery(&mut self, delivery: &Parts<'_>) -> Bytes {
        let mut draft = take(&mut self.draft);
        draft.clear();
        delivery.write_head(&mut draft);
        let bytes = self.bytes(&[&draft, delivery.event]);
        self.draft = draft;
        bytes
    }

    /// One behind the other.
    fn bytes(&mut self, parts: &[&[u8]]) -> Bytes {
        let size = parts.iter().map(|part| part.len()).sum();
        if self.piece.capacity() < size {
            self.piece = BytesMut::with_capacity(self.at_once.max(size));
        }
        parts.iter().for_each(|part| self.piece.extend_from_slice(part));
        self.piece.split().freeze()
    }
}

// === impl Batch ===

impl Batch {
    fn count(&mut self, record: &Record, judged: Judged) {
        let Judged { outputs, verdict, .. } = judged;
        self.counts.records += 1;
        match verdict {
            Verdict::Tombstone => self.counts.tombstones += 1,
            Verdict::Matched { known_type } => {
                self.counts.unknown_type += u64::from(!known_type);
                self.counts.unmatched += u64::from(outputs == 0);
                self.counts.deliveries += outputs as u64;
            }
            Verdict::Poison(poison) => self.set_aside.push((record.position(), poison)),
            // Not a part of any batch.
            Verdict::Needs(_) => {}
        }
    }
}

/// A bug that one record brings out must not stop every other record of its partition.
fn guarded<T>(decide: impl FnOnce() -> Result<T, Unread>) -> Result<T, Unread> {
    catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|panic| {
        let detail = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        Err(Poison::new(Reason::Panic, detail.unwrap_or("no message")).into())
    })
}

fn revision_of(directory: &Directory, subscription: &Subscription, destination: &DestinationId) -> u64 {
    directory.destination(&subscription.team, destination).map_or(0, |d| d.revision)
}

fn size(output: &Output) -> usize {
    output.value.as_ref().map_or(0, Bytes::len) + output.key.as_ref().map_or(0, Bytes::len)
}
