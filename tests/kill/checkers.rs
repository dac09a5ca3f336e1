//! What must be true when all is delivered: told from the log, the store and the receiver, each read anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tidings::log::{Log, Reader};
use tidings_core::{
    codec,
    domain::{Delivery, NotificationId, Record, TopicPartition},
};

use crate::{
    receiver::Receiver,
    reference::{Event, History},
    report::Ledger,
    stored::Row,
    traffic::Traffic,
    workload::number_of,
};

/// Everything that the log holds after a run, read by a reader of committed records.
pub struct Topics {
    pub events: Vec<Record>,
    pub directory: Vec<Record>,
    /// In the order of partitions and offsets.
    pub deliveries: Vec<(Record, Delivery)>,
    pub index_versions: Vec<Record>,
    pub dead_letters: Vec<Record>,
}

/// Faults of one kind that are told one by one; the others are counted.
const TOLD: usize = 5;
const READ_WAIT: Duration = Duration::from_secs(2);

// === impl Topics ===

impl Topics {
    pub async fn read<L: Log>(log: &L, prefix: &str, partitions: u32) -> Topics {
        let read = |name: &'static str, partitions| all(log, Arc::from(format!("{prefix}{name}")), partitions);
        let deliveries = read("deliveries", partitions).await.into_iter().map(|record| {
            let delivery = codec::decode_delivery(record.value.as_deref().unwrap_or_default()).expect("a delivery");
            (record, delivery)
        });
        Topics {
            deliveries: deliveries.collect(),
            events: read("events", partitions).await,
            directory: read("directory", 1).await,
            index_versions: read("index_versions", 1).await,
            dead_letters: read("deadletters", 1).await,
        }
    }

    pub fn destination_of(&self) -> HashMap<NotificationId, usize> {
        self.deliveries.iter().map(|(_, delivery)| (delivery.id, number_of(&delivery.destination))).collect()
    }
}

async fn all<L: Log>(log: &L, topic: Arc<str>, partitions: u32) -> Vec<Record> {
    let mut records = Vec::new();
    for partition in 0..partitions {
        let place = TopicPartition { topic: topic.clone(), partition };
        let bounds = log.bounds(place.clone()).await.expect("the log answers");
        let mut reader = log.reader(place, bounds.start).await.expect("a reader");
        while reader.position() < bounds.end {
            records.extend(reader.next(READ_WAIT).await.expect("records"));
        }
    }
    records
}

/// Whatever was acknowledged is there, and nothing was set aside.
pub fn events(topics: &Topics, traffic: &Traffic) {
    let there: HashSet<u64> = topics.events.iter().map(|record| Event::read(record).number()).collect();
    let lost = (0..traffic.acknowledged()).filter(|number| !there.contains(number));
    complain(traffic, "was acknowledged and is not in the log", lost.map(|number| format!("event {number}")));
    let set_aside = topics.dead_letters.iter().map(|record| record.position().to_string());
    complain(traffic, "is a dead letter, and no event of the workload is poison", set_aside);
}

/// The deliveries are those of the reference, at the index version recorded for each event: none missing, none too many,
/// none twice.
pub fn deliveries(topics: &Topics, traffic: &Traffic) {
    let mut versions: BTreeMap<(u32, i64), i64> = BTreeMap::new();
    for record in &topics.index_versions {
        let value: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).expect("JSON");
        let number = |name: &str| value[name].as_i64().expect("a number");
        versions.insert((number("partition") as u32, number("first")), number("index_version"));
    }
    // In the order of versions, so that the directory is folded once.
    let mut events: Vec<(i64, &Record)> = Vec::with_capacity(topics.events.len());
    for record in &topics.events {
        match versions.range((record.partition, i64::MIN)..=(record.partition, record.offset)).next_back() {
            Some((_, version)) => events.push((*version, record)),
            None => traffic.violation(format!("no index version is recorded for {}", record.position())),
        }
    }
    events.sort_by_key(|(version, _)| *version);

    let mut found: HashMap<(u32, i64), Vec<&Delivery>> = HashMap::with_capacity(topics.events.len());
    for (_, delivery) in &topics.deliveries {
        found.entry((delivery.position.partition, delivery.position.offset)).or_default().push(delivery);
    }
    let history = History::read(&topics.directory);
    let mut snapshot = history.snapshot();
    let (mut missing, mut surplus, mut twice, mut other_version) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (version, record) in events {
        snapshot.advance(version);
        let expected: BTreeSet<NotificationId> = snapshot.notifications(&Event::read(record)).into_iter().collect();
        let made = found.remove(&(record.partition, record.offset)).unwrap_or_default();
        let ids: BTreeSet<NotificationId> = made.iter().map(|delivery| delivery.id).collect();
        missing.extend(expected.difference(&ids).map(|id| format!("{id} of {}", record.position())));
        surplus.extend(ids.difference(&expected).map(|id| format!("{id} of {}", record.position())));
        if ids.len() < made.len() {
            twice.push(record.position().to_string());
        }
        let differs = made.iter().any(|delivery| delivery.index_version != version);
        other_version.extend(differs.then(|| record.position().to_string()));
    }
    complain(traffic, "is not in the deliveries topic", missing);
    complain(traffic, "is in the deliveries topic, and the reference does not make it", surplus);
    complain(traffic, "made deliveries twice", twice);
    complain(traffic, "was matched at another index version than is recorded", other_version);
    complain(traffic, "has deliveries and is no event", found.keys().map(|position| format!("{position:?}")));
}

