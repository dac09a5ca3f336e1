//! What a condition is tried on, whatever holds it: a `serde_json` value, or a place in a document that was never made one.

use serde_json::Value;

use super::Number;

/// A value of an event's data, or the data itself. Copied freely: it is a reference or a place.
pub trait Datum<'a>: Copy {
    type Elements: Iterator<Item = Self>;

    fn look(self) -> Look<'a, Self::Elements>;

    /// The field of that name; `None` if there is none, or if this is no object. Of equal names the last counts.
    fn member(self, name: &str) -> Option<Self>;
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
}
