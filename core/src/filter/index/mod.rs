//! Which subscriptions an event matches: one look-up by team and event type, one look at each field that their filters ask for.
//!
//! ```text
//! team, event type ── partition ─┬─ blocks of rules      one, and after changes some that lie over it
//!                                └─ fresh rules          not yet built into a block: tried plainly
//! ```
//!
//! Rules for events of any type stand in a partition of their own, which is looked up second.
//!
//! One writer, who holds the index mutably; readers hold clones, which are a few pointers. A change copies the page of the table
//! that it is in and nothing else; blocks are immutable and shared. So a reader keeps the snapshot it has, never waits, and never
//! sees half a change.
//!
//! What is deliberately absent: any decision by a hash alone (keys, names and texts are compared byte by byte), and any knowledge
//! of operators that [`Parts`](super::alternatives::Parts) does not name: they are left to plain evaluation.
//!
//! Reading order: this file, [`partition`], [`block`], [`open`], [`many`], `answer`, [`body`], [`row`], [`build`], `ahead`, [`found`], [`scan`] and [`avro`] for events that are not read whole, `predicates`,
//! `scratch`, `fields`, `table`, `word`, `hash`.

mod ahead;
mod answer;
mod avro;
mod block;
mod body;
mod build;
mod fields;
mod found;
mod hash;
mod many;
mod open;
mod partition;
mod predicates;
mod projection;
mod row;
mod scan;
mod scratch;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod word;

use std::{fmt, mem, sync::Arc};

use ahead::Ahead;
use avro::OfAvro;
use block::Block;
use build::Builder;
use fields::Fields;
use found::{MAX_WAYS_WEIGHT, OfDatum, Source};
use hash::hash;
use partition::{Partition, by_id};
use projection::Projection;
use row::{Key, Row, key_hash, type_hash};
use scan::OfScan;
use scratch::Scratch;
use table::Table;

pub use avro::{AvroProgram, AvroPrograms};
pub use scan::{Addressed, Head, Scanner};
pub use scratch::Room;
pub use stats::{PartitionStats, Stats};

use super::{Datum, Of, Rule, TooCostly, budget::Bill};
use crate::{
    catalog::Shape,
    codec::tape::Unusual,
    domain::{Event, TeamId},
};

/// Rules by team and event type.
#[derive(Clone)]
pub struct Index {
    partitions: Table<Partition>,
    fields: Fields,
    /// Of the fields as they were when the index was last settled.
    projection: Option<Arc<Projection>>,
    /// Partitions with something to be built or taken away, some perhaps twice.
    unsettled: Vec<Key>,
}

/// The partitions for an event's type and for any type, as far as hashes can tell.
struct Approached<'i> {
    hashes: [u64; 2],
    first: [Option<&'i Partition>; 2],
}

/// How many rules of a partition may wait to be built in.
const MAX_FRESH: usize = 64;
/// How many partitions may wait to be settled.
const MAX_UNSETTLED: usize = 10_000;

// === impl Index ===

impl Index {
    pub fn new() -> Index {
        Index { partitions: Table::new(), fields: Fields::default(), projection: None, unsettled: Vec::new() }
    }

    /// All at once. There must be no two of the same team and id.
    pub fn of(rules: impl IntoIterator<Item = Arc<Rule>>) -> Index {
        let mut rows: Vec<Row> = Vec::new();
        for rule in rules {
            rows.extend((0..rule.clauses().len()).map(|clause| Row::new(&rule, clause)));
        }
        // Rules usually come in the order of their ids, and then stay in it.
        rows.sort_by_key(|row| row.hash);
        let mut fields = Fields::default();
        let mut entries = Vec::new();
        let (mut begin, mut ahead, mut builder) = (0, Ahead::default(), Builder::default());
        while begin < rows.len() {
            let hash = rows[begin].hash;
            let end = begin + rows[begin..].iter().take_while(|row| row.hash == hash).count();
            ahead.of(&rows, end);
            let same = &mut rows[begin..end];
            let is_one = same.iter().all(|row| row.is_beside(&same[0]));
            if !(is_one && same.is_sorted_by(|a, b| a.cmp_in_partition(b).is_le())) {
                // Partitions of the same hash are told apart here.
                same.sort_by(Row::cmp_in_table);
            }
            for same in same.chunk_by(Row::is_beside) {
                let team = same[0].rule.subscription.team.as_str();
                let block = builder.block(team, same[0].event_type(), same, &mut fields);
                entries.push((hash, Partition::of(block)));
            }
            begin = end;
        }
        let bits = table::bits_for(entries.len());
        let projection = Some(Arc::new(Projection::of(&fields)));
        Index { partitions: Table::of(entries, bits), fields, projection, unsettled: Vec::new() }
    }

