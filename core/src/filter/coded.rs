//! Names, texts and numbers behind one another in one text.
//!
//! Sizes and numbers are digits to base 64, the lowest first, all but the last with 64 added to them: each is a character of ASCII, so that
//! all of it is a text, out of which texts are taken as they are, behind their sizes.

use std::{mem, ops::Bound};

use super::number::{Number, Range};

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a str);

/// What has been written.
#[derive(Debug, Default)]
pub(super) struct Writer(pub String);

#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a>(pub Reader<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a>(pub Reader<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges<'a>(pub Reader<'a>);

// Kinds of a range's ends.
const UNBOUNDED: u32 = 0;
const INCLUDED: u32 = 1;
const EXCLUDED: u32 = 2;

/// Digits' base, and what marks one that others follow.
const BASE: u128 = 64;
const DIGIT_BITS: u32 = BASE.ilog2();
/// So many digits fit into a word. No number has more than twice as many.
const HALF: usize = 10;

// === impl Reader ===

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing is cut short in what a [`Writer`] wrote; of what were, the rest would be nothing.
    fn cut(&mut self, size: usize) -> &'a str {
        let (cut, left) = self.0.split_at_checked(size).unwrap_or_default();
        self.0 = left;
        cut
    }

    pub fn digits(&mut self) -> u32 {
        // Nearly always a single one.
        match self.0.as_bytes().first() {
            Some(digit) if u128::from(*digit) < BASE => {
                self.0 = &self.0[1..];
                u32::from(*digit)
            }
            _ => self.wide() as u32,
        }
    }

    fn wide(&mut self) -> u128 {
        let (mut low, mut high, mut read) = (0, 0, 0);
        for (place, digit) in self.0.bytes().take(2 * HALF).enumerate() {
            let (digit, more) = (u64::from(digit) % BASE as u64, u128::from(digit) >= BASE);
            match place.checked_sub(HALF) {
                None => low |= digit << (DIGIT_BITS * place as u32),
                Some(place) => high |= digit << (DIGIT_BITS * place as u32),
            }
            read = place + 1;
            if !more {
                break;
            }
        }
        self.0 = self.0.get(read..).unwrap_or_default();
        u128::from(low) | u128::from(high) << (DIGIT_BITS * HALF as u32)
    }

    pub fn text(&mut self) -> &'a str {
        let size = self.digits();
        self.cut(size as usize)
    }

    fn number(&mut self) -> Number {
        let bits = self.wide();
        match bits & 3 {
            0 => Number::Integer((bits >> 2) as i128),
            1 => Number::Integer(!((bits >> 2) as i128)),
            _ => Number::Real(f64::from_bits((bits >> 2) as u64)),
        }
    }

    fn bound(&mut self) -> Bound<Number> {
        match self.digits() {
            INCLUDED => Bound::Included(self.number()),
            EXCLUDED => Bound::Excluded(self.number()),
            _ => Bound::Unbounded,
        }
    }
}

impl Texts<'_> {
    /// Bytes that are gone through to read all.
    pub fn size(&self) -> usize {
        self.0.0.len()
    }
}

impl Numbers<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn size(&self) -> usize {
        self.0.0.len()
    }
}

impl Ranges<'_> {
    pub fn size(&self) -> usize {
        self.0.0.len()
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        (!self.0.is_empty()).then(|| self.0.text())
    }
}

impl Iterator for Numbers<'_> {
    type Item = Number;

    fn next(&mut self) -> Option<Number> {
        (!self.0.is_empty()).then(|| self.0.number())
    }
}

impl Iterator for Ranges<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        (!self.0.is_empty()).then(|| (self.0.bound(), self.0.bound()))
    }
}

// === impl Writer ===

impl Writer {
    fn wide(&mut self, mut value: u128) {
        while value >= BASE {
            self.0.push(char::from((value % BASE + BASE) as u8));
            value /= BASE;
        }
        self.0.push(char::from(value as u8));
    }

    pub fn digits(&mut self, value: u32) {
        self.wide(value.into());
    }

    pub fn string(&mut self, text: &str) {
        self.wide(text.len() as u128);
        self.0.push_str(text);
    }

    /// What `write` writes, behind its size.
    pub fn sized(&mut self, write: impl FnOnce(&mut Self)) {
        let before = mem::take(&mut self.0);
        write(self);
        let written = mem::replace(&mut self.0, before);
        self.string(&written);
    }

    /// Whether a number can be written: its highest bits say what it is.
    pub fn takes(number: Number) -> bool {
        match number {
            Number::Integer(whole) => whole.unsigned_abs() < 1 << 64,
            Number::Real(_) => true,
        }
    }

    pub fn number(&mut self, number: Number) {
        self.wide(match number {
            Number::Integer(whole) if whole >= 0 => (whole as u128) << 2,
            Number::Integer(whole) => (!whole as u128) << 2 | 1,
            Number::Real(real) => u128::from(real.to_bits()) << 2 | 2,
        });
    }

    pub fn bound(&mut self, bound: Bound<Number>) {
        match bound {
            Bound::Unbounded => self.digits(UNBOUNDED),
            Bound::Included(number) => {
                self.digits(INCLUDED);
                self.number(number);
            }
            Bound::Excluded(number) => {
                self.digits(EXCLUDED);
                self.number(number);
            }
        }
    }
}
