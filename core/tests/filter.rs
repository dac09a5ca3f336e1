//! Filters held against cases (`filter/cases/*.json`), against their limits, and against properties.
//!
//! Every engine that matches must pass [`check`] for every case.

use std::{fmt::Write, sync::Arc, time::Instant};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::{Catalog, builtin_files},
    codec::tape::Tape,
    domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, Timestamp, TypeSelector},
    filter::{
        Budget, Fault, Index, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_OPERATORS, MAX_OR,
        MAX_SEARCHES, MAX_VALUES, Of, Room, Rule, TooCostly, compile,
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "type", default = "any_type")]
    event_type: String,
    filter: Map<String, Value>,
    /// Its data.
    event: Value,
    #[serde(default)]
    attributes: Attributes,
    expected: bool,
}

/// What a case says of its event beside the data.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    subject: Option<String>,
    time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultCase {
    name: String,
    #[serde(rename = "type", default = "any_type")]
    event_type: String,
    filter: Map<String, Value>,
    faults: Vec<String>,
}

fn any_type() -> String {
    "*".to_owned()
}

/// The compiled-in types and `test.everything`.
fn catalog() -> Catalog {
    let mut files = builtin_files();
    files.push(("test/everything.avsc".to_owned(), include_str!("filter/everything.avsc").to_owned()));
    Catalog::load(&files).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn selector(event_type: &str, filter: &Map<String, Value>) -> EventSelector {
    EventSelector { event_type: TypeSelector::from(event_type.to_owned()), filter: filter.clone().into() }
}

fn subscription(id: &str, events: Vec<EventSelector>) -> Arc<Subscription> {
    Arc::new(Subscription {
        team: TeamId::new("acme").unwrap(),
        id: SubscriptionId::new(id).unwrap(),
        revision: 1,
        name: None,
        enabled: true,
        events: events.into(),
        destinations: vec![DestinationId::new("hook").unwrap()].into(),
    })
}

fn event(event_type: &str, data: &Value) -> Event {
    Event {
        team: TeamId::new("acme").unwrap(),
        id: "1".into(),
        source: "test".into(),
        event_type: event_type.into(),
        time: None,
        subject: None,
        data: data.clone(),
    }
}

fn faults_of(event_type: &str, filter: &Map<String, Value>, catalog: &Catalog) -> Vec<Fault> {
    compile(&selector(event_type, filter), catalog, "events[0]").err().unwrap_or_default()
}

/// The one door: plain evaluation, of values and of places in a text, explanation and the index must all give `expected`.
fn check(case: &Case, catalog: &Catalog) {
    let Case { name, event_type, filter, event: data, attributes, expected } = case;
    let expected = *expected;
    let mut event = event(if event_type == "*" { "some.type" } else { event_type }, data);
    let Attributes { id, source, event_type: named, subject, time } = attributes;
    id.iter().for_each(|id| event.id = id.as_str().into());
    source.iter().for_each(|source| event.source = source.as_str().into());
    named.iter().for_each(|named| event.event_type = named.as_str().into());
    (event.subject, event.time) = (subject.as_deref().map(Into::into), *time);
    let event = &event;
    let selector = selector(event_type, filter);
    let clause = compile(&selector, catalog, "events[0]").unwrap_or_else(|faults| panic!("{name}: {}", faults[0]));
    assert_eq!(clause.matches(Of { datum: data, event }), expected, "{name}");
    let (text, mut tape) = (data.to_string(), Tape::new());
    let datum = tape.read_json(text.as_bytes()).expect("usual JSON");
    assert_eq!(clause.matches(Of { datum, event }), expected, "{name}, unread");
    let within = |matches: &dyn Fn(&mut Budget) -> Result<bool, TooCostly>| matches(&mut Budget::new());
    let value = Of { datum: data, event };
    assert_eq!(within(&|budget| clause.matches_within(value, budget)), Ok(expected), "{name}, within a budget");
    let unread = Of { datum, event };
    assert_eq!(within(&|budget| clause.matches_within(unread, budget)), Ok(expected), "{name}, unread and so");
    let conditions = clause.explain(data, Some(event));
    assert_eq!(conditions.iter().all(|condition| condition.held), expected, "{name}: {conditions:?}");
    let rule = Arc::new(Rule::compile(subscription("s", vec![selector]), catalog).unwrap());
    let mut index = Index::new();
    index.insert(&rule);
    assert_eq!(index.matching(event).len(), usize::from(expected), "{name}");
    assert_eq!(rule.matches(event), expected, "{name}");
}

#[test]
fn every_case_matches_as_it_says() {
    let catalog = catalog();
    for file in [
        include_str!("filter/cases/eventbridge.json"),
        include_str!("filter/cases/operators.json"),
        include_str!("filter/cases/composed.json"),
        include_str!("filter/cases/dialects.json"),
    ] {
        let cases: Vec<Case> = serde_json::from_str(file).unwrap();
        cases.iter().for_each(|case| check(case, &catalog));
    }
}

#[test]
fn every_faulty_filter_is_refused_with_path_found_and_allowed() {
    let catalog = catalog();
    let cases: Vec<FaultCase> = serde_json::from_str(include_str!("filter/cases/faults.json")).unwrap();
    let found = |case: &FaultCase| -> Vec<String> {
        faults_of(&case.event_type, &case.filter, &catalog).iter().map(Fault::to_string).collect()
    };
    let wrong: Vec<_> = cases.iter().filter(|case| found(case) != case.faults).collect();
    let shown =
        wrong.iter().map(|case| format!("{}:\n  expected {:#?}\n  found {:#?}", case.name, case.faults, found(case)));
    assert!(wrong.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn an_unknown_type_is_refused_with_the_nearest_ones() {
    let faults = faults_of("replicated.customer.create", &Map::new(), &catalog());
    assert_eq!((faults.len(), faults[0].path.as_str()), (1, "events[0].type"));
    assert_eq!(faults[0].found, r#""replicated.customer.create""#);
    assert!(faults[0].allowed.starts_with("replicated.customer.created, "), "{}", faults[0].allowed);
    let faults = faults_of("x", &Map::new(), &Catalog::default());
    assert_eq!(faults[0].allowed, r#""*": the catalog is empty"#);
}

#[test]
fn an_explanation_names_filter_field_condition_and_value() {
    let filter = json!({"licenseType": ["trial", "paid"], "licenseFields": {"seats": [{"numeric": [">", 99]}]}});
    let clause =
        compile(&selector("replicated.customer.created", filter.as_object().unwrap()), &catalog(), "").unwrap();
    let conditions = clause.explain(&json!({"license_type": "paid", "license_fields": {"seats": 5}}), None);
    assert_eq!(
        serde_json::to_value(conditions).unwrap(),
        json!([
            {"filter": "licenseType", "path": "license_type", "condition": r#"is one of "paid", "trial""#, "found": "paid", "held": true},
            {"filter": "licenseFields.seats", "path": "license_fields.seats", "condition": "> 99", "found": 5, "held": false},
        ])
    );
}

#[test]
fn an_explanation_of_an_array_shows_the_element_that_came_nearest() {
    let filter = json!({"d": {"a": ["x"], "b": ["y"]}});
    let clause = compile(&selector("*", filter.as_object().unwrap()), &catalog(), "").unwrap();
    let conditions = clause.explain(&json!({"d": [{"a": "n", "b": "n"}, {"a": "x", "b": "n"}]}), None);
    let shown: Vec<(&str, bool)> = conditions.iter().map(|c| (c.path.as_str(), c.held)).collect();
    assert_eq!(shown, [("d[1].a", true), ("d[1].b", false)]);
}

// === limits ===

fn filter_of(leaf: Value) -> Map<String, Value> {
    [("a".to_owned(), leaf)].into_iter().collect()
}

fn refused(filter: &Map<String, Value>, bound: usize) {
    let faults = faults_of("*", filter, &catalog());
    let named = faults.iter().any(|fault| fault.allowed.contains(&bound.to_string()));
    assert!(named, "no fault names {bound}: {faults:?}");
}

#[test]
fn row_24_ten_thousand_values_compile_quickly_and_match_in_one_look_up() {
    let values: Vec<Value> = (0..MAX_VALUES).map(|i| json!(i)).collect();
    let filter = filter_of(Value::Array(values));
    let start = Instant::now();
    let clause = compile(&selector("*", &filter), &catalog(), "").unwrap();
    assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
    let data = json!({"a": MAX_VALUES - 1});
    let start = Instant::now();
    assert!((0..1_000).all(|_| clause.matches(&data)));
    assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
    refused(&filter_of(Value::Array((0..=MAX_VALUES).map(|i| json!(i)).collect())), MAX_VALUES);
}

#[test]
fn row_25_size_depth_and_nodes_are_bounded_and_the_bound_is_named() {
    refused(&filter_of(json!(["x".repeat(MAX_FILTER_BYTES)])), MAX_FILTER_BYTES);
    let nested = |depth: usize| (1..depth).fold(json!(["x"]), |inner, _| json!({"a": inner}));
    refused(&filter_of(nested(100)), MAX_FILTER_DEPTH);
    assert!(faults_of("*", &filter_of(nested(MAX_FILTER_DEPTH)), &catalog()).is_empty());
    let mut text = "{".to_owned();
    (0..MAX_FILTER_NODES).for_each(|i| write!(text, "\"{}\":0,", char::from_u32(0x1000 + i as u32).unwrap()).unwrap());
    text.push_str("\"\":[]}");
    let keys: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(!faults_of("*", &keys, &catalog()).is_empty());
}

#[test]
fn operators_are_bounded_because_each_is_tried_on_each_value() {
    let operators = |count: usize| Value::Array((0..count).map(|i| json!({"prefix": i.to_string()})).collect());
    assert!(faults_of("*", &filter_of(operators(MAX_OPERATORS)), &catalog()).is_empty());
    refused(&filter_of(operators(MAX_OPERATORS + 1)), MAX_OPERATORS);
    let prefixes: Vec<String> = (0..=MAX_OPERATORS).map(|i| i.to_string()).collect();
    refused(&filter_of(json!([{"anything-but": {"prefix": prefixes}}])), MAX_OPERATORS);
}

#[test]
fn what_goes_through_whole_texts_and_what_multiplies_is_bounded() {
    let searches = |count: usize| Value::from_iter((0..count).map(|i| json!({"wildcard": format!("*{i}*")})));
    assert!(faults_of("*", &filter_of(searches(MAX_SEARCHES)), &catalog()).is_empty());
    refused(&filter_of(searches(MAX_SEARCHES + 1)), MAX_SEARCHES);
    let or = |count: usize| {
        [("$or".to_owned(), Value::from_iter((0..count).map(|i| json!({"a": [i]}))))].into_iter().collect()
    };
    assert!(faults_of("*", &or(MAX_OR), &catalog()).is_empty());
    refused(&or(MAX_OR + 1), MAX_OR);
    // Together, too: each may ask for the same field once more.
    let nested = json!({"$or": [or(MAX_OR / 2), or(MAX_OR / 2)]});
    refused(nested.as_object().unwrap(), MAX_OR);
    let inside = json!([{"all": vec![json!({"not": {"prefix": "x"}}); MAX_OPERATORS + 1]}]);
    refused(&filter_of(inside), MAX_OPERATORS);
    let deep = (0..MAX_FILTER_DEPTH).fold(json!("x"), |inner, _| json!({"not": inner}));
    refused(&filter_of(json!([deep])), MAX_FILTER_DEPTH);
}

#[test]
fn row_26_a_long_value_costs_no_more_than_its_length() {
    let filter = filter_of(json!([{"prefix": "a".repeat(100)}, {"suffix": {"equals-ignore-case": "B".repeat(100)}}]));
    let clause = compile(&selector("*", &filter), &catalog(), "").unwrap();
    let data = json!({"a": "a".repeat(99) + &"c".repeat(100_000)});
    let start = Instant::now();
    assert!(!(0..100).any(|_| clause.matches(&data)));
    assert!(start.elapsed().as_millis() < 100, "{:?}", start.elapsed());
}

// === properties ===

/// Few names and values, so that patterns and events meet.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2i64..3).prop_map(|i| json!(i)),
        prop_oneof![Just("1.0"), Just("0.5"), Just("-0.0"), Just("1e400"), Just("9007199254740993")]
            .prop_map(|text| serde_json::from_str(text).unwrap()),
        "[aAbB1é]{0,3}".prop_map(Value::String),
    ]
}

fn finite(value: &Value) -> bool {
    value.as_number().is_none_or(|number| number.as_str() != "1e400" && number.as_str() != "1e+400")
}

fn name() -> impl Strategy<Value = String> {
    "[abc]"
}

fn data() -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    prop::collection::vec((name(), value), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn alternative() -> impl Strategy<Value = Value> {
    let text = "[aAbB1é]{0,2}";
    let literal = || scalar().prop_filter("a filter holds finite numbers", finite);
    prop_oneof![
        4 => literal(),
        1 => any::<bool>().prop_map(|present| json!({"exists": present})),
        1 => literal().prop_map(|value| json!({"anything-but": value})),
        1 => prop::collection::vec(literal(), 1..3).prop_map(|values| json!({"anything-but": values})),
        1 => text.prop_map(|text| json!({"prefix": text})),
        1 => text.prop_map(|text| json!({"suffix": {"equals-ignore-case": text}})),
        1 => "[aAbB1é]{1,2}".prop_map(|text| json!({"anything-but": {"prefix": text}})),
        1 => text.prop_map(|text| json!({"equals-ignore-case": text})),
        1 => (-2i64..3).prop_map(|i| json!({"numeric": [">=", i]})),
        1 => (-2i64..3).prop_map(|i| json!({"numeric": [">", i, "<=", i + 1]})),
        1 => wildcard().prop_map(|text| json!({"wildcard": text})),
        1 => wildcard().prop_map(|text| json!({"anything-but": {"wildcard": text}})),
        1 => Just(json!({"semver": "^1.0"})),
        1 => Just(json!({"cidr": "10.0.0.0/8"})),
        1 => Just(json!({"before": {"event-time": "+1d"}})),
    ]
}

fn wildcard() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![Just("*"), Just("a"), Just("B"), Just("é")], 0..4)
        .prop_map(|parts| parts.concat())
        .prop_filter("no two * in a row", |text| !text.contains("**"))
}

/// With conditions inside others.
fn composed() -> impl Strategy<Value = Value> {
    alternative().prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"all": all})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|none| json!({"not": none})),
            inner.prop_map(|inner| json!({"not": inner})),
        ]
    })
}

