//! Where loops get the time from: the system's clock, or the simulation's.

use std::time::{SystemTime, UNIX_EPOCH};

use tidings_core::domain::Timestamp;

/// Tells the time. Waiting is tokio's, so that a paused runtime can skip it.
pub trait Clock: Clone + Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

// === impl SystemClock ===

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_millis().min(i64::MAX as u128) as i64)
    }
}
