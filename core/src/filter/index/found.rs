//! What an event has in one field.

use super::fields::{FieldPath, Fields};
use crate::filter::{Datum, Look, Rule, alternatives::Scalar};

/// Where an event's fields are looked up, whatever holds them.
pub trait Source<'a> {
    /// The values of a field; more than one are put into `many`, which is empty before.
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'a>>) -> Found<'a>;

    /// Plain evaluation, for what the index alone cannot say.
    fn holds(&mut self, rule: &Rule) -> bool;
}

/// The values of one field.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// None: `exists: false` holds.
    Missing,
    One(Scalar<'a>),
    /// Some of an array.
    Many,
    /// The way leads through an array of several objects. Which of them has which value matters then: only plain
    /// evaluation can tell.
    Unclear,
}

/// The fields of an event that has been read.
pub struct OfDatum<'i, 't, D> {
    pub fields: &'i Fields,
    pub event_type: &'t str,
    pub data: D,
}

// === impl OfDatum ===

impl<'a, D: Datum<'a>> Source<'a> for OfDatum<'_, '_, D> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'a>>) -> Found<'a> {
        find(self.data, self.fields.path(field), many)
    }

    fn holds(&mut self, rule: &Rule) -> bool {
        rule.holds(self.event_type, self.data)
    }
}

fn find<'a, D: Datum<'a>>(data: D, path: &FieldPath, many: &mut Vec<Scalar<'a>>) -> Found<'a> {
    let Some((last, way)) = path.split_last() else { return Found::Missing };
    let mut object = data;
    for name in way {
        let Some(value) = object.member(name) else { return Found::Missing };
        object = match value.look() {
            Look::Object => value,
            Look::Array(_) => match only_object(value) {
                Objects::None => return Found::Missing,
                Objects::One(object) => object,
                Objects::Several => return Found::Unclear,
            },
            _ => return Found::Missing,
        };
    }
    let Some(value) = object.member(last) else { return Found::Missing };
    match Scalar::of(value.look()) {
        Ok(scalar) => Found::One(scalar),
        Err(Look::Array(elements)) => {
            elements.for_each(|element| flatten(element, many));
            match many.len() {
                0 | 1 => many.pop().map_or(Found::Missing, Found::One),
                _ => Found::Many,
            }
        }
        Err(_) => Found::Missing,
    }
}

/// An array stands for its elements, those of inner arrays too; objects among them are no values.
fn flatten<'a>(value: impl Datum<'a>, many: &mut Vec<Scalar<'a>>) {
    match Scalar::of(value.look()) {
        Ok(scalar) => many.push(scalar),
        Err(Look::Array(elements)) => elements.for_each(|element| flatten(element, many)),
        Err(_) => {}
    }
}

enum Objects<D> {
    None,
    One(D),
    Several,
}

fn only_object<'a, D: Datum<'a>>(value: D) -> Objects<D> {
    match value.look() {
        Look::Object => Objects::One(value),
        Look::Array(elements) => {
            let mut seen = Objects::None;
            for element in elements {
                seen = match (seen, only_object(element)) {
                    (seen, Objects::None) => seen,
                    (Objects::None, found) => found,
                    _ => return Objects::Several,
                };
            }
            seen
        }
        _ => Objects::None,
    }
}
