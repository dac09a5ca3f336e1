//! Subscriptions and events out of one number: the same for every engine that is measured.
//!
//! The shapes are those of a platform that sells software to companies: teams of very different sizes (Zipf 0.7), event types of
//! different frequency (Zipf 0.5), 1.25 clauses a subscription, 0 to 5 conditions a clause, 27 fields an event.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<'v>(&mut self, values: &[&'v str]) -> &'v str {
        values[self.below(values.len() as u64) as usize]
    }
}

/// What the subscriptions look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A hundred subscriptions a team, on average.
    Tenant,
    /// The same without ranges and ends of text, which not every engine has.
    Equal,
    /// The same of equalities and ranges alone, for those that do not compare texts.
    Values,
    /// All in one team.
    Single,
    /// One partition of equalities, ranges and comparisons of text in part.
    Core,
    /// One partition of three `anything-but` each.
    Nots,
    /// One partition of three ranges each.
    Ranges,
    /// One partition of three wildcards each.
    Texts,
    /// One partition in which all ask for the same value, and for one more.
    Hot,
    /// What hypermatch publishes: one partition, conditions on seven fields each, of which one is rare.
    Hypermatch,
    /// The same without its wildcard.
    HypermatchPlain,
}

/// A subscription of one team. Each clause has a type and conditions by the path of their field.
pub struct Subscription {
    pub team: String,
    pub clauses: Vec<(String, Vec<(&'static str, Value)>)>,
}

pub struct Workload {
    pub subscriptions: Vec<Subscription>,
    /// JSON envelopes.
    pub events: Vec<String>,
}

pub const TYPES: usize = 20;
const CHANNELS: [&str; 6] = ["stable", "beta", "unstable", "lts", "edge", "nightly"];
const LICENSES: [&str; 4] = ["paid", "trial", "dev", "community"];
const TIERS: [&str; 4] = ["Enterprise", "Pro", "Starter", "Free"];
const REGIONS: [&str; 8] = [
    "us-east-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-south-1",
    "ap-northeast-1",
    "sa-east-1",
    "ca-central-1",
];
const STATES: [&str; 5] = ["ready", "updating", "degraded", "unavailable", "missing"];
const WORDS: [&str; 40] = [
    "acme",
    "globex",
    "initech",
    "umbrella",
    "stark",
    "wayne",
    "wonka",
    "hooli",
    "vehement",
    "massive",
    "soylent",
    "tyrell",
    "cyberdyne",
    "oscorp",
    "aperture",
    "blackmesa",
    "dunder",
    "prestige",
    "sterling",
    "bluth",
    "gringotts",
    "monsters",
    "duff",
    "kwik",
    "virtucon",
    "zorin",
    "spectre",
    "nakatomi",
    "weyland",
    "yutani",
    "buynlarge",
    "oceanic",
    "dharma",
    "ingen",
    "rekall",
    "omni",
    "veidt",
    "lexcorp",
    "daily",
    "planet",
];
const SEATS: [u64; 10] = [10, 25, 49, 50, 99, 100, 250, 500, 999, 1000];

/// The way of the index: `evt.type_07` of a catalog of our own.
pub fn event_type(number: usize) -> String {
    format!("evt.type_{number:02}")
}

fn zipf(count: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = (1..=count)
        .map(|k| {
            sum += (k as f64).powf(-exponent);
            sum
        })
        .collect();
    sums.iter_mut().for_each(|share| *share /= sum);
    sums
}

fn draw(sums: &[f64], chance: &mut Chance) -> usize {
    let share = chance.share();
    sums.partition_point(|sum| *sum < share).min(sums.len() - 1)
}

fn several(chance: &mut Chance, most: u64, mut make: impl FnMut(&mut Chance) -> String) -> Value {
    let count = 1 + chance.below(most);
    let mut values: Vec<String> = Vec::new();
    while (values.len() as u64) < count {
        let value = make(chance);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    json!(values)
}

fn customers(team: usize, teams: usize) -> u64 {
    if teams == 1 { 5000 } else { 50 + 2000 / (1 + team as u64) }
}

fn apps(team: usize) -> u64 {
    1 + (team as u64 * 7 + 3) % 5
}

fn customer_name(team: usize, customer: u64) -> String {
    let chance = &mut Chance(0xABCD ^ ((team as u64) << 32) ^ customer);
    format!("{}-{}-{customer}", chance.pick(&WORDS), chance.pick(&WORDS))
}

/// A condition, and the slot that it takes: no clause has two of one slot.
fn condition(chance: &mut Chance, team: usize, teams: usize) -> (usize, &'static str, Value) {
    const WEIGHTS: [u64; 15] = [20, 15, 15, 10, 10, 3, 5, 6, 5, 8, 5, 4, 4, 2, 4];
    let mut left = chance.below(WEIGHTS.iter().sum());
    let mut kind = 0;
    while left >= WEIGHTS[kind] {
        left -= WEIGHTS[kind];
        kind += 1;
    }
    let numeric = |operator: &str, bound: u64| json!([{"numeric": [operator, bound]}]);
    let (field, value) = match kind {
        0 => ("app", several(chance, 2.min(apps(team)), |c| format!("app-{team}-{}", c.below(apps(team))))),
        1 => ("channel", several(chance, 2, |c| c.pick(&CHANNELS).to_owned())),
        2 => ("customer.id", several(chance, 5, |c| format!("cus-{team}-{:05}", c.below(customers(team, teams))))),
        3 => ("license.type", several(chance, 2, |c| c.pick(&LICENSES).to_owned())),
        4 => ("license.fields.tier", several(chance, 1, |c| c.pick(&TIERS).to_owned())),
        5 => ("license.fields.airgap", json!([chance.below(2) == 1])),
        6 => ("license.fields.region", several(chance, 3, |c| c.pick(&REGIONS).to_owned())),
        7 => ("instance.tags", several(chance, 2, |c| format!("tag{}", c.below(30)))),
        8 => ("instance.status", several(chance, 2, |c| c.pick(&STATES).to_owned())),
        9 => {
            let operator = chance.pick(&[">", ">=", "<"]);
            ("license.fields.seats", numeric(operator, SEATS[chance.below(10) as usize]))
        }
        10 => {
            let operator = chance.pick(&[">=", "<"]);
            ("version.ord", numeric(operator, (1 + chance.below(3)) * 10_000_000_000 + chance.below(30) * 100_000))
        }
        11 => ("license.expires", numeric("<", 1_760_000_000 + chance.below(365) * 86_400)),
        12 => {
            let word = chance.pick(&WORDS);
            let test = match chance.below(3) {
                0 => json!([{"prefix": word[..3]}]),
                1 => json!([{"wildcard": format!("*-{word}-*")}]),
                _ => json!([{"prefix": format!("{word}-")}]),
            };
            ("customer.name", test)
        }
        13 => ("customer.id", json!([{"suffix": format!("{:02}", chance.below(100))}])),
        _ => ("app", json!([{"anything-but": [format!("app-{team}-0")]}])),
    };
    let slot = match kind {
        13 => 2,
        14 => 0,
        other => other,
    };
    (slot, field, value)
}

fn conditions(chance: &mut Chance, team: usize, teams: usize) -> Vec<(&'static str, Value)> {
    let share = chance.share();
    let count = [0.10, 0.35, 0.65, 0.85, 0.95].iter().filter(|bound| share >= **bound).count();
    let (mut slots, mut conditions) = (Vec::new(), Vec::new());
    while conditions.len() < count {
        let (slot, field, value) = condition(chance, team, teams);
        if !slots.contains(&slot) {
            slots.push(slot);
            conditions.push((field, value));
        }
    }
    conditions
}

// === impl Profile ===

impl Profile {
    /// Many teams, or at least many types: shapes of the platform, not of one operator.
    fn is_wide(self) -> bool {
        self.is_of_teams() || self == Profile::Single
    }

    fn is_of_teams(self) -> bool {
        matches!(self, Profile::Tenant | Profile::Equal | Profile::Values)
    }

    pub fn is_hypermatch(self) -> bool {
        matches!(self, Profile::Hypermatch | Profile::HypermatchPlain)
    }

    fn has(self, condition: &Value) -> bool {
        let without: &[&str] = match self {
            Profile::Equal => &["numeric", "suffix"],
            Profile::Values => &["suffix", "prefix", "wildcard", "anything-but"],
            _ => &[],
        };
        without.iter().all(|operator| condition[0].get(operator).is_none())
    }
}

fn special(profile: Profile, chance: &mut Chance, number: u64) -> Vec<(&'static str, Value)> {
    let word = |chance: &mut Chance| chance.pick(&WORDS).to_owned();
    match profile {
        Profile::Nots => vec![
            ("app", json!([{"anything-but": several(chance, 2, |c| format!("app-0-{}", c.below(4)))}])),
            ("channel", json!([{"anything-but": several(chance, 3, |c| c.pick(&CHANNELS).to_owned())}])),
            ("license.fields.region", json!([{"anything-but": several(chance, 5, |c| c.pick(&REGIONS).to_owned())}])),
        ],
        Profile::Ranges => {
            let low = chance.below(900);
            let expires = 1_760_000_000 + chance.below(365 * 86_400);
            let nodes = chance.below(40);
            vec![
                ("license.fields.seats", json!([{"numeric": [">=", low, "<", low + 1 + chance.below(400)]}])),
                ("license.expires", json!([{"numeric": ["<", expires]}])),
                ("instance.nodes", json!([{"numeric": [">=", nodes]}])),
            ]
        }
        Profile::Texts => {
            let (first, second, third) = (word(chance), word(chance), chance.below(1000));
            vec![
                ("customer.name", json!([{"wildcard": format!("{first}-*{}-*", &second[second.len() - 2..])}])),
                (
                    "customer.id",
                    json!([{"wildcard": format!("cus-*{third:03}")}, {"wildcard": format!("cus-0-{:02}*", chance.below(50))}]),
                ),
                ("actor.email", json!([{"wildcard": format!("dev{}*@team-*.io", chance.below(30))}])),
            ]
        }
        Profile::Hot => vec![
            ("license.type", json!(["paid"])),
            ("customer.id", several(chance, 5, |c| format!("cus-0-{:05}", c.below(60)))),
        ],
        Profile::Hypermatch | Profile::HypermatchPlain => {
            let mut conditions = vec![
                ("env", json!(["prod"])),
                ("number", json!([(number % 10_000).to_string()])),
                ("tags", json!([{"all": ["tag1", "tag2"]}])),
                ("region", json!([{"anything-but": ["moon"]}])),
                ("type", json!(["app", "database"])),
            ];
            if profile == Profile::Hypermatch {
                conditions.push(("name", json!([{"wildcard": "*-myapp-*"}])));
            }
            conditions
        }
        _ => conditions(chance, 0, 1),
    }
}

impl Workload {
    pub fn new(profile: Profile, subscriptions: usize, events: usize, seed: u64) -> Workload {
        let chance = &mut Chance(seed);
        let teams = if profile.is_of_teams() { (subscriptions / 100).max(10) } else { 1 };
        let (of_team, of_type) = (zipf(teams, 0.7), zipf(TYPES, 0.5));
        let wide = profile.is_wide();
        let subscription = |number: usize, chance: &mut Chance| {
            let team = draw(&of_team, chance);
            let name = format!("team-{team:05}");
            if !wide {
                return Subscription {
                    team: name,
                    clauses: vec![(event_type(0), special(profile, chance, number as u64))],
                };
            }
            let share = chance.share();
            let count = [0.0, 0.8, 0.95].iter().filter(|bound| share >= **bound).count();
            let mut types: Vec<usize> = Vec::new();
            while types.len() < count {
                let of_type = draw(&of_type, chance);
                if !types.contains(&of_type) {
                    types.push(of_type);
                }
            }
            let conditions = |chance: &mut Chance| {
                let mut conditions = conditions(chance, team, teams);
                conditions.retain(|(_, value)| profile.has(value));
                conditions
            };
            let clauses = types.into_iter().map(|t| (event_type(t), conditions(chance))).collect();
            Subscription { team: name, clauses }
        };
        let subscriptions = (0..subscriptions).map(|number| subscription(number, chance)).collect();
        let events = (0..events)
            .map(|number| {
                let team = draw(&of_team, chance);
                let of_type = if wide { draw(&of_type, chance) } else { 0 };
                if profile.is_hypermatch() { hypermatch(number) } else { event(chance, number, team, teams, of_type) }
            })
            .collect();
        Workload { subscriptions, events }
    }
}

fn hypermatch(number: usize) -> String {
    format!(
        r#"{{"team":"team-00000","type":"evt.type_00","data":{{"name":"app-myapp-{number}","env":"prod","number":"{}","tags":["tag1","tag2"],"region":"earth","type":"app"}}}}"#,
        number % 10_000
    )
}

fn event(chance: &mut Chance, number: usize, team: usize, teams: usize, of_type: usize) -> String {
    let customer = chance.below(customers(team, teams));
    let mut tags = String::new();
    for place in 0..chance.below(5) {
        let comma = if place > 0 { "," } else { "" };
        // Writing to a string does not fail.
        write!(tags, "{comma}\"tag{}\"", chance.below(60)).ok();
    }
    let (major, minor, patch) = (1 + chance.below(3), chance.below(30), chance.below(20));
    let order = major * 10_000_000_000 + minor * 100_000 + patch;
    let (day, hour, minute) = (1 + chance.below(28), chance.below(24), chance.below(60));
    let (app, channel) = (chance.below(apps(team)), chance.pick(&CHANNELS));
    let name = customer_name(team, customer);
    let license = chance.next() as u32;
    let (kind, expires) = (chance.pick(&LICENSES), 1_760_000_000 + chance.below(365 * 86_400));
    let seats = [1, 5, 10, 20, 50, 75, 100, 150, 300, 1000, 5000][chance.below(11) as usize];
    let (tier, airgap, region) = (chance.pick(&TIERS), chance.below(2) == 1, chance.pick(&REGIONS));
    let (instance, status) = (chance.next(), chance.pick(&STATES));
    let (k8s, build, nodes) = (25 + chance.below(8), chance.below(15), 1 + chance.below(50));
    let (sequence, developer) = (chance.below(5000), chance.below(30));
    format!(
        concat!(
            r#"{{"id":"evt-{:012}","specversion":"1.0","source":"bench","time":"2026-03-{:02}T{:02}:{:02}:00Z","team":"team-{:05}","type":"{}","data":{{"#,
            r#""app":"app-{}-{}","channel":"{}","customer":{{"id":"cus-{}-{:05}","name":"{}","email":"ops+{}@example.com"}},"#,
            r#""license":{{"id":"lic-{:08x}","type":"{}","expires":{},"fields":{{"seats":{},"tier":"{}","airgap":{},"region":"{}","support":"gold"}}}},"#,
            r#""instance":{{"id":"ins-{:016x}","status":"{}","tags":[{}],"k8s":"1.{}.{}","distribution":"eks","cloud":"aws","nodes":{}}},"#,
            r#""version":{{"label":"{}.{}.{}","ord":{},"sequence":{}}},"actor":{{"type":"user","email":"dev{}@team-{:05}.io"}},"#,
            r#""message":"Instance reported a state change for customer number {} on release sequence {}"}}}}"#
        ),
        number,
        day,
        hour,
        minute,
        team,
        event_type(of_type),
        team,
        app,
        channel,
        team,
        customer,
        name,
        customer,
        license,
        kind,
        expires,
        seats,
        tier,
        airgap,
        region,
        instance,
        status,
        tags,
        k8s,
        build,
        nodes,
        major,
        minor,
        patch,
        order,
        sequence,
        developer,
        team,
        customer,
        sequence
    )
}

/// The conditions as a tree by the names of their fields, as other engines want them.
pub fn tree(conditions: &[(&str, Value)]) -> Map<String, Value> {
    let mut root = Map::new();
    for (path, value) in conditions {
        let mut object = &mut root;
        let mut names: Vec<&str> = path.split('.').collect();
        let last = names.pop().unwrap_or_default();
        for name in names {
            let inner = object.entry(name).or_insert_with(|| json!({}));
            let Value::Object(inner) = inner else { unreachable!("no field is both") };
            object = inner;
        }
        object.insert(last.to_owned(), value.clone());
    }
    root
}
