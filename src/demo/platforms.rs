//! Events as the four platforms would send them: made from the catalog's examples and a seed, without a clock.
//!
//! What happens is told in stories. A story is one customer, app, integration or API of one team, and what happens to
//! it in order: a customer is created, then its instance becomes ready, then its license changes. Many stories run at
//! a time, each event is the next one of some story, and a story that ends makes room for a new one.

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::{Catalog, EventType},
    domain::{Chance, Timestamp},
};

/// All platforms and everybody who uses them.
pub struct Platforms {
    catalog: Arc<Catalog>,
    chance: Chance,
    stories: Vec<Story>,
    events: u64,
}

/// What will happen to one thing of one team.
struct Story {
    team: &'static str,
    next: VecDeque<(&'static str, Value)>,
}

/// The tenants of this installation; `cast.yaml` has their subscriptions.
pub const TEAMS: [&str; 4] = ["acme", "globex", "initech", "hooli"];
/// Stories that run at a time: enough that an entity's events lie seconds apart.
const STORIES: usize = 48;

const CUSTOMERS: [&str; 8] =
    ["Northwind", "Contoso", "Fabrikam", "Tailspin", "Wingtip", "Adventure Works", "Litware", "Proseware"];
const BUSINESSES: [&str; 5] = ["Traders", "Bank", "Labs", "Logistics", "Health"];
const PRODUCTS: [(&str, &str); 3] =
    [("Gitea Enterprise", "gitea-enterprise"), ("Metabase", "metabase"), ("Harbor", "harbor")];
const VERSIONS: [&str; 4] = ["1.22.4", "1.22.5", "1.23.0", "1.23.1"];
const PEOPLE: [&str; 6] = ["johndoe", "ada", "grace", "linus", "margaret", "dennis"];
const APPS: [&str; 6] = ["shop-api", "shop-web", "billing", "search", "mailer", "intranet"];
const INTEGRATIONS: [&str; 4] =
    ["Shopify to NetSuite", "HubSpot to Slack", "Stripe to QuickBooks", "Zendesk to Salesforce"];
const PATHS: [&str; 5] = ["/orders/", "/orders/search", "/customers/", "/invoices/", "/reports/monthly"];

// === impl Platforms ===

impl Platforms {
    pub fn new(catalog: Arc<Catalog>, seed: u64) -> Platforms {
        Platforms { catalog, chance: Chance::new(seed), stories: Vec::new(), events: 0 }
    }

    /// The next event, in the plain envelope that `POST /v1/events` takes.
    pub fn next(&mut self, now: Timestamp) -> Value {
        while self.stories.len() < STORIES {
            let story = self.story(now);
            self.stories.push(story);
        }
        let index = self.chance.below(STORIES as u64) as usize;
        let story = &mut self.stories[index];
        let team = story.team;
        let (key, data) = story.next.pop_front().expect("stories that have ended are taken out");
        if story.next.is_empty() {
            self.stories.swap_remove(index);
        }
        self.events += 1;
        let event_type = self.event_type(key);
        let mut event = json!({
            "team": team,
            "type": key,
            "id": format!("demo-{:06}", self.events),
            "source": event_type.platform,
            "time": now,
        });
        if let Some(subject) = subject(event_type, &data) {
            event["subject"] = json!(subject);
        }
        event["data"] = data;
        event
    }

    fn story(&mut self, now: Timestamp) -> Story {
        let events = match self.chance.below(4) {
            0 => self.customer(now),
            1 => self.app(),
            2 => self.integration(now),
            _ => self.gateway(now),
        };
        Story { team: self.one_of(&TEAMS), next: events.into() }
    }