fn filter() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = || prop::collection::vec(composed(), 1..3).prop_map(Value::Array);
    let node = leaf().prop_recursive(3, 8, 2, |inner| {
        prop::collection::vec((name(), inner), 1..3).prop_map(|fields| Value::Object(fields.into_iter().collect()))
    });
    let fields =
        || prop::collection::vec((name(), node.clone()), 1..3).prop_map(|f| f.into_iter().collect::<Map<_, _>>());
    let or = prop::option::weighted(0.3, prop::collection::vec(fields(), 2..4));
    (prop::collection::vec((name(), node.clone()), 0..3), or).prop_map(|(fields, or)| {
        let or =
            or.map(|alternatives| ("$or".to_owned(), Value::from_iter(alternatives.into_iter().map(Value::Object))));
        fields.into_iter().chain(or).collect()
    })
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("numeric"),
        Just("prefix"),
        Just("suffix"),
        Just("exists"),
        Just("anything-but"),
        Just("equals-ignore-case"),
        Just("wildcard"),
        Just("all"),
        Just("not"),
        Just("$or"),
        Just("$cloudevents"),
        Just("$simple"),
        Just("exact"),
        Just("a"),
        Just(">")
    ];
    let leaf = prop_oneof![scalar(), Just(json!(">")), Just(json!("<="))];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((keys.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn types() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("*"), Just("tyk.QuotaExceeded"), Just("pandium.run_failed")]
}

