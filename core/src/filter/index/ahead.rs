//! Bringing rows into the cache before they are built. Rows of a partition lie anywhere, and what one leads to leads to more: what is near
//! at hand is followed further than what is far off. The rows of one partition are followed to their ends at once.

use std::slice;

use prefetch_index::prefetch_index;

use super::row::Row;

/// How far ahead rows were followed.
#[derive(Default)]
pub struct Ahead {
    /// How many were reached, and of them the clauses and subscriptions, and what these lead to.
    reached: [usize; STEPS],
}

const STEPS: usize = 3;
/// Rows between one step and the next.
const APART: usize = 32;

// === impl Ahead ===

impl Ahead {
    /// To be called before rows up to there are built.
    pub fn of(&mut self, rows: &[Row], end: usize) {
        for (step, reached) in self.reached.iter_mut().enumerate() {
            let to = rows.len().min(end + APART * (STEPS - step));
            let rows = &rows[(*reached).min(to)..to];
            match step {
                0 => rows.iter().for_each(|row| prefetch_index(slice::from_ref(&*row.rule), 0)),
                1 => rows.iter().for_each(|row| {
                    prefetch_index(row.rule.clauses(), row.clause as usize);
                    prefetch_index(slice::from_ref(&*row.rule.subscription), 0);
                }),
                _ => rows.iter().for_each(|row| {
                    row.rule.clauses()[row.clause as usize].root.fetch();
                    prefetch_index(row.rule.subscription.id.as_str().as_bytes(), 0);
                }),
            }
            *reached = to.max(*reached);
        }
    }
}
