//! The checkers: what must hold, told apart from the workload and from the code under test.
//!
//! Some look on while the run goes ([`settled_below`], [`may_be_sent`], [`index_is_fresh`], and the store's own notes
//! on final outcomes and fences); the rest read the world after it has drained.

use std::collections::{BTreeMap, BTreeSet};

use tidings::log::Offsets;
use tidings_core::{
    codec,
    domain::{Delivery, NotificationId, Outcome, Output, Position, Record, Timestamp},
};

use crate::{
    reference::{self, History},
    sim_channel::{Temper, temper},
    workload::{self, SCHEDULE_S, topics},
    world::{Process, Request, World},
};

/// A directory change must be effective after this long.
const VISIBLE_MS: i64 = 2_000;
/// After a process was frozen or cut off, what it does for this long may rest on what it knew before.
const STALE_MS: i64 = 60_000;

// --- while the run goes ---

/// Once a delivery's offset is committed, the store has its end or its parked row.
pub fn settled_below(world: &World, offsets: &Offsets) {
    let mut unsettled = Vec::new();
    {
        let mut state = world.state();
        for (partition, next) in offsets {
            let from = state.checked.insert(partition.clone(), *next).unwrap_or(0);
            let records = &state.topics[&partition.topic][partition.partition as usize];
            if *next as usize > records.len() {
                unsettled.push(format!("offset {next} of {partition} committed; it has {} records", records.len()));
            }
            for record in records.iter().take(*next as usize).skip(from as usize) {
                let Ok(delivery) = codec::decode_delivery(record.value.as_deref().unwrap_or_default()) else {
                    continue;
                };
                let parked = state.store.parked.contains_key(&(delivery.day, delivery.id));
                if !parked && !state.store.finals.contains_key(&delivery.id) {
                    unsettled.push(format!("offset {next} of {partition} committed, {} not settled", delivery.id));
                }
            }
        }
    }
    unsettled.into_iter().take(3).for_each(|what| world.violation(what));
}

/// What has ended is not sent again, by a process that could know.
pub fn may_be_sent(world: &World, process: Process, notification: NotificationId) {
    let now = world.now();
    let ended = world.state().store.finals.get(&notification).copied();
    if let Some(at) = ended
        && !was_stalled(world, process, now)
    {
        world.violation(format!("p{} sent {notification}, which ended at {at}", process.0));
    }
}

/// A batch is matched against a directory that is at most a moment old.
pub fn index_is_fresh(world: &World, process: Process, outputs: &[Output]) {
    let now = world.now();
    if was_stalled(world, process, now) {
        return;
    }
    let old_enough = {
        let state = world.state();
        let directory = &state.topics[&topics().directory][0];
        directory.iter().take_while(|record| record.timestamp < now.plus(-VISIBLE_MS)).count() as i64
    };
    for output in outputs.iter().filter(|output| output.topic == topics().index_versions) {
        let version = index_version(output.value.as_deref().unwrap_or_default()).map(|(_, version)| version);
        if version.is_none_or(|version| version < old_enough) {
            world.violation(format!("p{} matched at {version:?}; the directory was at {old_enough}", process.0));
        }
    }
}

fn was_stalled(world: &World, process: Process, now: Timestamp) -> bool {
    let state = world.state();
    state.links.get(&process).is_some_and(|link| link.stalled.iter().any(|at| now.since(*at) < STALE_MS))
}

fn index_version(value: &[u8]) -> Option<(Position, i64)> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    let position = Position {
        topic: value["topic"].as_str()?.into(),
        partition: value["partition"].as_u64()? as u32,
        offset: value["first"].as_i64()?,
    };
    Some((position, value["index_version"].as_i64()?))
}

// --- after it has drained ---

/// Everything that can only be told at the end.
pub fn check(world: &World, transactional: bool) {
    let found = Found::read(world);
    let checks: [(&str, Vec<String>); 5] = [
        ("matches", matches(&found, transactional)),
        ("dead letters", dead_letters(&found, transactional)),
        ("outcomes", outcomes(&found)),
        ("repeats", repeats(world, &found)),
        ("rates", rates(&found)),
    ];
    for (name, wrong) in checks {
        wrong.into_iter().take(5).for_each(|what| world.violation(format!("{name}: {what}")));
    }
}

