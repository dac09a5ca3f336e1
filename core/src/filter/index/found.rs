//! What an event has in one field.

use super::fields::{FieldPath, Fields};
use crate::filter::{Datum, Look, MAX_FIELD_WEIGHT, Rule, VALUE_WEIGHT, alternatives::Scalar, budget::Bill};

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
    /// evaluation can tell. Or the values weigh more than [`MAX_FIELD_WEIGHT`]: each filter must pay for what it makes of them.
    Unclear,
}

/// The fields of an event that has been read.
pub struct OfDatum<'i, 't, D> {
    pub fields: &'i Fields,
    pub event_type: &'t str,
    pub data: D,
    /// Who pays for plain evaluation; `None`: nobody asks.
    pub bill: Option<&'t mut Bill>,
}

// === impl OfDatum ===

impl<'a, D: Datum<'a>> Source<'a> for OfDatum<'_, '_, D> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'a>>) -> Found<'a> {
        find(self.data, self.fields.path(field), many)
    }

    fn holds(&mut self, rule: &Rule) -> bool {
        match &mut self.bill {
            Some(bill) => bill.holds(rule, self.event_type, self.data),
            None => rule.holds(self.event_type, self.data),
        }
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
        Ok(scalar) if weight(&scalar) > MAX_FIELD_WEIGHT => Found::Unclear,
        Ok(scalar) => Found::One(scalar),
        Err(Look::Array(mut elements)) => {
            let mut left = MAX_FIELD_WEIGHT;
            if !elements.all(|element| flatten(element, many, &mut left)) {
                many.clear();
                return Found::Unclear;
            }
            match many.len() {
                0 | 1 => many.pop().map_or(Found::Missing, Found::One),
                _ => Found::Many,
            }
        }
        Err(_) => Found::Missing,
    }
}

/// An array stands for its elements, those of inner arrays too; objects among them are no values. False if they weigh too much.
fn flatten<'a>(value: impl Datum<'a>, many: &mut Vec<Scalar<'a>>, left: &mut usize) -> bool {
    match Scalar::of(value.look()) {
        Ok(scalar) => match left.checked_sub(weight(&scalar)) {
            Some(still) => {
                *left = still;
                many.push(scalar);
                true
            }
            None => false,
        },
        Err(Look::Array(mut elements)) => elements.all(|element| flatten(element, many, left)),
        Err(_) => true,
    }
}

/// In bytes, as [`MAX_FIELD_WEIGHT`] counts.
pub fn weight(scalar: &Scalar<'_>) -> usize {
    VALUE_WEIGHT
        + match scalar {
            Scalar::Text(text) => text.len(),
            _ => 0,
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
