//! A block while an event is matched with it: its arrays are found once, not whenever one of them is asked.

use std::{slice, sync::Arc};

use prefetch_index::prefetch_index;

use super::{
    block::{Block, Dear, Edge, Wide, whole_key, width},
    body::{Body, Column, Extra, NONE, Value},
    found::{Found, Source},
    predicates::Predicates,
    scratch::Scratch,
    word::Word,
};
use crate::filter::{Number, Rule, literals::Scalar};

/// The arrays of a [`Block`].
#[derive(Clone, Copy)]
pub(super) struct Open<'i> {
    pub rules: &'i [Arc<Rule>],
    pub dear: &'i [Dear],
    pub body: Body<'i>,
}

/// Tags that are gone through one by one rather than searched, and those that are when a search has come so far; values of one tag; bounds
/// of numbers.
const FEW_VALUES: usize = 16;
const SOME_TAGS: usize = 96;
const FEW_SAME: usize = 8;
const FEW_BOUNDS: usize = 8;
/// So many words of rows are narrowed column by column.
const SOME_WORDS: usize = 16;

// === impl Open ===

impl<'i> Open<'i> {
    #[inline]
    pub fn of(block: &'i Block) -> Open<'i> {
        Open { rules: block.rules(), dear: block.dear(), body: block.body() }
    }

    /// Adds the rules that match, each once, in the order of their ids. `dead` are rows that are there no longer; it may be
    /// shorter than there are rows.
    pub fn matching<'a>(
        &self,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        match self.width() {
            0 | 1 => {}
            2..=SOME_WORDS => return self.matching_some(dead, source, scratch, found),
            _ => return self.matching_many(dead, source, scratch, found),
        }
        let mut candidates = u64::MAX >> (64 - self.rules.len().max(1) as u32);
        candidates &= !dead.first().copied().unwrap_or(0);
        let mut unclear = 0;
        let words = self.body.words;
        for (column, asking) in self.body.columns.iter().zip(&words[self.body.head.asking as usize..]) {
            if candidates & asking == 0 {
                continue;
            }
            let (other, absent) = match column.sets {
                NONE => (!asking, !asking),
                at => (words[at as usize], words[at as usize + 1]),
            };
            candidates &= match source.find(column.field, &mut scratch.many) {
                Found::Missing => absent,
                Found::One(scalar) => self.word(column, (candidates, other), scalar, &mut scratch.sets.hits),
                Found::Many => {
                    let (hits, rows) = (&mut scratch.sets.hits, (candidates, other));
                    let any = scratch.many.iter().fold(0, |any, scalar| any | self.word(column, rows, *scalar, hits));
                    scratch.many.clear();
                    any
                }
                Found::Unclear => {
                    unclear |= asking;
                    u64::MAX
                }
            };
            if candidates == 0 {
                return;
            }
        }
        self.emit(&[candidates], &[unclear], source, found);
    }

    /// The rows that accept a value, of at most 64, as far as they are candidates.
    fn word(&self, column: &Column, (candidates, other): (u64, u64), scalar: Scalar<'_>, hits: &mut Vec<u32>) -> u64 {
        let words = self.body.words;
        let extra = self.extra(column);
        let literal = match scalar {
            Scalar::Text(text) => {
                let named = self.value(column, text).map_or(other, Value::word);
                let Some(predicates) = self.predicates(extra) else { return named };
                let word = |handle: u32| if handle == NONE { 0 } else { words[handle as usize] };
                predicates.hold(text, hits, |adds, takes| (word(adds) | word(takes)) & candidates != 0);
                let held = hits.iter().map(|hit| predicates.rows(*hit));
                let (added, taken) =
                    held.fold((0, 0), |(added, taken), (adds, takes)| (added | word(adds), taken | word(takes)));
                hits.clear();
                return (named | added) & !taken;
            }
            Scalar::Number(number) => {
                let interval = extra.zip(number).and_then(|(extra, number)| {
                    let at = extra.interval(words, self.wide(extra), &number)?;
                    Some(words[extra.intervals as usize + at])
                });
                return interval.unwrap_or(other);
            }
            Scalar::Null => 0,
            Scalar::Boolean(boolean) => 1 + usize::from(boolean),
        };
        extra.map(|extra| extra.literals[literal]).filter(|place| *place != NONE).map_or(other, |at| words[at as usize])
    }

