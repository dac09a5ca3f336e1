//! Clauses → [`Block`]: each field that they ask for becomes a column.
//!
//! One pass over the conditions, sorted by field; then each column is laid out by itself. What a row accepts of a value is asked of
//! its own [`Parts`], so that the block cannot mean anything else than they do. Costs about a microsecond a row.

use std::{ops::Bound, sync::Arc};

use super::{
    block::{Block, Column, DENSE, Edge, Extra, MAX_WHOLE, NONE, Value, Wide, whole_key},
    fields::Fields,
    hash::hash,
    predicates::{Predicate, Predicates},
};
use crate::filter::{
    Number, Rule, TextTest,
    alternatives::{Parts, Scalar},
    clause::Branch,
};

/// A clause of a rule, by its place among the rule's clauses.
#[derive(Clone, Debug)]
pub struct Row {
    pub rule: Arc<Rule>,
    pub clause: u32,
}

/// A condition of a row.
struct Condition<'c> {
    field: u32,
    /// How many conditions of the same row stand on the same field before it.
    nth: u32,
    row: u32,
    parts: Parts<'c>,
}

/// The arrays of a block as they grow.
struct Builder {
    width: usize,
    rows: usize,
    columns: Vec<Column>,
    values: Vec<Value>,
    words: Vec<u64>,
    lists: Vec<u32>,
    texts: Vec<u8>,
    extras: Vec<Extra>,
}

/// Words that the intervals of one column may take, for each row, before only some of them are written out.
const MAX_INTERVAL_WORDS: usize = 8;

impl Block {
    /// `rows` must not be empty, and be in the order of subscription ids, those of one rule side by side.
    pub fn build(team: &str, event_type: Option<&str>, rows: &[Row], fields: &mut Fields) -> Block {
        let mut conditions = Vec::with_capacity(4 * rows.len());
        let mut verified = vec![0_u64; rows.len().div_ceil(64)];
        let mut path = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let first = conditions.len();
            let mut verify = false;
            walk(&row.rule.clauses()[row.clause as usize].root, &mut path, &mut |path, parts| {
                let Some(parts) = parts else { return verify = true };
                let field = fields.number(path);
                let nth = conditions[first..].iter().filter(|before: &&Condition<'_>| before.field == field).count();
                conditions.push(Condition { field, nth: nth as u32, row: number as u32, parts });
            });
            verified[number / 64] |= u64::from(verify) << (number % 64);
        }
        conditions.sort_by_key(|condition| (condition.field, condition.nth));
        let same = |a: &Condition<'_>, b: &Condition<'_>| (a.field, a.nth) == (b.field, b.nth);
        let columns = conditions.chunk_by(same).count();
        let mut builder = Builder::new(team, event_type, rows.len(), columns, &verified);
        for (place, conditions) in conditions.chunk_by(same).enumerate() {
            builder.column(place, conditions);
        }
        fields.retain(builder.columns.iter().map(|column| column.field));
        builder.values.push(Value { hash: 0, text: builder.texts.len() as u32, rows: NONE });
        Block {
            rules: rows.iter().map(|row| row.rule.clone()).collect(),
            columns: builder.columns.into(),
            values: builder.values.into(),
            words: builder.words.into(),
            lists: builder.lists.into(),
            texts: builder.texts.into(),
            extras: builder.extras.into(),
            team_bytes: team.len() as u32,
            type_bytes: event_type.map_or(NONE, |event_type| event_type.len() as u32),
            verifies: verified.iter().any(|word| *word != 0),
        }
    }
}

/// Shows each condition with the names on its way; `None` for what must be verified.
fn walk<'c>(branch: &'c Branch, path: &mut Vec<&'c str>, show: &mut impl FnMut(&[&'c str], Option<Parts<'c>>)) {
    // Whatever else a branch comes to hold must be shown as `None`.
    let Branch { leaves, inner, groups } = branch;
    if !groups.is_empty() {
        show(path, None);
    }
    for leaf in leaves {
        path.push(&leaf.field);
        match leaf.alternatives.all_of() {
            // Each of several conditions on one field may hold by another of its values: as if they stood apart.
            Some(all) => all.iter().for_each(|alternatives| show(path, alternatives.parts())),
            None => show(path, leaf.alternatives.parts()),
        }
        path.pop();
    }
    for (name, branch) in inner {
        path.push(name);
        walk(branch, path, show);
        path.pop();
    }
}

