//! One fault for each operator, as a hasty implementation would make it, and that the cases notice every one.
//!
//! A fault is written as what the faulty operator would mean in terms of the others: `prefix` that looks anywhere is `contains`. The cases are
//! those of `filter/cases`, and the examples of `docs/FILTERS.md`, which every engine must pass.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::Catalog,
    codec,
    domain::{Event, EventSelector, TeamId, Timestamp, TypeSelector},
    filter::{Of, compile},
};

/// What the fault makes of a node of the filter that it concerns.
type Fault = fn(&Value) -> Option<Value>;

fn argument<'v>(node: &'v Value, operator: &str) -> Option<&'v Value> {
    node.as_object().filter(|object| object.len() == 1)?.get(operator)
}

fn text<'v>(node: &'v Value, operator: &str) -> Option<&'v str> {
    argument(node, operator)?.as_str()
}

fn any_case<'v>(node: &'v Value, operator: &str) -> Option<&'v str> {
    argument(node, operator)?.get("equals-ignore-case")?.as_str()
}

fn first(several: &Value) -> Option<Value> {
    several.as_array().filter(|several| several.len() > 1).map(|several| json!([several[0]]))
}

/// The comparison in a range, another one in its place.
fn compared(node: &Value, from: &str, to: &str) -> Option<Value> {
    let mut range = argument(node, "numeric")?.as_array()?.clone();
    let at = range.iter().position(|part| part == from)?;
    range[at] = json!(to);
    Some(json!({"numeric": range}))
}

/// A network of one bit more or less.
fn bits(node: &Value, more: i32) -> Option<Value> {
    let (address, bits) = text(node, "cidr")?.split_once('/')?;
    let bits = bits.parse::<i32>().ok()? + more;
    (bits >= 0).then(|| json!({"cidr": format!("{address}/{bits}")}))
}

