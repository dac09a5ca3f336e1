//! What a newer schema of the catalog says about data that an older one wrote.
//!
//! Avro data is read with its writer's schema, which gives fields by their names then. Where the catalog's schema calls a
//! field otherwise (`aliases`), or has one that was not there yet (`default`), the data is completed accordingly, so that
//! filters and templates find it. Fields that the catalog no longer has stay: nothing that was sent is hidden.

use std::collections::HashMap;

use apache_avro::{Schema, schema::Name};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::{
    catalog::{EventType, Shape},
    domain::{Day, Timestamp},
};

/// The catalog's view of one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reader {
    fields: Vec<Expected>,
}

#[derive(Clone, Debug, PartialEq)]
struct Expected {
    name: String,
    aliases: Vec<String>,
    /// In the JSON form of [`crate::catalog`].
    default: Option<Value>,
    inner: Option<Inner>,
}

/// Records inside a field.
#[derive(Clone, Debug, PartialEq)]
enum Inner {
    Record(Reader),
    Items(Box<Inner>),
    Values(Box<Inner>),
}

type Named<'s> = HashMap<&'s Name, &'s Schema>;

// === impl Reader ===

impl Reader {
    pub fn of(event_type: &EventType) -> Reader {
        match inner(&event_type.schema, &event_type.shape, &mut Named::new()) {
            Some(Inner::Record(reader)) => reader,
            _ => Reader::default(),
        }
    }

