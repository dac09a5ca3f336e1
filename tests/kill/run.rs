//! One run: set up, blows beside paced traffic, blows at saturation, drained, checked, reported.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tidings::log::local::{Local, LocalOptions};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    aborted,
    chaos::{Chaos, SATURATES_WITHIN},
    checkers::{self, Topics},
    disk::Disk,
    installation::{Installation, Role},
    kafka,
    plan::{Blow, Plan},
    postgres,
    receiver::Receiver,
    registry,
    report::Ledger,
    stored::Stored,
    traffic::{Inlet, SATURATED, Traffic},
    workload::Workload,
};

/// Of the topics for events and deliveries.
const PARTITIONS: u32 = 8;
/// The roles of the distributed mode's processes.
pub const DISTRIBUTED: [Role; 3] = [Role::Match, Role::Send, Role::Api];
/// A key ring of these runs.
const KEYS: &str = "test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// Requests in flight in one process: what a crash can repeat, together with one batch of rows. The default.
const MAX_IN_FLIGHT: usize = 1_024;
/// Answered and not yet stored: the rows of one write.
const MAX_UNSETTLED: usize = tidings_core::sender::MAX_WRITE;
/// Of each of two roles: overtaken, and replaced under its own name.
const ZOMBIES: usize = 4;
/// With every server up, for the next event to be acknowledged. An append gives up after 15 s.
const PUBLISHES_WITHIN: Duration = Duration::from_secs(60);
const DRAINS_WITHIN: Duration = Duration::from_secs(180);
/// Longer than the longest step of a retry schedule here.
const QUIET_FOR: Duration = Duration::from_secs(6);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// A change holds in every process within a second.
const CHANGES_HOLD_AFTER: Duration = Duration::from_secs(1);

/// What differs between the modes once all is set up.
struct Setup<'a> {
    plan: &'a Plan,
    installation: Installation,
    receiver: Receiver,
    traffic: Arc<Traffic>,
    roles: &'a [Role],
    blows: Vec<Blow>,
    disk: Option<&'a Disk>,
    ledger: Ledger,
    tasks: JoinSet<()>,
}

/// Two matchers, two senders and an API on Kafka and PostgreSQL. `None` if there are none here.
pub async fn distributed(plan: &Plan, blows: &[Blow]) -> Option<()> {
    let (log, url) = (kafka::log()?, postgres::database(&format!("kill_{}", plan.seed)).await?);
    let (folder, prefix) = (TempDir::new().unwrap(), kafka::unique("kill") + ".");
    let settings = [
        "mode=distributed".to_owned(),
        format!("log.kafka.brokers={}", kafka::brokers()?),
        format!("log.topic_prefix={prefix}"),
        format!("log.replication={}", kafka::count()),
        format!("store.url={url}"),
        format!("secrets.keys={KEYS}"),
        format!("registry.url={}", registry::begin()),
    ];
    let mut installation = installation(folder.path(), settings.to_vec(), Vec::new());
    installation.run(&["topics", "create"]).await;
    for (name, role) in [
        ("api", Role::Api),
        ("match-a", Role::Match),
        ("match-b", Role::Match),
        ("send-a", Role::Send),
        ("send-b", Role::Send),
    ] {
        installation.start(name, role, None);
        installation.ready(name, DRAINS_WITHIN).await.unwrap();
    }
    let inlet = Inlet::Topic { log: log.clone(), topic: format!("{prefix}events").into(), partitions: PARTITIONS };
    let mut setup = Setup::new(plan, "distributed", installation, inlet, &DISTRIBUTED, blows.to_vec(), None).await;
    let deliveries: Arc<str> = format!("{prefix}deliveries").into();
    setup.tasks.spawn(setup.traffic.clone().read_along(log.clone(), deliveries.clone()));
    let (mut ledger, receiver, traffic) = setup.go().await;

    let topics = Topics::read(&log, &prefix, PARTITIONS).await;
    checkers::readers_agree(&topics, &traffic);
    let hidden = aborted::count(&kafka::brokers()?, &deliveries, PARTITIONS, &topics.deliveries).await;
    if hidden.0 == 0 && plan.crashes > 0 {
        traffic.violation("no transaction was aborted: the run has not tested what it claims".to_owned());
    }
    ledger.found.aborted = Some(hidden);
    judge(plan, &topics, &Stored::postgres(&url), &receiver, &traffic, ledger, &DISTRIBUTED, folder).await;
    Some(())
}

