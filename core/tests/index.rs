//! The index while it changes: one writer, readers on other threads, each held to the rules of the very version that it reads.
//!
//! A snapshot is handed over by a lock here, and by tokio's `watch` in the program: there is no swap of our own that could be modelled. What is ours is
//! that a snapshot shares its parts with those before and after it, and that its version says exactly what is in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    directory::Directory,
    domain::{
        DestinationId, Event, EventSelector, Record, Subscription, SubscriptionId, TeamId, Timestamp, TypeSelector,
    },
    filter::{Index, Rule, Scanner},
};

type Rules = BTreeMap<String, Arc<Rule>>;

/// How long the writer waits for a reader, now and then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two clauses of one field, for a type and for any: who sees one of them sees half a subscription.
fn rule(team: usize, number: usize, colour: usize, catalog: &Catalog) -> Arc<Rule> {
    let selector = |event_type: &str, filter: Value| EventSelector {
        event_type: TypeSelector::from(event_type.to_owned()),
        filter: filter.as_object().cloned().unwrap_or_default().into(),
    };
    let colour = format!("colour-{colour}");
    let subscription = Subscription {
        team: TeamId::new(&format!("team-{team}")).unwrap(),
        id: SubscriptionId::new(&format!("s{number:04}")).unwrap(),
        revision: 1,
        name: None,
        enabled: true,
        events: vec![
            selector("pandium.run_failed", json!({"environment": [colour]})),
            selector("*", json!({"other": [colour]})),
        ]
        .into(),
        destinations: vec![DestinationId::new("hook").unwrap()].into(),
    };
    Arc::new(Rule::compile(Arc::new(subscription), catalog).unwrap())
}

fn event(team: usize, field: &str, colour: usize) -> (Event, String) {
    let data = json!({field: format!("colour-{colour}")});
    let envelope = json!({"team": format!("team-{team}"), "type": "pandium.run_failed", "data": data}).to_string();
    let event = Event {
        team: TeamId::new(&format!("team-{team}")).unwrap(),
        id: "1".into(),
        source: "test".into(),
        event_type: "pandium.run_failed".into(),
        time: None,
        subject: None,
        data,
    };
    (event, envelope)
}

