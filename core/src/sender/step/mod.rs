//! The sender's one step: an input in, effects out.
//!
//! This file holds the state, hands each input to its part, and answers the loop's questions. Reading order of the
//! parts, as a delivery meets them: [`ownership`], [`arrival`], [`turns`], [`answers`], [`rows`].

mod answers;
mod arrival;
mod ownership;
mod rows;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Effect, Flow, Input, LOAD_AHEAD_MS, LaneId, Load, Lookup, MAX_ASIDE, Options, PAUSE_AFTER_MS, Ticket,
    lane::{Lane, Share},
    ledger::Ledger,
    partition::{Partition, Stage},
    rings::Rings,
};
use crate::{
    directory::Directory,
    domain::{Chance, Delivery, DestinationId, NotificationId, TeamId, Timestamp},
};

/// One sender process: the partitions it owns and everything of them that is in memory.
pub struct Sender {
    options: Options,
    partitions: BTreeMap<u32, Partition>,
    items: Map<Ticket, Item>,
    /// Every notification in memory, so that a repeated record joins it instead of going out twice.
    live: Map<NotificationId, Ticket>,
    lanes: BTreeMap<LaneId, Slot>,
    lane_ids: Map<(TeamId, DestinationId), LaneId>,
    /// Lanes that wait for their rate or for the end of a pause.
    timers: BTreeSet<(Timestamp, LaneId)>,
    rings: Rings,
    ledger: Ledger,
    lookups: BTreeMap<Lookup, Vec<Ticket>>,
    /// Matched by a newer directory than ours; admitted when it has caught up.
    behind: Vec<Ticket>,
    /// The directory version that they were last held against.
    behind_at: i64,
    next: u64,
    /// Records on their way to the dead letters.
    aside: usize,
    from_log: usize,
    from_log_bytes: usize,
    next_commit: Timestamp,
    next_sweep: Timestamp,
    full_since: Option<Timestamp>,
}

/// The standard hasher without its random keys: the same inputs give the same trace.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A notification in memory.
struct Item {
    delivery: Arc<Delivery>,
    raw: Bytes,
    partition: u32,
    /// Records of the log that are settled with it. Empty once it is in the store.
    offsets: Vec<i64>,
    /// Attempts made so far.
    attempts: u32,
    /// Whether the store holds a parked row of it.
    parked: bool,
    lane: Option<LaneId>,
    place: Place,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The store is being asked, or the partition taken, or the directory is behind.
    Arriving,
    Queued,
    InFlight(Share),
    /// In flight, but its result no longer counts: the partition is gone.
    Abandoned(Share),
    Storing,
    /// Parked, and due soon.
    Wheel,
}

struct Slot {
    lane: Lane,
    key: (TeamId, DestinationId),
    filed: Filed,
}

/// Where a lane waits for its next start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filed {
    Nowhere,
    Ring,
    Timer(Timestamp),
}

/// Lookups that may be under way; more records are not read meanwhile.
const MAX_LOOKUPS: usize = 4;

// === impl Sender ===

impl Sender {
    pub fn new(options: Options) -> Sender {
        Sender {
            partitions: BTreeMap::new(),
            items: Map::default(),
            live: Map::default(),
            lanes: BTreeMap::new(),
            lane_ids: Map::default(),
            timers: BTreeSet::new(),
            rings: Rings::new(options.max_in_flight),
            ledger: Ledger::default(),
            lookups: BTreeMap::new(),
            behind: Vec::new(),
            behind_at: i64::MIN,
            next: 0,
            aside: 0,
            from_log: 0,
            from_log_bytes: 0,
            next_commit: Timestamp(i64::MIN),
            next_sweep: Timestamp(i64::MIN),
            full_since: None,
            options,
        }
    }

    /// Takes inputs in order and says what is to be done. Effects are to be performed in order.
    ///
    /// What follows from state and time is settled once for all of them: with a thousand answers a second, that would
    /// cost more than the answers.
    pub fn step(
        &mut self,
        now: Timestamp,
        chance: &mut Chance,
        directory: &Directory,
        inputs: impl IntoIterator<Item = Input>,
        out: &mut Vec<Effect>,
    ) {
        for input in inputs {
            match input {
                Input::Assigned(partitions) => self.assigned(&partitions, out),
                Input::Acquired(partition, lease, epoch) => self.acquired(partition, lease, epoch, out),
                Input::Deliveries(records) => self.deliveries(records, now, out),
                Input::SetAside(partition, offset) => self.set_aside(partition, offset),
                Input::LookedUp(lookup, known) => self.looked_up(lookup, &known, directory, now, out),
                Input::Answered(ticket, answer) => self.answered(ticket, answer, directory, now, chance),
                Input::Stored => self.stored(),
                Input::Fenced(partitions) => self.fenced(&partitions, out),
                Input::Due(partition, lease, rows, loaded) => self.due(partition, lease, rows, loaded, now),
                Input::Revoking(partitions) => self.leave(&partitions, now),
                Input::Lost(partitions) => partitions.iter().for_each(|p| self.drop_partition(*p)),
                Input::Stop => self.leave(&self.partitions.keys().copied().collect::<Vec<_>>(), now),
                Input::Tick => {}
            }
        }
        self.settle(now, directory, chance, out);
    }

