//! The index while it changes: one writer, readers on other threads, each held to the rules of the very version that it reads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::Catalog,
    domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
    filter::{Index, Rule, Scanner},
};

type Rules = BTreeMap<String, Arc<Rule>>;

/// Two clauses of one field, for a type and for any: who sees one of them sees half a subscription.
fn rule(team: usize, number: usize, colour: usize, catalog: &Catalog) -> Arc<Rule> {
    let selector = |event_type: &str, filter: Value| EventSelector {
        event_type: TypeSelector::from(event_type.to_owned()),
        filter: filter.as_object().cloned().unwrap_or_else(Map::new),
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
        ],
        destinations: vec![DestinationId::new("hook").unwrap()],
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
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() >= 100, "the readers hardly came to read");
}