const FAULTS: &[(&str, Fault)] = &[
    ("a text in any case", |node| node.as_str().map(|text| json!({"equals-ignore-case": text}))),
    ("a number as the text of its digits", |node| node.as_number().map(|number| json!(number.to_string()))),
    ("a number to the next whole one", |node| {
        node.as_f64().map(|number| json!({"numeric": [">=", number.floor(), "<", number.floor() + 1.0]}))
    }),
    ("null where nothing is", |node| node.is_null().then(|| json!({"exists": false}))),
    ("false for true", |node| node.as_bool().map(|boolean| json!(!boolean))),
    ("exactly, in any case", |node| text(node, "exactly").map(|text| json!({"equals-ignore-case": text}))),
    ("exists, but not of null", |node| (argument(node, "exists")? == true).then(|| json!({"anything-but": [null]}))),
    ("exists: false of null too", |node| {
        (argument(node, "exists")? == false).then(|| json!({"not": {"anything-but": [null]}}))
    }),
    ("prefix anywhere", |node| text(node, "prefix").map(|text| json!({"contains": text}))),
    ("prefix of the whole", |node| text(node, "prefix").map(|text| json!(text))),
    ("prefix in this case only", |node| any_case(node, "prefix").map(|text| json!({"prefix": text}))),
    ("suffix anywhere", |node| text(node, "suffix").map(|text| json!({"contains": text}))),
    ("suffix in this case only", |node| any_case(node, "suffix").map(|text| json!({"suffix": text}))),
    ("contains at the beginning only", |node| text(node, "contains").map(|text| json!({"prefix": text}))),
    ("contains in this case only", |node| any_case(node, "contains").map(|text| json!({"contains": text}))),
    ("equals-ignore-case with the case", |node| text(node, "equals-ignore-case").map(|text| json!(text))),
    ("equals-ignore-case of a beginning", |node| {
        text(node, "equals-ignore-case").map(|text| json!({"prefix": {"equals-ignore-case": text}}))
    }),
    ("wildcard not to the end", |node| {
        text(node, "wildcard").filter(|text| !text.ends_with('*')).map(|text| json!({"wildcard": format!("{text}*")}))
    }),
    ("wildcard not from the beginning", |node| {
        let text = text(node, "wildcard").filter(|text| !text.starts_with('*'))?;
        Some(json!({"wildcard": format!("*{text}")}))
    }),
    ("a gap of one character at least", |node| {
        let text = text(node, "wildcard")?;
        // There is no other way to say it: what has an empty gap is left out.
        text.contains('*').then(|| json!({"all": [{"wildcard": text}, {"anything-but": text.replace('*', "")}]}))
    }),
    ("an escaped * as a gap", |node| {
        let text = text(node, "wildcard").filter(|text| text.contains("\\*"))?;
        Some(json!({"wildcard": text.replace("\\*", "*")}))
    }),
    ("numeric > with its bound", |node| compared(node, ">", ">=")),
    ("numeric >= without its bound", |node| compared(node, ">=", ">")),
    ("numeric < with its bound", |node| compared(node, "<", "<=")),
    ("numeric <= without its bound", |node| compared(node, "<=", "<")),
    ("numeric with its first bound only", |node| {
        let range = argument(node, "numeric")?.as_array().filter(|range| range.len() == 4)?;
        Some(json!({"numeric": range[..2]}))
    }),
    ("a network of a bit more", |node| bits(node, 1)),
    ("a network of a bit less", |node| bits(node, -1)),
    ("a network as a text", |node| {
        let (address, _) = text(node, "cidr")?.split_once('/')?;
        Some(json!({"prefix": address.split(['.', ':']).next()?}))
    }),
    ("versions without pre-releases", |node| {
        let range = text(node, "semver").filter(|range| range.contains('-'))?;
        let plain = range.split(' ').map(|comparator| comparator.split('-').next().unwrap_or(comparator));
        Some(json!({"semver": plain.collect::<Vec<_>>().join(" ")}))
    }),
    ("versions as texts", |node| {
        let range = text(node, "semver").and_then(|range| range.strip_prefix(">="))?;
        Some(json!({"prefix": range.split('.').next()?}))
    }),
    ("^ without an upper end", |node| {
        text(node, "semver").and_then(|range| range.strip_prefix('^')).map(|low| json!({"semver": format!(">={low}")}))
    }),
    ("before for after", |node| argument(node, "after").map(|time| json!({"before": time}))),
    ("after for before", |node| argument(node, "before").map(|time| json!({"after": time}))),
    ("the event's time without the offset", |node| {
        let moment = |operator| argument(node, operator).filter(|moment| moment.get("event-time").is_some());
        let operator = ["before", "after"].into_iter().find(|operator| moment(operator).is_some())?;
        Some(json!({operator: {"event-time": "+0s"}}))
    }),
    ("anything-but, true of nothing too", |node| {
        let excluded = argument(node, "anything-but")?;
        let Some((operator, texts)) = excluded.as_object().and_then(|object| object.iter().next()) else {
            return Some(json!({"not": excluded}));
        };
        let texts = texts.as_array().cloned().unwrap_or_else(|| vec![texts.clone()]);
        Some(json!({"not": texts.into_iter().map(|text| json!({operator: text})).collect::<Value>()}))
    }),
    ("anything-but of the first value only", |node| {
        Some(json!({"anything-but": first(argument(node, "anything-but")?)?}))
    }),
    ("anything-but of the first text only", |node| {
        let (operator, texts) = argument(node, "anything-but")?.as_object()?.iter().next()?;
        Some(json!({"anything-but": {operator: first(texts)?}}))
    }),
    ("all, but the first only", |node| Some(json!({"all": first(argument(node, "all")?)?}))),
    ("all by the same value", |node| {
        // As if it were one alternative of which any may hold.
        let several = argument(node, "all")?.as_array().filter(|several| several.len() > 1)?;
        Some(
            json!({"all": [several.iter().flat_map(|one| one.as_array().cloned().unwrap_or_else(|| vec![one.clone()])).collect::<Value>()]}),
        )
    }),
    ("not, as anything-but", |node| {
        let named = argument(node, "not")?;
        let values = named.as_array().cloned().unwrap_or_else(|| vec![named.clone()]);
        values.iter().all(|value| !value.is_object() && !value.is_array()).then(|| json!({"anything-but": values}))
    }),
    ("not, of the first only", |node| Some(json!({"not": first(argument(node, "not")?)?}))),
    ("$or, all of it", |node| {
        let objects = node.as_object()?.get("$or")?.as_array()?;
        let mut all = node.as_object()?.clone();
        all.shift_remove("$or");
        // Where both ask for one field, the last counts: a fault as good as the other.
        objects.iter().filter_map(Value::as_object).for_each(|object| all.extend(object.clone()));
        Some(Value::Object(all))
    }),
    ("$or without what stands beside it", |node| {
        let object = node.as_object().filter(|object| object.len() > 1)?;
        Some(json!({"$or": object.get("$or")?}))
    }),
    ("any of CloudEvents, all of it", |node| argument(node, "any").map(|several| json!({"all": several}))),
    ("not of CloudEvents left out", |node| argument(node, "not").filter(|inner| inner.is_object()).cloned()),
    ("exact of CloudEvents, a prefix", |node| argument(node, "exact").map(|texts| json!({"prefix": texts}))),
    ("!= of names and values, ==", |node| operator_of_simple(node, "!=", "==")),
    ("> of names and values, >=", |node| operator_of_simple(node, ">", ">=")),
    ("contains of names and values, a prefix", |node| operator_of_simple(node, "contains", "prefix")),
];