/// One process; its log and store on `disk` if there is one.
pub async fn embedded(plan: &Plan, disk: Option<&Disk>, blows: Vec<Blow>) {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let settings = vec![format!("data.dir={}", disk.map_or(&*data, Disk::folder).display())];
    let mut installation = installation(folder.path(), settings, disk.map(Disk::wrapper).unwrap_or_default());
    installation.start("up", Role::Up, None);
    installation.ready("up", DRAINS_WITHIN).await.unwrap();
    let (roles, inlet) = ([Role::Up], Inlet::Http(installation.api.clone()));
    let setup = Setup::new(plan, "embedded", installation, inlet, &roles, blows, disk).await;
    let (ledger, receiver, traffic) = setup.go().await;

    if let Some(disk) = disk {
        disk.copy_to(&data);
    }
    let stored = Stored::sqlite(&data.join("store.db"));
    let log = Local::open(&data, LocalOptions::default()).unwrap();
    let topics = Topics::read(&log, "tidings.", PARTITIONS).await;
    judge(plan, &topics, &stored, &receiver, &traffic, ledger, &roles, folder).await;
}

fn installation(folder: &std::path::Path, mut settings: Vec<String>, wrapper: Vec<String>) -> Installation {
    settings.push(format!("log.partitions={PARTITIONS}"));
    settings.push(format!("send.max_in_flight={MAX_IN_FLIGHT}"));
    settings.push(format!("send.max_unsettled={MAX_UNSETTLED}"));
    Installation::new(folder, settings, wrapper)
}

// === impl Setup ===

impl<'a> Setup<'a> {
    async fn new(
        plan: &'a Plan,
        mode: &'static str,
        installation: Installation,
        inlet: Inlet,
        roles: &'a [Role],
        blows: Vec<Blow>,
        disk: Option<&'a Disk>,
    ) -> Setup<'a> {
        let receiver = Receiver::start(PARTITIONS).await;
        let workload = Workload { seed: plan.seed, subscriptions: plan.subscriptions };
        let changes = workload.changes();
        installation.fill(&receiver, &changes).await;
        sleep(CHANGES_HOLD_AFTER).await;
        let traffic = Traffic::new(workload, PARTITIONS);
        let mut tasks = JoinSet::new();
        tasks.spawn(traffic.clone().publish(inlet, receiver.clone()));
        tasks.spawn(traffic.clone().change(installation.api.clone(), changes, plan.changes_per_second));
        tasks.spawn(traffic.clone().watch(installation.api.clone()));
        tasks.spawn(progress(traffic.clone(), receiver.clone()));
        let ledger = Ledger::new(mode);
        Setup { plan, installation, receiver, traffic, roles, blows, disk, ledger, tasks }
    }

    /// Lets the blows fall, and waits for the last outcome.
    async fn go(mut self) -> (Ledger, Receiver, Arc<Traffic>) {
        let plan = self.plan;
        let (paced, saturated) = (std::mem::take(&mut self.blows), plan.saturated_blows(self.roles));
        self.traffic.go(plan.per_second, u64::MAX);
        assert!(self.flows().await, "nothing flows, and nothing has been struck yet");
        self.strike(&paced).await;
        self.published(plan.events * (100 - plan.saturated_percent) / 100).await;
        self.ledger.saturated = true;
        self.traffic.go(SATURATED, u64::MAX);
        sleep(SATURATES_WITHIN).await;
        self.strike(&saturated).await;
        self.published(plan.events).await;
        self.traffic.go(0, 0);
        self.drain().await;
        self.ledger.settle(self.receiver.repeats());
        self.traffic.stop();
        while self.tasks.join_next().await.is_some() {}
        self.installation.stop().await;
        (self.ledger, self.receiver, self.traffic)
    }

    async fn flows(&self) -> bool {
        let divided = Role::Send.divides().expect("a sender divides deliveries");
        self.receiver.flows(divided, 0, DRAINS_WITHIN).await
    }

    /// Until so many events are acknowledged. By now everything is up again.
    async fn published(&self, events: u64) {
        let (mut last, mut since) = (self.traffic.acknowledged(), Instant::now());
        while last < events {
            sleep(PROGRESS_EVERY / 10).await;
            let now = self.traffic.acknowledged();
            if now > last {
                (last, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PUBLISHES_WITHIN, "{last} of {events} events, and none for {PUBLISHES_WITHIN:?}");
        }
    }

    async fn strike(&mut self, blows: &[Blow]) {
        let mut chaos = Chaos {
            installation: &mut self.installation,
            receiver: &self.receiver,
            traffic: &self.traffic,
            ledger: &mut self.ledger,
            disk: self.disk,
            turn: 0,
        };
        for blow in blows {
            chaos.strike(*blow).await;
        }
    }

    /// Until nothing waits in the store and nothing has been sent for a while.
    async fn drain(&self) {
        let deadline = Instant::now() + DRAINS_WITHIN;
        let (mut last, mut since) = (self.receiver.requests(), Instant::now());
        while since.elapsed() < QUIET_FOR {
            sleep(PROGRESS_EVERY / 10).await;
            let path = "/v1/notifications?status=retrying&limit=1";
            let waiting = self.installation.api.ask(Method::GET, path, &Value::Null).await;
            let none = waiting.is_ok_and(|(_, page)| page["items"].as_array().is_some_and(Vec::is_empty));
            if self.receiver.requests() != last || !none {
                (last, since) = (self.receiver.requests(), Instant::now());
            }
            if Instant::now() >= deadline {
                self.traffic.violation(format!("not drained within {DRAINS_WITHIN:?}"));
                return;
            }
        }
    }
}

