//! One schema file → one event type, with every fault of the file.

use std::{fmt, sync::Arc};

use apache_avro::{Schema, schema::RecordSchema};

use super::{
    EVERY_VALUE, EventType, Field, Severity, Shape, ShapeField,
    attributes::{Attributes, FIELD_ATTRIBUTES, TYPE_ATTRIBUTES},
};

/// The largest schema file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// What is wrong with a schema file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CatalogFault {
    pub file: String,
    /// `type_data.status`, `tidings.filters[2].kind`; empty for the file as a whole.
    pub field: String,
    pub reason: String,
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
    let display_name = attributes.required("tidings.displayName").unwrap_or_default();
    let category = attributes.required("tidings.category").unwrap_or_default();
    let severity = attributes.required("tidings.severity").unwrap_or(Severity::Info);
    let critical = attributes.flag("tidings.critical");
    let wire_name = attributes.name("tidings.wireName");
    let aliases = attributes.names("tidings.aliases");
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
        key: key.into(),
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
    let values = attributes.labels("tidings.values");
    Field {
        path: path.to_vec(),
        kind: field.shape.kind(),
        title: attributes.text("tidings.title").unwrap_or_else(|| field.name.clone()),
        description: field.doc.clone(),
        unit: attributes.text("tidings.unit"),
        values,
        sensitive: attributes.flag("tidings.sensitive"),
        address: attributes.flag("tidings.address"),
        assumed: attributes.flag("tidings.assumed"),
        optional: field.optional,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "type": "record", "namespace": "shop.order", "name": "paid", "doc": "An order was paid.",
            "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
            "tidings.critical": true, "tidings.wireName": "payment", "tidings.aliases": ["order.payed"],
            "tidings.subject": "buyer.name", "tidings.summary": "{buyer.name} paid {total}",
            "tidings.link": "https://shop.example/{id}",
            "fields": [
                {"name": "id", "type": "string", "tidings.title": "Order"},
                {"name": "total", "type": "double", "tidings.title": "Total", "tidings.unit": "EUR"},
                {"name": "state", "type": ["null", "string"], "default": null,
                    "tidings.values": {"new": "New", "old": "Old"}},
                {"name": "card", "type": ["null", "string"], "default": null, "tidings.sensitive": true},
                {"name": "buyer", "type": ["null", {"type": "record", "name": "Buyer", "fields": [
                    {"name": "name", "type": "string"},
                    {"name": "email", "type": "string", "tidings.address": true}]}], "default": null},
                {"name": "former", "type": {"type": "array", "items": "Buyer"}, "default": []},
                {"name": "notes", "type": {"type": "map", "values": "Buyer"}, "default": {}}
            ],
            "tidings.filters": [
                {"key": "state", "label": "State", "field": "state", "kind": "enum", "many": true,
                    "allowed": ["new"], "default": "new"},
                {"key": "total", "label": "Total", "field": "total", "kind": "number", "required": true,
                    "operators": ["numeric"]},
                {"key": "former", "label": "Former", "field": "former.name", "kind": "text"}
            ],
            "tidings.example": {"id": "o-1", "total": 9.5, "buyer": {"name": "Ann", "email": "ann@example.com"}},
            "other.tool": "may say what it likes"
        })
    }

    fn load(file: &Value) -> Result<EventType, Vec<CatalogFault>> {
        event_type("schemas/shop/order.paid.avsc", &file.to_string())
    }

    /// Sets the value at a JSON pointer and expects exactly one fault.
    fn check(pointer: &str, value: Value, expected: &str) {
        let mut file = good();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match file.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        let faults: Vec<String> = load(&file).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(faults, [format!("schemas/shop/order.paid.avsc: {expected}")]);
    }

    #[test]
    fn a_file_is_the_whole_entry() {
        let t = load(&good()).unwrap();
        assert_eq!((&*t.key, t.platform.as_str()), ("shop.order.paid", "shop"));
        assert_eq!((t.display_name.as_str(), t.description.as_str()), ("Order paid", "An order was paid."));
        assert!(t.critical && !t.assumed);
        assert_eq!((t.wire_name.as_deref(), t.aliases.len()), (Some("payment"), 1));
        assert_eq!(t.subject_field, Some(vec!["buyer".to_owned(), "name".to_owned()]));
        let paths: Vec<String> = t.fields.iter().map(|field| field.path.join(".")).collect();
        assert_eq!(
            paths.join(" "),
            "id total state card buyer buyer.name buyer.email former former.name former.email \
             notes notes.*.name notes.*.email"
        );
        assert_eq!((t.fields[1].unit.as_deref(), t.fields[1].kind), (Some("EUR"), "double"));
        assert_eq!(t.fields[2].values[0], ("new".to_owned(), "New".to_owned()));
        assert!(t.fields[2].optional && t.fields[3].sensitive && t.fields[6].address);
        let total = t.filter("total").unwrap();
        assert!(total.required && total.allows("numeric") && !total.allows("equals") && !total.allows("prefix"));
        assert_eq!(t.filter("state").unwrap().default, Some(json!("new")));
    }

    #[test]
    fn every_fault_names_its_place_and_reason() {
        check("/doc", Value::Null, "doc: is missing: it says when the event happens");
        check(
            "/name",
            json!("sold"),
            "name: the full name is \"shop.order.sold\"; the file's place says \"shop.order.paid\"",
        );
        check(
            "/tidings.severity",
            json!("bad"),
            "tidings.severity: found \"bad\": unknown variant `bad`, \
             expected one of `info`, `warning`, `error`, `critical`",
        );
        check("/tidings.subject", json!("seller"), "tidings.subject: the schema has no field \"seller\"");
        check("/tidings.summary", json!("{seller} paid"), "tidings.summary: the schema has no field \"seller\"");
        check("/tidings.summary", json!("by {card}"), "tidings.summary: \"card\" is sensitive");
        check("/tidings.summary", json!("{id"), "tidings.summary: a '{' without '}'");
        check("/tidings.link", json!("id}"), "tidings.link: a '}' without '{'");
        check("/tidings.example/total", json!("9.5"), "tidings.example: total: found \"9.5\"; the type is double");
        check("/tidings.example/buyer/name", json!(1), "tidings.example: buyer.name: found 1; the type is string");
        check("/tidings.example/more", json!(1), "tidings.example: more: the schema has no such field");
        check("/tidings.example", json!({"id": ""}), "tidings.example: total: is missing and has no default");
        let filter = |i: usize, part: &str| format!("/tidings.filters/{i}/{part}");
        check(&filter(0, "key"), json!("total"), "tidings.filters[1].key: \"total\" is there twice");
        check(
            &filter(0, "key"),
            json!("$or"),
            "tidings.filters[0].key: found \"$or\"; 1 to 128 of A-Z a-z 0-9 _ - are allowed",
        );
        check(
            &filter(0, "allowed"),
            json!([]),
            "tidings.filters[0].allowed: is missing: an enum lists what is allowed",
        );
        check(
            &filter(0, "allowed"),
            json!(["new", "lost"]),
            "tidings.filters[0].allowed: \"lost\" is not among the field's tidings.values",
        );
        check(
            &filter(0, "default"),
            json!("old"),
            "tidings.filters[0].default: \"old\" is not allowed by the filter itself",
        );
        check(
            &filter(1, "operators"),
            json!(["prefix"]),
            "tidings.filters[1].operators: found \"prefix\"; allowed: equals, anything-but, numeric, exists, all, not",
        );
        check(
            &filter(1, "kind"),
            json!("glob"),
            "tidings.filters[1]: unknown variant `glob`, expected one of `text`, `number`, `boolean`, `enum`, `map`, \
             `condition`",
        );
        check(
            &filter(2, "kind"),
            json!("condition"),
            "tidings.filters[2].field: a condition is not on a field of the event: leave it out",
        );
        check(&filter(1, "field"), Value::Null, "tidings.filters[1].field: is missing");
        check(
            "/tidings.wireName",
            json!("a/b"),
            "tidings.wireName: found \"a/b\"; 1 to 256 of A-Z a-z 0-9 . _ - are allowed",
        );
        check(&filter(1, "field"), json!("sum"), "tidings.filters[1].field: the schema has no field \"sum\"");
        check(&filter(2, "kind"), json!("map"), "tidings.filters[2].kind: map does not suit a field of type string");
        check(
            "/fields/1/tidings.sensitiv",
            json!(true),
            "total.tidings.sensitiv: is no attribute here; allowed: tidings.title, tidings.unit, tidings.values, \
             tidings.sensitive, tidings.address, tidings.assumed",
        );
    }

    #[test]
    fn the_readme_explains_every_attribute_and_no_other() {
        const README: &str = include_str!("../../../schemas/README.md");
        let explained: BTreeSet<&str> =
            README.split('`').filter(|text| text.starts_with("tidings.") && !text.contains('*')).collect();
        let known: BTreeSet<&str> = TYPE_ATTRIBUTES.into_iter().chain(FIELD_ATTRIBUTES).collect();
        assert_eq!(explained, known);
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let mut file = good();
        file["tidings.severity"] = json!(7);
        file["tidings.filters"][0] = json!({"key": "x"});
        file.as_object_mut().unwrap().swap_remove("tidings.category");
        let faults = load(&file).unwrap_err();
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["tidings.category", "tidings.severity", "tidings.filters[0]"]);
    }

    #[test]
    fn files_that_are_no_entry_are_refused() {
        let check = |file: &str, text: &str, expected: &str| {
            let faults = event_type(file, text).unwrap_err();
            assert!(faults[0].reason.starts_with(expected), "{}", faults[0]);
        };
        check("paid.avsc", "{}", "the name does not end in <platform>/<key>.avsc");
        check("shop/paid.json", "{}", "the name does not end in <platform>/<key>.avsc");
        check("shop/paid.avsc", "{", "no Avro schema: ");
        check("shop/paid.avsc", "\"long\"", "the schema is not a record");
        check("shop/paid.avsc", &" ".repeat(MAX_FILE_BYTES + 1), "262145 bytes; at most 262144 are allowed");
    }

    #[test]
    fn two_files_cannot_define_one_type() {
        let file = |folder: &str| (format!("{folder}/shop/order.paid.avsc"), good().to_string());
        let faults = super::super::Catalog::load(&[file("a"), file("b")]).unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            "b/shop/order.paid.avsc: name: \"shop.order.paid\" is defined already, by a/shop/order.paid.avsc"
        );
    }
}
