//! One owned delivery partition: which offsets are still open, and which parked rows are near.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lease, Ticket};
use crate::domain::{DueCursor, Epoch, NotificationId, Timestamp};

/// The parked rows that one partition keeps in memory. The rest stay in the store until they are near.
pub const MAX_WHEEL: usize = 2_000;

/// A delivery partition, from its assignment to its release.
#[derive(Debug)]
pub struct Partition {
    pub lease: Lease,
    pub stage: Stage,
    offsets: Offsets,
    wheel: Wheel,
}

/// A partition's life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The fence is being raised; nothing is looked up or sent yet.
    Taking,
    Owned(Epoch),
    /// To be released once what is in flight has been answered and stored; at the latest then.
    Leaving(Option<Epoch>, Timestamp),
}

/// Offsets in work. The commit position is the lowest open one: everything below it is settled.
#[derive(Debug, Default)]
struct Offsets {
    open: BTreeSet<i64>,
    /// One past the highest offset seen.
    next: Option<i64>,
    committed: Option<i64>,
}

/// Parked rows with (due, id) up to the horizon: all of those that the store has are here or in work.
#[derive(Debug, Default)]
struct Wheel {
    rows: BTreeMap<DueCursor, Ticket>,
    horizon: Option<DueCursor>,
    /// How far a load under way will come at most. It may have read the store before a row was parked, so rows up to
    /// here are kept meanwhile.
    loading: Option<DueCursor>,
    /// The lowest row that had to be left to the store during the load.
    evicted: Option<DueCursor>,
}

// === impl Partition ===

impl Partition {
    pub fn new(lease: Lease) -> Partition {
        Partition { lease, stage: Stage::Taking, offsets: Offsets::default(), wheel: Wheel::default() }
    }

    /// The epoch to write with, while the partition is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Owned(epoch) | Stage::Leaving(Some(epoch), _) => Some(epoch),
            _ => None,
        }
    }

    pub fn is_owned(&self) -> bool {
        matches!(self.stage, Stage::Owned(_))
    }

    pub fn open(&mut self, offset: i64) {
        self.offsets.open.insert(offset);
        self.offsets.next = self.offsets.next.max(Some(offset + 1));
    }

    pub fn close(&mut self, offset: i64) {
        self.offsets.open.remove(&offset);
    }

    /// The offset to commit, if it has moved since the last call.
    pub fn take_commit(&mut self) -> Option<i64> {
        let low = self.offsets.open.first().copied().or(self.offsets.next)?;
        if self.offsets.committed >= Some(low) {
            return None;
        }
        self.offsets.committed = Some(low);
        Some(low)
    }

    pub fn has_commit(&self) -> bool {
        let low = self.offsets.open.first().copied().or(self.offsets.next);
        low.is_some() && self.offsets.committed < low
    }

    /// Where and whether to load parked rows now: before the horizon comes near, one load at a time, while there is room.
    pub fn wants_rows(&self, near: Timestamp) -> bool {
        self.is_owned()
            && self.wheel.loading.is_none()
            && self.wheel.rows.len() < MAX_WHEEL / 2
            && self.wheel.horizon.is_none_or(|(time, _)| time < near)
    }

    pub fn begin_load(&mut self, until: Timestamp) -> Option<DueCursor> {
        self.wheel.loading = Some(end_of(until));
        self.wheel.horizon
    }

    /// Rows up to this cursor have been loaded.
    pub fn loaded(&mut self, horizon: DueCursor) {
        self.wheel.loading = None;
        let horizon = self.wheel.horizon.max(Some(horizon));
        let evicted = self.wheel.evicted.take().map(just_before);
        self.wheel.horizon = horizon.into_iter().chain(evicted).min();
    }

    /// Keeps a row that the store holds too. What comes back has no place: forget it, it will be loaded again.
    pub fn keep(&mut self, row: DueCursor, ticket: Ticket) -> Option<Ticket> {
        let known = self.wheel.horizon.max(self.wheel.loading);
        if known.is_none_or(|known| row > known) {
            return Some(ticket);
        }
        self.wheel.rows.insert(row, ticket);
        if self.wheel.rows.len() <= MAX_WHEEL {
            return None;
        }
        let (row, last) = self.wheel.rows.pop_last()?;
        self.wheel.horizon = self.wheel.horizon.min(Some(just_before(row)));
        if self.wheel.loading.is_some() {
            self.wheel.evicted = Some(self.wheel.evicted.map_or(row, |lowest| lowest.min(row)));
        }
        Some(last)
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.wheel.rows.first_key_value().map(|((due, _), _)| *due)
    }

    pub fn pop_due(&mut self, now: Timestamp) -> Option<Ticket> {
        let row = *self.wheel.rows.first_key_value()?.0;
        if row.0 > now {
            return None;
        }
        self.wheel.rows.remove(&row)
    }

    /// Empties the wheel; the store has every row of it.
    pub fn drain_wheel(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.wheel.rows).into_values().collect()
    }

    /// When the next load should happen, if none is needed before.
    pub fn next_load(&self, ahead_ms: i64) -> Option<Timestamp> {
        if !self.is_owned() || self.wheel.loading.is_some() || self.wheel.rows.len() >= MAX_WHEEL / 2 {
            return None;
        }
        self.wheel.horizon.map(|(time, _)| time.plus(1 - ahead_ms))
    }
}

