//! A registry's text → a schema that values are read with.
//!
//! The text was written by whoever may write to the registry, so it is as foreign as a record: its size, its references
//! and its depth are bounded before anything walks it, and what cannot be read costs its own records alone.

use std::{
    collections::{HashMap, HashSet},
    panic::catch_unwind,
    sync::Arc,
};

use apache_avro::Schema;
use serde_json::{Map, Value};

use super::json;
use crate::catalog::Shape;

/// What a registry says of one schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// `AVRO` (also where nothing is said), `JSON` or `PROTOBUF`.
    pub schema_type: String,
    pub schema: String,
    /// Schemas that it refers to, each after those that it refers to itself.
    pub references: Vec<String>,
    /// Under which it was registered; asked for only where the schema itself names no known type.
    pub subjects: Vec<String>,
}

/// A registered schema, ready to read with.
#[derive(Clone, Debug, PartialEq)]
pub struct Writer {
    pub body: Body,
    /// What may name the event type, the best first.
    pub names: Vec<String>,
}

/// What the payload is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Avro(Arc<Shape>),
    Json,
}

/// The largest text of a schema, in bytes, and of all that it refers to.
pub const MAX_SCHEMA_BYTES: usize = 1024 * 1024;
/// The most schemas that one may refer to, directly or not.
pub const MAX_REFERENCES: usize = 64;
/// The deepest nesting of a schema's text once its references stand in it: a level of a schema takes three of these.
const MAX_TEXT_DEPTH: usize = 192;
/// The most names of one schema that are looked at.
const MAX_NAMES: usize = 32;
/// The longest name of a field and the longest symbol, in bytes: a byte of input stands for each of them again and again.
const MAX_WORD: usize = 256;

/// What is kept of a definition: what a datum is read with. What only readers and people need cannot make a writer's schema
/// wrong, and takes no memory.
const KEPT: [&str; 9] = ["type", "name", "namespace", "fields", "items", "values", "symbols", "size", "logicalType"];

/// An attribute of a schema that says the event type outright.
const KEY_ATTRIBUTE: &str = "tidings.key";

/// Logical types that [`Shape`] gives a form of their own; others are shown as what they are made of.
const SHOWN_LOGICAL_TYPES: [&str; 4] = ["date", "timestamp-millis", "timestamp-micros", "timestamp-nanos"];

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Puts definitions where they are first named, as a schema in one text has them.
struct Inliner {
    definitions: HashMap<String, Value>,
    defined: HashSet<String>,
}

// === impl Writer ===

impl Writer {
    /// The error says what is wrong with the schema. A bug that one brings out costs its own records alone.
    pub fn compile(registered: &Registered) -> Result<Writer, String> {
        catch_unwind(|| Writer::read(registered)).unwrap_or_else(|_| Err("reading it panicked".to_owned()))
    }

    fn read(registered: &Registered) -> Result<Writer, String> {
        let bytes = registered.schema.len() + registered.references.iter().map(String::len).sum::<usize>();
        if bytes > MAX_SCHEMA_BYTES {
            return Err(format!("{bytes} bytes with its references; at most {MAX_SCHEMA_BYTES} are read"));
        }
        if registered.references.len() > MAX_REFERENCES {
            let found = registered.references.len();
            return Err(format!("{found} references; at most {MAX_REFERENCES} are followed"));
        }
        match registered.schema_type.as_str() {
            "" | "AVRO" => Writer::avro(registered),
            "JSON" => Writer::json(registered),
            other => Err(format!("schemas of type {other} are not read; AVRO and JSON are")),
        }
    }

    fn avro(registered: &Registered) -> Result<Writer, String> {
        let mut schema = parse(&registered.schema)?;
        let mut names = named_by(&schema, &registered.subjects);
        let mut definitions = HashMap::new();
        for text in &registered.references {
            let definition = parse(text)?;
            if let Some(name) = definition.as_object().and_then(|object| full_name(object, None)) {
                definitions.insert(name, definition);
            }
        }
        let mut inliner = Inliner { definitions, defined: HashSet::new() };
        inliner.put(&mut schema, None, 0)?;
        let schema = Schema::parse(&schema).map_err(|error| format!("no Avro schema: {error}"))?;
        let shape = Shape::of(&schema).map_err(|mismatch| mismatch.to_string())?;
        names.truncate(MAX_NAMES);
        Ok(Writer { body: Body::Avro(Arc::new(shape)), names })
    }

