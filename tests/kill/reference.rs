//! The reference: which notifications an event makes, told by trying every subscription, without the code under test.
//!
//! Understands the few shapes of filter that the workload writes, and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;
use tidings_core::domain::{DestinationId, NotificationId, Record, SubscriptionId};

use crate::registry;

/// The directory topic as it was written, in order, each record with its offset.
pub struct History(Vec<(i64, String, Option<Value>)>);

/// The subscriptions at one version, carried forward from version to version.
pub struct Snapshot<'a> {
    history: &'a History,
    next: usize,
    rules: BTreeMap<&'a str, Rule>,
}

/// A subscription in the form in which it is tried.
struct Rule {
    team: String,
    id: SubscriptionId,
    destinations: Vec<DestinationId>,
    event_type: String,
    conditions: Vec<Condition>,
}

enum Condition {
    Bucket { from: u64, to: u64 },
    Place { prefix: String },
    License { one_of: Vec<String> },
    Seats { at_least: u64 },
}

/// An event, read once.
pub struct Event {
    core: tidings_core::domain::Event,
    bucket: u64,
    place: String,
    license: String,
    seats: u64,
}

// === impl History ===

impl History {
    pub fn read(records: &[Record]) -> History {
        let change = |record: &Record| {
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let value = record.value.as_deref().map(|value| serde_json::from_slice(value).expect("JSON"));
            (record.offset, key, value)
        };
        History(records.iter().map(change).collect())
    }

    /// At the beginning, of nothing.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { history: self, next: 0, rules: BTreeMap::new() }
    }

    /// What a subscription was at some version from `version` on, in order: `None` is deleted. Its state at `version`
    /// comes first.
    pub fn states_from(&self, key: &str, version: i64) -> Vec<Option<&Value>> {
        let of_key = || self.0.iter().filter(|(_, name, _)| name == key);
        let before = of_key().take_while(|(offset, ..)| *offset < version).last();
        let later = of_key().filter(|(offset, ..)| *offset >= version);
        before.into_iter().chain(later).map(|(_, _, value)| value.as_ref()).collect()
    }
}

// === impl Snapshot ===

impl Snapshot<'_> {
    /// Goes on to a version, which must not be before the present one.
    pub fn advance(&mut self, version: i64) {
        while let Some((_, key, value)) = self.history.0.get(self.next).filter(|(offset, ..)| *offset < version) {
            self.next += 1;
            if !key.starts_with("sub/") {
                continue;
            }
            match value {
                Some(value) => self.rules.insert(key, Rule::read(value)),
                None => self.rules.remove(key.as_str()),
            };
        }
    }

    /// What the event makes, each with its subscription and destination.
    pub fn notifications(&self, event: &Event) -> Vec<NotificationId> {
        let matching = self.rules.values().filter(|rule| rule.matches(event));
        let pairs = matching.flat_map(|rule| rule.destinations.iter().map(move |to| (&rule.id, to)));
        pairs.map(|(subscription, to)| NotificationId::of(&event.core, subscription, to, "")).collect()
    }
}

// === impl Rule ===

impl Rule {
    fn read(value: &Value) -> Rule {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let selectors = value["events"].as_array().expect("events");
        assert_eq!(selectors.len(), 1, "the workload writes one selector");
        let filter = selectors[0]["filter"].as_object().expect("a filter");
        let destinations = value["destinations"].as_array().expect("destinations");
        Rule {
            team: text(&value["team"]),
            id: SubscriptionId::new(&text(&value["id"])).expect("a name"),
            destinations: destinations.iter().map(|id| DestinationId::new(&text(id)).expect("a name")).collect(),
            event_type: text(&selectors[0]["type"]),
            conditions: filter.iter().map(|(key, value)| Condition::read(key, value)).collect(),
        }
    }

    fn matches(&self, event: &Event) -> bool {
        self.team == event.core.team.as_str()
            && (self.event_type == "*" || *self.event_type == *event.core.event_type)
            && self.conditions.iter().all(|condition| condition.holds(event))
    }
}

// === impl Condition ===

impl Condition {
    fn read(key: &str, value: &Value) -> Condition {
        let number = |value: &Value| value.as_u64().expect("a number");
        match key {
            "bucket" => match value[0].as_u64() {
                Some(only) => Condition::Bucket { from: only, to: only + 1 },
                None => {
                    let range = &value[0]["numeric"];
                    Condition::Bucket { from: number(&range[1]), to: number(&range[3]) }
                }
            },
            "place" => Condition::Place { prefix: value[0]["prefix"].as_str().expect("a prefix").to_owned() },
            "licenseType" => {
                let allowed = value.as_array().expect("values").iter();
                Condition::License { one_of: allowed.map(|one| one.as_str().expect("text").to_owned()).collect() }
            }
            "licenseFields" => Condition::Seats { at_least: number(&value["seats"][0]["numeric"][1]) },
            other => panic!("the reference does not know the filter {other}"),
        }
    }

    fn holds(&self, event: &Event) -> bool {
        match self {
            Condition::Bucket { from, to } => (*from..*to).contains(&event.bucket),
            Condition::Place { prefix } => event.place.starts_with(prefix),
            Condition::License { one_of } => one_of.contains(&event.license),
            Condition::Seats { at_least } => event.seats >= *at_least,
        }
    }
}

// === impl Event ===

impl Event {
    pub fn read(record: &Record) -> Event {
        let text = registry::unframed(record.value.as_deref().unwrap_or_default());
        let value: Value = serde_json::from_slice(text).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let data = &value["data"];
        Event {
            bucket: data["bucket"].as_u64().expect("a number"),
            place: text(&data["place"]),
            license: text(&data["license_type"]),
            seats: data["license_fields"]["seats"].as_u64().expect("a number"),
            core: tidings_core::domain::Event {
                team: tidings_core::domain::TeamId::new(&text(&value["team"])).expect("a name"),
                id: text(&value["id"]).into(),
                source: text(&value["source"]).into(),
                event_type: text(&value["type"]).into(),
                time: None,
                subject: None,
                data: Value::Null,
            },
        }
    }

    /// Which event of the workload it is.
    pub fn number(&self) -> u64 {
        self.core.id[1..].parse().expect("an id of the workload")
    }
}
