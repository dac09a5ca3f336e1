//! All subscriptions and destinations, folded from the directory topic.
//!
//! The directory is a function of the last record of each key and of nothing else, so compaction cannot change it.
//! A record that is no good never stops the fold: it makes its key inactive, and [`Directory::problems`] says why.
//! The room does *not* read the topic, does not write it, and does not open secrets.
//!
//! - This file: the fold.
//! - [`key`]: `sub/<team>/<id>`, `dst/<team>/<id>`, `sec/<team>/<name>`.
//! - `problem`: why a key is inactive.
//! - `record`: a record's value, read without ever repeating it.
//! - [`subscription`], [`destination`]: what a valid one is. The same checks serve the fold and the writers.

pub mod destination;
pub mod key;
mod problem;
mod record;
pub mod subscription;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use rpds::{HashTrieMap, HashTrieMapSync, RedBlackTreeMapSync};

use crate::{
    catalog::{Catalog, Shape},
    codec::{DirectoryCodec, Written},
    domain::{
        Destination, DestinationId, Event, NamedSecret, Record, Secret, SecretId, Subscription, SubscriptionId, TeamId,
        TypeSelector,
        subscription::{MAX_DESTINATIONS, MAX_SELECTORS},
    },
    filter::{Addressed, AvroPrograms, Datum, Fault, FixedState, Head, Index, Room, Rule, Scanner, Stats, TooCostly},
};

use problem::Refusal;
use record::read;

pub use destination::validate_destination;
pub use key::{Key, KeyFault, destination_key, parse_key, secret_key, subscription_key};
pub use problem::{MAX_DETAIL, MAX_FIELD, Problem, Reason};
pub use subscription::validate_subscription;

/// One version of the directory.
///
/// Immutable for everyone but the one who folds: a clone is a few pointers, its unchanged parts shared.
#[derive(Clone)]
pub struct Directory {
    catalog: Arc<Catalog>,
    codec: Arc<DirectoryCodec>,
    teams: HashTrieMapSync<TeamId, Team, FixedState>,
    index: Index,
    /// By record key.
    problems: RedBlackTreeMapSync<Bytes, Arc<Problem>>,
    subscriptions: usize,
    destinations: usize,
    version: i64,
}

/// How much a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub subscriptions: usize,
    pub destinations: usize,
    pub problems: usize,
}

/// What one team has, in the order of ids.
#[derive(Clone, Default)]
struct Team {
    subscriptions: RedBlackTreeMapSync<SubscriptionId, Arc<Rule>>,
    destinations: RedBlackTreeMapSync<DestinationId, Arc<Destination>>,
    secrets: RedBlackTreeMapSync<SecretId, Arc<NamedSecret>>,
}

/// A reference of an active destination to a secret that is not stored: what goes there waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The destination's key.
    pub key: String,
    pub team: TeamId,
    pub field: String,
}

/// What a record did to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// The key is active with this record.
    Active,
    /// The key is inactive; there is a [`Problem`] under it.
    Inactive(Reason),
    /// A tombstone took the key away.
    Deleted,
    /// Nothing: a tombstone for a key that was not there, a record without a key, or with one too long to be a key.
    Ignored,
}

/// The longest value of a directory record, in bytes.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;

// === impl Directory ===

impl Directory {
    /// Empty, at the beginning of the topic.
    pub fn new(catalog: Arc<Catalog>) -> Directory {
        Directory::read_with(catalog, DirectoryCodec::plain())
    }

    /// The same, for records that services write with schema ids of their own.
    pub fn read_with(catalog: Arc<Catalog>, codec: Arc<DirectoryCodec>) -> Directory {
        Directory {
            catalog,
            codec,
            teams: HashTrieMap::new_with_hasher_and_ptr_kind(FixedState::default()),
            index: Index::new(),
            problems: RedBlackTreeMapSync::new_sync(),
            subscriptions: 0,
            destinations: 0,
            version: 0,
        }
    }