    /// Adds a rule. One with the same team and id must have been [removed](Index::remove) before.
    pub fn insert(&mut self, rule: &Arc<Rule>) {
        for clause in 0..rule.clauses().len() {
            let row = Row::new(rule, clause);
            let (key, hash) = (row.key(), row.hash);
            let (team, event_type) = (key.team.as_str(), key.event_type.as_deref());
            if self.partitions.get(hash, |known| known.is_of(team, event_type)).is_none() {
                self.partitions.insert(hash, Partition::empty(&key));
            }
            let Some(partition) = self.partitions.get_mut(hash, |known| known.is_of(team, event_type)) else {
                continue;
            };
            if partition.insert(&key, row, &mut self.unsettled) >= MAX_FRESH {
                self.settle_partition(&key);
            }
        }
        self.settle_if_much();
    }

    /// Takes out what [`Index::insert`] has put in for this very rule.
    pub fn remove(&mut self, rule: &Rule) {
        for clause in rule.clauses() {
            let key = Key { team: rule.subscription.team.clone(), event_type: clause.event_type.clone() };
            let (team, event_type) = (key.team.as_str(), key.event_type.as_deref());
            let hash = key_hash(team, event_type);
            let Some(partition) = self.partitions.get_mut(hash, |known| known.is_of(team, event_type)) else {
                continue;
            };
            partition.remove(&key, rule, &mut self.unsettled);
            if partition.rows() == 0 {
                self.settle_partition(&key);
            }
        }
        self.settle_if_much();
    }

    /// Builds what was added since the last time into blocks and gives back the memory of what was removed. Nothing else
    /// changes: what matches before, matches after. To be called before a snapshot is given to readers.
    pub fn settle(&mut self) {
        let mut keys = mem::take(&mut self.unsettled);
        keys.sort_unstable();
        keys.dedup();
        keys.iter().for_each(|key| self.settle_partition(key));
        if self.projection.as_ref().is_none_or(|projection| projection.version != self.fields.version()) {
            self.projection = Some(Arc::new(Projection::of(&self.fields)));
        }
    }

    fn settle_if_much(&mut self) {
        if self.unsettled.len() >= MAX_UNSETTLED {
            self.settle();
        }
    }

    fn settle_partition(&mut self, key: &Key) {
        let (team, event_type) = (key.team.as_str(), key.event_type.as_deref());
        let (hash, is) = (key_hash(team, event_type), |known: &Partition| known.is_of(team, event_type));
        let Some(partition) = self.partitions.get_mut(hash, is) else { return };
        if !partition.settle(key, &mut self.fields) {
            self.partitions.remove(hash, is);
        }
    }

    /// The subscriptions that match, each once, in the order of their ids. Disabled ones too: what becomes of them is
    /// not decided here.
    pub fn matching(&self, event: &Event) -> Vec<&Arc<Rule>> {
        self.matching_data(&event.team, &event.event_type, Of { datum: &event.data, event })
    }

