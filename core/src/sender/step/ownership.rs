//! Partitions come and go: taken, given up in good order, lost; and the offsets that are committed meanwhile.

use std::collections::BTreeSet;

use super::{
    super::{
        Answered, Effect, Lease,
        partition::{Partition, Stage},
    },
    Place, Sender,
};
use crate::{
    directory::Directory,
    domain::{Chance, Epoch, ErrorClass, Timestamp},
};

/// Time for the last write when a partition is left.
const LAST_WRITE_MS: i64 = 1_500;

// === impl Sender ===

impl Sender {
    pub(super) fn assigned(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
        for partition in partitions {
            self.drop_partition(*partition);
            self.next += 1;
            let lease = Lease(self.next);
            self.partitions.insert(*partition, Partition::new(lease));
            out.push(Effect::Acquire(*partition, lease));
        }
    }

    pub(super) fn acquired(&mut self, number: u32, lease: Lease, epoch: Epoch, out: &mut Vec<Effect>) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        if partition.lease != lease || partition.stage != Stage::Taking {
            return;
        }
        partition.stage = Stage::Owned(epoch);
        // Not those that are still in flight from an earlier assignment: they end by themselves, unheard.
        let waiting = self.tickets(|item| item.partition == number && item.place == Place::Arriving);
        self.look_up(waiting, out);
    }

    /// Stops all new work on partitions; what is in flight or being stored is still waited for.
    pub(super) fn leave(&mut self, partitions: &[u32], now: Timestamp) {
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
    pub(super) fn drop_partition(&mut self, number: u32) {
        if self.partitions.remove(&number).is_none() {
            return;
        }
        self.ledger.drop_partition(number);
        self.forget_where(|item| item.partition == number);
    }

    /// A newer owner has written its epoch. If the group still holds us for the owner, only joining afresh tells who is
    /// right; a fence from an assignment that is over already changes nothing.
    pub(super) fn fenced(&mut self, partitions: &[u32], out: &mut Vec<Effect>) {
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
    pub(super) fn time_out_leaving(&mut self, directory: &Directory, now: Timestamp, chance: &mut Chance) {
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

    pub(super) fn release(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
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

    pub(super) fn commit(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
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
}
