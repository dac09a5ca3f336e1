//! What a sender writes down, and what it finds written: the vocabulary between `sender` and the store.

use bytes::Bytes;

use super::{Attempt, Day, DestinationId, Fingerprint, NotificationId, Outcome, SubscriptionId, TeamId, Timestamp};

/// Raised each time a delivery partition changes hands; a write with an older one is refused.
pub type Epoch = i64;

/// What the store knows of a notification that comes (again) from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub standing: Standing,
    /// Of the event that was first under its id; `None` in rows from before it was written down.
    pub content: Option<Fingerprint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Final(Outcome),
    Parked,
}

/// A notification that waits in the store for its next attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Parked {
    pub day: Day,
    pub notification: NotificationId,
    pub team: TeamId,
    pub subscription: SubscriptionId,
    pub destination: DestinationId,
    /// Its delivery partition is this modulo the partition count.
    pub destination_hash: u32,
    /// Attempts made so far.
    pub attempts: u32,
    pub due: Timestamp,
    /// The delivery record's value, to go on with.
    pub delivery: Bytes,
    /// Of the event in `delivery`.
    pub content: Option<Fingerprint>,
}

/// One transaction of a sender. Applied in field order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteBatch {
    /// Every partition that a row of this batch belongs to, with the writer's epoch.
    pub fences: Vec<(u32, Epoch)>,
    /// Inserted; a row whose key exists is left as it is.
    pub attempts: Vec<Attempt>,
    /// Inserted, or attempts and due time replaced.
    pub park: Vec<Parked>,
    /// Deleted, if there.
    pub unpark: Vec<(Day, NotificationId)>,
}

/// Where a listing of due rows goes on: after this (due, id).
pub type DueCursor = (Timestamp, NotificationId);
