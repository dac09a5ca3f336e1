//! A lane: one destination's queue, its requests in flight, and what is known of its health.
//!
//! A lane says whether it may start another request; which lane goes first is [`super::rings`].

use std::collections::VecDeque;

use super::{Ticket, rate_limit::RateLimit};
use crate::domain::{ErrorClass, Limits, Timestamp};

/// A request that has waited this long for its answer makes its lane a slow one.
pub const SLOW_AFTER_MS: i64 = 1_000;
/// A lane that starts requests at least this often, in milliseconds, is brisk.
const BRISK_PACE_MS: f64 = 50.0;
/// What a lane that has never been answered may have in flight, before its window opens.
const FIRST_WINDOW: u32 = 2;
/// Between two notifications of a silent lane that come back, in ms: they are read from the store a thousand a second.
const SILENT_PACE_MS: f64 = 1.0;
/// How much of the newest answer enters the smoothed duration.
const SMOOTHING: f64 = 0.2;

/// One destination, as long as anything of it is in memory.
#[derive(Debug)]
pub struct Lane {
    pub queue: VecDeque<Ticket>,
    /// Requests without an answer, with their start; at most 256.
    pub in_flight: Vec<(Ticket, Timestamp)>,
    /// Nothing may start before this: the receiver asked to wait.
    pub paused_until: Timestamp,
    health: Health,
    /// Requests that may be in flight: doubles with each success up to the destination's limit, halves with failure.
    window: u32,
    limits: Limits,
    rate: Option<RateLimit>,
    timeout_ms: u32,
    /// Smoothed duration of an answered request, in ms.
    duration_ms: f64,
    /// The start of the first request that timed out, of those since the last answer.
    silent_since: Option<Timestamp>,
    /// Where the next spilled notification's due time goes, so that they come back at the lane's pace.
    spill_tail: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// Never answered yet.
    Unproven,
    /// The last try was answered, whatever the answer was.
    Answering,
    /// The last try timed out.
    Hanging,
}

/// Which share of the process's request slots a lane draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing in flight: goes before those that have something.
    First,
    /// Has requests in flight, all of them prompt.
    More,
    /// Timed out last (then it has one slot), or is slow right now: all such lanes together have a quarter.
    Hanging,
}

/// Whether a lane may start a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    Now(Share),
    /// Its rate or the receiver's wish allows the next one then.
    At(Timestamp),
    /// Its own window is full: an answer will tell.
    OnAnswer,
    /// Nothing is queued.
    Idle,
}

// === impl Lane ===

impl Lane {
    pub fn new(limits: Limits, timeout_ms: u32, now: Timestamp) -> Lane {
        Lane {
            queue: VecDeque::new(),
            in_flight: Vec::new(),
            paused_until: Timestamp(i64::MIN),
            health: Health::Unproven,
            window: FIRST_WINDOW,
            limits,
            rate: limits.per_second.map(|rate| RateLimit::new(rate, limits.burst, now)),
            timeout_ms,
            duration_ms: 0.0,
            silent_since: None,
            spill_tail: now,
        }
    }

    /// Takes over changed settings; what is owed to the rate limit stays owed.
    pub fn configure(&mut self, limits: Limits, timeout_ms: u32, now: Timestamp) {
        self.timeout_ms = timeout_ms;
        if self.limits == limits {
            return;
        }
        self.limits = limits;
        match (&mut self.rate, limits.per_second) {
            (Some(rate), Some(per_second)) => rate.set(per_second, limits.burst),
            (rate, per_second) => *rate = per_second.map(|rate| RateLimit::new(rate, limits.burst, now)),
        }
    }

    /// Whether nothing would be lost with it: no work, no debt to the rate limit, no pause, no spill to keep pace with,
    /// and no memory of hanging.
    pub fn is_forgettable(&self, now: Timestamp) -> bool {
        self.queue.is_empty()
            && self.in_flight.is_empty()
            && self.paused_until <= now
            && self.spill_tail <= now
            && self.health != Health::Hanging
            && self.rate.as_ref().is_none_or(|rate| rate.owes_nothing(now))
    }

    /// How long the oldest request has waited, if that is long.
    fn slow_ms(&self, now: Timestamp) -> Option<i64> {
        self.in_flight.iter().map(|(_, start)| now.since(*start)).max().filter(|age| *age >= SLOW_AFTER_MS)
    }

    /// Requests that may be in flight now.
    fn allowed(&self) -> usize {
        match self.health {
            Health::Hanging => 1,
            _ => self.window.min(self.limits.in_flight).max(1) as usize,
        }
    }

