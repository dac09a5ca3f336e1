//! One schema file → one event type, with every fault of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use apache_avro::{Schema, schema::RecordSchema};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{EVERY_VALUE, EventType, Field, FilterKind, FilterSpec, SEVERITIES, Shape, ShapeField};

/// The largest schema file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// The longest filter key, in bytes.
pub const MAX_FILTER_KEY: usize = 128;

/// What is wrong with a schema file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CatalogFault {
    pub file: String,
    /// `type_data.status`, `tidings.filters[2].kind`; empty for the file as a whole.
    pub field: String,
    pub reason: String,
}

/// Attributes of the event type.
const TYPE_ATTRIBUTES: [&str; 13] = [
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
const FIELD_ATTRIBUTES: [&str; 6] =
    ["tidings.title", "tidings.unit", "tidings.values", "tidings.sensitive", "tidings.address", "tidings.assumed"];

/// An entry of `tidings.filters`, as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterEntry {
    key: String,
    label: String,
    /// Field names joined by dots.
    field: String,
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

/// Reads attributes and gathers what is wrong with them.
struct Attributes<'a> {
    attributes: &'a BTreeMap<String, Value>,
    /// The field that they belong to; empty for the event type.
    place: String,
    faults: &'a mut Vec<(String, String)>,
}

