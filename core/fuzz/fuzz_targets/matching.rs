//! A filter and an event, a line each: plain evaluation of values and of places in the text, explanation and index agree.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tidings_core::{
    catalog::Catalog,
    codec::{self, tape::Tape},
    domain::{Event, Subscription, Timestamp},
    filter::{Index, Of, Rule, compile},
};

fuzz_target!(|text: &[u8]| {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return };
    let (filter, data) = (&text[..end], &text[end + 1..]);
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
    }
    let mut index = Index::new();
    index.insert(&Arc::new(rule));
    assert_eq!(index.matching(&event).len(), usize::from(expected), "found");
});