    /// Replicated: a vendor's customer, from the first license to the first trouble.
    fn customer(&mut self, now: Timestamp) -> Vec<(&'static str, Value)> {
        let (app_name, app_slug) = self.one_of(&PRODUCTS);
        let customer_name = format!("{} {}", self.one_of(&CUSTOMERS), self.one_of(&BUSINESSES));
        let channel = self.one_of(&["Stable", "Stable", "Beta"]);
        let license = self.one_of(&["paid", "paid", "trial", "trial", "community", "dev"]);
        let seats = self.one_of(&[5, 25, 50, 100, 250, 1_000]);
        let version = self.one_of(&VERSIONS);
        let environment = self.one_of(&["production", "production", "staging"]);
        let region = self.one_of(&["eu-west-1", "us-east-1", "ap-south-1"]);
        let tier = if seats >= 100 { "Enterprise" } else { "Team" };
        let instance = self.uuid();
        let about = json!({
            "app_id": format!("app-{app_slug}"),
            "app_name": app_name,
            "app_slug": app_slug,
            "customer_id": self.id("cus-"),
            "customer_name": customer_name,
            "channel_id": format!("ch-{}", channel.to_lowercase()),
            "channel_name": channel,
            "license_type": license,
            "created_at": now,
            "license_fields": {"seats": seats, "tier": tier, "sso_enabled": self.chance.one_in(2)},
        });
        let place = json!({
            "instance_id": instance,
            "instance_name": format!("{}-{environment}", customer_name.to_lowercase().replace(' ', "-")),
            "version_label": version,
            "instance_tags": {"environment": environment, "region": region},
        });
        let mut events = vec![
            self.event("replicated.customer.created", &[&about]),
            self.event("replicated.instance.ready", &[&about, &place]),
        ];
        if license == "trial" {
            let change = json!({"license_type": "paid", "change_types": ["license_type", "expiration"]});
            events.push(self.event("replicated.customer.updated", &[&about, &change]));
        } else if self.chance.one_in(3) {
            let change = json!({"change_types": [self.one_of(&["customer_name", "channel", "entitlement"])]});
            events.push(self.event("replicated.customer.updated", &[&about, &change]));
        }
        if self.chance.one_in(2) {
            let bundle = json!({
                "bundle_id": self.id("sb-"),
                "bundle_size_bytes": 1_000_000 + self.chance.below(80_000_000),
            });
            events.push(self.event("replicated.support.bundle.uploaded", &[&about, &place, &bundle]));
        }
        if self.chance.one_in(4) {
            let release = json!({"release_sequence": 300 + self.chance.below(60), "required": self.chance.one_in(10)});
            events.push(self.event("replicated.release.promoted", &[&about, &place, &release]));
        }
        events
    }

    /// Scalingo: an app between two deployments.
    fn app(&mut self) -> Vec<(&'static str, Value)> {
        let app_name = self.one_of(&APPS);
        let person = self.one_of(&PEOPLE);
        let about = json!({
            "app_id": format!("app-{app_name}"),
            "app_name": app_name,
            "project_name": if app_name.starts_with("shop-") { "storefront" } else { "back-office" },
            "user": {"id": format!("us-{person}"), "username": person, "email": format!("{person}@example.com")},
        });
        let mut events = Vec::new();
        for _ in 0..=self.chance.below(2) {
            let status = self.one_of(&["success", "success", "success", "build-error", "crashed-error"]);
            let deployment = json!({"type_data": {
                "deployment_uuid": self.uuid(),
                "pusher": person,
                "git_ref": format!("{:016x}{:016x}", self.chance.next_u64(), self.chance.next_u64()),
                "status": status,
                "duration": 20 + self.chance.below(400),
            }});
            events.push(self.event("scalingo.app_deployed", &[&about, &deployment]));
        }
        let (before, after) = (1 + self.chance.below(4), 1 + self.chance.below(8));
        let more: [(&'static str, Value); 4] = [
            (
                "scalingo.app_scaled",
                json!({"previous_containers": {"web": before, "worker": 1}, "containers": {"web": after, "worker": 1}}),
            ),
            ("scalingo.app_crashed", json!({"container_type": self.one_of(&["web", "web", "worker", "clock"])})),
            (
                "scalingo.variable_edited",
                json!({"name": self.one_of(&["STRIPE_API_KEY", "DATABASE_URL", "LOG_LEVEL"]), "value": self.id("v-")}),
            ),
            (
                "scalingo.addon_provisioned",
                json!({"addon_id": self.id("ad-"), "addon_name": self.one_of(&["PostgreSQL", "Redis", "OpenSearch"])}),
            ),
        ];
        for (key, details) in more {
            if self.chance.one_in(2) {
                events.push(self.event(key, &[&about, &json!({"type_data": details})]));
            }
        }
        events
    }

    /// Pandium: an integration, its tenants and their runs.
    fn integration(&mut self, now: Timestamp) -> Vec<(&'static str, Value)> {
        let integration = self.chance.below(INTEGRATIONS.len() as u64) as usize;
        let tenant_name = self.one_of(&CUSTOMERS);
        let about = json!({
            "environment": self.one_of(&["production", "production", "sandbox"]),
            "account_id": 4_800 + self.chance.below(20),
            "account_name": self.one_of(&CUSTOMERS),
            "timestamp": now,
            "integration_id": 70 + integration,
            "integration_name": INTEGRATIONS[integration],
            "tenant_id": 90_000 + self.chance.below(5_000),
            "tenant_name": tenant_name,
        });
        let mut events = Vec::new();
        if self.chance.one_in(2) {
            events.push(self.event("pandium.integration_created", &[&about]));
        }
        events.push(self.event("pandium.tenant_created", &[&about]));
        for _ in 0..self.chance.below(3) {
            let run = 1_180_000 + self.chance.below(90_000);
            let failure = json!({
                "run_id": run,
                "admin_link": format!("https://imp.pandium.example/runs/{run}"),
                "api_link": format!("https://api.pandium.example/v2/runs/{run}"),
            });
            events.push(self.event("pandium.run_failed", &[&about, &failure]));
        }
        events
    }

    /// Tyk: a developer asks for a key, and uses it too much.
    fn gateway(&mut self, now: Timestamp) -> Vec<(&'static str, Value)> {
        let person = self.one_of(&PEOPLE);
        let request = json!({
            "id": format!("{:016x}", self.chance.next_u64()),
            "by_user": format!("dev-{person}"),
            "approved": self.chance.one_in(3),
            "date_created": now,
            "portal_developer": {"id": format!("dev-{person}"), "email": format!("{person}@example.com")},
            "catalogue_entry": {"name": self.one_of(&["frontend APIs", "orders API", "reporting API"])},
        });
        let use_of_it = json!({
            "path": self.one_of(&PATHS),
            "origin": format!("203.0.113.{}", 1 + self.chance.below(250)),
            "key": format!("{:016x}", self.chance.next_u64()),
        });
        let mut events = vec![self.event("tyk.key_request_event.submitted", &[&request])];
        for _ in 0..=self.chance.below(3) {
            events.push(self.event("tyk.RatelimitExceeded", &[&use_of_it]));
        }
        if self.chance.one_in(2) {
            events.push(self.event("tyk.QuotaExceeded", &[&use_of_it]));
        }
        events
    }

    /// The type's example with these changes, of which only fields that the type has are taken.
    fn event(&self, key: &'static str, changes: &[&Value]) -> (&'static str, Value) {
        let mut data = self.event_type(key).example.clone();
        for change in changes {
            if let (Value::Object(data), Value::Object(change)) = (&mut data, change) {
                overlay(data, change);
            }
        }
        (key, data)
    }

    fn event_type(&self, key: &str) -> &EventType {
        self.catalog.get(key).unwrap_or_else(|| panic!("the built-in catalog has {key}"))
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.chance.below(list.len() as u64) as usize]
    }

    fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}{:08x}", self.chance.below(1 << 32))
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.chance.next_u64(), self.chance.next_u64());
        let (variant, node) = (0x8000 | (b >> 48 & 0x3fff), b & 0xffff_ffff_ffff);
        format!("{:08x}-{:04x}-4{:03x}-{variant:04x}-{node:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff)
    }
}

/// Puts the values of `change` in place of those in `data`; names that `data` has not are left out.
fn overlay(data: &mut Map<String, Value>, change: &Map<String, Value>) {
    for (name, value) in change {
        match (data.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(change)) => overlay(inner, change),
            (Some(place), value) => *place = value.clone(),
            (None, _) => {}
        }
    }
}

fn subject(event_type: &EventType, data: &Value) -> Option<String> {
    let path = event_type.subject_field.as_ref()?;
    match path.iter().try_fold(data, |value, name| value.get(name))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    fn events(seed: u64, count: usize) -> Vec<Value> {
        let mut platforms = Platforms::new(Catalog::builtin(), seed);
        (0..count).map(|i| platforms.next(Timestamp(1_795_000_000_000 + 20 * i as i64))).collect()
    }

    #[test]
    fn every_event_conforms_and_every_type_of_the_catalog_occurs() {
        let catalog = Catalog::builtin();
        let mut seen = BTreeSet::new();
        for event in events(1, 3_000) {
            let event_type = catalog.get(event["type"].as_str().unwrap()).unwrap();
            event_type.shape.check(&event["data"]).unwrap_or_else(|wrong| panic!("{wrong:?}: {event}"));
            assert!(event["subject"].is_string(), "{event}");
            seen.insert(event_type.key.clone());
        }
        assert_eq!(seen, catalog.types().map(|t| t.key.clone()).collect());
    }

    #[test]
    fn a_story_is_told_in_order() {
        let mut created = HashSet::new();
        let mut ready = 0;
        for event in events(2, 3_000) {
            let customer = event["data"]["customer_id"].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap() {
                "replicated.customer.created" => assert!(created.insert(customer), "created twice: {event}"),
                "replicated.instance.ready" => {
                    ready += 1;
                    assert!(created.contains(&customer), "ready before it was created: {event}");
                }
                _ => {}
            }
        }
        assert!(ready > 100);
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(events(7, 200), events(7, 200));
        assert_ne!(events(7, 200), events(8, 200));
    }
}
