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
//! Up to 64 rows an answer is one word. Beyond that the rows of a named value are written as a list of those that differ from
//! `other`, where that is shorter. Where a column accepts few rows at all, only these are looked at: its value is the access
//! predicate of its rows (Fabret et al., "Filtering algorithms and implementation for very fast publish/subscribe systems", 2001).

use std::sync::Arc;

use super::{
    found::{Found, Source},
    hash::hash,
    predicates::Predicates,
};
use crate::filter::{Number, Rule, alternatives::Scalar};

/// Immutable. All numbers are places in its own arrays.
#[derive(Debug)]
pub struct Block {
    /// By row, in the order of subscription ids. A rule with several clauses has several rows, one after another.
    pub(super) rules: Box<[Arc<Rule>]>,
    pub(super) columns: Box<[Column]>,
    /// Of all columns, and one more, which ends the last text. Within a column in the order of hashes, then texts.
    pub(super) values: Box<[Value]>,
    /// Sets of rows: of each column `other` and `absent`, of the block the rows to be verified, and whatever else refers here.
    pub(super) words: Box<[u64]>,
    /// Sets of rows, as a length and so many rows. With more than 64 rows, the sizes of each column's first two sets stand before.
    pub(super) lists: Box<[u32]>,
    /// Team, event type, values.
    pub(super) texts: Box<[u8]>,
    pub(super) extras: Box<[Extra]>,
    pub(super) team_bytes: u32,
    /// [`NONE`]: of any type.
    pub(super) type_bytes: u32,
    /// Some rows must be verified.
    pub(super) verifies: bool,
}

/// A field, or its second condition where one clause has two.
#[derive(Debug)]
pub(super) struct Column {
    pub field: u32,
    /// Where its values begin, and how many there are.
    pub values: u32,
    pub count: u32,
    /// Answers other than texts; [`NONE`] where no row distinguishes them.
    pub extra: u32,
}

#[derive(Debug)]
pub(super) struct Value {
    pub hash: u32,
    /// Where its text begins; it ends where the next one's does.
    pub text: u32,
    /// Up to 64 rows: the place of the word of those that accept it. Beyond: a handle of those that differ from `other`, or, if
    /// dense, of those that accept it.
    pub rows: u32,
}

/// Answers of a column other than texts.
#[derive(Debug)]
pub(super) struct Extra {
    /// Words for `null`, `false`, `true`; [`NONE`] where they are like any other value.
    pub literals: [u32; 3],
    /// How many bounds of numbers there are.
    pub bounds: u32,
    /// Where the bounds stand among the words, as [`whole_key`]s.
    pub keys: u32,
    /// Where the rows of the intervals stand, one more than bounds; [`NONE`] where numbers are like any other value.
    pub intervals: u32,
    pub wide: Option<Box<Wide>>,
    pub predicates: Option<Box<Predicates>>,
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

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Marks a handle of words rather than of a list.
pub(super) const DENSE: u32 = 1 << 31;
/// Values that are gone through one by one rather than searched.
const FEW_VALUES: usize = 8;
/// Answers of one array that are compared one by one rather than sorted.
const FEW_ANSWERS: usize = 16;

/// A set of rows.
#[derive(Clone, Copy)]
enum Rows<'i> {
    Words(&'i [u64]),
    /// In order.
    List(&'i [u32]),
}

/// Which rows accept one value of the event: those of `words`, but for the `flips`, where it is the other way round.
#[derive(Clone, Copy)]
struct Answer<'i> {
    words: &'i [u64],
    flips: &'i [u32],
    /// The flips stand in order, each once.
    sorted: bool,
    /// How many rows `words` has, if that is known.
    size: Option<u32>,
    /// Where the predicates that hold begin and end.
    first_hit: u32,
    last_hit: u32,
}

/// Room for one event, used again for the next block.
#[derive(Default)]
pub struct Scratch<'i, 'a> {
    many: Vec<Scalar<'a>>,
    hits: Vec<u32>,
    /// Rows that a predicate adds or, if true, takes away.
    held: Vec<(Rows<'i>, bool)>,
    answers: Vec<Answer<'i>>,
    /// By column, where its answers end.
    ends: Vec<usize>,
    candidates: Vec<u64>,
    accepted: Vec<u64>,
    one: Vec<u64>,
    list: Vec<u32>,
}

// === impl Block ===

impl Block {
    pub fn is_of(&self, team: &str, event_type: Option<&str>) -> bool {
        let (known_team, rest) = self.texts.split_at(self.team_bytes as usize);
        known_team == team.as_bytes()
            && match event_type {
                None => self.type_bytes == NONE,
                Some(event_type) => {
                    self.type_bytes != NONE && &rest[..self.type_bytes as usize] == event_type.as_bytes()
                }
            }
    }

