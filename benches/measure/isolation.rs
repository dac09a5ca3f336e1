//! (e) What the healthy notice of destinations that accept and never answer: nothing, it is hoped.
//!
//! Two installations stand side by side and take turns: one has healthy destinations alone, the other has hanging ones among
//! them. Each event goes to all destinations of its installation.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    environment::Servers,
    events::{Publisher, TEAM, everything, plain},
    installation::Installation,
    receiver::{Receipts, Receiver},
    report::{Bound, Figure},
};

/// Destinations that answer, destinations that do not, events a second.
struct Case {
    healthy: u64,
    hanging: u64,
    rate: u64,
}

const CASES: [Case; 2] = [Case { healthy: 8, hanging: 2, rate: 50 }, Case { healthy: 50, hanging: 150, rate: 5 }];
/// Longer than a hanging destination's timeout of 15 s, so that what is waited for comes round.
const RUN_SECONDS: u64 = 18;
const RUNS: usize = 3;
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const IN_FLIGHT: u32 = 8;
/// A later p99 is also good if it is no more than this above the former.
const P99_SLACK_MS: f64 = 10.0;

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in CASES {
        let calm = installation(servers, receiver, &case, 0).await?;
        let troubled = installation(servers, receiver, &case, case.hanging).await?;
        let (mut p50, mut p99) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let mut next = 0;
        for round in 0..=RUNS {
            let without = run(servers, receiver, &calm, &case, &mut next).await?;
            let with = run(servers, receiver, &troubled, &case, &mut next).await?;
            let ms = |us: u64| us as f64 / 1000.0;
            eprintln!(
                "  {} healthy: p50 {:.1} ms, p99 {:.1} ms; with {} hanging: {:.1} ms, {:.1} ms",
                case.healthy,
                ms(without.p50_us),
                ms(without.p99_us),
                case.hanging,
                ms(with.p50_us),
                ms(with.p99_us)
            );
            // The first one warms up, and lets the hanging ones be found out.
            if round > 0 {
                p50.0.push(ms(without.p50_us));
                p50.1.push(ms(with.p50_us));
                p99.0.push(ms(without.p99_us));
                p99.1.push(ms(with.p99_us));
            }
        }
        // The hanging are still being waited for: their installation is ended without a word.
        drop(troubled);
        calm.end().await?;
        let Case { healthy, hanging, rate } = case;
        let what = |share: &str| format!("{healthy} healthy at {rate} events/s with {hanging} hanging, {share}");
        figures.push(Figure::new('e', what("p50"), "ms", p50.1).beside(&p50.0).promised(
            Bound::RatioAtMost,
            1.2,
            Some(1.05),
        ));
        let figure = Figure::new('e', what("p99"), "ms", p99.1).beside(&p99.0);
        let slack = figure.beside.is_some_and(|beside| figure.measured - beside <= P99_SLACK_MS);
        let figure = figure.promised(Bound::RatioAtMost, 1.5, Some(1.2));
        figures.push(if slack { figure.note(format!("within {P99_SLACK_MS} ms, which is enough")) } else { figure });
    }
    Ok(figures)
}

async fn installation(
    servers: &Servers,
    receiver: &Receiver,
    case: &Case,
    hanging: u64,
) -> anyhow::Result<Installation> {
    let mut installation = Installation::distributed(servers, &[]).await?;
    installation.start_roles().await?;
    let ids = || {
        let both = (0..case.healthy).map(|n| ("ok", n)).chain((0..hanging).map(|n| ("silent", n)));
        both.map(|(behaviour, n)| (behaviour, format!("{behaviour}-{n}")))
    };
    let destinations = ids().map(|(behaviour, id)| (TEAM.to_owned(), id.clone(), receiver.url(behaviour, &id)));
    installation.destinations(destinations.collect(), IN_FLIGHT).await?;
    let subscriptions = ids().map(|(_, id)| everything(&id)).collect();
    installation.subscriptions(subscriptions).await?;
    installation.settled().await;
    Ok(installation)
}

/// Publishes evenly for [`RUN_SECONDS`], and waits until the healthy have got all of it.
async fn run(
    servers: &Servers,
    receiver: &Receiver,
    installation: &Installation,
    case: &Case,
    next: &mut u64,
) -> anyhow::Result<Receipts> {
    receiver.reset().await?;
    let publisher = Publisher::new(&servers.kafka, installation.events_topic(), 0)?;
    let (began, count) = (Instant::now(), case.rate * RUN_SECONDS);
    for n in 0..count {
        sleep_until(began + Duration::from_micros(n * 1_000_000 / case.rate)).await;
        publisher.send(*next, plain(*next).to_string().as_bytes())?;
        *next += 1;
    }
    let (published, expected) = (Instant::now(), count * case.healthy);
    loop {
        let receipts = receiver.receipts().await?;
        ensure!(receipts.received <= expected, "{} receipts of {expected}", receipts.received);
        if receipts.distinct == expected {
            return Ok(receipts);
        }
        ensure!(published.elapsed() < ARRIVES_WITHIN, "{} of {expected} within {ARRIVES_WITHIN:?}", receipts.distinct);
        sleep(LOOK_EVERY).await;
    }
}
