//! The workload: events, some of them poison or written twice, and a directory that changes all the time.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};
use tidings_core::domain::{Chance, Event, Record, TeamId, Timestamp};

use crate::{faults::Fault, sim_channel::TEMPERS, world::World};

/// The topics of a simulated deployment.
pub struct Topics {
    pub events: Arc<str>,
    pub directory: Arc<str>,
    pub deliveries: Arc<str>,
    pub deadletters: Arc<str>,
    pub index_versions: Arc<str>,
}

pub fn topics() -> &'static Topics {
    static TOPICS: std::sync::OnceLock<Topics> = std::sync::OnceLock::new();
    TOPICS.get_or_init(|| Topics {
        events: "tidings.events".into(),
        directory: "tidings.directory".into(),
        deliveries: "tidings.deliveries".into(),
        deadletters: "tidings.deadletters".into(),
        index_versions: "tidings.index_versions".into(),
    })
}

pub const EVENT_PARTITIONS: u32 = 4;
pub const DELIVERY_PARTITIONS: u32 = 6;
/// Short, so that a dead destination's notifications end within the run.
pub const SCHEDULE_S: [u32; 3] = [1, 2, 4];
pub const LIMIT_PER_SECOND: u32 = 5;
const TEAMS: [&str; 2] = ["acme", "globex"];
const SUBSCRIPTIONS: u64 = 8;
const TYPE: &str = "replicated.customer.created";

/// Writes what a run consists of, step by step.
pub struct Workload {
    chance: Chance,
    world: World,
    written: u64,
    revisions: BTreeMap<String, u64>,
}

// === impl Workload ===

impl Workload {
    pub fn new(seed: u64, world: World) -> Workload {
        Workload { chance: Chance::new(seed ^ 0x3011), world, written: 0, revisions: BTreeMap::new() }
    }

    /// Destinations of every temper, and the first subscriptions.
    pub fn begin(&mut self) {
        for team in TEAMS {
            for (name, _) in TEMPERS {
                self.put_destination(team, name, true);
            }
        }
        (0..SUBSCRIPTIONS).for_each(|n| self.put_subscription(n));
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// A few events, at once.
    pub fn events(&mut self, most: u64) {
        for _ in 0..=self.chance.below(most) {
            let partition = self.chance.below(u64::from(EVENT_PARTITIONS)) as u32;
            let poison = self.world.state().strikes(Fault::Poison);
            let value = if poison { self.poison() } else { self.event() };
            self.world.append(&topics().events, partition, None, Some(value.clone()));
            self.written += 1;
            if !poison && self.world.state().strikes(Fault::Duplicate) {
                let partition = self.chance.below(u64::from(EVENT_PARTITIONS)) as u32;
                self.world.append(&topics().events, partition, None, Some(value));
            }
        }
        self.world.wake();
    }

    /// One change of the directory.
    pub fn change(&mut self) {
        let team = TEAMS[self.chance.below(2) as usize];
        match self.chance.below(10) {
            0..=5 => {
                let n = self.chance.below(SUBSCRIPTIONS);
                self.put_subscription(n);
            }
            6 => {
                let n = self.chance.below(SUBSCRIPTIONS);
                let key = format!("sub/{}/s{n}", TEAMS[(n % 2) as usize]);
                self.write(key, None);
            }
            7 => {
                let name = TEMPERS[self.chance.below(TEMPERS.len() as u64) as usize].0;
                let enabled = self.chance.one_in(2);
                self.put_destination(team, name, enabled);
            }
            8 => {
                let name = TEMPERS[self.chance.below(TEMPERS.len() as u64) as usize].0;
                self.write(format!("dst/{team}/{name}"), None);
            }
            _ => TEMPERS.iter().for_each(|(name, _)| self.put_destination(team, name, true)),
        }
        self.world.wake();
    }

    fn put_subscription(&mut self, n: u64) {
        let team = TEAMS[(n % 2) as usize];
        let filter = match self.chance.below(4) {
            0 => json!({}),
            1 => json!({"licenseType": ["paid"]}),
            2 => json!({"licenseType": ["paid", "trial"]}),
            _ => json!({"licenseFields": {"seats": [{"numeric": [">", self.chance.below(500)]}]}}),
        };
        let selector = match self.chance.below(6) {
            0 => json!({"type": "*"}),
            _ => json!({"type": TYPE, "filter": filter}),
        };
        let first = TEMPERS[self.chance.below(TEMPERS.len() as u64) as usize].0;
        let second = TEMPERS[self.chance.below(TEMPERS.len() as u64) as usize].0;
        let destinations = if first == second { json!([first]) } else { json!([first, second]) };
        let enabled = !self.chance.one_in(10);
        let id = format!("s{n}");
        let value = json!({
            "team": team, "id": id, "enabled": enabled, "events": [selector], "destinations": destinations,
        });
        self.write(format!("sub/{team}/{id}"), Some(value));
    }

    fn put_destination(&mut self, team: &str, name: &str, enabled: bool) {
        let limits = if name == "limited" {
            json!({"per_second": LIMIT_PER_SECOND, "burst": 1, "in_flight": 8})
        } else {
            json!({"in_flight": 4})
        };
        let value = json!({
            "team": team, "id": name, "enabled": enabled,
            "webhook": {
                "url": format!("https://{name}.example/hook"), "secrets": [format!("v1.k1.{}", "A".repeat(96))],
                "timeout_ms": 2_000,
            },
            "limits": limits,
            "retry": {"schedule_s": SCHEDULE_S, "jitter": 0.2},
        });
        self.write(format!("dst/{team}/{name}"), Some(value));
    }

    fn write(&mut self, key: String, value: Option<Value>) {
        let revision = self.revisions.entry(key.clone()).or_default();
        *revision += 1;
        let value = value.map(|mut value| {
            value["revision"] = (*revision).into();
            Bytes::from(value.to_string())
        });
        self.world.append(&topics().directory, 0, Some(Bytes::from(key)), value);
    }

    fn event(&mut self) -> Bytes {
        let license = ["paid", "trial", "community", "dev"][self.chance.below(4) as usize];
        let event = json!({
            "team": TEAMS[self.chance.below(2) as usize],
            "type": TYPE,
            "id": format!("evt-{}", self.written),
            "source": "vendor-portal",
            "time": Timestamp(self.world.now().0 - self.chance.below(172_800_000) as i64),
            "data": {
                "app_id": "app", "app_name": "App", "customer_id": "c1", "customer_name": "Customer",
                "license_type": license, "license_fields": {"seats": self.chance.below(600)},
            },
        });
        Bytes::from(event.to_string())
    }

    fn poison(&mut self) -> Bytes {
        match self.chance.below(3) {
            0 => Bytes::from_static(b""),
            1 => Bytes::from(format!("{{\"n\":{},\"type\":", self.written)),
            _ => Bytes::from(format!("{{\"type\":\"{TYPE}\",\"id\":\"evt-{}\",\"data\":{{}}}}", self.written)),
        }
    }
}

/// Reads an event of the workload without the code under test; `None` is poison.
pub fn read(record: &Record) -> Option<Event> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    Some(Event {
        team: TeamId::new(value["team"].as_str()?).ok()?,
        id: value["id"].as_str()?.into(),
        source: value["source"].as_str()?.into(),
        event_type: value["type"].as_str()?.into(),
        time: Timestamp::parse(value["time"].as_str()?),
        subject: None,
        data: value["data"].clone(),
    })
}
