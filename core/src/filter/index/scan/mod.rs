//! An event in JSON, read once: the fields in use are found, everything else is passed over.
//!
//! What is passed over is read all the same as far as its grammar goes, so that no event is matched that
//! [`json::parse`](crate::codec::json::parse) would refuse. What is rare (escapes in a name, in a value that is looked at or in what the
//! envelope says, a name twice, objects of an array that is on the way to a field, another version of CloudEvents) is [`Unusual`]: the caller reads the whole.

mod expected;
mod read;

#[cfg(test)]
mod tests;

use std::str;

use self::{expected::Expected, read::Reader};
use super::{
    found::{Found, Source, weight},
    projection::Projection,
    scratch::Room,
};
use crate::{
    codec::tape::{MAX_BYTES, Unusual},
    filter::{MAX_FIELD_WEIGHT, Number, Rule, literals::Scalar},
};

/// What was found in one event. Used again for the next one.
#[derive(Debug, Default)]
pub struct Scanner {
    /// By field.
    pub(super) slots: Vec<Slot>,
    /// Values of arrays.
    pub(super) many: Vec<Place>,
    /// Objects that were met, by [`Scanner::generation`].
    pub(super) met: Vec<u32>,
    /// Texts that do not stand in the event as they are.
    pub(super) written: String,
    /// An array of a field has arrays or objects in it: whoever reads the whole weighs them too, and may find that a filter costs too
    /// much. See [`MAX_FIELD_WEIGHT`].
    pub(super) weighs_less: bool,
    /// Of which event a slot is: nothing needs to be cleared.
    pub(super) generation: u32,
    /// Names of the events before.
    expected: Expected,
    /// Of the index, for whoever it reads for.
    pub(super) room: Room,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub generation: u32,
    pub is_many: bool,
    pub place: Place,
}

/// A value: where it stands. Of an array: where its values begin and end among the many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Missing,
    Null,
    False,
    True,
    /// Digits.
    Number,
    /// Its bits are the place.
    Integer,
    Text,
    /// In [`Scanner::written`].
    Written,
}

/// The event's team and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'e> {
    pub team: &'e str,
    pub event_type: &'e str,
}

/// What an envelope says of its event beside the data, as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'e> {
    pub team: &'e str,
    pub event_type: &'e str,
    pub id: Option<&'e str>,
    pub source: Option<&'e str>,
    pub subject: Option<&'e str>,
    pub time: Option<&'e str>,
}

/// The fields of an event that has been scanned.
pub struct OfScan<'e, 's> {
    pub text: &'e str,
    pub scanner: &'s Scanner,
    /// Plain evaluation was asked for, which needs the whole event.
    pub asked: bool,
}

// === impl Scanner ===

impl Scanner {
    pub fn new() -> Scanner {
        Scanner::default()
    }

    /// Reads an envelope: an object with `team`, `type` and `data`, and what CloudEvents' 1.0 says of an event. Where the data come last,
    /// `addressed` is told team and type before they are read, and may refuse to have them read.
    pub fn scan<'e>(
        &mut self,
        event: &'e [u8],
        projection: &Projection,
        addressed: impl FnMut(Addressed<'e>) -> Result<(), Unusual>,
    ) -> Result<(&'e str, Head<'e>), Unusual> {
        if event.len() > MAX_BYTES {
            return Err(Unusual);
        }
        let text = str::from_utf8(event).map_err(|_| Unusual)?;
        self.begin(projection.bound, projection.nodes.len());
        self.expected.begin(projection);
        let mut reader = Reader { text, bytes: event, at: 0, projection, scanner: self };
        let head = reader.envelope(addressed)?;
        Ok((text, head))
    }

    /// Forgets the last event and makes room for fields and objects with numbers below these.
    pub(super) fn begin(&mut self, fields: usize, objects: usize) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 || self.slots.len() < fields || self.met.len() < objects {
            self.generation = 1;
            self.slots = vec![Slot::default(); fields.max(self.slots.len())];
            self.met = vec![0; objects.max(self.met.len())];
        }
        self.many.clear();
        self.written.clear();
        self.weighs_less = false;
    }

    /// The values of a field, by `scalar`.
    #[inline]
    pub(super) fn found<'e>(
        &self,
        field: u32,
        many: &mut Vec<Scalar<'e>>,
        scalar: impl Fn(Place) -> Option<Scalar<'e>>,
    ) -> Found<'e> {
        let slot = self.slots[field as usize];
        if slot.generation != self.generation {
            return Found::Missing;
        }
        if !slot.is_many {
            let scalar = scalar(slot.place);
            let too_heavy = scalar.is_some_and(|scalar| weight(&scalar) > MAX_FIELD_WEIGHT);
            return if too_heavy { Found::Unclear } else { scalar.map_or(Found::Missing, Found::One) };
        }
        let places = &self.many[slot.place.start as usize..slot.place.end as usize];
        many.extend(places.iter().filter_map(|place| scalar(*place)));
        if many.iter().map(weight).sum::<usize>() > MAX_FIELD_WEIGHT {
            many.clear();
            return Found::Unclear;
        }
        match many.len() {
            0 | 1 => many.pop().map_or(Found::Missing, Found::One),
            _ => Found::Many,
        }
    }
}

// === impl Place ===

impl Place {
    pub fn integer(integer: i64) -> Place {
        Place { kind: Kind::Integer, start: (integer as u64 >> 32) as u32, end: integer as u32 }
    }

    pub fn as_integer(self) -> i64 {
        (u64::from(self.start) << 32 | u64::from(self.end)) as i64
    }
}

// === impl OfScan ===

impl<'e> OfScan<'e, '_> {
    fn scalar(&self, place: Place) -> Option<Scalar<'e>> {
        let text = || &self.text[place.start as usize..place.end as usize];
        match place.kind {
            Kind::Missing | Kind::Integer | Kind::Written => None,
            Kind::Null => Some(Scalar::Null),
            Kind::False => Some(Scalar::Boolean(false)),
            Kind::True => Some(Scalar::Boolean(true)),
            Kind::Number => Some(Scalar::Number(Number::read_digits(text()))),
            Kind::Text => Some(Scalar::Text(text())),
        }
    }
}

impl<'e> Source<'e> for OfScan<'e, '_> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'e>>) -> Found<'e> {
        self.scanner.found(field, many, |place| self.scalar(place))
    }

    fn holds(&mut self, _: &Rule) -> bool {
        self.asked = true;
        false
    }
}
