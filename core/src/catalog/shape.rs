//! An Avro schema made ready to work with: references resolved, bounds checked, logical types reduced to those with
//! a JSON form.
//!
//! The JSON form, here and in [`crate::codec`]: a record or map is an object, a union is the bare value of its branch,
//! bytes and fixed are base64 text, an enum is its symbol, a timestamp is RFC 3339 text, a date is `2026-11-23`.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use apache_avro::{
    Schema,
    schema::{Name, RecordSchema, UuidSchema},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::domain::{Day, Timestamp};

/// A schema without references, at most [`MAX_DEPTH`] deep: recursion over it is bounded.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    /// Every item takes at least one byte, so that a short input cannot claim a long array.
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<ShapeField>),
    Date,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeField {
    pub name: String,
    pub shape: Shape,
    /// Whether the schema gives a default, so that JSON may leave it out.
    pub optional: bool,
    pub doc: Option<String>,
    /// What the schema file says beyond Avro.
    pub attributes: BTreeMap<String, Value>,
}

/// Where a value differs from its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// `type_data.status`; empty at the top.
    pub path: String,
    pub reason: String,
}

/// The deepest nesting of a schema.
pub const MAX_DEPTH: usize = 64;
/// The most branches of one union.
pub const MAX_BRANCHES: usize = 32;
/// The most parts of a schema once references are resolved: types that refer to each other twice double each time.
pub const MAX_PARTS: usize = 10_000;

/// Resolves the references of one schema.
struct Resolver<'s> {
    named: HashMap<&'s Name, &'s Schema>,
    /// Definitions that we are inside of: a reference to one of them is recursion.
    open: Vec<&'s Name>,
    parts: usize,
}

// === impl Shape ===

impl Shape {
    /// The reason of a refusal names the place: `portal_developer.keys: …`.
    pub fn of(schema: &Schema) -> Result<Shape, Mismatch> {
        let mut resolver = Resolver { named: HashMap::new(), open: Vec::new(), parts: 0 };
        resolver.resolve(schema, &mut Vec::new(), 0)
    }

    /// The Avro type, without `null` where that is one of two branches.
    pub fn kind(&self) -> &'static str {
        match self.without_null() {
            Shape::Null => "null",
            Shape::Boolean => "boolean",
            Shape::Int => "int",
            Shape::Long => "long",
            Shape::Float => "float",
            Shape::Double => "double",
            Shape::Bytes => "bytes",
            Shape::String => "string",
            Shape::Fixed(_) => "fixed",
            Shape::Enum(_) => "enum",
            Shape::Array(_) => "array",
            Shape::Map(_) => "map",
            Shape::Union(_) => "union",
            Shape::Record(_) => "record",
            Shape::Date => "date",
            Shape::TimestampMillis | Shape::TimestampMicros | Shape::TimestampNanos => "timestamp",
        }
    }

    /// The other branch of a union of `null` and one more; else the shape itself.
    pub fn without_null(&self) -> &Shape {
        match self {
            Shape::Union(branches) => match branches.as_slice() {
                [Shape::Null, other] | [other, Shape::Null] => other,
                _ => self,
            },
            other => other,
        }
    }

    /// The shape at a path of record field names; arrays are stepped through.
    pub fn at(&self, path: &[String]) -> Option<&Shape> {
        let here = self.without_null();
        let Some((first, rest)) = path.split_first() else { return Some(here) };
        match here {
            Shape::Array(items) => items.at(path),
            Shape::Record(fields) => fields.iter().find(|field| field.name == *first)?.shape.at(rest),
            _ => None,
        }
    }

    /// Holds a JSON value against the shape. Strict: an unknown field is a mismatch.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        self.check_at(value, &mut Vec::new())
    }

    fn check_at<'v>(&'v self, value: &'v Value, path: &mut Vec<&'v str>) -> Result<(), Mismatch> {
        let holds = match (self, value) {
            (Shape::Null, Value::Null) | (Shape::Boolean, Value::Bool(_)) | (Shape::String, Value::String(_)) => true,
            (Shape::Int, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Shape::Long, Value::Number(n)) => n.as_i64().is_some(),
            (Shape::Float | Shape::Double, Value::Number(_)) => true,
            (Shape::Bytes, Value::String(text)) => BASE64_STANDARD.decode(text).is_ok(),
            (Shape::Fixed(size), Value::String(text)) => {
                BASE64_STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == *size)
            }
            (Shape::Enum(symbols), Value::String(text)) => symbols.contains(text),
            (Shape::Date, Value::String(text)) => Day::parse(text).is_some(),
            (Shape::TimestampMillis | Shape::TimestampMicros | Shape::TimestampNanos, Value::String(text)) => {
                Timestamp::parse(text).is_some()
            }
            (Shape::Union(_), Value::Object(_)) if matches!(self.without_null(), Shape::Record(_) | Shape::Map(_)) => {
                return self.without_null().check_at(value, path);
            }
            (Shape::Union(branches), value) => branches.iter().any(|branch| branch.check(value).is_ok()),
            (Shape::Array(shape), Value::Array(items)) => {
                return items.iter().try_for_each(|item| shape.check_at(item, path));
            }
            (Shape::Map(shape), Value::Object(entries)) => {
                return entries.iter().try_for_each(|(key, value)| {
                    path.push(key);
                    shape.check_at(value, path)?;
                    path.pop();
                    Ok(())
                });
            }
            (Shape::Record(fields), Value::Object(entries)) => return check_record(fields, entries, path),
            _ => false,
        };
        if holds { Ok(()) } else { Err(mismatch(path, format!("found {value}; the type is {}", self.kind()))) }
    }

    /// Whether values take no bytes at all.
    fn is_empty(&self) -> bool {
        match self {
            Shape::Null | Shape::Fixed(0) => true,
            Shape::Record(fields) => fields.iter().all(|field| field.shape.is_empty()),
            _ => false,
        }
    }
}