/// Reads one file.
pub fn event_type(file: &str, text: &str) -> Result<EventType, Vec<CatalogFault>> {
    let mut faults: Vec<(String, String)> = Vec::new();
    let read = read(file, text, &mut faults);
    match read {
        Some(event_type) if faults.is_empty() => Ok(event_type),
        _ => {
            let fault = |(field, reason)| CatalogFault { file: file.to_owned(), field, reason };
            Err(faults.into_iter().map(fault).collect())
        }
    }
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

/// `None` where a fault leaves nothing to go on with; otherwise the faults decide.
fn read(file: &str, text: &str, faults: &mut Vec<(String, String)>) -> Option<EventType> {
    let mut whole = |reason: String| faults.push((String::new(), reason));
    if text.len() > MAX_FILE_BYTES {
        whole(format!("{} bytes; at most {MAX_FILE_BYTES} are allowed", text.len()));
        return None;
    }
    let Some((platform, key)) = key_of(file) else {
        whole("the name does not end in <platform>/<key>.avsc".to_owned());
        return None;
    };
    let schema = match Schema::parse_str(text) {
        Ok(schema) => schema,
        Err(e) => {
            whole(format!("no Avro schema: {e}"));
            return None;
        }
    };
    let Schema::Record(record) = &schema else {
        whole("the schema is not a record".to_owned());
        return None;
    };
    if record.name.fullname(None) != key {
        let found = record.name.fullname(None);
        faults.push(("name".to_owned(), format!("the full name is {found:?}; the file's place says {key:?}")));
    }
    let shape = match Shape::of(&schema) {
        Ok(shape) => shape,
        Err(e) => {
            faults.push((e.path, e.reason));
            return None;
        }
    };
    let mut fields = Vec::new();
    list_fields(&shape, &mut Vec::new(), &mut fields, faults);
    let event_type = assemble(platform, key, record, &schema, shape, fields, faults);
    Some(event_type)
}

/// Platform and key by the last two parts of a file's name.
fn key_of(file: &str) -> Option<(String, String)> {
    let mut parts = file.rsplit(['/', '\\']);
    let stem = parts.next()?.strip_suffix(".avsc")?;
    let platform = parts.next()?;
    Some((platform.to_owned(), format!("{platform}.{stem}")))
}

fn assemble(
    platform: String,
    key: String,
    record: &RecordSchema,
    schema: &Schema,
    shape: Shape,
    fields: Vec<Field>,
    faults: &mut Vec<(String, String)>,
) -> EventType {
    let mut attributes = Attributes { attributes: &record.attributes, place: String::new(), faults };
    attributes.refuse_unknown(&TYPE_ATTRIBUTES);
    let display_name = attributes.required("tidings.displayName");
    let category = attributes.required("tidings.category");
    let severity = attributes.required("tidings.severity");
    let severity = SEVERITIES.into_iter().find(|s| s.as_str() == severity).unwrap_or_else(|| {
        attributes.fault("tidings.severity", format!("found {severity:?}; allowed: info, warning, error, critical"));
        SEVERITIES[0]
    });
    let critical = attributes.flag("tidings.critical");
    let wire_name = attributes.text("tidings.wireName");
    let aliases = attributes.read::<Vec<String>>("tidings.aliases").unwrap_or_default();
    let assumed = attributes.flag("tidings.assumed");
    let subject_field = attributes.path("tidings.subject", &shape);
    let environment_field = attributes.path("tidings.environment", &shape);
    let summary = attributes.template("tidings.summary", &shape, &fields);
    let link = attributes.template("tidings.link", &shape, &fields);
    let filters = attributes.filters(&shape, &fields);
    let example = attributes.attributes.get("tidings.example").cloned().unwrap_or_default();
    if let Err(mismatch) = shape.check(&example) {
        attributes.fault("tidings.example", mismatch.to_string());
    }
    if record.doc.is_none() {
        attributes.fault("doc", "is missing: it says when the event happens".to_owned());
    }
    EventType {
        key,
        platform,
        display_name,
        description: record.doc.clone().unwrap_or_default(),
        category,
        severity,
        critical,
        wire_name,
        aliases,
        assumed,
        subject_field,
        environment_field,
        summary,
        link,
        fields,
        filters,
        example,
        schema: schema.clone(),
        shape: Arc::new(shape),
    }
}

fn list_fields(shape: &Shape, path: &mut Vec<String>, fields: &mut Vec<Field>, faults: &mut Vec<(String, String)>) {
    match shape {
        Shape::Record(record) => {
            for field in record {
                path.push(field.name.clone());
                fields.push(describe(field, path, faults));
                list_fields(&field.shape, path, fields, faults);
                path.pop();
            }
        }
        Shape::Array(items) => list_fields(items, path, fields, faults),
        Shape::Map(values) => {
            path.push(EVERY_VALUE.to_owned());
            list_fields(values, path, fields, faults);
            path.pop();
        }
        Shape::Union(branches) => branches.iter().for_each(|branch| list_fields(branch, path, fields, faults)),
        _ => {}
    }
}

fn describe(field: &ShapeField, path: &[String], faults: &mut Vec<(String, String)>) -> Field {
    let mut attributes = Attributes { attributes: &field.attributes, place: path.join("."), faults };
    attributes.refuse_unknown(&FIELD_ATTRIBUTES);
    let values = attributes.read::<serde_json::Map<String, Value>>("tidings.values").unwrap_or_default();
    let label = |(value, label): (String, Value)| label.as_str().map(|label| (value, label.to_owned()));
    Field {
        path: path.to_vec(),
        kind: field.shape.kind(),
        title: attributes.text("tidings.title").unwrap_or_else(|| field.name.clone()),
        description: field.doc.clone(),
        unit: attributes.text("tidings.unit"),
        values: values.into_iter().filter_map(label).collect(),
        sensitive: attributes.flag("tidings.sensitive"),
        address: attributes.flag("tidings.address"),
        assumed: attributes.flag("tidings.assumed"),
        optional: field.optional,
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

// === impl Attributes ===

impl Attributes<'_> {
    fn fault(&mut self, name: &str, reason: String) {
        let field = if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) };
        self.faults.push((field, reason));
    }

    /// A misspelt attribute must not pass silently; other tools' attributes may stand beside ours.
    fn refuse_unknown(&mut self, known: &[&str]) {
        let ours = self.attributes.keys().filter(|name| name.starts_with("tidings."));
        for name in ours.filter(|name| !known.contains(&name.as_str())) {
            self.fault(name, format!("is no attribute here; allowed: {}", known.join(", ")));
        }
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value = self.attributes.get(name)?;
        match serde_json::from_value(value.clone()) {
            Ok(read) => Some(read),
            Err(e) => {
                self.fault(name, format!("found {value}: {e}"));
                None
            }
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.read(name)
    }

    fn flag(&mut self, name: &str) -> bool {
        self.read(name).unwrap_or(false)
    }

    fn required(&mut self, name: &str) -> String {
        if !self.attributes.contains_key(name) {
            self.fault(name, "is missing".to_owned());
        }
        self.text(name).unwrap_or_default()
    }

    fn path(&mut self, name: &str, shape: &Shape) -> Option<Vec<String>> {
        let path = self.text(name)?;
        if shape.at(&split(&path)).is_none() {
            self.fault(name, format!("the schema has no field {path:?}"));
        }
        Some(split(&path))
    }

    /// A template may name fields only, and none that is sensitive: it ends up in subjects and chat lines.
    fn template(&mut self, name: &str, shape: &Shape, fields: &[Field]) -> Option<String> {
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

    fn filters(&mut self, shape: &Shape, fields: &[Field]) -> Vec<FilterSpec> {
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
                field: split(&entry.field),
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

fn is_sensitive(path: &[String], fields: &[Field]) -> bool {
    fields.iter().any(|field| field.sensitive && path.starts_with(&field.path))
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
    }
}

// === impl CatalogFault ===

impl fmt::Display for CatalogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: {}", self.file, self.reason),
            field => write!(f, "{}: {field}: {}", self.file, self.reason),
        }
    }
}
