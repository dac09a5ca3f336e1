//! The conditions of a clause in one piece of memory. As a tree they lie in a dozen, each with what the allocator rounds up, and there are
//! as many trees as subscriptions; and whoever goes through them waits for each piece.
//!
//! ```text
//! conditions   = item*                          leaves, then what is inside of fields, then groups
//! item         = kind, name of filter, unless it is that of the field, name of field, alternatives
//!              | kind, name of field, size of conditions, conditions
//!              | kind, place among the dear
//! alternatives = flags, size of texts, text*, size of numbers, number*, size of ranges, range*
//!              | place among the dear
//! ```
//!
//! Sizes, places and numbers are digits to base 64, the lowest first, all but the last with 64 added to them: each is a character of ASCII,
//! so that all of it is a text, out of which names and texts are taken as they are.
//!
//! What is deliberately absent: whatever few conditions have (ends of texts, many values, `$or`). It stands beside as it is: the *dear*.

mod write;

#[cfg(test)]
mod tests;

use std::{iter, ops::Bound};

use super::{
    Number, TextTest,
    alternatives::{self, Accepted, Alternatives, Range},
    clause::{Branch, Group},
    literals,
};

/// What must hold of one object.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    text: Box<str>,
    dear: Option<Box<Beside>>,
}

/// In a place of its own, because few have any.
#[derive(Clone, Debug)]
struct Beside(Box<[Dear]>);

#[derive(Clone, Debug)]
pub(super) enum Dear {
    /// Alternatives that are nothing else.
    Texts(Box<[TextTest]>),
    Alternatives(Box<Alternatives>),
    Group(Box<Group>),
}

/// What must hold of one object: a part of a [`Packed`].
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    text: &'a str,
    dear: &'a [Dear],
}

/// One thing that must hold of an object.
pub(super) enum Item<'a> {
    /// Of one field's value.
    Leaf(Condition<'a>),
    /// Of the object in a field.
    Inner(&'a str, Asked<'a>),
    Group(&'a Group),
}

/// A condition on one field.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    /// The filter keys that lead here, as the subscription names them: `licenseFields.seats`.
    pub filter: &'a str,
    pub field: &'a str,
    pub accepted: Accepted<'a>,
}

/// A few literals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    /// `null`, `true`, `false`.
    pub words: [bool; 3],
    pub texts: Texts<'a>,
    pub numbers: Numbers<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a>(Reader<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a>(Reader<'a>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges<'a>(Reader<'a>);

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a str);

// Kinds of items.
const LEAF: u32 = 0;
/// The filter has the field's name.
const SAME: u32 = 1;
/// The alternatives stand among the dear.
const DEAR: u32 = 2;
const INNER: u32 = 4;
const GROUP: u32 = 5;

// Flags of alternatives.
const NULL: u32 = 1;
const YES: u32 = 2;
const NO: u32 = 4;
const PRESENT: u32 = 8;
const ABSENT: u32 = 16;

// Kinds of a range's ends.
const UNBOUNDED: u32 = 0;
const INCLUDED: u32 = 1;
const EXCLUDED: u32 = 2;

/// Digits' base, and what marks one that others follow.
const BASE: u128 = 64;

// === impl Packed ===

impl Packed {
    pub fn of(branch: Branch) -> Packed {
        let (text, dear) = write::conditions(branch);
        Packed { text, dear: (!dear.is_empty()).then(|| Box::new(Beside(dear))) }
    }

    pub fn asked(&self) -> Asked<'_> {
        Asked { text: &self.text, dear: self.dear.as_deref().map_or(&[], |Beside(dear)| dear) }
    }

    /// A byte of it, so that it is in the cache.
    pub fn first(&self) -> u8 {
        self.text.as_bytes().first().copied().unwrap_or_default()
    }
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// Leaves first, then what is inside of fields, then groups.
    pub fn items(self) -> impl Iterator<Item = Item<'a>> {
        let mut left = Reader(self.text);
        iter::from_fn(move || if left.is_empty() { None } else { left.item(self.dear) })
    }
}

