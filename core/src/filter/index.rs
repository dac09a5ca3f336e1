//! Which subscriptions an event matches: a map from team and event type to [candidates](super::candidates), each of which is
//! then tried plainly.
//!
//! Every map is persistent: a clone is one pointer, a change copies the path to it and shares the rest. So a reader keeps
//! the snapshot it has while the next one is made, and no change costs more than a few nodes, whatever the number of
//! teams or subscriptions.

use std::{
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use rpds::{HashTrieMap, HashTrieMapSync};

use super::{
    Clause, Datum, Fault, Faults, SelectorExplanation,
    candidates::{Access, Candidates},
    clause,
};
use crate::{
    catalog::Catalog,
    domain::{Event, Subscription, TeamId, TypeSelector, notification::destination_hash},
};

/// Rules by team and event type.
///
/// ```text
/// team ─┬─ event type ── subscription id ── rule
///       └─ any type ──── subscription id ── rule
/// ```
///
/// One writer, who holds it mutably; readers hold clones. Every rule stands under each type it names, once.
#[derive(Clone, Debug)]
pub struct Index {
    teams: HashTrieMapSync<TeamId, Team, FixedState>,
}

/// A subscription and its clauses, one for each of its event selectors; any of them may match.
#[derive(Debug)]
pub struct Rule {
    pub subscription: Arc<Subscription>,
    /// The [`destination_hash`] of each of its destinations: hashing names once is enough.
    pub destination_hashes: Box<[u32]>,
    clauses: Box<[Clause]>,
}

#[derive(Clone, Debug)]
struct Team {
    types: HashTrieMapSync<Arc<str>, Candidates, FixedState>,
    any: Candidates,
}

/// A hasher with fixed keys: the same directory is the same structure everywhere.
pub(crate) type FixedState = BuildHasherDefault<DefaultHasher>;

// === impl Index ===

impl Index {
    pub fn new() -> Index {
        Index { teams: HashTrieMap::new_with_hasher_and_ptr_kind(FixedState::default()) }
    }

    /// Adds a rule. One with the same team and id must have been [removed](Index::remove) before.
    pub fn insert(&mut self, rule: &Arc<Rule>) {
        let team_id = &rule.subscription.team;
        let mut team = self.teams.get(team_id).cloned().unwrap_or_else(Team::new);
        for (selector, accesses) in rule.selectors() {
            match selector {
                TypeSelector::Any => team.any.insert(rule, accesses),
                TypeSelector::Key(key) => {
                    let mut candidates = team.types.get(key).cloned().unwrap_or_default();
                    candidates.insert(rule, accesses);
                    team.types.insert_mut(key.clone(), candidates);
                }
            }
        }
        self.teams.insert_mut(team_id.clone(), team);
    }

    /// Takes out what [`Index::insert`] has put in for this very rule.
    pub fn remove(&mut self, rule: &Rule) {
        let (team_id, id) = (&rule.subscription.team, &rule.subscription.id);
        let Some(mut team) = self.teams.get(team_id).cloned() else { return };
        for (selector, accesses) in rule.selectors() {
            match selector {
                TypeSelector::Any => team.any.remove(id, &accesses),
                TypeSelector::Key(key) => {
                    let Some(mut candidates) = team.types.get(key).cloned() else { continue };
                    candidates.remove(id, &accesses);
                    if candidates.is_empty() {
                        team.types.remove_mut(key);
                    } else {
                        team.types.insert_mut(key.clone(), candidates);
                    }
                }
            }
        }
        if team.any.is_empty() && team.types.is_empty() {
            self.teams.remove_mut(team_id);
        } else {
            self.teams.insert_mut(team_id.clone(), team);
        }
    }

    /// The subscriptions that match, each once, in the order of their ids. Disabled ones too: what becomes of them is
    /// not decided here.
    pub fn matching(&self, event: &Event) -> Vec<&Arc<Rule>> {
        self.matching_data(&event.team, &event.event_type, &event.data)
    }

    /// The same for an event whose data is elsewhere.
    pub fn matching_data<'a>(&self, team: &TeamId, event_type: &str, data: impl Datum<'a>) -> Vec<&Arc<Rule>> {
        let Some(team) = self.teams.get(team) else { return Vec::new() };
        let mut found: Vec<&Arc<Rule>> = Vec::new();
        let mut keep = |rule| found.extend(Some(rule).filter(|rule: &&Arc<Rule>| rule.holds(event_type, data)));
        if let Some(named) = team.types.get(event_type) {
            named.for_each(data, &mut keep);
        }
        team.any.for_each(data, &mut keep);
        // The order of everything that comes of a match.
        found.sort_by(|a, b| a.subscription.id.cmp(&b.subscription.id));
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        found
    }
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

// === impl Team ===

impl Team {
    fn new() -> Team {
        Team { types: HashTrieMap::new_with_hasher_and_ptr_kind(FixedState::default()), any: Candidates::default() }
    }
}

// === impl Rule ===

impl Rule {
    /// Makes the clauses of all event selectors, or says everything that is wrong with them.
    pub fn compile(subscription: Arc<Subscription>, catalog: &Catalog) -> Result<Rule, Vec<Fault>> {
        let mut faults = Faults::default();
        let mut clauses = Vec::with_capacity(subscription.events.len());
        for (i, selector) in subscription.events.iter().enumerate() {
            match clause::compile(selector, catalog, &format!("events[{i}]")) {
                Ok(clause) => clauses.push(clause),
                Err(found) => faults.extend(found),
            }
        }
        let destinations = subscription.destinations.iter();
        let destination_hashes = destinations.map(|id| destination_hash(&subscription.team, id)).collect();
        faults.or(Rule { subscription, destination_hashes, clauses: clauses.into() })
    }

    /// Each of its types or "any" once, with what an event of it can be told by.
    fn selectors(&self) -> impl Iterator<Item = (&TypeSelector, Vec<Access<'_>>)> {
        let first = |(i, clause): (usize, &'_ Clause)| {
            self.clauses[..i].iter().all(|before| before.event_type != clause.event_type)
        };
        let firsts = self.clauses.iter().enumerate().filter(move |(i, clause)| first((*i, clause)));
        firsts.map(|(i, clause)| {
            let alone = self.clauses[i + 1..].iter().all(|after| after.event_type != clause.event_type);
            (&clause.event_type, if alone { clause.accesses() } else { Vec::new() })
        })
    }

    /// The meaning of a subscription: its team's event, of a type it names, whose data passes that selector's filter.
    pub fn matches(&self, event: &Event) -> bool {
        self.subscription.team == event.team && self.holds(&event.event_type, &event.data)
    }

    /// For an event of the subscription's team.
    fn holds<'a>(&self, event_type: &str, data: impl Datum<'a>) -> bool {
        self.clauses.iter().any(|clause| clause.event_type.covers(event_type) && clause.matches(data))
    }

    /// Selector by selector, condition by condition. That the event is of the rule's team is the caller's to see.
    pub fn explain(&self, event: &Event) -> Vec<SelectorExplanation> {
        let explain = |clause: &Clause| {
            let type_matches = clause.event_type.covers(&event.event_type);
            let conditions = clause.explain(&event.data);
            let matched = type_matches && conditions.iter().all(|condition| condition.held);
            SelectorExplanation { event_type: clause.event_type.clone(), type_matches, conditions, matched }
        };
        self.clauses.iter().map(explain).collect()
    }
}

// === impl TypeSelector ===

impl TypeSelector {
    /// Whether events of that type are meant, filter aside.
    pub fn covers(&self, event_type: &str) -> bool {
        match self {
            TypeSelector::Any => true,
            TypeSelector::Key(key) => **key == *event_type,
        }
    }
}