    /// Everything that follows from state and time alone.
    fn settle(&mut self, now: Timestamp, directory: &Directory, chance: &mut Chance, out: &mut Vec<Effect>) {
        self.admit_caught_up(directory, now);
        self.admit_due(directory, now);
        self.wake_lanes(now);
        self.sweep(now);
        self.pump(directory, now, out);
        self.time_out_leaving(directory, now, chance);
        self.flush(now, out);
        self.load_due(now, out);
        self.commit(now, out);
        self.release(now, out);
    }

    // --- items ---

    fn add(&mut self, item: Item) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        if !item.parked {
            self.from_log += 1;
            self.from_log_bytes += item.raw.len();
        }
        self.live.insert(item.delivery.id, ticket);
        self.items.insert(ticket, item);
        ticket
    }

    /// Its records are settled, and it leaves memory.
    fn finish(&mut self, ticket: Ticket) {
        if let Some(item) = self.items.get(&ticket)
            && let Some(partition) = self.partitions.get_mut(&item.partition)
        {
            item.offsets.iter().for_each(|offset| partition.close(*offset));
        }
        self.forget(ticket);
    }

    /// It leaves memory; its records, if any, stay open. A request in flight is left to end.
    fn forget(&mut self, ticket: Ticket) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        if self.live.get(&item.delivery.id) == Some(&ticket) {
            self.live.remove(&item.delivery.id);
        }
        if !item.parked {
            self.from_log -= 1;
            self.from_log_bytes -= item.raw.len();
            item.parked = true;
        }
        match item.place {
            Place::InFlight(share) => item.place = Place::Abandoned(share),
            Place::Abandoned(_) => {}
            _ => drop(self.items.remove(&ticket)),
        }
    }

    fn forget_where(&mut self, what: impl Fn(&Item) -> bool) {
        let tickets = self.tickets(what);
        if tickets.is_empty() {
            return;
        }
        for ticket in tickets {
            self.forget(ticket);
        }
        let items = &self.items;
        for slot in self.lanes.values_mut() {
            slot.lane.queue.retain(|ticket| items.contains_key(ticket));
        }
    }

    /// In a fixed order, whatever the map's.
    fn tickets(&self, what: impl Fn(&Item) -> bool) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> =
            self.items.iter().filter(|(_, item)| what(item)).map(|(ticket, _)| *ticket).collect();
        tickets.sort();
        tickets
    }

    fn started_at(&self, ticket: Ticket) -> Option<Timestamp> {
        let lane = &self.lanes.get(&self.items.get(&ticket)?.lane?)?.lane;
        lane.in_flight.iter().find(|(t, _)| *t == ticket).map(|(_, start)| *start)
    }

    // --- what the loop asks ---

    /// Whether records may be read now.
    pub fn flow(&mut self, now: Timestamp) -> Flow {
        let full = self.from_log >= self.options.max_queued
            || self.from_log_bytes >= self.options.max_queued_bytes
            || self.lookups.len() >= MAX_LOOKUPS
            || self.aside >= MAX_ASIDE;
        if !full {
            self.full_since = None;
            return Flow::Read;
        }
        let since = *self.full_since.get_or_insert(now);
        if now.since(since) >= PAUSE_AFTER_MS { Flow::Pause } else { Flow::Hold }
    }

    /// When the next [`Input::Tick`] is needed at the latest.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let lanes = self.timers.first().map(|(at, _)| *at);
        let rows = self.partitions.values().filter(|p| p.is_owned()).filter_map(Partition::next_due).min();
        let loads = self.partitions.values().filter_map(|p| p.next_load(LOAD_AHEAD_MS / 2)).min();
        let flush = self.ledger.next_flush(self.options.store_linger_ms);
        let commit = self.partitions.values().any(Partition::has_commit).then_some(self.next_commit);
        let sweep = (!self.lanes.is_empty()).then_some(self.next_sweep);
        let leave = self
            .partitions
            .values()
            .filter_map(|p| match p.stage {
                Stage::Leaving(_, deadline) => Some(deadline),
                _ => None,
            })
            .min();
        let pause = self.full_since.map(|since| since.plus(PAUSE_AFTER_MS));
        [lanes, rows, loads, flush, commit, sweep, leave, pause].into_iter().flatten().min()
    }

    /// Whether every partition has been given up.
    pub fn is_idle(&self) -> bool {
        self.partitions.is_empty()
    }

    pub fn load(&self) -> Load {
        Load {
            queued: self.from_log,
            queued_bytes: self.from_log_bytes,
            in_flight: self.rings.in_flight(),
            unsettled: self.ledger.answered(),
            lanes: self.lanes.len(),
        }
    }
}
