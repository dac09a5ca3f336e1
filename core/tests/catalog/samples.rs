//! The sample configurations and payloads of the four platforms' own documents, by name.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidings_core::{catalog::Catalog, filter::NEEDS_CONDITIONS};

use super::{matches, rule};

/// The example of a type with other values in it.
fn data(key: &str, changes: Value) -> Value {
    let mut data = Catalog::builtin().get(key).unwrap().example.clone();
    data.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    data
}

/// Whether a selector with a filter finds an event.
fn check(selector: &str, filter: &Value, event_type: &str, data: &Value, expected: bool) {
    let rule = rule(selector, filter, &Catalog::builtin()).unwrap_or_else(|faults| panic!("{selector}: {}", faults[0]));
    assert_eq!(matches(&rule, event_type, data), expected, "{selector} {filter}: {event_type} {data}");
}

/// The keys that a selector finds, filter aside.
fn found(selector: &str) -> BTreeSet<String> {
    let catalog = Catalog::builtin();
    let rule = rule(selector, &json!({}), &catalog).unwrap_or_else(|faults| panic!("{selector}: {}", faults[0]));
    catalog.types().filter(|t| matches(&rule, &t.key, &t.example)).map(|t| t.key.to_string()).collect()
}

/// "the value of the seats custom license field must be greater than 99 and the value of the tier custom license field
/// must be Enterprise"
#[test]
fn replicateds_seats_over_99_and_tier_enterprise() {
    let filter = json!({"licenseFields": {"seats": [{"numeric": [">", 99]}], "tier": ["Enterprise"]}});
    // "supports filtering by custom license fields for the following event types"
    let types = Catalog::builtin();
    let types = types.types().filter(|t| t.filter("licenseFields").is_some());
    let mut tried = 0;
    for event_type in types.filter(|t| !t.filters.iter().any(|spec| spec.required)) {
        let key = &event_type.key;
        let fields = |seats: Value, tier: &str| data(key, json!({"license_fields": {"seats": seats, "tier": tier}}));
        check(key, &filter, key, &fields(json!(100), "Enterprise"), true);
        check(key, &filter, key, &fields(json!(99), "Enterprise"), false);
        check(key, &filter, key, &fields(json!(100), "Team"), false);
        check(key, &filter, key, &fields(json!("100"), "Enterprise"), false);
        check(key, &filter, key, &data(key, json!({"license_fields": {"seats": 100}})), false);
        tried += 1;
    }
    assert!(tried >= 13, "{tried}");
}

/// "if you select both Paid and Community for the License type filter, then the filter is satisfied if the license type is
/// either Paid or Community"
#[test]
fn replicateds_paid_or_community() {
    let filter = json!({"licenseType": ["paid", "community"]});
    let key = "replicated.support.bundle.uploaded";
    for (license_type, expected) in [("paid", true), ("community", true), ("trial", false), ("dev", false)] {
        check(key, &filter, key, &data(key, json!({"license_type": license_type})), expected);
    }
}

/// Every operator that Replicated lists for custom licence fields and instance tags, as `schemas/README.md` says it.
#[test]
fn replicateds_operators_for_licence_fields_and_tags() {
    let key = "replicated.instance.ready";
    let tried = |filter: &str, field: &str, pattern: Value, held: &[Value], not: &[Value]| {
        let filter = json!({filter: {"f": [pattern]}});
        for (values, expected) in [(held, true), (not, false)] {
            values
                .iter()
                .for_each(|value| check(key, &filter, key, &data(key, json!({field: {"f": value}})), expected));
        }
        // "A condition on a key that is absent is false."
        check(key, &filter, key, &data(key, json!({field: {"g": "x"}})), false);
    };
    let licence = |pattern: Value, held: Value, not: Value| {
        tried("licenseFields", "license_fields", pattern, held.as_array().unwrap(), not.as_array().unwrap());
    };
    licence(json!(99), json!([99]), json!([98, "99"]));
    licence(json!({"anything-but": 99}), json!([98]), json!([99]));
    licence(json!({"numeric": [">", 99]}), json!([100]), json!([99]));
    licence(json!({"numeric": ["<", 99]}), json!([98]), json!([99]));
    licence(json!({"numeric": [">=", 99]}), json!([99]), json!([98]));
    licence(json!({"numeric": ["<=", 99]}), json!([99]), json!([100]));
    licence(json!("gold"), json!(["gold"]), json!(["Gold", "golden"]));
    licence(json!({"anything-but": "gold"}), json!(["Gold"]), json!(["gold"]));
    licence(json!({"contains": "old"}), json!(["gold", "older"]), json!(["Gol"]));
    licence(json!({"anything-but": {"contains": "old"}}), json!(["silver"]), json!(["gold"]));
    licence(json!(true), json!([true]), json!([false]));
    licence(json!(false), json!([false]), json!([true]));
    let tag = |pattern: Value, held: Value, not: Value| {
        tried("instanceTags", "instance_tags", pattern, held.as_array().unwrap(), not.as_array().unwrap());
    };
    tag(json!("eu-West"), json!(["eu-West"]), json!(["eu-west"]));
    tag(json!({"contains": {"equals-ignore-case": "WEST"}}), json!(["eu-West", "west"]), json!(["east"]));
}

/// "if you create a notification with both the Release Created and Release Promoted events and no additional filters"
#[test]
fn replicateds_release_created_or_promoted() {
    let promoted = found("replicated.release.promoted");
    assert_eq!(promoted, BTreeSet::from(["replicated.release.promoted".to_owned()]));
    assert!(found("category:replicated.release").is_superset(&promoted));
}

