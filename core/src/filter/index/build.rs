//! Clauses → [`Block`]: each field that they ask for becomes a column.
//!
//! One pass over the conditions, sorted by field; then each column is laid out by itself. What a row accepts of a value is asked of
//! its own [`Parts`], so that the block cannot mean anything else than they do. Costs about a microsecond a row.

use std::{cmp::Reverse, iter, mem, ops::Bound, sync::Arc};

use super::{
    block::{ABSENT, Apart, Block, DENSE, Dear, Edge, MAX_WHOLE, OTHER, Wide, packed, whole_key},
    body::{Body, Column, Extra, Head, NONE, ONE, SEVERAL, Value},
    fields::Fields,
    predicates::{Predicate, Predicates},
    row::Row,
    word::Word,
};
use crate::filter::{
    Number, TextTest,
    alternatives::{Alternatives, Parts},
    literals::Scalar,
    number::Range,
    packed::{Asked, Item},
};

/// A condition of a row.
struct Condition<'c> {
    field: u32,
    /// How many conditions of the same row stand on the same field before it.
    nth: u32,
    row: u32,
    parts: Parts<'c>,
}

/// The arrays of a block as they grow. Used again for the next block.
#[derive(Default)]
pub struct Builder {
    width: usize,
    rows: usize,
    /// Where the rows begin that ask for the first column.
    asking: usize,
    /// Of the column in hand, the rows that accept a value that is not named, and those that accept none.
    sets: [Vec<u64>; 2],
    columns: Vec<Column>,
    tags: Vec<u32>,
    values: Vec<Value>,
    words: Vec<u64>,
    lists: Vec<u32>,
    texts: Vec<u8>,
    extras: Vec<Extra>,
    dear: Vec<Dear>,
}

/// Words that the intervals of one column may take, for each row, before only some of them are written out.
const MAX_INTERVAL_WORDS: usize = 8;

impl Block {
    /// `rows` must not be empty, and be in the order of subscription ids, those of one rule side by side.
    pub fn build(team: &str, event_type: Option<&str>, rows: &[Row], fields: &mut Fields) -> Block {
        Builder::default().block(team, event_type, rows, fields)
    }
}

