//! `schemas/event-type.schema.json`, for editors and other tools, against the files and against the loader.
//!
//! The few keywords of JSON Schema that it uses are evaluated here; one more than these is a panic.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidings_core::catalog::{Catalog, FilterKind, builtin_files};

const SCHEMA: &str = include_str!("../../../schemas/event-type.schema.json");
/// The only pattern used: every name but ours.
const NOT_OURS: &str = r"^(?!tidings\.)";

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Where a value differs from a schema.
fn faults(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fault = |reason: String| found.push(format!("{place}: {reason}"));
    let mut inner = Vec::new();
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "patternProperties" => {}
            "$ref" => {
                let target = wanted.as_str().unwrap().trim_start_matches('#');
                inner.extend(faults(root, root.pointer(target).expect("a definition"), value, place));
            }
            "type" => {
                let holds = match wanted.as_str().unwrap() {
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                if !holds {
                    fault(format!("is no {wanted}"));
                }
            }
            "const" if value != wanted => fault(format!("is not {wanted}")),
            "enum" if !wanted.as_array().unwrap().contains(value) => fault(format!("is none of {wanted}")),
            "const" | "enum" => {}
            "required" => {
                let missing =
                    wanted.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none());
                missing.for_each(|name| fault(format!("lacks {name}")));
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    inner.extend(faults(root, wanted, item, &format!("{place}[{i}]")));
                }
            }
            "anyOf" => {
                if !wanted.as_array().unwrap().iter().any(|one| faults(root, one, value, place).is_empty()) {
                    fault("is none of those allowed".to_owned());
                }
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        inner.extend(faults(root, schema, value, &format!("{place}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                let listed = |name: &str| schema.get("properties").is_some_and(|known| known.get(name).is_some());
                let passed = |name: &str| match schema.get("patternProperties") {
                    None => false,
                    Some(patterns) => {
                        assert_eq!(*patterns, json!({NOT_OURS: {}}));
                        !name.starts_with("tidings.")
                    }
                };
                for (name, value) in value.as_object().into_iter().flatten() {
                    match wanted {
                        _ if listed(name) || passed(name) => {}
                        Value::Bool(false) => fault(format!("{name} is not allowed")),
                        schema => inner.extend(faults(root, schema, value, &format!("{place}.{name}"))),
                    }
                }
            }
            other => panic!("the keyword {other} is not evaluated here"),
        }
    }
    found.extend(inner);
    found
}

#[test]
fn every_file_is_as_the_schema_says() {
    let schema = schema();
    let files = builtin_files();
    assert!(files.len() > 100);
    for (name, text) in files {
        let file = serde_json::from_str(&text).unwrap();
        let found = faults(&schema, &schema, &file, "$");
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn what_the_loader_refuses_the_schema_refuses() {
    let (name, text) = builtin_files().into_iter().find(|(name, _)| name.ends_with("customer.created.avsc")).unwrap();
    let schema = schema();
    let check = |pointer: &str, value: Value| {
        let mut file: Value = serde_json::from_str(&text).unwrap();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        file.pointer_mut(parent).unwrap()[member] = value;
        assert!(Catalog::load(&[(name.clone(), file.to_string())]).is_err(), "the loader takes {pointer}");
        assert!(!faults(&schema, &schema, &file, "$").is_empty(), "the schema takes {pointer}");
    };
    check("/tidings.severity", json!("bad"));
    check("/tidings.severety", json!("info"));
    check("/tidings.critical", json!("yes"));
    check("/tidings.aliases", json!("one"));
    check("/tidings.example", json!([]));
    check("/fields/0/tidings.sensitiv", json!(true));
    check("/fields/0/tidings.title", json!(1));
    check("/fields/9/tidings.values", json!({"paid": 1}));
    check("/tidings.filters/0/kind", json!("glob"));
    check("/tidings.filters/0/operators", json!(["like"]));
    check("/tidings.filters/0/colour", json!("red"));
    check("/tidings.filters/0/many", json!("yes"));
}

/// Attributes are held to `schemas/README.md` by a test of the loader; here the schema is held to the same.
#[test]
fn the_schema_knows_every_attribute_kind_and_operator() {
    let schema = schema();
    let names = |pointer: &str| -> BTreeSet<String> {
        let properties = schema.pointer(pointer).unwrap().as_object().unwrap();
        properties.keys().filter(|name| name.starts_with("tidings.")).cloned().collect()
    };
    let readme = include_str!("../../../schemas/README.md");
    let explained: BTreeSet<String> = readme
        .split('`')
        .filter(|text| text.starts_with("tidings.") && !text.contains('*'))
        .map(str::to_owned)
        .collect();
    let known: BTreeSet<String> = names("/properties").union(&names("/$defs/field/properties")).cloned().collect();
    assert_eq!(known, explained);
    let kinds: Vec<FilterKind> =
        serde_json::from_value(schema.pointer("/$defs/filter/properties/kind/enum").unwrap().clone()).unwrap();
    assert_eq!(kinds.len(), 6);
    let operators: BTreeSet<&str> = kinds.iter().flat_map(|kind| kind.operators().iter().copied()).collect();
    let listed = schema.pointer("/$defs/filter/properties/operators/items/enum").unwrap().as_array().unwrap();
    assert_eq!(listed.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), operators);
}
