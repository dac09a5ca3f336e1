//! A destination's rate limit: GCRA, one number of state, time passed in.

use crate::domain::Timestamp;

/// The generic cell rate algorithm (ITU-T I.371) over one theoretical arrival time.
///
/// Never lets more than `rate × t + burst` through in any window `t`, give or take one millisecond's worth, which is
/// the resolution of [`Timestamp`].
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Microseconds between cells.
    interval: i64,
    /// How far the arrival time may run ahead of now, in microseconds.
    tolerance: i64,
    /// When the next cell would conform if cells came evenly, in microseconds.
    arrival: i64,
}

// === impl RateLimit ===

impl RateLimit {
    /// Starts empty: a change of owner, or a storm of them, gives nobody a fresh burst.
    pub fn new(per_second: f64, burst: u32, now: Timestamp) -> RateLimit {
        let mut limit = RateLimit { interval: 0, tolerance: 0, arrival: 0 };
        limit.set(per_second, burst);
        limit.arrival = micros(now).saturating_add(limit.tolerance);
        limit
    }

    /// Changes the quota and keeps what is owed: a change never grants a burst.
    pub fn set(&mut self, per_second: f64, burst: u32) {
        self.interval = (1e6 / per_second.clamp(0.01, 10_000.0)) as i64;
        self.tolerance = (self.interval * (burst.max(1) as i64 - 1)).max(1000);
    }

    /// Takes one cell, or says when one will be free.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let now = micros(now);
        let arrival = self.arrival.max(now);
        if arrival - now > self.tolerance {
            let free = arrival - self.tolerance;
            return Err(Timestamp(free.div_euclid(1000) + i64::from(free.rem_euclid(1000) > 0)));
        }
        self.arrival = arrival + self.interval;
        Ok(())
    }

    /// Whether a fresh limit would be no more generous than this one.
    pub fn owes_nothing(&self, now: Timestamp) -> bool {
        self.arrival <= micros(now).saturating_add(self.tolerance)
    }

    /// Milliseconds between cells in the long run.
    pub fn interval_ms(&self) -> f64 {
        self.interval as f64 / 1000.0
    }
}

fn micros(time: Timestamp) -> i64 {
    time.0.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_rate_times_time_plus_burst(
            per_second in 0.5f64..5000.0,
            burst in 1u32..50,
            gaps in prop::collection::vec(0i64..200, 1..400),
        ) {
            let mut limit = RateLimit::new(per_second, burst, Timestamp(0));
            let (mut now, mut passed) = (0i64, Vec::new());
            for gap in gaps {
                now += gap;
                if limit.take(Timestamp(now)).is_ok() {
                    passed.push(now);
                }
            }
            let slack = 1.0 + per_second / 1000.0;
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let allowed = per_second * (to - from) as f64 / 1000.0 + burst as f64 + slack;
                    prop_assert!((j - i + 1) as f64 <= allowed);
                }
            }
        }

        #[test]
        fn the_time_it_names_is_the_time_it_lets_go(per_second in 0.5f64..5000.0, burst in 1u32..50) {
            let mut limit = RateLimit::new(per_second, burst, Timestamp(0));
            let mut now = Timestamp(0);
            for _ in 0..200 {
                if let Err(free) = limit.take(now) {
                    prop_assert!(free > now);
                    now = free;
                    prop_assert!(limit.take(now).is_ok());
                }
            }
        }
    }

    #[test]
    fn a_fresh_limit_has_no_burst_to_give() {
        let mut limit = RateLimit::new(1.0, 5, Timestamp(0));
        assert_eq!((0..10).filter(|_| limit.take(Timestamp(0)).is_ok()).count(), 1);
        let mut later = RateLimit::new(1.0, 5, Timestamp(0));
        assert_eq!((0..10).filter(|_| later.take(Timestamp(60_000)).is_ok()).count(), 5);
    }
}