    /// Whether, and from which share, a request may start. Takes nothing from the rate limit.
    pub fn ready(&self, now: Timestamp) -> Ready {
        if self.queue.is_empty() {
            return Ready::Idle;
        }
        if self.in_flight.len() >= self.allowed() {
            return Ready::OnAnswer;
        }
        if self.paused_until > now {
            return Ready::At(self.paused_until);
        }
        if self.health == Health::Hanging || self.slow_ms(now).is_some() {
            return Ready::Now(Share::Hanging);
        }
        Ready::Now(if self.in_flight.is_empty() { Share::First } else { Share::More })
    }

    /// Takes one cell of the rate limit, or says when there will be one.
    pub fn take_cell(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.rate.as_mut().map_or(Ok(()), |rate| rate.take(now))
    }

    /// Notes an answer and what it says of the lane's health. Trouble of ours says nothing.
    pub fn answered(&mut self, ticket: Ticket, error: Option<ErrorClass>, duration_ms: u32) {
        let place = self.in_flight.iter().position(|(t, _)| *t == ticket);
        let start = place.map(|place| self.in_flight.swap_remove(place).1);
        match error {
            Some(class) if class.is_ours() => return,
            Some(ErrorClass::Timeout) => {
                self.silent_since = self.silent_since.or(start);
                self.health = Health::Hanging;
                self.window = 1;
                return;
            }
            None => {
                self.health = Health::Answering;
                self.window = self.window.saturating_mul(2).min(self.limits.in_flight.max(1));
            }
            Some(_) => {
                self.health = Health::Answering;
                self.window = (self.window / 2).max(1);
            }
        }
        let was_silent = self.silent_since.take().is_some();
        if was_silent && self.rate.is_none() {
            // What came back late because nobody answered is no measure for what comes now.
            self.spill_tail = Timestamp(0);
        }
        let sample = f64::from(duration_ms);
        self.duration_ms =
            if self.duration_ms == 0.0 { sample } else { self.duration_ms * (1.0 - SMOOTHING) + sample * SMOOTHING };
    }

    /// Milliseconds between two starts at the lane's present pace; `None` while nothing is known.
    fn pace_ms(&self, now: Timestamp) -> Option<f64> {
        let by_answers = match (self.health, self.slow_ms(now)) {
            (Health::Hanging, _) => Some(f64::from(self.timeout_ms)),
            (_, Some(age)) => Some(age as f64),
            (Health::Unproven, None) => None,
            (Health::Answering, None) => Some(self.duration_ms / self.allowed() as f64),
        };
        let by_rate = self.rate.as_ref().map(RateLimit::interval_ms);
        match (by_answers, by_rate) {
            (Some(a), Some(r)) => Some(a.max(r)),
            (a, r) => a.or(r),
        }
    }

    /// Whether notifications come to their turn here so fast that a burst is better waited out than parked.
    pub fn is_brisk(&self, now: Timestamp) -> bool {
        self.pace_ms(now).is_some_and(|pace| pace <= BRISK_PACE_MS)
    }

    /// How long a notification queued now would wait for its turn; `None` while nothing is known.
    pub fn wait_ms(&self, now: Timestamp) -> Option<i64> {
        let pause = self.paused_until.since(now).max(0);
        let busy = usize::from(self.in_flight.len() >= self.allowed());
        let queued = (self.queue.len() + busy) as f64;
        match self.pace_ms(now) {
            Some(pace) => Some(pause.saturating_add((pace * queued) as i64)),
            None if pause > 0 => Some(pause),
            None => None,
        }
    }

    /// How long the lane has been without an answer that it waits for.
    fn silent_ms(&self, now: Timestamp) -> Option<i64> {
        self.silent_since.map(|since| now.since(since)).max(self.slow_ms(now))
    }

