//! Other ways to write a filter, read into the same [`Pattern`](super::Pattern).
//!
//! - `{"$cloudevents": [{"prefix": {"source": "/eu/"}}, {"not": {"exact": {"tier": "free"}}}]}`: the `filters` of the CloudEvents
//!   Subscriptions API. `id`, `source`, `type`, `subject` and `time` are the event's own; any other name is a filter of the
//!   event type, by its key or its field.
//! - `{"$simple": {"license_type": ["paid"], "license_fields": [{"field": "seats", "op": ">", "value": 99}]}}`: names and values,
//!   as forms give them. All names must hold, any of the values of one, all of the conditions of one.

use std::ops::Bound;

use serde_json::{Map, Value};

use super::{
    Literal, MAX_OR, Path, Test, TextTest,
    pattern::{Attribute, Node, Nodes, Tests},
    read::Reader,
    shown,
};

const CLOUDEVENTS_FORM: &str = "an object of one key: exact, prefix, suffix, all, any, not";
const CONDITION_FORM: &str =
    r#"{"field": <name>, "op": <operator>, "value": <value>}, the field where the filter has several"#;
const CONDITION_OPERATORS: &str = "==, =, !=, >, >=, <, <=, in, contains, prefix, suffix";

// === CloudEvents ===

impl Reader<'_> {
    /// All of them must hold.
    pub(super) fn cloudevents(&mut self, value: &Value, path: &Path<'_>, depth: usize) -> Vec<Nodes> {
        let Some(filters) = value.as_array().filter(|filters| (1..=MAX_OR).contains(&filters.len())) else {
            let found = value.as_array().map_or_else(|| shown(value), |filters| format!("{} filters", filters.len()));
            self.faults.add(path, found, format!("an array of 1 to {MAX_OR} filters"));
            return Vec::new();
        };
        filters.iter().enumerate().map(|(i, filter)| self.expression(filter, &Path::Index(path, i), depth)).collect()
    }

    fn expression(&mut self, filter: &Value, path: &Path<'_>, depth: usize) -> Nodes {
        if !self.enter(path, depth) {
            return Vec::new();
        }
        let one = filter.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
        let Some((name, argument)) = one else {
            self.faults.add(path, shown(filter), CLOUDEVENTS_FORM);
            return Vec::new();
        };
        let place = Path::Key(path, name);
        match name.as_str() {
            "exact" | "prefix" | "suffix" => self.attributes(name, argument, &place, depth + 1),
            "all" => vec![(name.clone(), Node::All(self.cloudevents(argument, &place, depth + 1)))],
            "any" => vec![(name.clone(), Node::Any(self.cloudevents(argument, &place, depth + 1)))],
            "not" => vec![(name.clone(), Node::Not(self.expression(argument, &place, depth + 1)))],
            _ => {
                self.faults.add(path, format!("dialect {}", shown(&format_args!("{name:?}"))), CLOUDEVENTS_FORM);
                Vec::new()
            }
        }
    }

    /// Attributes and a text for each; all must hold.
    fn attributes(&mut self, operator: &str, argument: &Value, path: &Path<'_>, depth: usize) -> Nodes {
        let Some(attributes) = argument.as_object().filter(|object| !object.is_empty()) else {
            self.faults.add(path, shown(argument), "an object of attributes and strings");
            return Vec::new();
        };
        let mut nodes = Vec::with_capacity(attributes.len());
        for (name, text) in attributes {
            let place = Path::Key(path, name);
            if !self.enter(&place, depth) {
                break;
            }
            let Some(text) = text.as_str() else {
                self.faults.add(&place, shown(text), "a string");
                continue;
            };
            let test = match operator {
                "exact" => Test::Equals(Literal::Text(text.into())),
                "prefix" => Test::Text(TextTest::Prefix(text.into())),
                _ => Test::Text(TextTest::Suffix(text.into())),
            };
            let tests = vec![(0, test)];
            nodes.push((
                name.clone(),
                Attribute::of(name)
                    .map_or_else(|| Node::Leaf(tests.clone()), |attribute| Node::Attribute(attribute, tests.clone())),
            ));
        }
        nodes
    }
}

// === names and values ===

