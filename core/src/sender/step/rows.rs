//! What is written to the store, what becomes of it when it is durable, and parked rows that come back.

use std::sync::Arc;

use super::{
    super::{
        Effect, LOAD_AHEAD_MS, Lease, Loaded, MAX_LOAD, Ticket,
        ledger::{Entry, Then},
        partition::{Partition, Stage, end_of},
    },
    Item, Place, Sender,
};
use crate::domain::{Attempt, Delivery, Parked, Timestamp};

// === impl Sender ===

impl Sender {
    pub(super) fn end(&mut self, ticket: Ticket, row: Attempt, now: Timestamp) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        item.place = Place::Storing;
        let unpark = item.parked;
        self.ledger
            .add(Entry { ticket, partition: item.partition, attempt: Some(row), then: Then::Ended { unpark } }, now);
    }

    pub(super) fn park(&mut self, ticket: Ticket, row: Option<Attempt>, due: Timestamp, now: Timestamp) {
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
            content: Some(item.delivery.content()),
        };
        self.ledger.add(Entry { ticket, partition: item.partition, attempt: row, then: Then::Parked(parked) }, now);
    }

    pub(super) fn flush(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let leaving = self.partitions.values().any(|p| matches!(p.stage, Stage::Leaving(..)));
        let linger = if leaving { 0 } else { self.options.store_linger_ms };
        if self.ledger.begin(now, linger) {
            self.emit_store(out);
        }
    }

    /// Emits the batch being written; once more, if part of it was refused.
    pub(super) fn emit_store(&mut self, out: &mut Vec<Effect>) {
        let batch = self.ledger.batch(|number| self.partitions.get(&number).and_then(Partition::epoch));
        match batch {
            Some(batch) => out.push(Effect::Store(batch)),
            None => drop(self.ledger.written()),
        }
    }

    pub(super) fn stored(&mut self) {
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

    pub(super) fn load_due(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for (number, partition) in &mut self.partitions {
            if partition.wants_rows(now.plus(LOAD_AHEAD_MS / 2)) {
                let until = now.plus(LOAD_AHEAD_MS);
                let (partition, lease, after) = (*number, partition.lease, partition.begin_load(until));
                out.push(Effect::LoadDue { partition, lease, after, until, limit: MAX_LOAD });
            }
        }
    }

    pub(super) fn due(
        &mut self,
        number: u32,
        lease: Lease,
        rows: Vec<(Parked, Arc<Delivery>)>,
        loaded: Loaded,
        now: Timestamp,
    ) {
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
}
