//! Blocks of more than 64 rows: the same as in [`open`](super::open), in words of 64 rows.
//!
//! Up to some words one column is asked after another, but for those for which no row is left that asks. Beyond, all columns answer
//! first: where one of them accepts few rows, only these are looked at.

use std::{mem, ops::Range, sync::Arc};

use super::{
    answer::{Answer, Rows, bit},
    block::{ABSENT, DENSE, OTHER},
    body::{Column, NONE, ONE, SEVERAL, Value},
    found::{Found, Source},
    open::{Open, verify_row},
    scratch::{Scratch, Sets},
};
use crate::filter::{Rule, literals::Scalar};

/// Answers of one array that are compared one by one rather than sorted.
const FEW_ANSWERS: usize = 16;

// === impl Open, of more than 64 rows ===

impl<'i> Open<'i> {
    /// One column after another, but for those for which no row is left that asks.
    pub(super) fn matching_some<'a>(
        &self,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        scratch.sets.unclear.clear();
        self.all_but(dead, scratch);
        for place in 0..self.body.columns.len() {
            let asking = self.asking(place);
            if scratch.sets.candidates.iter().zip(asking).all(|(candidates, asking)| candidates & asking == 0) {
                continue;
            }
            scratch.answers.clear();
            scratch.held.clear();
            let could = self.answer(place, source, scratch);
            self.narrow(scratch, 0..scratch.answers.len());
            if !could || scratch.sets.candidates.iter().all(|word| *word == 0) {
                return;
            }
        }
        self.emit(&scratch.sets.candidates, &scratch.sets.unclear, source, found);
    }

    /// All columns first: one of them may accept so few rows that only these need to be looked at.
    pub(super) fn matching_many<'a>(
        &self,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        scratch.answers.clear();
        scratch.held.clear();
        scratch.sets.ends.clear();
        scratch.sets.unclear.clear();
        for place in 0..self.body.columns.len() {
            if !self.answer(place, source, scratch) {
                return;
            }
            scratch.sets.ends.push(scratch.answers.len());
        }
        if let Some(driver) = self.driver(scratch) {
            return self.matching_few(driver, dead, source, scratch, found);
        }
        self.all_but(dead, scratch);
        let mut start = 0;
        for place in 0..self.body.columns.len() {
            let end = scratch.sets.ends[place];
            self.narrow(scratch, start..end);
            start = end;
        }
        self.emit(&scratch.sets.candidates, &scratch.sets.unclear, source, found);
    }

    /// All rows that are there are candidates.
    fn all_but(&self, dead: &[u64], scratch: &mut Scratch<'_, '_>) {
        let Sets { candidates, .. } = &mut *scratch.sets;
        candidates.clear();
        candidates.resize(self.width(), u64::MAX);
        if let Some(last) = candidates.last_mut().filter(|_| !self.rules.len().is_multiple_of(64)) {
            *last = u64::MAX >> (64 - self.rules.len() % 64);
        }
        candidates.iter_mut().zip(dead).for_each(|(candidates, dead)| *candidates &= !dead);
    }

    /// Takes those away that none of these answers accepts. No answer says nothing.
    fn narrow(&self, scratch: &mut Scratch<'_, '_>, answers: Range<usize>) {
        let Scratch { held, answers: all, sets, .. } = scratch;
        let Sets { candidates, accepted, one, list, .. } = &mut **sets;
        match &all[answers] {
            [] => {}
            [alone] if alone.first_hit == alone.last_hit && alone.sorted => narrow(candidates, alone, list),
            several => {
                accepted.clear();
                accepted.resize(self.width(), 0);
                for answer in several {
                    answer.write(held, one);
                    accepted.iter_mut().zip(&*one).for_each(|(accepted, one)| *accepted |= one);
                }
                candidates.iter_mut().zip(&*accepted).for_each(|(candidates, accepted)| *candidates &= accepted);
            }
        }
    }

    /// Adds what the event answers in a column. False if no row accepts it.
    fn answer<'a>(&self, place: usize, source: &mut impl Source<'a>, scratch: &mut Scratch<'i, 'a>) -> bool {
        let column = &self.body.columns[place];
        let set = |set: usize| Answer {
            words: self.rows_at(column.sets as usize + set * self.width()),
            flips: &[],
            sorted: true,
            size: Some(self.body.lists[2 * place + set]),
            first_hit: 0,
            last_hit: 0,
        };
        let first = scratch.answers.len();
        match source.find(column.field, &mut scratch.many) {
            Found::Missing => {
                let absent = set(ABSENT);
                scratch.answers.push(absent);
                return absent.size != Some(0);
            }
            Found::One(scalar) => {
                let answer = self.answer_of(column, set(OTHER), scalar, scratch);
                scratch.answers.push(answer);
            }
            Found::Many => {
                let mut many = mem::take(&mut scratch.many);
                for scalar in many.drain(..) {
                    let answer = self.answer_of(column, set(OTHER), scalar, scratch);
                    // Values without a name share an answer.
                    let few = &scratch.answers[first..];
                    if few.len() > FEW_ANSWERS || !few.iter().any(|known| known.is_same(&answer)) {
                        scratch.answers.push(answer);
                    }
                }
                distinct_from(&mut scratch.answers, first);
                scratch.many = many;
            }
            Found::Unclear => {
                scratch.sets.unclear.resize(self.width(), 0);
                let asking = self.asking(place);
                scratch.sets.unclear.iter_mut().zip(asking).for_each(|(unclear, asking)| *unclear |= asking);
            }
        }
        true
    }

    fn asking(&self, place: usize) -> &'i [u64] {
        self.rows_at(self.body.head.asking as usize + place * self.width())
    }

    fn rows_at(&self, place: usize) -> &'i [u64] {
        &self.body.words[place..][..self.width()]
    }

    fn answer_of(
        &self,
        column: &Column,
        other: Answer<'i>,
        scalar: Scalar<'_>,
        scratch: &mut Scratch<'i, '_>,
    ) -> Answer<'i> {
        let width = self.width();
        let extra = self.extra(column);
        let dense = |at: u32| Answer { words: &self.body.words[at as usize..][..width], size: None, ..other };
        let literal = match scalar {
            Scalar::Text(text) => {
                let mut answer = match self.value(column, text) {
                    None => other,
                    Some(value) => match self.rows_of(value) {
                        Rows::Words(words) => Answer { words, size: None, ..other },
                        Rows::List(flips) => Answer { flips, ..other },
                    },
                };
                if let Some(predicates) = self.predicates(extra) {
                    predicates.hold(text, &mut scratch.sets.hits, |_, _| true);
                    answer.first_hit = scratch.held.len() as u32;
                    for (adds, takes) in scratch.sets.hits.drain(..).map(|hit| predicates.rows(hit)) {
                        scratch.held.extend((adds != NONE).then(|| (self.rows(adds), false)));
                        scratch.held.extend((takes != NONE).then(|| (self.rows(takes), true)));
                    }
                    answer.last_hit = scratch.held.len() as u32;
                }
                return answer;
            }
            Scalar::Number(number) => {
                let interval = extra.zip(number).and_then(|(extra, number)| {
                    let at = extra.interval(self.body.words, self.wide(extra), &number)?;
                    let wide = self.wide(extra).filter(|wide| wide.every > 1);
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

    /// One or two rows stand with their value, where nobody has to wait for them.
    fn rows_of(&self, value: &'i Value) -> Rows<'i> {
        match value.rows {
            [handle, SEVERAL] => self.rows(handle),
            [_, ONE] => Rows::List(&value.rows[..1]),
            _ => Rows::List(&value.rows),
        }
    }

    fn rows(&self, handle: u32) -> Rows<'i> {
        let at = (handle & !DENSE) as usize;
        if handle & DENSE != 0 {
            Rows::Words(&self.body.words[at..][..self.width()])
        } else {
            Rows::List(&self.body.lists[at + 1..][..self.body.lists[at] as usize])
        }
    }

    /// The column whose answers accept the fewest rows, if they are so few that looking at each is less work than looking at all.
    fn driver(&self, scratch: &Scratch<'_, '_>) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        let mut start = 0;
        for (place, end) in scratch.sets.ends.iter().enumerate() {
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

    fn matching_few<'a>(
        &self,
        driver: usize,
        dead: &[u64],
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let Scratch { held, answers, sets, .. } = scratch;
        let Sets { ends, unclear, list, .. } = &mut **sets;
        let of = |place: usize| {
            let start = place.checked_sub(1).map_or(0, |before| ends[before]);
            &answers[start..ends[place]]
        };
        list.clear();
        of(driver).iter().for_each(|answer| list.extend_from_slice(answer.flips));
        list.sort_unstable();
        list.dedup();
        let begin = found.len();
        let verified = self.set(self.body.head.verified);
        for row in list.iter().copied() {
            let accepted = |place: usize| {
                let answers = of(place);
                answers.is_empty() || place == driver || answers.iter().any(|answer| answer.accepts(row, held))
            };
            if !bit(dead, row) && (0..ends.len()).all(accepted) {
                let verify = bit(unclear, row) || bit(verified, row);
                verify_row(&self.rules[row as usize], verify, begin, source, found);
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

/// Takes those away that the answer does not accept.
fn narrow(candidates: &mut [u64], answer: &Answer<'_>, kept: &mut Vec<u32>) {
    kept.clear();
    kept.extend(answer.flips.iter().filter(|row| !bit(answer.words, **row) && bit(candidates, **row)));
    candidates.iter_mut().zip(answer.words).for_each(|(candidates, words)| *candidates &= words);
    answer.flips.iter().for_each(|row| candidates[*row as usize / 64] &= !(1 << (row % 64)));
    kept.iter().for_each(|row| candidates[*row as usize / 64] |= 1 << (row % 64));
}