impl Reader<'_> {
    /// A single set of nodes: all of them must hold.
    pub(super) fn simple(&mut self, value: &Value, path: &Path<'_>, depth: usize) -> Vec<Nodes> {
        let Some(names) = value.as_object().filter(|names| !names.is_empty()) else {
            self.faults.add(path, shown(value), "an object of names and values");
            return Vec::new();
        };
        let mut nodes = Vec::with_capacity(names.len());
        for (name, value) in names {
            let path = Path::Key(path, name);
            if !self.enter(&path, depth) {
                break;
            }
            match value {
                Value::Array(conditions) if conditions.first().is_some_and(Value::is_object) => {
                    nodes.extend(self.conditions(conditions, &path, depth + 1).map(|node| (name.clone(), node)));
                }
                Value::Array(values) => nodes.push((name.clone(), Node::Leaf(self.leaf(values, &path, depth + 1)))),
                Value::Object(_) => self.faults.add(
                    &path,
                    shown(value),
                    format!("a value, or an array of values or of {CONDITION_FORM}"),
                ),
                value => {
                    let tests = self.literal(value, &path).map(|literal| (0, Test::Equals(literal)));
                    nodes.push((name.clone(), Node::Leaf(tests.into_iter().collect())));
                }
            }
        }
        vec![nodes]
    }

    /// Conditions that all must hold: on fields below the name, or on what stands there itself.
    fn conditions(&mut self, conditions: &[Value], path: &Path<'_>, depth: usize) -> Option<Node> {
        let mut fields: Vec<(Option<&str>, Vec<Tests>)> = Vec::new();
        self.operators = 0;
        for (i, condition) in conditions.iter().enumerate() {
            let path = Path::Index(path, i);
            if !self.enter(&path, depth) {
                break;
            }
            let Some((field, tests)) = self.condition(condition, &path) else { continue };
            match fields.iter_mut().find(|(known, _)| *known == field) {
                Some((_, all)) => all.push(tests),
                None => fields.push((field, vec![tests])),
            }
        }
        let below = fields.iter().any(|(field, _)| field.is_some());
        if below && fields.iter().any(|(field, _)| field.is_none()) {
            self.faults.add(path, "conditions with a field and without", "all of them the same");
            return None;
        }
        let leaf = |mut all: Vec<Tests>| match all.len() {
            1 => Node::Leaf(all.remove(0)),
            _ => Node::Leaf(vec![(0, Test::All(all))]),
        };
        if below {
            let entry =
                |(field, tests): (Option<&str>, Vec<Tests>)| (field.unwrap_or_default().to_owned(), leaf(tests));
            return Some(Node::Branch(fields.into_iter().map(entry).collect()));
        }
        fields.pop().map(|(_, tests)| leaf(tests))
    }

    fn condition<'v>(&mut self, condition: &'v Value, path: &Path<'_>) -> Option<(Option<&'v str>, Tests)> {
        let known = |object: &&Map<String, Value>| object.keys().all(|key| matches!(&**key, "field" | "op" | "value"));
        let parts = condition.as_object().filter(known).and_then(|object| {
            let field = match object.get("field") {
                None => None,
                Some(field) => Some(field.as_str()?),
            };
            Some((field, object.get("op")?.as_str()?, object.get("value")?))
        });
        let Some((field, operator, value)) = parts else {
            self.faults.add(path, shown(condition), CONDITION_FORM);
            return None;
        };
        let place = Path::Key(path, "value");
        let test = match operator {
            "=" | "==" => Test::Equals(self.literal(value, &place)?),
            "!=" => Test::AnythingBut(vec![self.literal(value, &place)?]),
            ">" => Test::Numeric(Bound::Excluded(self.number(value, &place)?), Bound::Unbounded),
            ">=" => Test::Numeric(Bound::Included(self.number(value, &place)?), Bound::Unbounded),
            "<" => Test::Numeric(Bound::Unbounded, Bound::Excluded(self.number(value, &place)?)),
            "<=" => Test::Numeric(Bound::Unbounded, Bound::Included(self.number(value, &place)?)),
            "contains" | "prefix" | "suffix" => Test::Text(self.text(operator, value, &place)?),
            "in" => match value.as_array() {
                Some(values) => return Some((field, self.values(values, &place)?)),
                None => {
                    self.faults.add(&place, shown(value), "an array of values");
                    return None;
                }
            },
            _ => {
                self.faults.add(&Path::Key(path, "op"), shown(&format_args!("{operator:?}")), CONDITION_OPERATORS);
                return None;
            }
        };
        Some((field, vec![(0, test)]))
    }
}
