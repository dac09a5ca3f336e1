//! Texts that are compared in part: each distinct one of a column is tried once an event, however many rows ask for it.
//!
//! Few are simply tried. Many are found from the value: prefixes and suffixes by their lengths and hashes, what must contain
//! some three bytes by the values' own threes. So the time depends on the value's length and on what is found.

use std::collections::BTreeMap;

use super::hash::hash;
use crate::filter::{
    TextTest,
    text::{Needle, Reading},
};

#[derive(Debug)]
pub struct Predicates {
    tests: Box<[Predicate]>,
    finder: Option<Box<Finder>>,
}

/// A test and its rows.
#[derive(Debug)]
pub struct Predicate {
    pub test: TextTest,
    /// A handle of the rows that accept what passes; or [`NONE`](super::body::NONE).
    pub adds: u32,
    /// A handle of the rows that refuse what passes; or [`NONE`](super::body::NONE).
    pub takes: u32,
}

/// Finds the tests that a value may pass; each of them is then tried.
#[derive(Debug, Default)]
struct Finder {
    prefixes: Vec<OfLength>,
    suffixes: Vec<OfLength>,
    /// By three bytes that must occur, in order.
    threes: Box<[(u32, u32)]>,
    /// A bit for every three bytes asked for, by their hash.
    seen: Box<[u64]>,
    /// What nothing is known of.
    others: Box<[u32]>,
}

/// Hashes of texts of one length, in order, with the number of their test.
#[derive(Debug)]
struct OfLength {
    length: usize,
    hashes: Vec<(u64, u32)>,
}

/// So many are tried one by one.
const FEW: usize = 8;
/// What the text of a test takes, more or less.
const TEXT_BYTES: usize = 16;
/// Bits of [`Finder::seen`] for each that is set: of the threes of a value, so few are looked for in vain.
const BITS_EACH: usize = 16;
/// Bits of [`Finder::seen`] at most, as a power of two.
const MAX_SEEN_BITS: u32 = 16;

// === impl Predicates ===

impl Predicates {
    pub fn new(tests: Vec<Predicate>) -> Predicates {
        let finder = (tests.len() > FEW).then(|| Box::new(Finder::new(&tests)));
        Predicates { tests: tests.into(), finder }
    }

    /// Adds the numbers of the tests that the text passes, each once, of those that are wanted, by their rows.
    pub fn hold(&self, text: &str, hits: &mut Vec<u32>, wanted: impl Fn(u32, u32) -> bool) {
        let mut reading = Reading::of(text);
        let mut holds = |Predicate { test, adds, takes }: &Predicate| wanted(*adds, *takes) && test.holds(&mut reading);
        let Some(finder) = &self.finder else {
            let passed = self.tests.iter().enumerate().filter(|(_, predicate)| holds(predicate));
            return hits.extend(passed.map(|(number, _)| number as u32));
        };
        finder.candidates(text.as_bytes(), hits);
        hits.retain(|number| holds(&self.tests[*number as usize]));
    }

    /// The handles of what a test adds and what it takes away.
    pub fn rows(&self, number: u32) -> (u32, u32) {
        let Predicate { adds, takes, .. } = &self.tests[number as usize];
        (*adds, *takes)
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    pub fn bytes(&self) -> usize {
        let finder = self.finder.as_ref().map_or(0, |finder| {
            let listed = finder.prefixes.iter().chain(&finder.suffixes).map(|of| of.hashes.len() * 16 + 32);
            size_of::<Finder>() + listed.sum::<usize>() + finder.threes.len() * 8 + finder.seen.len() * 8
        });
        self.tests.len() * (size_of::<Predicate>() + TEXT_BYTES) + finder
    }
}

// === impl Finder ===

impl Finder {
    fn new(tests: &[Predicate]) -> Finder {
        let (mut threes, mut others) = (Vec::new(), Vec::new());
        let mut finder = Finder::default();
        // Of all that can be looked for, each test is filed under what the fewest others have too.
        let mut crowds: BTreeMap<Needle<'_>, usize> = BTreeMap::new();
        let needles: Vec<Vec<Needle<'_>>> = tests.iter().map(|predicate| usable(&predicate.test)).collect();
        needles.iter().flatten().for_each(|needle| *crowds.entry(*needle).or_default() += 1);
        for (number, needles) in needles.iter().enumerate() {
            let number = number as u32;
            match needles.iter().min_by_key(|needle| crowds.get(needle)) {
                Some(Needle::Begins(text)) => insert(&mut finder.prefixes, text, number),
                Some(Needle::Ends(text)) => insert(&mut finder.suffixes, text, number),
                Some(Needle::Contains(text)) => {
                    threes.push((last_three(text).unwrap_or_default(), number));
                }
                None => others.push(number),
            }
        }
        threes.sort_unstable();
        let bits = (threes.len() * BITS_EACH).next_power_of_two().trailing_zeros().clamp(6, MAX_SEEN_BITS);
        finder.seen = vec![0; 1 << (bits - 6)].into();
        for (three, _) in &threes {
            let (word, bit) = finder.place(*three);
            finder.seen[word] |= bit;
        }
        for of in finder.prefixes.iter_mut().chain(&mut finder.suffixes) {
            of.hashes.sort_unstable();
        }
        Finder { threes: threes.into(), others: others.into(), ..finder }
    }

