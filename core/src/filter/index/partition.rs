//! The rules of one team for one event type, as they change: blocks laid over each other, rows that are dead, rows that are not built yet.
//!
//! ```text
//! first block ── dead rows ── layers, each with its dead ── fresh rows
//! ```
//!
//! What is new is built by itself and laid over; it is built together with what is not much larger (Bentley and Saxe, "Decomposable searching
//! problems", 1980). So a change costs the building of few rows, and an event looks at few blocks.

use std::{cmp::Reverse, iter, mem, sync::Arc};

use super::{
    ahead::Ahead,
    block::Block,
    fields::Fields,
    found::Source,
    open::Open,
    row::{Key, Row},
    scratch::Scratch,
};
use crate::filter::Rule;

/// The rules of one team for one event type.
#[derive(Clone)]
pub struct Partition {
    /// Of most partitions this is all.
    pub block: Option<Block>,
    pub rest: Option<Arc<Rest>>,
}

/// What a partition has beside its first block.
#[derive(Clone)]
pub struct Rest {
    pub key: Key,
    /// Rows of the first block that are there no longer. Empty: all are there.
    pub dead: Box<[u64]>,
    /// The largest first.
    pub layers: Vec<Layer>,
    /// In no order.
    pub fresh: Vec<Row>,
    /// It is among the unsettled.
    unsettled: bool,
}

#[derive(Clone)]
pub struct Layer {
    pub block: Block,
    pub dead: Box<[u64]>,
    /// Of each row, how many rows of the partition's first block have smaller ids: what matches can be brought into the order of ids
    /// without a look at the ids.
    pub ranks: Arc<[u32]>,
}

/// A layer of so many rows is built anew with what would be laid over it. Most partitions have no more than some tens of rows, and each
/// change of one would build all of them.
const SMALL: usize = 40;
/// A layer is built anew when more than one row in so many is dead.
const DEAD_RATIO: usize = 4;
/// A layer that is not so many times as large as what is laid over it is built together with it.
const LAYER_RATIO: usize = 4;

// === impl Partition ===

impl Partition {
    pub fn of(block: Block) -> Partition {
        Partition { block: Some(block), rest: None }
    }

    pub fn empty(key: &Key) -> Partition {
        Partition { block: None, rest: Some(Arc::new(Rest::new(key))) }
    }

    pub fn is_of(&self, team: &str, event_type: Option<&str>) -> bool {
        match (&self.block, &self.rest) {
            (Some(block), _) => block.is_of(team, event_type),
            (None, Some(rest)) => rest.key.team.as_str() == team && rest.key.event_type.as_deref() == event_type,
            (None, None) => false,
        }
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        let layers = self.rest.iter().flat_map(|rest| rest.layers.iter().map(|layer| &layer.block));
        self.block.iter().chain(layers)
    }

    #[inline]
    pub fn each_block(&self, show: impl Fn(&Block)) {
        self.block.iter().for_each(&show);
        if let Some(rest) = &self.rest {
            rest.layers.iter().for_each(|layer| show(&layer.block));
        }
    }

    /// Adds what matches, in the order of ids.
    pub fn matching<'i, 'a>(
        &'i self,
        source: &mut impl Source<'a>,
        scratch: &mut Scratch<'i, 'a>,
        found: &mut Vec<&'i Arc<Rule>>,
    ) {
        let begin = found.len();
        let Some(rest) = self.rest.as_deref() else {
            if let Some(block) = &self.block {
                Open::of(block).matching(&[], source, scratch, found);
            }
            return;
        };
        let Some(first) = &self.block else {
            // Nothing is settled yet.
            found.extend(rest.fresh.iter().map(|row| &row.rule).filter(|rule| source.holds(rule)));
            return by_id(found, begin);
        };
        Open::of(first).matching(&rest.dead, source, scratch, found);
        let of_first = found.len();
        let mut ordered = mem::take(&mut scratch.ordered);
        for layer in &rest.layers {
            let before = found.len();
            Open::of(&layer.block).matching(&layer.dead, source, scratch, found);
            let rank = |rule: &Arc<Rule>| layer.ranks.get(layer.block.row_of(rule)).copied().unwrap_or_default();
            ordered.extend(found[before..].iter().map(|rule| (2 * u64::from(rank(rule)), *rule)));
        }
        if !rest.fresh.is_empty() {
            found.extend(rest.fresh.iter().map(|row| &row.rule).filter(|rule| source.holds(rule)));
            by_id(found, begin);
        } else if found.len() > of_first {
            // What has as many rows before it stands before the row that follows these.
            let of_first = found[begin..of_first].iter().map(|rule| (2 * first.row_of(rule) as u64 + 1, *rule));
            ordered.extend(of_first);
            ordered.sort_by(|(a, a_rule), (b, b_rule)| {
                a.cmp(b).then_with(|| a_rule.subscription.id.cmp(&b_rule.subscription.id))
            });
            ordered.dedup_by(|(_, a), (_, b)| Arc::ptr_eq(a, b));
            found.truncate(begin);
            found.extend(ordered.iter().map(|(_, rule)| *rule));
        }
        ordered.clear();
        scratch.ordered = ordered;
    }

