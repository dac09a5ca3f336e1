//! The scanner against [`json::parse`] and plain evaluation.

use std::{cell::RefCell, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    catalog::Catalog,
    codec::json,
    domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
    filter::Index,
};

fn index() -> (Index, Vec<Arc<Rule>>) {
    let filters = [
        json!({"a": ["x", null, 1, true]}),
        json!({"a": [{"exists": false}]}),
        json!({"b": {"a": ["x"], "c": [{"numeric": [">", 0]}]}}),
        json!({"b": [{"prefix": "x"}, 2]}),
        json!({"b": {"c": [{"anything-but": "x"}]}}),
        json!({}),
    ];
    let rule = |(number, filter): (usize, Value)| {
        let filter = filter.as_object().cloned().unwrap_or_default();
        let subscription = Subscription {
            team: TeamId::new("acme").unwrap(),
            id: SubscriptionId::new(&format!("s{number}")).unwrap(),
            revision: 1,
            name: None,
            enabled: true,
            events: vec![EventSelector { event_type: TypeSelector::Any, filter: filter.into() }].into(),
            destinations: vec![DestinationId::new("hook").unwrap()].into(),
        };
        Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).unwrap())
    };
    let rules: Vec<_> = filters.into_iter().enumerate().map(rule).collect();
    (Index::of(rules.iter().cloned()), rules)
}

/// The one door: what is scanned is valid, and matches what plain evaluation of the authority's reading matches.
/// Whether it was scanned.
fn agree(text: &[u8]) -> Result<bool, String> {
    thread_local! {
        static BEFORE: (Index, Vec<Arc<Rule>>, RefCell<Scanner>) = {
            let (index, rules) = index();
            (index, rules, RefCell::default())
        };
    }
    BEFORE.with(|(index, rules, scanner)| {
        let scanned = agree_with(text, index, rules, &mut Scanner::new());
        // Whatever was read before, and once more when the very same was read before.
        for _ in 0..2 {
            let after_others = agree_with(text, index, rules, &mut scanner.borrow_mut());
            if after_others != scanned {
                return Err(format!("{after_others:?} after others, {scanned:?} by itself"));
            }
        }
        scanned
    })
}

fn agree_with(text: &[u8], index: &Index, rules: &[Arc<Rule>], scanner: &mut Scanner) -> Result<bool, String> {
    let mut found = Vec::new();
    if index.matching_json(text, scanner, &mut found).is_err() {
        return Ok(false);
    }
    let envelope =
        json::parse(text).map_err(|poison| format!("{:?} is refused: {poison:?}", String::from_utf8_lossy(text)))?;
    let (team, event_type) = (envelope["team"].as_str().unwrap(), envelope["type"].as_str().unwrap());
    let event = Event {
        team: TeamId::new("acme").unwrap(),
        id: "1".into(),
        source: "test".into(),
        event_type: event_type.into(),
        time: None,
        subject: None,
        data: envelope["data"].clone(),
    };
    let expected: Vec<_> =
        rules.iter().filter(|rule| team == "acme" && rule.matches(&event)).map(Arc::as_ptr).collect();
    let found: Vec<_> = found.into_iter().map(Arc::as_ptr).collect();
    if found == expected { Ok(true) } else { Err(format!("{found:?} instead of {expected:?}: {envelope}")) }
}

#[test]
fn usual_events_are_scanned() {
    let texts = [
        r#"{"team": "acme", "type": "t", "data": {"a": "x", "b": {"a": "x", "c": 1.5e0}}, "more": [1, {"a": "\u00e9"}]}"#,
        r#"{"data":{"a":[["x"],{}],"b":2,"c":"escaped \" here"},"type":"t","team":"acme"}"#,
        r#"{"team":"acme","type":"t","data":{}}"#,
        r#"{"team":"another","type":"t","data":{"a":null}}"#,
    ];
    for text in texts {
        assert_eq!(agree(text.as_bytes()), Ok(true), "{text}");
    }
}

