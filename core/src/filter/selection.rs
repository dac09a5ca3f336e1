//! A selector of several event types → one clause for each type that it covers.
//!
//! The catalog is read anew at every start and the directory folded anew with it, so a selection grows with the catalog.
//! A filter narrows it: covered are the types of the selection that offer every key of the filter, with values as the
//! filter asks for. So a filter that all offer narrows by data alone, and a type that comes later without it breaks
//! nothing. What a single type *requires* is not asked of a selection.

use super::{
    Clause, Fault, Faults, Path,
    clause::{self, Required},
    shown,
};
use crate::{
    catalog::Catalog,
    domain::{EventSelector, TypeSelector},
};

/// The clauses of one selector, at least one; or everything that is wrong with it.
pub fn compile_all(selector: &EventSelector, catalog: &Catalog, path: &str) -> Result<Vec<Clause>, Vec<Fault>> {
    if matches!(selector.event_type, TypeSelector::Any | TypeSelector::Key(_)) {
        return clause::compile(selector, catalog, path).map(|clause| vec![clause]);
    }
    let selected = catalog.selected(&selector.event_type);
    let mut clauses = Vec::new();
    let mut first_faults = None;
    for event_type in &selected {
        match clause::of_type(selector, event_type, Required::NotAsked, path) {
            Ok(clause) => clauses.push(clause),
            Err(faults) => first_faults = first_faults.or(Some(faults)),
        }
    }
    if !clauses.is_empty() {
        return Ok(clauses);
    }
    Err(first_faults.unwrap_or_else(|| {
        let mut faults = Faults::default();
        let root = Path::Root(path);
        let found = shown(&format_args!("{:?}", selector.event_type.to_string()));
        faults.add(&Path::Key(&root, "type"), found, known_selections(catalog, &selector.event_type));
        faults.or(()).err().unwrap_or_default()
    }))
}

/// What may stand in place of a selection that selects nothing.
fn known_selections(catalog: &Catalog, selector: &TypeSelector) -> String {
    let mut names: Vec<String> = match selector {
        TypeSelector::Category(_) => {
            catalog.types().map(|known| format!("category:{}.{}", known.platform, known.category)).collect()
        }
        TypeSelector::Critical(_) => {
            let platforms = catalog.types().filter(|known| known.critical).map(|known| &known.platform);
            platforms.map(|platform| format!("critical:{platform}")).chain(["critical:*".to_owned()]).collect()
        }
        _ => catalog.platforms().into_iter().map(|platform| format!("{platform}.*")).chain(["*".to_owned()]).collect(),
    };
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::{Event, Subscription},
        filter::Rule,
    };

    /// The keys that a selector covers, or its faults.
    fn covered(text: &str, filter: Value) -> Result<Vec<String>, Vec<String>> {
        let Value::Object(filter) = filter else { panic!("an object") };
        let selector = EventSelector { event_type: TypeSelector::from(text.to_owned()), filter: filter.into() };
        compile_all(&selector, &Catalog::builtin(), "events[0]")
            .map(|clauses| {
                clauses.into_iter().map(|clause| clause.event_type.as_deref().unwrap_or("*").to_owned()).collect()
            })
            .map_err(|faults| faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn a_selection_covers_what_the_catalog_has() {
        let of = |test: &dyn Fn(&crate::catalog::EventType) -> bool| {
            let catalog = Catalog::builtin();
            Ok(catalog.types().filter(|t| test(t)).map(|t| t.key.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(covered("pandium.*", json!({})), of(&|t| t.platform == "pandium"));
        assert_eq!(covered("replicated.customer.*", json!({})), of(&|t| t.key.starts_with("replicated.customer.")));
        assert_eq!(
            covered("category:scalingo.addon", json!({})),
            of(&|t| t.platform == "scalingo" && t.category == "addon")
        );
        assert_eq!(covered("critical:*", json!({})), of(&|t| t.critical));
        assert_eq!(covered("critical:scalingo", json!({})), of(&|t| t.critical && t.platform == "scalingo"));
        assert!(covered("critical:*", json!({})).unwrap().contains(&"pandium.run_failed".to_owned()));
    }

    #[test]
    fn a_filter_narrows_a_selection_to_the_types_that_offer_it() {
        let narrowed = covered("pandium.*", json!({"runStatus": ["failed"]}));
        assert_eq!(narrowed, Ok(vec!["pandium.run_failed".to_owned()]));
        let all = covered("pandium.*", json!({"environment": ["production"]})).unwrap();
        assert_eq!(all, covered("pandium.*", json!({})).unwrap());
        let faults = covered("pandium.*", json!({"colour": ["red"]})).unwrap_err();
        assert!(faults[0].starts_with("events[0].filter.colour: found a filter that"), "{faults:?}");
    }

    #[test]
    fn selections_cannot_multiply_without_bound() {
        let events = vec![json!({"type": "scalingo.*"}); 100];
        let subscription = json!({"team": "acme", "id": "s", "events": events, "destinations": ["hook"]});
        let subscription: Subscription = serde_json::from_value(subscription).unwrap();
        let faults = Rule::compile(Arc::new(subscription), &Catalog::builtin()).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].path.as_str(), faults[0].allowed.as_str()), ("events", "at most 1000"));
    }

    #[test]
    fn an_explanation_has_one_part_a_selector() {
        let events = json!([
            {"type": "critical:*"},
            {"type": "pandium.*", "filter": {"environment": ["sandbox"]}},
            {"type": "deployment"},
        ]);
        let subscription = json!({"team": "acme", "id": "s", "events": events, "destinations": ["hook"]});
        let subscription: Subscription = serde_json::from_value(subscription).unwrap();
        let rule = Rule::compile(Arc::new(subscription), &Catalog::builtin()).unwrap();
        let check = |key: &str, expected: [(bool, bool); 3]| {
            let event = Event {
                team: rule.subscription.team.clone(),
                id: "1".into(),
                source: "test".into(),
                event_type: key.into(),
                time: None,
                subject: None,
                data: Catalog::builtin().get(key).unwrap().example.clone(),
            };
            let parts = rule.explain(&event);
            let found: Vec<_> = parts.iter().map(|part| (part.type_matches, part.matched)).collect();
            assert_eq!(found, expected, "{key}");
            assert_eq!(parts[0].event_type, TypeSelector::Critical("*".into()));
            assert_eq!(rule.matches(&event), expected.iter().any(|(_, matched)| *matched), "{key}");
        };
        check("pandium.run_failed", [(true, true), (true, false), (false, false)]);
        check("pandium.tenant_created", [(false, false), (true, false), (false, false)]);
        check("scalingo.app_deployed", [(false, false), (false, false), (true, true)]);
    }

    #[test]
    fn a_selection_of_nothing_is_refused_with_what_there_is() {
        let check = |text: &str, found: &str, allowed: &str| {
            let faults = covered(text, json!({})).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert!(faults[0].starts_with(&format!("events[0].type: found {found:?}; allowed: ")), "{faults:?}");
            assert!(faults[0].contains(allowed), "{faults:?}");
        };
        check("shop.*", "shop.*", "pandium.*");
        check("category:scalingo.cars", "category:scalingo.cars", "category:scalingo.addon");
        check("category:addon", "category:addon", "category:scalingo.addon");
        check("critical:shop", "critical:shop", "critical:*, critical:");
    }
}