    /// Adds the rules that match, each once, in the order of their ids. `dead` are rows that are there no longer; it may be
    /// shorter than there are rows.
    pub fn matching<'i, 'a>(
        &'i self,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        if self.rules.len() > 64 {
            return self.matching_many(dead, source, scratch, found);
        }
        let mut candidates = u64::MAX >> (64 - self.rules.len().max(1) as u32);
        candidates &= !dead.first().copied().unwrap_or(0);
        let mut unclear = false;
        for (place, column) in self.columns.iter().enumerate() {
            let (other, absent) = (self.words[2 * place], self.words[2 * place + 1]);
            candidates &= match source.find(column.field, &mut scratch.many) {
                Found::Missing => absent,
                Found::One(scalar) => self.word(column, other, scalar, &mut scratch.hits),
                Found::Many => {
                    let hits = &mut scratch.hits;
                    let any = scratch.many.iter().fold(0, |any, scalar| any | self.word(column, other, *scalar, hits));
                    scratch.many.clear();
                    any
                }
                Found::Unclear => {
                    unclear = true;
                    u64::MAX
                }
            };
            if candidates == 0 {
                return;
            }
        }
        self.emit(&[candidates], unclear, source, found);
    }

    /// The rows that accept a value, of at most 64.
    fn word(&self, column: &Column, other: u64, scalar: Scalar<'_>, hits: &mut Vec<u32>) -> u64 {
        let extra = self.extras.get(column.extra as usize);
        let literal = match scalar {
            Scalar::Text(text) => {
                let named = self.value(column, text).map_or(other, |value| self.words[value.rows as usize]);
                let Some(predicates) = extra.and_then(|extra| extra.predicates.as_deref()) else { return named };
                predicates.hold(text, hits);
                let held = hits.iter().map(|hit| predicates.rows(*hit));
                let (added, taken) = held.fold((0, 0), |(added, taken), (adds, takes)| {
                    let word = |handle: u32| if handle == NONE { 0 } else { self.words[handle as usize] };
                    (added | word(adds), taken | word(takes))
                });
                hits.clear();
                return (named | added) & !taken;
            }
            Scalar::Number(number) => {
                let interval = extra.zip(number).and_then(|(extra, number)| {
                    let at = extra.interval(&self.words, &number)?;
                    Some(self.words[extra.intervals as usize + at])
                });
                return interval.unwrap_or(other);
            }
            Scalar::Null => 0,
            Scalar::Boolean(boolean) => 1 + usize::from(boolean),
        };
        extra
            .map(|extra| extra.literals[literal])
            .filter(|place| *place != NONE)
            .map_or(other, |at| self.words[at as usize])
    }

    /// The entry of a text, if some row names it.
    fn value(&self, column: &Column, text: &str) -> Option<&Value> {
        let first = column.values as usize;
        let values = &self.values[first..first + column.count as usize];
        if values.is_empty() {
            return None;
        }
        let hash = hash(text.as_bytes()) as u32;
        let start = if values.len() <= FEW_VALUES {
            values.iter().position(|value| value.hash == hash)?
        } else {
            lower_bound(values, hash)
        };
        let same = values[start..].iter().take_while(|value| value.hash == hash).count();
        let of = |at: usize| {
            let at = first + start + at;
            &self.texts[self.values[at].text as usize..self.values[at + 1].text as usize]
        };
        // Nearly always one. Where somebody made many of the same hash, they stand in order.
        let at = if same <= FEW_VALUES {
            (0..same).find(|at| of(*at) == text.as_bytes())?
        } else {
            let (mut low, mut high) = (0, same);
            while low < high {
                let middle = usize::midpoint(low, high);
                if of(middle) < text.as_bytes() { low = middle + 1 } else { high = middle }
            }
            Some(low).filter(|at| *at < same && of(*at) == text.as_bytes())?
        };
        Some(&values[start + at])
    }

    /// The rules of these rows.
    fn emit<'i, 'a>(
        &'i self,
        candidates: &[u64],
        unclear: bool,
        source: &mut impl Source<'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let words = self.width();
        let verified = 2 * self.columns.len() * words;
        let begin = found.len();
        found.reserve(candidates.iter().map(|word| word.count_ones() as usize).sum());
        for (place, word) in candidates.iter().enumerate() {
            let verify = if unclear {
                u64::MAX
            } else if self.verifies {
                self.words[verified + place]
            } else {
                0
            };
            let mut left = *word;
            while left != 0 {
                let row = place * 64 + left.trailing_zeros() as usize;
                let bit = left & left.wrapping_neg();
                left ^= bit;
                self.emit_row(row, verify & bit != 0, begin, source, found);
            }
        }
    }

