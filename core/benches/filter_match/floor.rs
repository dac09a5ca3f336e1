//! What every index must do: one probe into a table of as many partitions, and one independent cold line for each match.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::SEED;
use crate::workload::Chance;

/// The fields are taken out of the event by whoever asks.
pub struct Floor {
    table: HashMap<u64, u32, BuildHasherDefault<Same>>,
    /// As many lines as there are subscriptions, far from each other.
    lines: Vec<[u64; 8]>,
    /// Of each event, the lines of its matches.
    touched: Vec<Vec<u32>>,
}

#[derive(Default)]
struct Same(u64);

// === impl Floor ===

impl Floor {
    pub fn new(subscriptions: usize, partitions: usize, counts: &[usize]) -> Floor {
        let chance = &mut Chance(SEED);
        let touched =
            counts.iter().map(|count| (0..*count).map(|_| chance.below(subscriptions as u64) as u32).collect());
        Floor {
            touched: touched.collect(),
            lines: vec![[1; 8]; subscriptions],
            table: (0..partitions as u64).map(|number| (Chance(number).next(), 1)).collect(),
        }
    }

    /// For the event at that place, `key` being made of its team and type.
    pub fn run(&self, place: usize, key: u64) -> usize {
        // A partition of the table, whichever.
        let key = key % self.table.len() as u64;
        let probed = self.table.get(&Chance(key).next()).copied().unwrap_or(0);
        let lines = self.touched[place].iter().map(|line| self.lines[*line as usize][0]).sum::<u64>();
        probed as usize + lines as usize
    }
}

// === impl Same ===

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
