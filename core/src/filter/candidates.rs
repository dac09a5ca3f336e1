//! The rules of one team and event type, filed so that an event meets few of them.
//!
//! A rule that can only match where some field has one of a few texts is filed under each of these texts: its *access
//! predicate* (Fabret et al., "Filtering algorithms and implementation for very fast publish/subscribe systems", 2001). Of
//! several such fields, the one is taken whose texts the fewest rules are filed under already, so that
//! `license_type = paid`, which everybody asks for, files nobody. All others are tried on every event.
//!
//! Filing is necessary, never sufficient: whoever is found is tried in full.

use std::sync::Arc;

use rpds::{HashTrieMap, HashTrieMapSync, RedBlackTreeMapSync};

use super::{Datum, FixedState, Look, Rule};
use crate::domain::SubscriptionId;

/// Persistent: a clone shares everything, a change copies the way to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    filed: RedBlackTreeMapSync<FieldPath, ByText>,
    unfiled: Rules,
}

/// A field that a clause asks for some texts of, and nothing else: none of them there, no match.
#[derive(Debug, PartialEq)]
pub(super) struct Access<'c> {
    pub path: FieldPath,
    pub texts: Vec<&'c str>,
}

/// The names on the way from the data to a field.
pub(super) type FieldPath = Arc<[Box<str>]>;

#[derive(Clone, Debug)]
struct ByText {
    rules: HashTrieMapSync<Arc<str>, Rules, FixedState>,
}

/// In the order of subscription ids.
type Rules = RedBlackTreeMapSync<SubscriptionId, Arc<Rule>>;

/// The most texts that one rule is filed under; with more it is tried on every event.
pub(super) const MAX_TEXTS: usize = 16;

// === impl Candidates ===

impl Candidates {
    pub(super) fn is_empty(&self) -> bool {
        self.filed.is_empty() && self.unfiled.is_empty()
    }

    /// `accesses` are those that its clause offers; none if it has several clauses for the type.
    pub(super) fn insert(&mut self, rule: &Arc<Rule>, accesses: Vec<Access<'_>>) {
        let id = &rule.subscription.id;
        match accesses.into_iter().min_by_key(|access| self.crowd(access)) {
            None => self.unfiled.insert_mut(id.clone(), rule.clone()),
            Some(Access { path, texts }) => {
                let mut by_text = self.filed.get(&path).cloned().unwrap_or_else(ByText::new);
                for text in texts {
                    let mut rules = by_text.rules.get(text).cloned().unwrap_or_default();
                    rules.insert_mut(id.clone(), rule.clone());
                    by_text.rules.insert_mut(text.into(), rules);
                }
                self.filed.insert_mut(path, by_text);
            }
        }
    }

    /// Takes out what [`Candidates::insert`] has put in with the same accesses, wherever it was filed then.
    pub(super) fn remove(&mut self, id: &SubscriptionId, accesses: &[Access<'_>]) {
        self.unfiled.remove_mut(id);
        for Access { path, texts } in accesses {
            let Some(mut by_text) = self.filed.get(path).cloned() else { continue };
            for text in texts {
                let Some(mut rules) = by_text.rules.get(*text).cloned() else { continue };
                rules.remove_mut(id);
                if rules.is_empty() {
                    by_text.rules.remove_mut(*text);
                } else {
                    by_text.rules.insert_mut((*text).into(), rules);
                }
            }
            if by_text.rules.is_empty() {
                self.filed.remove_mut(path);
            } else {
                self.filed.insert_mut(path.clone(), by_text);
            }
        }
    }

    /// Every rule that can match such data; some more than once, in no order.
    pub(super) fn for_each<'s, 'a>(&'s self, data: impl Datum<'a>, visit: &mut impl FnMut(&'s Arc<Rule>)) {
        self.unfiled.values().for_each(&mut *visit);
        for (path, by_text) in &self.filed {
            by_text.at(path, data, visit);
        }
    }

    /// How many rules are filed under the busiest of its texts.
    fn crowd(&self, access: &Access<'_>) -> usize {
        let Some(by_text) = self.filed.get(&access.path) else { return 0 };
        access.texts.iter().filter_map(|text| by_text.rules.get(*text)).map(Rules::size).max().unwrap_or(0)
    }
}

// === impl ByText ===

impl ByText {
    fn new() -> ByText {
        ByText { rules: HashTrieMap::new_with_hasher_and_ptr_kind(FixedState::default()) }
    }

    /// Arrays stand for their elements, on the way and at its end.
    fn at<'s, 'a>(&'s self, path: &[Box<str>], value: impl Datum<'a>, visit: &mut impl FnMut(&'s Arc<Rule>)) {
        match value.look() {
            Look::Array(elements) => elements.for_each(|element| self.at(path, element, visit)),
            Look::Object => {
                if let Some((field, rest)) = path.split_first()
                    && let Some(value) = value.member(field)
                {
                    self.at(rest, value, visit);
                }
            }
            Look::Text(text) if path.is_empty() => {
                if let Some(rules) = self.rules.get(text) {
                    rules.values().for_each(visit);
                }
            }
            _ => {}
        }
    }
}
