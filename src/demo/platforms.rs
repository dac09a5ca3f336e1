//! Events as the four platforms would send them: made from the catalog's examples and a seed, without a clock.
//!
//! What happens is told in stories. A story is one customer, app, integration or API of one team, and what happens to
//! it in order: a customer is created, then its instance becomes ready, then its license changes. Many stories run at
//! a time, each event is the next one of some story, and a story that ends makes room for a new one.
//!
//! Four stories are told in detail, for the demo's subscriptions; [`LIVES`] has those that show everything else, and an
//! event type that a user added is a story of its own.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::{Catalog, EventType},
    domain::{Chance, Timestamp},
};

use super::lives::LIVES;

/// All platforms and everybody who uses them.
pub struct Platforms {
    catalog: Arc<Catalog>,
    /// Types that stand in none of the [`LIVES`].
    others: Vec<String>,
    chance: Chance,
    stories: Vec<Story>,
    events: u64,
}

/// What will happen to one thing of one team.
struct Story {
    team: &'static str,
    next: VecDeque<(String, Value)>,
}

/// The tenants of this installation; `cast.yaml` has their subscriptions.
pub const TEAMS: [&str; 4] = ["acme", "globex", "initech", "hooli"];
/// Stories that run at a time: enough that an entity's events lie seconds apart.
const STORIES: usize = 48;
/// Events during which no new story is of [`LIVES`]: the demo's subscriptions are to have something to show at once.
const OPENING: u64 = 150;

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
        let told: BTreeSet<String> =
            LIVES.iter().flat_map(|(platform, types)| types.iter().map(move |t| format!("{platform}.{t}"))).collect();
        let others = catalog.types().map(|t| t.key.to_string()).filter(|key| !told.contains(key)).collect();
        Platforms { catalog, others, chance: Chance::new(seed), stories: Vec::new(), events: 0 }
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
        let event_type = self.event_type(&key);
        let mut event = json!({
            "team": team,
            "type": key,
            "id": format!("demo-{:06}", self.events),
            "source": event_type.platform,
            "time": now,
        });
        if let Some(subject) = event_type.subject_of(&data) {
            event["subject"] = json!(subject);
        }
        event["data"] = data;
        event
    }

    fn story(&mut self, now: Timestamp) -> Story {
        let kinds = if self.events < OPENING { 4 } else { 6 };
        let events = match self.chance.below(kinds) {
            0 => self.customer(now),
            1 => self.app(),
            2 => self.integration(now),
            3 => self.gateway(now),
            _ => self.life(now),
        };
        Story { team: self.one_of(&TEAMS), next: events.into() }
    }

    /// Replicated: a vendor's customer, from the first license to the first trouble.
    fn customer(&mut self, now: Timestamp) -> Vec<(String, Value)> {
        let about = self.about_customer(now);
        let mut events = vec![
            self.event("replicated.customer.created", &[&about]),
            self.event("replicated.instance.ready", &[&about]),
        ];
        if about["license_type"] == "trial" {
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
            events.push(self.event("replicated.support.bundle.uploaded", &[&about, &bundle]));
        }
        if self.chance.one_in(4) {
            let release = json!({"release_sequence": 300 + self.chance.below(60), "required": self.chance.one_in(10)});
            events.push(self.event("replicated.release.promoted", &[&about, &release]));
        }
        events
    }

    /// Scalingo: an app between two deployments.
    fn app(&mut self) -> Vec<(String, Value)> {
        let about = self.about_app();
        let person = about["user"]["username"].clone();
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
        let more: [(&str, Value); 4] = [
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
    fn integration(&mut self, now: Timestamp) -> Vec<(String, Value)> {
        let about = self.about_tenant(now);
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
    fn gateway(&mut self, now: Timestamp) -> Vec<(String, Value)> {
        let about = self.about_api(now);
        let mut events = vec![self.event("tyk.key_request_event.submitted", &[&about])];
        for _ in 0..=self.chance.below(3) {
            events.push(self.event("tyk.RatelimitExceeded", &[&about]));
        }
        if self.chance.one_in(2) {
            events.push(self.event("tyk.QuotaExceeded", &[&about]));
        }
        events
    }

    /// One thing's life on one platform, with values that the types themselves allow; or a type that a user added.
    fn life(&mut self, now: Timestamp) -> Vec<(String, Value)> {
        let index = self.chance.below((LIVES.len() + self.others.len()) as u64) as usize;
        let Some((platform, types)) = LIVES.get(index) else {
            let key = self.others[index - LIVES.len()].clone();
            let varied = self.varied(&key);
            return vec![self.event(&key, &[&varied])];
        };
        let about = match *platform {
            "replicated" => self.about_customer(now),
            "scalingo" => self.about_app(),
            "pandium" => self.about_tenant(now),
            _ => self.about_api(now),
        };
        let mut events = Vec::with_capacity(types.len());
        for stem in *types {
            let key = format!("{platform}.{stem}");
            let varied = self.varied(&key);
            events.push(self.event(&key, &[&varied, &about]));
        }
        events
    }

    /// The example's own fields at the top and in the details, with other values: one of those listed, a number of the
    /// same size, either truth.
    fn varied(&mut self, key: &str) -> Value {
        let catalog = self.catalog.clone();
        let event_type = catalog.get(key).unwrap_or_else(|| panic!("the catalog has {key}"));
        let mut data = event_type.example.clone();
        for field in &event_type.fields {
            let pointer = format!("/{}", field.path.join("/"));
            let Some(value) = data.pointer_mut(&pointer) else { continue };
            let other = match (&*value, field.kind) {
                (Value::String(_), _) if !field.values.is_empty() => {
                    json!(field.values[self.chance.below(field.values.len() as u64) as usize].0)
                }
                (Value::Bool(_), _) => json!(self.chance.one_in(2)),
                (Value::Number(number), "int" | "long") => {
                    let number = number.as_i64().unwrap_or_default();
                    json!(number / 2 + self.chance.below(number.unsigned_abs() + 1) as i64)
                }
                (Value::Number(number), "double" | "float") => {
                    let number = number.as_f64().unwrap_or_default();
                    json!(number * (50 + self.chance.below(101)) as f64 / 100.0)
                }
                _ => continue,
            };
            *value = other;
        }
        data
    }

    /// One customer of a vendor, and where its instance runs.
    fn about_customer(&mut self, now: Timestamp) -> Value {
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
        json!({
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
            "instance_id": instance,
            "instance_name": format!("{}-{environment}", customer_name.to_lowercase().replace(' ', "-")),
            "version_label": version,
            "instance_tags": {"environment": environment, "region": region},
        })
    }

    /// One app and who works on it.
    fn about_app(&mut self) -> Value {
        let app_name = self.one_of(&APPS);
        let person = self.one_of(&PEOPLE);
        json!({
            "app_id": format!("app-{app_name}"),
            "app_name": app_name,
            "project_name": if app_name.starts_with("shop-") { "storefront" } else { "back-office" },
            "user": {"id": format!("us-{person}"), "username": person, "email": format!("{person}@example.com")},
        })
    }

    /// One tenant of an integration.
    fn about_tenant(&mut self, now: Timestamp) -> Value {
        let integration = self.chance.below(INTEGRATIONS.len() as u64) as usize;
        let tenant_name = self.one_of(&CUSTOMERS);
        json!({
            "environment": self.one_of(&["production", "production", "sandbox"]),
            "account_id": 4_800 + self.chance.below(20),
            "account_name": self.one_of(&CUSTOMERS),
            "timestamp": now,
            "integration_id": 70 + integration,
            "integration_name": INTEGRATIONS[integration],
            "tenant_id": 90_000 + self.chance.below(5_000),
            "tenant_name": tenant_name,
        })
    }

    /// One API, its key and who calls it.
    fn about_api(&mut self, now: Timestamp) -> Value {
        let person = self.one_of(&PEOPLE);
        json!({
            "id": format!("{:016x}", self.chance.next_u64()),
            "by_user": format!("dev-{person}"),
            "approved": self.chance.one_in(3),
            "date_created": now,
            "portal_developer": {"id": format!("dev-{person}"), "email": format!("{person}@example.com")},
            "catalogue_entry": {"name": self.one_of(&["frontend APIs", "orders API", "reporting API"])},
            "path": self.one_of(&PATHS),
            "origin": format!("203.0.113.{}", 1 + self.chance.below(250)),
            "key": format!("{:016x}", self.chance.next_u64()),
        })
    }

    /// The type's example with these changes, of which only fields that the type has are taken.
    fn event(&self, key: &str, changes: &[&Value]) -> (String, Value) {
        let mut data = self.event_type(key).example.clone();
        for change in changes {
            if let (Value::Object(data), Value::Object(change)) = (&mut data, change) {
                overlay(data, change);
            }
        }
        (key.to_owned(), data)
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
