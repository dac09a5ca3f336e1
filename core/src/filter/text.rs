//! Tests on one text: how strings compare, and what else a string may be read as.

use std::fmt;

use super::{Network, VersionRange, Wildcard};

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
        match self {
            TextTest::Prefix(text) => value.starts_with(&**text),
            TextTest::Suffix(text) => value.ends_with(&**text),
            TextTest::Contains(text) => value.contains(&**text),
            // Many bytes at a time, where every character is one.
            TextTest::ContainsIgnoreCase(text) if value.is_ascii() => value.to_ascii_lowercase().contains(&**text),
            TextTest::ContainsIgnoreCase(text) => lowered(value).contains(&**text),
            TextTest::PrefixIgnoreCase(text) => begins(value.chars().map(lower), text.chars()),
            TextTest::SuffixIgnoreCase(text) => begins(value.chars().rev().map(lower), text.chars().rev()),
            TextTest::EqualsIgnoreCase(text) => value.chars().map(lower).eq(text.chars()),
            TextTest::Wildcard(wildcard) => wildcard.matches(value),
            TextTest::Cidr(network) => network.contains(value),
            TextTest::Semver(range) => range.contains(value),
        }
    }
}

fn begins(mut value: impl Iterator<Item = char>, mut text: impl Iterator<Item = char>) -> bool {
    text.all(|c| value.next() == Some(c))
}

/// Unicode's simple lower-case mapping: the first character of the full one, which differs for `İ` alone.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

pub(super) fn lowered(text: &str) -> Box<str> {
    text.chars().map(lower).collect::<String>().into()
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
