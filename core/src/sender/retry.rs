//! What follows from one answer: delivered, tried again, or ended. Pure; time and chance are passed in.

use crate::domain::{Chance, ErrorClass, Outcome, RetryPolicy, Timestamp};

/// What came of an attempt, as far as the decision goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Result {
    /// `None` is success.
    pub error: Option<ErrorClass>,
    /// The receiver asks to wait this long. Any value is harmless: see [`decide`].
    pub retry_after_ms: Option<i64>,
}

/// What to do next with the notification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    End(Outcome),
    /// The attempt counts; another is due then.
    Retry(Timestamp),
    /// Nothing left the house: try again then, without counting this one.
    Again(Timestamp),
}

/// The longest wait that a receiver's `Retry-After` can ask for.
pub const MAX_RETRY_AFTER_MS: i64 = 24 * 3_600_000;
/// How long trouble of our own is waited out before the next try.
pub const OURS_DELAY_MS: i64 = 60_000;

/// Decides after attempt number `attempt` (1 is the first).
///
/// A receiver's wish to wait is kept within the schedule's own step and [`MAX_RETRY_AFTER_MS`]: it can only delay.
pub fn decide(result: Result, attempt: u32, policy: &RetryPolicy, now: Timestamp, chance: &mut Chance) -> Decision {
    let Some(class) = result.error else { return Decision::End(Outcome::Delivered) };
    if class.is_ours() {
        return Decision::Again(now.plus(OURS_DELAY_MS));
    }
    if class.is_permanent() {
        return Decision::End(Outcome::Exhausted);
    }
    match policy.delay_ms(attempt, chance) {
        None => Decision::End(Outcome::Exhausted),
        Some(step) => {
            let asked = result.retry_after_ms.unwrap_or(0).min(MAX_RETRY_AFTER_MS);
            Decision::Retry(now.plus(step.max(asked)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Option<ErrorClass>, retry_after_ms: Option<i64>, attempt: u32, expected: Decision) {
        let policy = RetryPolicy { schedule_s: vec![10, 60], jitter: 0.0 };
        let result = Result { error, retry_after_ms };
        assert_eq!(decide(result, attempt, &policy, Timestamp(0), &mut Chance::new(1)), expected, "{result:?}");
    }

    #[test]
    fn every_answer_has_its_decision() {
        use Decision::{Again, End, Retry};
        use ErrorClass as E;
        check(None, None, 1, End(Outcome::Delivered));
        check(Some(E::ServerError), None, 1, Retry(Timestamp(10_000)));
        check(Some(E::ClientError), None, 2, Retry(Timestamp(60_000)));
        check(Some(E::Timeout), None, 3, End(Outcome::Exhausted));
        check(Some(E::Gone), None, 1, End(Outcome::Exhausted));
        check(Some(E::BlockedAddress), None, 1, End(Outcome::Exhausted));
        check(Some(E::Render), None, 1, End(Outcome::Exhausted));
        check(Some(E::Local), None, 3, Again(Timestamp(OURS_DELAY_MS)));
        check(Some(E::Secret), None, 1, Again(Timestamp(OURS_DELAY_MS)));
    }

    #[test]
    fn retry_after_only_delays_and_only_so_far() {
        use Decision::Retry;
        let limited = Some(ErrorClass::RateLimited);
        check(limited, Some(5_000), 1, Retry(Timestamp(10_000)));
        check(limited, Some(30_000), 1, Retry(Timestamp(30_000)));
        check(limited, Some(-1), 1, Retry(Timestamp(10_000)));
        check(limited, Some(i64::MIN), 1, Retry(Timestamp(10_000)));
        check(limited, Some(i64::MAX), 1, Retry(Timestamp(MAX_RETRY_AFTER_MS)));
    }
}