// === impl Builder ===

impl Builder {
    fn new(team: &str, event_type: Option<&str>, rows: usize, columns: usize, verified: &[u64]) -> Builder {
        let width = rows.div_ceil(64);
        let mut words = vec![u64::MAX; 2 * columns * width];
        if !rows.is_multiple_of(64) {
            words.chunks_mut(width).for_each(|set| set[width - 1] = u64::MAX >> (64 - rows % 64));
        }
        if verified.iter().any(|word| *word != 0) {
            words.extend_from_slice(verified);
        }
        Builder {
            width,
            rows,
            columns: Vec::with_capacity(columns),
            values: Vec::with_capacity(4 * rows),
            words,
            lists: if width > 1 { vec![0; 2 * columns] } else { Vec::new() },
            texts: [team, event_type.unwrap_or_default()].concat().into(),
            extras: Vec::new(),
        }
    }

    fn column(&mut self, place: usize, conditions: &[Condition<'_>]) {
        let width = self.width;
        let (other, absent) = (2 * place * width, (2 * place + 1) * width);
        for Condition { row, parts, .. } in conditions {
            let (word, bit) = (*row as usize / 64, 1 << (row % 64));
            if !parts.accept_other() {
                self.words[other + word] &= !bit;
            }
            if !parts.absent {
                self.words[absent + word] &= !bit;
            }
        }
        if width > 1 {
            let size = |set: usize| self.words[set..set + width].iter().map(|word| word.count_ones()).sum();
            (self.lists[2 * place], self.lists[2 * place + 1]) = (size(other), size(absent));
        }
        let values = self.values.len() as u32;
        self.texts(other, conditions);
        let extra = Extra {
            literals: self.literals(other, conditions),
            bounds: 0,
            keys: NONE,
            intervals: NONE,
            wide: None,
            predicates: self.predicates(conditions),
        };
        let extra = self.numbers(conditions, extra);
        let empty = extra.intervals == NONE && extra.predicates.is_none() && extra.literals == [NONE; 3];
        let count = self.values.len() as u32 - values;
        let number = if empty { NONE } else { self.extras.len() as u32 };
        self.columns.push(Column { field: conditions[0].field, values, count, extra: number });
        self.extras.extend((!empty).then_some(extra));
    }

    /// The dictionary: each text that a row names, with the rows for which it makes a difference.
    fn texts(&mut self, other: usize, conditions: &[Condition<'_>]) {
        let mut named: Vec<(u32, &str, usize)> = Vec::with_capacity(2 * conditions.len());
        for (at, condition) in conditions.iter().enumerate() {
            named.extend(condition.parts.named_texts().map(|text| (hash(text.as_bytes()) as u32, text, at)));
        }
        named.sort_unstable();
        named.dedup();
        let mut differing = Vec::new();
        for same in named.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (hash, text, _) = same[0];
            differing.clear();
            differing.extend(same.iter().map(|(_, _, at)| &conditions[*at]).filter_map(|condition| {
                let row = condition.row;
                let otherwise = self.words[other + row as usize / 64] >> (row % 64) & 1 == 1;
                (condition.parts.accept_named(Scalar::Text(text)) != otherwise).then_some(row)
            }));
            if differing.is_empty() {
                continue;
            }
            let rows = self.differing(other, &differing);
            self.values.push(Value { hash, text: self.texts.len() as u32, rows });
            self.texts.extend_from_slice(text.as_bytes());
        }
    }

    /// Up to 64 rows: the place of `other` with these turned round. Beyond: a handle of these, or of the whole, whichever is shorter.
    fn differing(&mut self, other: usize, rows: &[u32]) -> u32 {
        if self.width > 1 && rows.len() <= 2 * self.width {
            return self.list(rows);
        }
        let at = self.words.len();
        self.words.extend_from_within(other..other + self.width);
        rows.iter().for_each(|row| self.words[at + *row as usize / 64] ^= 1 << (row % 64));
        if self.width > 1 { at as u32 | DENSE } else { at as u32 }
    }

    /// A set of rows: a handle, or up to 64 rows the place of its word.
    fn set(&mut self, rows: &[u32]) -> u32 {
        if rows.is_empty() {
            return NONE;
        }
        if self.width > 1 && rows.len() <= 2 * self.width {
            return self.list(rows);
        }
        let at = self.words.len();
        self.words.resize(at + self.width, 0);
        rows.iter().for_each(|row| self.words[at + *row as usize / 64] |= 1 << (row % 64));
        if self.width > 1 { at as u32 | DENSE } else { at as u32 }
    }

    fn list(&mut self, rows: &[u32]) -> u32 {
        let at = self.lists.len() as u32;
        self.lists.push(rows.len() as u32);
        self.lists.extend_from_slice(rows);
        at
    }

    fn literals(&mut self, other: usize, conditions: &[Condition<'_>]) -> [u32; 3] {
        [Scalar::Null, Scalar::Boolean(false), Scalar::Boolean(true)].map(|scalar| {
            let at = self.words.len();
            let mut differs = false;
            for Condition { row, parts, .. } in conditions {
                let (word, bit) = (*row as usize / 64, 1_u64 << (row % 64));
                if parts.accept_named(scalar) != (self.words[other + word] & bit != 0) {
                    if !differs {
                        self.words.extend_from_within(other..other + self.width);
                        differs = true;
                    }
                    self.words[at + word] ^= bit;
                }
            }
            if differs { at as u32 } else { NONE }
        })
    }

    fn predicates(&mut self, conditions: &[Condition<'_>]) -> Option<Box<Predicates>> {
        // In the order of what they are in words: equal ones come together, whatever kinds there are.
        let mut asked: Vec<(String, &TextTest, bool, u32)> = Vec::new();
        for Condition { row, parts, .. } in conditions {
            asked.extend(parts.texts.iter().map(|test| (test.to_string(), test, false, *row)));
            asked.extend(parts.refused.into_iter().flatten().map(|test| (test.to_string(), test, true, *row)));
        }
        if asked.is_empty() {
            return None;
        }
        asked.sort_by(|a, b| (&a.0, a.2, a.3).cmp(&(&b.0, b.2, b.3)));
        asked.dedup_by(|a, b| a.1 == b.1 && (a.2, a.3) == (b.2, b.3));
        let mut predicates = Vec::new();
        let mut rows = Vec::new();
        for same in asked.chunk_by(|a, b| a.1 == b.1) {
            let [adds, takes] = [false, true].map(|takes| {
                rows.clear();
                rows.extend(same.iter().filter(|(_, _, refused, _)| *refused == takes).map(|(_, _, _, row)| *row));
                self.set(&rows)
            });
            predicates.push(Predicate { test: same[0].1.clone(), adds, takes });
        }
        Some(Box::new(Predicates::new(predicates)))
    }

    /// Cuts the numbers where some row changes its mind, and writes down the rows of each interval.
    fn numbers(&mut self, conditions: &[Condition<'_>], extra: Extra) -> Extra {
        let mut turns: Vec<(Edge, u32)> = Vec::new();
        let mut first = vec![0_u64; self.width];
        let mut rows_turning = vec![0_u64; self.width];
        for Condition { row, parts, .. } in conditions {
            let (word, bit) = (*row as usize / 64, 1_u64 << (row % 64));
            let begins = turns.len();
            let accepted = number_turns(parts, *row, &mut turns);
            if turns.len() > begins {
                rows_turning[word] |= bit;
            }
            if accepted {
                first[word] |= bit;
            }
        }
        if turns.is_empty() && conditions.iter().all(|condition| condition.parts.ranges.is_empty()) {
            return extra;
        }
        // Rows that do not ask accept every number.
        let mut asking = vec![0_u64; self.width];
        conditions.iter().for_each(|c| asking[c.row as usize / 64] |= 1 << (c.row % 64));
        for (word, asking) in asking.iter().enumerate() {
            let rest = self.rows - word * 64;
            first[word] |= !asking & if rest >= 64 { u64::MAX } else { u64::MAX >> (64 - rest) };
        }
        turns.sort_unstable();
        let bounds = turns.chunk_by(|a, b| a.0 == b.0).count();
        let is_whole =
            |edge: &Edge| matches!(edge.number, Number::Integer(whole) if (-MAX_WHOLE..=MAX_WHOLE).contains(&whole));
        let whole = turns.iter().all(|(edge, _)| is_whole(edge));
        // One word each is as little as a list would take.
        let most = if self.width > 1 { MAX_INTERVAL_WORDS * self.rows / self.width } else { usize::MAX };
        let every = (bounds + 1).div_ceil(most);
        let mut wide = (!whole || every > 1).then(|| Box::new(Wide { every: every as u32, ..Wide::default() }));
        let keys = self.words.len();
        if whole {
            let keys = turns.chunk_by(|a, b| a.0 == b.0).map(|same| same[0].0);
            self.words.extend(keys.map(|edge| (whole_key(&edge.number) + i64::from(edge.after)) as u64));
        } else if let Some(wide) = &mut wide {
            wide.bounds = Some(turns.chunk_by(|a, b| a.0 == b.0).map(|same| same[0].0).collect());
        }
        let intervals = self.words.len();
        self.words.extend_from_slice(&first);
        for (at, same) in turns.chunk_by(|a, b| a.0 == b.0).enumerate() {
            same.iter().for_each(|(_, row)| first[*row as usize / 64] ^= 1 << (row % 64));
            if (at + 1) % every == 0 {
                self.words.extend_from_slice(&first);
            }
        }
        if let Some(wide) = wide.as_mut().filter(|wide| wide.every > 1) {
            wide.turns = turns.iter().map(|(_, row)| *row).collect();
            let ends = turns.chunk_by(|a, b| a.0 == b.0).scan(0, |end, same| {
                *end += same.len() as u32;
                Some(*end)
            });
            wide.starts = std::iter::once(0).chain(ends).collect();
        }
        Extra { bounds: bounds as u32, keys: keys as u32, intervals: intervals as u32, wide, ..extra }
    }
}

/// Where a row changes its mind along the numbers; whether it accepts those before.
fn number_turns(parts: &Parts<'_>, row: u32, turns: &mut Vec<(Edge, u32)>) -> bool {
    let at = |number: Number| Edge { number, after: false };
    let after = |number: Number| Edge { number, after: true };
    let ranges = parts.ranges.iter().map(|(low, high)| {
        let low = match *low {
            Bound::Included(low) => Some(at(low)),
            Bound::Excluded(low) => Some(after(low)),
            Bound::Unbounded => None,
        };
        let high = match *high {
            Bound::Included(high) => Some(after(high)),
            Bound::Excluded(high) => Some(at(high)),
            Bound::Unbounded => None,
        };
        (low, high)
    });
    let in_range = |edge: Option<Edge>| {
        ranges.clone().any(|(low, high)| low <= edge && high.is_none_or(|high| edge.is_none_or(|edge| edge < high)))
    };
    let mut edges: Vec<Edge> = ranges.clone().flat_map(|(low, high)| low.into_iter().chain(high)).collect();
    edges.extend(parts.named_numbers().flat_map(|number| [at(number), after(number)]));
    let before = parts.accept_other() || in_range(None);
    if edges.is_empty() {
        return before;
    }
    edges.sort_unstable();
    edges.dedup();
    let mut accepted = before;
    for edge in edges {
        // An interval that begins right after a number has no number that is named.
        let named =
            if edge.after { parts.accept_other() } else { parts.accept_named(Scalar::Number(Some(edge.number))) };
        let now = named || in_range(Some(edge));
        if now != accepted {
            turns.push((edge, row));
            accepted = now;
        }
    }
    before
}
