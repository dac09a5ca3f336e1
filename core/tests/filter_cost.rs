//! What the worst filters that are allowed cost on the largest events that are: a millisecond at most, or they are told to be too costly.
//!
//! What is counted is held against a clock. In a build for development, which is several times as slow, the clock is only asked for the
//! order of magnitude. `cargo test --release -p tidings-core --test filter_cost -- --nocapture` prints the times and holds the
//! bound itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{MAX_EVENT_BYTES, tape::Tape},
    domain::{EventSelector, Subscription, TypeSelector},
    filter::{
        Budget, Index, MAX_COST, MAX_GAPS, MAX_OPERATORS, MAX_OR, MAX_SEARCHES, MAX_VALUES, Room, Rule, TooCostly,
        compile,
    },
};

/// What a filter may take on any event, its bytes read before.
const WORST: Duration = if cfg!(debug_assertions) { Duration::from_millis(20) } else { Duration::from_millis(1) };
/// The machine may be busy with something else: the least of so many counts.
const TRIES: usize = 7;

/// Whether there is an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Answered,
    TooCostly,
}
use Outcome::{Answered, TooCostly as Costly};

fn least<T>(mut of: impl FnMut() -> T) -> (T, Duration) {
    let mut tried = || {
        let start = Instant::now();
        let answer = of();
        (answer, start.elapsed())
    };
    let (answer, first) = tried();
    (answer, (1..TRIES).fold(first, |least, _| least.min(tried().1)))
}

/// The filter matches none of these events, or it would stop early.
fn check(name: &str, expected: Outcome, filter: Value, data: &Value) {
    let Value::Object(filter) = filter else { panic!("an object") };
    let selector = EventSelector { event_type: TypeSelector::Any, filter: filter.into() };
    let clause = compile(&selector, &Catalog::default(), "").unwrap_or_else(|faults| panic!("{name}: {}", faults[0]));
    let (text, mut tape) = (data.to_string(), Tape::new());
    assert!(text.len() <= MAX_EVENT_BYTES, "{name}: {} bytes", text.len());
    let Ok(datum) = tape.read_json(text.as_bytes()) else { panic!("{name}: unusual JSON") };
    let mut spent = 0;
    let (answer, taken) = least(|| {
        let mut budget = Budget::new();
        let answer = clause.matches_within(datum, &mut budget);
        spent = budget.spent();
        answer
    });
    println!("{name}: {answer:?}, {spent} units, {:.3} ms", taken.as_secs_f64() * 1e3);
    let unknown = || TooCostly { subscription: None, bound: MAX_COST };
    assert_eq!(answer, if expected == Answered { Ok(false) } else { Err(unknown()) }, "{name}");
    assert!(taken < WORST, "{name}: {taken:?}");

    // Through the index, which may know a cheaper way.
    let subscription = json!({"team": "acme", "id": "s", "events": [selector], "destinations": ["d"]});
    let subscription: Subscription = serde_json::from_value(subscription).expect("a subscription");
    let rule = Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).expect("compiled a moment ago"));
    let index = Index::of([rule.clone()]);
    let of = |datum| index.matching_within(&rule.subscription.team, "some.type", datum, &mut Room::default());
    let (found, taken) = least(|| of(datum));
    println!("{name}, index: {:.3} ms", taken.as_secs_f64() * 1e3);
    match found {
        Ok(found) => assert!(found.is_empty(), "{name}"),
        Err(costly) => {
            assert_eq!(expected, Costly, "{name}");
            assert_eq!(costly.subscription.as_ref(), Some(&rule.subscription.id), "{name}");
        }
    }
    assert!(taken < 2 * WORST, "{name}, index: {taken:?}");
}

/// A text of so many bytes.
fn long(of: &str, bytes: usize) -> String {
    of.repeat(bytes / of.len())
}

const LARGEST: usize = MAX_EVENT_BYTES - 16;

