//! A filter and an event, a line each: plain evaluation of values and of places in the text, evaluation within a budget, explanation and
//! index agree.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tidings_core::{
    catalog::Catalog,
    codec::{self, tape::Tape},
    domain::{Event, Subscription, Timestamp},
    filter::{Budget, Index, Of, Rule, TooCostly, compile},
};

fuzz_target!(|text: &[u8]| {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return };
    let (filter, data) = (&text[..end], &text[end + 1..]);
    let size = filter.len() * data.len();
    let (Ok(filter), Ok(value)) = (codec::json::parse(filter), codec::json::parse(data)) else { return };
    if !filter.is_object() || !value.is_object() {
        return;
    }
    let subscription =
        json!({"team": "acme", "id": "s", "events": [{"type": "*", "filter": filter}], "destinations": ["d"]});
    let Ok(subscription) = serde_json::from_value::<Subscription>(subscription) else { return };
    let subscription = Arc::new(subscription);
    let Ok(rule) = Rule::compile(subscription.clone(), &Catalog::default()) else { return };
    let Ok(clause) = compile(&subscription.events[0], &Catalog::default(), "") else { panic!("compiled a moment ago") };
    let event = Event {
        team: subscription.team.clone(),
        id: "1".into(),
        source: "fuzz".into(),
        event_type: "some.type".into(),
        time: Some(Timestamp(1_800_000_000_000)),
        subject: None,
        data: value,
    };
    let expected = clause.matches(Of { datum: &event.data, event: &event });
    let explained = clause.explain(&event.data, Some(&event)).iter().all(|condition| condition.held);
    assert_eq!(explained, expected, "explained");
    let mut tape = Tape::new();
    if let Ok(datum) = tape.read_json(data) {
        assert_eq!(clause.matches(Of { datum, event: &event }), expected, "unread");
        agrees(clause.matches_within(Of { datum, event: &event }, &mut Budget::new()), expected, size);
    }
    let data = Of { datum: &event.data, event: &event };
    agrees(clause.matches_within(data, &mut Budget::new()), expected, size);
    let mut index = Index::new();
    index.insert(&Arc::new(rule));
    assert_eq!(index.matching(&event).len(), usize::from(expected), "found");
    let within = index.matching_within(&event.team, &event.event_type, data);
    agrees(within.map(|found| !found.is_empty()), expected, size);
});

/// So many pairs of a byte of the filter and one of the event cost nothing that could be too much.
const SMALL: usize = 20_000;

fn agrees(answer: Result<bool, TooCostly>, expected: bool, size: usize) {
    match answer {
        Ok(answer) => assert_eq!(answer, expected, "within a budget"),
        Err(costly) => assert!(size > SMALL, "{costly}"),
    }
}
