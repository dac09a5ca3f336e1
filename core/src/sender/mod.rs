//! The sender's decisions: what to send when, what to write down, which offsets are settled.
//!
//! [`Sender::step`] takes the time, a seeded [`Chance`](crate::domain::Chance), the directory and one [`Input`], and
//! says by [`Effect`]s what is to be done, in order. It never waits and cannot fail; the loop in `roles/sender` does
//! the I/O and answers with further inputs.
//!
//! The way of one delivery:
//!
//! ```text
//! Deliveries ─► look up ─► lane ─► send ─► answer ─► store ─► offset settled ─► commit
//!                  │         │                │
//!                  │         └ no room ─► park┘ failed ─► park with attempt row
//!                  └ known: settled              parked rows come back when due
//! ```
//!
//! Reading order: this file, [`step`], [`lane`], [`rings`], [`partition`], [`ledger`],
//! [`retry`], [`rate_limit`].
//!
//! What is deliberately absent: any lock on a destination (owning a partition is owning its destinations), any
//! waiting inside a partition (what cannot go now is parked), any judgement on bodies or secrets.

pub mod lane;
pub mod ledger;
pub mod partition;
pub mod rate_limit;
pub mod retry;
pub mod rings;
pub mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
pub use step::Sender;

use crate::domain::{
    Delivery, Destination, DueCursor, Epoch, ErrorClass, Known, NotificationId, Parked, Timestamp, WriteBatch,
};

/// Bounds of one sender process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Partitions of the deliveries topic.
    pub partitions: u32,
    /// Requests without an answer, over all destinations.
    pub max_in_flight: usize,
    /// Notifications answered but not yet stored: what a crash can repeat beyond the requests in flight.
    pub max_unsettled: usize,
    /// Notifications in memory before reading stops.
    pub max_queued: usize,
    /// Bytes of notifications in memory before reading stops.
    pub max_queued_bytes: usize,
    /// How long a notification may wait for its turn in memory; longer, and it is parked.
    pub max_wait_ms: i64,
    /// The same where its lane is brisk: parking costs about as much as sending, so it should be for long.
    pub max_brisk_wait_ms: i64,
    /// A notification older than this is given up as expired.
    pub max_age_ms: i64,
    /// How long rows may be gathered before they are written.
    pub store_linger_ms: i64,
    /// How often settled offsets are committed. Late commits cost re-reading, never re-sending.
    pub commit_every_ms: i64,
    /// How long what is in flight is waited for when a partition is given up or the process stops.
    pub drain_ms: i64,
}

/// The most rows written in one transaction.
pub const MAX_WRITE: usize = 500;
/// The most parked rows loaded at once.
pub const MAX_LOAD: u32 = 500;
/// Parked rows are loaded this long before they are due.
pub const LOAD_AHEAD_MS: i64 = 60_000;
/// A lane that has never been answered holds this many notifications; more are parked, unless there is much room.
pub const UNPROVEN_QUEUE: usize = 64;
/// Records that may be on their way to the dead letters before reading stops.
pub const MAX_ASIDE: usize = 64;
/// The furthest that a notification without a failed attempt is put off at once.
pub const MAX_SPILL_MS: i64 = 300_000;
/// After this long without room for records, partitions are paused instead of left unread.
pub const PAUSE_AFTER_MS: i64 = 30_000;

/// A notification in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A lane in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u64);

/// A record of the deliveries topic, decoded.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub partition: u32,
    pub offset: i64,
    /// `None`: it cannot be read. It is being set aside, and its offset is settled by [`Input::SetAside`].
    pub delivery: Option<Arc<Delivery>>,
    /// The record's value as it was, for parking.
    pub raw: Bytes,
}

