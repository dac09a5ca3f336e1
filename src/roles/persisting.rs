//! The sender's way to the store: asked until it answers, and written to until a batch is durable or fenced.
//!
//! A store that is away is waited for as long as it takes; after [`UNREADY_AFTER`] the process says that it is not ready. A row that the
//! store will never take is told and left out, because it must not hold up the others.

use std::{collections::BTreeMap, time::Duration};

use tidings_core::{
    domain::{NotificationId, WriteBatch},
    sender::Input,
};
use tokio::time::Instant;

use crate::{
    crash::{self, Point},
    store::{Store, StoreError},
    telemetry::{Readiness, facts},
};

/// The first wait after a failure, doubled up to [`MAX_BACKOFF`].
pub(super) const BACKOFF: Duration = Duration::from_millis(50);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A store that has failed for this long makes the process not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(30);

/// Writes a batch until it is durable or fenced. A row that the store will never take must not hold up the others.
pub(super) async fn write<S: Store>(store: &S, readiness: &Readiness, batch: WriteBatch) -> Input {
    let started = Instant::now();
    let mut patience = Patience::new(readiness);
    loop {
        match store.write(&batch).await {
            Ok(()) => break,
            Err(StoreError::Fenced(partitions)) => {
                facts::store_failed(&StoreError::Fenced(partitions.clone()));
                return Input::Fenced(partitions);
            }
            Err(StoreError::Refused(why)) => {
                facts::store_failed(&StoreError::Refused(why));
                if let Some(fenced) = write_apart(store, readiness, &batch).await {
                    return fenced;
                }
                break;
            }
            Err(error) => patience.wait(&error).await,
        }
    }
    crash::point(Point::Stored);
    patience.served();
    facts::store_written(batch.attempts.len(), started.elapsed());
    for attempt in &batch.attempts {
        facts::attempt_made(attempt);
        if let Some(outcome) = attempt.outcome {
            facts::notification_ended(outcome);
        }
    }
    Input::Stored
}

/// Writes each notification of a refused batch by itself; what is refused even alone loses its free texts, and is
/// reported and left out if that does not help.
async fn write_apart<S: Store>(store: &S, readiness: &Readiness, batch: &WriteBatch) -> Option<Input> {
    let mut patience = Patience::new(readiness);
    for mut single in apart(batch) {
        let mut plain = false;
        loop {
            match store.write(&single).await {
                Ok(()) => break,
                Err(StoreError::Fenced(partitions)) => return Some(Input::Fenced(partitions)),
                Err(StoreError::Refused(_)) if !plain => {
                    plain = true;
                    for attempt in &mut single.attempts {
                        attempt.message = None;
                        attempt.response = None;
                    }
                }
                Err(StoreError::Refused(why)) => {
                    facts::row_refused(&single, &why);
                    break;
                }
                Err(error) => patience.wait(&error).await,
            }
        }
    }
    None
}

/// One batch per notification; its attempt and its parked row stay together.
fn apart(batch: &WriteBatch) -> Vec<WriteBatch> {
    let mut singles: BTreeMap<NotificationId, WriteBatch> = BTreeMap::new();
    for attempt in &batch.attempts {
        singles.entry(attempt.notification).or_default().attempts.push(attempt.clone());
    }
    for parked in &batch.park {
        singles.entry(parked.notification).or_default().park.push(parked.clone());
    }
    for (day, notification) in &batch.unpark {
        singles.entry(*notification).or_default().unpark.push((*day, *notification));
    }
    let with_fences = |single| WriteBatch { fences: batch.fences.clone(), ..single };
    singles.into_values().map(with_fences).collect()
}

/// Asks the store until it answers.
pub(super) async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    readiness: &Readiness,
    ask: impl Fn() -> F,
) -> T {
    let mut patience = Patience::new(readiness);
    loop {
        match ask().await {
            Ok(answer) => {
                patience.served();
                return answer;
            }
            Err(error) => patience.wait(&error).await,
        }
    }
}

/// Waits out a store that fails, and says when that has gone on for long.
struct Patience<'a> {
    readiness: &'a Readiness,
    since: Instant,
    failed: bool,
    backoff: Duration,
}

// === impl Patience ===

impl Patience<'_> {
    fn new(readiness: &Readiness) -> Patience<'_> {
        Patience { readiness, since: Instant::now(), failed: false, backoff: BACKOFF }
    }

    async fn wait(&mut self, error: &StoreError) {
        facts::store_failed(error);
        self.failed = true;
        if self.since.elapsed() >= UNREADY_AFTER {
            self.readiness.not_ready("store", "the store does not answer");
        }
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    fn served(&self) {
        if self.failed {
            self.readiness.ready("store");
        }
    }
}