    fn candidates(&self, text: &[u8], hits: &mut Vec<u32>) {
        hits.extend_from_slice(&self.others);
        for of in self.prefixes.iter().take_while(|of| of.length <= text.len()) {
            of.find(&text[..of.length], hits);
        }
        for of in self.suffixes.iter().take_while(|of| of.length <= text.len()) {
            of.find(&text[text.len() - of.length..], hits);
        }
        if self.threes.is_empty() {
            return;
        }
        let begin = hits.len();
        for window in text.windows(3) {
            let three = three_of(window);
            let (word, bit) = self.place(three);
            if self.seen[word] & bit != 0 {
                let first = self.threes.partition_point(|(known, _)| *known < three);
                hits.extend(
                    self.threes[first..].iter().take_while(|(known, _)| *known == three).map(|(_, test)| *test),
                );
                // The same three bytes may come again and again.
                if hits.len() - begin > 2 * self.threes.len() {
                    distinct_from(hits, begin);
                }
            }
        }
        distinct_from(hits, begin);
    }

    /// Where the bit of three bytes stands: the lower bits of a hash say in which word, which are a power of two.
    fn place(&self, three: u32) -> (usize, u64) {
        let hash = three.wrapping_mul(0x9E37_79B1) >> (u32::BITS - MAX_SEEN_BITS);
        ((hash as usize / 64) & (self.seen.len() - 1), 1 << (hash % 64))
    }
}

fn distinct_from(hits: &mut Vec<u32>, begin: usize) {
    hits[begin..].sort_unstable();
    let mut kept = begin;
    for at in begin..hits.len() {
        if kept == begin || hits[kept - 1] != hits[at] {
            hits[kept] = hits[at];
            kept += 1;
        }
    }
    hits.truncate(kept);
}

/// In the order of lengths.
fn insert(lengths: &mut Vec<OfLength>, text: &str, number: u32) {
    let at = lengths.partition_point(|of| of.length < text.len());
    if lengths.get(at).is_none_or(|of| of.length != text.len()) {
        lengths.insert(at, OfLength { length: text.len(), hashes: Vec::new() });
    }
    lengths[at].hashes.push((hash(text.as_bytes()), number));
}

// === impl OfLength ===

impl OfLength {
    fn find(&self, part: &[u8], hits: &mut Vec<u32>) {
        let hash = hash(part);
        let first = self.hashes.partition_point(|(known, _)| *known < hash);
        hits.extend(self.hashes[first..].iter().take_while(|(known, _)| *known == hash).map(|(_, number)| *number));
    }
}

/// What can be looked for: no empty texts, and of what may stand anywhere only what has three bytes.
fn usable(test: &TextTest) -> Vec<Needle<'_>> {
    let mut needles = test.needles();
    needles.retain(|needle| match needle {
        Needle::Begins(text) | Needle::Ends(text) => !text.is_empty(),
        Needle::Contains(text) => last_three(text).is_some(),
    });
    needles
}

/// The last ones, since names begin alike more often than they end alike.
fn last_three(text: &str) -> Option<u32> {
    text.as_bytes().last_chunk::<3>().map(|three| three_of(three))
}

fn three_of(three: &[u8]) -> u32 {
    u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2])
}
