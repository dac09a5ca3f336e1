//! Lanes take turns: filed where they wait, started when slots allow, swept when they have waited too long.

use super::{
    super::{Attempting, Effect, LaneId, MAX_SPILL_MS, lane::Ready},
    Filed, Place, Sender,
    arrival::{Fate, fate},
};
use crate::{directory::Directory, domain::Timestamp};

/// How often queues are looked through for what has waited too long.
const SWEEP_MS: i64 = 250;

// === impl Sender ===

impl Sender {
    /// Puts a lane where it waits for its next start. A lane in a ring stays there until its turn.
    pub(super) fn file(&mut self, id: LaneId, now: Timestamp) {
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

    pub(super) fn file_at(&mut self, id: LaneId, at: Timestamp) {
        if let Some(slot) = self.lanes.get_mut(&id) {
            slot.filed = Filed::Timer(at);
            self.timers.insert((at, id));
        }
    }

    pub(super) fn wake_lanes(&mut self, now: Timestamp) {
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
    pub(super) fn pump(&mut self, directory: &Directory, now: Timestamp, out: &mut Vec<Effect>) {
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
    pub(super) fn sweep(&mut self, now: Timestamp) {
        // With the store behind, the wait is our own doing; parking would only add to what must be written.
        if now < self.next_sweep || self.ledger.answered() >= self.options.max_unsettled {
            return;
        }
        self.next_sweep = now.plus(SWEEP_MS);
        let mut spilled = Vec::new();
        let mut idle = Vec::new();
        for (id, slot) in &mut self.lanes {
            let max_wait_ms = self.options.max_wait_in(&slot.lane, now);
            while let Some(item) = slot.lane.queue.front().and_then(|ticket| self.items.get(ticket))
                && now.since(item.since) > max_wait_ms
                // A lane that would be through in time, if only it were let, waits for us. Parking its work would make
                // us slower still: each notification is written, read and taken out again beside those that go.
                && !(slot.lane.is_brisk(now) && slot.lane.wait_ms(now).is_some_and(|wait| wait <= max_wait_ms))
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
}
