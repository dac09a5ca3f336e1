//! What a valid subscription is.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    catalog::Catalog,
    domain::{
        Subscription,
        subscription::{MAX_DESTINATIONS, MAX_DISPLAY_NAME, MAX_SELECTORS},
    },
    filter::{Fault, Faults, Path, Rule},
};

/// Everything that is wrong with a subscription; empty if it is valid.
///
/// Whether its destinations exist is not looked at: they may come later.
pub fn validate_subscription(subscription: &Subscription, catalog: &Catalog) -> Vec<Fault> {
    compile(Arc::new(subscription.clone()), catalog).err().unwrap_or_default()
}

/// A valid subscription with its filters compiled, or everything that is wrong with it.
pub(super) fn compile(subscription: Arc<Subscription>, catalog: &Catalog) -> Result<Rule, Vec<Fault>> {
    let mut faults = Faults::default();
    display_name(subscription.name.as_deref(), &mut faults);
    let (events, destinations) = (Path::Root("events"), Path::Root("destinations"));
    let count = subscription.events.len();
    if !(1..=MAX_SELECTORS).contains(&count) {
        faults.add(&events, format!("{count} entries"), format!("1 to {MAX_SELECTORS}"));
        // Thousands of filters are not worth reading.
        return Err(faults.or(()).err().unwrap_or_default());
    }
    let count = subscription.destinations.len();
    if !(1..=MAX_DESTINATIONS).contains(&count) {
        faults.add(&destinations, format!("{count} entries"), format!("1 to {MAX_DESTINATIONS}"));
    }
    let mut known = BTreeSet::new();
    for (i, id) in subscription.destinations.iter().enumerate() {
        if !known.insert(id) {
            faults.add(&Path::Index(&destinations, i), format!("{id} a second time"), "each destination once");
        }
    }
    match Rule::compile(subscription, catalog) {
        Ok(rule) => faults.or(rule),
        Err(found) => {
            faults.extend(found);
            Err(faults.or(()).err().unwrap_or_default())
        }
    }
}

/// Names go into subjects and lists: bounded, on one line.
pub(super) fn display_name(name: Option<&str>, faults: &mut Faults) {
    let Some(name) = name else { return };
    let path = Path::Root("name");
    if !(1..=MAX_DISPLAY_NAME).contains(&name.len()) {
        faults.add(&path, format!("{} bytes", name.len()), format!("1 to {MAX_DISPLAY_NAME}, or no name"));
    }
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        faults.add(&path, format!("{control:?}"), "no control characters");
    }
}