fn operator_of_simple(node: &Value, from: &str, to: &str) -> Option<Value> {
    (node.get("op")? == from).then(|| {
        let mut condition = node.clone();
        condition["op"] = json!(to);
        condition
    })
}

/// The filter with the fault in every node that it concerns; whether there was one.
fn spoilt(node: &Value, fault: Fault, found: &mut bool) -> Value {
    if let Some(faulty) = fault(node) {
        *found = true;
        return faulty;
    }
    match node {
        Value::Array(nodes) => nodes.iter().map(|node| spoilt(node, fault, found)).collect(),
        Value::Object(nodes) => {
            Value::Object(nodes.iter().map(|(name, node)| (name.clone(), spoilt(node, fault, found))).collect())
        }
        other => other.clone(),
    }
}

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "type", default)]
    event_type: Option<String>,
    filter: Value,
    event: Value,
    #[serde(default)]
    attributes: Map<String, Value>,
    expected: bool,
}

/// Of any type: filters of a named type are of its keys.
fn cases() -> Vec<Case> {
    let files = [
        include_str!("filter/cases/composed.json"),
        include_str!("filter/cases/dialects.json"),
        include_str!("filter/cases/eventbridge.json"),
        include_str!("filter/cases/operators.json"),
    ];
    let cases = files.into_iter().flat_map(|text| {
        let cases = codec::json::parse(text.as_bytes()).expect("JSON");
        serde_json::from_value::<Vec<Case>>(cases).expect("cases")
    });
    cases.filter(|case| case.event_type.as_deref().is_none_or(|name| name == "*")).collect()
}

/// What an engine with that filter answers; `None` if it is refused.
fn answer(filter: &Value, case: &Case) -> Option<bool> {
    let selector = EventSelector { event_type: TypeSelector::Any, filter: filter.as_object()?.clone().into() };
    let clause = compile(&selector, &Catalog::default(), "").ok()?;
    let attribute = |name: &str| case.attributes.get(name).and_then(Value::as_str);
    let event = Event {
        team: TeamId::new("acme").expect("a name"),
        id: attribute("id").unwrap_or("1").into(),
        source: attribute("source").unwrap_or("test").into(),
        event_type: attribute("type").unwrap_or("some.type").into(),
        time: attribute("time").and_then(Timestamp::parse),
        subject: attribute("subject").map(Into::into),
        data: case.event.clone(),
    };
    Some(clause.matches(Of { datum: &event.data, event: &event }))
}

#[test]
fn a_fault_in_any_operator_is_noticed() {
    let cases = cases();
    for case in &cases {
        assert_eq!(answer(&case.filter, case), Some(case.expected), "sound: {}", case.filter);
    }
    let unnoticed: Vec<String> = FAULTS
        .iter()
        .filter_map(|(name, fault)| {
            let mut concerned = 0;
            let noticed = cases.iter().any(|case| {
                let mut found = false;
                let faulty = spoilt(&case.filter, *fault, &mut found);
                concerned += usize::from(found);
                found && answer(&faulty, case).is_some_and(|answer| answer != case.expected)
            });
            (!noticed).then(|| format!("{name}, in {concerned} cases"))
        })
        .collect();
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// Whatever may stand in a filter has a fault above.
#[test]
fn every_operator_has_its_fault() {
    let cases = cases();
    let operators = [
        "exactly",
        "exists",
        "prefix",
        "suffix",
        "contains",
        "equals-ignore-case",
        "wildcard",
        "numeric",
        "cidr",
        "semver",
        "before",
        "after",
        "anything-but",
        "all",
        "not",
        "$or",
        "any",
        "exact",
    ];
    for operator in operators {
        let concerns = |node: &Value| node.get(operator).is_some();
        let of_operator = |(_, fault): &&(&str, Fault)| {
            cases.iter().any(|case| any_node(&case.filter, &|node| concerns(node) && fault(node).is_some()))
        };
        assert!(FAULTS.iter().find(of_operator).is_some(), "{operator} has none");
    }
}

fn any_node(node: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    is(node)
        || match node {
            Value::Array(nodes) => nodes.iter().any(|node| any_node(node, is)),
            Value::Object(nodes) => nodes.values().any(|node| any_node(node, is)),
            _ => false,
        }
}