    fn emit_row<'i, 'a>(
        &'i self,
        row: usize,
        verify: bool,
        begin: usize,
        source: &mut impl Source<'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let rule = &self.rules[row];
        // Rows of one rule stand side by side.
        if found[begin..].last().is_some_and(|last| Arc::ptr_eq(last, rule)) || (verify && !source.holds(rule)) {
            return;
        }
        found.push(rule);
    }

    /// Team and event type.
    pub(super) fn key(&self) -> (String, Option<String>) {
        let (team, rest) = self.texts.split_at(self.team_bytes as usize);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(team), (self.type_bytes != NONE).then(|| text(&rest[..self.type_bytes as usize])))
    }

    /// How many rows must be verified.
    pub(super) fn verified(&self) -> usize {
        let first = 2 * self.columns.len() * self.width();
        let rows = if self.verifies { &self.words[first..first + self.width()] } else { &[] };
        rows.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Words a set of rows takes.
    pub(super) fn width(&self) -> usize {
        self.rules.len().div_ceil(64)
    }
}

// === impl Block, of more than 64 rows ===

impl Block {
    fn matching_many<'i, 'a>(
        &'i self,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let Some(unclear) = self.answer(source, scratch) else { return };
        if let Some(driver) = self.driver(scratch) {
            return self.matching_few(driver, dead, unclear, source, scratch, found);
        }
        let width = self.width();
        let Scratch { held, answers, ends, candidates, accepted, one, list, .. } = scratch;
        candidates.clear();
        candidates.resize(width, u64::MAX);
        if !self.rules.len().is_multiple_of(64) {
            candidates[width - 1] = u64::MAX >> (64 - self.rules.len() % 64);
        }
        candidates.iter_mut().zip(dead).for_each(|(candidates, dead)| *candidates &= !dead);
        let mut start = 0;
        for end in ends.iter() {
            match &answers[start..*end] {
                [] => {}
                [alone] if alone.first_hit == alone.last_hit && alone.sorted => narrow(candidates, alone, list),
                several => {
                    accepted.clear();
                    accepted.resize(width, 0);
                    for answer in several {
                        answer.write(held, one);
                        accepted.iter_mut().zip(&*one).for_each(|(accepted, one)| *accepted |= one);
                    }
                    candidates.iter_mut().zip(&*accepted).for_each(|(candidates, accepted)| *candidates &= accepted);
                }
            }
            start = *end;
        }
        let candidates = std::mem::take(&mut scratch.candidates);
        self.emit(&candidates, unclear, source, found);
        scratch.candidates = candidates;
    }

    /// What the event answers in each column, into `scratch`; whether something is unclear. `None` if no row is left.
    fn answer<'i, 'a>(&'i self, source: &mut impl Source<'a>, scratch: &mut Scratch<'i, 'a>) -> Option<bool> {
        let width = self.width();
        let mut unclear = false;
        scratch.answers.clear();
        scratch.ends.clear();
        scratch.held.clear();
        for (place, column) in self.columns.iter().enumerate() {
            let set = |nth: usize| Answer {
                words: &self.words[(2 * place + nth) * width..][..width],
                flips: &[],
                sorted: true,
                size: Some(self.lists[2 * place + nth]),
                first_hit: 0,
                last_hit: 0,
            };
            let first = scratch.answers.len();
            match source.find(column.field, &mut scratch.many) {
                Found::Missing => {
                    let absent = set(1);
                    if absent.size == Some(0) {
                        return None;
                    }
                    scratch.answers.push(absent);
                }
                Found::One(scalar) => {
                    let answer = self.answer_of(column, set(0), scalar, scratch);
                    scratch.answers.push(answer);
                }
                Found::Many => {
                    let mut many = std::mem::take(&mut scratch.many);
                    for scalar in many.drain(..) {
                        let answer = self.answer_of(column, set(0), scalar, scratch);
                        // Values without a name share an answer.
                        let few = &scratch.answers[first..];
                        if few.len() > FEW_ANSWERS || !few.iter().any(|known| known.is_same(&answer)) {
                            scratch.answers.push(answer);
                        }
                    }
                    distinct_from(&mut scratch.answers, first);
                    scratch.many = many;
                }
                Found::Unclear => unclear = true,
            }
            scratch.ends.push(scratch.answers.len());
        }
        Some(unclear)
    }

