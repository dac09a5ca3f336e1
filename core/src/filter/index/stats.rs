//! How large the index is, part by part, and where it is widest.

use serde::Serialize;

use super::{Index, Partition, block::Block, partition::ones};

/// Counts, and bytes by part. Bytes are those of the index's own arrays; what an allocator adds to each is not in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub partitions: usize,
    /// Pairs of a rule and an event type.
    pub clauses: usize,
    /// Of them, those that the index alone cannot answer: candidates are evaluated plainly.
    pub verified: usize,
    /// Clauses that are not yet built into a block, and rows of blocks whose clause is gone.
    pub fresh: usize,
    pub dead: usize,
    pub fields: usize,
    /// Named texts, and bounds of numbers.
    pub values: usize,
    pub bounds: usize,
    /// Distinct comparisons of texts in part.
    pub predicates: usize,
    pub bytes: Bytes,
    /// Those with the most clauses, widest first.
    pub widest: Vec<PartitionStats>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// The table of partitions.
    pub table: usize,
    /// Pointers to rules.
    pub rules: usize,
    pub columns: usize,
    /// Dictionaries with their texts.
    pub values: usize,
    /// Sets of rows.
    pub rows: usize,
    /// Numbers and comparisons of texts in part.
    pub extras: usize,
    pub fields: usize,
    pub total: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStats {
    pub team: String,
    /// `*`: any.
    #[serde(rename = "type")]
    pub event_type: String,
    pub clauses: usize,
    pub fields: usize,
    pub values: usize,
    /// What is tried on every event that has the field: the slowest part of a column.
    pub predicates: usize,
    pub bytes: usize,
}

/// How many partitions are listed.
const MAX_WIDEST: usize = 10;

// === impl Index ===

impl Index {
    /// Looks at every partition.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { partitions: self.partitions.len(), fields: self.fields.len(), ..Stats::default() };
        let mut widest: Vec<(usize, &Partition)> = Vec::new();
        for partition in self.partitions.values() {
            stats.add(partition);
            widest.push((partition.rows(), partition));
            if widest.len() > 100 * MAX_WIDEST {
                cut(&mut widest);
            }
        }
        cut(&mut widest);
        stats.widest = widest.into_iter().map(|(_, partition)| partition.stats()).collect();
        stats.bytes.table = self.partitions.bytes();
        stats.bytes.fields = self.fields.bytes() + self.projection.as_ref().map_or(0, |projection| projection.bytes());
        let Bytes { table, rules, columns, values, rows, extras, fields, .. } = stats.bytes;
        stats.bytes.total = table + rules + columns + values + rows + extras + fields;
        stats
    }
}

fn cut(widest: &mut Vec<(usize, &Partition)>) {
    widest.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
    widest.truncate(MAX_WIDEST);
}

// === impl Partition ===

impl Partition {
    fn stats(&self) -> PartitionStats {
        let mut all = Stats::default();
        all.add(self);
        let (team, event_type) = match (&self.block, &self.rest) {
            (Some(block), _) => block.key(),
            (None, Some(rest)) => (rest.key.team.to_string(), rest.key.event_type.as_deref().map(str::to_owned)),
            (None, None) => Default::default(),
        };
        let Bytes { rules, columns, values, rows, extras, .. } = all.bytes;
        PartitionStats {
            team,
            event_type: event_type.unwrap_or_else(|| "*".to_owned()),
            clauses: all.clauses,
            fields: self.blocks().map(|block| block.body().columns.len()).max().unwrap_or(0),
            values: all.values,
            predicates: all.predicates,
            bytes: rules + columns + values + rows + extras,
        }
    }
}

// === impl Stats ===

impl Stats {
    fn add(&mut self, partition: &Partition) {
        self.clauses += partition.rows();
        if let Some(rest) = &partition.rest {
            self.fresh += rest.fresh.len();
            self.dead += ones(&rest.dead) + rest.layers.iter().map(|layer| layer.count().1).sum::<usize>();
        }
        for block in partition.blocks() {
            self.add_block(block);
        }
    }

    fn add_block(&mut self, block: &Block) {
        let predicates = || block.dear().iter().filter_map(|dear| dear.predicates.as_ref());
        self.verified += block.verified();
        self.values += block.body().values.len();
        self.bounds += block.body().extras.iter().map(|extra| extra.bounds as usize).sum::<usize>();
        self.predicates += predicates().map(|predicates| predicates.len()).sum::<usize>();
        self.bytes.rules += size_of_val(block.rules()) + block.overhead();
        self.bytes.columns += size_of_val(block.body().columns);
        self.bytes.values +=
            size_of_val(block.body().values) + size_of_val(block.body().tags) + block.body().texts.len();
        self.bytes.rows += size_of_val(block.body().words) + size_of_val(block.body().lists);
        let wide = block.dear().iter().filter_map(|dear| dear.wide.as_deref());
        let wide = wide.map(|wide| {
            let bounds = wide.bounds.as_ref().map_or(0, |bounds| size_of_val(&**bounds));
            size_of_val(wide) + bounds + size_of_val(&*wide.turns) + size_of_val(&*wide.starts)
        });
        let predicates: usize = predicates().map(|predicates| predicates.bytes()).sum();
        self.bytes.extras +=
            size_of_val(block.body().extras) + size_of_val(block.dear()) + wide.sum::<usize>() + predicates;
    }
}
