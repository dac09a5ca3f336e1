//! The simulation: the real loops of `src/roles/` over stand-ins for log, store, receivers and clock.
//!
//! The stand-ins crash, delay, repeat, reorder what may be reordered and lose what may be lost; the checkers know
//! nothing of how the work was done. A run is a function of its seed: the same seed gives the same trace.
//!
//! Reading order: this file, `run` (one run), `world`, `faults`, `sim_log`, `sim_store`, `sim_channel`, `workload`,
//! `reference`, `checkers`.
//!
//! One seed again: `TIDINGS_SEED=17 cargo test --test simulation -- --nocapture one_seed`

mod checkers;
mod faults;
mod reference;
mod run;
mod sim_channel;
mod sim_log;
mod sim_store;
mod workload;
mod world;

use std::collections::BTreeMap;

use faults::{FAULTS, Fault, SABOTAGES};
use run::{EVENTS, Report, run};

/// Runs of the test command.
const SEEDS: u64 = 200;

fn complain(report: &Report) -> ! {
    let from = report.trace.iter().position(|line| line.contains("VIOLATION")).unwrap_or(report.trace.len());
    for line in &report.trace[from.saturating_sub(60)..(from + 20).min(report.trace.len())] {
        eprintln!("{line}");
    }
    for violation in &report.violations {
        eprintln!("violated: {violation}");
    }
    panic!(
        "seed {} violated {} times; TIDINGS_SEED={} runs it alone",
        report.seed,
        report.violations.len(),
        report.seed
    )
}

/// Every seed over as many threads as there are processors; each run is single-threaded and independent.
fn over_seeds<T: Send>(seeds: u64, act: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let act = &act;
    std::thread::scope(|scope| {
        let part = |t: u64| scope.spawn(move || (t..seeds).step_by(threads as usize).map(act).collect::<Vec<_>>());
        let parts: Vec<_> = (0..threads).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

#[test]
fn two_hundred_seeds_hold_every_invariant() {
    let reports = over_seeds(SEEDS, |seed| {
        let report = run(seed, None);
        if !report.violations.is_empty() {
            complain(&report);
        }
        report
    });
    let mut struck: BTreeMap<Fault, u64> = BTreeMap::new();
    for report in &reports {
        assert!(report.events >= EVENTS, "seed {} wrote {} events", report.seed, report.events);
        let count = |fault| report.struck.get(&fault).copied().unwrap_or(0);
        assert!(count(Fault::Crash) >= 3, "seed {} crashed {} times", report.seed, count(Fault::Crash));
        assert!(count(Fault::Rebalance) >= 1, "seed {} had no rebalance", report.seed);
        report.struck.iter().for_each(|(fault, n)| *struck.entry(*fault).or_default() += n);
    }
    let deliveries: usize = reports.iter().map(|report| report.deliveries).sum();
    println!("{} seeds, {deliveries} deliveries; faults: {struck:?}", reports.len());
    for fault in FAULTS {
        assert!(struck.get(&fault).copied().unwrap_or(0) > 0, "{fault:?} never struck");
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in [3, 77, 150] {
        let (first, second) = (run(seed, None), run(seed, None));
        let differ = first.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
        if let Some(at) = differ {
            panic!("seed {seed}, line {at}: {:?} and then {:?}", first.trace[at], second.trace[at]);
        }
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
    }
}

/// A checker that catches nothing proves nothing.
#[test]
fn every_sabotage_is_caught() {
    let caught = over_seeds(SABOTAGES.len() as u64, |n| {
        let sabotage = SABOTAGES[n as usize];
        let caught = (0..SEEDS).map(|seed| run(seed, Some(sabotage))).find(|report| !report.violations.is_empty());
        (sabotage, caught.map(|report| (report.seed, report.violations[0].clone())))
    });
    for (sabotage, caught) in &caught {
        match caught {
            Some((seed, violation)) => println!("{sabotage:?} caught at seed {seed}: {violation}"),
            None => println!("{sabotage:?} NOT caught in {SEEDS} seeds"),
        }
    }
    assert!(caught.iter().all(|(_, caught)| caught.is_some()), "a sabotage went unnoticed");
}

/// The run of `TIDINGS_SEED`, or of seed 0, with its whole trace.
#[test]
fn one_seed() {
    let asked = std::env::var("TIDINGS_SEED").ok();
    let seed = asked.as_deref().map_or(0, |seed| seed.parse().expect("TIDINGS_SEED is a number"));
    let report = run(seed, None);
    if asked.is_some() {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {seed}: {} events, {} deliveries, faults {:?}", report.events, report.deliveries, report.struck);
    if !report.violations.is_empty() {
        complain(&report);
    }
}
