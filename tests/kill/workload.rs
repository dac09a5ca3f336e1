//! The workload: events, destinations, subscriptions and their changes, all from one seed.
//!
//! Each of [`Workload::subscriptions`] matches one event of its team in 32, by one of four kinds of filter, so that an
//! event makes one and a half notifications on average.

use serde_json::{Value, json};
use tidings_core::domain::{Chance, DestinationId, TeamId, notification::destination_hash};

/// A tenth of these answer 500 to the first two requests of every notification.
pub const DESTINATIONS: usize = 100;
const TEAMS: usize = 20;
const PER_TEAM: usize = DESTINATIONS / TEAMS;
const FAILING_ONE_IN: usize = 10;
/// An event takes one of so many values in each field that is filtered on.
const VALUES: u64 = 32;
const CUSTOMER: &str = "replicated.customer.created";
const OTHER: &str = "test.thing.happened";
const LICENSES: [&str; 4] = ["paid", "trial", "dev", "community"];
/// Of 1,000: chosen so that a license filter, too, matches one event in [`VALUES`].
const SEATS_ABOVE: u64 = 750;
/// Two failed attempts and four more for what a crash repeats; quick, so that a run ends.
const SCHEDULE_S: [u32; 6] = [1, 1, 2, 2, 4, 4];

pub struct Workload {
    pub seed: u64,
    pub subscriptions: usize,
}

/// A change of the directory, as a request to the API.
pub enum Change {
    Put(String, Value),
    Delete(String),
}

/// The subscriptions as they were last written, and what is to change next.
pub struct Changes {
    chance: Chance,
    written: Vec<Option<Value>>,
}

// === impl Workload ===

impl Workload {
    /// The same number always makes the same event.
    pub fn event(&self, number: u64) -> Value {
        let mut chance = Chance::new(self.seed ^ number.wrapping_mul(0x9E37_79B9));
        let customer = chance.one_in(2);
        let license = LICENSES[chance.below(LICENSES.len() as u64) as usize];
        json!({
            "team": team(chance.below(TEAMS as u64) as usize),
            "type": if customer { CUSTOMER } else { OTHER },
            "id": format!("e{number}"),
            "source": "kill-test",
            "data": {
                "app_id": "app-1", "app_name": "Gitea", "customer_id": "cus-42", "customer_name": "Northwind Bank",
                "license_type": license, "license_fields": {"seats": chance.below(1_000)},
                "bucket": chance.below(VALUES),
                "place": format!("r{:02}-{}", chance.below(VALUES), chance.below(10)),
            },
        })
    }

    pub fn changes(&self) -> Changes {
        let mut chance = Chance::new(self.seed ^ 0xC4A6);
        let written = (0..self.subscriptions).map(|n| Some(subscription(n, true, &mut chance))).collect();
        Changes { chance, written }
    }
}

// === impl Changes ===

impl Changes {
    /// The requests that make the subscriptions of the beginning.
    pub fn beginning(&self) -> impl Iterator<Item = Change> {
        self.written.iter().enumerate().filter_map(|(n, body)| Some(Change::Put(path(n), body.clone()?)))
    }

    /// One of: another filter, gone, back again, paused, resumed.
    pub fn next(&mut self) -> Change {
        let n = self.chance.below(self.written.len() as u64) as usize;
        let body = match &self.written[n] {
            None => subscription(n, true, &mut self.chance),
            Some(_) if self.chance.one_in(5) => {
                self.written[n] = None;
                return Change::Delete(path(n));
            }
            Some(body) if self.chance.one_in(4) => {
                let mut paused = body.clone();
                paused["enabled"] = (!paused["enabled"].as_bool().unwrap_or(true)).into();
                paused
            }
            Some(_) => subscription(n, true, &mut self.chance),
        };
        self.written[n] = Some(body.clone());
        Change::Put(path(n), body)
    }
}

fn path(n: usize) -> String {
    format!("/v1/teams/{}/subscriptions/s{n}", team(n % TEAMS))
}

fn subscription(n: usize, enabled: bool, chance: &mut Chance) -> Value {
    let value = chance.below(VALUES);
    let selector = match chance.below(5) {
        0 | 1 => json!({"type": "*", "filter": {"bucket": [value]}}),
        2 => json!({"type": "*", "filter": {"bucket": [{"numeric": [">=", value, "<", value + 1]}]}}),
        3 => json!({"type": "*", "filter": {"place": [{"prefix": format!("r{value:02}")}]}}),
        _ => {
            let license = LICENSES[chance.below(LICENSES.len() as u64) as usize];
            let seats = json!({"seats": [{"numeric": [">=", SEATS_ABOVE]}]});
            json!({"type": CUSTOMER, "filter": {"licenseType": [license], "licenseFields": seats}})
        }
    };
    let to = (n % TEAMS) * PER_TEAM + chance.below(PER_TEAM as u64) as usize;
    json!({"enabled": enabled, "events": [selector], "destinations": [destination(to)]})
}

// --- destinations ---

fn team(n: usize) -> String {
    format!("team-{n:02}")
}

pub fn destination(n: usize) -> String {
    format!("d{n}")
}

/// Its number, from its id.
pub fn number_of(id: &DestinationId) -> usize {
    id.as_str()[1..].parse().expect("an id of `destination`")
}

pub fn is_failing(destination: usize) -> bool {
    destination.is_multiple_of(FAILING_ONE_IN)
}

/// Where a destination is made, and with what.
pub fn destination_request(n: usize, url: &str, secret: &str) -> (String, Value) {
    let body = json!({
        "webhook": {"url": url, "secret": secret},
        "limits": {"in_flight": 32},
        "retry": {"schedule_s": SCHEDULE_S, "jitter": 0.1},
    });
    (format!("/v1/teams/{}/destinations/{}", team(n / PER_TEAM), destination(n)), body)
}

pub fn delivery_partition(destination_number: usize, partitions: u32) -> u32 {
    let team = TeamId::new(&team(destination_number / PER_TEAM)).expect("a name");
    let id = DestinationId::new(&destination(destination_number)).expect("a name");
    destination_hash(&team, &id) % partitions
}
