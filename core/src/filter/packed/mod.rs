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
//! How names, sizes and numbers are written is in [`coded`].
//!
//! What is deliberately absent: whatever few conditions have (ends of texts, many values, `$or`). It stands beside as it is: the *dear*.

pub(super) mod gathered;
#[cfg(test)]
mod tests;

use std::{iter, slice};

use prefetch_index::prefetch_index;

use super::{
    Attribute, TextTest,
    alternatives::{Accepted, Alternatives, Ranges},
    coded::{self, Reader},
    literals::{Few, Named},
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

/// A condition on one object that is made of conditions on several fields, or on the event itself.
#[derive(Clone, Debug)]
pub(super) enum Group {
    /// One of these must hold.
    Any(Choice),
    /// This must not hold; with its place in the filter.
    Not(Box<str>, Packed),
    Attribute(Attribute, OfAttribute),
}

/// Objects of `$or`, or filters of `any`.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// All of them, in the order written.
    pub several: Box<[Packed]>,
    /// The conditions of those that ask for the same field and nothing else, as one condition: its values are gone through once
    /// for all of them.
    pub together: Box<[(Box<str>, Alternatives)]>,
    /// The places of those that are not among the conditions tried together.
    apart: Box<[usize]>,
}

/// A condition on what CloudEvents says of an event beside its data.
#[derive(Clone, Debug)]
pub(super) struct OfAttribute {
    /// As in a [`Condition`].
    pub filter: Box<str>,
    pub alternatives: Alternatives,
}

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

// === impl Packed ===

impl Packed {
    pub fn asked(&self) -> Asked<'_> {
        Asked { text: &self.text, dear: self.dear.as_deref().map_or(&[], |Beside(dear)| dear) }
    }

    /// Has what whoever goes through it needs first brought into the cache, without waiting for it.
    pub fn fetch(&self) {
        prefetch_index(self.text.as_bytes(), 0);
        self.dear.iter().for_each(|beside| prefetch_index(slice::from_ref(&**beside), 0));
    }
}

// === impl Asked ===

impl<'a> Asked<'a> {
    /// Leaves first, then what is inside of fields, then groups.
    pub fn items(self) -> impl Iterator<Item = Item<'a>> {
        let mut left = Reader(self.text);
        iter::from_fn(move || if left.is_empty() { None } else { item(&mut left, self.dear) })
    }
}

// === impl Choice ===

impl Choice {
    /// Those that are not among the conditions tried together.
    pub fn apart(&self) -> impl Iterator<Item = &Packed> {
        self.apart.iter().map(|place| &self.several[*place])
    }
}

fn item<'a>(left: &mut Reader<'a>, dear: &'a [Dear]) -> Option<Item<'a>> {
    let kind = left.digits();
    match kind {
        INNER => {
            let field = left.text();
            Some(Item::Inner(field, Asked { text: left.text(), dear }))
        }
        GROUP => match dear.get(left.digits() as usize)? {
            Dear::Group(group) => Some(Item::Group(group)),
            Dear::Texts(_) | Dear::Alternatives(_) => None,
        },
        leaf => {
            let field = left.text();
            let filter = if leaf & SAME == 0 { left.text() } else { field };
            let accepted = if leaf & DEAR == 0 { accepted(left) } else { accepted_dear(left, dear)? };
            Some(Item::Leaf(Condition { filter, field, accepted }))
        }
    }
}

fn accepted_dear<'a>(left: &mut Reader<'a>, dear: &'a [Dear]) -> Option<Accepted<'a>> {
    match dear.get(left.digits() as usize)? {
        Dear::Texts(texts) => Some(Accepted { texts, ..Accepted::NOTHING }),
        Dear::Alternatives(alternatives) => Some(alternatives.accepted()),
        Dear::Group(_) => None,
    }
}

fn accepted<'a>(left: &mut Reader<'a>) -> Accepted<'a> {
    let flags = left.digits();
    let [null, yes, no, present, absent] = [NULL, YES, NO, PRESENT, ABSENT].map(|flag| flags & flag != 0);
    let [texts, numbers, ranges] = [(); 3].map(|()| Reader(left.text()));
    Accepted {
        equals: Named::Few(Few {
            words: [null, yes, no],
            texts: coded::Texts(texts),
            numbers: coded::Numbers(numbers),
        }),
        present,
        absent,
        ranges: Ranges::Coded(coded::Ranges(ranges)),
        ..Accepted::NOTHING
    }
}
