//! Clauses, each by itself, and the keys that they are filed under: what partitions take in and blocks are built of.

use std::{cmp::Ordering, sync::Arc};

use super::hash::hash;
use crate::{domain::TeamId, filter::Rule};

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
        let event_type = rule.clauses()[clause].event_type.as_deref();
        let hash = key_hash(rule.subscription.team.as_str(), event_type);
        Row { hash, rule: rule.clone(), clause: clause as u32 }
    }

    pub fn event_type(&self) -> Option<&str> {
        self.rule.clauses()[self.clause as usize].event_type.as_deref()
    }

    pub fn key(&self) -> Key {
        let event_type = self.rule.clauses()[self.clause as usize].event_type.clone();
        Key { team: self.rule.subscription.team.clone(), event_type }
    }

    /// Of the same team and event type.
    pub fn is_beside(&self, other: &Row) -> bool {
        self.rule.subscription.team == other.rule.subscription.team && self.event_type() == other.event_type()
    }

    /// By team and event type, then by id, those of one rule side by side.
    pub fn cmp_in_table(&self, other: &Row) -> Ordering {
        let (a, b) = (&self.rule.subscription, &other.rule.subscription);
        let by_key = || a.team.cmp(&b.team).then_with(|| self.event_type().cmp(&other.event_type()));
        by_key().then_with(|| self.cmp_in_partition(other))
    }

    /// By id, those of one rule side by side.
    pub fn cmp_in_partition(&self, other: &Row) -> Ordering {
        let (a, b) = (&self.rule.subscription, &other.rule.subscription);
        a.id.cmp(&b.id).then_with(|| self.clause.cmp(&other.clause))
    }
}

pub fn key_hash(team: &str, event_type: Option<&str>) -> u64 {
    hash(team.as_bytes()) ^ event_type.map_or(0, type_hash)
}

pub fn type_hash(event_type: &str) -> u64 {
    hash(event_type.as_bytes()).rotate_left(32)
}