    /// Renames and fills in. What is there under its own name is left as it is.
    pub fn complete(&self, object: &mut Map<String, Value>) {
        for expected in &self.fields {
            if !object.contains_key(&expected.name) {
                let renamed = expected.aliases.iter().find_map(|alias| object.shift_remove(alias));
                if let Some(value) = renamed.or_else(|| expected.default.clone()) {
                    object.insert(expected.name.clone(), value);
                }
            }
            if let (Some(inner), Some(value)) = (&expected.inner, object.get_mut(&expected.name)) {
                inner.complete(value);
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    /// As deep as the catalog's schema, which is bounded.
    fn complete(&self, value: &mut Value) {
        match (self, value) {
            (Inner::Record(reader), Value::Object(object)) => reader.complete(object),
            (Inner::Items(inner), Value::Array(items)) => items.iter_mut().for_each(|item| inner.complete(item)),
            (Inner::Values(inner), Value::Object(entries)) => entries.values_mut().for_each(|v| inner.complete(v)),
            _ => {}
        }
    }
}

/// Schema and shape are walked together: the one has the names, the other no references.
fn inner<'s>(schema: &'s Schema, shape: &Shape, named: &mut Named<'s>) -> Option<Inner> {
    match (schema, shape) {
        (Schema::Ref { name }, shape) => inner(named.get(name).copied()?, shape, named),
        (Schema::Record(record), Shape::Record(shapes)) => {
            named.insert(&record.name, schema);
            let field =
                |(field, shape): (&'s apache_avro::schema::RecordField, &crate::catalog::ShapeField)| Expected {
                    name: field.name.clone(),
                    aliases: field.aliases.clone(),
                    default: field.default.as_ref().and_then(|default| json_form(default, &shape.shape)),
                    inner: inner(&field.schema, &shape.shape, named),
                };
            Some(Inner::Record(Reader { fields: record.fields.iter().zip(shapes).map(field).collect() }))
        }
        (Schema::Array(array), Shape::Array(items)) => Some(Inner::Items(Box::new(inner(&array.items, items, named)?))),
        (Schema::Map(map), Shape::Map(values)) => Some(Inner::Values(Box::new(inner(&map.types, values, named)?))),
        // Of several branches that hold records none can be told from the value.
        (Schema::Union(union), Shape::Union(shapes)) => {
            let found: Vec<Inner> =
                union.variants().iter().zip(shapes).filter_map(|(schema, shape)| inner(schema, shape, named)).collect();
            <[Inner; 1]>::try_from(found).ok().map(|[only]| only)
        }
        _ => None,
    }
}

/// A default as the schema's text has it → the form that data of the shape has.
fn json_form(default: &Value, shape: &Shape) -> Option<Value> {
    Some(match (shape, default) {
        (Shape::Bytes | Shape::Fixed(_), Value::String(text)) => {
            // Each character stands for the byte of its number.
            let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            Value::String(BASE64_STANDARD.encode(bytes?))
        }
        (Shape::Date, Value::Number(days)) => Value::String(Day(i32::try_from(days.as_i64()?).ok()?).to_string()),
        (Shape::TimestampMillis, Value::Number(ms)) => Value::String(Timestamp(ms.as_i64()?).to_string()),
        (Shape::TimestampMicros, Value::Number(us)) => {
            Value::String(Timestamp(us.as_i64()?.div_euclid(1_000)).to_string())
        }
        (Shape::TimestampNanos, Value::Number(ns)) => {
            Value::String(Timestamp(ns.as_i64()?.div_euclid(1_000_000)).to_string())
        }
        // The specification asks for the first branch, its later editions for any.
        (Shape::Union(branches), default) => branches.iter().find_map(|branch| json_form(default, branch))?,
        (Shape::Array(items), Value::Array(values)) => {
            Value::Array(values.iter().map(|value| json_form(value, items)).collect::<Option<_>>()?)
        }
        (Shape::Map(values), Value::Object(entries)) => {
            let entry = |(key, value): (&String, &Value)| Some((key.clone(), json_form(value, values)?));
            Value::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        (Shape::Record(fields), Value::Object(entries)) => {
            let known = fields.iter().filter_map(|field| Some((field, entries.get(&field.name)?)));
            let field = |(field, value): (&crate::catalog::ShapeField, &Value)| {
                Some((field.name.clone(), json_form(value, &field.shape)?))
            };
            Value::Object(known.map(field).collect::<Option<_>>()?)
        }
        (Shape::Null, Value::Null)
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Int | Shape::Long | Shape::Float | Shape::Double, Value::Number(_))
        | (Shape::String | Shape::Enum(_), Value::String(_)) => default.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(fields: &str, written: Value, expected: Value) {
        let schema = format!(r#"{{"type": "record", "name": "R", "fields": [{fields}]}}"#);
        let schema = Schema::parse_str(&schema).unwrap();
        let shape = Shape::of(&schema).unwrap();
        let Some(Inner::Record(reader)) = inner(&schema, &shape, &mut Named::new()) else { panic!("a record") };
        let Value::Object(mut object) = written else { panic!("an object") };
        reader.complete(&mut object);
        assert_eq!(Value::Object(object), expected, "{fields}");
    }

    #[test]
    fn older_data_gets_the_names_and_defaults_of_now() {
        let seats = r#"{"name": "seats", "type": "long", "aliases": ["places"], "default": 1}"#;
        check(seats, json!({"places": 5}), json!({"seats": 5}));
        check(seats, json!({"seats": 6, "places": 5}), json!({"seats": 6, "places": 5}));
        check(seats, json!({"gone": true}), json!({"gone": true, "seats": 1}));
        check(r#"{"name": "a", "type": "long"}"#, json!({}), json!({}));
        check(r#"{"name": "a", "type": ["null", "string"], "default": null}"#, json!({}), json!({"a": null}));
    }

    #[test]
    fn records_inside_are_completed_too() {
        let inner = r#"{"type": "record", "name": "I", "fields": [{"name": "x", "type": "int", "default": 7}]}"#;
        check(&format!(r#"{{"name": "a", "type": ["null", {inner}]}}"#), json!({"a": {}}), json!({"a": {"x": 7}}));
        check(&format!(r#"{{"name": "a", "type": ["null", {inner}]}}"#), json!({"a": null}), json!({"a": null}));
        check(
            &format!(
                r#"{{"name": "a", "type": {{"type": "array", "items": {inner}}}}},
                   {{"name": "b", "type": {{"type": "map", "values": "I"}}}}"#
            ),
            json!({"a": [{}, {"x": 1}], "b": {"k": {}}}),
            json!({"a": [{"x": 7}, {"x": 1}], "b": {"k": {"x": 7}}}),
        );
    }

    #[test]
    fn defaults_take_the_form_that_data_has() {
        let default = |kind: &str, default: &str, expected: Value| {
            check(
                &format!(r#"{{"name": "a", "type": {kind}, "default": {default}}}"#),
                json!({}),
                json!({"a": expected}),
            );
        };
        default("\"bytes\"", "\"\\u00ff\"", json!("/w=="));
        default(r#"{"type": "int", "logicalType": "date"}"#, "0", json!("1970-01-01"));
        default(r#"{"type": "long", "logicalType": "timestamp-millis"}"#, "1", json!("1970-01-01T00:00:00.001Z"));
        default(r#"{"type": "array", "items": "long"}"#, "[1]", json!([1]));
        default(r#"{"type": "map", "values": "string"}"#, "{}", json!({}));
        default(r#"{"type": "enum", "name": "E", "symbols": ["A", "B"]}"#, "\"B\"", json!("B"));
    }
}
