//! How numbers compare: by value, whatever way they are written.
//!
//! - Whole numbers of up to 127 bits are exact, however they are written: `9007199254740993`, `1`, `1.0`, `1e3`. `-0` is `0`.
//! - Everything else is the nearest IEEE double: `0.1`, `1e300`. A whole number that is written with a fraction or an exponent
//!   and is not exact as a double counts as that double (`1.5e30`), except for plain trailing zeros (`9007199254740993.0`).
//! - Whole numbers and doubles compare exactly, without rounding either, so the order is total.
//! - What is beyond a double (`1e400`) is no number for comparisons: it equals nothing and lies in no range.

use std::{cmp::Ordering, fmt, ops::Bound};

/// A finite number in its one canonical form, so that equal numbers are equal values.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Integer(i128),
    /// Not whole, or beyond `i128`. Never NaN, infinite, or zero.
    Real(f64),
}

/// Of numbers.
pub(super) type Range = (Bound<Number>, Bound<Number>);

/// 2^127: the first whole double beyond `i128`.
const BEYOND_I128: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// So many digits fit into 64 bits.
const MAX_SMALL: usize = 18;

// === impl Number ===

impl Number {
    /// Reads a JSON number; `None` if it is not finite.
    pub fn read(number: &serde_json::Number) -> Option<Number> {
        Number::read_digits(number.as_str())
    }

    /// Reads the text of a JSON number.
    pub fn read_digits(text: &str) -> Option<Number> {
        if let Some(small) = small(text.as_bytes()) {
            return Some(Number::Integer(small.into()));
        }
        let whole = match text.split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
            _ => text,
        };
        if let Ok(integer) = whole.parse() {
            return Some(Number::Integer(integer));
        }
        let real: f64 = text.parse().ok()?;
        if !real.is_finite() {
            None
        } else if real.trunc() == real && (-BEYOND_I128..BEYOND_I128).contains(&real) {
            Some(Number::Integer(real as i128))
        } else {
            Some(Number::Real(real))
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (*self, *other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
            (Number::Real(a), Number::Real(b)) => a.total_cmp(&b),
            (Number::Integer(a), Number::Real(b)) => integer_against_real(a, b),
            (Number::Real(a), Number::Integer(b)) => integer_against_real(b, a).reverse(),
        }
    }
}

/// Nearly every number of an event: a few digits and nothing else.
fn small(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > MAX_SMALL {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// `real` is not whole, or beyond `i128`: the two are never equal.
fn integer_against_real(integer: i128, real: f64) -> Ordering {
    if real >= BEYOND_I128 {
        Ordering::Less
    } else if real < -BEYOND_I128 {
        Ordering::Greater
    } else if integer <= real.floor() as i128 {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Number::Integer(integer) => integer.hash(state),
            Number::Real(real) => real.to_bits().hash(state),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(integer) => write!(f, "{integer}"),
            Number::Real(real) => write!(f, "{real:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Number> {
        Number::read(&serde_json::from_str(text).unwrap())
    }

    fn check(a: &str, b: &str, expected: Ordering) {
        let (x, y) = (read(a).unwrap(), read(b).unwrap());
        assert_eq!(x.cmp(&y), expected, "{a} against {b}");
        assert_eq!(y.cmp(&x), expected.reverse(), "{b} against {a}");
    }

    #[test]
    fn numbers_compare_by_value() {
        use Ordering::*;
        check("1", "1.0", Equal);
        check("1000", "1e3", Equal);
        check("-0", "0", Equal);
        check("-0.0", "0", Equal);
        check("9007199254740993", "9007199254740992", Greater);
        check("9007199254740993", "9007199254740993.0", Equal);
        check("18446744073709551617", "18446744073709551616", Greater);
        check("9223372036854775808", "9223372036854775807", Greater);
        check("0.30000000000000004", "0.3", Greater);
        check("0.1", "0.10", Equal);
        check("1", "1.5", Less);
        check("2", "1.5", Greater);
        check("-1", "-1.5", Greater);
        check("-2", "-1.5", Less);
        check("1e300", "170141183460469231731687303715884105727", Greater);
        check("-1e300", "-170141183460469231731687303715884105728", Less);
        check("1e300", "1e301", Less);
        check("1e-400", "0", Equal);
    }

    #[test]
    fn what_is_beyond_a_double_is_no_number() {
        assert!(read("1e400").is_none());
        assert!(read("-1e400").is_none());
        assert!(read(&"9".repeat(400)).is_none());
    }

    proptest! {
        #[test]
        fn the_order_agrees_with_doubles_and_integers(a: f64, b: f64, i: i64, j: i64) {
            prop_assume!(a.is_finite() && b.is_finite());
            let (x, y) = (read(&format!("{a:e}")).unwrap(), read(&format!("{b:e}")).unwrap());
            prop_assert_eq!(Some(x.cmp(&y)), a.partial_cmp(&b));
            prop_assert_eq!(read(&i.to_string()).unwrap().cmp(&read(&j.to_string()).unwrap()), i.cmp(&j));
        }

        #[test]
        fn no_text_of_a_number_panics(text in "-?(0|[1-9][0-9]{0,60})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?") {
            read(&text);
        }
    }
}
