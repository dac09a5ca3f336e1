//! (d) Deliveries per CPU second of everything but publisher and receiver, and (g) what memory that takes.
//!
//! The method is that of the peers' measurements: loopback, a payload of about 300 bytes, one receiver that answers 200 at
//! once. Events are published as fast as they are taken. The time is that from the first publish until the last row is
//! in the store: what is put off is not saved.

use std::time::Duration;

use crate::{
    environment::Servers,
    events::{BYSTANDING_TEAMS, Publisher, TEAM, bystander_team, bystanders, everything, plain},
    installation::Installation,
    processes::{CpuSeconds, memory},
    receiver::Receiver,
    report::{Bound, Figure, median},
};

/// Deliveries of one run, warm-up and measured alike.
const DELIVERIES: u64 = 100_000;
/// Subscriptions in the directory besides those that match.
const BYSTANDERS: usize = 10_000;
/// Destinations that each event goes to, in the second shape.
const FANOUT: u64 = 100;
/// Requests in flight to the one destination; to each of many, the default.
const IN_FLIGHT_ONE: u32 = 100;
const IN_FLIGHT_MANY: u32 = 8;
const RUNS: usize = 3;
const RUN_WITHIN: Duration = Duration::from_secs(180);
/// Requests of publishers to the API, in embedded mode.
const PUBLISHERS: usize = 4;
/// How long a platform's producer may gather events; they are published in bulk.
const LINGER_MS: u32 = 5;

/// How many destinations each event goes to.
#[derive(Clone, Copy)]
enum Shape {
    One,
    Fanout,
}

struct Run {
    per_cpu_second: f64,
    per_second: f64,
    cpu: CpuSeconds,
}

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (shape, must, stretch) in [(Shape::One, 6_000.0, 12_500.0), (Shape::Fanout, 10_000.0, 20_000.0)] {
        let mut installation = Installation::distributed(servers, &[]).await?;
        installation.start_roles().await?;
        let figure = measure_one(&installation, servers, receiver, shape, "Kafka + PostgreSQL").await?;
        figures.push(figure.promised(Bound::AtLeast, must, Some(stretch)));
        if let Shape::Fanout = shape {
            for (name, bound) in [("match", 150.0), ("send", 200.0)] {
                figures.push(memory_figure(&installation, name, bound)?);
            }
        }
        installation.end().await?;
    }
    for (shape, must) in [(Shape::One, 8_000.0), (Shape::Fanout, 12_000.0)] {
        let installation = Installation::embedded(&[]).await?;
        let figure = measure_one(&installation, servers, receiver, shape, "embedded").await?;
        figures.push(figure.promised(Bound::AtLeast, must, None));
        if let Shape::Fanout = shape {
            figures.push(memory_figure(&installation, "up", 250.0)?);
        }
        installation.end().await?;
    }
    Ok(figures)
}

async fn measure_one(
    installation: &Installation,
    servers: &Servers,
    receiver: &Receiver,
    shape: Shape,
    mode: &str,
) -> anyhow::Result<Figure> {
    let (destinations, in_flight) = match shape {
        Shape::One => (1, IN_FLIGHT_ONE),
        Shape::Fanout => (FANOUT, IN_FLIGHT_MANY),
    };
    let ids = || (0..destinations).map(|n| format!("hook-{n}"));
    let measured = ids().map(|id| (TEAM.to_owned(), id.clone(), receiver.url("ok", &id)));
    installation.destinations(measured.collect(), in_flight).await?;
    let bystanding = (0..BYSTANDING_TEAMS).map(|n| (bystander_team(n), "hook".to_owned(), receiver.url("ok", "none")));
    installation.destinations(bystanding.collect(), 1).await?;
    let mut subscriptions = bystanders(BYSTANDERS);
    subscriptions.extend(ids().map(|id| everything(&id)));
    installation.subscriptions(subscriptions).await?;
    installation.settled().await;

    let events = DELIVERIES / destinations;
    let mut runs = Vec::new();
    for round in 0..=RUNS as u64 {
        let run = run(installation, servers, receiver, round, events, events * destinations).await?;
        eprintln!("  {mode}, to {destinations}: {}", told(&run));
        // The first one warms up.
        if round > 0 {
            runs.push(run);
        }
    }
    let what = match shape {
        Shape::One => format!("deliveries per CPU second, {mode}, one destination"),
        Shape::Fanout => format!("deliveries per CPU second, {mode}, each event to {FANOUT} destinations"),
    };
    if let Some(parked) = installation.parked().await? {
        eprintln!("  {parked} were put off");
    }
    let per_second = median(&runs.iter().map(|run| run.per_second).collect::<Vec<_>>());
    let values: Vec<f64> = runs.iter().map(|run| run.per_cpu_second).collect();
    let middle = median(&values);
    let parts = runs.iter().find(|run| run.per_cpu_second == middle).map(|run| parts(&run.cpu)).unwrap_or_default();
    let figure = Figure::new('d', what, "1/s", values);
    Ok(figure.note(format!("{per_second:.0} a second; CPU {parts}")))
}

async fn run(
    installation: &Installation,
    servers: &Servers,
    receiver: &Receiver,
    round: u64,
    events: u64,
    deliveries: u64,
) -> anyhow::Result<Run> {
    receiver.reset().await?;
    let pids = installation.pids(servers);
    let before = CpuSeconds::of(&pids)?;
    let first = round * events;
    match installation.log() {
        Ok(_) => {
            let publisher = Publisher::new(&servers.kafka, installation.events_topic(), LINGER_MS)?;
            let publish = move || {
                for id in first..first + events {
                    publisher.send(id, plain(id).to_string().as_bytes())?;
                }
                publisher.flush()
            };
            tokio::task::spawn_blocking(publish).await??;
        }
        Err(_) => {
            let events: Vec<_> = (first..first + events).map(plain).collect();
            installation.publish(&events, PUBLISHERS).await?;
        }
    }
    let receipts = receiver.wait_for(deliveries, RUN_WITHIN).await?;
    installation.wait_for_rows((round + 1) * deliveries, RUN_WITHIN).await?;
    let cpu = CpuSeconds::of(&pids)?.since(&before);
    Ok(Run {
        per_cpu_second: deliveries as f64 / cpu.sum(),
        per_second: deliveries as f64 / (receipts.span_us as f64 / 1e6),
        cpu,
    })
}

fn told(run: &Run) -> String {
    format!("{:.0} per CPU second, {:.0} a second; CPU {}", run.per_cpu_second, run.per_second, parts(&run.cpu))
}

fn parts(cpu: &CpuSeconds) -> String {
    cpu.each().map(|(name, seconds)| format!("{name} {seconds:.1} s")).collect::<Vec<_>>().join(", ")
}

fn memory_figure(installation: &Installation, name: &str, bound: f64) -> anyhow::Result<Figure> {
    let found = memory(installation.process(name)?.pid())?;
    let what = format!("resident memory of `tidings {name}` with {BYSTANDERS} subscriptions, at its highest");
    let figure = Figure::new('g', what, "MiB", vec![found.highest_mib]);
    let figure = figure.note(format!("{:.0} at the end", found.now_mib));
    Ok(figure.promised(Bound::AtMost, bound, None))
}