fn check_record<'v>(
    fields: &'v [ShapeField],
    entries: &'v serde_json::Map<String, Value>,
    path: &mut Vec<&'v str>,
) -> Result<(), Mismatch> {
    for field in fields {
        path.push(&field.name);
        match entries.get(&field.name) {
            Some(value) => field.shape.check_at(value, path)?,
            None if field.optional => {}
            None => return Err(mismatch(path, "is missing and has no default".to_owned())),
        }
        path.pop();
    }
    match entries.keys().find(|key| !fields.iter().any(|field| field.name == **key)) {
        Some(unknown) => {
            path.push(unknown);
            Err(mismatch(path, "the schema has no such field".to_owned()))
        }
        None => Ok(()),
    }
}

fn mismatch(path: &[&str], reason: String) -> Mismatch {
    Mismatch { path: path.join("."), reason }
}

// === impl Resolver ===

impl<'s> Resolver<'s> {
    fn resolve(&mut self, schema: &'s Schema, path: &mut Vec<&'s str>, depth: usize) -> Result<Shape, Mismatch> {
        self.parts += 1;
        if depth > MAX_DEPTH {
            return Err(mismatch(path, format!("nested deeper than {MAX_DEPTH}")));
        }
        if self.parts > MAX_PARTS {
            return Err(mismatch(path, format!("more than {MAX_PARTS} parts once references are resolved")));
        }
        Ok(match schema {
            Schema::Null => Shape::Null,
            Schema::Boolean => Shape::Boolean,
            Schema::Int => Shape::Int,
            Schema::Long => Shape::Long,
            Schema::Float => Shape::Float,
            Schema::Double => Shape::Double,
            Schema::Bytes => Shape::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Shape::String,
            Schema::Date => Shape::Date,
            Schema::TimestampMillis => Shape::TimestampMillis,
            Schema::TimestampMicros => Shape::TimestampMicros,
            Schema::TimestampNanos => Shape::TimestampNanos,
            Schema::Fixed(fixed) => {
                self.named.insert(&fixed.name, schema);
                Shape::Fixed(fixed.size)
            }
            Schema::Enum(symbols) => {
                self.named.insert(&symbols.name, schema);
                Shape::Enum(symbols.symbols.clone())
            }
            Schema::Array(array) => {
                let items = self.resolve(&array.items, path, depth + 1)?;
                if items.is_empty() {
                    return Err(mismatch(path, "an array of items without content".to_owned()));
                }
                Shape::Array(Box::new(items))
            }
            Schema::Map(map) => Shape::Map(Box::new(self.resolve(&map.types, path, depth + 1)?)),
            Schema::Union(union) if union.variants().len() > MAX_BRANCHES => {
                let found = union.variants().len();
                return Err(mismatch(path, format!("a union of {found} branches; at most {MAX_BRANCHES} are allowed")));
            }
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.resolve(branch, path, depth + 1));
                Shape::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                self.named.insert(&record.name, schema);
                self.resolve_record(record, path, depth)?
            }
            Schema::Ref { name } if self.open.contains(&name) => {
                return Err(mismatch(path, format!("{name} is recursive")));
            }
            Schema::Ref { name } => match self.named.get(name) {
                Some(named) => self.resolve(named, path, depth)?,
                None => return Err(mismatch(path, format!("{name} is not defined before it is used"))),
            },
            Schema::Uuid(_)
            | Schema::Decimal(_)
            | Schema::BigDecimal
            | Schema::Duration(_)
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => {
                return Err(mismatch(path, format!("the logical type {schema} has no JSON form here")));
            }
        })
    }

    fn resolve_record(
        &mut self,
        record: &'s RecordSchema,
        path: &mut Vec<&'s str>,
        depth: usize,
    ) -> Result<Shape, Mismatch> {
        self.open.push(&record.name);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            path.push(&field.name);
            let shape = self.resolve(&field.schema, path, depth + 1)?;
            path.pop();
            fields.push(ShapeField {
                name: field.name.clone(),
                shape,
                optional: field.default.is_some(),
                doc: field.doc.clone(),
                attributes: field.custom_attributes.clone(),
            });
        }
        self.open.pop();
        Ok(Shape::Record(fields))
    }
}

// === impl Mismatch ===

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.reason),
            path => write!(f, "{path}: {}", self.reason),
        }
    }
}