    /// Folds one record. Records must come in offset order.
    pub fn apply(&mut self, record: &Record) -> Applied {
        self.advance(record.offset + 1);
        let Some(key) = record.key.as_ref().filter(|key| key.len() <= key::MAX_KEY_BYTES) else {
            return Applied::Ignored;
        };
        let parsed = parse_key(key);
        let was_there = self.take(key, parsed.as_ref().ok());
        let Some(value) = &record.value else {
            return if was_there { Applied::Deleted } else { Applied::Ignored };
        };
        match self.activate(&parsed, value) {
            Ok(()) => Applied::Active,
            Err(refusal) => {
                let team = parsed.ok().map(|key| key.team().clone());
                let problem = Problem::of(refusal, key, team, record.offset);
                let reason = problem.reason;
                // Copied, or the key would hold on to the whole batch that the record came in.
                self.problems.insert_mut(Bytes::copy_from_slice(key), Arc::new(problem));
                Applied::Inactive(reason)
            }
        }
    }

    /// Says that everything before `offset` has been folded, where the topic has holes at its end.
    pub fn advance(&mut self, offset: i64) {
        self.version = self.version.max(offset);
    }

    /// Makes ready for readers what was folded since the last time: matching gives the same before and after, and is faster
    /// after.
    pub fn settle(&mut self) {
        self.index.settle();
    }

    /// How large the filter index is. Looks at every partition.
    pub fn index_stats(&self) -> Stats {
        self.index.stats()
    }

    /// The offset up to which, exclusively, the topic is folded: the index version.
    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn counts(&self) -> Counts {
        let Directory { subscriptions, destinations, .. } = *self;
        Counts { subscriptions, destinations, problems: self.problems.size() }
    }

    /// The revision of what stands under a key, if something active does.
    pub fn revision(&self, key: &str) -> Option<u64> {
        match parse_key(key.as_bytes()).ok()? {
            Key::Subscription(team, id) => self.subscription(&team, &id).map(|subscription| subscription.revision),
            Key::Destination(team, id) => self.destination(&team, &id).map(|destination| destination.revision),
            Key::Secret(team, id) => self.secret(&team, &id).map(|secret| secret.revision),
        }
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Teams that have anything, in no order that means something.
    pub fn teams(&self) -> impl Iterator<Item = &TeamId> {
        self.teams.keys()
    }

    pub fn subscription(&self, team: &TeamId, id: &SubscriptionId) -> Option<&Arc<Subscription>> {
        self.rule(team, id).map(|rule| &rule.subscription)
    }

    /// The subscription with its compiled filters: for explaining.
    pub fn rule(&self, team: &TeamId, id: &SubscriptionId) -> Option<&Arc<Rule>> {
        self.teams.get(team)?.subscriptions.get(id)
    }

    pub fn destination(&self, team: &TeamId, id: &DestinationId) -> Option<&Arc<Destination>> {
        self.teams.get(team)?.destinations.get(id)
    }

    /// A team's subscriptions in the order of their ids.
    pub fn subscriptions(&self, team: &TeamId) -> impl Iterator<Item = &Arc<Subscription>> {
        self.teams.get(team).into_iter().flat_map(|team| team.subscriptions.values()).map(|rule| &rule.subscription)
    }

    /// A team's destinations in the order of their ids.
    pub fn destinations(&self, team: &TeamId) -> impl Iterator<Item = &Arc<Destination>> {
        self.teams.get(team).into_iter().flat_map(|team| team.destinations.values())
    }

    pub fn secret(&self, team: &TeamId, id: &SecretId) -> Option<&Arc<NamedSecret>> {
        self.teams.get(team)?.secrets.get(id)
    }

    /// A team's stored secrets in the order of their names.
    pub fn secrets(&self, team: &TeamId) -> impl Iterator<Item = &Arc<NamedSecret>> {
        self.teams.get(team).into_iter().flat_map(|team| team.secrets.values())
    }

    /// The destination with what is now stored under the names that it refers to.
    pub fn resolved(&self, destination: Arc<Destination>) -> Arc<Destination> {
        if !destination.webhook.secrets().any(|(_, secret)| matches!(secret, Secret::Named { .. })) {
            return destination;
        }
        let mut resolved = Destination::clone(&destination);
        for secret in resolved.webhook.secrets_mut() {
            if let Secret::Named { name, value } = secret {
                *value = self.secret(&destination.team, name).map(|stored| stored.value.clone());
            }
        }
        Arc::new(resolved)
    }

    /// References to secrets that are not stored, in no order of teams. Looks at every destination.
    pub fn unresolved(&self) -> impl Iterator<Item = Unresolved> {
        self.teams.iter().flat_map(|(id, team)| {
            team.destinations.values().flat_map(move |destination| {
                let absent = |secret: &Secret| match secret {
                    Secret::Named { name, .. } => !team.secrets.contains_key(name),
                    Secret::Sealed(_) => false,
                };
                let absent = destination.webhook.secrets().filter(move |(_, secret)| absent(secret));
                let key = destination_key(id, &destination.id);
                absent.map(move |(field, _)| Unresolved { key: key.clone(), team: id.clone(), field })
            })
        })
    }

    /// Nothing folded yet, but read in the same way.
    pub fn emptied(&self) -> Directory {
        Directory::read_with(self.catalog.clone(), self.codec.clone())
    }

    /// The subscriptions that would be invalid with another catalog, and why, in the order of teams and ids.
    pub fn broken_by(&self, catalog: &Catalog) -> Vec<(Arc<Subscription>, Vec<Fault>)> {
        let rules = self.teams.values().flat_map(|team| team.subscriptions.values());
        let faults = |rule: &Arc<Rule>| {
            let subscription = rule.subscription.clone();
            let faults = subscription::compile(subscription.clone(), catalog).err()?;
            Some((subscription, faults))
        };
        let mut broken: Vec<_> = rules.filter_map(faults).collect();
        broken.sort_by(|(a, _), (b, _)| (&a.team, &a.id).cmp(&(&b.team, &b.id)));
        broken
    }

    /// Every inactive key, in the order of the keys.
    pub fn problems(&self) -> impl ExactSizeIterator<Item = &Arc<Problem>> {
        self.problems.values()
    }

    /// Why a key is inactive, if it is.
    pub fn problem(&self, key: &[u8]) -> Option<&Arc<Problem>> {
        self.problems.get(key)
    }

    /// The event's own team's subscriptions that match it, in the order of their ids; disabled ones too.
    pub fn matching(&self, event: &Event) -> Vec<&Arc<Rule>> {
        self.index.matching(event)
    }

    /// The same for an event whose data is elsewhere, and for who must not wait: no filter may cost more than its [budget](crate::filter::Budget).
    pub fn matching_within<'a>(
        &self,
        team: &TeamId,
        event_type: &str,
        data: impl Datum<'a>,
        room: &mut Room,
    ) -> Result<Vec<&Arc<Rule>>, TooCostly> {
        self.index.matching_within(team, event_type, data, room)
    }

