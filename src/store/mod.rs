//! The store: attempts, parked notifications, and the fence that keeps late writers out.
//!
//! This file is the contract; [`sqlite`] serves the embedded mode, [`postgres`] the distributed one. Everything in
//! the store except parked rows' due times can be rebuilt from the log. The room decides nothing: what is final,
//! when to retry and what to write comes from `tidings_core::sender`.
//!
//! Reading order: this file, [`sqlite`], [`postgres`], `rows` (what both share), `faults`. SQL stands in `queries/`,
//! tables in `migrations/`.
//!
//! What both stores promise (held by one conformance suite, `tests/store_conformance.rs`):
//!
//! - A [`WriteBatch`] is written as a whole or not at all, and writing it twice is the same as once.
//! - A batch whose epoch for any of its partitions is not the newest is refused as a whole: [`StoreError::Fenced`].
//! - A try is kept once, by its number. A final outcome is never overwritten: the first one stands. A sender never gives both one
//!   number; if it did, SQLite would keep the first and PostgreSQL both.

mod faults;
pub mod postgres;
mod rows;
pub mod sqlite;

use std::future::Future;

use serde::Serialize;
use tidings_core::domain::{
    Attempt, Day, DestinationId, ErrorClass, NotificationId, Outcome, SubscriptionId, TeamId, Timestamp,
};
pub use tidings_core::domain::{DueCursor, Epoch, Known, Parked, Standing, WriteBatch};

/// Why a store refused. Callers decide on the variant; the text is for operators.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// These partitions have a newer owner. Nothing was written.
    #[error("fenced from partitions {0:?}")]
    Fenced(Vec<u32>),
    /// The store cannot be reached or cannot take the request now. Try the same again.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// A request that no retry mends: a row that cannot be stored, a broken schema.
    #[error("store refused: {0}")]
    Refused(String),
}

/// Which attempts a person asks for. Every field narrows; newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttemptQuery {
    /// `None` is the operator, who sees every team.
    pub team: Option<TeamId>,
    pub notification: Option<NotificationId>,
    pub subscription: Option<SubscriptionId>,
    pub destination: Option<DestinationId>,
    pub event_id: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// 1 to 1,000.
    pub limit: u32,
    /// Go on after this one, from [`page`](AttemptQuery::after) of the last answer's last row.
    pub after: Option<(Timestamp, NotificationId, u32)>,
}

/// Where a notification stands, for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Parked: another attempt will follow.
    Retrying,
    #[serde(untagged)]
    Ended(Outcome),
}

/// A notification as its newest attempt shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notification {
    pub status: Status,
    /// The newest attempt (or outcome without one).
    #[serde(flatten)]
    pub last: Attempt,
    /// When the next attempt is due, while [`Status::Retrying`].
    pub next_attempt_at: Option<Timestamp>,
}

/// Which notifications a person asks for. Every field narrows; newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NotificationQuery {
    pub attempts: AttemptQuery,
    pub status: Option<Status>,
    pub error: Option<ErrorClass>,
}

/// Counts for a screen: how many notifications wait in the store, and the oldest due time among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub parked: u64,
    pub oldest_due: Option<Timestamp>,
}

/// Held while the directory is edited; dropping it lets the next writer in.
pub trait Guard: Send + 'static {}

/// A store. Cheap to clone; all clones are one connection pool.
pub trait Store: Clone + Send + Sync + 'static {
    type Guard: Guard;

    /// Takes a delivery partition: raises its epoch, so that writes with an older one are refused.
    fn acquire(&self, partition: u32, owner: &str) -> impl Future<Output = Result<Epoch, StoreError>> + Send;

    /// What is known of these, in any order; unknown ones are left out. A final outcome outranks a parked row.
    fn look_up(
        &self,
        ids: &[(Day, NotificationId)],
    ) -> impl Future<Output = Result<Vec<(NotificationId, Known)>, StoreError>> + Send;

    /// Writes a batch as a whole or not at all.
    fn write(&self, batch: &WriteBatch) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Parked rows of one delivery partition (`destination_hash % partitions`), due up to `until`, after `after`, in
    /// order of (due, id), at most `limit`.
    fn due(
        &self,
        partition: u32,
        partitions: u32,
        after: Option<DueCursor>,
        until: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    fn attempts(&self, query: &AttemptQuery) -> impl Future<Output = Result<Vec<Attempt>, StoreError>> + Send;

    fn notifications(
        &self,
        query: &NotificationQuery,
    ) -> impl Future<Output = Result<Vec<Notification>, StoreError>> + Send;

    fn waiting(&self, team: Option<&TeamId>) -> impl Future<Output = Result<Waiting, StoreError>> + Send;

    /// Makes room for coming days' attempts, and drops days before `oldest` whole. Returns the days dropped.
    fn keep_days(&self, oldest: Day, newest: Day) -> impl Future<Output = Result<Vec<Day>, StoreError>> + Send;

    /// Waits for the right to edit the directory: one writer at a time over all processes.
    fn lock_directory(&self) -> impl Future<Output = Result<Self::Guard, StoreError>> + Send;

    /// Whether the store answers.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
