//! Event types, read from Avro schema files: one file is the whole entry.
//!
//! The file says what an event's data looks like and, in attributes named `tidings.*`, everything else that
//! validation, filters, forms, rendering and documents need. `schemas/README.md` is the list of attributes.
//! The room does *not* read folders, decode events or evaluate filters.
//!
//! How a file becomes an entry, in reading order:
//!
//! - [`shape`]: the Avro schema with its references resolved and its bounds checked; values can be held against it.
//! - [`load`]: one file → one entry, every fault reported at once; [`attributes`] and [`filters`] are its parts.
//! - [`names`]: what else a type is called, on the wire and elsewhere, and how it is found by that.
//! - [`builtin`]: the files that are compiled in.
//! - [`evolution`]: which changes of a type its events and subscriptions survive.
//! - [`description`], [`page`]: an entry for programs, and for people.

mod attributes;
pub mod builtin;
pub mod description;
pub mod evolution;
mod filters;
mod load;
mod names;
pub mod page;
mod shape;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use attributes::placeholders;
pub use builtin::{builtin_files, earlier_files};
pub use load::CatalogFault;
pub use shape::{Mismatch, Shape, ShapeField};

use crate::domain::TypeSelector;
pub use names::Names;

/// All event types by key. Immutable; shared as an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    types: BTreeMap<String, EventType>,
    names: Names,
}

/// One event type: what its data looks like, how it is shown, and what may be filtered on.
#[derive(Clone, Debug)]
pub struct EventType {
    /// `<platform>.<key>`, the Avro full name: `replicated.customer.created`. Shared with every subscription that names it.
    pub key: Arc<str>,
    /// The folder, and the first part of the key.
    pub platform: String,
    pub display_name: String,
    /// The schema's `doc`: when it fires.
    pub description: String,
    pub category: String,
    pub severity: Severity,
    /// Whether it belongs to a selection of all critical types.
    pub critical: bool,
    /// What the platform calls it on the wire, where that differs from the key.
    pub wire_name: Option<String>,
    /// Other names it is known by.
    pub aliases: Vec<String>,
    /// Whether the field set is ours, because the platform documents none.
    pub assumed: bool,
    /// Path of the field that says whom or what it concerns.
    pub subject_field: Option<Vec<String>>,
    /// Path of the field that says which environment it happened in.
    pub environment_field: Option<Vec<String>>,
    /// One line of text; `{customer_name}` stands for the value at that path.
    pub summary: Option<String>,
    /// A link for the reader; placeholders as in `summary`.
    pub link: Option<String>,
    /// Every field, those of nested records too, in the order of the schema.
    pub fields: Vec<Field>,
    pub filters: Vec<FilterSpec>,
    /// An object that conforms to the schema.
    pub example: Value,
    pub schema: apache_avro::Schema,
    /// The schema as decoding and checking use it.
    pub shape: Arc<Shape>,
}

/// How bad it is, for colours and sorting. Tidings' own judgement, not the platform's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Error,
    Critical,
}

/// A field of an event type's data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Record field names from the top. Arrays are stepped through silently: every element is meant.
    /// [`EVERY_VALUE`] steps through the values of a map.
    pub path: Vec<String>,
    /// `string`, `long`, `map` …: the Avro type without `null`.
    pub kind: &'static str,
    pub title: String,
    pub description: Option<String>,
    /// `seconds`, `bytes` …
    pub unit: Option<String>,
    /// What may stand there, with labels; empty: anything.
    pub values: Vec<(String, String)>,
    /// Redacted in what is sent, stored for show, and shown.
    pub sensitive: bool,
    /// Holds a user's e-mail address.
    pub address: bool,
    /// Not given by the platform's documents.
    pub assumed: bool,
    /// Whether it may be left out.
    pub optional: bool,
}

/// The step of a [`Field::path`] that means every value of a map. No record field can be called so.
pub const EVERY_VALUE: &str = "*";

/// A filter that an event type offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterSpec {
    /// The name in a subscription's filter: `licenseType`.
    pub key: String,
    pub label: String,
    /// Path of the field in the data; empty for a [condition](FilterKind::Condition).
    pub field: Vec<String>,
    pub kind: FilterKind,
    pub required: bool,
    /// Whether several alternatives may be given.
    pub many: bool,
    /// What may be asked for exactly; empty: anything of its kind.
    pub allowed: Vec<Value>,
    /// Names out of [`FilterKind::operators`]; empty: all of them.
    pub operators: Vec<String>,
    pub default: Option<Value>,
}

/// What a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterKind {
    Text,
    Number,
    Boolean,
    /// Text out of a fixed list.
    Enum,
    /// Names chosen by the platform's users, each with a value of its own kind; the filter is an object.
    Map,
    /// Needs time, or what happened before: no single event can answer it.
    Condition,
}

// === impl Catalog ===

impl Catalog {
    /// The event types that are compiled in.
    pub fn builtin() -> Arc<Catalog> {
        builtin::catalog()
    }

