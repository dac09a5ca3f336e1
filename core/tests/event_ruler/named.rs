//! Which named difference a generated pair or pattern falls under, if any: by its form, not by the answers.

use std::net::IpAddr;

use serde_json::Value;

/// Of a pattern that both accept and an event.
pub fn difference(pattern: &Value, event: &Value) -> Option<&'static str> {
    let inside_arrays = |name: &str| {
        event.get(name).is_some_and(Value::is_array)
            && everywhere(pattern, name).any(|asked| asks_for_absence(Some(asked)))
    };
    if inside_arrays("d") || inside_arrays("s") {
        return Some("absence inside arrays of objects");
    }
    if pattern.to_string().contains(r#""cidr""#) && has_a_number(event) {
        return Some("numbers under cidr");
    }
    if of_other_kinds(pattern, event) {
        return Some("addresses of the other kind");
    }
    if a_wildcard_beside_a_wide_suffix(pattern) {
        return Some("a wildcard beside a suffix outside ASCII");
    }
    if a_wildcard_beside_ignored_case(pattern) {
        return Some("a wildcard beside an operator that ignores case");
    }
    if !every_or(pattern).is_empty() && excludes_a_lone_gap(pattern) {
        return Some("a lone `*` among excluded wildcards, beside `$or`");
    }
    if every_or(pattern).iter().any(|or| several_ask_for_one_field(or)) {
        return Some("a field in several objects of `$or`");
    }
    None
}

/// A network of one kind is asked for, and an address of the other is there.
fn of_other_kinds(pattern: &Value, event: &Value) -> bool {
    let (mut networks, mut addresses) = ((false, false), (false, false));
    texts(pattern, &mut |text| {
        let kind = text.split_once('/').and_then(|(address, _)| address.parse().ok());
        note(kind, &mut networks);
    });
    texts(event, &mut |text| note(text.parse().ok(), &mut addresses));
    (networks.0 && addresses.1) || (networks.1 && addresses.0)
}

fn note(address: Option<IpAddr>, (v4, v6): &mut (bool, bool)) {
    match address {
        Some(IpAddr::V4(_)) => *v4 = true,
        Some(IpAddr::V6(_)) => *v6 = true,
        None => {}
    }
}

fn texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, visit)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, visit)),
        _ => {}
    }
}

/// On one field: a suffix is looked for byte by byte from the end, and its bytes are then taken for a beginning.
fn a_wildcard_beside_a_wide_suffix(pattern: &Value) -> bool {
    match pattern {
        Value::Array(values) => {
            let wide = |value: &Value| value.get("suffix").is_some_and(|suffix| !suffix.to_string().is_ascii());
            (pattern.to_string().contains(r#""wildcard":"#) && values.iter().any(wide))
                || values.iter().any(a_wildcard_beside_a_wide_suffix)
        }
        Value::Object(fields) => fields.values().any(a_wildcard_beside_a_wide_suffix),
        _ => false,
    }
}

fn a_wildcard_beside_ignored_case(pattern: &Value) -> bool {
    match pattern {
        Value::Array(values) => {
            let text = pattern.to_string();
            (text.contains(r#""wildcard":"#) && text.contains(r#""equals-ignore-case":"#))
                || values.iter().any(a_wildcard_beside_ignored_case)
        }
        Value::Object(fields) => fields.values().any(a_wildcard_beside_ignored_case),
        _ => false,
    }
}

/// Among several: where `$or` adds the field's conditions a second time, any one of the states is taken up that the several lead to.
fn excludes_a_lone_gap(pattern: &Value) -> bool {
    let excluded = pattern.pointer("/anything-but/wildcard").and_then(Value::as_array);
    excluded.is_some_and(|several| several.len() > 1 && several.iter().any(|wildcard| wildcard == "*"))
        || match pattern {
            Value::Array(values) => values.iter().any(excludes_a_lone_gap),
            Value::Object(fields) => fields.values().any(excludes_a_lone_gap),
            _ => false,
        }
}

/// What is asked of a field, beside `$or` and in its objects.
fn everywhere<'a>(pattern: &'a Value, name: &'a str) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
    let objects = pattern.get("$or").and_then(Value::as_array).into_iter().flatten();
    Box::new(pattern.get(name).into_iter().chain(objects.flat_map(move |object| everywhere(object, name))))
}

/// Every `$or`, those inside of others and of nested objects too.
fn every_or(pattern: &Value) -> Vec<&Value> {
    match pattern {
        Value::Array(values) => values.iter().flat_map(every_or).collect(),
        Value::Object(fields) => fields.get("$or").into_iter().chain(fields.values().flat_map(every_or)).collect(),
        _ => Vec::new(),
    }
}

fn several_ask_for_one_field(or: &Value) -> bool {
    let objects: Vec<_> = or.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
    let named = |name: &String| objects.iter().filter(|object| object.contains_key(name)).count() > 1;
    objects.iter().any(|object| object.keys().any(named))
}

fn has_a_number(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_a_number),
        Value::Object(fields) => fields.values().any(has_a_number),
        value => value.is_number(),
    }
}

fn asks_for_absence(pattern: Option<&Value>) -> bool {
    match pattern {
        Some(Value::Object(fields)) => {
            fields.get("exists") == Some(&Value::Bool(false))
                || fields.values().any(|value| asks_for_absence(Some(value)))
        }
        Some(Value::Array(values)) => values.iter().any(|value| asks_for_absence(Some(value))),
        _ => false,
    }
}

/// Of a pattern that one of them refuses.
pub fn form(pattern: &str) -> Option<&'static str> {
    let pattern: Value = serde_json::from_str(pattern).ok()?;
    if pattern.as_object().is_some_and(|fields| fields.is_empty()) {
        return Some("the empty filter");
    }
    within(&pattern)
}

fn within(value: &Value) -> Option<&'static str> {
    match value {
        Value::Array(values) => values.iter().find_map(within),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| of_operator(name, value).or_else(|| within(value)))
        }
        _ => None,
    }
}

fn of_operator(name: &str, argument: &Value) -> Option<&'static str> {
    let kinds = |values: &[Value]| (values.iter().all(Value::is_string), values.iter().all(Value::is_number));
    match (name, argument) {
        ("$or", Value::Array(objects)) if objects.len() > 1 && objects.iter().all(Value::is_object) => None,
        ("$or", _) => Some("`$or` of anything but several objects"),
        ("anything-but", Value::Array(values)) if kinds(values) == (false, false) => Some("anything-but of any values"),
        ("prefix" | "suffix" | "equals-ignore-case" | "wildcard", Value::Array(texts)) if texts.is_empty() => {
            Some("nothing excluded")
        }
        ("anything-but", Value::Null | Value::Bool(_)) => Some("anything-but of any values"),
        _ => None,
    }
}