    /// A JSON Schema says nothing that is needed to read JSON; it may name the type.
    fn json(registered: &Registered) -> Result<Writer, String> {
        let schema = parse(&registered.schema)?;
        let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut names: Vec<String> = [text(KEY_ATTRIBUTE), text("title")].into_iter().flatten().collect();
        names.extend(by_subject(&registered.subjects));
        names.truncate(MAX_NAMES);
        Ok(Writer { body: Body::Json, names })
    }
}

/// The fingerprint by which single objects name a schema: CRC-64-AVRO of its canonical form, least significant byte first.
///
/// The first one is what the specification says; the second what apache-avro's own writers write where they differ, because
/// they leave logical types in the canonical form.
pub fn fingerprints(schema: &Schema) -> Vec<[u8; 8]> {
    let of = |schema: &Schema| <[u8; 8]>::try_from(schema.fingerprint::<apache_avro::rabin::Rabin>().bytes).ok();
    let plain = serde_json::to_value(schema).ok().and_then(|mut text| {
        strip_logical_types(&mut text);
        Schema::parse(&text).ok()
    });
    let mut found: Vec<[u8; 8]> = [plain.as_ref().and_then(of), of(schema)].into_iter().flatten().collect();
    found.dedup();
    found
}

/// As deep as the catalog's schemas, which are bounded.
fn strip_logical_types(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.swap_remove("logicalType");
            object.swap_remove("default");
            object.values_mut().for_each(strip_logical_types);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_logical_types),
        _ => {}
    }
}

fn parse(text: &str) -> Result<Value, String> {
    // Confluent's registry takes a bare `string`, which is no JSON, for the schema of that name.
    if PRIMITIVES.contains(&text.trim()) {
        return Ok(Value::String(text.trim().to_owned()));
    }
    json::parse(text.as_bytes()).map_err(|poison| format!("no JSON: {}", poison.detail))
}

fn named_by(schema: &Value, subjects: &[String]) -> Vec<String> {
    let Value::Object(object) = schema else { return by_subject(subjects).collect() };
    let outright = object.get(KEY_ATTRIBUTE).and_then(Value::as_str).map(str::to_owned);
    let aliases = object.get("aliases").and_then(Value::as_array).into_iter().flatten();
    let namespace = object.get("namespace").and_then(Value::as_str);
    let aliases = aliases.filter_map(|alias| Some(qualified(alias.as_str()?, namespace)));
    outright.into_iter().chain(full_name(object, None)).chain(aliases).chain(by_subject(subjects)).collect()
}

/// A subject names the type as it is, and without what Confluent's topic strategy puts after the topic's name.
fn by_subject(subjects: &[String]) -> impl Iterator<Item = String> + '_ {
    subjects.iter().flat_map(|subject| {
        let plain = subject.strip_suffix("-value").map(str::to_owned);
        std::iter::once(subject.clone()).chain(plain)
    })
}

fn check_word(word: &Value) -> Result<(), String> {
    match word.as_str().map_or(0, str::len) {
        found if found > MAX_WORD => Err(format!("a name or symbol of {found} bytes; at most {MAX_WORD} are read")),
        _ => Ok(()),
    }
}

fn full_name(object: &Map<String, Value>, enclosing: Option<&str>) -> Option<String> {
    let name = object.get("name")?.as_str()?;
    let namespace = object.get("namespace").and_then(Value::as_str).or(enclosing);
    Some(qualified(name, namespace))
}

fn qualified(name: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() && !name.contains('.') => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    }
}

// === impl Inliner ===

impl Inliner {
    fn put(&mut self, schema: &mut Value, namespace: Option<&str>, depth: usize) -> Result<(), String> {
        if depth > MAX_TEXT_DEPTH {
            return Err(format!("its text is nested deeper than {MAX_TEXT_DEPTH} with its references"));
        }
        match schema {
            Value::String(name) if !PRIMITIVES.contains(&name.as_str()) => self.name(schema, namespace, depth),
            Value::Array(branches) => branches.iter_mut().try_for_each(|branch| self.put(branch, namespace, depth + 1)),
            Value::Object(object) => self.object(object, namespace, depth),
            _ => Ok(()),
        }
    }

