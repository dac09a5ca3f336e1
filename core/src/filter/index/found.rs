//! What an event has in one field.

use super::fields::{FieldPath, Fields};
use crate::filter::{Datum, Look, MAX_FIELD_WEIGHT, Rule, VALUE_WEIGHT, budget::Bill, literals::Scalar};

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
    /// What arrays on the way to fields may still weigh: [`MAX_WAYS_WEIGHT`] at first, for all fields together.
    pub ways: usize,
}

/// The most that arrays on the way to fields may weigh together. The same array may be on the way to many fields, and is gone through
/// for each of them.
pub const MAX_WAYS_WEIGHT: usize = 4 * MAX_FIELD_WEIGHT;

// === impl OfDatum ===

impl<'a, D: Datum<'a>> Source<'a> for OfDatum<'_, '_, D> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'a>>) -> Found<'a> {
        find(self.data, self.fields.path(field), many, &mut self.ways)
    }

    fn holds(&mut self, rule: &Rule) -> bool {
        match &mut self.bill {
            Some(bill) => bill.holds(rule, self.event_type, self.data),
            None => rule.holds(self.event_type, self.data),
        }
    }
}

fn find<'a, D: Datum<'a>>(data: D, path: &FieldPath, many: &mut Vec<Scalar<'a>>, ways: &mut usize) -> Found<'a> {
    let Some((last, way)) = path.split_last() else { return Found::Missing };
    let mut object = data;
    for name in way {
        let Some(value) = object.member(name) else { return Found::Missing };
        object = match value.look() {
            Look::Object => value,
            Look::Array(_) => match only_object(value, ways) {
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
        Ok(scalar) => {
            many.push(scalar);
            take(left, weight(&scalar))
        }
        // What is no value is looked at all the same.
        Err(Look::Array(mut elements)) => {
            take(left, VALUE_WEIGHT) && elements.all(|element| flatten(element, many, left))
        }
        Err(_) => take(left, VALUE_WEIGHT),
    }
}

/// Whether there was so much left.
fn take(left: &mut usize, weight: usize) -> bool {
    let still = left.checked_sub(weight);
    *left = still.unwrap_or(0);
    still.is_some()
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

/// Of too many elements nobody says more than that they are several.
fn only_object<'a, D: Datum<'a>>(value: D, left: &mut usize) -> Objects<D> {
    if !take(left, VALUE_WEIGHT) {
        return Objects::Several;
    }
    match value.look() {
        Look::Object => Objects::One(value),
        Look::Array(elements) => {
            let mut seen = Objects::None;
            for element in elements {
                seen = match (seen, only_object(element, left)) {
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
