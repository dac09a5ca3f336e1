//! `{"wildcard": "app-*-[eu\*]"}`: texts with gaps, tried in one pass whatever they hold.
//!
//! A gap takes the shortest text that lets the next piece begin: if any choice fits, that one does, so nothing is ever
//! taken back, and a value is gone through once however many gaps there are.

use std::fmt;

use memchr::memmem;

use super::{
    budget::{COMPARED, SEARCH, SEARCHED},
    text::Needle,
};

/// The most gaps of one wildcard.
pub const MAX_GAPS: usize = 64;

/// Pieces of text that stand in this order, with anything or nothing between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    /// What a value begins with; all of it where no gap follows.
    first: Box<str>,
    /// What follows each gap; the last one is what a value ends with.
    after_gaps: Box<[Box<str>]>,
}

/// Why a text is no wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    TwoGapsInARow,
    Escape,
    TooManyGaps(usize),
}

// === impl Wildcard ===

impl Wildcard {
    /// `*` is a gap; `\*` and `\\` are the characters themselves.
    pub fn read(text: &str) -> Result<Wildcard, Malformed> {
        let mut pieces = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '*' if characters.peek() == Some(&'*') => return Err(Malformed::TwoGapsInARow),
                '*' => pieces.push(String::new()),
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => push(&mut pieces, escaped),
                    _ => return Err(Malformed::Escape),
                },
                plain => push(&mut pieces, plain),
            }
        }
        let mut pieces = pieces.into_iter().map(String::into_boxed_str);
        let (first, after_gaps) = (pieces.next().unwrap_or_default(), pieces.collect::<Box<[_]>>());
        match after_gaps.len() {
            gaps if gaps > MAX_GAPS => Err(Malformed::TooManyGaps(gaps)),
            _ => Ok(Wildcard { first, after_gaps }),
        }
    }

    /// Every piece, as what a value must begin with, end with or contain.
    pub(super) fn needles(&self) -> Vec<Needle<'_>> {
        let mut needles = vec![Needle::Begins(&self.first)];
        if let Some((last, middle)) = self.after_gaps.split_last() {
            needles.push(Needle::Ends(last));
            needles.extend(middle.iter().map(|piece| Needle::Contains(piece)));
        }
        needles
    }

    pub fn matches(&self, value: &str) -> bool {
        let Some((last, middle)) = self.after_gaps.split_last() else { return value == &*self.first };
        // The ends are fixed, so they are cut off before the pieces between them are looked for.
        let rest = value.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&**last));
        let Some(mut rest) = rest else { return false };
        for piece in middle {
            match memmem::find(rest.as_bytes(), piece.as_bytes()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    /// What [`Wildcard::matches`] costs at most: the value is gone through once, with a search for each piece.
    pub(super) fn units(&self, value: &str) -> usize {
        let pieces: usize = self.after_gaps.iter().map(|piece| SEARCH + piece.len()).sum();
        let searched = if self.after_gaps.len() > 1 { value.len() } else { 0 };
        pieces + self.first.len().min(value.len()) / COMPARED + SEARCHED * searched
    }

    /// What every value begins with and what it ends with, and the pieces between: for engines that look them up.
    pub fn pieces(&self) -> (&str, &[Box<str>]) {
        (&self.first, &self.after_gaps)
    }
}

fn push(pieces: &mut [String], c: char) {
    if let Some(piece) = pieces.last_mut() {
        piece.push(c);
    }
}

impl fmt::Display for Wildcard {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |piece: &str| piece.replace('\\', r"\\").replace('*', r"\*");
        let mut text = escaped(&self.first);
        for piece in &self.after_gaps {
            text.push('*');
            text.push_str(&escaped(piece));
        }
        write!(f, "{text:?}")
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::TwoGapsInARow => f.write_str("two * in a row"),
            Malformed::Escape => f.write_str(r"a \ before neither * nor \"),
            Malformed::TooManyGaps(gaps) => write!(f, "{gaps} *"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The meaning itself, with every choice tried.
    fn by_definition(pattern: &[char], value: &[char]) -> bool {
        match pattern {
            [] => value.is_empty(),
            ['*', rest @ ..] => (0..=value.len()).any(|taken| by_definition(rest, &value[taken..])),
            ['\\', c, rest @ ..] | [c, rest @ ..] => value.first() == Some(c) && by_definition(rest, &value[1..]),
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        let check = |text: &str, expected: Malformed| assert_eq!(Wildcard::read(text), Err(expected), "{text}");
        check("a**b", Malformed::TwoGapsInARow);
        check(r"a\b", Malformed::Escape);
        check(r"a\", Malformed::Escape);
        check(&"a*".repeat(MAX_GAPS + 1), Malformed::TooManyGaps(MAX_GAPS + 1));
        assert!(Wildcard::read(&"a*".repeat(MAX_GAPS)).is_ok());
        assert_eq!(Wildcard::read(r"a\**\\").unwrap().to_string(), format!("{:?}", r"a\**\\"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn one_pass_finds_what_trying_everything_finds(
            parts in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("é"), Just("*"), Just(r"\*")], 0..8),
            value in "[abé*]{0,10}",
        ) {
            let mut text = parts.concat();
            // Two in a row are refused: one has the same meaning.
            while text.contains("**") {
                text = text.replace("**", "*");
            }
            let wildcard = Wildcard::read(&text).unwrap();
            let (pattern, characters): (Vec<char>, Vec<char>) = (text.chars().collect(), value.chars().collect());
            prop_assert_eq!(wildcard.matches(&value), by_definition(&pattern, &characters), "{} {}", text, value);
        }
    }
}