/// What a run left behind.
struct Found {
    events: Vec<Record>,
    history: History,
    deliveries: Vec<Delivery>,
    dead_letters: Vec<Record>,
    versions: Vec<(Position, i64)>,
    attempts: BTreeMap<NotificationId, Vec<tidings_core::domain::Attempt>>,
    finals: BTreeMap<NotificationId, Timestamp>,
    parked: usize,
    requests: Vec<Request>,
    stalls: Vec<(Process, Timestamp)>,
}

impl Found {
    fn read(world: &World) -> Found {
        let state = world.state();
        let all = |topic: &str| state.topics[topic].iter().flatten().cloned().collect::<Vec<Record>>();
        let names = topics();
        let value = |record: &Record| record.value.clone().unwrap_or_default();
        let mut attempts: BTreeMap<NotificationId, Vec<_>> = BTreeMap::new();
        for attempt in state.store.attempts.values() {
            attempts.entry(attempt.notification).or_default().push(attempt.clone());
        }
        Found {
            events: all(&names.events),
            history: History::read(&all(&names.directory)),
            deliveries: all(&names.deliveries).iter().filter_map(|r| codec::decode_delivery(&value(r)).ok()).collect(),
            dead_letters: all(&names.deadletters),
            versions: all(&names.index_versions).iter().filter_map(|r| index_version(&value(r))).collect(),
            attempts,
            finals: state.store.finals.clone(),
            parked: state.store.parked.len(),
            requests: state.requests.clone(),
            stalls: state.links.iter().flat_map(|(p, link)| link.stalled.iter().map(|at| (*p, *at))).collect(),
        }
    }

    /// The version that was written down for a source record: the newest record that starts at or before it.
    fn version_at(&self, position: &Position) -> Option<i64> {
        let same = |first: &Position| first.topic == position.topic && first.partition == position.partition;
        let before = self.versions.iter().filter(|(first, _)| same(first) && first.offset <= position.offset);
        before.max_by_key(|(first, _)| first.offset).map(|(_, version)| *version)
    }
}

/// The deliveries are those that the reference finds at the recorded versions: none missing, none more, none twice.
fn matches(found: &Found, transactional: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected = BTreeSet::new();
    for record in &found.events {
        let Some(event) = workload::read(record) else { continue };
        let position = record.position();
        let Some(version) = found.version_at(&position) else {
            wrong.push(format!("no index version for {position}"));
            continue;
        };
        for id in reference::notifications(&event, &found.history, version) {
            expected.insert((id, position.clone()));
        }
    }
    let mut seen = BTreeSet::new();
    for delivery in &found.deliveries {
        let key = (delivery.id, delivery.position.clone());
        if !seen.insert(key.clone()) && transactional {
            wrong.push(format!("{} of {} stands twice in the delivery topic", key.0, key.1));
        }
        if !transactional && !expected.contains(&key) {
            // A batch whose offsets were never committed was matched again, perhaps at a newer version.
            let event = found.events.iter().find(|record| record.position() == key.1).and_then(workload::read);
            let at_its_own =
                event.map(|event| reference::notifications(&event, &found.history, delivery.index_version));
            if at_its_own.is_some_and(|ids| ids.contains(&key.0)) {
                expected.insert(key);
            }
        }
    }
    wrong.extend(expected.difference(&seen).map(|(id, at)| format!("{id} of {at} is missing")));
    wrong.extend(seen.difference(&expected).map(|(id, at)| format!("{id} of {at} should not be")));
    wrong
}