/// Holds everything against everything, prints the ledger, and fails if a promise was broken.
async fn judge(
    plan: &Plan,
    topics: &Topics,
    stored: &Stored,
    receiver: &Receiver,
    traffic: &Traffic,
    mut ledger: Ledger,
    roles: &[Role],
    folder: TempDir,
) {
    checkers::events(topics, traffic);
    checkers::deliveries(topics, traffic);
    checkers::outcomes(topics, &stored.rows().await, receiver, traffic, &mut ledger);
    let parked = stored.parked().await;
    if parked > 0 {
        traffic.violation(format!("{parked} notifications are still parked"));
    }
    if ledger.found.parked == 0 {
        traffic.violation("nothing was parked: the run has not tested what it claims".to_owned());
    }
    for role in roles {
        for point in role.points() {
            let times = ledger.kills_at(*role, *point);
            if times < plan.crashes {
                traffic.violation(format!("{} crashed {times} times at {}", role.command(), point.as_str()));
            }
        }
        if ledger.kills_of(*role) < plan.kills {
            traffic.violation(format!("{} was killed {} times", role.command(), ledger.kills_of(*role)));
        }
    }
    if plan.zombies && roles.contains(&Role::Send) && ledger.zombies() < ZOMBIES {
        traffic.violation(format!("{} processes slept through their loss; {ZOMBIES} were to", ledger.zombies()));
    }
    let (kills, repeats) = ledger.repeats(false);
    if repeats > plan.repeats_per_kill * kills {
        let most = plan.repeats_per_kill;
        traffic.violation(format!("{repeats} repeated after {kills} kills; at most {most} each may be"));
    }
    let most = ledger.most_repeats();
    if most > MAX_IN_FLIGHT + MAX_UNSETTLED {
        traffic.violation(format!(
            "{most} repeated by one blow, beyond {MAX_IN_FLIGHT} in flight and {MAX_UNSETTLED} rows"
        ));
    }
    println!("\n{ledger}");
    let violations = traffic.violations();
    println!("verdict         {}\n", if violations.is_empty() { "every promise held" } else { "BROKEN" });
    if !violations.is_empty() {
        println!("the logs of all processes are in {}", folder.keep().display());
    }
    assert!(violations.is_empty(), "{} promises were broken:\n{}", violations.len(), violations.join("\n"));
}

async fn progress(traffic: Arc<Traffic>, receiver: Receiver) {
    let began = Instant::now();
    while !traffic.is_stopped() {
        sleep(PROGRESS_EVERY).await;
        println!(
            "{:>4} s  {} events, {} changes, {} requests, {} repeated, {} violations",
            began.elapsed().as_secs(),
            traffic.handed(),
            traffic.changes_made(),
            receiver.requests(),
            receiver.repeats(),
            traffic.violations().len()
        );
    }
}