impl Builder {
    /// The same as [`Block::build`].
    pub fn block(&mut self, team: &str, event_type: Option<&str>, rows: &[Row], fields: &mut Fields) -> Block {
        let mut conditions = Vec::with_capacity(4 * rows.len());
        let mut verified = vec![0_u64; rows.len().div_ceil(64)];
        let mut path = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let first = conditions.len();
            let mut verify = false;
            walk(row.rule.clauses()[row.clause as usize].root.asked(), &mut path, &mut |path, parts| {
                let Some(parts) = parts else { return verify = true };
                let field = fields.number(path);
                let nth = conditions[first..].iter().filter(|before: &&Condition<'_>| before.field == field).count();
                conditions.push(Condition { field, nth: nth as u32, row: number as u32, parts });
            });
            verified[number / 64] |= u64::from(verify) << (number % 64);
        }
        // They are large, and stay where they are.
        let mut conditions: Vec<&Condition<'_>> = conditions.iter().collect();
        conditions.sort_by_key(|condition| (condition.field, condition.nth));
        let same = |a: &&Condition<'_>, b: &&Condition<'_>| (a.field, a.nth) == (b.field, b.nth);
        let mut columns: Vec<&[&Condition<'_>]> = conditions.chunk_by(same).collect();
        columns.sort_by_cached_key(|conditions| first_to_ask(conditions));
        let repeats = repeats(rows);
        self.begin(team, event_type, rows.len(), columns.len());
        let (verified, repeats) = (self.rows_of_block(&verified), self.rows_of_block(&repeats));
        for (place, conditions) in columns.into_iter().enumerate() {
            self.column(place, conditions);
        }
        fields.retain(self.columns.iter().map(|column| column.field));
        let type_bytes = event_type.map(str::len);
        let head = Head::new(team.len(), type_bytes, self.asking, verified, repeats);
        let body = Body {
            head: &head,
            columns: &self.columns,
            extras: &self.extras,
            tags: &self.tags,
            words: &self.words,
            values: &self.values,
            lists: &self.lists,
            texts: &self.texts,
        };
        let rules = rows.iter().map(|row| row.rule.clone()).collect();
        Block::of(Apart { rules, dear: mem::take(&mut self.dear).into() }, &body.put_together())
    }
}

/// The order in which columns are asked: first those that most rows of most events fail in, last those that are dear to ask. The fewer
/// rows are left, the more columns nobody asks for any longer.
fn first_to_ask(conditions: &[&Condition<'_>]) -> (bool, Reverse<usize>) {
    let is_dear =
        conditions.iter().any(|condition| !condition.parts.texts.is_empty() || condition.parts.refused.is_some());
    let refusing = conditions.iter().filter(|condition| !condition.parts.accept_other()).count();
    (is_dear, Reverse(refusing))
}

/// Rows of the same rule as the row before.
fn repeats(rows: &[Row]) -> Vec<u64> {
    let mut repeats = vec![0; rows.len().div_ceil(64)];
    for (row, _) in rows.windows(2).enumerate().filter(|(_, pair)| Arc::ptr_eq(&pair[0].rule, &pair[1].rule)) {
        repeats[(row + 1) / 64] |= 1 << ((row + 1) % 64);
    }
    repeats
}

/// Shows each condition with the names on its way; `None` for what must be verified.
fn walk<'c>(asked: Asked<'c>, path: &mut Vec<&'c str>, show: &mut impl FnMut(&[&'c str], Option<Parts<'c>>)) {
    for item in asked.items() {
        match item {
            Item::Leaf(leaf) => {
                path.push(leaf.field);
                match leaf.accepted.all_of() {
                    // Each of several conditions on one field may hold by another of its values: as if they stood apart.
                    Some(all) => all.iter().map(Alternatives::accepted).for_each(|all| show(path, all.parts())),
                    None => show(path, leaf.accepted.parts()),
                }
                path.pop();
            }
            Item::Inner(name, inside) => {
                path.push(name);
                walk(inside, path, show);
                path.pop();
            }
            Item::Group(_) => show(path, None),
        }
    }
}

// === impl Builder ===

impl Builder {
    fn begin(&mut self, team: &str, event_type: Option<&str>, rows: usize, columns: usize) {
        self.width = rows.div_ceil(64);
        self.rows = rows;
        self.words.clear();
        self.words.extend(packed(team).chain(packed(event_type.unwrap_or_default())));
        self.asking = self.words.len();
        self.words.resize(self.asking + columns * self.width, 0);
        self.lists.clear();
        self.lists.resize(if self.width > 1 { 2 * columns } else { 0 }, 0);
        self.columns.clear();
        self.tags.clear();
        self.values.clear();
        self.texts.clear();
        self.extras.clear();
        self.dear.clear();
    }

    /// The place of a set that concerns no column; [`NONE`] of an empty one.
    fn rows_of_block(&mut self, rows: &[u64]) -> u32 {
        if rows.iter().all(|word| *word == 0) {
            return NONE;
        }
        self.words.extend_from_slice(rows);
        (self.words.len() - rows.len()) as u32
    }

