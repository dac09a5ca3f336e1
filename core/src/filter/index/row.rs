//! Clauses, each by itself, and the keys that they are filed under: what partitions take in and blocks are built of.

use std::{cmp::Ordering, sync::Arc};

use super::hash::hash;
use crate::{
    domain::{TeamId, TypeSelector},
    filter::Rule,
};

/// A clause of a rule, by its place among the rule's clauses.
#[derive(Clone, Debug)]
pub struct Row {
    /// Of its partition's key.
    pub hash: u64,
    pub rule: Arc<Rule>,
    pub clause: u32,
}

/// Of a partition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub team: TeamId,
    /// `None`: any.
    pub event_type: Option<Arc<str>>,
}

// === impl Row ===

impl Row {
    pub fn new(rule: &Arc<Rule>, clause: usize) -> Row {
        let event_type = type_of(&rule.clauses()[clause].event_type);
        let hash = key_hash(rule.subscription.team.as_str(), event_type);
        Row { hash, rule: rule.clone(), clause: clause as u32 }
    }

    pub fn event_type(&self) -> Option<&str> {
        type_of(&self.rule.clauses()[self.clause as usize].event_type)
    }

    pub fn key(&self) -> Key {
        Key { team: self.rule.subscription.team.clone(), event_type: self.event_type().map(Arc::from) }
    }

    /// Of the same team and event type.
    pub fn is_beside(&self, other: &Row) -> bool {
        self.rule.subscription.team == other.rule.subscription.team && self.event_type() == other.event_type()
    }

    /// By team and event type, then by id, those of one rule side by side.
    pub fn cmp_in_table(&self, other: &Row) -> Ordering {
        let (a, b) = (&self.rule.subscription, &other.rule.subscription);
        let by_key = || a.team.cmp(&b.team).then_with(|| self.event_type().cmp(&other.event_type()));
        by_key().then_with(|| a.id.cmp(&b.id)).then_with(|| self.clause.cmp(&other.clause))
    }
}

/// What a clause is filed under: its event type, or any. Clauses name nothing else.
pub fn type_of(selector: &TypeSelector) -> Option<&str> {
    match selector {
        TypeSelector::Key(key) => Some(key),
        _ => None,
    }
}

pub fn key_hash(team: &str, event_type: Option<&str>) -> u64 {
    hash(team.as_bytes()) ^ event_type.map_or(0, type_hash)
}

pub fn type_hash(event_type: &str) -> u64 {
    hash(event_type.as_bytes()).rotate_left(32)
}
