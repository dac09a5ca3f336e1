//! Some clauses of one team and event type, side by side: which of them an event matches is found for all of them at once.
//!
//! A clause is a *row*, a field that any of them asks for is a *column*. For every answer that an event can give in a column
//! there is a bit for each row that accepts it; the matches are what remains of all rows when the columns have been AND-ed.
//! A row that does not ask for a field accepts every answer.
//!
//! ```text
//!                      rows  0 1 2 3 4 5
//! license_type  absent       1 0 0 1 1 0     accepted without a value: rows that do not ask, `exists: false`
//!               other        1 1 0 1 1 0     any value that no row names: rows that do not ask, `anything-but`, `exists: true`
//!               "paid"       1 0 1 1 1 0
//!               "trial"      1 1 0 1 1 1
//! ```
//!
//! - Texts stand in a dictionary under their hashes and are compared byte by byte, once an event, not once a match.
//! - Numbers fall between the bounds that some row names; each interval has its rows.
//! - Texts compared in part (prefixes, …) are tried once an event, whatever the number of rows that ask: [`Predicates`].
//! - What is none of these is left to plain evaluation of the rows that are still there.
//!
//! A column for which no row is left that asks is passed over, so those stand first that most rows fail in, and last those that are
//! dear to ask. Nearly always what does not ask accepts everything and what asks accepts nothing but what is named: of up to 64 rows
//! nothing is written down then but who asks.
//!
//! Up to 64 rows an answer is one word, and stands beside the text that it is for. Beyond that ([`many`](super::many))
//! the rows of a named value are written as a list of those that differ from `other`, where that is shorter; one or two stand with it. Where a column accepts few rows at all, only these are looked at: its value is the access
//! predicate of its rows (Fabret et al., "Filtering algorithms and implementation for very fast publish/subscribe systems", 2001).

use std::{ptr, slice, sync::Arc};

use prefetch_index::prefetch_index;
use triomphe::ThinArc;

#[cfg(test)]
use super::body::BodyMut;
use super::{
    body::{Body, Head, NONE},
    predicates::Predicates,
    table::LINE,
};
use crate::filter::{Number, Rule};

/// Immutable, and one piece of memory but for what is [`Apart`]: who looks at it waits for few lines, one behind another. All numbers are
/// places in its own arrays.
#[derive(Clone, Debug)]
pub struct Block(ThinArc<Apart, u64>);

/// What cannot be in the body of a block.
#[derive(Debug)]
pub(super) struct Apart {
    /// By row, in the order of subscription ids. A rule with several clauses has several rows, one after another.
    pub rules: Box<[Arc<Rule>]>,
    /// Most columns have none.
    pub dear: Box<[Dear]>,
}

/// What few columns have.
#[derive(Debug, Default)]
pub(super) struct Dear {
    pub wide: Option<Box<Wide>>,
    pub predicates: Option<Predicates>,
}

/// Bounds that are no whole numbers or beyond 61 bits, and intervals too many to be written out.
#[derive(Debug, Default)]
pub(super) struct Wide {
    /// Instead of keys.
    pub bounds: Option<Box<[Edge]>>,
    /// Every so many intervals one is written out; 0 and 1: all are.
    pub every: u32,
    /// The rows that change at each bound, and where those of a bound begin.
    pub turns: Box<[u32]>,
    pub starts: Box<[u32]>,
}

/// Where an interval begins: at a number, or right after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub number: Number,
    pub after: bool,
}

/// The sets of a column, in this order.
pub(super) const OTHER: usize = 0;
pub(super) const ABSENT: usize = 1;
/// Marks a handle of words rather than of a list.
pub(super) const DENSE: u32 = 1 << 31;
/// How many cache lines of an array are brought in before they are needed.
const FETCHED_LINES: usize = 8;
/// How many of what is dear.
const FETCHED_DEAR: usize = 2;

// === impl Block ===

impl Block {
    /// The body has columns; extras, what is asked of other values than texts; tags and values of all columns, within a column in the order
    /// of tags, then texts; words: the team and the event type, each in whole words, of each column the rows that ask, and whatever refers
    /// here; lists: sets of rows, as a length and so many rows, before them, with more than 64 rows, the sizes of each column's first two
    /// sets; texts that are not short.
    pub fn of(apart: Apart, body: &[u64]) -> Block {
        Block(ThinArc::from_header_and_slice(apart, body))
    }

