//! Killed: the real program under events and changes of its directory, killed at named points and at any moment, asleep
//! while others take over, its broker, database and disk failing; then drained and held against a reference.
//!
//! Every change is tested with the short form: each crash point once, in both modes. `scripts/kill-test` runs the full
//! one, whose figures are in `docs/RELIABILITY.md`.
//!
//! Reading order: this file, [`plan`] (what is to happen), [`run`] (how it goes), [`chaos`] (the blows), [`checkers`]
//! (what must be true); then what they stand on: [`workload`], [`traffic`], [`reference`], [`receiver`],
//! [`installation`], [`registry`], [`stored`], [`aborted`], [`disk`], [`report`].
#![allow(clippy::duplicate_mod, reason = "both servers' modules bring what they share")]

mod aborted;
mod chaos;
mod checkers;
mod disk;
mod installation;
#[path = "../support/kafka.rs"]
mod kafka;
mod plan;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/program.rs"]
mod program;
mod receiver;
mod reference;
mod registry;
mod report;
mod run;
mod stored;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../sources/stub.rs"]
mod stub;
mod traffic;
mod workload;

use std::{env, io::Write as _, time::Duration};

use disk::Disk;
use installation::Role;
use plan::{Blow, Plan, Server};
use run::DISTRIBUTED;
use tokio::sync::Mutex;

/// Each run wants the machine to itself: how fast things recover is a part of what is tested.
static ALONE: Mutex<()> = Mutex::const_new(());
const SEED: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn distributed_every_crash_point_once() {
    let _alone = ALONE.lock().await;
    let plan = Plan::short(seed());
    // It says by itself that it was skipped.
    let _ = run::distributed(&plan, &plan.blows(&DISTRIBUTED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_every_crash_point_once() {
    let _alone = ALONE.lock().await;
    let plan = Plan::short(seed());
    run::embedded(&plan, None, plan.blows(&[Role::Up])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_on_a_disk_that_is_full_or_takes_no_writes() {
    let _alone = ALONE.lock().await;
    on_a_disk(&Plan { events: 5_000, ..Plan::short(seed()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_for_a_while_are_waited_for() {
    let _alone = ALONE.lock().await;
    let away = |server, seconds| Blow::Away(server, Duration::from_secs(seconds));
    // A process is not ready after 30 s without its store, and at once without its log or its registry.
    let blows = [away(Server::Database, 36), away(Server::Registry, 20), away(Server::Broker, 20)];
    let _ = run::distributed(&Plan::outages(seed(), 5_000), &blows).await;
}

/// `scripts/kill-test outage`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "servers away for ten minutes each: scripts/kill-test outage"]
async fn long_outages() {
    const MINUTES: u64 = 10;
    let seconds = 60 * number("TIDINGS_KILL_MINUTES").unwrap_or(MINUTES);
    let servers = [Server::Database, Server::Registry, Server::Broker];
    let blows = servers.map(|server| Blow::Away(server, Duration::from_secs(seconds)));
    let plan = Plan { per_second: 300, ..Plan::outages(seed(), events()) };
    run::distributed(&plan, &blows).await.expect("the servers that are to be away");
}

/// `scripts/kill-test --distributed`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form, which takes ten minutes: scripts/kill-test"]
async fn full_distributed() {
    let plan = Plan::full(seed(), events());
    run::distributed(&plan, &plan.blows(&DISTRIBUTED)).await.expect("the full form needs its servers");
}

/// `scripts/kill-test --embedded`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the full form, which takes ten minutes: scripts/kill-test"]
async fn full_embedded() {
    let plan = Plan::full(seed(), events());
    run::embedded(&plan, None, plan.blows(&[Role::Up])).await;
    on_a_disk(&Plan { events: 10_000, ..Plan::short(seed()) }).await;
}

async fn on_a_disk(plan: &Plan) {
    let folder = tempfile::tempdir().unwrap();
    match Disk::mount(folder.path()) {
        Ok(disk) => {
            let plan = Plan { crashes: 0, ..plan.clone() };
            run::embedded(&plan, Some(&disk), Plan::disk_blows()).await;
        }
        // Past the macros, whose output a passing test swallows.
        Err(why) => {
            let line = format!("skipped: a disk that is full or takes no writes: nothing can be mounted here: {why}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
        }
    }
}

fn seed() -> u64 {
    number("TIDINGS_SEED").unwrap_or(SEED)
}

fn events() -> u64 {
    const FULL: u64 = 100_000;
    number("TIDINGS_KILL_EVENTS").unwrap_or(FULL)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}; a number is expected")))
}