    /// Builds what is fresh and takes away what is dead, where there is much of it. False: nothing is left.
    pub fn settle(&mut self, key: &Key, fields: &mut Fields) -> bool {
        let Some(rest) = self.rest.take() else { return true };
        let Rest { dead, mut layers, fresh: mut rows, .. } = Arc::unwrap_or_clone(rest);
        let first = self.block.take();
        layers.splice(0..0, first.clone().map(|block| Layer { block, dead, ranks: Arc::default() }));
        let mut gone = Vec::new();
        // Those with many dead are built anew, and those that are not much larger than what would be laid over them.
        let mut kept = Vec::with_capacity(layers.len() + 1);
        for layer in layers {
            let (alive, dead) = layer.count();
            if dead * DEAD_RATIO > alive + dead || (dead > 0 && alive <= SMALL) {
                rows.extend(layer.rows(key));
                gone.push(layer.block);
            } else {
                kept.push(layer);
            }
        }
        while let Some(last) =
            kept.pop_if(|last| !rows.is_empty() && last.count().0 <= SMALL.max(LAYER_RATIO * rows.len()))
        {
            rows.extend(last.rows(key));
            gone.push(last.block);
        }
        if !rows.is_empty() {
            Ahead::default().of(&rows, rows.len());
            rows.sort_by(Row::cmp_in_table);
            let block = Block::build(key.team.as_str(), key.event_type.as_deref(), &rows, fields);
            kept.push(Layer { block, dead: Box::default(), ranks: Arc::default() });
        }
        // The largest first.
        kept.sort_by_key(|layer| Reverse(layer.block.rules().len()));
        let mut kept = kept.into_iter();
        match kept.next() {
            None => {
                // The key is what it is found by.
                self.rest = Some(Arc::new(Rest::new(key)));
            }
            Some(Layer { block, dead, .. }) => {
                let mut layers: Vec<Layer> = kept.collect();
                let same = first.is_some_and(|first| first.is(&block));
                // Those of a layer that is as it was are as they were.
                let unranked =
                    layers.iter_mut().filter(|layer| !same || layer.ranks.len() != layer.block.rules().len());
                unranked.for_each(|layer| layer.ranks = layer.block.ranks_in(&block));
                self.block = Some(block);
                let is_all = layers.is_empty() && dead.is_empty();
                let rest = Rest { dead, layers, ..Rest::new(key) };
                self.rest = (!is_all).then(|| Arc::new(rest));
            }
        }
        for block in gone {
            fields.release(block.body().columns.iter().map(|column| column.field));
        }
        self.block.is_some()
    }

    /// For a change, after which it must be settled.
    fn rest_mut(&mut self, key: &Key, unsettled: &mut Vec<Key>) -> &mut Rest {
        let rest = Arc::make_mut(self.rest.get_or_insert_with(|| Arc::new(Rest::new(key))));
        if !rest.unsettled {
            rest.unsettled = true;
            unsettled.push(key.clone());
        }
        rest
    }

    /// Adds a clause; how many are fresh then.
    pub fn insert(&mut self, key: &Key, row: Row, unsettled: &mut Vec<Key>) -> usize {
        let rest = self.rest_mut(key, unsettled);
        rest.fresh.push(row);
        rest.fresh.len()
    }

    /// Takes the clauses of a rule away.
    pub fn remove(&mut self, key: &Key, rule: &Rule, unsettled: &mut Vec<Key>) {
        let first = self.block.clone();
        let rest = self.rest_mut(key, unsettled);
        rest.fresh.retain(|row| row.rule.subscription.id != rule.subscription.id);
        if let Some(block) = first {
            bury(&block, &mut rest.dead, rule);
        }
        rest.layers.iter_mut().for_each(|Layer { block, dead, .. }| bury(block, dead, rule));
    }

    /// Clauses that are there.
    pub fn rows(&self) -> usize {
        let first = self.block.as_ref().map_or(0, |block| block.rules().len());
        let Some(rest) = &self.rest else { return first };
        first - ones(&rest.dead) + rest.layers.iter().map(|layer| layer.count().0).sum::<usize>() + rest.fresh.len()
    }
}

// === impl Rest ===

impl Rest {
    fn new(key: &Key) -> Rest {
        let key = key.clone();
        Rest { key, dead: Box::default(), layers: Vec::new(), fresh: Vec::new(), unsettled: false }
    }
}

// === impl Layer ===

impl Layer {
    /// Rows that are there, and that are there no longer.
    pub fn count(&self) -> (usize, usize) {
        let dead = ones(&self.dead);
        (self.block.rules().len() - dead, dead)
    }

    /// The rows that are there.
    fn rows(&self, key: &Key) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::with_capacity(self.block.rules().len());
        let is_dead = |row: usize| self.dead.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1);
        for (_, rule) in self.block.rules().iter().enumerate().filter(|(row, _)| !is_dead(*row)) {
            if rows.last().is_none_or(|last| !Arc::ptr_eq(&last.rule, rule)) {
                let clauses = rule.clauses().iter().enumerate();
                let of_type = clauses.filter(|(_, clause)| clause.event_type == key.event_type);
                rows.extend(of_type.map(|(clause, _)| Row::new(rule, clause)));
            }
        }
        rows
    }
}

/// Those that were found more than once are there once afterwards.
pub fn by_id(found: &mut Vec<&Arc<Rule>>, begin: usize) {
    found[begin..].sort_by(|a, b| a.subscription.id.cmp(&b.subscription.id));
    let mut kept = begin;
    for at in begin..found.len() {
        if kept == begin || !Arc::ptr_eq(found[kept - 1], found[at]) {
            found[kept] = found[at];
            kept += 1;
        }
    }
    found.truncate(kept);
}

/// Marks the rows of a rule.
fn bury(block: &Block, dead: &mut Box<[u64]>, rule: &Rule) {
    let id = &rule.subscription.id;
    let first = block.rules().partition_point(|known| known.subscription.id < *id);
    let same = block.rules()[first..].iter().take_while(|known| known.subscription.id == *id).count();
    if same > 0 && dead.is_empty() {
        *dead = iter::repeat_n(0, block.width()).collect();
    }
    (first..first + same).for_each(|row| dead[row / 64] |= 1 << (row % 64));
}

pub fn ones(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}
