//! Which name comes next: events of one producer have the same names in the same order, so the name after this one is guessed to be
//! the one that came after it the last time, and one comparison of a few words tells whether it is.
//!
//! A guess says nothing but where to look. What a name that is known means depends on the object it stands in and on nothing else,
//! and is kept beside it; a name that is not guessed right is read by its letters and kept in the place of another.

use std::sync::Arc;

use super::super::{hash::hash, projection::Projection};

/// Names that were read before. As many as stay: an event cannot make it grow.
#[derive(Debug, Default)]
pub struct Expected {
    /// Which projection gave the names their meaning.
    of: Option<Arc<()>>,
    /// The last one is no name's: of links that nobody follows.
    names: Vec<Name>,
}

/// A name that was read before.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// `"name":`, with zeros after it.
    literal: [u64; WORDS],
    length: u8,
    /// What came after it in its object, and what came first in the object that was its value.
    links: [u16; 2],
    /// In which object.
    pub of: u32,
    pub meaning: Meaning,
}

/// What a name means in an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The field that ends here, or none.
    pub field: Option<u32>,
    /// The node of the fields below, or none.
    pub node: Option<u32>,
}

/// A place that says which name comes here: after a name, or first in its value.
#[derive(Clone, Copy, Debug)]
pub struct Link(u32);

/// With quotes and colon.
const MAX_LENGTH: usize = WORDS * 8;
const WORDS: usize = 3;
const NAMES: usize = 512;
/// A name may stand in any of so many places.
const WAYS: usize = 4;
/// The object of no name.
const NOTHING: u32 = u32::MAX;

/// By length, the bits that count.
const MASKS: [[u64; WORDS]; 32] = masks();

// === impl Expected ===

impl Expected {
    /// The link of what comes first in an event.
    pub const FIRST: Link = Link(2 * NAMES as u32 + 1);

    /// To be called before each event.
    #[inline]
    pub fn begin(&mut self, projection: &Projection) {
        if self.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &projection.identity)) {
            self.of = Some(projection.identity.clone());
            self.names = vec![Name::NONE; NAMES + 1];
        }
    }

    /// The name that is guessed at this link.
    #[inline]
    pub fn at(&self, link: Link) -> (u32, &Name) {
        let place = self.names[link.0 as usize / 2].links[link.0 as usize % 2];
        (u32::from(place), &self.names[usize::from(place)])
    }

    /// From now on this name is guessed at this link. Returns its place, if it is one that is kept.
    #[cold]
    pub fn learn(&mut self, link: Link, of: u32, name: &[u8], meaning: Meaning) -> Option<u32> {
        let length = name.len() + 3;
        let mut literal = [0; MAX_LENGTH];
        let (quoted, _) = literal.split_at_mut_checked(length)?;
        quoted[0] = b'"';
        quoted[1..=name.len()].copy_from_slice(name);
        quoted[length - 2..].copy_from_slice(b"\":");
        let (words, _) = literal.as_chunks::<8>();
        let literal = std::array::from_fn(|word| u64::from_le_bytes(words[word]));

        let mixed = hash(name) ^ u64::from(of).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = (mixed >> 32) as usize % (NAMES / WAYS) * WAYS;
        let ways = &mut self.names[first..first + WAYS];
        let is_it = |known: &Name| known.of == of && known.literal == literal;
        let way = ways.iter().position(is_it).or_else(|| ways.iter().position(|known| known.of == NOTHING));
        let way = way.unwrap_or(mixed as usize % WAYS);
        if !is_it(&ways[way]) {
            ways[way] = Name { literal, length: length as u8, links: [NAMES as u16; 2], of, meaning };
        }
        let place = first + way;
        self.names[link.0 as usize / 2].links[link.0 as usize % 2] = place as u16;
        Some(place as u32)
    }
}

// === impl Name ===

impl Name {
    const NONE: Name = Name {
        literal: [0; WORDS],
        length: 0,
        links: [NAMES as u16; 2],
        of: NOTHING,
        meaning: Meaning { field: None, node: None },
    };

    /// How many bytes it takes with quotes and colon, if the text goes on with it in that object.
    #[inline]
    pub fn length_at(&self, text: &[u8], of: u32) -> Option<usize> {
        let (words, _) = text.first_chunk::<MAX_LENGTH>()?.as_chunks::<8>();
        let mask = &MASKS[usize::from(self.length) % MASKS.len()];
        let differs = |word: usize| (u64::from_le_bytes(words[word]) ^ self.literal[word]) & mask[word];
        let is_it = (differs(0) | differs(1) | differs(2)) == 0 && self.of == of;
        is_it.then_some(usize::from(self.length))
    }
}

// === impl Link ===

impl Link {
    /// Of what nobody follows.
    pub const NOWHERE: Link = Link(2 * NAMES as u32);

    #[inline]
    pub fn after(place: u32) -> Link {
        Link(2 * place)
    }

    #[inline]
    pub fn first_in(place: u32) -> Link {
        Link(2 * place + 1)
    }
}

const fn masks() -> [[u64; WORDS]; 32] {
    let mut masks = [[0; WORDS]; 32];
    let mut length = 0;
    while length < 32 {
        let mut byte = 0;
        while byte < length && byte < MAX_LENGTH {
            masks[length][byte / 8] |= 0xFF << (byte % 8 * 8);
            byte += 1;
        }
        length += 1;
    }
    masks
}
