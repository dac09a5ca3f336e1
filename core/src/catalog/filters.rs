//! `tidings.filters`: what an event type lets people filter on, held against its fields.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Field, FilterKind, FilterSpec, Shape,
    attributes::{Attributes, split},
};

/// The longest filter key, in bytes.
pub const MAX_FILTER_KEY: usize = 128;

/// An entry of `tidings.filters`, as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterEntry {
    key: String,
    label: String,
    /// Field names joined by dots. A condition has none.
    #[serde(default)]
    field: Option<String>,
    kind: FilterKind,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    many: bool,
    #[serde(default)]
    allowed: Vec<Value>,
    #[serde(default)]
    operators: Vec<String>,
    #[serde(default)]
    default: Option<Value>,
}

// === impl Attributes ===

impl Attributes<'_> {
    pub fn filters(&mut self, shape: &Shape, fields: &[Field]) -> Vec<FilterSpec> {
        let entries = self.read::<Vec<Value>>("tidings.filters").unwrap_or_default();
        let mut keys = BTreeSet::new();
        let mut filters = Vec::new();
        for (i, entry) in entries.into_iter().enumerate() {
            let place = format!("tidings.filters[{i}]");
            let entry: FilterEntry = match serde_json::from_value(entry) {
                Ok(entry) => entry,
                Err(e) => {
                    self.fault(&place, e.to_string());
                    continue;
                }
            };
            let filter = FilterSpec {
                key: entry.key,
                label: entry.label,
                field: entry.field.as_deref().map(split).unwrap_or_default(),
                kind: entry.kind,
                required: entry.required,
                many: entry.many,
                allowed: entry.allowed,
                operators: entry.operators,
                default: entry.default,
            };
            if !keys.insert(filter.key.clone()) {
                self.fault(&format!("{place}.key"), format!("{:?} is there twice", filter.key));
            }
            for (part, reason) in filter_faults(&filter, shape, fields) {
                self.fault(&format!("{place}.{part}"), reason);
            }
            filters.push(filter);
        }
        filters
    }
}

/// What is wrong with one filter: the part of its entry, and the reason.
fn filter_faults(filter: &FilterSpec, shape: &Shape, fields: &[Field]) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if filter.key.is_empty() || filter.key.len() > MAX_FILTER_KEY || !filter.key.chars().all(plain) {
        let reason = format!("found {:?}; 1 to {MAX_FILTER_KEY} of A-Z a-z 0-9 _ - are allowed", filter.key);
        faults.push(("key", reason));
    }
    match shape.at(&filter.field) {
        _ if filter.kind == FilterKind::Condition => {
            if !filter.field.is_empty() {
                faults.push(("field", "a condition is not on a field of the event: leave it out".to_owned()));
            }
        }
        _ if filter.field.is_empty() => faults.push(("field", "is missing".to_owned())),
        None => faults.push(("field", format!("the schema has no field {:?}", filter.field.join(".")))),
        Some(found) if !suits(filter.kind, found) => {
            faults.push(("kind", format!("{} does not suit a field of type {}", filter.kind.as_str(), found.kind())));
        }
        Some(_) => {}
    }
    if filter.kind == FilterKind::Enum && filter.allowed.is_empty() {
        faults.push(("allowed", "is missing: an enum lists what is allowed".to_owned()));
    }
    for operator in filter.operators.iter().filter(|name| !filter.kind.operators().contains(&name.as_str())) {
        let allowed = filter.kind.operators().join(", ");
        faults.push(("operators", format!("found {operator:?}; allowed: {allowed}")));
    }
    let values = fields.iter().find(|field| field.path == filter.field).map_or(&[][..], |field| &field.values);
    for value in &filter.allowed {
        let listed = values.is_empty() || values.iter().any(|(known, _)| value.as_str() == Some(known.as_str()));
        if !is_of_kind(value, filter.kind) {
            faults.push(("allowed", format!("{value} is no {}", filter.kind.as_str())));
        } else if !listed {
            faults.push(("allowed", format!("{value} is not among the field's tidings.values")));
        }
    }
    if let Some(value) = &filter.default {
        let offered = filter.allowed.is_empty() || filter.allowed.contains(value);
        if !is_of_kind(value, filter.kind) || !offered {
            faults.push(("default", format!("{value} is not allowed by the filter itself")));
        }
    }
    faults
}

fn suits(kind: FilterKind, shape: &Shape) -> bool {
    match (kind, shape) {
        (kind, Shape::Array(items)) => suits(kind, items.without_null()),
        (FilterKind::Text | FilterKind::Enum, Shape::String | Shape::Enum(_)) => true,
        (FilterKind::Number, Shape::Int | Shape::Long | Shape::Float | Shape::Double) => true,
        (FilterKind::Boolean, Shape::Boolean) => true,
        (FilterKind::Map, Shape::Map(_)) => true,
        _ => false,
    }
}

fn is_of_kind(value: &Value, kind: FilterKind) -> bool {
    match kind {
        FilterKind::Text | FilterKind::Enum => value.is_string(),
        FilterKind::Number => value.is_number(),
        FilterKind::Boolean => value.is_boolean(),
        FilterKind::Map => value.is_object(),
        FilterKind::Condition => value.is_string() || value.is_number() || value.is_boolean(),
    }
}
