//! The catalog held against what the four platforms' own documents name, and every event type put to the proof.
//!
//! - [`named`]: every event type, field, filter and value that the documents name is there, by name.
//! - [`proof`]: for every type, its example through every format, and through each of its filters both ways.
//! - [`golden`]: what was encoded yesterday is read today.
//! - [`samples`]: the documents' own sample configurations and payloads.
//! - [`json_schema`]: `schemas/event-type.schema.json` holds for every file, and says what the loader says.
//! - [`pages`]: `docs/catalog/` says what the catalog says.

mod golden;
mod json_schema;
mod named;
mod pages;
mod proof;
mod samples;

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_core::{
    catalog::Catalog,
    domain::{DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
    filter::{Fault, Index, Rule},
};

/// A subscription of one selector, compiled.
fn rule(event_type: &str, filter: &Value, catalog: &Catalog) -> Result<Arc<Rule>, Vec<Fault>> {
    let filter = filter.as_object().cloned().unwrap_or_else(Map::new);
    let subscription = Subscription {
        team: TeamId::new("acme").unwrap(),
        id: SubscriptionId::new("s").unwrap(),
        revision: 1,
        name: None,
        enabled: true,
        events: vec![EventSelector { event_type: TypeSelector::from(event_type.to_owned()), filter: filter.into() }]
            .into(),
        destinations: vec![DestinationId::new("hook").unwrap()].into(),
    };
    Rule::compile(Arc::new(subscription), catalog).map(Arc::new)
}

/// Whether the index finds the subscription for an event of that type and data.
fn matches(rule: &Arc<Rule>, event_type: &str, data: &Value) -> bool {
    let mut index = Index::new();
    index.insert(rule);
    let event = Event {
        team: TeamId::new("acme").unwrap(),
        id: "1".into(),
        source: "test".into(),
        event_type: event_type.into(),
        time: None,
        subject: None,
        data: data.clone(),
    };
    index.matching(&event).len() == 1
}