#[test]
fn what_is_unusual_or_wrong_is_left_to_others() {
    let texts = [
        r#"{"team":"acme","type":"t"}"#,
        r#"{"team":"acme","type":"t","data":{"a":1,"a":2}}"#,
        r#"{"team":"acme","type":"t","data":{"b":1,"b":{"a":"x"}}}"#,
        r#"{"team":"acme","type":"t","data":{"b":{"a":"x"},"b":1}}"#,
        r#"{"team":"acme","type":"t","data":{"b":[{"a":"x"},{"c":1}]}}"#,
        r#"{"team":"acme","type":"t","data":{"a":"\u0078"}}"#,
        r#"{"team":"acme","type":"t","data":{"\u0061":"x"}}"#,
        r#"{"team":"acme","team":"acme","type":"t","data":{}}"#,
        r#"{"team":"acme","type":"t","data":{},"data":{}}"#,
        r#"{"team":"acme","type":"t","data":{"z":01}}"#,
        r#"{"team":"acme","type":"t","data":{"z":"\x"}}"#,
        r#"{"team":"acme","type":"t","data":{"z":tru}}"#,
        r#"{"team":"acme","type":"t","data":{"z":[1,]}}"#,
        r#"{"team":"acme","type":"t","data":{"$serde_json::private::RawValue":"1"}}"#,
        r#"{"team":"acme","type":"t","data":{}} x"#,
        r#"{"team":7,"type":"t","data":{}}"#,
    ];
    for text in texts {
        assert_eq!(agree(text.as_bytes()), Ok(false), "{text}");
    }
    let deep = format!(r#"{{"team":"acme","type":"t","data":{{"z":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(agree(deep.as_bytes()), Ok(false));
}

/// A name means one thing in one object and another in another, and one thing to one index and another to another.
#[test]
fn a_name_that_was_read_before_means_what_it_means_here() {
    let (index, rules) = index();
    let other = Index::of(rules[2..3].iter().cloned());
    let scanner = &mut Scanner::new();
    let texts = [
        r#"{"team":"acme","type":"t","data":{"a":"x","b":{"a":"y","c":1},"c":{"a":"x"}}}"#,
        r#"{"team":"acme","type":"t","data":{"b":{"c":1,"a":"x"},"c":{"a":"y","b":{"a":"x"}},"a":"y"}}"#,
        r#"{"data":{"c":{"b":{"a":"y","c":1}},"b":{"c":"x"}},"c":{"b":{"a":"y"}},"team":"acme","a":"x","type":"t"}"#,
    ];
    for text in texts.iter().cycle().take(9) {
        assert_eq!(agree_with(text.as_bytes(), &index, &rules, scanner), Ok(true), "{text}");
        assert_eq!(agree_with(text.as_bytes(), &other, &rules[2..3], scanner), Ok(true), "{text}");
    }
}

/// Names shorter and longer than those that are kept, more of them than are kept, and as near to the end as can be.
#[test]
fn names_of_any_length_and_number_are_read() {
    for length in (0..40).chain([1_000]) {
        let name = "n".repeat(length);
        let text = format!(r#"{{"team":"acme","type":"t","data":{{"a":"x","{name}":1}}}}"#);
        let last = format!(r#"{{"team":"acme","type":"t","data":{{"a":"x"}},"{name}":1}}"#);
        let longer = format!(r#"{{"team":"acme","type":"t","data":{{"a":"x","{name}n":1}}}}"#);
        for text in [&text, &last, &text, &longer, &text] {
            assert_eq!(agree(text.as_bytes()), Ok(true), "{text}");
        }
    }
    let many: Vec<String> = (0..5_000).map(|number| format!(r#""n{number}":{{"m{number}":0}}"#)).collect();
    for chunk in many.chunks(100) {
        let text = format!(r#"{{"team":"acme","type":"t","data":{{{},"a":"x"}}}}"#, chunk.join(","));
        assert_eq!(agree(text.as_bytes()), Ok(true), "{text}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2..3).prop_map(Value::from),
        "[x1\"\\\\é]{0,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[abc]", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn scanned_or_left_it_is_the_same(data in prop::collection::vec(("[abc]", value()), 0..4), spaced in any::<bool>()) {
        let data = Value::Object(data.into_iter().collect());
        let envelope = json!({"team": "acme", "id": "1", "type": "t", "data": data});
        let text = if spaced { format!("{envelope:#}") } else { envelope.to_string() };
        if let Err(difference) = agree(text.as_bytes()) {
            prop_assert!(false, "{}", difference);
        }
    }

    /// One byte of a valid event is another one, or is not there.
    #[test]
    fn a_damaged_event_is_never_scanned_as_another(data in value(), place in any::<prop::sample::Index>(), byte in any::<Option<u8>>()) {
        let mut text = json!({"team": "acme", "type": "t", "data": {"a": data, "b": {"a": "x", "z": [1.5e3, "\n"]}}}).to_string().into_bytes();
        let place = place.index(text.len());
        match byte {
            Some(byte) => text[place] = byte,
            None => drop(text.remove(place)),
        }
        if let Err(difference) = agree(&text) {
            prop_assert!(false, "{}", difference);
        }
    }
}
