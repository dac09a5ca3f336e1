//! What a block is made of, one array after another in one piece of memory: there are as many blocks as partitions, and each piece of
//! memory of its own costs a pointer, a length, what the allocator rounds up, and an event another page to be looked for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::word::Word;

/// In whole words: the words of the block, which begin with its [`Head`], and behind them columns, extras, values, lists, texts.
#[derive(Debug)]
pub(super) struct Body(Box<[u64]>);

/// What is said of the whole block.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    /// Where the arrays behind the words begin.
    starts: [u32; ARRAYS],
    pub team_bytes: u32,
    /// [`NONE`]: of any type.
    pub type_bytes: u32,
    /// Where the rows begin that ask for the first column.
    pub asking: u32,
    /// The set of rows to be verified; [`NONE`]: there are none.
    pub verified: u32,
    /// The set of rows that are of the same rule as the row before; [`NONE`]: there are none.
    pub repeats: u32,
}

/// A field, or its second condition where one clause has two.
#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Column {
    pub field: u32,
    /// Where its values begin, and how many there are.
    pub values: u32,
    pub count: u32,
    /// Answers other than texts; [`NONE`] where no row distinguishes them.
    pub extra: u32,
    /// The sets of rows that accept a value that is not named, and that accept none. [`NONE`]: both are those that do not ask, and there
    /// are at most 64 rows.
    pub sets: u32,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Value {
    pub word: Word,
    /// Up to 64 rows: those that accept it. Beyond: a handle of those that differ from `other`, or, if dense, of those that accept it.
    pub rows: u64,
}

/// Answers of a column other than texts.
#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Extra {
    /// Words for `null`, `false`, `true`; [`NONE`] where they are like any other value.
    pub literals: [u32; 3],
    /// How many bounds of numbers there are.
    pub bounds: u32,
    /// Where the bounds stand among the words, as [`whole_key`](super::block::whole_key)s.
    pub keys: u32,
    /// Where the rows of the intervals stand, one more than bounds; [`NONE`] where numbers are like any other value.
    pub intervals: u32,
    /// Its place among what is dear; [`NONE`]: nothing is.
    pub dear: u32,
}

/// What a body is made of.
pub(super) struct Arrays<'a> {
    /// The first [`HEAD`] are taken for the head.
    pub words: &'a [u64],
    pub columns: &'a [Column],
    pub extras: &'a [Extra],
    pub values: &'a [Value],
    pub lists: &'a [u32],
    pub texts: &'a [u8],
}

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Words that the head takes.
pub(super) const HEAD: usize = size_of::<Head>() / WORD;
/// Arrays behind the words.
const ARRAYS: usize = 5;

/// What can be there as bytes.
pub(super) trait Plain: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Plain for T {}

const WORD: usize = size_of::<u64>();

// === impl Body ===

impl Body {
    pub fn of(head: Head, arrays: Arrays<'_>) -> Body {
        let Arrays { words, columns, extras, values, lists, texts } = arrays;
        let arrays = [columns.as_bytes(), extras.as_bytes(), values.as_bytes(), lists.as_bytes(), texts];
        let behind: usize = arrays.iter().map(|bytes| bytes.len().div_ceil(WORD)).sum();
        let mut all = Vec::with_capacity(words.len() + behind);
        all.extend_from_slice(words);
        let mut starts = [0; ARRAYS];
        for (start, bytes) in starts.iter_mut().zip(arrays) {
            *start = all.len() as u32;
            let (whole, rest) = bytes.as_chunks::<WORD>();
            all.extend(whole.iter().map(|word| u64::from_ne_bytes(*word)));
            if !rest.is_empty() {
                let mut last = [0; WORD];
                last[..rest.len()].copy_from_slice(rest);
                all.push(u64::from_ne_bytes(last));
            }
        }
        let head = Head { starts, ..head };
        all[..HEAD].as_mut_bytes().copy_from_slice(head.as_bytes());
        Body(all.into())
    }

    #[inline]
    pub fn head(&self) -> &Head {
        // Of words that are always there.
        Head::ref_from_prefix(self.0.as_bytes()).map_or(&Head::NONE, |(head, _)| head)
    }

    /// These begin where everything does, so that their places are places of everything.
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.0[..self.head().starts[0] as usize]
    }

    #[inline]
    pub fn columns(&self) -> &[Column] {
        self.array(0)
    }

    #[inline]
    pub fn extras(&self) -> &[Extra] {
        self.array(1)
    }

    #[inline]
    pub fn values(&self) -> &[Value] {
        self.array(2)
    }

    #[inline]
    pub fn lists(&self) -> &[u32] {
        self.array(3)
    }

    #[inline]
    pub fn texts(&self) -> &[u8] {
        self.array(4)
    }

    /// A word of each cache line, as far as so many lines go.
    pub fn lines(&self, most: usize) -> impl Iterator<Item = u64> {
        self.0.iter().step_by(64 / WORD).take(most).copied()
    }

    #[inline]
    fn array<T: Plain>(&self, place: usize) -> &[T] {
        let starts = &self.head().starts;
        let end = starts.get(place + 1).map_or(self.0.len(), |end| *end as usize);
        let bytes = self.0[starts[place] as usize..end].as_bytes();
        // Zeros behind them are fewer bytes than one takes, but for those of lists and texts.
        <[T]>::ref_from_prefix_with_elems(bytes, bytes.len() / size_of::<T>()).map_or(&[], |(array, _)| array)
    }
}

// === impl Head ===

impl Head {
    const NONE: Head =
        Head { starts: [0; ARRAYS], team_bytes: NONE, type_bytes: NONE, asking: 0, verified: NONE, repeats: NONE };

    pub fn new(team_bytes: usize, type_bytes: Option<usize>, asking: usize, verified: u32, repeats: u32) -> Head {
        let type_bytes = type_bytes.map_or(NONE, |bytes| bytes as u32);
        Head { team_bytes: team_bytes as u32, type_bytes, asking: asking as u32, verified, repeats, ..Head::NONE }
    }
}

#[cfg(test)]
impl Body {
    pub fn head_mut(&mut self) -> &mut Head {
        Head::mut_from_prefix(self.0.as_mut_bytes()).expect("a head").0
    }

    pub fn words_mut(&mut self) -> &mut [u64] {
        let end = self.head().starts[0] as usize;
        &mut self.0[..end]
    }

    pub fn columns_mut(&mut self) -> &mut [Column] {
        self.array_mut(0)
    }

    pub fn extras_mut(&mut self) -> &mut [Extra] {
        self.array_mut(1)
    }

    pub fn values_mut(&mut self) -> &mut [Value] {
        self.array_mut(2)
    }

    pub fn lists_mut(&mut self) -> &mut [u32] {
        self.array_mut(3)
    }

    pub fn texts_mut(&mut self) -> &mut [u8] {
        self.array_mut(4)
    }

    fn array_mut<T: Plain>(&mut self, place: usize) -> &mut [T] {
        let starts = self.head().starts;
        let end = starts.get(place + 1).map_or(self.0.len(), |end| *end as usize);
        let bytes = self.0[starts[place] as usize..end].as_mut_bytes();
        let count = bytes.len() / size_of::<T>();
        <[T]>::mut_from_prefix_with_elems(bytes, count).expect("so many").0
    }
}
