//! Bytes as an event's envelope: what the scanner takes out of it matches what the whole event does, and nothing is scanned that the parser
//! refuses.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec,
    domain::{Event, Subscription, TeamId},
    filter::{Index, Rule, Scanner},
};

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let filters = [
        json!({"a": ["x", 1, true, null]}),
        json!({"a": [{"anything-but": ["x", "y"]}]}),
        json!({"a": [{"exists": false}]}),
        json!({"a": [{"numeric": [">", 0, "<=", 5]}]}),
        json!({"b": [{"prefix": "x"}, {"suffix": {"equals-ignore-case": "É"}}]}),
        json!({"b": [{"wildcard": "*a*b"}], "a": [{"exists": true}]}),
        json!({"o": {"a": ["x"], "b": [{"not": "y"}]}}),
        json!({"o": {"p": {"q": [{"numeric": ["=", 1e3]}]}}}),
        json!({"$or": [{"a": ["z"]}, {"o": {"a": ["z"]}}]}),
    ];
    let rules = filters.into_iter().enumerate().map(|(i, filter)| {
        let events = json!([{"type": "*", "filter": filter}]);
        let subscription = json!({"team": "t", "id": format!("s{i}"), "events": events, "destinations": ["d"]});
        let subscription: Subscription = serde_json::from_value(subscription).expect("a subscription");
        Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).expect("a valid filter"))
    });
    Index::of(rules)
});

/// It remembers names of the events before.
static SCANNER: LazyLock<Mutex<Scanner>> = LazyLock::new(Mutex::default);

fuzz_target!(|bytes: &[u8]| {
    let mut found = Vec::new();
    let mut scanner = SCANNER.lock().expect("no panic before");
    if INDEX.matching_json(bytes, &mut scanner, &mut found).is_err() {
        return;
    }
    let Ok(Value::Object(mut envelope)) = codec::json::parse(bytes) else { panic!("scanned, and no event") };
    let text = |name: &str| envelope.get(name).and_then(Value::as_str).expect("scanned, so it is there").to_owned();
    let (team, event_type) = (text("team"), text("type"));
    // What team and type may be is not the scanner's to say.
    let Ok(team) = TeamId::new(&team) else { return };
    let event = Event {
        team,
        id: "1".into(),
        source: "fuzz".into(),
        event_type: event_type.into(),
        time: None,
        subject: None,
        data: envelope.remove("data").expect("scanned, so it is there"),
    };
    let ids = |rules: &[&Arc<Rule>]| rules.iter().map(|rule| rule.subscription.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&INDEX.matching(&event)));
});