    #[inline]
    pub fn extra(&self, column: &Column) -> Option<&'i Extra> {
        if column.extra == NONE { None } else { self.body.extras.get(column.extra as usize) }
    }

    pub fn predicates(&self, extra: Option<&Extra>) -> Option<&'i Predicates> {
        self.dear.get(extra?.dear as usize)?.predicates.as_ref()
    }

    pub fn wide(&self, extra: &Extra) -> Option<&'i Wide> {
        self.dear.get(extra.dear as usize)?.wide.as_deref()
    }

    /// The entry of a text, if some row names it.
    pub fn value(&self, column: &Column, text: &str) -> Option<&'i Value> {
        let body = &self.body;
        let first = column.values as usize;
        let tags = &body.tags[first..][..column.count as usize];
        if tags.is_empty() {
            return None;
        }
        let word = Word::of(text.as_bytes());
        let start = lower_bound(tags, word.tag);
        let same = match tags.get(start + FEW_SAME) {
            Some(tag) if *tag == word.tag => tags[start..].partition_point(|tag| *tag == word.tag),
            _ => tags[start..].iter().take_while(|tag| **tag == word.tag).count(),
        };
        let same = &body.values[first + start..][..same];
        let order = |value: &Value| match word.is_long() {
            false => Word::cmp_short(value.bytes, word.bytes),
            true => Word::long_in(value.bytes, body.texts).cmp(text.as_bytes()),
        };
        // Nearly always one. Where somebody made many of the same hash, they stand in order.
        if same.len() <= FEW_SAME {
            return same.iter().find(|value| order(value).is_eq());
        }
        same.binary_search_by(order).ok().map(|at| &same[at])
    }

    /// The rules of these rows. Those that are `unclear` must be verified.
    pub fn emit<'a>(
        &self,
        candidates: &[u64],
        unclear: &[u64],
        source: &mut impl Source<'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let begin = found.len();
        let verified = self.set(self.body.head.verified);
        let repeats = self.set(self.body.head.repeats);
        found.reserve(candidates.iter().map(|word| word.count_ones() as usize).sum());
        for (place, (word, rules)) in candidates.iter().zip(self.rules.chunks(64)).enumerate() {
            let of = |set: &[u64]| set.get(place).copied().unwrap_or(0);
            let verify = of(verified) | of(unclear);
            if word & (verify | of(repeats)) == 0 {
                give_out(*word, rules, found);
                continue;
            }
            let mut left = *word;
            while left != 0 {
                let row = left.trailing_zeros() as usize;
                let bit = left & left.wrapping_neg();
                left ^= bit;
                verify_row(&rules[row], verify & bit != 0, begin, source, found);
            }
        }
    }

    /// A set of the block.
    pub fn set(&self, place: u32) -> &'i [u64] {
        if place == NONE { &[] } else { &self.body.words[place as usize..][..self.width()] }
    }

    /// Words a set of rows takes.
    pub fn width(&self) -> usize {
        width(self.rules.len())
    }
}

/// The rules of these bits. Bits cannot be foretold, so nothing is decided at each of them: there are so many, and each is written. Whoever
/// is given a rule looks at it, so it is on its way then.
#[inline]
fn give_out<'i>(mut bits: u64, rules: &'i [Arc<Rule>], found: &mut Vec<&'i Arc<Rule>>) {
    found.extend((0..bits.count_ones()).map(|_| {
        let rule = &rules[bits.trailing_zeros() as usize];
        bits &= bits.wrapping_sub(1);
        prefetch_index(slice::from_ref(&**rule), 0);
        rule
    }));
}

/// Rows of one rule stand side by side, so it is the last one if it is there.
pub(super) fn verify_row<'i, 'a>(
    rule: &'i Arc<Rule>,
    verify: bool,
    begin: usize,
    source: &mut impl Source<'a>,
    found: &mut Vec<&'i Arc<Rule>>,
) {
    if found[begin..].last().is_none_or(|last| !Arc::ptr_eq(last, rule)) && (!verify || source.holds(rule)) {
        prefetch_index(slice::from_ref(&**rule), 0);
        found.push(rule);
    }
}

// === impl Extra ===

impl Extra {
    /// The interval that a number lies in; `None` where no row names a number.
    pub(super) fn interval(&self, words: &[u64], wide: Option<&Wide>, number: &Number) -> Option<usize> {
        if let Some(bounds) = wide.and_then(|wide| wide.bounds.as_deref()) {
            let here = Edge { number: *number, after: false };
            return Some(bounds.partition_point(|edge| *edge <= here));
        }
        if self.intervals == NONE {
            return None;
        }
        let keys = &words[self.keys as usize..][..self.bounds as usize];
        let key = whole_key(number);
        Some(if keys.len() <= FEW_BOUNDS {
            keys.iter().filter(|bound| **bound as i64 <= key).count()
        } else {
            keys.partition_point(|bound| *bound as i64 <= key)
        })
    }
}

/// The first of at least this tag. Hashes are spread evenly, so the search begins near to where it should end.
#[inline]
fn lower_bound(tags: &[u32], tag: u32) -> usize {
    if tags.len() <= FEW_VALUES {
        return smaller(tags, tag);
    }
    let guess = ((u64::from(tag) * tags.len() as u64) >> 32) as usize;
    let reach = 8 + tags.len().isqrt();
    let (mut low, mut high) = (guess.saturating_sub(reach), (guess + reach).min(tags.len()));
    let within = (low == 0 || tags[low - 1] < tag) && (high == tags.len() || tags[high] >= tag);
    if !within {
        (low, high) = (0, tags.len());
    }
    while high - low > SOME_TAGS {
        let middle = low.midpoint(high);
        if tags[middle] < tag {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low + smaller(&tags[low..high], tag)
}

/// How many are smaller, whatever their order. Nothing is decided at each, since nobody can foretell it, and all are waited for at once.
#[inline]
fn smaller(tags: &[u32], tag: u32) -> usize {
    tags.iter().map(|known| u32::from(*known < tag)).sum::<u32>() as usize
}