    #[inline]
    pub(super) fn body(&self) -> Body<'_> {
        Body::of(&self.0.slice)
    }

    #[inline]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.0.header.header.rules
    }

    /// Bytes of what is neither in an array nor apart: counts, lengths, pointers, the head.
    pub(super) fn overhead(&self) -> usize {
        size_of_val(&self.0.header) + size_of::<usize>() + size_of::<Head>()
    }

    pub(super) fn dear(&self) -> &[Dear] {
        &self.0.header.header.dear
    }

    /// The very same.
    pub fn is(&self, other: &Block) -> bool {
        ptr::eq(&*self.0, &*other.0)
    }

    pub fn is_of(&self, team: &str, event_type: Option<&str>) -> bool {
        let type_bytes = event_type.map_or(NONE, |event_type| event_type.len() as u32);
        let Body { head, words, .. } = self.body();
        if (head.team_bytes, head.type_bytes) != (team.len() as u32, type_bytes) {
            return false;
        }
        let key = packed(team).chain(packed(event_type.unwrap_or_default()));
        words.iter().zip(key).all(|(known, word)| *known == word)
    }

    /// Has what every event needs brought into the cache, without waiting for it.
    pub fn fetch(&self) {
        prefetch_index(slice::from_ref(&self.0.header), 0);
        (0..FETCHED_LINES).for_each(|line| prefetch_index(&self.0.slice, line * LINE / size_of::<u64>()));
    }

    /// The same for what is apart.
    pub fn fetch_apart(&self) {
        let (rules, dear) = (self.rules(), self.dear());
        let lines = rules.len().min(FETCHED_LINES * LINE / size_of::<Arc<Rule>>());
        (0..lines).step_by(LINE / size_of::<Arc<Rule>>()).for_each(|rule| prefetch_index(rules, rule));
        (0..dear.len().min(FETCHED_DEAR)).for_each(|column| prefetch_index(dear, column));
    }

    /// Of each row, how many rows of another block have smaller ids.
    pub fn ranks_in(&self, other: &Block) -> Arc<[u32]> {
        let rank = |rule: &Arc<Rule>| {
            other.rules().partition_point(|known| known.subscription.id < rule.subscription.id) as u32
        };
        self.rules().iter().map(rank).collect()
    }

    /// The row of a rule that this block has given out, by where it stands.
    pub fn row_of(&self, rule: &Arc<Rule>) -> usize {
        (ptr::from_ref(rule).addr() - self.rules().as_ptr().addr()) / size_of::<Arc<Rule>>()
    }

    /// Team and event type.
    pub(super) fn key(&self) -> (String, Option<String>) {
        let text = |words: &[u64], bytes: u32| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).take(bytes as usize).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let Head { team_bytes, type_bytes, .. } = *self.body().head;
        let (team, rest) = self.body().words.split_at(team_bytes.div_ceil(8) as usize);
        (text(team, team_bytes), (type_bytes != NONE).then(|| text(rest, type_bytes)))
    }

    /// How many rows must be verified.
    pub(super) fn verified(&self) -> usize {
        let Body { head, words, .. } = self.body();
        let set = words.get(head.verified as usize..).unwrap_or_default();
        set.iter().take(self.width()).map(|word| word.count_ones() as usize).sum()
    }

    /// Words a set of rows takes.
    pub(super) fn width(&self) -> usize {
        width(self.rules().len())
    }
}

/// Words that a set of so many rows takes.
pub(super) fn width(rows: usize) -> usize {
    rows.div_ceil(64)
}

/// Bounds up to this are compared as [`whole_key`]s.
pub(super) const MAX_WHOLE: i128 = 1 << 61;

/// Whole numbers are even, what lies between them is odd, what is beyond the bounds is at the ends: the order of numbers,
/// as far as whole bounds can tell them apart.
pub(super) fn whole_key(number: &Number) -> i64 {
    match number {
        Number::Integer(whole) if *whole > MAX_WHOLE => i64::MAX,
        Number::Integer(whole) if *whole < -MAX_WHOLE => i64::MIN,
        Number::Integer(whole) => 2 * *whole as i64,
        Number::Real(real) if *real >= MAX_WHOLE as f64 => i64::MAX,
        Number::Real(real) if *real <= -(MAX_WHOLE as f64) => i64::MIN,
        Number::Real(real) => 2 * real.floor() as i64 + 1,
    }
}

/// A text in whole words, zeros behind it.
pub(super) fn packed(text: &str) -> impl Iterator<Item = u64> {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain((!rest.is_empty()).then_some(last))
}

/// To be spoilt, by who alone has it.
#[cfg(test)]
impl Block {
    pub fn spoil_body<T>(&mut self, spoil: impl FnOnce(BodyMut<'_>) -> T) -> T {
        self.0.with_arc_mut(|all| spoil(BodyMut(triomphe::Arc::get_mut(all).expect("alone").slice_mut())))
    }

    pub fn spoil_apart<T>(&mut self, spoil: impl FnOnce(&mut Apart) -> T) -> T {
        self.0.with_arc_mut(|all| spoil(triomphe::Arc::get_mut(all).expect("alone").header_mut()))
    }
}
