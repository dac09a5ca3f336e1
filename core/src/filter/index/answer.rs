//! Which rows of a large block accept what an event has in a column.

/// A set of rows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'i> {
    Words(&'i [u64]),
    /// In order.
    List(&'i [u32]),
}

/// Which rows accept one value of the event: those of `words`, but for the `flips`, where it is the other way round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'i> {
    pub words: &'i [u64],
    pub flips: &'i [u32],
    /// The flips stand in order, each once.
    pub sorted: bool,
    /// How many rows `words` has, if that is known.
    pub size: Option<u32>,
    /// Where the predicates that hold begin and end.
    pub first_hit: u32,
    pub last_hit: u32,
}

// === impl Answer ===

impl Answer<'_> {
    pub fn is_same(&self, other: &Answer<'_>) -> bool {
        let same = std::ptr::eq(self.words, other.words) && std::ptr::eq(self.flips, other.flips);
        same && self.first_hit == self.last_hit && other.first_hit == other.last_hit
    }

    pub fn accepts(&self, row: u32, held: &[(Rows<'_>, bool)]) -> bool {
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
    pub fn write(&self, held: &[(Rows<'_>, bool)], out: &mut Vec<u64>) {
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
    pub fn contain(self, row: u32) -> bool {
        match self {
            Rows::Words(words) => bit(words, row),
            Rows::List(rows) => rows.binary_search(&row).is_ok(),
        }
    }
}

/// Whether a row is in a set.
pub(super) fn bit(words: &[u64], row: u32) -> bool {
    words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
}