    fn column(&mut self, place: usize, conditions: &[&Condition<'_>]) {
        let width = self.width;
        let asking = self.asking + place * width;
        for set in &mut self.sets {
            set.clear();
            set.resize(width, u64::MAX);
            if !self.rows.is_multiple_of(64) {
                set[width - 1] = u64::MAX >> (64 - self.rows % 64);
            }
        }
        for Condition { row, parts, .. } in conditions.iter().copied() {
            let (word, bit) = (*row as usize / 64, 1 << (row % 64));
            if !parts.accept_other() {
                self.sets[OTHER][word] &= !bit;
            }
            if !parts.absent {
                self.sets[ABSENT][word] &= !bit;
            }
            self.words[asking + word] |= bit;
        }
        if width > 1 {
            let size = |set: usize| self.sets[set].iter().map(|word| word.count_ones()).sum();
            (self.lists[2 * place], self.lists[2 * place + 1]) = (size(OTHER), size(ABSENT));
        }
        let asked = |set: &Vec<u64>| {
            set[0] & self.words[asking] == 0
                && set[0].count_ones() + self.words[asking].count_ones() == self.rows as u32
        };
        let sets = if width == 1 && self.sets.iter().all(asked) { NONE } else { self.words.len() as u32 };
        if sets != NONE {
            self.sets.iter().for_each(|set| self.words.extend_from_slice(set));
        }
        let values = self.values.len() as u32;
        self.texts(conditions);
        let extra = Extra { literals: self.literals(conditions), bounds: 0, keys: NONE, intervals: NONE, dear: NONE };
        let (mut extra, wide) = self.numbers(conditions, extra);
        let dear = Dear { wide, predicates: self.predicates(conditions) };
        if dear.wide.is_some() || dear.predicates.is_some() {
            extra.dear = self.dear.len() as u32;
            self.dear.push(dear);
        }
        let empty = extra.intervals == NONE && extra.dear == NONE && extra.literals == [NONE; 3];
        let count = self.values.len() as u32 - values;
        let number = if empty { NONE } else { self.extras.len() as u32 };
        self.columns.push(Column { field: conditions[0].field, values, count, extra: number, sets });
        self.extras.extend((!empty).then_some(extra));
    }

    /// The dictionary: each text that a row names, with the rows for which it makes a difference.
    fn texts(&mut self, conditions: &[&Condition<'_>]) {
        let mut named: Vec<(Word, &str, usize)> = Vec::with_capacity(2 * conditions.len());
        for (at, condition) in conditions.iter().enumerate() {
            condition.parts.each_text(|text| named.push((Word::of(text.as_bytes()), text, at)));
        }
        named.sort_unstable_by_key(|(word, text, at)| (word.tag, *text, *at));
        named.dedup();
        let mut differing = Vec::new();
        for same in named.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (word, text, _) = same[0];
            differing.clear();
            differing.extend(same.iter().map(|(_, _, at)| &conditions[*at]).filter_map(|condition| {
                let row = condition.row;
                let otherwise = self.sets[OTHER][row as usize / 64] >> (row % 64) & 1 == 1;
                (condition.parts.accept_named_text(text) != otherwise).then_some(row)
            }));
            if differing.is_empty() {
                continue;
            }
            let rows = self.differing(&differing);
            let mut bytes = word.bytes;
            if word.is_long() {
                bytes = word.at(self.texts.len() as u32, text.as_bytes()).bytes;
                self.texts.extend_from_slice(text.as_bytes());
            }
            self.tags.push(word.tag);
            self.values.push(Value { bytes, rows });
        }
    }

    /// [`Value::rows`]. Up to 64 rows: `other` with these turned round. Beyond: these, or a handle of these or of the whole, whichever is
    /// shorter.
    fn differing(&mut self, rows: &[u32]) -> [u32; 2] {
        if self.width == 1 {
            return Value::halves(rows.iter().fold(self.sets[OTHER][0], |word, row| word ^ 1 << row));
        }
        match rows {
            [row] => return [*row, ONE],
            [row, other] => return [*row, *other],
            several if several.len() <= 2 * self.width => return [self.list(rows), SEVERAL],
            _ => {}
        }
        let at = self.words.len();
        self.words.extend_from_slice(&self.sets[OTHER]);
        rows.iter().for_each(|row| self.words[at + *row as usize / 64] ^= 1 << (row % 64));
        [at as u32 | DENSE, SEVERAL]
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

    fn literals(&mut self, conditions: &[&Condition<'_>]) -> [u32; 3] {
        if !conditions.iter().any(|condition| condition.parts.name_words()) {
            return [NONE; 3];
        }
        [Scalar::Null, Scalar::Boolean(false), Scalar::Boolean(true)].map(|scalar| {
            let at = self.words.len();
            let mut differs = false;
            for Condition { row, parts, .. } in conditions.iter().copied() {
                let (word, bit) = (*row as usize / 64, 1_u64 << (row % 64));
                if parts.accept_named(scalar) != (self.sets[OTHER][word] & bit != 0) {
                    if !differs {
                        self.words.extend_from_slice(&self.sets[OTHER]);
                        differs = true;
                    }
                    self.words[at + word] ^= bit;
                }
            }
            if differs { at as u32 } else { NONE }
        })
    }

    fn predicates(&mut self, conditions: &[&Condition<'_>]) -> Option<Predicates> {
        let mut asked: Vec<(&TextTest, bool, u32)> = Vec::new();
        for Condition { row, parts, .. } in conditions.iter().copied() {
            asked.extend(parts.texts.iter().map(|test| (test, false, *row)));
            asked.extend(parts.refused.into_iter().flatten().map(|test| (test, true, *row)));
        }
        if asked.is_empty() {
            return None;
        }
        asked.sort_by(|a, b| a.0.cmp_somehow(b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        asked.dedup();
        let mut predicates = Vec::new();
        let mut rows = Vec::new();
        for same in asked.chunk_by(|a, b| a.0 == b.0) {
            let [adds, takes] = [false, true].map(|takes| {
                rows.clear();
                rows.extend(same.iter().filter(|(_, refused, _)| *refused == takes).map(|(_, _, row)| *row));
                self.set(&rows)
            });
            predicates.push(Predicate { test: same[0].0.clone(), adds, takes });
        }
        Some(Predicates::new(predicates))
    }

    /// Cuts the numbers where some row changes its mind, and writes down the rows of each interval.
    fn numbers(&mut self, conditions: &[&Condition<'_>], extra: Extra) -> (Extra, Option<Box<Wide>>) {
        let concerned = |c: &&Condition<'_>| !c.parts.ranges.is_empty() || c.parts.name_numbers();
        if !conditions.iter().any(concerned) {
            return (extra, None);
        }
        let mut turns: Vec<(Edge, u32)> = Vec::new();
        let mut first = vec![0_u64; self.width];
        for Condition { row, parts, .. } in conditions.iter().copied() {
            let (word, bit) = (*row as usize / 64, 1_u64 << (row % 64));
            if number_turns(parts, *row, &mut turns) {
                first[word] |= bit;
            }
        }
        if turns.is_empty() && conditions.iter().all(|condition| condition.parts.ranges.is_empty()) {
            return (extra, None);
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
            wide.starts = iter::once(0).chain(ends).collect();
        }
        (Extra { bounds: bounds as u32, keys: keys as u32, intervals: intervals as u32, ..extra }, wide)
    }
}

/// Where a row changes its mind along the numbers; whether it accepts those before.
fn number_turns(parts: &Parts<'_>, row: u32, turns: &mut Vec<(Edge, u32)>) -> bool {
    let at = |number: Number| Edge { number, after: false };
    let after = |number: Number| Edge { number, after: true };
    let edges = |(low, high): Range| {
        let low = match low {
            Bound::Included(low) => Some(at(low)),
            Bound::Excluded(low) => Some(after(low)),
            Bound::Unbounded => None,
        };
        let high = match high {
            Bound::Included(high) => Some(after(high)),
            Bound::Excluded(high) => Some(at(high)),
            Bound::Unbounded => None,
        };
        (low, high)
    };
    let mut several = parts.ranges.iter();
    // Nearly always there is one and nothing else.
    if let (Some(range), None) = (several.next(), several.next())
        && !(parts.accept_other() || parts.name_numbers())
    {
        let (low, high) = edges(range);
        if low.is_none_or(|low| high.is_none_or(|high| low < high)) {
            turns.extend(low.into_iter().chain(high).map(|edge| (edge, row)));
            return low.is_none();
        }
        return false;
    }
    let ranges = parts.ranges.iter().map(edges);
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