/// "Support Engineers could get a Slack notification when a customer instance has been in an unhealthy state for an
/// extended period"
#[test]
fn replicateds_unhealthy_for_a_while_waits_for_conditions() {
    let filter = json!({"state": ["degraded", "unavailable"], "durationMinutes": ["30"]});
    let faults = rule("replicated.instance.state.duration", &filter, &Catalog::builtin()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "events[0].filter.durationMinutes");
    assert!(faults[0].found.contains(NEEDS_CONDITIONS));
}

/// "A notifier can react to all events, to deployment events only, or to a custom selection of event types."
#[test]
fn scalingos_selections() {
    let catalog = Catalog::builtin();
    let all: BTreeSet<String> =
        catalog.types().filter(|t| t.platform == "scalingo").map(|t| t.key.to_string()).collect();
    assert_eq!(found("scalingo.*"), all);
    assert_eq!(found("scalingo.app_deployed"), BTreeSet::from(["scalingo.app_deployed".to_owned()]));
    // What is selected by the name that arrives is the same.
    assert_eq!(found("scalingo.deployment"), found("scalingo.app_deployed"));
    let addons = found("category:scalingo.addon");
    assert!(addons.len() == 7 && addons.iter().all(|key| key.starts_with("scalingo.addon_")), "{addons:?}");
    // "A notifier is defined for one application"
    let of_app = json!({"appName": ["shop-api"]});
    for key in found("scalingo.*").iter().filter(|key| !key.starts_with("scalingo.project_")) {
        check("scalingo.*", &of_app, key, &data(key, json!({})), true);
        check("scalingo.*", &of_app, key, &data(key, json!({"app_name": "shop-web"})), false);
    }
}

/// "This notifier is configured to send critical alerts by email to the application owner."
#[test]
fn scalingos_default_notifier() {
    let critical = found("critical:scalingo");
    for key in ["app_crashed", "app_alert_triggered", "database_backup_failed", "app_stopped"] {
        assert!(critical.contains(&format!("scalingo.{key}")), "{key}");
    }
    for key in ["app_deployed", "variable_edited", "notifier_added"] {
        assert!(!critical.contains(&format!("scalingo.{key}")), "{key}");
    }
}

/// The body that Scalingo sends is the event itself, under the name on the wire.
#[test]
fn scalingos_payload_arrives_as_deployment() {
    let catalog = Catalog::builtin();
    assert_eq!(catalog.resolve("deployment").unwrap().key.as_ref(), "scalingo.app_deployed");
    assert_eq!(catalog.resolve("crash").unwrap().key.as_ref(), "scalingo.app_crashed");
    assert_eq!(catalog.resolve("repeated_crash").unwrap().key.as_ref(), "scalingo.app_crashed_repeated");
    assert_eq!(catalog.resolve("link_scm").unwrap().key.as_ref(), "scalingo.github_link");
}

/// The sample webhook payload for a key request event, word by word.
#[test]
fn tyks_key_request_event() {
    let payload: Value = serde_json::from_str(include_str!("samples/tyk_key_request_event.json")).unwrap();
    let name = payload["event"].as_str().unwrap();
    let catalog = Catalog::builtin();
    let event_type = catalog.resolve(name).unwrap();
    assert_eq!(event_type.key.as_ref(), "tyk.key_request_event.submitted");
    event_type.shape.check(&payload["data"]).unwrap();
    let key = &event_type.key;
    check(key, &json!({}), key, &payload["data"], true);
    check(key, &json!({"policy": ["5e2744897c1f8800018bdf3b"]}), key, &payload["data"], true);
    check(key, &json!({"catalogueEntry": ["frontend APIs"], "approved": [false]}), key, &payload["data"], true);
    check(key, &json!({"approved": [true]}), key, &payload["data"], false);
    check("tyk.key_request_event.*", &json!({"plan": ["5e2744897c1f8800018bdf3b"]}), key, &payload["data"], true);
}

/// `event_options: { api_event, key_event, key_request_event }`: each is a selection here.
#[test]
fn tyks_event_options() {
    let check = |selector: &str, expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|part| format!("tyk.{part}")).collect();
        assert_eq!(found(selector), expected, "{selector}");
    };
    check("tyk.api_event.*", &["api_event.created", "api_event.updated", "api_event.deleted"]);
    check("tyk.key_event.*", &["key_event.created", "key_event.updated", "key_event.deleted"]);
    check("tyk.key_request_event.*", &["key_request_event.submitted", "key_request_event.updated"]);
}

/// "Every webhook payload includes" these, with these kinds.
#[test]
fn pandiums_common_fields() {
    let catalog = Catalog::builtin();
    for event_type in catalog.types().filter(|t| t.platform == "pandium") {
        for (name, kind) in [
            ("event_type", "string"),
            ("environment", "string"),
            ("account_id", "long"),
            ("account_name", "string"),
            ("timestamp", "string"),
        ] {
            let field = event_type.fields.iter().find(|field| field.path == [name]).unwrap();
            assert_eq!((field.kind, field.optional, field.assumed), (kind, false, false), "{} {name}", event_type.key);
        }
        assert_eq!(event_type.environment_field.as_deref(), Some(&["environment".to_owned()][..]));
        let key = &event_type.key;
        check("pandium.*", &json!({"environment": ["production"]}), key, &event_type.example, true);
        check("pandium.*", &json!({"environment": ["sandbox"]}), key, &event_type.example, false);
    }
    // The page names the type in two ways.
    assert_eq!(catalog.resolve("new_integration_created").unwrap().key.as_ref(), "pandium.integration_created");
}
