//! Tests on one text: how strings compare, and what else a string may be read as.

use std::{borrow::Cow, cmp::Ordering, fmt, net::IpAddr};

use memchr::memmem;

use super::{
    MAX_VERSION, Network, Version, VersionRange, Wildcard,
    budget::{ANY_CASE, COMPARED, COMPARISON, LOWERED, LOWERED_ASCII, PLAIN_VERSION, READING, SEARCH, SEARCHED},
    moment::read_time,
    network::read_address,
};
use crate::domain::Timestamp;

/// A comparison of strings. Where case is ignored, the text is held in lower case already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextTest {
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// Beyond EventBridge.
    Contains(Box<str>),
    PrefixIgnoreCase(Box<str>),
    SuffixIgnoreCase(Box<str>),
    ContainsIgnoreCase(Box<str>),
    EqualsIgnoreCase(Box<str>),
    Wildcard(Wildcard),
    Cidr(Network),
    /// Beyond EventBridge.
    Semver(VersionRange),
}

/// A part of a text that every value has which passes a test: where the index begins to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needle<'a> {
    Begins(&'a str),
    Ends(&'a str),
    Contains(&'a str),
}

/// A value on which several tests are tried: what it may be read as is read once.
#[derive(Debug)]
pub(super) struct Reading<'v> {
    text: &'v str,
    lowered: Option<Cow<'v, str>>,
    version: Option<Option<Version<&'v str>>>,
    address: Option<Option<IpAddr>>,
    time: Option<Option<Timestamp>>,
}

// === impl TextTest ===

impl TextTest {
    pub fn operator(&self) -> &'static str {
        match self {
            TextTest::Prefix(_) | TextTest::PrefixIgnoreCase(_) => "prefix",
            TextTest::Suffix(_) | TextTest::SuffixIgnoreCase(_) => "suffix",
            TextTest::Contains(_) | TextTest::ContainsIgnoreCase(_) => "contains",
            TextTest::EqualsIgnoreCase(_) => "equals-ignore-case",
            TextTest::Wildcard(_) => "wildcard",
            TextTest::Cidr(_) => "cidr",
            TextTest::Semver(_) => "semver",
        }
    }

    /// An order in which equal ones come together, and which means nothing else.
    pub(super) fn cmp_somehow(&self, other: &TextTest) -> Ordering {
        match (self.kind_and_text(), other.kind_and_text()) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, None) if self == other => Ordering::Equal,
            (None, None) => self.to_string().cmp(&other.to_string()),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    /// Of those that are made of one text.
    fn kind_and_text(&self) -> Option<(u8, &str)> {
        match self {
            TextTest::Prefix(text) => Some((0, text)),
            TextTest::Suffix(text) => Some((1, text)),
            TextTest::Contains(text) => Some((2, text)),
            TextTest::PrefixIgnoreCase(text) => Some((3, text)),
            TextTest::SuffixIgnoreCase(text) => Some((4, text)),
            TextTest::ContainsIgnoreCase(text) => Some((5, text)),
            TextTest::EqualsIgnoreCase(text) => Some((6, text)),
            TextTest::Wildcard(_) | TextTest::Cidr(_) | TextTest::Semver(_) => None,
        }
    }

    /// What can be looked for instead of trying the test; all of it is in every value that passes. Empty: nothing is known.
    pub(super) fn needles(&self) -> Vec<Needle<'_>> {
        match self {
            TextTest::Prefix(text) => vec![Needle::Begins(text)],
            TextTest::Suffix(text) => vec![Needle::Ends(text)],
            TextTest::Contains(text) => vec![Needle::Contains(text)],
            TextTest::Wildcard(wildcard) => wildcard.needles(),
            _ => Vec::new(),
        }
    }

    /// Whether it may go through a whole value, however long that is. All others look at no more of it than their own
    /// text is long.
    pub fn searches(&self) -> bool {
        matches!(self, TextTest::Contains(_) | TextTest::ContainsIgnoreCase(_) | TextTest::Wildcard(_))
    }

    pub fn matches(&self, value: &str) -> bool {
        self.holds(&mut Reading::of(value))
    }

    /// The same, with what the value was read as for other tests.
    pub(super) fn holds(&self, reading: &mut Reading<'_>) -> bool {
        let value = reading.text;
        match self {
            TextTest::Prefix(text) => value.starts_with(&**text),
            TextTest::Suffix(text) => value.ends_with(&**text),
            TextTest::Contains(text) => contains(value, text),
            TextTest::ContainsIgnoreCase(text) => contains(reading.lowered(), text),
            TextTest::PrefixIgnoreCase(text) => begins_in_any_case(value, text),
            TextTest::SuffixIgnoreCase(text) => ends_in_any_case(value, text),
            TextTest::EqualsIgnoreCase(text) => equals_in_any_case(value, text),
            TextTest::Wildcard(wildcard) => wildcard.matches(value),
            TextTest::Cidr(network) => reading.address().is_some_and(|address| network.holds(address)),
            TextTest::Semver(range) => reading.version().is_some_and(|version| range.holds(version)),
        }
    }

    /// What [`TextTest::holds`] costs at most, in units.
    pub(super) fn units(&self, reading: &Reading<'_>) -> usize {
        let value = reading.text;
        match self {
            TextTest::Prefix(text) | TextTest::Suffix(text) => COMPARISON + text.len().min(value.len()) / COMPARED,
            TextTest::PrefixIgnoreCase(text) | TextTest::SuffixIgnoreCase(text) | TextTest::EqualsIgnoreCase(text) => {
                COMPARISON + ANY_CASE + units_in_any_case(value, text)
            }
            TextTest::Contains(text) => SEARCH + SEARCHED * value.len() + text.len(),
            TextTest::ContainsIgnoreCase(text) => reading.units_lowered() + SEARCH + text.len(),
            TextTest::Wildcard(wildcard) => wildcard.units(value),
            TextTest::Cidr(_) => COMPARISON + if reading.address.is_none() { READING } else { 0 },
            TextTest::Semver(_) => {
                let parts = match value.len().min(MAX_VERSION) {
                    length @ ..=PLAIN_VERSION => length / COMPARED,
                    length => COMPARISON * length,
                };
                let read = if reading.version.is_none() { READING + parts } else { 0 };
                read + 2 * (COMPARISON + parts)
            }
        }
    }
}

