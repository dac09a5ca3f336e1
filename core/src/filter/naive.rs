//! What a filter means, tried condition by condition: the reference that every faster engine must agree with.
//!
//! Visits each value under a named field once per condition on it; never backtracks.

use std::borrow::Cow;

use super::{
    Attribute, Clause, Datum, Look,
    alternatives::{Accepted, Composed},
    datum::{Of, Plain},
    literals::Scalar,
    packed::{Asked, Group, Item, OfAttribute},
};
use crate::domain::Event;

// === of a clause ===

impl Clause {
    /// Whether the data passes. The event type is the caller's to compare.
    pub fn matches<'a>(&self, data: impl Datum<'a>) -> bool {
        let event = data.event();
        self.root.asked().hold(Some(data), event)
    }
}

impl Asked<'_> {
    /// Whether everything holds that is asked of one object; `None` is an absent one.
    pub(super) fn hold<'a, D: Datum<'a>>(self, object: Option<D>, event: Option<&Event>) -> bool {
        let field = |name: &str| object.and_then(|object| object.member(name));
        self.items().all(|item| match item {
            Item::Leaf(leaf) => leaf.accepted.hold(field(leaf.field)),
            Item::Inner(name, inside) => inside.hold_in(field(name), event),
            Item::Group(group) => group.hold(object, event),
        })
    }

    /// An array stands for its objects, one of which must hold; without any object the fields are absent.
    fn hold_in<'a, D: Datum<'a>>(self, value: Option<D>, event: Option<&Event>) -> bool {
        let mut met = false;
        let held = value.is_some_and(|value| self.hold_in_any(value, event, &mut met));
        held || (!met && self.hold(None::<D>, event))
    }

    fn hold_in_any<'a, D: Datum<'a>>(self, value: D, event: Option<&Event>, met: &mut bool) -> bool {
        match value.look() {
            Look::Array(mut elements) => elements.any(|element| self.hold_in_any(element, event, met)),
            Look::Object => {
                *met = true;
                self.hold(Some(value), event)
            }
            _ => false,
        }
    }
}

impl Group {
    pub(super) fn hold<'a, D: Datum<'a>>(&self, object: Option<D>, event: Option<&Event>) -> bool {
        match self {
            Group::Any(choice) => choice.several.iter().any(|asked| asked.asked().hold(object, event)),
            Group::Not(_, asked) => !asked.asked().hold(object, event),
            Group::Attribute(attribute, condition) => condition.hold_of(*attribute, event),
        }
    }
}

impl OfAttribute {
    /// Of an event that is not known no attribute is there.
    pub(super) fn hold_of(&self, attribute: Attribute, event: Option<&Event>) -> bool {
        let text = event.and_then(|event| attribute.of_event(event));
        match (&text, event) {
            (Some(text), Some(event)) => self.alternatives.accepted().hold(Some(Of { datum: Plain(text), event })),
            _ => self.alternatives.accepted().hold(None::<Plain<'_>>),
        }
    }
}

impl Attribute {
    pub(super) fn of_event(self, event: &Event) -> Option<Cow<'_, str>> {
        match self {
            Attribute::Id => Some(Cow::Borrowed(&*event.id)),
            Attribute::Source => Some(Cow::Borrowed(&*event.source)),
            Attribute::Type => Some(Cow::Borrowed(&*event.event_type)),
            Attribute::Subject => event.subject.as_deref().map(Cow::Borrowed),
            Attribute::Time => event.time.map(|time| Cow::Owned(time.to_string())),
        }
    }
}

// === of a field ===

impl Accepted<'_> {
    /// Whether a field holds: `None` is an absent one.
    pub fn hold<'a>(self, value: Option<impl Datum<'a>>) -> bool {
        // Reported by the walk: whether there was any value at all.
        let mut met = false;
        let held = value.is_some_and(|value| self.accept_any(value, &mut met));
        held || (self.absent && !met) || self.composed.is_some_and(|composed| composed.hold(value))
    }

    fn accept_any<'a>(self, value: impl Datum<'a>, met: &mut bool) -> bool {
        let scalar = match Scalar::of(value.look()) {
            Ok(scalar) => scalar,
            Err(Look::Array(mut elements)) => return elements.any(|element| self.accept_any(element, met)),
            Err(_) => return false,
        };
        *met = true;
        let in_time = |composed: &Composed| composed.accept(scalar, value.event().and_then(|event| event.time));
        self.accept(scalar) || self.composed.is_some_and(in_time)
    }
}

impl Composed {
    /// `all` and `not` are of the field, not of one of its values: each condition may hold by another element of an array.
    fn hold<'a>(&self, value: Option<impl Datum<'a>>) -> bool {
        self.all.iter().any(|all| all.iter().all(|condition| condition.accepted().hold(value)))
            || self.not.iter().any(|not| !not.accepted().hold(value))
    }
}
