//! Which changes of an event type its recorded events and its subscriptions survive.
//!
//! Events stay in the log as they were written. So a later schema must read what an earlier one allowed: a field may be
//! added with a default, a number may become wider, a field may become optional; a field may go, since what is not
//! named is not read. Whether a *subscription* survives is seen by compiling it against the later catalog:
//! [`Directory::broken_by`](crate::directory::Directory::broken_by).

use super::{Catalog, CatalogFault, EventType, Shape, ShapeField};

/// What recorded events or producers would not survive, in the order of keys and fields. The file of a fault is the
/// event type's key.
pub fn faults(before: &Catalog, after: &Catalog) -> Vec<CatalogFault> {
    let mut faults = Vec::new();
    for old in before.types() {
        match after.get(&old.key) {
            Some(new) => faults.extend(of_type(old, new)),
            None => faults.push(fault(old, "", "the event type was removed")),
        }
    }
    faults
}

fn of_type(old: &EventType, new: &EventType) -> Vec<CatalogFault> {
    let mut found = Vec::new();
    compare(&old.shape, &new.shape, &mut Vec::new(), &mut found);
    let names = old.other_names().filter(|name| !new.other_names().any(|known| known == *name));
    found.extend(names.map(|name| (String::new(), format!("{name:?} is no name of it any more"))));
    found.into_iter().map(|(field, reason)| fault(old, &field, &reason)).collect()
}

fn fault(event_type: &EventType, field: &str, reason: &str) -> CatalogFault {
    CatalogFault { file: event_type.key.to_string(), field: field.to_owned(), reason: reason.to_owned() }
}

/// Both shapes are at most [`super::shape::MAX_DEPTH`] deep.
fn compare<'s>(old: &'s Shape, new: &'s Shape, path: &mut Vec<&'s str>, found: &mut Vec<(String, String)>) {
    match (old, new) {
        (Shape::Record(old), Shape::Record(new)) => compare_fields(old, new, path, found),
        (Shape::Array(old), Shape::Array(new)) => compare(old, new, path, found),
        (Shape::Map(old), Shape::Map(new)) => {
            path.push(super::EVERY_VALUE);
            compare(old, new, path, found);
            path.pop();
        }
        // Of two optional records the fields are compared, so that a fault names the field and not the whole.
        (Shape::Union(_), Shape::Union(_))
            if old.without_null() != old && new.without_null() != new && old.kind() == new.kind() =>
        {
            compare(old.without_null(), new.without_null(), path, found);
        }
        (Shape::Union(branches), _) => {
            for branch in branches.iter().filter(|branch| !reads(new, branch)) {
                found.push((path.join("."), format!("{} could stand there and no longer can", branch.kind())));
            }
        }
        _ if reads(new, old) => {}
        _ => found.push((path.join("."), format!("{} became {}, which does not read it", old.kind(), new.kind()))),
    }
}

fn compare_fields<'s>(
    old: &'s [ShapeField],
    new: &'s [ShapeField],
    path: &mut Vec<&'s str>,
    found: &mut Vec<(String, String)>,
) {
    for field in new {
        path.push(&field.name);
        match old.iter().find(|known| known.name == field.name) {
            Some(known) => {
                if known.optional && !field.optional {
                    found.push((path.join("."), "lost its default: events without it are recorded".to_owned()));
                }
                compare(&known.shape, &field.shape, path, found);
            }
            None if field.optional => {}
            None => found.push((path.join("."), "was added without a default: recorded events lack it".to_owned())),
        }
        path.pop();
    }
}