/// Whoever read along saw what a reader sees afterwards.
pub fn readers_agree(topics: &Topics, traffic: &Traffic) {
    let mut after: Vec<Vec<(i64, NotificationId)>> = vec![Vec::new(); traffic.along().len()];
    for (record, delivery) in &topics.deliveries {
        after[record.partition as usize].push((record.offset, delivery.id));
    }
    for (partition, (along, after)) in traffic.along().iter().zip(&after).enumerate() {
        if along != after {
            let differ = along.iter().zip(after).position(|(a, b)| a != b);
            let (read, there) = (along.len(), after.len());
            traffic.violation(format!(
                "delivery partition {partition}: {read} were read along, {there} afterwards, different from {differ:?} on"
            ));
        }
    }
}

/// Each notification has ended once, for a reason that holds; what was delivered has been received.
pub fn outcomes(topics: &Topics, rows: &[Row], receiver: &Receiver, traffic: &Traffic, ledger: &mut Ledger) {
    let deliveries: HashMap<NotificationId, &Delivery> = topics.deliveries.iter().map(|(_, d)| (d.id, d)).collect();
    let taken = receiver.taken(&topics.destination_of());
    let history = History::read(&topics.directory);
    let mut finals: HashMap<NotificationId, Vec<&Row>> = HashMap::new();
    for row in rows.iter().filter(|row| row.outcome.is_some()) {
        finals.entry(row.notification).or_default().push(row);
    }
    let (mut unended, mut several, mut unreceived, mut unfounded) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, delivery) in &deliveries {
        let [row] = finals.get(id).map_or(&[][..], Vec::as_slice) else {
            match finals.get(id) {
                Some(ends) => several.push(format!("{id} ({} times)", ends.len())),
                None => unended.push(id.to_string()),
            }
            continue;
        };
        let outcome = row.outcome.clone().unwrap_or_default();
        let key = format!("sub/{}/{}", delivery.team, delivery.subscription);
        let states = || history.states_from(&key, delivery.index_version).into_iter();
        let sent_there = |state: &Value| {
            let destinations = state["destinations"].as_array().expect("destinations");
            destinations.iter().any(|destination| destination == delivery.destination.as_str())
        };
        let founded = match outcome.as_str() {
            "delivered" => {
                if !taken.contains_key(id) {
                    unreceived.push(id.to_string());
                }
                true
            }
            "discarded" => states().any(|state| state.is_none_or(|state| !sent_there(state))),
            "suppressed" => states().any(|state| state.is_some_and(|state| state["enabled"] == false)),
            _ => false,
        };
        if !founded {
            unfounded.push(format!("{id} {outcome}"));
        }
        *ledger.found.outcomes.entry(outcome).or_default() += 1;
    }
    complain(traffic, "has no outcome", unended);
    complain(traffic, "has more than one outcome", several);
    complain(traffic, "counts as delivered and was never received", unreceived);
    complain(traffic, "is an outcome without a reason in the directory", unfounded);
    let strange = finals.keys().filter(|id| !deliveries.contains_key(id)).map(ToString::to_string);
    complain(traffic, "has an outcome and is no delivery", strange);
    let strange = receiver.ids().into_iter().filter(|id| !deliveries.contains_key(id)).map(|id| id.to_string());
    complain(traffic, "was received and is no delivery", strange.collect::<Vec<_>>());
    for (id, early) in traffic.finals() {
        let late = finals.get(&id).and_then(|rows| rows.first());
        if late.is_none_or(|row| row.attempt != early.attempt || row.outcome.as_ref() != Some(&early.outcome)) {
            traffic.violation(format!("{id} had ended as {early:?}, and in the end it is {late:?}"));
        }
    }
    let found = &mut ledger.found;
    (found.notifications, found.finals_seen_early) = (deliveries.len(), traffic.finals().len());
    found.parked = rows.iter().filter(|row| row.next_attempt).count();
    found.requests = receiver.requests();
    found.events = topics.events.len();
    found.changes = traffic.changes_made();
    let (verified, forged) = receiver.signatures();
    found.signatures = verified;
    if forged > 0 || verified == 0 {
        traffic.violation(format!("{forged} signatures were wrong, {verified} were right"));
    }
}

fn complain(traffic: &Traffic, what: &str, who: impl IntoIterator<Item = String>) {
    let who: Vec<String> = who.into_iter().collect();
    for one in who.iter().take(TOLD) {
        traffic.violation(format!("{one} {what}"));
    }
    if who.len() > TOLD {
        traffic.violation(format!("… and {} more: {what}", who.len() - TOLD));
    }
}
