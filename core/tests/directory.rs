//! The fold of the directory topic: a function of the last record of each key, whatever was compacted away.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{Written, directory::single_object},
    directory::{
        Applied, Directory, MAX_DETAIL, MAX_VALUE_BYTES, Reason, destination_key, parse_key, subscription_key,
        validate_destination, validate_subscription,
    },
    domain::{
        Destination, DestinationId, Event, Record, Secret, Subscription, SubscriptionId, TeamId, Timestamp,
        TypeSelector,
    },
};

const SEALED: &str = "v1.k1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v";

fn team(id: &str) -> TeamId {
    TeamId::new(id).unwrap()
}

fn record(offset: i64, key: &str, value: Option<String>) -> Record {
    Record {
        topic: "tidings.directory".into(),
        partition: 0,
        offset,
        timestamp: Timestamp(0),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

fn subscription(team: &str, id: &str) -> Value {
    json!({
        "team": team, "id": id, "revision": 1, "enabled": true,
        "events": [{"type": "replicated.customer.created", "filter": {"licenseType": ["paid"]}}],
        "destinations": ["hook"],
    })
}

fn destination(team: &str, id: &str) -> Value {
    json!({"team": team, "id": id, "webhook": {"url": "https://hooks.example.com/in", "secrets": [SEALED]}})
}

fn event(team_id: &str, data: Value) -> Event {
    Event {
        team: team(team_id),
        id: "1".into(),
        source: "vendor".into(),
        event_type: "replicated.customer.created".into(),
        time: None,
        subject: None,
        data,
    }
}

fn folded<'a>(records: impl IntoIterator<Item = &'a Record>) -> Directory {
    let mut directory = Directory::new(Catalog::builtin());
    for record in records {
        directory.apply(record);
    }
    directory
}

/// Everything that can be seen of a directory, for these teams and events.
fn seen(directory: &Directory, teams: &[&str], events: &[Event]) -> Vec<String> {
    let mut seen = Vec::new();
    for id in teams {
        seen.extend(directory.subscriptions(&team(id)).map(|s| format!("{s:?}")));
        seen.extend(directory.destinations(&team(id)).map(|d| format!("{d:?}")));
        seen.extend(directory.destinations(&team(id)).map(|d| json!(directory.resolved(d.clone())).to_string()));
        seen.extend(directory.secrets(&team(id)).map(|s| format!("{s:?}")));
    }
    seen.extend(directory.unresolved().map(|reference| format!("{reference:?}")));
    seen.extend(directory.problems().map(|problem| format!("{problem:?}")));
    seen.extend(events.iter().map(|event| format!("{:?}", directory.matching(event))));
    seen
}

#[test]
fn records_become_subscriptions_and_destinations_until_a_tombstone() {
    let mut directory = Directory::new(Catalog::builtin());
    let (acme, id, hook) = (team("acme"), SubscriptionId::new("s").unwrap(), DestinationId::new("hook").unwrap());
    let (sub, dst) = (subscription_key(&acme, &id), destination_key(&acme, &hook));
    let paid = event("acme", json!({"license_type": "paid"}));

    assert_eq!(directory.apply(&record(3, &sub, Some(subscription("acme", "s").to_string()))), Applied::Active);
    assert_eq!(directory.apply(&record(7, &dst, Some(destination("acme", "hook").to_string()))), Applied::Active);
    assert_eq!(directory.version(), 8);
    assert!(directory.subscription(&acme, &id).is_some());
    assert!(directory.destination(&acme, &hook).is_some());
    assert_eq!(directory.matching(&paid).len(), 1);
    assert!(directory.matching(&event("acme", json!({"license_type": "trial"}))).is_empty());
    assert!(directory.matching(&event("umbrella", json!({"license_type": "paid"}))).is_empty());

    let before = directory.clone();
    assert_eq!(directory.apply(&record(9, &sub, None)), Applied::Deleted);
    assert_eq!(directory.apply(&record(10, &sub, None)), Applied::Ignored);
    assert!(directory.matching(&paid).is_empty());
    assert!(directory.destination(&acme, &hook).is_some());
    assert_eq!((before.version(), before.matching(&paid).len()), (8, 1), "a snapshot stays as it was");
    directory.advance(15);
    directory.advance(12);
    assert_eq!(directory.version(), 15);
}

/// There are as many subscriptions as there are, and few teams, destinations and types.
#[test]
fn names_that_many_subscriptions_have_are_in_memory_once() {
    let directory = folded([
        &record(0, "dst/acme/hook", Some(destination("acme", "hook").to_string())),
        &record(1, "sub/acme/a", Some(subscription("acme", "a").to_string())),
        &record(2, "sub/acme/b", Some(subscription("acme", "b").to_string())),
    ]);
    let names = |subscription: &Subscription| {
        let TypeSelector::Key(event_type) = &subscription.events[0].event_type else { panic!("a key") };
        [subscription.team.as_str(), subscription.destinations[0].as_str(), &**event_type].map(str::as_ptr)
    };
    let names: Vec<_> = directory.subscriptions(&team("acme")).map(|subscription| names(subscription)).collect();
    assert_eq!((names.len(), names[0]), (2, names[1]));
}

#[test]
fn a_changed_selector_leaves_nothing_behind_in_the_index() {
    let mut value = subscription("acme", "s");
    let mut directory = folded([&record(0, "sub/acme/s", Some(value.to_string()))]);
    value["events"][0]["type"] = json!("tyk.QuotaExceeded");
    value["events"][0]["filter"] = json!({});
    directory.apply(&record(1, "sub/acme/s", Some(value.to_string())));
    assert!(directory.matching(&event("acme", json!({"license_type": "paid"}))).is_empty());
}

#[test]
fn a_disabled_subscription_still_matches() {
    let mut value = subscription("acme", "s");
    value["enabled"] = json!(false);
    let directory = folded([&record(0, "sub/acme/s", Some(value.to_string()))]);
    let matching = directory.matching(&event("acme", json!({"license_type": "paid"})));
    assert!(!matching[0].subscription.enabled);
}

/// The record makes its key inactive for `reason`, and `detail` says what is wrong.
fn check_problem(key: &str, value: &str, reason: Reason, detail: &str) {
    let good = if key.starts_with("dst") { destination("acme", "x") } else { subscription("acme", "x") };
    let mut directory = folded([&record(0, key, Some(good.to_string()))]);
    assert_eq!(directory.apply(&record(1, key, Some(value.to_owned()))), Applied::Inactive(reason), "{value}");
    let problem = directory.problem(key.as_bytes()).unwrap();
    assert!(problem.detail.contains(detail), "{:?} does not say {detail:?}", problem.detail);
    assert_eq!((problem.offset, problem.key.as_str()), (1, key));
    assert!(problem.detail.len() <= MAX_DETAIL);
    assert_eq!(directory.subscriptions(&team("acme")).count() + directory.destinations(&team("acme")).count(), 0);
    assert!(directory.matching(&event("acme", json!({"license_type": "paid"}))).is_empty());
    directory.apply(&record(2, key, None));
    assert_eq!(directory.problems().len(), 0);
}

#[test]
fn a_faulty_record_makes_its_key_inactive_and_says_why() {
    let with = |mut value: Value, pointer: &str, new: Value| {
        *value.pointer_mut(pointer).unwrap() = new;
        value.to_string()
    };
    let (s, d) = (|| subscription("acme", "x"), || destination("acme", "x"));
    check_problem("sub/acme", &s().to_string(), Reason::BadKey, "neither");
    check_problem("sub/acme/a b", &s().to_string(), Reason::BadKey, "' '");
    check_problem("sub/acme/x", &" ".repeat(MAX_VALUE_BYTES + 1), Reason::TooLarge, "262144");
    check_problem("sub/acme/x", "", Reason::Decode, "EOF");
    check_problem("sub/acme/x", "{\"team\":", Reason::Decode, "EOF");
    check_problem("sub/acme/x", &d().to_string(), Reason::Decode, "unknown field `webhook`");
    check_problem("sub/acme/x", &with(s(), "/events", json!("all")), Reason::Decode, "expected a sequence");
    check_problem("sub/acme/x", &subscription("umbrella", "x").to_string(), Reason::KeyMismatch, "team umbrella");
    check_problem("sub/acme/x", &subscription("acme", "y").to_string(), Reason::KeyMismatch, "id y");
    check_problem("dst/acme/x", &destination("acme", "y").to_string(), Reason::KeyMismatch, "id y");
    check_problem("sub/acme/x", &with(s(), "/destinations", json!([])), Reason::Invalid, "destinations: found 0");
    check_problem("sub/acme/x", &with(s(), "/events/0/type", json!("no.such")), Reason::Invalid, "events[0].type");
    let payd = with(s(), "/events/0/filter/licenseType/0", json!("payd"));
    check_problem("sub/acme/x", &payd, Reason::Invalid, r#"events[0].filter.licenseType[0]: found "payd""#);
    check_problem("dst/acme/x", &with(d(), "/webhook/secrets", json!([])), Reason::Invalid, "webhook.secrets: found 0");
    check_problem("dst/acme/x", &with(d(), "/webhook/url", json!("ftp://a.example")), Reason::Invalid, "webhook.url");
}

#[test]
fn a_secret_in_clear_is_refused_and_echoed_nowhere() {
    let clear = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut cases = Vec::new();
    for (pointer, value) in [
        ("/webhook/secrets/0", json!(clear)),
        ("/webhook/secrets/0", json!(format!("v1.{clear}"))),
        ("/webhook/secrets/0", json!(format!("v1.k1.{clear}"))),
        ("/webhook/url", json!(format!("https://user:{clear}@hooks.example.com/"))),
        ("/webhook/url", json!(format!("https://hooks.example.com/?token={clear}"))),
    ] {
        let mut value_with = destination("acme", "x");
        *value_with.pointer_mut(pointer).unwrap() = value;
        cases.push((value_with, Reason::PlainSecret));
    }
    let mut header = destination("acme", "x");
    header["webhook"]["headers"] = json!([{"name": "authorization", "value": clear}]);
    cases.push((header, Reason::PlainSecret));
    let mut misplaced = destination("acme", "x");
    misplaced["webhook"]["secrets"] = json!(clear);
    cases.push((misplaced, Reason::PlainSecret));
    let mut tricky = destination("acme", "x");
    tricky["webhook"]["timeout_ms"] = json!(format!("{clear}, expected nothing of the kind"));
    cases.push((tricky, Reason::PlainSecret));
    let mut taken_for_a_name = destination("acme", "x");
    taken_for_a_name["webhook"]["secrets"] = json!([{"secret_ref": clear}]);
    cases.push((taken_for_a_name, Reason::PlainSecret));
    let mut as_the_api_takes_it = destination("acme", "x");
    as_the_api_takes_it["webhook"]["secret"] = json!(clear);
    cases.push((as_the_api_takes_it, Reason::PlainSecret));
    let mut key = destination("acme", "x");
    key["webhook"][clear] = json!(1);
    cases.push((key, Reason::PlainSecret));
    for (value, reason) in cases {
        let directory = folded([&record(0, "dst/acme/x", Some(value.to_string()))]);
        let problem = directory.problem(b"dst/acme/x").unwrap();
        assert_eq!(problem.reason, reason, "{value}");
        assert!(!format!("{problem:?} {directory:?}").contains("whsec_"), "{problem:?}");
    }
}

/// Not signing keys, which are known by their beginning, but texts where a secret belongs.
#[test]
fn a_secret_in_clear_is_known_by_the_field_it_stands_in() {
    let canary = "hush-hush";
    for (pointer, value, field) in [
        ("/webhook/headers", json!({"Authorization": canary}), "webhook.headers.Authorization"),
        ("/webhook/headers", json!([{"name": "x-key", "value": canary}]), "webhook.headers[0].value"),
        ("/webhook/secrets", json!(canary), "webhook.secrets"),
        ("/webhook/url_secret", json!(canary), "webhook.url_secret"),
        ("/webhook/password", json!(canary), "webhook.password"),
        ("/token", json!(canary), "token"),
    ] {
        let mut value_with = destination("acme", "x");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value_with.pointer_mut(parent).unwrap()[name] = value;
        let directory = folded([&record(0, "dst/acme/x", Some(value_with.to_string()))]);
        let problem = directory.problem(b"dst/acme/x").unwrap();
        assert_eq!((problem.reason, problem.field.as_deref()), (Reason::PlainSecret, Some(field)));
        assert!(!format!("{problem:?} {directory:?}").contains(canary), "{problem:?}");
    }
    let stored = json!({"team": "acme", "id": "x", "value": canary}).to_string();
    let directory = folded([&record(0, "sec/acme/x", Some(stored))]);
    let problem = directory.problem(b"sec/acme/x").unwrap();
    assert_eq!((problem.reason, problem.field.as_deref()), (Reason::PlainSecret, Some("value")));
    assert!(!format!("{problem:?} {directory:?}").contains(canary), "{problem:?}");
}

#[test]
fn a_problem_names_the_first_field_that_is_wrong() {
    let field_of = |key: &str, value: Value| {
        let directory = folded([&record(0, key, Some(value.to_string()))]);
        directory.problem(key.as_bytes()).unwrap().field.clone().unwrap_or_default()
    };
    let mut typed = subscription("acme", "x");
    typed["events"][0]["type"] = json!(7);
    assert_eq!(field_of("sub/acme/x", typed), "events[0].type");
    let mut filtered = subscription("acme", "x");
    filtered["events"][0]["filter"]["licenseType"] = json!(["payd"]);
    assert_eq!(field_of("sub/acme/x", filtered), "events[0].filter.licenseType[0]");
    let mut named = destination("acme", "x");
    named["webhook"]["secrets"] = json!([SEALED, {"secret_ref": "a/b"}]);
    assert_eq!(field_of("dst/acme/x", named), "webhook.secrets[1].secret_ref");
    assert_eq!(field_of("sub/acme/x", json!({"team": "acme", "id": "x", "evnts": []})), "evnts");
}

#[test]
fn a_reference_means_what_is_stored_under_its_name_now() {
    let (acme, id) = (team("acme"), DestinationId::new("x").unwrap());
    let mut by_name = destination("acme", "x");
    by_name["webhook"]["secrets"] = json!([{"secret_ref": "hooks"}]);
    let stored = |value: &str| Some(json!({"team": "acme", "id": "hooks", "value": value}).to_string());
    let later = format!("{SEALED}AAAA");
    let mut directory = folded([&record(0, "dst/acme/x", Some(by_name.to_string()))]);
    let value_of = |directory: &Directory| {
        let resolved = directory.resolved(directory.destination(&acme, &id).unwrap().clone());
        match &resolved.webhook.secrets[0] {
            Secret::Named { value, .. } => value.clone().map(|sealed| sealed.0),
            Secret::Sealed(_) => panic!("a reference became a secret"),
        }
    };
    let unresolved: Vec<_> = directory.unresolved().collect();
    assert_eq!(unresolved.len(), 1);
    assert_eq!((&*unresolved[0].key, &*unresolved[0].field), ("dst/acme/x", "webhook.secrets[0]"));
    assert_eq!(value_of(&directory), None);

    assert_eq!(directory.apply(&record(1, "sec/umbrella/hooks", None)), Applied::Ignored);
    assert_eq!(directory.apply(&record(2, "sec/acme/hooks", stored(SEALED))), Applied::Active);
    assert_eq!((value_of(&directory).as_deref(), directory.unresolved().count()), (Some(SEALED), 0));
    assert_eq!(directory.apply(&record(3, "sec/acme/hooks", stored(&later))), Applied::Active);
    assert_eq!(value_of(&directory), Some(later));
    assert_eq!(directory.apply(&record(4, "sec/acme/hooks", None)), Applied::Deleted);
    assert_eq!((value_of(&directory), directory.unresolved().count()), (None, 1));
    let sealed = folded([&record(0, "dst/acme/x", Some(destination("acme", "x").to_string()))]);
    let there = sealed.destination(&acme, &id).unwrap();
    assert!(std::sync::Arc::ptr_eq(&sealed.resolved(there.clone()), there), "what refers to nothing is not copied");
}

#[test]
fn row_16_records_that_nobody_can_have_are_ignored() {
    let mut directory = Directory::new(Catalog::builtin());
    let mut keyless = record(4, "", Some("{}".to_owned()));
    keyless.key = None;
    assert_eq!(directory.apply(&keyless), Applied::Ignored);
    assert_eq!(directory.apply(&record(5, &"k".repeat(100_000), Some("{}".to_owned()))), Applied::Ignored);
    assert_eq!(directory.apply(&record(6, "sub/acme/x", None)), Applied::Ignored);
    assert_eq!((directory.version(), directory.problems().len()), (7, 0));
    assert!(parse_key(&[b'k'; 100_000]).is_err());
}

#[test]
fn row_28_a_hundred_thousand_catch_all_subscriptions_are_folded_in_seconds() {
    let records: Vec<Record> = (0..100_000)
        .map(|i| {
            let (team, id) = (format!("t{}", i % 1_000), format!("s{i}"));
            let mut value = subscription(&team, &id);
            value["events"] = json!([{"type": "*"}]);
            record(i, &format!("sub/{team}/{id}"), Some(value.to_string()))
        })
        .collect();
    let start = Instant::now();
    let mut directory = folded(&records);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    let start = Instant::now();
    let snapshot = directory.clone();
    directory.apply(&record(100_000, "sub/t1/s1", None));
    assert!(start.elapsed().as_millis() < 100, "a change costs the path to it: {:?}", start.elapsed());
    let event = event("t1", json!({}));
    assert_eq!((snapshot.matching(&event).len(), directory.matching(&event).len()), (100, 99));
}

// === validation ===

/// `change` sets one value by JSON pointer; the faults found, as text.
fn faults_of(mut value: Value, pointer: &str, new: Value) -> Vec<String> {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[name] = new;
    let faults = if value.get("webhook").is_some() {
        validate_destination(&serde_json::from_value::<Destination>(value).unwrap())
    } else {
        validate_subscription(&serde_json::from_value::<Subscription>(value).unwrap(), &Catalog::builtin())
    };
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn bounds_of_subscriptions_and_destinations_are_named() {
    let (s, d) = (|| subscription("acme", "x"), || destination("acme", "x"));
    let (header, many) = (|name: &str| json!([{"name": name, "value": SEALED}]), |n: usize| vec![SEALED; n]);
    let limits = |name: &str, value: Value| json!({ name: value });
    let selectors: Vec<Value> = vec![json!({"type": "*"}); 101];
    let hooks: Vec<String> = (0..101).map(|i| format!("h{i}")).collect();
    for (value, pointer, new, expected) in [
        (s(), "/events", json!([]), "events: found 0 entries; allowed: 1 to 100"),
        (s(), "/events", json!(selectors), "events: found 101 entries; allowed: 1 to 100"),
        (s(), "/destinations", json!(hooks), "destinations: found 101 entries; allowed: 1 to 100"),
        (
            s(),
            "/destinations",
            json!(["a", "b", "a"]),
            "destinations[2]: found a a second time; allowed: each destination once",
        ),
        (s(), "/name", json!("x".repeat(256)), "name: found 256 bytes; allowed: 1 to 255, or no name"),
        (s(), "/name", json!("a\r\nBcc: b"), "name: found '\\r'; allowed: no control characters"),
        (d(), "/name", json!(""), "name: found 0 bytes; allowed: 1 to 255, or no name"),
        (d(), "/webhook/secrets", json!(many(11)), "webhook.secrets: found 11 entries; allowed: 1 to 10"),
        (d(), "/webhook/timeout_ms", json!(999), "webhook.timeout_ms: found 999; allowed: 1000 to 30000"),
        (d(), "/webhook/timeout_ms", json!(30_001), "webhook.timeout_ms: found 30001; allowed: 1000 to 30000"),
        (d(), "/limits", limits("per_second", json!(0.001)), "limits.per_second: found 0.001; allowed: 0.01 to 10000"),
        (d(), "/limits", limits("burst", json!(0)), "limits.burst: found 0; allowed: 1 to 10000"),
        (d(), "/limits", limits("in_flight", json!(257)), "limits.in_flight: found 257; allowed: 1 to 256"),
        (
            d(),
            "/retry",
            limits("schedule_s", json!(vec![1; 33])),
            "retry.schedule_s: found 33 entries; allowed: at most 32",
        ),
        (d(), "/retry", limits("schedule_s", json!([1, 0])), "retry.schedule_s[1]: found 0; allowed: 1 to 604800"),
        (d(), "/retry", limits("jitter", json!(0.6)), "retry.jitter: found 0.6; allowed: 0 to 0.5"),
        (d(), "/webhook/headers", header("webhook-signature"), "webhook.headers[0].name: "),
        (d(), "/webhook/headers", header("HOST"), "webhook.headers[0].name: "),
        (d(), "/webhook/headers", header("a b"), "webhook.headers[0].name: "),
        (d(), "/webhook/headers", header("x\r\ny"), "webhook.headers[0].name: "),
        (d(), "/webhook/url", json!("hooks.example.com"), "webhook.url: "),
        (d(), "/webhook/url", json!(format!("https://a.example/{}", "x".repeat(2_048))), "webhook.url: "),
    ] {
        let faults = faults_of(value, pointer, new.clone());
        assert_eq!(faults.len(), 1, "{pointer} {new}: {faults:?}");
        assert!(faults[0].starts_with(expected), "{} is not {expected}", faults[0]);
    }
    let twice = json!([{"name": "X-A", "value": SEALED}, {"name": "x-a", "value": SEALED}]);
    let faults = faults_of(d(), "/webhook/headers", twice);
    assert_eq!(faults, ["webhook.headers[1].name: found x-a a second time; allowed: each name once"]);
    let widest = json!({"schedule_s": vec![604_800; 32], "jitter": 0.5});
    assert!(faults_of(d(), "/retry", widest).is_empty());
    assert!(faults_of(d(), "/retry", json!({"schedule_s": []})).is_empty(), "no retries is a policy too");
}

// === properties ===

const KEYS: [&str; 9] = [
    "sub/acme/s1",
    "sub/acme/s2",
    "sub/umbrella/s1",
    "dst/acme/d1",
    "dst/acme/d2",
    "dst/umbrella/d1",
    "sec/acme/hooks",
    "sub/acme",
    "other",
];

/// A record's value for a key: valid in several ways, invalid in several, or a tombstone.
fn value(key: &str, kind: u8) -> Option<String> {
    let parts: Vec<&str> = key.split('/').collect();
    let (team, id) = (*parts.get(1).unwrap_or(&"acme"), *parts.get(2).unwrap_or(&"x"));
    let mut value = match key.split('/').next() {
        Some("dst") => destination(team, id),
        Some("sec") => json!({"team": team, "id": id, "value": SEALED}),
        _ => subscription(team, id),
    };
    match kind {
        0 => return None,
        1 => return Some("{".to_owned()),
        2 => value["id"] = json!("another"),
        3 => value["revision"] = json!(7),
        4 if key.starts_with("sub") => value["events"] = json!([{"type": "*"}, {"type": "tyk.QuotaExceeded"}]),
        5 if key.starts_with("sub") => value["events"] = json!([{"type": "no.such"}]),
        6 if key.starts_with("dst") => value["webhook"]["secrets"] = json!(["in clear"]),
        7 if key.starts_with("dst") => value["webhook"]["secrets"] = json!([{"secret_ref": "hooks"}]),
        _ => {}
    }
    Some(value.to_string())
}

/// What a log cleaner leaves of a prefix: the last record of each key in it, tombstones too unless they are old.
fn compacted(history: &[Record], prefix: usize, drop_tombstones: bool) -> Vec<Record> {
    let (old, new) = history.split_at(prefix);
    let last: BTreeMap<&[u8], i64> =
        old.iter().map(|record| (&record.key.as_ref().unwrap()[..], record.offset)).collect();
    let kept = old.iter().filter(|record| last[&record.key.as_ref().unwrap()[..]] == record.offset);
    kept.filter(|record| record.value.is_some() || !drop_tombstones).chain(new).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn row_17_the_fold_of_a_compacted_history_is_the_fold_of_the_full_one(
        writes in prop::collection::vec((0..KEYS.len(), 0u8..9), 0..40),
        prefix in any::<prop::sample::Index>(),
        drop_tombstones: bool,
    ) {
        let history: Vec<Record> = writes
            .iter()
            .enumerate()
            .map(|(offset, (key, kind))| record(offset as i64, KEYS[*key], value(KEYS[*key], *kind)))
            .collect();
        let compacted = compacted(&history, prefix.index(history.len() + 1), drop_tombstones);
        let events: Vec<Event> = [("acme", "paid"), ("acme", "trial"), ("umbrella", "paid")]
            .into_iter()
            .map(|(team, license)| event(team, json!({"license_type": license})))
            .collect();
        let teams = ["acme", "umbrella"];
        prop_assert_eq!(seen(&folded(&history), &teams, &events), seen(&folded(&compacted), &teams, &events));
    }

    #[test]
    fn any_bytes_are_survived(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut any = record(0, "", None);
        any.key = Some(key.into());
        any.value = Some(value.clone().into());
        let mut directory = folded([&any]);
        prop_assert_eq!(directory.problems().len(), 1);
        any.key = Some(Bytes::from_static(b"dst/acme/x"));
        prop_assert_eq!(directory.apply(&any), Applied::Inactive(Reason::Decode));
    }

    #[test]
    fn any_datum_behind_a_known_fingerprint_is_survived(datum in prop::collection::vec(any::<u8>(), 0..200)) {
        for (written, key) in [(Written::Subscription, "sub/acme/x"), (Written::Destination, "dst/acme/x")] {
            let mut any = record(0, key, None);
            any.value = Some(single_object(written, &datum).into());
            let directory = folded([&any]);
            prop_assert_eq!(directory.problems().len(), 1);
        }
    }
}

/// A field may go while nobody asks for it.
#[test]
fn a_filter_that_is_used_cannot_go_unseen() {
    let file = |filters: &str| {
        let text = format!(
            r#"{{"type": "record", "namespace": "shop", "name": "paid", "doc": "An order was paid.",
            "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
            "fields": [{{"name": "total", "type": "long"}}, {{"name": "state", "type": "string"}}],
            "tidings.filters": [{filters}], "tidings.example": {{"total": 5, "state": "new"}}}}"#
        );
        Catalog::load(&[("shop/paid.avsc".to_owned(), text)]).unwrap()
    };
    let total = r#"{"key": "total", "label": "Total", "field": "total", "kind": "number"}"#;
    let state = r#"{"key": "state", "label": "State", "field": "state", "kind": "text"}"#;
    let mut directory = Directory::new(file(&format!("{total}, {state}")).into());
    for (offset, (id, event_type, filter)) in [
        ("b", "shop.paid", json!({"state": ["new"]})),
        ("a", "shop.paid", json!({"total": [5]})),
        ("c", "category:shop.order", json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut value = subscription("acme", id);
        value["events"] = json!([{"type": event_type, "filter": filter}]);
        let key = subscription_key(&team("acme"), &SubscriptionId::new(id).unwrap());
        assert_eq!(directory.apply(&record(offset as i64, &key, Some(value.to_string()))), Applied::Active);
    }
    let check = |catalog: Catalog, expected: &[&str]| {
        let broken = directory.broken_by(&catalog);
        let broken: Vec<String> = broken.iter().map(|(s, faults)| format!("{} {}", s.id, faults[0].path)).collect();
        assert_eq!(broken, expected);
    };
    check(file(&format!("{total}, {state}")), &[]);
    check(file(total), &["b events[0].filter.state"]);
    check(file(""), &["a events[0].filter.total", "b events[0].filter.state"]);
    check(Catalog::default(), &["a events[0].type", "b events[0].type", "c events[0].type"]);
}
