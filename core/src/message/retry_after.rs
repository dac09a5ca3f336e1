//! How long a receiver asks to be left alone: the `Retry-After` header of RFC 9110, 10.2.3.

use jiff::{
    civil::DateTime,
    fmt::{rfc2822, strtime},
    tz::TimeZone,
};

use crate::domain::Timestamp;

/// The longest wish that is passed on, in milliseconds (a year). The sender clamps further; this keeps sums sane.
pub const MAX_RETRY_AFTER_MS: i64 = 366 * 86_400_000;

/// Milliseconds to wait, from whole seconds or any of the three date formats of HTTP.
///
/// What cannot be a wish (negative, `NaN`, fractions, a date that is past, nonsense) is `None`: as if it were not there.
pub fn retry_after_ms(value: &str, now: Timestamp) -> Option<i64> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number holds is still a wish for the longest wait.
        let seconds: i64 = value.parse().unwrap_or(i64::MAX);
        return Some(seconds.saturating_mul(1000).min(MAX_RETRY_AFTER_MS));
    }
    let wait = http_date(value)?.since(now);
    (wait > 0).then_some(wait.min(MAX_RETRY_AFTER_MS))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, and the obsolete `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`,
/// which recipients must still accept.
fn http_date(text: &str) -> Option<Timestamp> {
    const LONGEST: usize = 40;
    if text.len() > LONGEST {
        return None;
    }
    if let Ok(time) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(Timestamp(time.as_millisecond()));
    }
    let parse = |format: &str| -> Option<DateTime> { strtime::parse(format, text).ok()?.to_datetime().ok() };
    let time = parse("%A, %d-%b-%y %H:%M:%S GMT").or_else(|| parse("%a %b %e %H:%M:%S %Y"))?;
    Some(Timestamp(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: &str, expected_s: Option<i64>) {
        let now = Timestamp::parse("1994-11-06T08:49:07Z").unwrap();
        assert_eq!(retry_after_ms(value, now), expected_s.map(|s| s * 1000), "{value:?}");
    }

    #[test]
    fn seconds() {
        check("5", Some(5));
        check(" 120 ", Some(120));
        check("0", Some(0));
        check("99999999", Some(MAX_RETRY_AFTER_MS / 1000));
        check("99999999999999999999999999", Some(MAX_RETRY_AFTER_MS / 1000));
    }

    #[test]
    fn dates() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(30));
        check("Sun Nov  6 08:49:37 1994", Some(30));
        check("Sun, 06 Nov 1994 08:49:07 GMT", None);
        check("Sat, 05 Nov 1994 08:49:37 GMT", None);
        check("Thu, 31 Dec 9998 23:59:59 GMT", Some(MAX_RETRY_AFTER_MS / 1000));
    }

    #[test]
    fn what_is_no_wish_is_ignored() {
        for value in
            ["", "-1", "+5", "1.5", "NaN", "inf", "1e3", "５", "soon", "Sun, 99 Nov 1994 08:49:37 GMT", "5, 6", "\0"]
        {
            check(value, None);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(value in "[0-9]{0,30}|[A-Za-z, 0-9:GMT+-]{0,45}|.{0,45}", now: i64) {
            let wait = retry_after_ms(&value, Timestamp(now));
            prop_assert!(wait.is_none_or(|ms| (0..=MAX_RETRY_AFTER_MS).contains(&ms)));
        }
    }
}