/// Each unreadable record is set aside whole, once.
fn dead_letters(found: &Found, transactional: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for record in found.events.iter().filter(|record| record.value.is_some() && workload::read(record).is_none()) {
        let offset = record.offset.to_string();
        let partition = record.partition.to_string();
        let same = |letter: &&Record| {
            letter.header("tidings-source-offset") == Some(&offset)
                && letter.header("tidings-source-partition") == Some(&partition)
                && letter.value == record.value
        };
        let letters = found.dead_letters.iter().filter(same).count();
        if letters == 0 || (letters > 1 && transactional) {
            wrong.push(format!("{letters} dead letters for {}", record.position()));
        }
    }
    wrong
}

/// Every notification has exactly one end, in its last row, and its rows tell one story.
fn outcomes(found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let ids: BTreeSet<NotificationId> = found.deliveries.iter().map(|delivery| delivery.id).collect();
    if found.parked > 0 {
        wrong.push(format!("{} rows are still parked", found.parked));
    }
    for id in &ids {
        let Some(rows) = found.attempts.get(id) else {
            wrong.push(format!("{id} has no row"));
            continue;
        };
        let ends: Vec<_> = rows.iter().filter_map(|row| row.outcome).collect();
        let &[outcome] = ends.as_slice() else {
            wrong.push(format!("{id} has {} outcomes", ends.len()));
            continue;
        };
        let tries: Vec<u32> = rows.iter().map(|row| row.attempt).filter(|attempt| *attempt > 0).collect();
        if tries.iter().copied().ne(1..=tries.len() as u32) {
            wrong.push(format!("{id} has attempts {tries:?}"));
        }
        let accepted = found.requests.iter().any(|r| r.notification == *id && r.accepted);
        match outcome {
            Outcome::Delivered if !accepted => wrong.push(format!("{id} is called delivered and was not")),
            Outcome::Exhausted if tries.len() != SCHEDULE_S.len() + 1 => {
                wrong.push(format!("{id} was given up after {} attempts", tries.len()));
            }
            Outcome::Expired => wrong.push(format!("{id} expired in a run of minutes")),
            _ => {}
        }
    }
    wrong.extend(found.finals.keys().filter(|id| !ids.contains(id)).map(|id| format!("{id} ended without a delivery")));
    wrong
}

/// Sent again after a 2xx that was heard only if its sender was disturbed in between.
fn repeats(world: &World, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last: BTreeMap<NotificationId, &Request> = BTreeMap::new();
    let state = world.state();
    for request in &found.requests {
        if let Some(before) = last.get(&request.notification) {
            // Its sender was killed, frozen, cut off or relieved in between, or acted on what it knew before a stall.
            let excused = |one: &Request| {
                state.links.get(&one.process).is_some_and(|link| {
                    link.disturbed.iter().any(|at| *at >= before.at && *at <= request.at)
                        || link.stalled.iter().any(|at| (0..STALE_MS).contains(&one.at.since(*at)))
                })
            };
            if !excused(before) && !excused(request) {
                wrong.push(format!(
                    "{} went out at {} and again at {} for no reason",
                    request.notification, before.at, request.at
                ));
            }
        }
        if request.accepted && request.heard {
            last.insert(request.notification, request);
        }
    }
    wrong
}

/// A limited destination never gets more than its rate; a new owner starts with an empty bucket.
fn rates(found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut times: BTreeMap<(&str, Process), Vec<Timestamp>> = BTreeMap::new();
    for request in found.requests.iter().filter(|r| temper(&r.destination) == Temper::Limited) {
        times.entry((&request.team, request.process)).or_default().push(request.at);
    }
    for ((team, process), at) in times {
        // At five a second, eight requests take 1.4 s. Travel shifts them by up to 10 ms, and a new life may add one.
        for window in at.windows(workload::LIMIT_PER_SECOND as usize + 3) {
            let took = window[window.len() - 1].since(window[0]);
            // A frozen process sends at once, when it wakes, what its timers let go meanwhile.
            let thawed =
                found.stalls.iter().any(|(p, at)| *p == process && (-100..2_000).contains(&window[0].since(*at)));
            if took < 1_000 && !thawed {
                wrong.push(format!("{team} got {} requests from p{} in {took} ms", window.len(), process.0));
            }
        }
    }
    wrong
}