    /// Reads files given as (name, text); the name ends in `<platform>/<key>.avsc`.
    ///
    /// All or nothing: every fault of every file is returned.
    pub fn load(files: &[(String, String)]) -> Result<Catalog, Vec<CatalogFault>> {
        let mut types: BTreeMap<String, EventType> = BTreeMap::new();
        let mut defined_by: BTreeMap<String, &str> = BTreeMap::new();
        let mut faults = Vec::new();
        for (file, text) in files {
            match load::event_type(file, text) {
                Ok(event_type) if types.contains_key(&*event_type.key) => {
                    let other = defined_by.get(&*event_type.key).copied().unwrap_or_default();
                    let reason = format!("{:?} is defined already, by {other}", event_type.key);
                    faults.push(CatalogFault { file: file.clone(), field: "name".to_owned(), reason });
                }
                Ok(event_type) => {
                    defined_by.insert(event_type.key.to_string(), file);
                    types.insert(event_type.key.to_string(), event_type);
                }
                Err(found) => faults.extend(found),
            }
        }
        let names = Names::of(&types, &mut faults);
        if faults.is_empty() { Ok(Catalog { types, names }) } else { Err(faults) }
    }

    /// By its key.
    pub fn get(&self, key: &str) -> Option<&EventType> {
        self.types.get(key)
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// By its key or any other name, see [`Catalog::key_of`].
    pub fn resolve(&self, name: &str) -> Option<&EventType> {
        self.get(self.key_of(name)?)
    }

    /// The key of the type that a name means: the key itself, or its last part, a wire name or an alias, with the
    /// platform before it (`scalingo.deployment`) or, where no other type has that name, without (`deployment`).
    pub fn key_of(&self, name: &str) -> Option<&Arc<str>> {
        self.names.key_of(name)
    }

    /// The types that a selector names, in the order of their keys.
    pub fn selected(&self, selector: &TypeSelector) -> Vec<&EventType> {
        let is_selected = |t: &EventType| match selector {
            TypeSelector::Any => true,
            TypeSelector::Key(_) => false,
            TypeSelector::Under(prefix) => t.key.strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('.')),
            TypeSelector::Category(name) => {
                name.strip_prefix(&t.platform).and_then(|rest| rest.strip_prefix('.')) == Some(&t.category)
            }
            TypeSelector::Critical(platform) => t.critical && (&**platform == "*" || **platform == t.platform),
        };
        match selector {
            TypeSelector::Key(name) => self.resolve(name).into_iter().collect(),
            _ => self.types().filter(|t| is_selected(t)).collect(),
        }
    }

    /// Every platform, in alphabetical order.
    pub fn platforms(&self) -> Vec<&str> {
        let mut platforms: Vec<&str> = self.types().map(|t| t.platform.as_str()).collect();
        platforms.sort_unstable();
        platforms.dedup();
        platforms
    }

    /// In the order of their keys.
    pub fn types(&self) -> impl Iterator<Item = &EventType> {
        self.types.values()
    }
}

// === impl EventType ===

impl EventType {
    pub fn filter(&self, key: &str) -> Option<&FilterSpec> {
        self.filters.iter().find(|filter| filter.key == key)
    }
}

// === impl FilterSpec ===

impl FilterSpec {
    /// Whether an operator, by its name in [`FilterKind::operators`], may be used.
    pub fn allows(&self, operator: &str) -> bool {
        self.kind.operators().contains(&operator)
            && (self.operators.is_empty() || self.operators.iter().any(|name| name == operator))
    }
}

// === impl FilterKind ===

impl FilterKind {
    /// Operators by their names in a pattern; `equals` is a bare value. A map's values are of any kind.
    pub fn operators(self) -> &'static [&'static str] {
        match self {
            FilterKind::Text => &[
                "equals",
                "anything-but",
                "prefix",
                "suffix",
                "contains",
                "equals-ignore-case",
                "wildcard",
                "cidr",
                "semver",
                "before",
                "after",
                "exists",
                "all",
                "not",
            ],
            FilterKind::Number => &["equals", "anything-but", "numeric", "exists", "all", "not"],
            FilterKind::Boolean => &["equals", "exists", "not"],
            FilterKind::Condition => &["equals"],
            FilterKind::Enum => &["equals", "anything-but", "exists", "all", "not"],
            FilterKind::Map => &[
                "equals",
                "anything-but",
                "prefix",
                "suffix",
                "contains",
                "equals-ignore-case",
                "wildcard",
                "cidr",
                "semver",
                "before",
                "after",
                "numeric",
                "exists",
                "all",
                "not",
            ],
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            FilterKind::Text => "text",
            FilterKind::Number => "number",
            FilterKind::Boolean => "boolean",
            FilterKind::Enum => "enum",
            FilterKind::Map => "map",
            FilterKind::Condition => "condition",
        }
    }
}

// === impl Severity ===

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
