//! Why a clause matched an event's data or did not, condition by condition.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Clause, Path,
    datum::Of,
    packed::{self, Asked, Group, Item},
};
use crate::domain::{Event, TypeSelector};

/// One condition of a clause, tried on an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Condition {
    /// The condition's place in the filter: `licenseFields.seats`.
    pub filter: String,
    /// The field in the event's data that was looked at: `license_fields.seats`.
    pub path: String,
    /// What was asked for: `> 99`.
    pub condition: String,
    /// What was there; `None` if nothing was.
    pub found: Option<Value>,
    pub held: bool,
}

/// One event selector of a subscription, tried on an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelectorExplanation {
    #[serde(rename = "type")]
    pub event_type: TypeSelector,
    pub type_matches: bool,
    /// Empty if every event of the type passes.
    pub conditions: Vec<Condition>,
    pub matched: bool,
}

impl Clause {
    /// Every condition, in the order of the filter as far as conditions on one object stand together. `event` is the one
    /// whose data it is, where there is one: its own data is not looked at.
    ///
    /// The data matches if and only if all of them held. Where an array of objects is looked at, the conditions are
    /// those on the element that came nearest; of several alternatives, those of the nearest one.
    pub fn explain(&self, data: &Value, event: Option<&Event>) -> Vec<Condition> {
        self.root.asked().explain(data.as_object(), event, &Path::Root(""))
    }
}

/// Of several lists of conditions, the first with the fewest that did not hold.
fn nearest(several: impl Iterator<Item = Vec<Condition>>) -> Option<Vec<Condition>> {
    several.min_by_key(|conditions| conditions.iter().filter(|condition| !condition.held).count())
}

// === impl Asked ===

impl Asked<'_> {
    fn explain(self, object: Option<&Map<String, Value>>, event: Option<&Event>, path: &Path<'_>) -> Vec<Condition> {
        let field = |name: &str| object.and_then(|object| object.get(name));
        let mut conditions = Vec::new();
        for item in self.items() {
            match item {
                Item::Leaf(leaf) => {
                    conditions.push(leaf.explain(field(leaf.field), event, &Path::Key(path, leaf.field)));
                }
                Item::Inner(name, inside) => {
                    conditions.extend(inside.explain_in(field(name), event, &Path::Key(path, name)));
                }
                Item::Group(group) => conditions.extend(group.explain(object, event, path)),
            }
        }
        conditions
    }

    fn explain_in(self, value: Option<&Value>, event: Option<&Event>, path: &Path<'_>) -> Vec<Condition> {
        let mut elements = Vec::new();
        if let Some(value) = value {
            self.explain_each(value, event, path, &mut elements);
        }
        nearest(elements.into_iter()).unwrap_or_else(|| self.explain(None, event, path))
    }

    fn explain_each(self, value: &Value, event: Option<&Event>, path: &Path<'_>, each: &mut Vec<Vec<Condition>>) {
        match value {
            Value::Array(elements) => {
                for (i, element) in elements.iter().enumerate() {
                    self.explain_each(element, event, &Path::Index(path, i), each);
                }
            }
            Value::Object(object) => {
                each.push(self.explain(Some(object), event, path));
                if each.len() == 2 {
                    // Never more than the nearest one so far and the next.
                    *each = nearest(each.drain(..)).into_iter().collect();
                }
            }
            _ => {}
        }
    }
}

// === impl Group ===

impl Group {
    fn explain(&self, object: Option<&Map<String, Value>>, event: Option<&Event>, path: &Path<'_>) -> Vec<Condition> {
        match self {
            Group::Any(choice) => {
                nearest(choice.several.iter().map(|asked| asked.asked().explain(object, event, path)))
                    .unwrap_or_default()
            }
            Group::Not(filter, asked) => {
                let asked = asked.asked();
                let inner = asked.explain(object, event, path);
                vec![Condition {
                    filter: filter.to_string(),
                    path: path.to_string(),
                    condition: format!("not ({asked})"),
                    found: None,
                    held: !inner.iter().all(|condition| condition.held),
                }]
            }
            Group::Attribute(attribute, condition) => vec![Condition {
                filter: condition.filter.to_string(),
                path: attribute.as_str().to_owned(),
                condition: condition.alternatives.to_string(),
                found: event.and_then(|event| attribute.of_event(event)).map(|text| Value::String(text.into_owned())),
                held: condition.hold_of(*attribute, event),
            }],
        }
    }
}

// === impl packed::Condition ===

impl packed::Condition<'_> {
    fn explain(self, value: Option<&Value>, event: Option<&Event>, path: &Path<'_>) -> Condition {
        Condition {
            filter: self.filter.to_string(),
            path: path.to_string(),
            condition: self.accepted.to_string(),
            found: value.cloned(),
            held: match event {
                Some(event) => self.accepted.hold(value.map(|datum| Of { datum, event })),
                None => self.accepted.hold(value),
            },
        }
    }
}

// === Display of Asked ===

impl fmt::Display for Asked<'_> {
    /// `source is "a" and (tier is "gold" or tier is absent)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = self.items().map(|item| match item {
            Item::Leaf(leaf) => format!("{} {}", leaf.field, leaf.accepted),
            Item::Inner(name, inside) => format!("{name} has {inside}"),
            Item::Group(group) => group.to_string(),
        });
        f.write_str(&items.collect::<Vec<_>>().join(" and "))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::Any(choice) => {
                let several = choice.several.iter().map(|asked| asked.asked().to_string());
                write!(f, "({})", several.collect::<Vec<_>>().join(" or "))
            }
            Group::Not(_, asked) => write!(f, "not ({})", asked.asked()),
            Group::Attribute(attribute, condition) => write!(f, "{} {}", attribute.as_str(), condition.alternatives),
        }
    }
}