    /// When a notification that finds no place comes back: behind those spilled before it, at the lane's pace.
    ///
    /// Of a silent lane the pace says nothing about when it will answer again. Its notifications come back after as
    /// long as it has been silent: a hiccup of two seconds costs two more, and one that lasts is asked ever less often.
    pub fn spill_until(&mut self, now: Timestamp, at_least_ms: i64, at_most_ms: i64) -> Timestamp {
        let silent = self.silent_ms(now);
        let earliest = now.plus(at_least_ms.max(silent.unwrap_or(0)).min(at_most_ms)).max(self.paused_until);
        let by_rate = self.rate.as_ref().map(RateLimit::interval_ms);
        let pace = match silent {
            Some(_) => by_rate.unwrap_or(0.0).max(SILENT_PACE_MS),
            None => self.pace_ms(now).unwrap_or(0.0),
        };
        let pace = pace.ceil() as i64;
        let due = self.spill_tail.plus(pace).max(earliest).min(now.plus(at_most_ms).max(earliest));
        self.spill_tail = due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(per_second: Option<f64>) -> Lane {
        let mut lane = Lane::new(Limits { per_second, burst: 1, in_flight: 8 }, 15_000, Timestamp(0));
        lane.queue.extend((0..100).map(Ticket));
        lane
    }

    fn start(lane: &mut Lane, now: Timestamp) -> Ticket {
        let ticket = lane.queue.pop_front().unwrap();
        lane.in_flight.push((ticket, now));
        ticket
    }

    #[test]
    fn the_window_opens_with_success() {
        let mut lane = lane(None);
        let now = Timestamp(0);
        let tickets = [start(&mut lane, now), start(&mut lane, now)];
        assert_eq!(lane.ready(now), Ready::OnAnswer);
        tickets.into_iter().for_each(|ticket| lane.answered(ticket, None, 10));
        (0..8).for_each(|_| {
            start(&mut lane, now);
        });
        assert_eq!(lane.ready(now), Ready::OnAnswer);
    }

    #[test]
    fn a_lane_that_timed_out_has_one_slot_and_the_hanging_share() {
        let mut lane = lane(None);
        let ticket = start(&mut lane, Timestamp(0));
        lane.answered(ticket, Some(ErrorClass::Timeout), 15_000);
        assert_eq!(lane.ready(Timestamp(15_000)), Ready::Now(Share::Hanging));
        let ticket = start(&mut lane, Timestamp(15_000));
        assert_eq!(lane.ready(Timestamp(15_000)), Ready::OnAnswer);
        lane.answered(ticket, None, 5);
        assert_eq!(lane.ready(Timestamp(15_005)), Ready::Now(Share::First));
    }

    #[test]
    fn a_request_without_answer_for_a_second_moves_the_lane_to_the_hanging_share() {
        let mut lane = lane(None);
        start(&mut lane, Timestamp(0));
        assert_eq!(lane.ready(Timestamp(999)), Ready::Now(Share::More));
        assert_eq!(lane.ready(Timestamp(1_000)), Ready::Now(Share::Hanging));
    }

    #[test]
    fn spilled_notifications_come_back_at_the_lanes_pace() {
        let mut lane = lane(Some(2.0));
        let now = Timestamp(0);
        let dues: Vec<i64> = (0..4).map(|_| lane.spill_until(now, 1_000, 300_000).0).collect();
        assert_eq!(dues, [1_000, 1_500, 2_000, 2_500]);
        assert_eq!(lane.wait_ms(now), Some(50_000));
    }

    #[test]
    fn what_is_spilled_comes_back_after_as_long_as_the_lane_was_silent() {
        let spill = |lane: &mut Lane, now: i64| lane.spill_until(Timestamp(now), 1_000, 300_000).0 - now;
        let mut lane = lane(None);
        start(&mut lane, Timestamp(0));
        assert_eq!((0..3).map(|_| spill(&mut lane, 2_000)).collect::<Vec<_>>(), [2_000, 2_001, 2_002]);
        let ticket = lane.in_flight[0].0;
        lane.answered(ticket, Some(ErrorClass::Timeout), 15_000);
        assert_eq!(spill(&mut lane, 40_000), 40_000);
        assert_eq!(spill(&mut lane, 3_600_000), 300_000);
        let ticket = start(&mut lane, Timestamp(3_600_000));
        lane.answered(ticket, None, 10);
        let mut answering = Lane { spill_tail: Timestamp(0), ..lane };
        assert_eq!(spill(&mut answering, 3_700_000), 1_000);
    }

    #[test]
    fn a_lane_is_brisk_by_its_answers_and_its_rate() {
        let check = |per_second: Option<f64>, duration_ms: u32, expected: bool| {
            let mut lane = lane(per_second);
            let now = Timestamp(0);
            assert!(!lane.is_brisk(now) || per_second.is_some(), "nothing is known of it yet");
            let ticket = start(&mut lane, now);
            lane.answered(ticket, None, duration_ms);
            assert_eq!(lane.is_brisk(now), expected, "{per_second:?} a second, answers in {duration_ms} ms");
        };
        check(None, 20, true);
        check(None, 1_000, false);
        check(Some(100.0), 20, true);
        check(Some(1.0), 20, false);
    }

    #[test]
    fn a_pause_holds_the_lane_and_moves_what_is_spilled() {
        let mut lane = lane(None);
        lane.paused_until = Timestamp(30_000);
        assert_eq!(lane.ready(Timestamp(0)), Ready::At(Timestamp(30_000)));
        assert_eq!(lane.spill_until(Timestamp(0), 1_000, 10_000), Timestamp(30_000));
    }
}
