//! Whether this process can do its work now, and if not, why: `/readyz` and the log tell the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Named conditions set by roles. Ready is: every condition that was ever named holds.
///
/// Cheap to clone; all clones are one. A role names its conditions before it starts ([`not_ready`](Self::not_ready)),
/// so that a process is never taken for ready before its roles have spoken.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

// === impl Readiness ===

impl Readiness {
    /// The condition holds.
    pub fn ready(&self, condition: &'static str) {
        self.set(condition, None);
    }

    /// The condition does not hold, for a reason that an operator can read: no secrets, no addresses.
    pub fn not_ready(&self, condition: &'static str, reason: impl Into<String>) {
        self.set(condition, Some(reason.into()));
    }

    /// The conditions that do not hold, with their reasons; empty if the process is ready.
    pub fn reasons(&self) -> Vec<(&'static str, String)> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().filter_map(|(name, reason)| Some((*name, reason.clone()?))).collect()
    }

    fn set(&self, condition: &'static str, reason: Option<String>) {
        let mut conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(condition, reason.clone());
        let ready = conditions.values().all(Option::is_none);
        drop(conditions);
        super::facts::readiness_changed(ready);
        // Only changes are news: progress of the same trouble is not.
        match (before.flatten(), reason) {
            (None, Some(reason)) => tracing::info!(condition, reason, "not ready"),
            (Some(_), None) => tracing::info!(condition, "ready"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_named_condition_holds() {
        let readiness = Readiness::default();
        readiness.not_ready("directory", "folding");
        readiness.not_ready("store", "unreachable");
        readiness.ready("directory");
        assert_eq!(readiness.clone().reasons(), [("store", "unreachable".to_owned())]);
        readiness.ready("store");
        assert!(readiness.reasons().is_empty());
    }
}
