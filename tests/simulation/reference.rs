//! The reference: which notifications an event makes at a directory version, told without the code under test.
//!
//! Understands the handful of filter shapes that the workload writes, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidings_core::domain::{DestinationId, Event, NotificationId, Record, SubscriptionId};

/// The directory topic as it was written, in order.
pub struct History(Vec<(String, Option<Value>)>);

// === impl History ===

impl History {
    pub fn read(records: &[Record]) -> History {
        let change = |record: &Record| {
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let value =
                record.value.as_deref().map(|value| serde_json::from_slice(value).expect("the workload's JSON"));
            (key, value)
        };
        History(records.iter().map(change).collect())
    }

    fn subscriptions_at(&self, version: i64) -> BTreeMap<&str, &Value> {
        let mut active = BTreeMap::new();
        for (key, value) in self.0.iter().take(version.max(0) as usize).filter(|(key, _)| key.starts_with("sub/")) {
            match value {
                Some(value) => active.insert(key.as_str(), value),
                None => active.remove(key.as_str()),
            };
        }
        active
    }
}

pub fn notifications(event: &Event, history: &History, version: i64) -> BTreeSet<NotificationId> {
    let mut ids = BTreeSet::new();
    for subscription in history.subscriptions_at(version).into_values() {
        let same_team = subscription["team"] == event.team.as_str();
        let selectors = subscription["events"].as_array().expect("events");
        if !same_team || !selectors.iter().any(|selector| selects(selector, event)) {
            continue;
        }
        let name = SubscriptionId::new(subscription["id"].as_str().expect("id")).expect("a name");
        for destination in subscription["destinations"].as_array().expect("destinations") {
            let destination = DestinationId::new(destination.as_str().expect("id")).expect("a name");
            ids.insert(NotificationId::of(event, &name, &destination, ""));
        }
    }
    ids
}

fn selects(selector: &Value, event: &Event) -> bool {
    let wanted = selector["type"].as_str().expect("type");
    if wanted != "*" && wanted != &*event.event_type {
        return false;
    }
    let Some(filter) = selector["filter"].as_object() else { return true };
    filter.iter().all(|(key, condition)| match key.as_str() {
        "licenseType" => condition.as_array().expect("values").contains(&event.data["license_type"]),
        "licenseFields" => {
            let least = condition["seats"][0]["numeric"][1].as_i64().expect("a bound");
            event.data["license_fields"]["seats"].as_i64().is_some_and(|seats| seats > least)
        }
        other => panic!("the reference does not know the filter {other}"),
    })
}