    fn answer_of<'i>(
        &'i self,
        column: &Column,
        other: Answer<'i>,
        scalar: Scalar<'_>,
        scratch: &mut Scratch<'i, '_>,
    ) -> Answer<'i> {
        let width = self.width();
        let extra = self.extras.get(column.extra as usize);
        let dense = |at: u32| Answer { words: &self.words[at as usize..][..width], size: None, ..other };
        let literal = match scalar {
            Scalar::Text(text) => {
                let mut answer = match self.value(column, text).map(|value| value.rows) {
                    None => other,
                    Some(handle) => match self.rows(handle) {
                        Rows::Words(words) => Answer { words, size: None, ..other },
                        Rows::List(flips) => Answer { flips, ..other },
                    },
                };
                if let Some(predicates) = extra.and_then(|extra| extra.predicates.as_deref()) {
                    predicates.hold(text, &mut scratch.hits);
                    answer.first_hit = scratch.held.len() as u32;
                    for (adds, takes) in scratch.hits.drain(..).map(|hit| predicates.rows(hit)) {
                        scratch.held.extend((adds != NONE).then(|| (self.rows(adds), false)));
                        scratch.held.extend((takes != NONE).then(|| (self.rows(takes), true)));
                    }
                    answer.last_hit = scratch.held.len() as u32;
                }
                return answer;
            }
            Scalar::Number(number) => {
                let interval = extra.zip(number).and_then(|(extra, number)| {
                    let at = extra.interval(&self.words, &number)?;
                    let wide = extra.wide.as_deref().filter(|wide| wide.every > 1);
                    let Some(wide) = wide else { return Some(dense(extra.intervals + (at * width) as u32)) };
                    let every = wide.every as usize;
                    let written = dense(extra.intervals + (at / every * width) as u32);
                    let turns = wide.starts[at / every * every] as usize..wide.starts[at] as usize;
                    Some(Answer { flips: &wide.turns[turns], sorted: false, ..written })
                });
                return interval.unwrap_or(other);
            }
            Scalar::Null => 0,
            Scalar::Boolean(boolean) => 1 + usize::from(boolean),
        };
        extra.map(|extra| extra.literals[literal]).filter(|place| *place != NONE).map_or(other, dense)
    }

    fn rows(&self, handle: u32) -> Rows<'_> {
        let at = (handle & !DENSE) as usize;
        if handle & DENSE != 0 {
            Rows::Words(&self.words[at..][..self.width()])
        } else {
            Rows::List(&self.lists[at + 1..][..self.lists[at] as usize])
        }
    }

    /// The column whose answers accept the fewest rows, if they are so few that looking at each is less work than looking at all.
    fn driver(&self, scratch: &Scratch<'_, '_>) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut start = 0;
        for (place, end) in scratch.ends.iter().enumerate() {
            let answers = &scratch.answers[start..*end];
            start = *end;
            let listed = |answer: &Answer<'_>| answer.size == Some(0) && answer.first_hit == answer.last_hit;
            if answers.is_empty() || !answers.iter().all(listed) {
                continue;
            }
            let rows = answers.iter().map(|answer| answer.flips.len()).sum();
            if rows <= self.width() && best.is_none_or(|(_, fewest)| rows < fewest) {
                best = Some((place, rows));
            }
        }
        best.map(|(place, _)| place)
    }

    fn matching_few<'i, 'a>(
        &'i self,
        driver: usize,
        dead: &[u64],
        unclear: bool,
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let Scratch { held, answers, ends, list, .. } = scratch;
        let of = |place: usize| {
            let start = place.checked_sub(1).map_or(0, |before| ends[before]);
            &answers[start..ends[place]]
        };
        list.clear();
        of(driver).iter().for_each(|answer| list.extend_from_slice(answer.flips));
        list.sort_unstable();
        list.dedup();
        let begin = found.len();
        let verified = 2 * self.columns.len() * self.width();
        for row in list.iter().copied() {
            let accepted = |place: usize| {
                let answers = of(place);
                answers.is_empty() || place == driver || answers.iter().any(|answer| answer.accepts(row, held))
            };
            if !bit(dead, row) && (0..ends.len()).all(accepted) {
                let verify = unclear || (self.verifies && bit(&self.words[verified..], row));
                self.emit_row(row as usize, verify, begin, source, found);
            }
        }
    }
}

