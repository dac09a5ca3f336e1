//! The attributes `tidings.*` of a record or a field, read with every mistake in them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Field, Shape};

/// The longest wire name or alias, in bytes: no event's type is longer.
pub const MAX_NAME: usize = 256;

/// Attributes of the event type.
pub const TYPE_ATTRIBUTES: [&str; 13] = [
    "tidings.displayName",
    "tidings.category",
    "tidings.severity",
    "tidings.critical",
    "tidings.wireName",
    "tidings.aliases",
    "tidings.assumed",
    "tidings.subject",
    "tidings.environment",
    "tidings.summary",
    "tidings.link",
    "tidings.filters",
    "tidings.example",
];

/// Attributes of a field.
pub const FIELD_ATTRIBUTES: [&str; 6] =
    ["tidings.title", "tidings.unit", "tidings.values", "tidings.sensitive", "tidings.address", "tidings.assumed"];

/// Reads attributes and gathers what is wrong with them.
pub struct Attributes<'a> {
    pub attributes: &'a BTreeMap<String, Value>,
    /// The field that they belong to; empty for the event type.
    pub place: String,
    pub faults: &'a mut Vec<(String, String)>,
}

/// The paths that a template names in braces.
///
/// There is no way to write a brace as such: a summary is one line of prose, a link is percent-encoded.
pub fn placeholders(template: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find(['{', '}']) {
        let inside = rest[start..].strip_prefix('{').ok_or_else(|| "a '}' without '{'".to_owned())?;
        let end = inside.find(['{', '}']).filter(|end| inside[*end..].starts_with('}'));
        let end = end.ok_or_else(|| "a '{' without '}'".to_owned())?;
        found.push(&inside[..end]);
        rest = &inside[end + 1..];
    }
    Ok(found)
}

pub fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn is_sensitive(path: &[String], fields: &[Field]) -> bool {
    fields.iter().any(|field| field.sensitive && path.starts_with(&field.path))
}

// === impl Attributes ===

impl Attributes<'_> {
    pub fn fault(&mut self, name: &str, reason: String) {
        let field = if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) };
        self.faults.push((field, reason));
    }

    /// A misspelt attribute must not pass silently; other tools' attributes may stand beside ours.
    pub fn refuse_unknown(&mut self, known: &[&str]) {
        let ours = self.attributes.keys().filter(|name| name.starts_with("tidings."));
        for name in ours.filter(|name| !known.contains(&name.as_str())) {
            self.fault(name, format!("is no attribute here; allowed: {}", known.join(", ")));
        }
    }

    pub fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.attributes.get(name)?;
        match serde_json::from_value(value.clone()) {
            Ok(read) => Some(read),
            Err(e) => {
                self.fault(name, format!("found {value}: {e}"));
                None
            }
        }
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        self.read(name)
    }

    /// A name that an event may come under.
    pub fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        self.check_name(name, &text);
        Some(text)
    }

    pub fn names(&mut self, name: &str) -> Vec<String> {
        let texts = self.read::<Vec<String>>(name).unwrap_or_default();
        texts.iter().for_each(|text| self.check_name(name, text));
        texts
    }

    fn check_name(&mut self, name: &str, text: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(plain) {
            self.fault(name, format!("found {text:?}; 1 to {MAX_NAME} of A-Z a-z 0-9 . _ - are allowed"));
        }
    }

    /// An object of values and their labels, in the order written.
    pub fn labels(&mut self, name: &str) -> Vec<(String, String)> {
        let labels = self.read::<serde_json::Map<String, Value>>(name).unwrap_or_default();
        let mut read = Vec::with_capacity(labels.len());
        for (value, label) in labels {
            match label {
                Value::String(label) => read.push((value, label)),
                other => self.fault(name, format!("found {other} for {value:?}; a label is text")),
            }
        }
        read
    }

    pub fn flag(&mut self, name: &str) -> bool {
        self.read(name).unwrap_or(false)
    }

    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        if !self.attributes.contains_key(name) {
            self.fault(name, "is missing".to_owned());
        }
        self.read(name)
    }

    pub fn path(&mut self, name: &str, shape: &Shape) -> Option<Vec<String>> {
        let path = self.text(name)?;
        if shape.at(&split(&path)).is_none() {
            self.fault(name, format!("the schema has no field {path:?}"));
        }
        Some(split(&path))
    }

    /// A template may name fields only, and none that is sensitive: it ends up in subjects and chat lines.
    pub fn template(&mut self, name: &str, shape: &Shape, fields: &[Field]) -> Option<String> {
        let template = self.text(name)?;
        match placeholders(&template) {
            Err(reason) => self.fault(name, reason),
            Ok(paths) => {
                for path in paths {
                    if shape.at(&split(path)).is_none() {
                        self.fault(name, format!("the schema has no field {path:?}"));
                    } else if is_sensitive(&split(path), fields) {
                        self.fault(name, format!("{path:?} is sensitive"));
                    }
                }
            }
        }
        Some(template)
    }
}
