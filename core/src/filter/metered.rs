//! What a filter means, tried within a [`Budget`]: the same answers as [`naive`](super::naive), which knows no budget, or none at all.
//!
//! Where conditions ask for one field again and again (`$or`), its values are gone through once for all of them; a text is lowered,
//! or read as a version, an address or a time, once for all tests on it.

use super::{
    Attribute, Budget, Clause, Datum, Look, TooCostly,
    alternatives::{Accepted, Composed, Excluded},
    budget::{COMPARISON, ITEM, STEP},
    datum::{Of, Plain},
    literals::{Named, Scalar},
    packed::{Asked, Choice, Group, Item, OfAttribute},
    text::Reading,
};
use crate::domain::{Event, Timestamp};

type Answer = Result<bool, TooCostly>;

// === of a clause ===

impl Clause {
    /// Whether the data passes. The event type is the caller's to compare.
    pub fn matches_within<'a>(&self, data: impl Datum<'a>, budget: &mut Budget) -> Answer {
        let event = data.event();
        self.root.asked().hold_within(Some(data), event, budget)
    }
}

/// The field of that name, the way to it paid for.
fn field<'a, D: Datum<'a>>(object: Option<D>, name: &str, budget: &mut Budget) -> Result<Option<D>, TooCostly> {
    let Some(object) = object else { return Ok(None) };
    budget.spend(object.member_units(name))?;
    Ok(object.member(name))
}

impl Asked<'_> {
    fn hold_within<'a, D: Datum<'a>>(self, object: Option<D>, event: Option<&Event>, budget: &mut Budget) -> Answer {
        for item in self.items() {
            budget.spend(ITEM)?;
            let holds = match item {
                Item::Leaf(leaf) => {
                    let value = field(object, leaf.field, budget)?;
                    leaf.accepted.hold_within(value, budget)?
                }
                Item::Inner(name, inside) => {
                    let value = field(object, name, budget)?;
                    inside.hold_in_within(value, event, budget)?
                }
                Item::Group(group) => group.hold_within(object, event, budget)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hold_in_within<'a, D: Datum<'a>>(self, value: Option<D>, event: Option<&Event>, budget: &mut Budget) -> Answer {
        let mut met = false;
        if let Some(value) = value
            && self.hold_in_any_within(value, event, &mut met, budget)?
        {
            return Ok(true);
        }
        if met { Ok(false) } else { self.hold_within(None::<D>, event, budget) }
    }

    fn hold_in_any_within<'a, D: Datum<'a>>(
        self,
        value: D,
        event: Option<&Event>,
        met: &mut bool,
        budget: &mut Budget,
    ) -> Answer {
        budget.spend(STEP + value.look_units())?;
        match value.look() {
            Look::Array(elements) => {
                for element in elements {
                    if self.hold_in_any_within(element, event, met, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Look::Object => {
                *met = true;
                self.hold_within(Some(value), event, budget)
            }
            _ => Ok(false),
        }
    }
}

impl Group {
    fn hold_within<'a, D: Datum<'a>>(&self, object: Option<D>, event: Option<&Event>, budget: &mut Budget) -> Answer {
        budget.spend(STEP)?;
        match self {
            Group::Any(choice) => choice.hold_within(object, event, budget),
            Group::Not(_, asked) => Ok(!asked.asked().hold_within(object, event, budget)?),
            Group::Attribute(attribute, condition) => condition.hold_of_within(*attribute, event, budget),
        }
    }
}

impl Choice {
    fn hold_within<'a, D: Datum<'a>>(&self, object: Option<D>, event: Option<&Event>, budget: &mut Budget) -> Answer {
        for (name, alternatives) in &self.together {
            let value = field(object, name, budget)?;
            if alternatives.accepted().hold_within(value, budget)? {
                return Ok(true);
            }
        }
        for asked in self.apart() {
            if asked.asked().hold_within(object, event, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl OfAttribute {
    fn hold_of_within(&self, attribute: Attribute, event: Option<&Event>, budget: &mut Budget) -> Answer {
        let text = event.and_then(|event| attribute.of_event(event));
        let accepted = self.alternatives.accepted();
        match (&text, event) {
            (Some(text), Some(event)) => accepted.hold_within(Some(Of { datum: Plain(text), event }), budget),
            _ => accepted.hold_within(None::<Plain<'_>>, budget),
        }
    }
}

// === of a field ===

impl Accepted<'_> {
    fn hold_within<'a, D: Datum<'a>>(self, value: Option<D>, budget: &mut Budget) -> Answer {
        budget.spend(STEP)?;
        let mut met = false;
        if let Some(value) = value
            && self.accept_any_within(value, &mut met, budget)?
        {
            return Ok(true);
        }
        if self.absent && !met {
            return Ok(true);
        }
        match self.composed {
            Some(composed) => composed.hold_within(value, budget),
            None => Ok(false),
        }
    }

    fn accept_any_within<'a, D: Datum<'a>>(self, value: D, met: &mut bool, budget: &mut Budget) -> Answer {
        budget.spend(STEP + value.look_units())?;
        let scalar = match Scalar::of(value.look()) {
            Ok(scalar) => scalar,
            Err(Look::Array(elements)) => {
                for element in elements {
                    if self.accept_any_within(element, met, budget)? {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            Err(_) => return Ok(false),
        };
        *met = true;
        self.accept_within(scalar, value.event().and_then(|event| event.time), budget)
    }

    /// Whether one of them, of those that need no more than a value and the event's time, accepts this one.
    fn accept_within(self, scalar: Scalar<'_>, event_time: Option<Timestamp>, budget: &mut Budget) -> Answer {
        if self.present || self.equals.contain_within(scalar, budget)? {
            return Ok(true);
        }
        if let Scalar::Number(Some(number)) = scalar {
            budget.spend(self.ranges.units())?;
            if self.ranges.contain(&number) {
                return Ok(true);
            }
        }
        let mut reading = match scalar {
            Scalar::Text(text) => Some(Reading::of(text)),
            _ => None,
        };
        if let Some(reading) = &mut reading {
            for test in self.texts {
                budget.spend(test.units(reading))?;
                if test.holds(reading) {
                    return Ok(true);
                }
            }
        }
        for excluded in self.anything_but {
            if !excluded.names_within(scalar, reading.as_mut(), budget)? {
                return Ok(true);
            }
        }
        if let (Some(reading), Some(composed)) = (&mut reading, self.composed) {
            for test in &composed.times {
                budget.spend(COMPARISON + reading.units_for_time())?;
                if test.holds(reading.time(), event_time) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Composed {
    fn hold_within<'a, D: Datum<'a>>(&self, value: Option<D>, budget: &mut Budget) -> Answer {
        'several: for all in &self.all {
            for condition in all {
                if !condition.accepted().hold_within(value, budget)? {
                    continue 'several;
                }
            }
            return Ok(true);
        }
        for not in &self.not {
            if !not.accepted().hold_within(value, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Excluded {
    fn names_within(&self, scalar: Scalar<'_>, reading: Option<&mut Reading<'_>>, budget: &mut Budget) -> Answer {
        match (self, reading) {
            (Excluded::Literals(literals), _) => Named::Set(literals).contain_within(scalar, budget),
            (Excluded::Texts(tests), Some(reading)) => {
                for test in tests {
                    budget.spend(test.units(reading))?;
                    if test.holds(reading) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Excluded::Texts(_), None) => Ok(false),
        }
    }
}

impl Named<'_> {
    fn contain_within(self, scalar: Scalar<'_>, budget: &mut Budget) -> Answer {
        budget.spend(self.units(scalar))?;
        Ok(self.contain(scalar))
    }
}
