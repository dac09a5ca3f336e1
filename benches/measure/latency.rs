//! (c) From publishing an event to its receipt, at 100 and at 500 events a second.
//!
//! On Kafka it is held against a bare loop in this process: consume, produce, consume, post, with the same settings. The two
//! take turns; both stand ready all the time.

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    bare::{Commits, Copy, Route, make_topic, post_all},
    environment::Servers,
    events::{Publisher, TEAM, everything, plain},
    installation::Installation,
    receiver::{Receipts, Receiver},
    report::{Bound, Figure},
};

const RATES: [u64; 2] = [100, 500];
const RUN_SECONDS: u64 = 10;
const RUNS: usize = 3;
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// Requests in flight to the destination, and connections of the bare loop.
const IN_FLIGHT: u32 = 8;
const PARTITIONS_ARE_TAKEN: Duration = Duration::from_secs(3);

/// Medians of this many runs, in milliseconds.
#[derive(Default)]
struct Runs {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut figures = embedded(receiver).await?;
    for (commits, name, musts, stretches) in [
        (Commits::Transactional, "transactional", (12.0, 60.0), (8.0, 35.0)),
        (Commits::AtLeastOnce, "at_least_once", (5.0, 25.0), (2.5, 12.0)),
    ] {
        figures.extend(on_kafka(servers, receiver, commits, name, musts, stretches).await?);
    }
    Ok(figures)
}

async fn embedded(receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let installation = Installation::embedded(&[]).await?;
    set_up(&installation, receiver).await?;
    let mut figures = Vec::new();
    let mut next = 0;
    for rate in RATES {
        let mut runs = Runs::default();
        for round in 0..=RUNS {
            let publish = async |id: u64| installation.publish(&[plain(id)], 1).await;
            let receipts = run(receiver, rate, &mut next, publish).await?;
            runs.add(round, &receipts, "embedded", rate);
        }
        figures.extend(runs.figures(&format!("embedded, {rate}/s"), None, (3.0, 9.0), (2.0, 6.0)));
    }
    installation.end().await?;
    Ok(figures)
}

async fn on_kafka(
    servers: &Servers,
    receiver: &Receiver,
    commits: Commits,
    name: &str,
    musts: (f64, f64),
    stretches: (f64, f64),
) -> anyhow::Result<Vec<Figure>> {
    let mut installation = Installation::distributed(servers, &[&format!("log.outputs={name}")]).await?;
    installation.start_roles().await?;
    set_up(&installation, receiver).await?;

    let log = installation.log()?;
    let (from, to) = (format!("{}copied", installation.prefix), format!("{}copies", installation.prefix));
    make_topic(&log, &from).await?;
    make_topic(&log, &to).await?;
    let route = Route { brokers: servers.kafka.clone(), from: from.clone(), to };
    let copy = Copy::start(route.clone(), commits);
    let stop = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn(post_all(route, receiver.address, IN_FLIGHT as usize, stop.clone()));
    tokio::time::sleep(PARTITIONS_ARE_TAKEN).await;

    let ours = Publisher::new(&servers.kafka, installation.events_topic(), 0)?;
    let bare = Publisher::new(&servers.kafka, from, 0)?;
    let mut figures = Vec::new();
    let mut next = 0;
    for rate in RATES {
        let (mut runs, mut beside) = (Runs::default(), Runs::default());
        for round in 0..=RUNS {
            for (publisher, into, who) in [(&ours, &mut runs, name), (&bare, &mut beside, "bare")] {
                let publish = async |id: u64| publisher.send(id, plain(id).to_string().as_bytes());
                let receipts = run(receiver, rate, &mut next, publish).await?;
                into.add(round, &receipts, who, rate);
            }
        }
        figures.extend(runs.figures(&format!("Kafka, {name}, {rate}/s"), Some(&beside), musts, stretches));
    }
    stop.store(true, Ordering::Release);
    posting.await??;
    copy.stop()?;
    installation.end().await?;
    Ok(figures)
}

async fn set_up(installation: &Installation, receiver: &Receiver) -> anyhow::Result<()> {
    installation.destination(TEAM, "hook", &receiver.url("ok", "hook"), IN_FLIGHT).await?;
    installation.subscriptions(vec![everything("hook")]).await?;
    installation.settled().await;
    Ok(())
}

/// Publishes evenly for [`RUN_SECONDS`], and waits until all has come.
async fn run(
    receiver: &Receiver,
    rate: u64,
    next: &mut u64,
    publish: impl AsyncFn(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Receipts> {
    receiver.reset().await?;
    let (began, count) = (Instant::now(), rate * RUN_SECONDS);
    for n in 0..count {
        sleep_until(began + Duration::from_micros(n * 1_000_000 / rate)).await;
        publish(*next).await?;
        *next += 1;
    }
    receiver.wait_for(count, ARRIVES_WITHIN).await
}

// === impl Runs ===

impl Runs {
    /// The first round warms up.
    fn add(&mut self, round: usize, receipts: &Receipts, who: &str, rate: u64) {
        let ms = |us: u64| us as f64 / 1000.0;
        let (p50, p99) = (ms(receipts.p50_us), ms(receipts.p99_us));
        eprintln!("  {who} at {rate}/s: p50 {p50:.1} ms, p99 {p99:.1} ms, worst {:.1} ms", ms(receipts.worst_us));
        if round > 0 {
            self.p50.push(p50);
            self.p99.push(p99);
        }
    }

    fn figures(self, what: &str, beside: Option<&Runs>, musts: (f64, f64), stretches: (f64, f64)) -> [Figure; 2] {
        let figure = |share: &str, runs: Vec<f64>, beside: Option<&[f64]>, must: f64, stretch: f64| {
            let figure = Figure::new('c', format!("event to receipt, {what}, {share}"), "ms", runs);
            let figure = figure.promised(Bound::AtMost, must, Some(stretch));
            match beside {
                Some(runs) => figure.beside(runs),
                None => figure,
            }
        };
        [
            figure("p50", self.p50, beside.map(|runs| &runs.p50[..]), musts.0, stretches.0),
            figure("p99", self.p99, beside.map(|runs| &runs.p99[..]), musts.1, stretches.1),
        ]
    }
}
