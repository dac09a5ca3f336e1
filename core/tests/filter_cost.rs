//! What the worst filter that is allowed costs on the worst event that is: it grows with the event and with the filter, and
//! never faster. `cargo test --release --test filter_cost -- --nocapture` prints the times.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{MAX_EVENT_BYTES, tape::Tape},
    domain::{EventSelector, TypeSelector},
    filter::{MAX_GAPS, MAX_OPERATORS, MAX_OR, MAX_SEARCHES, MAX_VALUES, compile},
};

/// What no filter may take on any event, in a build with little optimisation on a busy machine. Trying choices again would
/// take hours.
const WORST: Duration = Duration::from_secs(2);

/// A text of the largest event.
fn long(of: &str) -> String {
    of.repeat((MAX_EVENT_BYTES - 16) / of.len())
}

fn check(name: &str, filter: Value, data: &Value) {
    let Value::Object(filter) = filter else { panic!("an object") };
    let selector = EventSelector { event_type: TypeSelector::Any, filter };
    let clause = compile(&selector, &Catalog::default(), "").unwrap_or_else(|faults| panic!("{name}: {}", faults[0]));
    let (text, mut tape) = (data.to_string(), Tape::new());
    assert!(text.len() <= MAX_EVENT_BYTES, "{name}: {} bytes", text.len());
    let Ok(datum) = tape.read_json(text.as_bytes()) else { panic!("{name}: unusual JSON") };
    let start = Instant::now();
    assert!(!clause.matches(datum), "{name}: to match is to stop early");
    let taken = start.elapsed();
    println!("{name}: {:.3} ms", taken.as_secs_f64() * 1e3);
    assert!(taken < WORST, "{name}: {taken:?}");
}

#[test]
fn the_worst_filters_on_the_largest_events() {
    let one_text = json!({"a": long("a")});
    let many_texts = json!({"a": vec!["aaaaaa"; MAX_EVENT_BYTES / 9 - 2]});
    let many_numbers = json!({"a": vec![7; MAX_EVENT_BYTES / 2 - 8]});
    let gaps = |i: usize| format!("*{}b{i}", "aa*".repeat(MAX_GAPS - 1));
    let searches = |of: &dyn Fn(usize) -> Value| Value::from_iter((0..MAX_SEARCHES).map(of));
    check("one wildcard on one text", json!({"a": [{"wildcard": "*aab*"}]}), &one_text);
    check("all wildcards on one text", json!({"a": searches(&|i| json!({"wildcard": gaps(i)}))}), &one_text);
    let near = "a".repeat(1_000);
    check(
        "all contains on one text",
        json!({"a": searches(&|i| json!({"contains": format!("{near}b{i}")}))}),
        &one_text,
    );
    let any_case = |i: usize| json!({"contains": {"equals-ignore-case": format!("{near}B{i}")}});
    check("all contains in any case on one text", json!({"a": searches(&any_case)}), &one_text);
    let operators = |of: &dyn Fn(usize) -> Value| Value::from_iter((0..MAX_OPERATORS).map(of));
    check(
        "all prefixes on many texts",
        json!({"a": operators(&|i| json!({"prefix": format!("aaaaa{i}")}))}),
        &many_texts,
    );
    check("all versions on many texts", json!({"a": operators(&|i| json!({"semver": format!(">{i}")}))}), &many_texts);
    check(
        "all ranges on many numbers",
        json!({"a": operators(&|i| json!({"numeric": ["=", 100 + i]}))}),
        &many_numbers,
    );
    let values: Vec<usize> = (0..MAX_VALUES).map(|i| 100 + i).collect();
    check("all values on many numbers", json!({"a": values}), &many_numbers);
    let or: Vec<Value> = (0..MAX_OR).map(|i| json!({"a": [100 + i]})).collect();
    check("$or on many numbers", json!({"$or": or}), &many_numbers);
}