#[test]
fn readers_see_whole_versions_while_a_writer_changes_the_index() {
    const TEAMS: usize = 3;
    const COLOURS: usize = 5;
    const CHANGES: usize = 4_000;
    let catalog = Catalog::builtin();
    let published: Mutex<(Index, Rules)> = Mutex::default();
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for reader in 0..2 {
            let (published, done, reads) = (&published, &done, &reads);
            scope.spawn(move || {
                let mut scanner = Scanner::new();
                for turn in reader.. {
                    let (index, rules) = published.lock().unwrap().clone();
                    let field = ["environment", "other"][turn % 2];
                    let (event, envelope) = event(turn / 2 % TEAMS, field, turn / 6 % COLOURS);
                    let expected: Vec<_> =
                        rules.values().filter(|rule| rule.matches(&event)).map(Arc::as_ptr).collect();
                    let found: Vec<_> = index.matching(&event).into_iter().map(Arc::as_ptr).collect();
                    assert_eq!(found, expected, "turn {turn}");
                    let mut scanned = Vec::new();
                    // Before the first settling nothing can be scanned.
                    if index.matching_json(envelope.as_bytes(), &mut scanner, &mut scanned).is_ok() {
                        assert_eq!(scanned.into_iter().map(Arc::as_ptr).collect::<Vec<_>>(), expected, "turn {turn}");
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let (mut index, mut rules) = (Index::new(), Rules::new());
        for change in 0..CHANGES {
            // Every number once in a while; most of team 0, so that its partition has layers.
            let mixed = change.wrapping_mul(0x9E37_79B9) >> 7;
            let (number, colour) = (mixed % 400, mixed / 400 % COLOURS);
            let team = if number < 300 { 0 } else { 1 + number % (TEAMS - 1) };
            let key = format!("{team}/s{number:04}");
            if let Some(old) = rules.remove(&key) {
                index.remove(&old);
            }
            if colour > 0 {
                let new = rule(team, number, colour, &catalog);
                index.insert(&new);
                rules.insert(key, new);
            }
            if change % 3 == 0 {
                index.settle();
            }
            *published.lock().unwrap() = (index.clone(), rules.clone());
            // On a busy machine the writer would be done before anybody has read.
            let (before, give_up) = (reads.load(Ordering::Relaxed), Instant::now() + PATIENCE);
            while change % 20 == 0 && reads.load(Ordering::Relaxed) == before && Instant::now() < give_up {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() >= 100, "the readers hardly came to read");
}

/// The history is folded by hand and is nobody's snapshot: a directory that says a version too high or too low is found.
#[test]
fn a_directory_matches_as_of_the_version_that_it_says() {
    const NUMBERS: usize = 150;
    const COLOURS: usize = 5;
    const CHANGES: usize = 3_000;
    let catalog = Catalog::builtin();
    // Before the writer begins, what every version holds: the colour of each subscription.
    let mut history = vec![vec![0; NUMBERS]];
    let mut changes = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        let mixed = change.wrapping_mul(0x9E37_79B9) >> 7;
        let (number, colour) = (mixed % NUMBERS, mixed / NUMBERS % COLOURS);
        let mut now = history[change].clone();
        now[number] = colour;
        history.push(now);
        let value = (colour > 0).then(|| {
            let environment = json!([format!("colour-{colour}")]);
            let events = json!([{"type": "pandium.run_failed", "filter": {"environment": environment}}]);
            let id = format!("s{number:04}");
            Bytes::from(json!({"team": "team-0", "id": id, "events": events, "destinations": ["hook"]}).to_string())
        });
        changes.push(Record {
            topic: "tidings.directory".into(),
            partition: 0,
            offset: change as i64,
            timestamp: Timestamp(0),
            key: Some(Bytes::from(format!("sub/team-0/s{number:04}"))),
            value,
            headers: Vec::new(),
        });
    }
    let published = Mutex::new(Directory::new(catalog.clone()));
    let (done, versions) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for reader in 0..2 {
            let (published, done, versions, history) = (&published, &done, &versions, &history);
            scope.spawn(move || {
                for turn in reader.. {
                    let last = done.load(Ordering::Acquire);
                    let snapshot = published.lock().unwrap().clone();
                    let colour = 1 + turn % (COLOURS - 1);
                    let (event, _) = event(0, "environment", colour);
                    let found: Vec<String> =
                        snapshot.matching(&event).iter().map(|rule| rule.subscription.id.to_string()).collect();
                    let version = usize::try_from(snapshot.version()).unwrap();
                    let of_colour = history[version].iter().enumerate().filter(|(_, known)| **known == colour);
                    let expected: Vec<String> = of_colour.map(|(number, _)| format!("s{number:04}")).collect();
                    assert_eq!(found, expected, "version {version}, colour {colour}");
                    versions.lock().unwrap().insert(version);
                    if last {
                        break;
                    }
                }
            });
        }
        let mut directory = Directory::new(catalog.clone());
        for (i, change) in changes.iter().enumerate() {
            directory.apply(change);
            if i % 3 == 0 {
                directory.settle();
            }
            *published.lock().unwrap() = directory.clone();
            // On a busy machine the writer would be done before anybody has read.
            let seen = || versions.lock().unwrap().contains(&(i + 1));
            let give_up = Instant::now() + PATIENCE;
            while i % 100 == 0 && !seen() && Instant::now() < give_up {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Release);
    });
    let versions = versions.into_inner().unwrap();
    assert!(versions.len() >= 20, "the readers saw {} versions only", versions.len());
    assert_eq!(versions.last(), Some(&CHANGES), "and not the last one");
}