    /// The same for an event whose data is elsewhere; what asks for its time or attributes needs it [there](Of) too.
    pub fn matching_data<'a>(&self, team: &TeamId, event_type: &str, data: impl Datum<'a>) -> Vec<&Arc<Rule>> {
        let mut found = Vec::new();
        let mut source = OfDatum { fields: &self.fields, event_type, data, bill: None, ways: MAX_WAYS_WEIGHT };
        let addressed = Addressed { team: team.as_str(), event_type };
        self.matching_in(addressed, self.approach(addressed), &mut source, &mut Scratch::default(), &mut found);
        found
    }

    /// The same for who must not wait: filters that the index leaves to plain evaluation have a [`Budget`](super::Budget) each. The room is
    /// used again for the next event.
    pub fn matching_within<'a>(
        &self,
        team: &TeamId,
        event_type: &str,
        data: impl Datum<'a>,
        room: &mut Room,
    ) -> Result<Vec<&Arc<Rule>>, TooCostly> {
        let (mut found, mut bill) = (Vec::new(), Bill::new());
        let mut source =
            OfDatum { fields: &self.fields, event_type, data, bill: Some(&mut bill), ways: MAX_WAYS_WEIGHT };
        let addressed = Addressed { team: team.as_str(), event_type };
        let approached = self.approach(addressed);
        let mut scratch = room.lend();
        self.matching_in(addressed, approached, &mut source, &mut scratch, &mut found);
        *room = Room::of(scratch);
        bill.or(found)
    }

    /// The same for an event in JSON, an envelope with `team`, `type` and `data`: only what filters ask for is taken out of it.
    /// Adds what matches to `found`. [`Unusual`] says nothing about the event but that another way must be taken.
    pub fn matching_json<'i>(
        &'i self,
        envelope: &[u8],
        scanner: &mut Scanner,
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Result<(), Unusual> {
        self.matching_named(envelope, |addressed| Some(addressed.event_type), scanner, found, |_| true).map(|_| ())
    }

    /// What [`Index::matching_within`] finds for the same event, in which there is nothing to be paid for: as [`Index::matching_json`], but
    /// [`Unusual`] also for data whose inner arrays and objects the reader of the whole would weigh. `named` says which type is meant,
    /// or that the data need not be read. Returns that type, and what else the envelope says.
    pub fn matching_json_within<'i, 'e, Type: AsRef<str>>(
        &'i self,
        envelope: &'e [u8],
        named: impl FnMut(Addressed<'e>) -> Option<Type>,
        scanner: &mut Scanner,
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Result<(Head<'e>, Type), Unusual> {
        self.matching_named(envelope, named, scanner, found, |scanner| !scanner.weighs_less)
    }

    fn matching_named<'i, 'e, Type: AsRef<str>>(
        &'i self,
        envelope: &'e [u8],
        mut named: impl FnMut(Addressed<'e>) -> Option<Type>,
        scanner: &mut Scanner,
        found: &mut Vec<&'i Arc<Rule>>,
        is_good: impl Fn(&Scanner) -> bool,
    ) -> Result<(Head<'e>, Type), Unusual> {
        let projection = self.projection().ok_or(Unusual)?;
        let mut of = |addressed: Addressed<'e>| {
            let event_type = named(addressed).ok_or(Unusual)?;
            let approached = self.approach(Addressed { event_type: event_type.as_ref(), ..addressed });
            Ok::<_, Unusual>((event_type, approached))
        };
        let mut approached = None;
        let (text, head) = scanner.scan(envelope, projection, |addressed| {
            approached = Some(of(addressed)?);
            Ok(())
        })?;
        let Head { team, event_type, .. } = head;
        let (event_type, approached) = approached.map_or_else(|| of(Addressed { team, event_type }), Ok)?;
        if !is_good(scanner) {
            return Err(Unusual);
        }
        let mut scratch = scanner.room.lend();
        let mut source = OfScan { text, scanner, asked: false };
        let before = found.len();
        let addressed = Addressed { team, event_type: event_type.as_ref() };
        self.matching_in(addressed, approached, &mut source, &mut scratch, found);
        let (asked, room) = (source.asked, Room::of(scratch));
        scanner.room = room;
        if asked {
            found.truncate(before);
            return Err(Unusual);
        }
        Ok((head, event_type))
    }

    /// How data of that shape is read for the fields in use, as long as they are these. `None`: it must be read whole.
    pub fn avro_program(&self, shape: &Shape) -> Option<AvroProgram> {
        AvroProgram::of(shape, self.projection()?)
    }

    /// The same as [`Index::matching_json`] for data in Avro. A program that was made for other fields than are in use now is
    /// [`Unusual`] too.
    pub fn matching_avro<'i>(
        &'i self,
        (team, event_type): (&str, &str),
        program: &AvroProgram,
        datum: &[u8],
        scanner: &mut Scanner,
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Result<(), Unusual> {
        if self.projection().is_none_or(|projection| projection.version != program.version) {
            return Err(Unusual);
        }
        let addressed = Addressed { team, event_type };
        let approached = self.approach(addressed);
        program.read(datum, scanner)?;
        let mut scratch = scanner.room.lend();
        let mut source = OfAvro { datum, scanner, asked: false };
        let before = found.len();
        self.matching_in(addressed, approached, &mut source, &mut scratch, found);
        let (asked, room) = (source.asked, Room::of(scratch));
        scanner.room = room;
        if asked {
            found.truncate(before);
            return Err(Unusual);
        }
        Ok(())
    }

    /// Of the fields in use, unless they have changed since it was made.
    fn projection(&self) -> Option<&Projection> {
        self.projection.as_deref().filter(|projection| projection.version == self.fields.version())
    }

    /// The team and type of an event in JSON, its fields left in the scanner: the part of [`Index::matching_json`] that no index
    /// can do without.
    pub fn read_json<'e>(&self, envelope: &'e [u8], scanner: &mut Scanner) -> Result<(&'e str, &'e str), Unusual> {
        let projection = self.projection.as_ref().ok_or(Unusual)?;
        let (_, Head { team, event_type, .. }) = scanner.scan(envelope, projection, |_| Ok(()))?;
        Ok((team, event_type))
    }

    /// Looks for the partitions of a key by their hashes, and has their memory brought into the cache while something else is done.
    fn approach(&self, addressed: Addressed<'_>) -> Approached<'_> {
        let Addressed { team, event_type } = addressed;
        let of_team = hash(team.as_bytes());
        let hashes = [of_team ^ type_hash(event_type), of_team];
        // The pages of both are waited for at once.
        hashes.iter().for_each(|hash| self.partitions.fetch(*hash));
        let first = hashes.map(|hash| self.partitions.of_hash(hash).next());
        first.iter().flatten().for_each(|partition| partition.each_block(Block::fetch));
        Approached { hashes, first }
    }

    fn matching_in<'i, 'a>(
        &'i self,
        Addressed { team, event_type }: Addressed<'_>,
        Approached { hashes, first }: Approached<'i>,
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let begin = found.len();
        // Each run in the order of ids by itself.
        let mut runs = 0;
        let mut ended = |found: &[&Arc<Rule>], before: usize| runs += usize::from(found.len() > before);
        let partition = |event_type, place: usize| {
            let is = |known: &Partition| known.is_of(team, event_type);
            let first = first[place]?;
            if is(first) { Some(first) } else { self.partitions.get(hashes[place], is) }
        };
        // Both are looked for before either is gone through, so that the memory of both is waited for at once.
        let partitions = [partition(Some(event_type), 0), partition(None, 1)];
        partitions.iter().flatten().for_each(|partition| partition.each_block(Block::fetch_apart));
        for partition in partitions.into_iter().flatten() {
            let before = found.len();
            partition.matching(source, scratch, found);
            ended(found, before);
        }
        if runs > 1 {
            by_id(found, begin);
        }
    }
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: usize = self.partitions.values().map(Partition::rows).sum();
        write!(f, "Index({} partitions, {rows} clauses, {} fields)", self.partitions.len(), self.fields.len())
    }
}
