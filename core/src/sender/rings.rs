//! Whose turn it is: lanes that may start a request, in three rings, and what the process as a whole has in flight.
//!
//! The rule that keeps a dead or hanging destination from delaying others:
//!
//! 1. A lane with nothing in flight goes first.
//! 2. A further request of a lane starts only while less than half of all slots are taken.
//! 3. A lane that hangs has one slot, and all such lanes together at most a quarter.

use std::collections::VecDeque;

use super::{LaneId, lane::Share};

/// Lanes in turn. A lane stands in one ring at most; [`super::step`] keeps that.
#[derive(Debug)]
pub struct Rings {
    first: VecDeque<LaneId>,
    more: VecDeque<LaneId>,
    hanging: VecDeque<LaneId>,
    max_in_flight: usize,
    in_flight: usize,
    /// Of those, the ones that were started from the hanging share.
    hanging_in_flight: usize,
}

// === impl Rings ===

impl Rings {
    pub fn new(max_in_flight: usize) -> Rings {
        Rings {
            first: VecDeque::new(),
            more: VecDeque::new(),
            hanging: VecDeque::new(),
            max_in_flight: max_in_flight.max(4),
            in_flight: 0,
            hanging_in_flight: 0,
        }
    }

    pub fn enter(&mut self, lane: LaneId, share: Share) {
        match share {
            Share::First => self.first.push_back(lane),
            Share::More => self.more.push_back(lane),
            Share::Hanging => self.hanging.push_back(lane),
        }
    }

    /// The lane whose turn it is, with the share it will draw from. It has left its ring.
    pub fn turn(&mut self) -> Option<LaneId> {
        if self.in_flight >= self.max_in_flight {
            return None;
        }
        if let Some(lane) = self.first.pop_front() {
            return Some(lane);
        }
        if self.in_flight < self.max_in_flight / 2
            && let Some(lane) = self.more.pop_front()
        {
            return Some(lane);
        }
        if self.hanging_in_flight < self.max_in_flight / 4 {
            return self.hanging.pop_front();
        }
        None
    }

    /// Whether a lane of that share may start now; it may have changed since it entered its ring.
    pub fn admits(&self, share: Share) -> bool {
        match share {
            Share::First => self.in_flight < self.max_in_flight,
            Share::More => self.in_flight < self.max_in_flight / 2,
            Share::Hanging => self.in_flight < self.max_in_flight && self.hanging_in_flight < self.max_in_flight / 4,
        }
    }

    pub fn started(&mut self, share: Share) {
        self.in_flight += 1;
        self.hanging_in_flight += usize::from(share == Share::Hanging);
    }

    pub fn ended(&mut self, share: Share) {
        self.in_flight -= 1;
        self.hanging_in_flight -= usize::from(share == Share::Hanging);
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