    /// A name that stands for a definition of another text is replaced by it, the first time.
    fn name(&mut self, schema: &mut Value, namespace: Option<&str>, depth: usize) -> Result<(), String> {
        let Value::String(name) = schema else { return Ok(()) };
        let full = qualified(name, namespace);
        if self.defined.contains(&full) {
            return Ok(());
        }
        let found = self.definitions.remove(&full).or_else(|| self.definitions.remove(name));
        let Some(mut definition) = found else { return Ok(()) };
        // Its names are its own, wherever it stands now.
        if let Value::Object(object) = &mut definition
            && !object.contains_key("namespace")
        {
            let outer = full.rsplit_once('.').map_or("", |(outer, _)| outer).to_owned();
            object.insert("namespace".to_owned(), Value::String(outer));
        }
        *schema = definition;
        self.put(schema, None, depth + 1)
    }

    fn object(&mut self, object: &mut Map<String, Value>, namespace: Option<&str>, depth: usize) -> Result<(), String> {
        object.retain(|key, _| KEPT.contains(&key.as_str()));
        let unknown = |logical: &Value| !logical.as_str().is_some_and(|name| SHOWN_LOGICAL_TYPES.contains(&name));
        if object.get("logicalType").is_some_and(unknown) {
            object.swap_remove("logicalType");
        }
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "record" | "error" | "enum" | "fixed" => {
                let full = full_name(object, namespace).unwrap_or_default();
                let inner = full.rsplit_once('.').map(|(inner, _)| inner.to_owned());
                self.defined.insert(full);
                let symbols = object.get("symbols").and_then(Value::as_array);
                symbols.into_iter().flatten().try_for_each(check_word)?;
                let fields = object.get_mut("fields").and_then(Value::as_array_mut);
                for field in fields.into_iter().flatten().filter_map(Value::as_object_mut) {
                    field.retain(|key, _| ["name", "type"].contains(&key.as_str()));
                    field.get("name").map_or(Ok(()), check_word)?;
                    if let Some(schema) = field.get_mut("type") {
                        self.put(schema, inner.as_deref(), depth + 3)?;
                    }
                }
                Ok(())
            }
            "array" => object.get_mut("items").map_or(Ok(()), |items| self.put(items, namespace, depth + 1)),
            "map" => object.get_mut("values").map_or(Ok(()), |values| self.put(values, namespace, depth + 1)),
            _ => object.get_mut("type").map_or(Ok(()), |schema| self.put(schema, namespace, depth + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(schema: &str, references: &[&str]) -> Registered {
        let references = references.iter().map(|text| (*text).to_owned()).collect();
        Registered { schema: schema.to_owned(), references, ..Registered::default() }
    }

    /// What a registry hands out in parts reads like what stands in one text.
    fn same(schema: &str, references: &[&str], whole: &str) {
        let found = Writer::compile(&registered(schema, references)).unwrap();
        let whole = Shape::of(&Schema::parse_str(whole).unwrap()).unwrap();
        assert_eq!(found.body, Body::Avro(Arc::new(whole)), "{schema}");
    }

    #[test]
    fn references_stand_where_they_are_first_named() {
        let city = r#"{"type": "record", "name": "City", "namespace": "geo",
            "fields": [{"name": "name", "type": "string"}]}"#;
        let address = r#"{"type": "record", "name": "geo.Address", "fields": [
            {"name": "city", "type": "City"}, {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}}]}"#;
        let plain = r#"{"type": "enum", "name": "Plain", "symbols": ["X", "Y"]}"#;
        same(
            r#"{"type": "record", "name": "crm.Customer", "fields": [
                {"name": "home", "type": ["null", "geo.Address"], "default": null},
                {"name": "others", "type": {"type": "array", "items": "geo.Address"}},
                {"name": "kind", "type": {"type": "map", "values": "geo.Kind"}},
                {"name": "plain", "type": {"type": "Plain"}}]}"#,
            &[city, address, plain],
            r#"{"type": "record", "name": "crm.Customer", "fields": [
                {"name": "home", "type": ["null", {"type": "record", "name": "geo.Address", "fields": [
                    {"name": "city", "type": {"type": "record", "name": "City",
                        "fields": [{"name": "name", "type": "string"}]}},
                    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}}]}]},
                {"name": "others", "type": {"type": "array", "items": "geo.Address"}},
                {"name": "kind", "type": {"type": "map", "values": "geo.Kind"}},
                {"name": "plain", "type": {"type": "enum", "name": "Plain", "namespace": "", "symbols": ["X", "Y"]}}]}"#,
        );
    }

    #[test]
    fn what_only_readers_need_makes_no_schema_wrong() {
        same(
            r#"{"type": "record", "name": "R", "aliases": ["no name!"], "fields": [
                {"name": "a", "type": ["string", "null"], "default": null},
                {"name": "b", "type": {"type": "bytes", "logicalType": "decimal", "precision": 0}},
                {"name": "c", "type": {"type": "int", "logicalType": "time-millis"}},
                {"name": "d", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "e", "type": {"type": "string", "logicalType": "uuid"}}]}"#,
            &[],
            r#"{"type": "record", "name": "R", "fields": [
                {"name": "a", "type": ["string", "null"]}, {"name": "b", "type": "bytes"}, {"name": "c", "type": "int"},
                {"name": "d", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "e", "type": "string"}]}"#,
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let check = |registered: Registered, expected: &str| {
            let error = Writer::compile(&registered).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check(registered("{", &[]), "no JSON: ");
        check(registered("{}", &[]), "no Avro schema: ");
        check(registered(r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "S"}]}"#, &[]), "");
        check(
            registered(r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "R"]}]}"#, &[]),
            "a: R is recursive",
        );
        let protobuf = Registered { schema_type: "PROTOBUF".to_owned(), ..registered("syntax = \"proto3\";", &[]) };
        check(protobuf, "schemas of type PROTOBUF are not read; AVRO and JSON are");
        check(registered(&" ".repeat(MAX_SCHEMA_BYTES + 1), &[]), "1048577 bytes with its references");
        let long = format!(r#"{{"type": "enum", "name": "E", "symbols": ["{}"]}}"#, "A".repeat(MAX_WORD + 1));
        check(registered(&long, &[]), "a name or symbol of 257 bytes; at most 256 are read");
        check(registered("\"int\"", &["{}"; MAX_REFERENCES + 1]), "65 references; at most 64");
        check(registered(&"[".repeat(100_000), &[]), "no JSON: recursion limit");
    }

    /// Each definition is as deep as one text may be; together they are deeper.
    #[test]
    fn references_cannot_make_a_schema_deeper_than_its_bound() {
        let record = |name: &str, depth: usize, inner: &str| {
            let nested =
                (0..depth).fold(format!("\"{inner}\""), |t, _| format!(r#"{{"type": "array", "items": {t}}}"#));
            format!(r#"{{"type": "record", "name": "{name}", "fields": [{{"name": "f", "type": {nested}}}]}}"#)
        };
        let refused = |depth: usize| {
            let references = [record("C", depth, "long"), record("B", depth, "C")];
            let references: Vec<&str> = references.iter().map(String::as_str).collect();
            Writer::compile(&registered(&record("A", depth, "B"), &references)).unwrap_err()
        };
        assert_eq!(refused(100), "its text is nested deeper than 192 with its references");
        // What is within this bound is walked without running out of stack, before the catalog's own bound is met.
        assert!(refused(55).ends_with("nested deeper than 64"), "{}", refused(55));
    }

    #[test]
    fn names_come_best_first() {
        let check = |schema: &str, kind: &str, expected: &[&str]| {
            let registered = Registered {
                schema_type: kind.to_owned(),
                schema: schema.to_owned(),
                subjects: vec!["orders-value".to_owned()],
                ..Registered::default()
            };
            assert_eq!(Writer::compile(&registered).unwrap().names, expected, "{schema}");
        };
        check(
            r#"{"type": "record", "namespace": "crm", "name": "Made", "aliases": ["Old", "x.Older"], "fields": [],
                "tidings.key": "crm.made"}"#,
            "",
            &["crm.made", "crm.Made", "crm.Old", "x.Older", "orders-value", "orders"],
        );
        check(r#"{"title": "crm.made"}"#, "JSON", &["crm.made", "orders-value", "orders"]);
        check("string", "AVRO", &["orders-value", "orders"]);
    }

    /// The numbers are those of the specification's own list, `share/test/data/schema-tests.txt` of apache/avro.
    #[test]
    fn fingerprints_are_those_of_the_specification() {
        let check = |schema: &str, expected: &[i64]| {
            let found: Vec<i64> =
                fingerprints(&Schema::parse_str(schema).unwrap()).into_iter().map(i64::from_le_bytes).collect();
            assert_eq!(found, expected, "{schema}");
        };
        check("\"null\"", &[7195948357588979594]);
        check(r#"{"name":"foo","type":"fixed","size":15}"#, &[1756455273707447556]);
        let [long] = fingerprints(&Schema::parse_str("\"long\"").unwrap())[..] else { panic!("one") };
        let timestamp = Schema::parse_str(r#"{"type": "long", "logicalType": "timestamp-millis"}"#).unwrap();
        assert_eq!(fingerprints(&timestamp)[0], long);
    }
}
