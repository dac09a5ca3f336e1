//! A text as dictionaries hold it: what of its hash is needed to find it, and the text itself where that is short.
//!
//! Most values that filters name are shorter than a pointer to them and its length. A column keeps the [tags](Word::tag) of its words side by
//! side: most values of an event nobody names, and these tell.

use std::cmp::Ordering;

use super::hash::hash;

/// Of two short texts these are equal when the texts are, of two long ones when their [tags](Word::tag) are: then somebody must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Upper bits of the hash, and the length in the lowest byte; [`LONG`] of a long one.
    pub tag: u32,
    /// The bytes in order, zeros behind them. Of a long one where it stands and its length, which [`Word::of`] does not know.
    pub bytes: [u32; 3],
}

/// The longest text that is held in place.
pub(super) const MAX_SHORT: usize = 12;
const LENGTH: u32 = 0xFF;
const LONG: u32 = LENGTH;

// === impl Word ===

impl Word {
    #[inline]
    pub fn of(text: &[u8]) -> Word {
        let hash = hash(text) as u32 & !LENGTH;
        if text.len() > MAX_SHORT {
            return Word { tag: hash | LONG, bytes: [0; 3] };
        }
        let (low, high) = halves(text);
        Word { tag: hash | text.len() as u32, bytes: [low as u32, (low >> 32) as u32, high] }
    }

    /// Of a long text, which stands there.
    pub fn at(self, place: u32, text: &[u8]) -> Word {
        Word { bytes: [place, text.len() as u32, 0], ..self }
    }

    #[inline]
    pub fn is_long(self) -> bool {
        self.tag & LENGTH == LONG
    }

    /// The order of two short texts of one tag, each by its [`Word::bytes`].
    #[inline]
    pub fn cmp_short(bytes: [u32; 3], other: [u32; 3]) -> Ordering {
        let number = |bytes: [u32; 3]| bytes.map(u32::swap_bytes);
        number(bytes).cmp(&number(other))
    }

    /// The text, short or among the long ones.
    #[cfg(test)]
    pub fn text(self, long: &[u8]) -> Vec<u8> {
        if self.is_long() {
            return Word::long_in(self.bytes, long).to_vec();
        }
        self.bytes.iter().flat_map(|part| part.to_le_bytes()).take((self.tag & LENGTH) as usize).collect()
    }

    /// A long text, by its [`Word::bytes`].
    pub fn long_in(bytes: [u32; 3], long: &[u8]) -> &[u8] {
        &long[bytes[0] as usize..][..bytes[1] as usize]
    }
}

/// Eight bytes and four, in order, zeros behind them.
#[inline]
fn halves(text: &[u8]) -> (u64, u32) {
    let length = text.len();
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<4>()) {
        // What the last four have in common with the first eight is shifted out.
        let behind = u64::from(u32::from_le_bytes(*last)) >> (8 * (MAX_SHORT - length));
        (u64::from_le_bytes(*first), behind as u32)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // What the two have in common is the same in both.
        (u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (length - 4)), 0)
    } else {
        (text.iter().rev().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text() {
        for length in 0..20 {
            let text: Vec<u8> = (0..length).map(|at| b'a' + at).collect();
            let word = if text.len() > MAX_SHORT { Word::of(&text).at(0, &text) } else { Word::of(&text) };
            assert_eq!(word.text(&text), text);
            assert_eq!(word.tag, Word::of(&text).tag);
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 1;
                assert_ne!(Word::of(&other), Word::of(&text), "{length}, {at}");
            }
        }
        assert_ne!(Word::of(b"a"), Word::of(b"a\0"));
    }
}
