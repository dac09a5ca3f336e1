//! What a block is made of, one array after another in one piece of memory: there are as many blocks as partitions, and each piece of
//! memory of its own costs a pointer, a length, what the allocator rounds up, and an event another page to be looked for.
//!
//! What every event needs stands in front, what it needs of the values that it has stands behind.

#[cfg(doc)]
use super::word::Word;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a body is made of, where it stands: in whole words a [`Head`], and behind it columns, extras, tags, words, values, lists, texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'b> {
    pub head: &'b Head,
    pub columns: &'b [Column],
    pub extras: &'b [Extra],
    /// Of each value the [`Word::tag`].
    pub tags: &'b [u32],
    pub words: &'b [u64],
    pub values: &'b [Value],
    pub lists: &'b [u32],
    pub texts: &'b [u8],
}

/// What is said of the whole block.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    /// Where the arrays begin.
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
    /// Where its tags and values begin, and how many there are.
    pub values: u32,
    pub count: u32,
    /// Answers other than texts; [`NONE`] where no row distinguishes them.
    pub extra: u32,
    /// The sets of rows that accept a value that is not named, and that accept none. [`NONE`]: both are those that do not ask, and there
    /// are at most 64 rows.
    pub sets: u32,
}

/// A text that rows name, without the tag that it stands under: of most values of an event nobody names, the tags tell that.
#[derive(Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Value {
    /// Of its [`Word`].
    pub bytes: [u32; 3],
    /// In a block of up to 64 rows the halves of a [word](Value::word): the rows that accept it. In a larger one:
    ///
    /// - a row and [`ONE`], or two rows: those that differ from `other`;
    /// - a handle and [`SEVERAL`]: those that differ from `other`, or, if it is [`DENSE`](super::block::DENSE), those that accept it.
    pub rows: [u32; 2],
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

/// No rows: what stands in the place of a second one.
pub(super) const ONE: u32 = u32::MAX;
pub(super) const SEVERAL: u32 = u32::MAX - 1;
/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// Arrays behind the head.
const ARRAYS: usize = 7;

/// What can be there as bytes.
pub(super) trait Plain: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Plain for T {}

const WORD: usize = size_of::<u64>();

// === impl Value ===

impl Value {
    /// Of up to 64 rows.
    #[inline]
    pub fn word(&self) -> u64 {
        u64::from(self.rows[0]) | u64::from(self.rows[1]) << 32
    }

    /// What [`Value::word`] gives back.
    pub fn halves(word: u64) -> [u32; 2] {
        [word as u32, (word >> 32) as u32]
    }
}

// === impl Body ===

impl<'b> Body<'b> {
    /// One piece of memory that holds the head and the arrays. Where they begin is said in it and need not be known before.
    pub fn put_together(&self) -> Vec<u64> {
        let Body { head, columns, extras, tags, words, values, lists, texts } = *self;
        let arrays: [&[u8]; ARRAYS] = [
            columns.as_bytes(),
            extras.as_bytes(),
            tags.as_bytes(),
            words.as_bytes(),
            values.as_bytes(),
            lists.as_bytes(),
            texts,
        ];
        let head_words = size_of::<Head>() / WORD;
        let mut all = Vec::with_capacity(arrays.iter().fold(head_words, |sum, bytes| sum + bytes.len().div_ceil(WORD)));
        all.resize(head_words, 0);
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
        let head = Head { starts, ..*head };
        all[..head_words].as_mut_bytes().copy_from_slice(head.as_bytes());
        all
    }

    /// Of what [`Body::put_together`] has made.
    #[inline]
    pub fn of(all: &'b [u64]) -> Body<'b> {
        // Of words that are always there.
        let head = Head::ref_from_prefix(all.as_bytes()).map_or(&Head::NONE, |(head, _)| head);
        let [columns, extras, tags, words, values, lists, texts] = head.starts.map(|start| start as usize);
        Body {
            head,
            columns: array(all, columns, extras),
            extras: array(all, extras, tags),
            tags: array(all, tags, words),
            words: all.get(words..values).unwrap_or_default(),
            values: array(all, values, lists),
            lists: array(all, lists, texts),
            texts: all.get(texts..).unwrap_or_default().as_bytes(),
        }
    }
}

/// What stands between these words.
#[inline]
fn array<T: Plain>(all: &[u64], start: usize, end: usize) -> &[T] {
    let bytes = all.get(start..end).unwrap_or_default().as_bytes();
    // Zeros behind them are fewer bytes than one takes, but for those of tags, lists and texts.
    <[T]>::ref_from_prefix_with_elems(bytes, bytes.len() / size_of::<T>()).map_or(&[], |(array, _)| array)
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

/// To be spoilt.
#[cfg(test)]
pub(super) struct BodyMut<'b>(pub &'b mut [u64]);

#[cfg(test)]
impl BodyMut<'_> {
    pub fn head(&mut self) -> &mut Head {
        Head::mut_from_prefix(self.0.as_mut_bytes()).expect("a head").0
    }

    pub fn columns(&mut self) -> &mut [Column] {
        self.array(0)
    }

    pub fn extras(&mut self) -> &mut [Extra] {
        self.array(1)
    }

    pub fn tags(&mut self) -> &mut [u32] {
        self.array(2)
    }

    pub fn words(&mut self) -> &mut [u64] {
        let starts = self.head().starts;
        &mut self.0[starts[3] as usize..starts[4] as usize]
    }

    pub fn values(&mut self) -> &mut [Value] {
        self.array(4)
    }

    pub fn lists(&mut self) -> &mut [u32] {
        self.array(5)
    }

    pub fn texts(&mut self) -> &mut [u8] {
        self.array(6)
    }

    fn array<T: Plain>(&mut self, place: usize) -> &mut [T] {
        let starts = self.head().starts;
        let end = starts.get(place + 1).map_or(self.0.len(), |end| *end as usize);
        let bytes = self.0[starts[place] as usize..end].as_mut_bytes();
        let count = bytes.len() / size_of::<T>();
        <[T]>::mut_from_prefix_with_elems(bytes, count).expect("so many").0
    }
}
