//! A subscription with its filters compiled: what the [index](super::Index) finds.

use std::{slice, sync::Arc};

use prefetch_index::prefetch_index;

use super::{
    Budget, Clause, Datum, Fault, Faults, MAX_EVENT_COST, Of, Path, SelectorExplanation, TooCostly, selection,
};
use crate::{
    catalog::Catalog,
    domain::{Event, EventSelector, Subscription, notification::destination_hash},
};

/// The most clauses of one rule: selections multiply the types that they cover with their filter.
pub const MAX_CLAUSES: usize = 1_000;

/// A subscription and its clauses, one for each event type of each of its selectors; any of them may match.
#[derive(Debug)]
pub struct Rule {
    pub subscription: Arc<Subscription>,
    /// The [`destination_hash`] of each of its destinations: hashing names once is enough.
    pub destination_hashes: Box<[u32]>,
    clauses: Box<[Clause]>,
    /// In a place of its own, because few rules have any.
    ends: Option<Box<Ends>>,
}

/// For each selector, where its clauses end. There are none where each has one, as nearly all have.
#[derive(Debug)]
struct Ends(Box<[usize]>);

/// An event's matches lie anywhere in memory: each is one cache line, the counts of its [`Arc`] and all.
const _: () = assert!(size_of::<Rule>() + 2 * size_of::<usize>() == 64);

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
        let each_one = ends.iter().copied().eq(1..=ends.len());
        let ends = (!each_one).then(|| Box::new(Ends(ends.into())));
        let destinations = subscription.destinations.iter();
        let destination_hashes = destinations.map(|id| destination_hash(&subscription.team, id)).collect();
        faults.or(Rule { subscription, destination_hashes, clauses: clauses.into(), ends })
    }

    /// Of clauses that no catalog has seen.
    #[cfg(test)]
    pub(super) fn of(subscription: Arc<Subscription>, clauses: Vec<Clause>) -> Rule {
        Rule { subscription, destination_hashes: Box::default(), clauses: clauses.into(), ends: None }
    }

    pub(super) fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// Has what a delivery says of it brought into the cache, without waiting for it.
    pub fn fetch(&self) {
        prefetch_index(slice::from_ref(&*self.subscription), 0);
        prefetch_index(&self.destination_hashes, 0);
    }

    /// The meaning of a subscription: its team's event, of a type it names, whose data passes that selector's filter.
    pub fn matches(&self, event: &Event) -> bool {
        self.subscription.team == event.team && self.holds(&event.event_type, Of { datum: &event.data, event })
    }

    /// For an event of the subscription's team.
    pub(super) fn holds<'a>(&self, event_type: &str, data: impl Datum<'a>) -> bool {
        self.clauses.iter().any(|clause| clause.covers(event_type) && clause.matches(data))
    }

    /// The same as [`Rule::matches`] within a [`Budget`] for each filter.
    pub fn matches_within(&self, event: &Event) -> Result<bool, TooCostly> {
        let of_team = self.subscription.team == event.team;
        let mut left = MAX_EVENT_COST;
        let mut holds = || self.holds_within(&event.event_type, Of { datum: &event.data, event }, &mut left);
        if of_team { holds() } else { Ok(false) }
    }

    /// The same as [`Rule::holds`] within a [`Budget`] for each filter; takes what they cost from what is `left` for all.
    pub(super) fn holds_within<'a>(
        &self,
        event_type: &str,
        data: impl Datum<'a>,
        left: &mut u32,
    ) -> Result<bool, TooCostly> {
        let too_costly = |bound| TooCostly { subscription: Some(self.subscription.id.clone()), bound };
        for clause in self.clauses.iter().filter(|clause| clause.covers(event_type)) {
            let mut budget = Budget::new();
            let matches = clause.matches_within(data, &mut budget).map_err(|costly| too_costly(costly.bound))?;
            *left = left.checked_sub(budget.spent()).ok_or_else(|| too_costly(MAX_EVENT_COST))?;
            if matches {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Selector by selector, condition by condition. That the event is of the rule's team is the caller's to see.
    pub fn explain(&self, event: &Event) -> Vec<SelectorExplanation> {
        let explain = |(i, selector): (usize, &EventSelector)| {
            let clauses = self.clauses_of(i);
            // Of a selection, the clause for the event's type says the most; the first where no clause is for it.
            let covering = clauses.iter().find(|clause| clause.covers(&event.event_type));
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
        let Some(Ends(ends)) = self.ends.as_deref() else { return &self.clauses[selector..=selector] };
        let begin = selector.checked_sub(1).map_or(0, |before| ends[before]);
        &self.clauses[begin..ends[selector]]
    }
}
