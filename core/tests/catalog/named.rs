//! What the platforms' documents name is in the catalog by that name, and is not marked as assumed.
//!
//! `named.json` was written from the documents and not from the catalog.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use tidings_core::catalog::{Catalog, page::Assumed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Paths in the data.
    fields: Vec<String>,
    /// Exactly these, where the platform has filters.
    #[serde(default)]
    filters: Vec<String>,
    #[serde(default)]
    required: BTreeSet<String>,
    #[serde(default)]
    allowed: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    display_name: Option<String>,
}

fn named() -> BTreeMap<String, Named> {
    serde_json::from_str(include_str!("named.json")).unwrap()
}

#[test]
fn the_catalog_has_the_named_types_and_no_other() {
    let catalog = Catalog::builtin();
    let keys: BTreeSet<&str> = catalog.types().map(|t| &*t.key).collect();
    assert_eq!(keys, named().keys().map(String::as_str).collect());
    let of = |platform: &str| catalog.types().filter(|t| t.platform == platform).count();
    assert_eq!([of("replicated"), of("scalingo"), of("tyk"), of("pandium")], [28, 47 + 3, 42, 5]);
}

#[test]
fn every_named_field_is_there_and_not_assumed() {
    let catalog = Catalog::builtin();
    for (key, named) in named() {
        let event_type = catalog.get(&key).unwrap();
        for name in &named.fields {
            let field = event_type.fields.iter().find(|field| field.path.join(".") == *name);
            let field = field.unwrap_or_else(|| panic!("{key} has no {name}"));
            assert!(!field.assumed, "{key} {name} is documented");
        }
        if let Some(name) = &named.display_name {
            assert_eq!(event_type.display_name, *name);
        }
    }
}

#[test]
fn what_no_document_names_is_marked_as_assumed() {
    // Of Scalingo's payloads the client library has more than the documents; of the others' nothing is known but these.
    const ELSEWHERE: [&str; 3] = ["channel_id", "channel_name", "license_type"];
    let catalog = Catalog::builtin();
    for (key, named) in named().iter().filter(|(key, _)| !key.starts_with("scalingo.")) {
        let event_type = catalog.get(key).unwrap();
        let filtered: BTreeSet<String> = event_type.filters.iter().map(|filter| filter.field.join(".")).collect();
        for field in event_type.fields.iter().filter(|field| !field.assumed && field.kind != "record") {
            let name = field.path.join(".");
            let known = named.fields.contains(&name)
                || filtered.contains(&name)
                || ELSEWHERE.contains(&name.as_str())
                // A message, and the customer's name beside its id, stand in every event of their kind.
                || ["message", "customer_name", "originating_request"].contains(&name.as_str());
            assert!(known, "{key} {name} is named by nobody");
        }
    }
}

#[test]
fn every_named_filter_is_offered_with_its_values() {
    let catalog = Catalog::builtin();
    for (key, named) in named().iter().filter(|(key, _)| key.starts_with("replicated.")) {
        let event_type = catalog.get(key).unwrap();
        let offered: BTreeSet<&str> = event_type.filters.iter().map(|filter| filter.key.as_str()).collect();
        assert_eq!(offered, named.filters.iter().map(String::as_str).collect(), "{key}");
        for filter in &event_type.filters {
            assert_eq!(filter.required, named.required.contains(&filter.key), "{key} {}", filter.key);
            if let Some(allowed) = named.allowed.get(&filter.key) {
                assert_eq!(filter.allowed, *allowed, "{key} {}", filter.key);
            }
        }
    }
}

/// Printed with `--nocapture`; `docs/catalog/` says the same.
#[test]
fn the_share_of_assumed_fields_is_known() {
    let catalog = Catalog::builtin();
    let mut shares = BTreeMap::new();
    for platform in catalog.platforms() {
        let types: Vec<_> = catalog.types().filter(|t| t.platform == platform).collect();
        let share = Assumed::of(&types);
        println!("{platform}: {share}");
        shares.insert(platform, share.assumed * 100 / share.fields);
    }
    assert_eq!(shares["pandium"], 0);
    assert!(shares["scalingo"] <= 5 && shares["tyk"] <= 25 && shares["replicated"] <= 35, "{shares:?}");
}