/// What happened. In the order a delivery meets them.
#[derive(Clone, Debug)]
pub enum Input {
    Assigned(Vec<u32>),
    /// The answer to [`Effect::Acquire`]: the partition's fence has been raised to this epoch.
    Acquired(u32, Lease, Epoch),
    Deliveries(Vec<Incoming>),
    /// The record of this partition and offset, which could not be read, is in the dead letters.
    SetAside(u32, i64),
    /// The answer to [`Effect::LookUp`]: the known ones.
    LookedUp(Lookup, Vec<(NotificationId, Known)>),
    Answered(Ticket, Answered),
    /// The batch is durable.
    Stored,
    /// The batch was refused: these partitions have a newer owner.
    Fenced(Vec<u32>),
    /// The answer to [`Effect::LoadDue`], decoded; undecodable rows are left out.
    Due(u32, Lease, Vec<(Parked, Arc<Delivery>)>, Loaded),
    /// The group wants these partitions for another member.
    Revoking(Vec<u32>),
    /// These partitions are gone.
    Lost(Vec<u32>),
    /// The process is to stop: give up every partition.
    Stop,
    /// Time has passed, or the directory has changed.
    Tick,
}

/// One assignment of a partition to this process; an answer that belongs to an earlier one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// Which lookup an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup(pub u64);

/// How far a load of parked rows came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Every row due up to this time.
    Until(Timestamp),
    /// There are more behind this row.
    Upto(DueCursor),
}

/// What came of an attempt, as a channel tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub at: Timestamp,
    pub duration_ms: u32,
    pub code: Option<u16>,
    pub error: Option<ErrorClass>,
    pub message: Option<String>,
    pub response: Option<String>,
    pub retry_after_ms: Option<i64>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// To be counted: the event behind this delivery has the id of another one, which came first and has won.
    Conflict(Arc<Delivery>),
    /// Raise the fence of a partition, until it succeeds; answer [`Input::Acquired`].
    Acquire(u32, Lease),
    /// Ask the store; answer [`Input::LookedUp`].
    LookUp(Lookup, Vec<(crate::domain::Day, NotificationId)>),
    /// Make one attempt; answer [`Input::Answered`].
    Send(Ticket, Attempting),
    /// Write, until it succeeds or is fenced; one batch at a time; answer [`Input::Stored`] or [`Input::Fenced`].
    Store(WriteBatch),
    /// Load parked rows; answer [`Input::Due`].
    LoadDue { partition: u32, lease: Lease, after: Option<DueCursor>, until: Timestamp, limit: u32 },
    /// Commit next offsets of partitions. Everything below them is settled.
    Commit(Vec<(u32, i64)>),
    /// Let go of partitions asked for by [`Input::Revoking`]: nothing of them is in work any more.
    Release(Vec<u32>),
    /// The store and the group disagree about who owns what: stop in good order, leave, and join again.
    Rejoin,
}

/// One attempt to be made.
#[derive(Clone, Debug)]
pub struct Attempting {
    /// 1 is the first try.
    pub attempt: u32,
    pub destination: Arc<Destination>,
    pub delivery: Arc<Delivery>,
}

/// Whether the loop may read records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Read,
    /// No room: leave the log unread.
    Hold,
    /// No room for long: pause the partitions and go on polling.
    Pause,
}

/// What is in memory, for a screen or a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub queued: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
    pub unsettled: usize,
    pub lanes: usize,
}

// === impl Options ===

impl Options {
    fn max_wait_in(&self, lane: &lane::Lane, now: Timestamp) -> i64 {
        if lane.is_brisk(now) { self.max_brisk_wait_ms } else { self.max_wait_ms }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            partitions: 12,
            max_in_flight: 1_024,
            max_unsettled: 1_500,
            max_queued: 16_384,
            max_queued_bytes: 32 << 20,
            max_wait_ms: 1_000,
            max_brisk_wait_ms: 4_000,
            max_age_ms: 7 * 86_400_000,
            store_linger_ms: 1,
            commit_every_ms: 500,
            drain_ms: 18_000,
        }
    }
}
