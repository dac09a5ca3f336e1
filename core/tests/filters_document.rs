//! `docs/FILTERS.md` held against the code: its examples match as they say, its bounds are the code's.

use serde_json::{Map, Value};
use tidings_core::{
    catalog::Catalog,
    domain::{Event, EventSelector, TeamId, Timestamp, TypeSelector},
    filter::{
        MAX_COST, MAX_EVENT_COST, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_GAPS, MAX_OFFSET_DAYS,
        MAX_OPERATORS, MAX_OR, MAX_SEARCHES, MAX_VALUES, MAX_VERSION, Of, compile,
    },
};

const DOCUMENT: &str = include_str!("../../docs/FILTERS.md");

/// The rows of the table below a heading, cell by cell.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOCUMENT.split(&format!("\n## {heading}\n")).nth(1).expect("a heading");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Plain data, or an envelope.
fn event(text: &str) -> Event {
    let mut object = object(text);
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (source, time) = (text("source").into(), Timestamp::parse(text("time")));
    let envelope = object.contains_key("specversion");
    let data = object.shift_remove("data").filter(|_| envelope);
    Event {
        team: TeamId::new("acme").unwrap(),
        id: "1".into(),
        source,
        event_type: "some.type".into(),
        time,
        subject: None,
        data: data.unwrap_or(Value::Object(object)),
    }
}

#[test]
fn each_example_matches_its_first_event_and_not_its_second() {
    let rows = rows("Operators");
    assert!(rows.len() >= 20, "only {} rows were found", rows.len());
    for row in rows {
        let [operator, filter, matches, does_not] = row[..] else { panic!("not four cells: {row:?}") };
        let selector = EventSelector { event_type: TypeSelector::Any, filter: object(filter).into() };
        let clause =
            compile(&selector, &Catalog::default(), "").unwrap_or_else(|faults| panic!("{operator}: {}", faults[0]));
        for (text, expected) in [(matches, true), (does_not, false)] {
            let event = event(text);
            assert_eq!(clause.matches(Of { datum: &event.data, event: &event }), expected, "{filter} {text}");
        }
    }
}

#[test]
fn every_operator_of_the_catalog_has_an_example() {
    for operator in tidings_core::catalog::FilterKind::Map.operators().iter().filter(|name| **name != "equals") {
        assert!(rows("Operators").iter().any(|row| row[1].contains(&format!("{operator:?}:"))), "{operator}");
    }
}

#[test]
fn the_bounds_are_those_of_the_code() {
    let grouped = |bound: usize| match bound {
        0..1_000 => bound.to_string(),
        _ => format!("{},{:03}", bound / 1_000, bound % 1_000),
    };
    let bounds = [
        MAX_FILTER_BYTES,
        MAX_FILTER_DEPTH,
        MAX_FILTER_NODES,
        MAX_VALUES,
        MAX_OPERATORS,
        MAX_SEARCHES,
        MAX_GAPS,
        MAX_OR,
        MAX_VERSION,
        MAX_OFFSET_DAYS as usize,
    ];
    let said: Vec<String> = rows("Bounds").iter().map(|row| row[1].trim_end_matches(" days").to_owned()).collect();
    assert_eq!(said, bounds.map(grouped));
    let millions = |units: u32| format!("{},000,000", units / 1_000_000);
    for said in
        [format!("{} units on one event", millions(MAX_COST)), format!("{} units together", millions(MAX_EVENT_COST))]
    {
        assert!(DOCUMENT.contains(&said), "{said:?}");
    }
}