// === impl Named ===

impl Named<'_> {
    pub const NOTHING: Named<'static> =
        Named { words: [false; 3], texts: Texts(Reader("")), numbers: Numbers(Reader("")) };
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing is cut short in what a [writer](write) wrote; of what were, the rest would be nothing.
    fn cut(&mut self, size: usize) -> &'a str {
        let (cut, left) = self.0.split_at_checked(size).unwrap_or_default();
        self.0 = left;
        cut
    }

    fn digits(&mut self) -> u32 {
        // Nearly always a single one.
        match self.0.as_bytes().first() {
            Some(digit) if u128::from(*digit) < BASE => {
                self.0 = &self.0[1..];
                u32::from(*digit)
            }
            _ => self.wide() as u32,
        }
    }

    fn wide(&mut self) -> u128 {
        let mut value = 0;
        for place in 0.. {
            let digit = u128::from(self.cut(1).bytes().next().unwrap_or_default());
            value |= (digit % BASE) << (place * BASE.ilog2()).min(u128::BITS - 1);
            if digit < BASE {
                break;
            }
        }
        value
    }

    fn text(&mut self) -> &'a str {
        let size = self.digits();
        self.cut(size as usize)
    }

    fn item(&mut self, dear: &'a [Dear]) -> Option<Item<'a>> {
        let kind = self.digits();
        match kind {
            INNER => {
                let field = self.text();
                Some(Item::Inner(field, Asked { text: self.text(), dear }))
            }
            GROUP => match dear.get(self.digits() as usize)? {
                Dear::Group(group) => Some(Item::Group(group)),
                Dear::Texts(_) | Dear::Alternatives(_) => None,
            },
            leaf => {
                let field = self.text();
                let filter = if leaf & SAME == 0 { self.text() } else { field };
                let accepted = if leaf & DEAR == 0 { self.accepted() } else { self.accepted_dear(dear)? };
                Some(Item::Leaf(Condition { filter, field, accepted }))
            }
        }
    }

    fn accepted_dear(&mut self, dear: &'a [Dear]) -> Option<Accepted<'a>> {
        match dear.get(self.digits() as usize)? {
            Dear::Texts(texts) => Some(Accepted { texts, ..Accepted::NOTHING }),
            Dear::Alternatives(alternatives) => Some(alternatives.accepted()),
            Dear::Group(_) => None,
        }
    }

    fn accepted(&mut self) -> Accepted<'a> {
        let flags = self.digits();
        let [null, yes, no, present, absent] = [NULL, YES, NO, PRESENT, ABSENT].map(|flag| flags & flag != 0);
        let [texts, numbers, ranges] = [(); 3].map(|()| Reader(self.text()));
        Accepted {
            equals: literals::Named::Packed(Named {
                words: [null, yes, no],
                texts: Texts(texts),
                numbers: Numbers(numbers),
            }),
            present,
            absent,
            ranges: alternatives::Ranges::Packed(Ranges(ranges)),
            ..Accepted::NOTHING
        }
    }

    fn number(&mut self) -> Number {
        let bits = self.wide();
        match bits & 3 {
            0 => Number::Integer((bits >> 2) as i128),
            1 => Number::Integer(!((bits >> 2) as i128)),
            _ => Number::Real(f64::from_bits((bits >> 2) as u64)),
        }
    }

    fn bound(&mut self) -> Bound<Number> {
        match self.digits() {
            INCLUDED => Bound::Included(self.number()),
            EXCLUDED => Bound::Excluded(self.number()),
            _ => Bound::Unbounded,
        }
    }
}

impl Numbers<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        (!self.0.is_empty()).then(|| self.0.text())
    }
}

impl Iterator for Numbers<'_> {
    type Item = Number;

    fn next(&mut self) -> Option<Number> {
        (!self.0.is_empty()).then(|| self.0.number())
    }
}

impl Iterator for Ranges<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        (!self.0.is_empty()).then(|| (self.0.bound(), self.0.bound()))
    }
}
