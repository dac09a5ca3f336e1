//! The sender's one step: an input in, effects out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Answered, Attempting, Effect, Flow, Incoming, Input, LOAD_AHEAD_MS, LaneId, Lease, Load, Loaded, Lookup, MAX_LOAD,
    MAX_SPILL_MS, Options, PAUSE_AFTER_MS, Ticket, UNPROVEN_QUEUE,
    lane::{Lane, Ready, Share},
    ledger::{Entry, Ledger, Then},
    partition::{Partition, Stage, end_of},
    retry::{self, Decision, MAX_RETRY_AFTER_MS},
    rings::Rings,
};
use crate::{
    directory::Directory,
    domain::{
        Attempt, Chance, Delivery, Destination, DestinationId, Epoch, ErrorClass, Known, NotificationId, Outcome,
        Parked, TeamId, Timestamp,
    },
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

/// What becomes of a notification that is to be sent now.
enum Fate {
    Send(Arc<Destination>),
    End(Outcome),
    /// The directory here is older than the one that matched.
    Behind,
}

/// How often queues are looked through for what has waited too long.
const SWEEP_MS: i64 = 250;
/// Lookups that may be under way; more records are not read meanwhile.
const MAX_LOOKUPS: usize = 4;
/// Time for the last write when a partition is left.
const LAST_WRITE_MS: i64 = 1_500;

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
            from_log: 0,
            from_log_bytes: 0,
            next_commit: Timestamp(i64::MIN),
            next_sweep: Timestamp(i64::MIN),
            full_since: None,
            options,
        }
    }

    /// Takes one input and says what is to be done. Effects are to be performed in order.
    pub fn step(
        &mut self,
        now: Timestamp,
        chance: &mut Chance,
        directory: &Directory,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        match input {
            Input::Assigned(partitions) => self.assigned(&partitions, out),
            Input::Acquired(partition, lease, epoch) => self.acquired(partition, lease, epoch, out),
            Input::Deliveries(records) => self.deliveries(records, now, out),
            Input::LookedUp(lookup, known) => self.looked_up(lookup, &known, directory, now),
            Input::Answered(ticket, answer) => self.answered(ticket, answer, directory, now, chance),
            Input::Stored => self.stored(),
            Input::Fenced(partitions) => self.fenced(&partitions, out),
            Input::Due(partition, lease, rows, loaded) => self.due(partition, lease, rows, loaded, now),
            Input::Revoking(partitions) => self.leave(&partitions, now),
            Input::Lost(partitions) => partitions.iter().for_each(|p| self.drop_partition(*p)),
            Input::Stop => self.leave(&self.partitions.keys().copied().collect::<Vec<_>>(), now),
            Input::Tick => {}
        }
        self.settle(now, directory, chance, out);
    }

    /// Everything that follows from state and time alone, after every input.
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

    // --- partitions come and go ---

    fn assigned(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        for partition in partitions {
            self.drop_partition(*partition);
            self.next += 1;
            let lease = Lease(self.next);
            self.partitions.insert(*partition, Partition::new(lease));
            out.push(Effect::Acquire(*partition, lease));
        }
    }

    fn acquired(&mut self, number: u32, lease: Lease, epoch: Epoch, out: &mut Vec<Effect>) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        if partition.lease != lease || partition.stage != Stage::Taking {
            return;
        }
        partition.stage = Stage::Owned(epoch);
        let mut waiting: Vec<Ticket> =
            self.items.iter().filter(|(_, item)| item.partition == number).map(|(ticket, _)| *ticket).collect();
        waiting.sort();
        self.look_up(waiting, out);
    }

    /// Stops all new work on partitions; what is in flight or being stored is still waited for.
    fn leave(&mut self, partitions: &[u32], now: Timestamp) {
        for number in partitions {
            let Some(partition) = self.partitions.get_mut(number) else { continue };
            if !matches!(partition.stage, Stage::Leaving(..)) {
                partition.stage = Stage::Leaving(partition.epoch(), now.plus(self.options.drain_ms));
                self.forget_where(|item| {
                    item.partition == *number && !matches!(item.place, Place::InFlight(_) | Place::Storing)
                });
            }
        }
    }

    /// Drops a partition with everything of it. What is in flight is left to end, unheard.
    fn drop_partition(&mut self, number: u32) {
        if self.partitions.remove(&number).is_none() {
            return;
        }
        self.ledger.drop_partition(number);
        self.forget_where(|item| item.partition == number);
    }

    /// A newer owner has written its epoch. If the group still holds us for the owner, only joining afresh tells who is
    /// right; a fence from an assignment that is over already changes nothing.
    fn fenced(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        let mut rejoin = false;
        for number in partitions {
            let epoch = self.partitions.get(number).and_then(Partition::epoch);
            if epoch.is_some() && epoch == self.ledger.fence(*number) {
                self.drop_partition(*number);
                rejoin = true;
            }
        }
        self.emit_store(out);
        if rejoin {
            out.push(Effect::Rejoin);
        }
    }

    /// At the end of a partition's grace, requests without an answer are written down as what they are: timed out.
    fn time_out_leaving(&mut self, directory: &Directory, now: Timestamp, chance: &mut Chance) {
        let late: BTreeSet<u32> = self
            .partitions
            .iter()
            .filter(|(_, p)| matches!(p.stage, Stage::Leaving(Some(_), deadline) if now >= deadline))
            .map(|(number, _)| *number)
            .collect();
        if late.is_empty() {
            return;
        }
        for ticket in self.tickets(|item| late.contains(&item.partition) && matches!(item.place, Place::InFlight(_))) {
            let Some(start) = self.started_at(ticket) else { continue };
            let answer = Answered {
                at: start,
                duration_ms: now.since(start).clamp(0, i64::from(u32::MAX)) as u32,
                code: None,
                error: Some(ErrorClass::Timeout),
                message: Some("no answer before the sender stopped".to_owned()),
                response: None,
                retry_after_ms: None,
            };
            self.answered(ticket, answer, directory, now, chance);
        }
    }

    fn release(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let leaving: Vec<(u32, Timestamp)> = self
            .partitions
            .iter()
            .filter_map(|(number, p)| match p.stage {
                Stage::Leaving(_, deadline) => Some((*number, deadline)),
                _ => None,
            })
            .collect();
        if leaving.is_empty() {
            return;
        }
        let busy: BTreeSet<u32> = self
            .items
            .values()
            .filter(|item| matches!(item.place, Place::InFlight(_) | Place::Storing))
            .map(|item| item.partition)
            .collect();
        let mut released = Vec::new();
        for (number, deadline) in leaving {
            if busy.contains(&number) && now < deadline.plus(LAST_WRITE_MS) {
                continue;
            }
            if let Some(partition) = self.partitions.get_mut(&number)
                && partition.epoch().is_some()
                && let Some(offset) = partition.take_commit()
            {
                out.push(Effect::Commit(vec![(number, offset)]));
            }
            self.drop_partition(number);
            released.push(number);
        }
        if !released.is_empty() {
            out.push(Effect::Release(released));
        }
    }

    // --- deliveries come in ---

    fn deliveries(&mut self, records: Vec<Incoming>, now: Timestamp, out: &mut Vec<Effect>) {
        let mut fresh = Vec::new();
        for record in records {
            let Some(partition) = self.partitions.get_mut(&record.partition) else { continue };
            if matches!(partition.stage, Stage::Leaving(..)) {
                continue;
            }
            partition.open(record.offset);
            let Some(delivery) = record.delivery else {
                partition.close(record.offset);
                continue;
            };
            if let Some(item) = self.live.get(&delivery.id).and_then(|ticket| self.items.get_mut(ticket)) {
                if item.parked {
                    partition.close(record.offset);
                } else {
                    item.offsets.push(record.offset);
                }
                continue;
            }
            let owned = partition.is_owned();
            let ticket = self.add(Item {
                delivery,
                raw: record.raw,
                partition: record.partition,
                offsets: vec![record.offset],
                attempts: 0,
                parked: false,
                lane: None,
                place: Place::Arriving,
                since: now,
            });
            if owned {
                fresh.push(ticket);
            }
        }
        self.look_up(fresh, out);
    }

    fn look_up(&mut self, tickets: Vec<Ticket>, out: &mut Vec<Effect>) {
        if tickets.is_empty() {
            return;
        }
        self.next += 1;
        let lookup = Lookup(self.next);
        let ids = tickets.iter().filter_map(|t| self.items.get(t)).map(|i| (i.delivery.day, i.delivery.id)).collect();
        self.lookups.insert(lookup, tickets);
        out.push(Effect::LookUp(lookup, ids));
    }

    fn looked_up(&mut self, lookup: Lookup, known: &[(NotificationId, Known)], directory: &Directory, now: Timestamp) {
        let known: BTreeSet<NotificationId> = known.iter().map(|(id, _)| *id).collect();
        for ticket in self.lookups.remove(&lookup).unwrap_or_default() {
            let Some(item) = self.items.get(&ticket) else { continue };
            // Final, or parked and so found again by its due time: either way this record is settled.
            if known.contains(&item.delivery.id) {
                self.finish(ticket);
            } else {
                self.admit(ticket, directory, now);
            }
        }
    }

    fn admit_caught_up(&mut self, directory: &Directory, now: Timestamp) {
        if self.behind_at == directory.version() {
            return;
        }
        self.behind_at = directory.version();
        for ticket in std::mem::take(&mut self.behind) {
            if self.items.contains_key(&ticket) {
                self.admit(ticket, directory, now);
            }
        }
    }

    fn admit_due(&mut self, directory: &Directory, now: Timestamp) {
        let numbers: Vec<u32> = self.partitions.iter().filter(|(_, p)| p.is_owned()).map(|(n, _)| *n).collect();
        for number in numbers {
            while let Some(ticket) = self.partitions.get_mut(&number).and_then(|p| p.pop_due(now)) {
                self.admit(ticket, directory, now);
            }
        }
    }

    /// Gives a notification its place: a lane, the store, or its end.
    fn admit(&mut self, ticket: Ticket, directory: &Directory, now: Timestamp) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        let destination = match fate(&item.delivery, directory, now, self.options.max_age_ms) {
            Fate::Send(destination) => destination,
            Fate::End(outcome) => return self.end_without_try(ticket, outcome, now),
            Fate::Behind => {
                item.place = Place::Arriving;
                return self.behind.push(ticket);
            }
        };
        item.since = now;
        let id = self.lane_for(&destination, now);
        let Some(slot) = self.lanes.get_mut(&id) else { return };
        let full = match slot.lane.wait_ms(now) {
            Some(wait) => wait > self.options.max_wait_ms,
            None => slot.lane.queue.len() >= UNPROVEN_QUEUE,
        };
        if full {
            let due = slot.lane.spill_until(now, self.options.max_wait_ms, MAX_SPILL_MS);
            return self.park(ticket, None, due, now);
        }
        slot.lane.queue.push_back(ticket);
        if let Some(item) = self.items.get_mut(&ticket) {
            item.lane = Some(id);
            item.place = Place::Queued;
        }
        self.file(id, now);
    }

    fn lane_for(&mut self, destination: &Destination, now: Timestamp) -> LaneId {
        let key = (destination.team.clone(), destination.id.clone());
        let timeout_ms = destination.webhook.timeout_ms;
        if let Some(id) = self.lane_ids.get(&key) {
            if let Some(slot) = self.lanes.get_mut(id) {
                slot.lane.configure(destination.limits, timeout_ms, now);
            }
            return *id;
        }
        self.next += 1;
        let id = LaneId(self.next);
        let lane = Lane::new(destination.limits, timeout_ms, now);
        self.lane_ids.insert(key.clone(), id);
        self.lanes.insert(id, Slot { lane, key, filed: Filed::Nowhere });
        id
    }

    // --- lanes take turns ---

    /// Puts a lane where it waits for its next start. A lane in a ring stays there until its turn.
    fn file(&mut self, id: LaneId, now: Timestamp) {
        let Some(slot) = self.lanes.get_mut(&id) else { return };
        match slot.filed {
            Filed::Ring => return,
            Filed::Timer(at) => {
                self.timers.remove(&(at, id));
            }
            Filed::Nowhere => {}
        }
        slot.filed = match slot.lane.ready(now) {
            Ready::Now(share) => {
                self.rings.enter(id, share);
                Filed::Ring
            }
            Ready::At(at) => {
                self.timers.insert((at, id));
                Filed::Timer(at)
            }
            Ready::OnAnswer | Ready::Idle => Filed::Nowhere,
        };
    }

    fn file_at(&mut self, id: LaneId, at: Timestamp) {
        if let Some(slot) = self.lanes.get_mut(&id) {
            slot.filed = Filed::Timer(at);
            self.timers.insert((at, id));
        }
    }

    fn wake_lanes(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.remove(&(at, id));
            if let Some(slot) = self.lanes.get_mut(&id) {
                slot.filed = Filed::Nowhere;
            }
            self.file(id, now);
        }
    }

    /// Starts requests as long as lanes, slots and the unsettled bound allow.
    fn pump(&mut self, directory: &Directory, now: Timestamp, out: &mut Vec<Effect>) {
        while self.ledger.answered() < self.options.max_unsettled
            && let Some(id) = self.rings.turn()
        {
            let Some(slot) = self.lanes.get_mut(&id) else { continue };
            slot.filed = Filed::Nowhere;
            let Ready::Now(share) = slot.lane.ready(now) else {
                self.file(id, now);
                continue;
            };
            if !self.rings.admits(share) {
                self.file(id, now);
                continue;
            }
            let Some(ticket) = slot.lane.queue.front().copied() else { continue };
            let Some(item) = self.items.get(&ticket) else {
                slot.lane.queue.pop_front();
                self.file(id, now);
                continue;
            };
            let destination = match fate(&item.delivery, directory, now, self.options.max_age_ms) {
                Fate::Send(destination) => destination,
                Fate::End(outcome) => {
                    slot.lane.queue.pop_front();
                    self.end_without_try(ticket, outcome, now);
                    self.file(id, now);
                    continue;
                }
                // The directory only grows, and this one was new enough on admission.
                Fate::Behind => continue,
            };
            if let Err(at) = slot.lane.take_cell(now) {
                self.file_at(id, at);
                continue;
            }
            slot.lane.queue.pop_front();
            slot.lane.in_flight.push((ticket, now));
            self.rings.started(share);
            self.file(id, now);
            if let Some(item) = self.items.get_mut(&ticket) {
                item.place = Place::InFlight(share);
                let attempt = item.attempts + 1;
                out.push(Effect::Send(ticket, Attempting { attempt, destination, delivery: item.delivery.clone() }));
            }
        }
    }

    /// Parks what has waited in memory for longer than it may; lets go of lanes that have nothing left.
    fn sweep(&mut self, now: Timestamp) {
        // With the store behind, the wait is our own doing; parking would only add to what must be written.
        if now < self.next_sweep || self.ledger.answered() >= self.options.max_unsettled {
            return;
        }
        self.next_sweep = now.plus(SWEEP_MS);
        let mut spilled = Vec::new();
        let mut idle = Vec::new();
        for (id, slot) in &mut self.lanes {
            while let Some(item) = slot.lane.queue.front().and_then(|ticket| self.items.get(ticket))
                && now.since(item.since) > self.options.max_wait_ms
            {
                let due = slot.lane.spill_until(now, self.options.max_wait_ms, MAX_SPILL_MS);
                spilled.extend(slot.lane.queue.pop_front().map(|ticket| (ticket, due)));
            }
            if slot.lane.is_forgettable(now) && slot.filed == Filed::Nowhere {
                idle.push(*id);
            }
        }
        for (ticket, due) in spilled {
            self.park(ticket, None, due, now);
        }
        for id in idle {
            if let Some(slot) = self.lanes.remove(&id) {
                self.lane_ids.remove(&slot.key);
            }
        }
    }

    // --- answers ---

    fn answered(
        &mut self,
        ticket: Ticket,
        answer: Answered,
        directory: &Directory,
        now: Timestamp,
        chance: &mut Chance,
    ) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        let (share, heard) = match item.place {
            Place::InFlight(share) => (share, true),
            Place::Abandoned(share) => (share, false),
            _ => return,
        };
        self.rings.ended(share);
        let lane = item.lane;
        if let Some(slot) = lane.and_then(|id| self.lanes.get_mut(&id)) {
            slot.lane.answered(ticket, answer.error, answer.duration_ms);
            if let Some(wait) = answer.retry_after_ms.filter(|ms| *ms > 0) {
                slot.lane.paused_until = slot.lane.paused_until.max(now.plus(wait.min(MAX_RETRY_AFTER_MS)));
            }
        }
        if heard {
            self.decide(ticket, answer, directory, now, chance);
        } else {
            self.items.remove(&ticket);
        }
        if let Some(id) = lane {
            self.file(id, now);
        }
    }

    fn decide(&mut self, ticket: Ticket, answer: Answered, directory: &Directory, now: Timestamp, chance: &mut Chance) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        let attempt = item.attempts + 1;
        let delivery = item.delivery.clone();
        let result = retry::Result { error: answer.error, retry_after_ms: answer.retry_after_ms };
        let oldest = delivery.recorded_at.plus(self.options.max_age_ms);
        let decision = match directory.destination(&delivery.team, &delivery.destination) {
            Some(destination) => match retry::decide(result, attempt, &destination.retry, now, chance) {
                Decision::Retry(due) if due > oldest => Decision::End(Outcome::Expired),
                decision => decision,
            },
            // Deleted while the request was under way.
            None if answer.error.is_some() => Decision::End(Outcome::Discarded),
            None => Decision::End(Outcome::Delivered),
        };
        let (outcome, next) = match decision {
            // Nothing left the house, so there is no attempt to write down.
            Decision::Again(due) => return self.park(ticket, None, due, now),
            Decision::Retry(due) => (None, Some(due)),
            Decision::End(outcome) => (Some(outcome), None),
        };
        item.attempts = attempt;
        let row = row(&delivery, attempt, &answer, outcome, next);
        match next {
            Some(due) => self.park(ticket, Some(row), due, now),
            None => self.end(ticket, row, now),
        }
    }

    fn end_without_try(&mut self, ticket: Ticket, outcome: Outcome, now: Timestamp) {
        let Some(item) = self.items.get(&ticket) else { return };
        let none = Answered {
            at: now,
            duration_ms: 0,
            code: None,
            error: None,
            message: None,
            response: None,
            retry_after_ms: None,
        };
        let row = row(&item.delivery, 0, &none, Some(outcome), None);
        self.end(ticket, row, now);
    }

    // --- what is written down ---

    fn end(&mut self, ticket: Ticket, row: Attempt, now: Timestamp) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        item.place = Place::Storing;
        let unpark = item.parked;
        self.ledger
            .add(Entry { ticket, partition: item.partition, attempt: Some(row), then: Then::Ended { unpark } }, now);
    }

    fn park(&mut self, ticket: Ticket, row: Option<Attempt>, due: Timestamp, now: Timestamp) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        item.place = Place::Storing;
        let parked = Parked {
            day: item.delivery.day,
            notification: item.delivery.id,
            team: item.delivery.team.clone(),
            subscription: item.delivery.subscription.clone(),
            destination: item.delivery.destination.clone(),
            destination_hash: item.delivery.destination_hash,
            attempts: item.attempts,
            due,
            delivery: item.raw.clone(),
        };
        self.ledger.add(Entry { ticket, partition: item.partition, attempt: row, then: Then::Parked(parked) }, now);
    }

    fn flush(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let leaving = self.partitions.values().any(|p| matches!(p.stage, Stage::Leaving(..)));
        let linger = if leaving { 0 } else { self.options.store_linger_ms };
        if self.ledger.begin(now, linger) {
            self.emit_store(out);
        }
    }

    /// Emits the batch being written; once more, if part of it was refused.
    fn emit_store(&mut self, out: &mut Vec<Effect>) {
        let batch = self.ledger.batch(|number| self.partitions.get(&number).and_then(Partition::epoch));
        match batch {
            Some(batch) => out.push(Effect::Store(batch)),
            None => drop(self.ledger.written()),
        }
    }

    fn stored(&mut self) {
        for entry in self.ledger.written() {
            match entry.then {
                Then::Ended { .. } => self.finish(entry.ticket),
                Then::Parked(parked) => {
                    let Some(item) = self.items.get_mut(&entry.ticket) else { continue };
                    if !item.parked {
                        self.from_log -= 1;
                        self.from_log_bytes -= item.raw.len();
                    }
                    item.parked = true;
                    item.place = Place::Wheel;
                    item.lane = None;
                    let Some(partition) = self.partitions.get_mut(&item.partition) else { continue };
                    item.offsets.drain(..).for_each(|offset| partition.close(offset));
                    let place = if partition.is_owned() {
                        partition.keep((parked.due, parked.notification), entry.ticket)
                    } else {
                        Some(entry.ticket)
                    };
                    if let Some(ticket) = place {
                        self.forget(ticket);
                    }
                }
            }
        }
    }

    // --- parked rows come back ---

    fn load_due(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for (number, partition) in &mut self.partitions {
            if partition.wants_rows(now.plus(LOAD_AHEAD_MS / 2)) {
                let until = now.plus(LOAD_AHEAD_MS);
                let (partition, lease, after) = (*number, partition.lease, partition.begin_load(until));
                out.push(Effect::LoadDue { partition, lease, after, until, limit: MAX_LOAD });
            }
        }
    }

    fn due(&mut self, number: u32, lease: Lease, rows: Vec<(Parked, Arc<Delivery>)>, loaded: Loaded, now: Timestamp) {
        // A load from an earlier assignment does not know what another owner has parked since.
        let Some(partition) = self.partitions.get_mut(&number).filter(|p| p.lease == lease) else { return };
        partition.loaded(match loaded {
            Loaded::Until(time) => end_of(time),
            Loaded::Upto(cursor) => cursor,
        });
        if !partition.is_owned() {
            return;
        }
        for (parked, delivery) in rows {
            if let Some(ticket) = self.live.get(&parked.notification).copied() {
                // A record of it has come from the log and is being looked up: the row is the answer. Anything further
                // along holds the row itself, and puts it back when it is parked again.
                match self.items.get(&ticket) {
                    Some(item) if !item.parked && item.place == Place::Arriving => self.finish(ticket),
                    _ => continue,
                }
            }
            let key = (parked.due, parked.notification);
            let ticket = self.add(Item {
                delivery,
                raw: parked.delivery,
                partition: number,
                offsets: Vec::new(),
                attempts: parked.attempts,
                parked: true,
                lane: None,
                place: Place::Wheel,
                since: now,
            });
            if let Some(last) = self.partitions.get_mut(&number).and_then(|p| p.keep(key, ticket)) {
                self.forget(last);
            }
        }
    }

    // --- offsets ---

    fn commit(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if now < self.next_commit {
            return;
        }
        let offsets: Vec<(u32, i64)> = self
            .partitions
            .iter_mut()
            .filter(|(_, partition)| partition.is_owned())
            .filter_map(|(number, partition)| Some((*number, partition.take_commit()?)))
            .collect();
        if !offsets.is_empty() {
            self.next_commit = now.plus(self.options.commit_every_ms);
            out.push(Effect::Commit(offsets));
        }
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
            || self.lookups.len() >= MAX_LOOKUPS;
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

fn fate(delivery: &Delivery, directory: &Directory, now: Timestamp, max_age_ms: i64) -> Fate {
    if directory.version() < delivery.index_version {
        return Fate::Behind;
    }
    let Some(subscription) = directory.subscription(&delivery.team, &delivery.subscription) else {
        return Fate::End(Outcome::Discarded);
    };
    let Some(destination) = directory.destination(&delivery.team, &delivery.destination) else {
        return Fate::End(Outcome::Discarded);
    };
    if !subscription.destinations.contains(&delivery.destination) {
        return Fate::End(Outcome::Discarded);
    }
    if !subscription.enabled || !destination.enabled {
        return Fate::End(Outcome::Suppressed);
    }
    if now.since(delivery.recorded_at) > max_age_ms {
        return Fate::End(Outcome::Expired);
    }
    Fate::Send(destination.clone())
}

fn row(
    delivery: &Delivery,
    attempt: u32,
    answer: &Answered,
    outcome: Option<Outcome>,
    next: Option<Timestamp>,
) -> Attempt {
    Attempt {
        day: delivery.day,
        notification: delivery.id,
        attempt,
        team: delivery.team.clone(),
        subscription: delivery.subscription.clone(),
        destination: delivery.destination.clone(),
        event_type: delivery.event_type.clone(),
        event_id: delivery.event_id.clone(),
        position: delivery.position.clone(),
        index_version: delivery.index_version,
        at: answer.at,
        duration_ms: answer.duration_ms,
        code: answer.code,
        error: answer.error,
        message: answer.message.clone(),
        response: answer.response.clone(),
        outcome,
        next_attempt_at: next,
    }
}