    /// The same for an event in the usual envelope of JSON, read only as far as filters ask: [`Index::matching_json_within`]. `None`: it must
    /// be read whole.
    pub fn matching_json<'i, 'e>(
        &'i self,
        envelope: &'e [u8],
        named: impl FnMut(Addressed<'e>) -> Option<Arc<str>>,
        scanner: &mut Scanner,
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Option<(Head<'e>, Arc<str>)> {
        self.index.matching_json_within(envelope, named, scanner, found).ok()
    }

    /// The same for an event whose data is Avro of that shape, read only as far as filters ask. `None`: it must be read whole.
    pub fn matching_avro(
        &self,
        event: &Event,
        shape: &Arc<Shape>,
        datum: &[u8],
        programs: &mut AvroPrograms,
    ) -> Option<Vec<&Arc<Rule>>> {
        let mut found = Vec::new();
        let of = (event.team.as_str(), &*event.event_type);
        programs.matching_within(&self.index, of, shape, datum, &mut found).ok()?;
        Some(found)
    }

    /// Takes away whatever stands under a key; whether something did.
    fn take(&mut self, raw: &Bytes, key: Option<&Key>) -> bool {
        let had_problem = self.problems.remove_mut(raw);
        let Some(key) = key else { return had_problem };
        let Some(mut team) = self.teams.get(key.team()).cloned() else { return had_problem };
        let removed = match key {
            Key::Subscription(_, id) => {
                if let Some(rule) = team.subscriptions.get(id) {
                    self.index.remove(rule);
                    self.subscriptions -= 1;
                }
                team.subscriptions.remove_mut(id)
            }
            Key::Destination(_, id) => {
                let removed = team.destinations.remove_mut(id);
                self.destinations -= usize::from(removed);
                removed
            }
            Key::Secret(_, id) => team.secrets.remove_mut(id),
        };
        if team.subscriptions.is_empty() && team.destinations.is_empty() && team.secrets.is_empty() {
            self.teams.remove_mut(key.team());
        } else if removed {
            self.put(key.team(), team);
        }
        had_problem || removed
    }

    /// Under the name that is known already, which subscriptions share.
    fn put(&mut self, id: &TeamId, team: Team) {
        let id = self.teams.get_key_value(id).map_or(id, |(known, _)| known).clone();
        self.teams.insert_mut(id, team);
    }

    /// Names that are in memory already, of its team, its destinations and its types, are there once and not once for each subscription.
    fn share_names(&self, team: &Team, subscription: &mut Subscription) {
        if let Some((known, _)) = self.teams.get_key_value(&subscription.team) {
            subscription.team = known.clone();
        }
        for destination in &mut subscription.destinations {
            if let Some((known, _)) = team.destinations.get_key_value(destination) {
                *destination = known.clone();
            }
        }
        for selector in &mut subscription.events {
            if let TypeSelector::Key(name) = &mut selector.event_type
                && let Some(known) = self.catalog.get(name)
            {
                *name = known.key.clone();
            }
        }
    }

    /// Puts the record's object in place, or says why it cannot be.
    fn activate(&mut self, key: &Result<Key, KeyFault>, value: &[u8]) -> Result<(), Refusal> {
        let key = key.as_ref().map_err(|fault| Refusal::new(Reason::BadKey, fault.to_string()))?;
        if value.len() > MAX_VALUE_BYTES {
            let detail = format!("a value of {} bytes; at most {MAX_VALUE_BYTES} are allowed", value.len());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let mut team = self.teams.get(key.team()).cloned().unwrap_or_default();
        match key {
            Key::Subscription(team_id, id) => {
                let mut subscription: Subscription = read(&self.codec, Some(Written::Subscription), value)?;
                same_key(
                    &subscription.team == team_id && &subscription.id == id,
                    &subscription.team,
                    &subscription.id,
                )?;
                if subscription.destinations.len() <= MAX_DESTINATIONS && subscription.events.len() <= MAX_SELECTORS {
                    self.share_names(&team, &mut subscription);
                }
                let id = subscription.id.clone();
                let rule = subscription::compile(Arc::new(subscription), &self.catalog);
                let rule = Arc::new(rule.map_err(|faults| Refusal::faults(Reason::Invalid, &faults))?);
                self.index.insert(&rule);
                self.subscriptions += 1;
                team.subscriptions.insert_mut(id, rule);
            }
            Key::Destination(team_id, id) => {
                let destination: Destination = read(&self.codec, Some(Written::Destination), value)?;
                same_key(&destination.team == team_id && &destination.id == id, &destination.team, &destination.id)?;
                let secrets = destination::plain_secrets(&destination);
                if !secrets.is_empty() {
                    return Err(Refusal::faults(Reason::PlainSecret, &secrets));
                }
                match validate_destination(&destination) {
                    faults if faults.is_empty() => {
                        self.destinations += 1;
                        team.destinations.insert_mut(id.clone(), Arc::new(destination));
                    }
                    faults => return Err(Refusal::faults(Reason::Invalid, &faults)),
                }
            }
            Key::Secret(team_id, id) => {
                let secret: NamedSecret = read(&self.codec, None, value)?;
                same_key(&secret.team == team_id && &secret.id == id, &secret.team, &secret.id)?;
                if !destination::looks_sealed(&secret.value) {
                    return Err(Refusal::plain_secret("value".to_owned()));
                }
                team.secrets.insert_mut(id.clone(), Arc::new(secret));
            }
        }
        self.put(key.team(), team);
        Ok(())
    }
}

fn same_key(same: bool, team: &TeamId, id: &impl fmt::Display) -> Result<(), Refusal> {
    if same {
        return Ok(());
    }
    Err(Refusal::new(Reason::KeyMismatch, format!("the value is of team {team}, id {id}")))
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: BTreeMap<&str, usize> = [("teams", self.teams.size()), ("problems", self.problems.size())].into();
        write!(f, "Directory(version {}, {counts:?})", self.version)
    }
}