/// Where an array gives many answers, each is kept once: the order does not matter.
fn distinct_from(answers: &mut Vec<Answer<'_>>, first: usize) {
    if answers.len() - first <= FEW_ANSWERS {
        return;
    }
    let mut many = answers.split_off(first);
    many.sort_unstable_by_key(|answer| (answer.words.as_ptr().addr(), answer.flips.as_ptr().addr(), answer.first_hit));
    many.dedup_by(|a, b| a.is_same(b));
    answers.append(&mut many);
}

// === impl Answer ===

impl Answer<'_> {
    fn is_same(&self, other: &Answer<'_>) -> bool {
        let same = std::ptr::eq(self.words, other.words) && std::ptr::eq(self.flips, other.flips);
        same && self.first_hit == self.last_hit && other.first_hit == other.last_hit
    }

    fn accepts(&self, row: u32, held: &[(Rows<'_>, bool)]) -> bool {
        let flipped = if self.sorted {
            self.flips.binary_search(&row).is_ok()
        } else {
            self.flips.iter().filter(|flip| **flip == row).count() % 2 == 1
        };
        let mut accepted = bit(self.words, row) != flipped;
        for (rows, takes) in &held[self.first_hit as usize..self.last_hit as usize] {
            if rows.contain(row) {
                accepted = !takes;
            }
        }
        accepted
    }

    /// All rows that accept.
    fn write(&self, held: &[(Rows<'_>, bool)], out: &mut Vec<u64>) {
        out.clear();
        out.extend_from_slice(self.words);
        self.flips.iter().for_each(|row| out[*row as usize / 64] ^= 1 << (row % 64));
        for (rows, takes) in &held[self.first_hit as usize..self.last_hit as usize] {
            match (rows, takes) {
                (Rows::Words(words), false) => out.iter_mut().zip(*words).for_each(|(out, word)| *out |= word),
                (Rows::Words(words), true) => out.iter_mut().zip(*words).for_each(|(out, word)| *out &= !word),
                (Rows::List(rows), false) => rows.iter().for_each(|row| out[*row as usize / 64] |= 1 << (row % 64)),
                (Rows::List(rows), true) => rows.iter().for_each(|row| out[*row as usize / 64] &= !(1 << (row % 64))),
            }
        }
    }
}

// === impl Rows ===

impl Rows<'_> {
    fn contain(self, row: u32) -> bool {
        match self {
            Rows::Words(words) => bit(words, row),
            Rows::List(rows) => rows.binary_search(&row).is_ok(),
        }
    }
}

// === impl Extra ===

impl Extra {
    /// The interval that a number lies in; `None` where no row names a number.
    fn interval(&self, words: &[u64], number: &Number) -> Option<usize> {
        if let Some(bounds) = self.wide.as_ref().and_then(|wide| wide.bounds.as_deref()) {
            let here = Edge { number: *number, after: false };
            return Some(bounds.partition_point(|edge| *edge <= here));
        }
        if self.intervals == NONE {
            return None;
        }
        let keys = &words[self.keys as usize..][..self.bounds as usize];
        let key = whole_key(number);
        Some(if keys.len() <= FEW_VALUES {
            keys.iter().filter(|bound| **bound as i64 <= key).count()
        } else {
            keys.partition_point(|bound| *bound as i64 <= key)
        })
    }
}

/// Takes those away that the answer does not accept.
fn narrow(candidates: &mut [u64], answer: &Answer<'_>, kept: &mut Vec<u32>) {
    kept.clear();
    kept.extend(answer.flips.iter().filter(|row| !bit(answer.words, **row) && bit(candidates, **row)));
    candidates.iter_mut().zip(answer.words).for_each(|(candidates, words)| *candidates &= words);
    answer.flips.iter().for_each(|row| candidates[*row as usize / 64] &= !(1 << (row % 64)));
    kept.iter().for_each(|row| candidates[*row as usize / 64] |= 1 << (row % 64));
}

fn bit(words: &[u64], row: u32) -> bool {
    words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
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

/// The first of at least this hash. Hashes are spread evenly, so the search begins near to where it should end.
fn lower_bound(values: &[Value], hash: u32) -> usize {
    let guess = ((u64::from(hash) * values.len() as u64) >> 32) as usize;
    let reach = 8 + values.len().isqrt();
    let (low, high) = (guess.saturating_sub(reach), (guess + reach).min(values.len()));
    let within = (low == 0 || values[low - 1].hash < hash) && (high == values.len() || values[high].hash >= hash);
    let (low, high) = if within { (low, high) } else { (0, values.len()) };
    low + values[low..high].partition_point(|value| value.hash < hash)
}