/// Filters of named types use that type's filter keys; the events of this property are of those types' fields.
fn rules() -> impl Strategy<Value = Vec<Vec<(&'static str, Value)>>> {
    let path = prop::collection::vec(prop_oneof![Just("/a"), Just("/b"), Just("/c")], 1..3);
    let selector = (types(), path, any::<bool>()).prop_map(|(event_type, values, open)| match event_type {
        _ if open => (event_type, json!({})),
        "pandium.run_failed" => (event_type, json!({"environment": values})),
        _ => (event_type, json!({"path": values})),
    });
    prop::collection::vec(prop::collection::vec(selector, 1..4), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn explanations_agree_with_matches(filter in filter(), data in data()) {
        let clause = compile(&selector("*", &filter), &Catalog::default(), "").unwrap();
        let explained = clause.explain(&data, None).iter().all(|condition| condition.held);
        prop_assert_eq!(clause.matches(&data), explained);
    }

    #[test]
    fn within_a_budget_the_answers_are_the_same(filter in filter(), data in data()) {
        let clause = compile(&selector("*", &filter), &Catalog::default(), "").unwrap();
        let expected = clause.matches(&data);
        prop_assert_eq!(clause.matches_within(&data, &mut Budget::new()), Ok(expected));
        let (text, mut tape) = (data.to_string(), Tape::new());
        if let Ok(view) = tape.read_json(text.as_bytes()) {
            prop_assert_eq!(clause.matches_within(view, &mut Budget::new()), Ok(expected));
        }
    }

    /// Where the next property has the few texts of three types, this one has every operator, nesting and array.
    #[test]
    fn the_index_finds_what_every_filter_finds_alone(
        filters in prop::collection::vec(prop::collection::vec(filter(), 1..3), 0..12), data in data(),
    ) {
        let mut index = Index::new();
        let mut rules = Vec::new();
        for (i, filters) in filters.iter().enumerate() {
            let selectors = filters.iter().map(|filter| selector("*", filter)).collect();
            let rule = Rule::compile(subscription(&format!("{i:02}"), selectors), &Catalog::default()).unwrap();
            rules.push(Arc::new(rule));
            index.insert(&rules[i]);
        }
        let event = event("some.type", &data);
        let expected: Vec<&Arc<Rule>> = rules.iter().filter(|rule| rule.matches(&event)).collect();
        let ids = |rules: Vec<&Arc<Rule>>| rules.iter().map(|rule| rule.subscription.id.to_string()).collect::<Vec<_>>();
        prop_assert_eq!(ids(index.matching(&event)), ids(expected.clone()));
        let within = index.matching_within(&event.team, &event.event_type, Of { datum: &data, event: &event }, &mut Room::default());
        prop_assert_eq!(within.map(ids), Ok(ids(expected)));
        for rule in &rules {
            index.remove(rule);
        }
        prop_assert_eq!(ids(index.matching(&event)), Vec::<String>::new());
        prop_assert_eq!(format!("{index:?}"), format!("{:?}", Index::new()));
    }

    #[test]
    fn any_json_as_a_filter_and_as_an_event_is_survived(filter in arbitrary_json(), data in arbitrary_json()) {
        let filter = filter_of(filter);
        for event_type in ["*", "replicated.customer.created", "no.such.type"] {
            if let Ok(clause) = compile(&selector(event_type, &filter), &Catalog::builtin(), "events[0]") {
                clause.matches(&data);
                clause.explain(&data, None);
            }
        }
    }

    #[test]
    fn anything_but_is_the_complement_among_values(
        excluded in prop::collection::vec(scalar().prop_filter("finite", finite), 1..4),
        value in scalar(),
    ) {
        let data = json!({"a": value});
        let holds = |leaf: Value| compile(&selector("*", &filter_of(leaf)), &Catalog::default(), "").unwrap().matches(&data);
        prop_assert_ne!(holds(Value::Array(excluded.clone())), holds(json!([{"anything-but": excluded}])));
    }

    #[test]
    fn the_index_gives_what_trying_every_rule_gives(
        rules in rules(), removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        event_type in prop_oneof![Just("tyk.QuotaExceeded"), Just("pandium.run_failed"), Just("un.known")],
        value in prop_oneof![Just("/a"), Just("/b"), Just("/d")],
    ) {
        let catalog = Catalog::builtin();
        let mut index = Index::new();
        let mut all: Vec<Arc<Rule>> = Vec::new();
        for (i, selectors) in rules.iter().enumerate() {
            let selectors = selectors.iter().map(|(t, filter)| selector(t, filter.as_object().unwrap())).collect();
            let rule = Arc::new(Rule::compile(subscription(&format!("s{i}"), selectors), &catalog).unwrap());
            index.insert(&rule);
            all.push(rule);
        }
        let before = index.clone();
        let kept = all.clone();
        for place in removed {
            if !all.is_empty() {
                index.remove(&all.remove(place.index(all.len())));
            }
        }
        let event = event(event_type, &json!({"path": value, "environment": value}));
        for (index, rules) in [(&index, &all), (&before, &kept)] {
            let mut expected: Vec<&str> =
                rules.iter().filter(|rule| rule.matches(&event)).map(|rule| rule.subscription.id.as_str()).collect();
            expected.sort_unstable();
            let found = index.matching(&event);
            let found: Vec<&str> = found.iter().map(|rule| rule.subscription.id.as_str()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn another_teams_event_matches_nothing() {
    let catalog = catalog();
    let rule = Arc::new(Rule::compile(subscription("s", vec![selector("*", &Map::new())]), &catalog).unwrap());
    let mut index = Index::new();
    index.insert(&rule);
    let mut event = event("tyk.QuotaExceeded", &json!({}));
    assert_eq!(index.matching(&event).len(), 1);
    event.team = TeamId::new("umbrella").unwrap();
    assert!(index.matching(&event).is_empty());
    assert!(!rule.matches(&event));
}