// === impl Reading ===

impl<'v> Reading<'v> {
    pub fn of(text: &'v str) -> Reading<'v> {
        Reading { text, lowered: None, version: None, address: None, time: None }
    }

    fn lowered(&mut self) -> &str {
        self.lowered.get_or_insert_with(|| lowered_in_place(self.text))
    }

    /// What it costs at most to make all letters lower, if that is still to be done, and to search them.
    fn units_lowered(&self) -> usize {
        let length = self.text.len();
        match &self.lowered {
            Some(lowered) => SEARCHED * lowered.len(),
            None if self.text.is_ascii() => length / COMPARED + SEARCHED * length,
            // Lower letters are half as long again at most.
            None => {
                let beyond = self.text.bytes().filter(|byte| !byte.is_ascii()).count();
                beyond * LOWERED + (length - beyond) * LOWERED_ASCII + SEARCHED * (length + length / 2)
            }
        }
    }

    fn version(&mut self) -> Option<&Version<&'v str>> {
        self.version.get_or_insert_with(|| Version::read(self.text)).as_ref()
    }

    fn address(&mut self) -> Option<IpAddr> {
        *self.address.get_or_insert_with(|| read_address(self.text))
    }

    pub fn time(&mut self) -> Option<Timestamp> {
        *self.time.get_or_insert_with(|| read_time(self.text))
    }

    /// What [`Reading::time`] costs at most, in units.
    pub fn units_for_time(&self) -> usize {
        if self.time.is_none() { READING } else { COMPARISON }
    }
}

fn contains(value: &str, text: &str) -> bool {
    memmem::find(value.as_bytes(), text.as_bytes()).is_some()
}

// `text` is in lower case. Where no letter is beyond ASCII, many are compared at a time.

fn begins_in_any_case(value: &str, text: &str) -> bool {
    match value.as_bytes().get(..text.len()) {
        Some(beginning) if beginning.is_ascii() => beginning.eq_ignore_ascii_case(text.as_bytes()),
        // No letter of it gets longer.
        None if value.is_ascii() => false,
        _ => begins(value.chars().map(lower), text.chars()),
    }
}

fn ends_in_any_case(value: &str, text: &str) -> bool {
    match value.len().checked_sub(text.len()).map(|at| &value.as_bytes()[at..]) {
        Some(end) if end.is_ascii() => end.eq_ignore_ascii_case(text.as_bytes()),
        None if value.is_ascii() => false,
        _ => begins(value.chars().rev().map(lower), text.chars().rev()),
    }
}

fn equals_in_any_case(value: &str, text: &str) -> bool {
    // No letter takes more than so many times the bytes of its lower case.
    if value.len() > MOST_BYTES * text.len() {
        return false;
    }
    if value.is_ascii() { value.eq_ignore_ascii_case(text) } else { value.chars().map(lower).eq(text.chars()) }
}

/// The longest character, in bytes.
const MOST_BYTES: usize = 4;

/// What a comparison in any case costs at most: so many characters of the value are looked at as the test has.
fn units_in_any_case(value: &str, text: &str) -> usize {
    let looked_at = value.len().min(MOST_BYTES * text.len());
    let end = value.ceil_char_boundary(looked_at);
    let begin = value.floor_char_boundary(value.len() - looked_at);
    let is_ascii = value[..end].is_ascii() && value[begin..].is_ascii();
    if is_ascii { looked_at / COMPARED } else { looked_at / COMPARED + looked_at.min(text.len()) * LOWERED }
}

fn begins(mut value: impl Iterator<Item = char>, mut text: impl Iterator<Item = char>) -> bool {
    text.all(|c| value.next() == Some(c))
}

/// Unicode's simple lower-case mapping: the first character of the full one, which differs for `İ` alone.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

pub(super) fn lowered(text: &str) -> Box<str> {
    lowered_in_place(text).into()
}

fn lowered_in_place(text: &str) -> Cow<'_, str> {
    // Many bytes at a time, where every character is one.
    if text.is_ascii() { Cow::Owned(text.to_ascii_lowercase()) } else { text.chars().map(lower).collect() }
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextTest::Prefix(text) => write!(f, "starts with {text:?}"),
            TextTest::Suffix(text) => write!(f, "ends with {text:?}"),
            TextTest::Contains(text) => write!(f, "contains {text:?}"),
            TextTest::ContainsIgnoreCase(text) => write!(f, "contains {text:?} in any case"),
            TextTest::PrefixIgnoreCase(text) => write!(f, "starts with {text:?} in any case"),
            TextTest::SuffixIgnoreCase(text) => write!(f, "ends with {text:?} in any case"),
            TextTest::EqualsIgnoreCase(text) => write!(f, "is {text:?} in any case"),
            TextTest::Wildcard(wildcard) => write!(f, "is like {wildcard}"),
            TextTest::Cidr(network) => write!(f, "is an address of {network}"),
            TextTest::Semver(range) => write!(f, "is a version {range}"),
        }
    }
}
