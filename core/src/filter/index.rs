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
    Clause, Datum, Fault, Faults, Of, Path, SelectorExplanation,
    candidates::{Access, Candidates},
    selection,
};
use crate::{
    catalog::Catalog,
    domain::{Event, EventSelector, Subscription, TeamId, TypeSelector, notification::destination_hash},
};

/// The most clauses of one rule: selections multiply the types that they cover with their filter.
pub const MAX_CLAUSES: usize = 1_000;

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

/// A subscription and its clauses, one for each event type of each of its selectors; any of them may match.
#[derive(Debug)]
pub struct Rule {
    pub subscription: Arc<Subscription>,
    /// The [`destination_hash`] of each of its destinations: hashing names once is enough.
    pub destination_hashes: Box<[u32]>,
    clauses: Box<[Clause]>,
    /// For each selector, where its clauses end; empty where each has one, as nearly all have.
    ends: Box<[usize]>,
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
                TypeSelector::Key(key) => {
                    let mut candidates = team.types.get(key).cloned().unwrap_or_default();
                    candidates.insert(rule, accesses);
                    team.types.insert_mut(key.clone(), candidates);
                }
                _ => team.any.insert(rule, accesses),
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
                TypeSelector::Key(key) => {
                    let Some(mut candidates) = team.types.get(key).cloned() else { continue };
                    candidates.remove(id, &accesses);
                    if candidates.is_empty() {
                        team.types.remove_mut(key);
                    } else {
                        team.types.insert_mut(key.clone(), candidates);
                    }
                }
                _ => team.any.remove(id, &accesses),
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
        self.matching_data(&event.team, &event.event_type, Of { datum: &event.data, event })
    }

    /// The same for an event whose data is elsewhere; what asks for its time or attributes needs it [there](Of) too.
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
        let mut ends = Vec::with_capacity(subscription.events.len());
        for (i, selector) in subscription.events.iter().enumerate() {
            match selection::compile_all(selector, catalog, &format!("events[{i}]")) {
                Ok(of_selector) => clauses.extend(of_selector),
                Err(found) => faults.extend(found),
            }
            ends.push(clauses.len());
            if clauses.len() > MAX_CLAUSES {
                let found = format!("{} or more pairs of type and filter", clauses.len());
                faults.add(&Path::Root("events"), found, format!("at most {MAX_CLAUSES}"));
                break;
            }
        }
        if ends.iter().copied().eq(1..=ends.len()) {
            ends = Vec::new();
        }
        let destinations = subscription.destinations.iter();
        let destination_hashes = destinations.map(|id| destination_hash(&subscription.team, id)).collect();
        faults.or(Rule { subscription, destination_hashes, clauses: clauses.into(), ends: ends.into() })
    }

    /// Each of its types or "any" once, with what an event of it can be told by.
    fn selectors(&self) -> Vec<(&TypeSelector, Vec<Access<'_>>)> {
        let mut clauses: Vec<&Clause> = self.clauses.iter().collect();
        // Sorted, because a few selections make thousands of clauses.
        clauses.sort_by(|a, b| a.event_type.cmp(&b.event_type));
        let mut selectors = Vec::new();
        for same in clauses.chunk_by(|a, b| a.event_type == b.event_type) {
            let accesses = if let [alone] = same { alone.accesses() } else { Vec::new() };
            selectors.push((&same[0].event_type, accesses));
        }
        selectors
    }

    /// The meaning of a subscription: its team's event, of a type it names, whose data passes that selector's filter.
    pub fn matches(&self, event: &Event) -> bool {
        self.subscription.team == event.team && self.holds(&event.event_type, Of { datum: &event.data, event })
    }

    /// For an event of the subscription's team.
    fn holds<'a>(&self, event_type: &str, data: impl Datum<'a>) -> bool {
        self.clauses.iter().any(|clause| clause.event_type.covers(event_type) && clause.matches(data))
    }

    /// Selector by selector, condition by condition. That the event is of the rule's team is the caller's to see.
    pub fn explain(&self, event: &Event) -> Vec<SelectorExplanation> {
        let explain = |(i, selector): (usize, &EventSelector)| {
            let clauses = self.clauses_of(i);
            // Of a selection, the clause for the event's type says the most; the first where no clause is for it.
            let covering = clauses.iter().find(|clause| clause.event_type.covers(&event.event_type));
            let conditions = covering.or(clauses.first());
            let conditions = conditions.map(|clause| clause.explain(&event.data, Some(event))).unwrap_or_default();
            let type_matches = covering.is_some();
            let matched = type_matches && conditions.iter().all(|condition| condition.held);
            SelectorExplanation { event_type: selector.event_type.clone(), type_matches, conditions, matched }
        };
        self.subscription.events.iter().enumerate().map(explain).collect()
    }

    /// The clauses of one selector.
    fn clauses_of(&self, selector: usize) -> &[Clause] {
        match selector.checked_sub(1) {
            _ if self.ends.is_empty() => &self.clauses[selector..=selector],
            None => &self.clauses[..self.ends[selector]],
            Some(before) => &self.clauses[self.ends[before]..self.ends[selector]],
        }
    }
}

// === impl TypeSelector ===

impl TypeSelector {
    /// Whether events of that type are meant, filter aside, by what a [`Clause`] can name: a key, or any type. Of other
    /// selectors only the catalog knows.
    fn covers(&self, event_type: &str) -> bool {
        match self {
            TypeSelector::Key(key) => **key == *event_type,
            TypeSelector::Any => true,
            _ => false,
        }
    }
}