#[test]
fn the_worst_filters_on_the_largest_events() {
    let one_text = json!({"a": long("a", LARGEST)});
    // As much of a text as one filter may search, and as sixteen searches may each.
    let (half, sixteenth) = (json!({"a": long("a", 490_000)}), json!({"a": long("a", 30_000)}));
    let many_texts = json!({"a": vec!["aaaaaa"; MAX_EVENT_BYTES / 9 - 2]});
    let many_numbers = json!({"a": vec![7; MAX_EVENT_BYTES / 2 - 8]});
    let long_number: Value = serde_json::from_str(&format!(r#"{{"a":{}}}"#, long("7", LARGEST))).expect("JSON");
    let gaps = |i: usize| format!("*{}b{i}", "aa*".repeat(MAX_GAPS - 1));
    let searches = |of: &dyn Fn(usize) -> Value| Value::from_iter((0..MAX_SEARCHES).map(of));
    let operators = |of: &dyn Fn(usize) -> Value| Value::from_iter((0..MAX_OPERATORS).map(of));
    let near = "a".repeat(1_000);

    // One text.
    check("a value on one text", Answered, json!({"a": ["paid", "trial"]}), &one_text);
    let search = json!({"a": [{"contains": format!("{near}b")}]});
    check("a search in one text", Costly, search.clone(), &one_text);
    check("a search in half a text", Answered, search, &half);
    check("a wildcard on one text", Costly, json!({"a": [{"wildcard": "*aab*"}]}), &one_text);
    check("a wildcard on half a text", Answered, json!({"a": [{"wildcard": "*aab*"}]}), &half);
    check("all wildcards on one text", Costly, json!({"a": searches(&|i| json!({"wildcard": gaps(i)}))}), &one_text);
    let contains = |i| json!({"contains": format!("{near}b{i}")});
    check("all searches in one text", Costly, json!({"a": searches(&contains)}), &one_text);
    check("all searches in some text", Answered, json!({"a": searches(&contains)}), &sixteenth);
    let any_case = |i: usize| json!({"contains": {"equals-ignore-case": format!("{near}B{i}")}});
    check("all searches in any case in some text", Answered, json!({"a": searches(&|i| any_case(i))}), &sixteenth);
    check(
        "a search in any case in wide letters",
        Costly,
        json!({"a": [any_case(0)]}),
        &json!({"a": long("É", LARGEST)}),
    );
    check(
        "a search in any case in some wide letters",
        Answered,
        json!({"a": [any_case(0)]}),
        &json!({"a": long("É", 40_000)}),
    );
    let wide = "é".repeat(10_000);
    check(
        "a long beginning in any case",
        Answered,
        json!({"a": [{"prefix": {"equals-ignore-case": format!("{wide}b")}}]}),
        &json!({"a": long("É", LARGEST)}),
    );

    let any_case_whole = operators(&|i| json!({"equals-ignore-case": format!("aaaaa{i}")}));
    check("all texts in any case on one text", Answered, json!({"a": any_case_whole}), &one_text);
    let longer = operators(&|i| json!({"prefix": {"equals-ignore-case": format!("{}{i}", "a".repeat(900))}}));
    check("all beginnings that are longer", Answered, json!({"a": longer}), &json!({"a": vec!["a".repeat(850); 100]}));
    let parts = format!("1.0.0-0{}", ".0".repeat(120));
    let long_versions = operators(&|i| json!({"semver": format!(">={parts}.{}", i + 1)}));
    check("all versions of many parts", Costly, json!({"a": long_versions}), &json!({"a": vec![parts.clone(); 1_000]}));
    check("all versions of many parts on a few", Answered, json!({"a": long_versions}), &json!({"a": vec![parts; 4]}));

    // Many values.
    check("a value on many numbers", Costly, json!({"a": [100]}), &many_numbers);
    check("a value on some numbers", Answered, json!({"a": [100]}), &json!({"a": vec![7; 13_000]}));
    let wide = |low: f64| json!({"numeric": [">", low, "<", low + 0.01]});
    let wide = json!({"a": [0.1, 0.2, 0.3, 0.4, wide(0.51), wide(0.61), wide(0.71), wide(0.81)]});
    check("a few long numbers and ranges on many numbers", Costly, wide.clone(), &many_numbers);
    check("a few long numbers and ranges on some numbers", Answered, wide, &json!({"a": vec![7; 3_000]}));
    let few_texts = json!({"a": ["bbbbbb", "cccccc", "dddddd", "eeeeee"]});
    check("a few texts on some texts", Answered, few_texts, &json!({"a": vec!["aaaaaa"; 15_000]}));
    let values: Vec<usize> = (0..MAX_VALUES).map(|i| 100 + i).collect();
    check("all values on many numbers", Costly, json!({"a": values}), &many_numbers);
    let ranges = operators(&|i| json!({"numeric": ["=", 100 + i]}));
    check("all ranges on many numbers", Costly, json!({"a": ranges}), &many_numbers);
    check("all ranges on some numbers", Answered, json!({"a": ranges}), &json!({"a": vec![7; 2_000]}));
    check("all ranges on one long number", Answered, json!({"a": ranges}), &long_number);
    let prefixes = operators(&|i| json!({"prefix": format!("aaaaa{i}")}));
    check("all prefixes on many texts", Costly, json!({"a": prefixes}), &many_texts);
    check("all prefixes on some texts", Answered, json!({"a": prefixes}), &json!({"a": vec!["aaaaaa"; 2_000]}));
    let cases = operators(&|i| json!({"equals-ignore-case": format!("aaaaa{i}")}));
    check("all texts in any case on some texts", Answered, json!({"a": cases}), &json!({"a": vec!["aaaaaa"; 800]}));
    let versions = operators(&|i| json!({"semver": format!(">{}", i + 2)}));
    check("all versions on many texts", Costly, json!({"a": versions}), &many_texts);
    check("all versions on some", Answered, json!({"a": versions}), &json!({"a": vec!["1.2.3-rc.1"; 800]}));
    let networks = operators(&|i| json!({"cidr": format!("11.{i}.0.0/16")}));
    check("all networks on some", Answered, json!({"a": networks}), &json!({"a": vec!["10.0.0.1"; 1_500]}));
    let times = operators(&|i| json!({"before": format!("20{}-01-01", 10 + i % 10)}));
    check("all times on some", Answered, json!({"a": times}), &json!({"a": vec!["2026-11-24T00:00:00Z"; 900]}));

    // The same field again and again, or objects again and again.
    let alone: Vec<Value> = (0..MAX_OR).map(|i| json!({"a": [100 + i]})).collect();
    check("$or on many numbers", Costly, json!({"$or": alone}), &many_numbers);
    check("$or on some numbers", Answered, json!({"$or": alone}), &json!({"a": vec![7; 13_000]}));
    let beside: Vec<Value> = (0..MAX_OR).map(|i| json!({"a": [100 + i], "b": ["x"]})).collect();
    check("$or of several fields on many numbers", Costly, json!({"$or": beside}), &many_numbers);
    let all: Vec<Value> = (0..MAX_OPERATORS).map(|i| json!({"numeric": ["<", 100 + i]})).collect();
    check("all of many conditions on many numbers", Costly, json!({"a": [{"all": all}, "x"]}), &many_numbers);
    let fields: Vec<String> = (0..490).map(|i| format!("field{i:03}")).collect();
    let of_fields = |of: &dyn Fn(&String) -> (String, Value)| Value::from_iter(fields.iter().map(of));
    let absent = of_fields(&|name| (name.clone(), json!([{"exists": false}])));
    let mut last = absent.clone();
    last["last"] = json!(["x"]);
    let object = json!({"a": 1});
    check("many fields of what is no object", Costly, json!({"a": last}), &many_numbers);
    check("many fields on many objects", Costly, json!({"d": last}), &json!({"d": vec![object.clone(); 50_000]}));
    check("many fields on some objects", Answered, json!({"d": last}), &json!({"d": vec![object; 20]}));
    let names = Value::from_iter((0..60).map(|i| (format!("{i:02}{}", "n".repeat(12_000)), json!(1))));
    let asked = json!({format!("61{}", "n".repeat(12_000)): ["x"]});
    check("long names", Answered, asked, &names);
}

/// A selector is a row of the index, and where a row is left to be tried, all selectors of its subscription are.
#[test]
fn selectors_of_one_subscription_are_tried_once() {
    const SELECTORS: usize = 100;
    let selector = |i: usize| json!({"type": "*", "filter": {"$or": [{"a": [1000 + i]}, {"b": ["x"]}]}});
    let events = Value::from_iter((0..SELECTORS).map(selector));
    let subscription = json!({"team": "acme", "id": "s", "events": events, "destinations": ["d"]});
    let subscription: Subscription = serde_json::from_value(subscription).expect("a subscription");
    let rule = Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).expect("a valid subscription"));
    let index = Index::of([rule.clone()]);
    let (text, mut tape) = (json!({"a": vec![7; 1_500]}).to_string(), Tape::new());
    let Ok(datum) = tape.read_json(text.as_bytes()) else { panic!("unusual JSON") };
    let found = index.matching_within(&rule.subscription.team, "some.type", datum, &mut Room::default());
    assert!(found.is_ok_and(|found| found.is_empty()));
}
