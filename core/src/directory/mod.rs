//! All subscriptions and destinations, folded from the directory topic.
//!
//! The directory is a function of the last record of each key and of nothing else, so compaction cannot change it.
//! A record that is no good never stops the fold: it makes its key inactive, and [`Directory::problems`] says why.
//! The room does *not* read the topic, does not write it, and does not open secrets.
//!
//! - This file: the fold.
//! - [`key`]: `sub/<team>/<id>` and `dst/<team>/<id>`.
//! - [`subscription`], [`destination`]: what a valid one is. The same checks serve the fold and the writers.

pub mod destination;
pub mod key;
pub mod subscription;

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use rpds::{HashTrieMap, HashTrieMapSync, RedBlackTreeMapSync};
use serde::Serialize;

use crate::{
    catalog::Catalog,
    domain::{Destination, DestinationId, Event, Record, Subscription, SubscriptionId, TeamId},
    filter::{Datum, Fault, FixedState, Index, Rule},
};

pub use destination::validate_destination;
pub use key::{Key, KeyFault, destination_key, parse_key, subscription_key};
pub use subscription::validate_subscription;

/// One version of the directory.
///
/// Immutable for everyone but the one who folds: a clone is a few pointers, its unchanged parts shared.
#[derive(Clone)]
pub struct Directory {
    catalog: Arc<Catalog>,
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
}

/// Why the last record of a key is not active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The record's key, as text.
    pub key: String,
    /// The team, where the key tells it.
    pub team: Option<TeamId>,
    /// Where the record stands.
    pub offset: i64,
    pub reason: Reason,
    /// In words, without secrets, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// Why a record makes its key inactive. In the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The key is neither `sub/<team>/<id>` nor `dst/<team>/<id>`.
    BadKey,
    /// The value is longer than [`MAX_VALUE_BYTES`].
    TooLarge,
    /// The value is not the JSON of what the key names.
    Decode,
    /// The value names another team or id than the key.
    KeyMismatch,
    /// A secret stands there in clear.
    PlainSecret,
    /// Something in it is not allowed.
    Invalid,
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
/// The longest [`Problem::detail`], in bytes.
pub const MAX_DETAIL: usize = 1024;

// === impl Directory ===

impl Directory {
    /// Empty, at the beginning of the topic.
    pub fn new(catalog: Arc<Catalog>) -> Directory {
        Directory {
            catalog,
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
            Err((reason, detail)) => {
                let problem = Problem {
                    key: String::from_utf8_lossy(key).into_owned(),
                    team: parsed.ok().map(|key| key.team().clone()),
                    offset: record.offset,
                    reason,
                    detail: cut(detail, MAX_DETAIL),
                };
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
        }
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
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

    /// The same for an event whose data is elsewhere.
    pub fn matching_data<'a>(&self, team: &TeamId, event_type: &str, data: impl Datum<'a>) -> Vec<&Arc<Rule>> {
        self.index.matching_data(team, event_type, data)
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
        };
        if team.subscriptions.is_empty() && team.destinations.is_empty() {
            self.teams.remove_mut(key.team());
        } else if removed {
            self.teams.insert_mut(key.team().clone(), team);
        }
        had_problem || removed
    }

    /// Puts the record's object in place, or says why it cannot be.
    fn activate(&mut self, key: &Result<Key, KeyFault>, value: &[u8]) -> Result<(), (Reason, String)> {
        let key = key.as_ref().map_err(|fault| (Reason::BadKey, fault.to_string()))?;
        if value.len() > MAX_VALUE_BYTES {
            let detail = format!("a value of {} bytes; at most {MAX_VALUE_BYTES} are allowed", value.len());
            return Err((Reason::TooLarge, detail));
        }
        let mut team = self.teams.get(key.team()).cloned().unwrap_or_default();
        match key {
            Key::Subscription(team_id, id) => {
                let subscription: Subscription = decode(value)?;
                same_key(
                    &subscription.team == team_id && &subscription.id == id,
                    &subscription.team,
                    &subscription.id,
                )?;
                let rule = subscription::compile(Arc::new(subscription), &self.catalog).map_err(invalid)?;
                let rule = Arc::new(rule);
                self.index.insert(&rule);
                self.subscriptions += 1;
                team.subscriptions.insert_mut(id.clone(), rule);
            }
            Key::Destination(team_id, id) => {
                let destination: Destination = decode(value)?;
                same_key(&destination.team == team_id && &destination.id == id, &destination.team, &destination.id)?;
                let secrets = destination::plain_secrets(&destination);
                if !secrets.is_empty() {
                    return Err((Reason::PlainSecret, invalid(secrets).1));
                }
                match validate_destination(&destination) {
                    faults if faults.is_empty() => {
                        self.destinations += 1;
                        team.destinations.insert_mut(id.clone(), Arc::new(destination));
                    }
                    faults => return Err(invalid(faults)),
                }
            }
        }
        self.teams.insert_mut(key.team().clone(), team);
        Ok(())
    }
}

fn same_key(same: bool, team: &TeamId, id: &impl fmt::Display) -> Result<(), (Reason, String)> {
    if same { Ok(()) } else { Err((Reason::KeyMismatch, format!("the value is of team {team}, id {id}"))) }
}

fn invalid(faults: Vec<Fault>) -> (Reason, String) {
    (Reason::Invalid, faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))
}

fn decode<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, (Reason, String)> {
    serde_json::from_slice(value).map_err(|e| (Reason::Decode, without_values(&e.to_string())))
}

/// What serde says, without the value that it found: that may be a secret in the wrong place.
fn without_values(message: &str) -> String {
    let quotes_a_value = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match (quotes_a_value, message.rfind(", expected ")) {
        (true, Some(place)) => format!("wrong type or value{}", &message[place..]),
        _ => message.to_owned(),
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: BTreeMap<&str, usize> = [("teams", self.teams.size()), ("problems", self.problems.size())].into();
        write!(f, "Directory(version {}, {counts:?})", self.version)
    }
}

// === impl Reason ===

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadKey => "bad_key",
            Reason::TooLarge => "too_large",
            Reason::Decode => "decode",
            Reason::KeyMismatch => "key_mismatch",
            Reason::PlainSecret => "plain_secret",
            Reason::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