/// The last cursor below a row.
fn just_before((due, id): DueCursor) -> DueCursor {
    match u128::from_be_bytes(id.0).checked_sub(1) {
        Some(less) => (due, NotificationId(less.to_be_bytes())),
        None => end_of(due.plus(-1)),
    }
}

/// The cursor behind every row due up to `time`.
pub fn end_of(time: Timestamp) -> DueCursor {
    (time, NotificationId([0xFF; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> NotificationId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        NotificationId(id)
    }

    #[test]
    fn the_commit_position_is_the_lowest_open_offset() {
        let mut p = Partition::new(Lease(1));
        assert_eq!(p.take_commit(), None);
        [10, 11, 15].into_iter().for_each(|o| p.open(o));
        assert_eq!(p.take_commit(), Some(10));
        p.close(11);
        assert_eq!(p.take_commit(), None);
        p.close(10);
        assert_eq!(p.take_commit(), Some(15));
        p.close(15);
        assert_eq!(p.take_commit(), Some(16));
        assert_eq!(p.take_commit(), None);
    }

    #[test]
    fn rows_beyond_the_horizon_or_the_bound_are_left_to_the_store() {
        let mut p = Partition::new(Lease(1));
        p.stage = Stage::Owned(1);
        assert!(p.wants_rows(Timestamp(0)));
        assert_eq!(p.begin_load(Timestamp(60_000)), None);
        assert!(!p.wants_rows(Timestamp(0)));
        p.loaded(end_of(Timestamp(60_000)));
        assert_eq!(p.keep((Timestamp(60_001), id(0)), Ticket(0)), Some(Ticket(0)));
        for n in 0..MAX_WHEEL {
            assert_eq!(p.keep((Timestamp(n as i64), id(n)), Ticket(n as u64)), None);
        }
        // One more pushes the last out, and the horizon comes back to what is still here.
        assert_eq!(p.keep((Timestamp(5), id(9_999)), Ticket(9_999)), Some(Ticket(MAX_WHEEL as u64 - 1)));
        let beyond = (Timestamp(MAX_WHEEL as i64 - 1), id(1));
        assert_eq!(p.keep(beyond, Ticket(1)), Some(Ticket(1)));
        assert_eq!(p.pop_due(Timestamp(0)), Some(Ticket(0)));
        assert_eq!(p.pop_due(Timestamp(0)), None);
    }

    #[test]
    fn a_row_parked_during_a_load_is_not_lost_between_the_two() {
        let mut p = Partition::new(Lease(1));
        p.stage = Stage::Owned(1);
        p.begin_load(Timestamp(60_000));
        assert_eq!(p.keep((Timestamp(50_000), id(1)), Ticket(1)), None);
        p.loaded(end_of(Timestamp(60_000)));
        assert_eq!(p.pop_due(Timestamp(50_000)), Some(Ticket(1)));
    }

    #[test]
    fn a_row_pushed_out_during_a_load_is_loaded_by_the_next() {
        let mut p = Partition::new(Lease(1));
        p.stage = Stage::Owned(1);
        p.begin_load(Timestamp(60_000));
        for n in 0..=MAX_WHEEL {
            p.keep((Timestamp(n as i64), id(n)), Ticket(n as u64));
        }
        p.loaded(end_of(Timestamp(60_000)));
        let next = p.begin_load(Timestamp(90_000)).unwrap();
        assert!(next < (Timestamp(MAX_WHEEL as i64), id(MAX_WHEEL)));
        assert!(next > (Timestamp(MAX_WHEEL as i64 - 1), id(MAX_WHEEL - 1)));
    }
}