/// Whether a value of `old` is read as one of `new`: Avro's rules of promotion.
fn reads(new: &Shape, old: &Shape) -> bool {
    match (old, new) {
        (_, Shape::Union(branches)) => branches.iter().any(|branch| reads(branch, old)),
        (Shape::Int, Shape::Long | Shape::Float | Shape::Double) => true,
        (Shape::Long, Shape::Float | Shape::Double) | (Shape::Float, Shape::Double) => true,
        (Shape::Enum(old), Shape::Enum(new)) => old.iter().all(|symbol| new.contains(symbol)),
        (Shape::Record(_) | Shape::Array(_) | Shape::Map(_), _) if old.kind() == new.kind() => {
            let mut found = Vec::new();
            compare(old, new, &mut Vec::new(), &mut found);
            found.is_empty()
        }
        _ => old == new,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn catalog(fields: Value, example: Value, more: Value) -> Catalog {
        let mut file = json!({
            "type": "record", "namespace": "shop", "name": "paid", "doc": "An order was paid.",
            "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
            "tidings.example": example, "fields": fields
        });
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Catalog::load(&[("shop/paid.avsc".to_owned(), file.to_string())]).unwrap()
    }

    fn one(kind: Value) -> Catalog {
        let field = json!([{"name": "f", "type": kind}]);
        let examples =
            [json!({"f": 1}), json!({"f": "a"}), json!({"f": {"g": 1}}), json!({"f": {}}), json!({"f": [1]})];
        let fitting = examples.into_iter().find(|example| {
            let schema = json!({"type": "record", "name": "r", "fields": field});
            Shape::of(&apache_avro::Schema::parse(&schema).unwrap()).unwrap().check(example).is_ok()
        });
        catalog(field, fitting.expect("an example"), json!({}))
    }

    fn check(before: &Catalog, after: &Catalog, expected: &[&str]) {
        let found: Vec<String> = faults(before, after).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn kinds_may_become_wider_and_never_narrower() {
        let widens = |old: Value, new: Value| {
            check(&one(old.clone()), &one(new.clone()), &[]);
            assert_eq!(faults(&one(new), &one(old)).len(), 1);
        };
        widens(json!("int"), json!("long"));
        widens(json!("long"), json!("double"));
        widens(json!("string"), json!(["null", "string"]));
        widens(json!(["null", "long"]), json!(["null", "long", "string"]));
        widens(
            json!({"type": "enum", "name": "E", "symbols": ["a"]}),
            json!({"type": "enum", "name": "E", "symbols": ["a", "b"]}),
        );
        widens(json!({"type": "map", "values": "int"}), json!({"type": "map", "values": "long"}));
        widens(json!({"type": "array", "items": "int"}), json!({"type": "array", "items": "long"}));
        check(
            &one(json!("long")),
            &one(json!("string")),
            &["shop.paid: f: long became string, which does not read it"],
        );
    }

    #[test]
    fn fields_come_with_a_default_and_may_go() {
        let base = || catalog(json!([{"name": "a", "type": "long"}]), json!({"a": 1}), json!({}));
        let with =
            |field: Value| catalog(json!([{"name": "a", "type": "long"}, field]), json!({"a": 1, "b": "x"}), json!({}));
        check(&base(), &with(json!({"name": "b", "type": "string", "default": ""})), &[]);
        check(
            &base(),
            &with(json!({"name": "b", "type": "string"})),
            &["shop.paid: b: was added without a default: recorded events lack it"],
        );
        check(&with(json!({"name": "b", "type": "string"})), &base(), &[]);
        check(
            &with(json!({"name": "b", "type": "string", "default": ""})),
            &with(json!({"name": "b", "type": "string"})),
            &["shop.paid: b: lost its default: events without it are recorded"],
        );
    }

    #[test]
    fn a_fault_names_the_inner_field() {
        let inner = |kind: &str| {
            let record = json!({"type": "record", "name": "R", "fields": [{"name": "g", "type": kind}]});
            let example = if kind == "long" { json!({"f": {"g": 1}}) } else { json!({"f": {"g": "1"}}) };
            catalog(json!([{"name": "f", "type": ["null", record], "default": null}]), example, json!({}))
        };
        check(&inner("long"), &inner("string"), &["shop.paid: f.g: long became string, which does not read it"]);
    }

    #[test]
    fn types_and_names_do_not_go() {
        let named = |name: &str| catalog(json!([]), json!({}), json!({"tidings.wireName": name}));
        check(&named("payment"), &named("payed"), &["shop.paid: \"payment\" is no name of it any more"]);
        check(&named("payment"), &Catalog::default(), &["shop.paid: the event type was removed"]);
        check(&Catalog::default(), &named("payment"), &[]);
    }
}
