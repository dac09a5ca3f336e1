//! `{"before": "2026-12-31"}`, `{"after": {"event-time": "-1h"}}`: points in time, fixed or counted from the event's own.

use std::fmt;

use crate::domain::{Day, Timestamp};

/// A text that is a time, before or after another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeTest {
    pub side: Side,
    pub than: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    /// So many milliseconds after the event's own time; negative: before it.
    FromEvent(i64),
}

/// The furthest that a moment may be from its event, in days.
pub const MAX_OFFSET_DAYS: i64 = 36_500;

/// The shortest and the longest text that is read as a time, in bytes: a date, and a time with its zone's name.
const TIME_BYTES: std::ops::RangeInclusive<usize> = 10..=80;
const SECOND_MS: i64 = 1_000;
const DAY_MS: i64 = 86_400 * SECOND_MS;
const UNITS: [(char, i64); 5] =
    [('s', SECOND_MS), ('m', 60 * SECOND_MS), ('h', 3_600 * SECOND_MS), ('d', DAY_MS), ('w', 7 * DAY_MS)];

// === impl TimeTest ===

impl TimeTest {
    pub fn operator(&self) -> &'static str {
        match self.side {
            Side::Before => "before",
            Side::After => "after",
        }
    }

    /// A text that is no time is neither before nor after; nor is anything, of an event without a time, where its time
    /// is asked for.
    pub fn matches(&self, text: &str, event_time: Option<Timestamp>) -> bool {
        self.holds(read_time(text), event_time)
    }

    /// The same of a text that has been [read](read_time).
    pub(super) fn holds(&self, time: Option<Timestamp>, event_time: Option<Timestamp>) -> bool {
        let than = match self.than {
            Moment::At(time) => Some(time),
            Moment::FromEvent(offset) => event_time.map(|time| time.plus(offset)),
        };
        match (self.side, time, than) {
            (Side::Before, Some(time), Some(than)) => time < than,
            (Side::After, Some(time), Some(than)) => time > than,
            _ => false,
        }
    }
}

/// RFC 3339, or a date, which is its first moment in UTC. To the millisecond.
pub fn read_time(text: &str) -> Option<Timestamp> {
    if !TIME_BYTES.contains(&text.len()) || !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return None;
    }
    if text.len() == *TIME_BYTES.start() { Day::parse(text).map(Day::start) } else { Timestamp::parse(text) }
}

/// `+30d`, `-1h`: a sign, a whole number, and s, m, h, d or w.
pub fn read_offset(text: &str) -> Option<i64> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (digits, unit) = (text[1..].strip_suffix(|c: char| c.is_ascii_lowercase())?, text.chars().last()?);
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count: i64 = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    count.checked_mul(*unit_ms).filter(|ms| *ms <= MAX_OFFSET_DAYS * DAY_MS).map(|ms| sign * ms)
}

impl fmt::Display for TimeTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.operator();
        match self.than {
            Moment::At(time) => write!(f, "is {side} {time}"),
            Moment::FromEvent(0) => write!(f, "is {side} the event's time"),
            Moment::FromEvent(offset) => {
                let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
                let unit = UNITS.iter().rev().find(|(_, ms)| size % ms == 0).unwrap_or(&UNITS[0]);
                write!(f, "is {side} the event's time {sign} {} {}", size / unit.1, unit.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_a_sign_a_number_and_a_unit() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(read_offset(text), expected, "{text}");
        check("+30d", Some(30 * DAY_MS));
        check("-1h", Some(-3_600_000));
        check("+0s", Some(0));
        check("+2w", Some(14 * DAY_MS));
        check("+36500d", Some(MAX_OFFSET_DAYS * DAY_MS));
        for text in [
            "",
            "+",
            "d",
            "+d",
            "30d",
            "+30",
            "+30y",
            "+ 30d",
            "++3d",
            "+1.5h",
            "+36501d",
            "+99999999999999999999s",
            "+é",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_time_is_compared_to_the_millisecond() {
        let event_time = Timestamp::parse("2026-11-23T12:00:00Z");
        let check = |side: Side, than: Moment, text: &str, expected: bool| {
            assert_eq!(TimeTest { side, than }.matches(text, event_time), expected, "{side:?} {than:?} {text}");
        };
        let midnight = Moment::At(read_time("2026-11-23").unwrap());
        check(Side::Before, midnight, "2026-11-22T23:59:59.999Z", true);
        check(Side::Before, midnight, "2026-11-23", false);
        check(Side::After, midnight, "2026-11-23", false);
        check(Side::After, midnight, "2026-11-23T00:00:00.001Z", true);
        check(Side::After, midnight, "2026-11-23T01:30:00+02:00", false);
        check(Side::Before, Moment::FromEvent(-3_600_000), "2026-11-23T10:59:59Z", true);
        check(Side::Before, Moment::FromEvent(-3_600_000), "2026-11-23T11:00:00Z", false);
        check(Side::After, Moment::FromEvent(DAY_MS), "2026-11-24T12:00:00.001Z", true);
        for text in ["", "soon", "2026-11-23T12:00:00", "2026-13-01", "1763900000", "12:00:00Z in the evening"] {
            check(Side::Before, Moment::At(Timestamp(i64::MAX)), text, false);
            check(Side::After, Moment::At(Timestamp(i64::MIN)), text, false);
        }
        let relative = TimeTest { side: Side::Before, than: Moment::FromEvent(0) };
        assert!(!relative.matches("2000-01-01", None));
    }
}
