//! What a condition is tried on, whatever holds it: a `serde_json` value, or a place in a document that was never made one.

use serde_json::Value;

use super::{
    Number,
    budget::{COMPARED, COMPARISON, NUMBER, STEP},
};
use crate::{
    codec::tape::{self, Kind, View},
    domain::Event,
};

/// A value of an event's data, or the data itself. Copied freely: it is a reference or a place.
pub trait Datum<'a>: Copy {
    type Elements: Iterator<Item = Self>;

    fn look(self) -> Look<'a, Self::Elements>;

    /// The field of that name; `None` if there is none, or if this is no object. Of equal names the last counts.
    fn member(self, name: &str) -> Option<Self>;

    /// The event whose data this is, where it is known: some conditions ask for its time or its attributes.
    fn event(&self) -> Option<&Event>;

    /// What [`Datum::look`] costs beside a step, at most, in units: a number's digits are read.
    fn look_units(self) -> usize;

    /// What [`Datum::member`] costs at most, in units.
    fn member_units(self, name: &str) -> usize;
}

/// What a look-up in a map costs beside its name's length, in units.
const IN_A_MAP: usize = 60;

/// Data with the event that it belongs to. The event's own data is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Of<'e, D> {
    pub datum: D,
    pub event: &'e Event,
}

/// The elements of an array, each with the event.
#[derive(Clone, Debug)]
pub struct ElementsOf<'e, Elements> {
    elements: Elements,
    event: &'e Event,
}

/// What a value is. The fields of an object are asked for by name.
#[derive(Clone, Debug)]
pub enum Look<'a, Elements> {
    Null,
    Boolean(bool),
    /// `None`: not finite. It equals nothing and lies in no range.
    Number(Option<Number>),
    Text(&'a str),
    Array(Elements),
    Object,
}

impl<'a> Datum<'a> for &'a Value {
    type Elements = std::slice::Iter<'a, Value>;

    fn look(self) -> Look<'a, Self::Elements> {
        match self {
            Value::Null => Look::Null,
            Value::Bool(boolean) => Look::Boolean(*boolean),
            Value::Number(number) => Look::Number(Number::read(number)),
            Value::String(text) => Look::Text(text),
            Value::Array(elements) => Look::Array(elements.iter()),
            Value::Object(_) => Look::Object,
        }
    }

    fn member(self, name: &str) -> Option<&'a Value> {
        self.as_object()?.get(name)
    }

    fn event(&self) -> Option<&Event> {
        None
    }

    fn look_units(self) -> usize {
        self.as_number().map_or(0, |number| NUMBER + number.as_str().len())
    }

    fn member_units(self, name: &str) -> usize {
        IN_A_MAP + name.len() / COMPARED
    }
}

impl<'a> Datum<'a> for View<'a> {
    type Elements = tape::Elements<'a>;

    fn look(self) -> Look<'a, Self::Elements> {
        match self.kind() {
            Kind::Null => Look::Null,
            Kind::Boolean(boolean) => Look::Boolean(boolean),
            Kind::Number(digits) => Look::Number(Number::read_digits(digits)),
            Kind::Text(text) => Look::Text(text),
            Kind::Array(elements) => Look::Array(elements),
            Kind::Object => Look::Object,
        }
    }

    fn member(self, name: &str) -> Option<View<'a>> {
        View::member(self, name)
    }

    fn event(&self) -> Option<&Event> {
        None
    }

    fn look_units(self) -> usize {
        match self.digits() {
            0 => 0,
            digits => NUMBER + digits,
        }
    }

    fn member_units(self, name: &str) -> usize {
        STEP + self.most_members() * (COMPARISON + name.len() / COMPARED)
    }
}

impl<'a, 'e, D: Datum<'a>> Datum<'a> for Of<'e, D> {
    type Elements = ElementsOf<'e, D::Elements>;

    fn look(self) -> Look<'a, Self::Elements> {
        match self.datum.look() {
            Look::Null => Look::Null,
            Look::Boolean(boolean) => Look::Boolean(boolean),
            Look::Number(number) => Look::Number(number),
            Look::Text(text) => Look::Text(text),
            Look::Array(elements) => Look::Array(ElementsOf { elements, event: self.event }),
            Look::Object => Look::Object,
        }
    }

    fn member(self, name: &str) -> Option<Self> {
        Some(Of { datum: self.datum.member(name)?, event: self.event })
    }

    fn event(&self) -> Option<&Event> {
        Some(self.event)
    }

    fn look_units(self) -> usize {
        self.datum.look_units()
    }

    fn member_units(self, name: &str) -> usize {
        self.datum.member_units(name)
    }
}

impl<'e, Elements: Iterator> Iterator for ElementsOf<'e, Elements> {
    type Item = Of<'e, Elements::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(Of { datum: self.elements.next()?, event: self.event })
    }
}

/// A text that stands in no document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a>(pub &'a str);

impl<'a> Datum<'a> for Plain<'a> {
    type Elements = std::iter::Empty<Plain<'a>>;

    fn look(self) -> Look<'a, Self::Elements> {
        Look::Text(self.0)
    }

    fn member(self, _: &str) -> Option<Plain<'a>> {
        None
    }

    fn event(&self) -> Option<&Event> {
        None
    }

    fn look_units(self) -> usize {
        0
    }

    fn member_units(self, _: &str) -> usize {
        0
    }
}
