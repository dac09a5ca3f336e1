//! Points in time and calendar days. Always passed in, never read from a clock here.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z; shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A UTC calendar date as days since 1970-01-01; shown as `2026-11-23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub i32);

const DAY_MS: i64 = 86_400_000;

/// Years 0000 to 9999: what RFC 3339 can say (the last day short of a time zone's width). Beyond is clamped when shown.
const SHOWN: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_207_200_000;

// === impl Timestamp ===

impl Timestamp {
    pub fn parse(text: &str) -> Option<Timestamp> {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Timestamp(time.as_millisecond()))
    }

    pub fn plus(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; negative if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    pub fn day(self) -> Day {
        Day(self.0.div_euclid(DAY_MS).clamp(i32::MIN as i64, i32::MAX as i64) as i32)
    }

    /// Whole seconds, as the `webhook-timestamp` header carries them.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.clamp(*SHOWN.start(), *SHOWN.end());
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{ms}"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(d)?;
        Timestamp::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

// === impl Day ===

impl Day {
    pub fn parse(text: &str) -> Option<Day> {
        let date: jiff::civil::Date = text.parse().ok()?;
        let epoch = jiff::civil::date(1970, 1, 1);
        Some(Day(epoch.until(date).ok()?.get_days()))
    }

    pub fn start(self) -> Timestamp {
        Timestamp(self.0 as i64 * DAY_MS)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.start().to_string();
        f.write_str(text.split('T').next().unwrap_or(&text))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_and_name_their_day() {
        let t = Timestamp::parse("2026-11-23T11:17:07.250Z").unwrap();
        assert_eq!(t.to_string(), "2026-11-23T11:17:07.250Z");
        assert_eq!(t.day().to_string(), "2026-11-23");
        assert_eq!(Day::parse("2026-11-23"), Some(t.day()));
        assert_eq!(Timestamp(-1).day(), Day(-1));
        assert_eq!(Timestamp::parse("2020-02-24T16:19:12.175113-05:00").unwrap().0, 1_582_579_152_175);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn times_beyond_the_calendar_are_shown_clamped() {
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999-12-30"));
        assert!(Timestamp(i64::MIN).to_string().starts_with("0000-01-01"));
        assert_eq!(Timestamp(i64::MAX).day(), Day((i64::MAX / DAY_MS).min(i32::MAX as i64) as i32));
    }
}
