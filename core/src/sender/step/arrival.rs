//! Deliveries come in: looked up, held against the directory, and given their place.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        Effect, Incoming, LaneId, Lookup, MAX_SPILL_MS, Ticket, UNPROVEN_QUEUE,
        lane::Lane,
        partition::{Partition, Stage},
    },
    Filed, Item, Place, Sender, Slot,
};
use crate::{
    directory::Directory,
    domain::{Delivery, Destination, Fingerprint, Known, NotificationId, Outcome, Timestamp},
};

/// What becomes of a notification that is to be sent now.
pub(super) enum Fate {
    Send(Arc<Destination>),
    End(Outcome),
    /// The directory here is older than the one that matched.
    Behind,
}

// === impl Sender ===

impl Sender {
    pub(super) fn deliveries(&mut self, records: Vec<Incoming>, now: Timestamp, out: &mut Vec<Effect>) {
        let mut fresh = Vec::new();
        for record in records {
            self.aside += usize::from(record.delivery.is_none());
            let Some(partition) = self.partitions.get_mut(&record.partition) else { continue };
            if matches!(partition.stage, Stage::Leaving(..)) {
                continue;
            }
            partition.open(record.offset);
            let Some(delivery) = record.delivery else { continue };
            if let Some(item) = self.live.get(&delivery.id).and_then(|ticket| self.items.get_mut(ticket)) {
                if item.delivery.event != delivery.event {
                    out.push(Effect::Conflict(delivery));
                }
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

    /// Whoever owns the partition by now: the letter is written.
    pub(super) fn set_aside(&mut self, partition: u32, offset: i64) {
        self.aside -= 1;
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.close(offset);
        }
    }

    pub(super) fn look_up(&mut self, tickets: Vec<Ticket>, out: &mut Vec<Effect>) {
        if tickets.is_empty() {
            return;
        }
        self.next += 1;
        let lookup = Lookup(self.next);
        let ids = tickets.iter().filter_map(|t| self.items.get(t)).map(|i| (i.delivery.day, i.delivery.id)).collect();
        self.lookups.insert(lookup, tickets);
        out.push(Effect::LookUp(lookup, ids));
    }

    pub(super) fn looked_up(
        &mut self,
        lookup: Lookup,
        known: &[(NotificationId, Known)],
        directory: &Directory,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let known: BTreeMap<NotificationId, Option<Fingerprint>> =
            known.iter().map(|(id, known)| (*id, known.content)).collect();
        for ticket in self.lookups.remove(&lookup).unwrap_or_default() {
            let Some(item) = self.items.get(&ticket) else { continue };
            // Final, or parked and so found again by its due time: either way this record is settled.
            let Some(content) = known.get(&item.delivery.id) else {
                self.admit(ticket, directory, now);
                continue;
            };
            if content.is_some_and(|content| content != item.delivery.content()) {
                out.push(Effect::Conflict(item.delivery.clone()));
            }
            self.finish(ticket);
        }
    }

    pub(super) fn admit_caught_up(&mut self, directory: &Directory, now: Timestamp) {
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

    pub(super) fn admit_due(&mut self, directory: &Directory, now: Timestamp) {
        let due = |p: &Partition| p.is_owned() && p.next_due().is_some_and(|due| due <= now);
        while let Some(number) = self.partitions.iter().find(|(_, p)| due(p)).map(|(number, _)| *number) {
            while let Some(ticket) = self.partitions.get_mut(&number).and_then(|p| p.pop_due(now)) {
                self.admit(ticket, directory, now);
            }
        }
    }

    /// Gives a notification its place: a lane, the store, or its end.
    pub(super) fn admit(&mut self, ticket: Ticket, directory: &Directory, now: Timestamp) {
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
            Some(wait) => wait > self.options.max_wait_in(&slot.lane, now),
            // With memory free, the first answer may be waited for: it mostly comes in milliseconds, and
            // parking costs as much as sending.
            None => slot.lane.queue.len() >= UNPROVEN_QUEUE && self.from_log > self.options.max_queued / 4 * 3,
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

    pub(super) fn lane_for(&mut self, destination: &Destination, now: Timestamp) -> LaneId {
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
}

pub(super) fn fate(delivery: &Delivery, directory: &Directory, now: Timestamp, max_age_ms: i64) -> Fate {
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
    if now.since(delivery.begins_at()) > max_age_ms {
        return Fate::End(Outcome::Expired);
    }
    Fate::Send(destination.clone())
}
