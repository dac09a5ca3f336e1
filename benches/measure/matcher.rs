//! (a) The matcher on Kafka: 1,000 subscriptions, each event matched by one, beside a bare transactional copy.
//!
//! Both read the same events from the same topic and write records of the same size, up to 5,000 in a transaction. The
//! events are all there before either starts, and the time is that from the first commit to the last.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::{
    bare::{Commits, Copy, Route, make_topic},
    environment::Servers,
    events::{Publisher, TYPE, event},
    installation::Installation,
    receiver::Receiver,
    report::{Bound, Figure},
};

const EVENTS: u64 = 300_000;
const TEAMS: u64 = 50;
const SUBSCRIPTIONS_PER_TEAM: u64 = 20;
const RUNS: usize = 3;
const RUN_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut installation = Installation::distributed(servers, &[]).await?;
    let mut subscriptions = Vec::new();
    // Nothing is sent here; a subscription needs a destination all the same.
    let place = |team| (format!("team-{team}"), "hook".to_owned(), receiver.url("ok", "hook"));
    installation.destinations((0..TEAMS).map(place).collect(), 1).await?;
    for team in 0..TEAMS {
        for n in 0..SUBSCRIPTIONS_PER_TEAM {
            let body = json!({
                "events": [{"type": TYPE, "filter": {"appId": [format!("app-{n}")], "licenseType": ["paid"]}}],
                "destinations": ["hook"],
            });
            subscriptions.push((format!("team-{team}"), format!("subscription-{n}"), body));
        }
    }
    installation.subscriptions(subscriptions).await?;
    let log = installation.log()?;
    let copies = format!("{}copies", installation.prefix);
    make_topic(&log, &copies).await?;
    let route = Route { brokers: servers.kafka.clone(), from: installation.events_topic(), to: copies };

    let (mut matched, mut copied) = (Vec::new(), Vec::new());
    for round in 0..=RUNS as u64 {
        let publisher = Publisher::new(&servers.kafka, installation.events_topic(), 5)?;
        tokio::task::spawn_blocking(move || publish(&publisher, round)).await??;
        let end = (round + 1) * EVENTS;

        installation.start("match", &["match"])?;
        let rate = rate(end, async || Ok(installation.matched(&log).await? as u64)).await?;
        installation.stop("match").await?;

        let copy = Copy::start(route.clone(), Commits::Transactional);
        let bare = self::rate(EVENTS, async || Ok(copy.copied())).await?;
        copy.stop()?;

        eprintln!("  matched {rate:.0} a second, copied {bare:.0}");
        // The first one warms up.
        if round > 0 {
            matched.push(rate);
            copied.push(bare);
        }
    }
    let deliveries = deliveries(&installation).await?;
    let expected = EVENTS * (RUNS as u64 + 1);
    ensure!(deliveries >= expected, "{deliveries} deliveries of {expected} events that each match once");
    installation.end().await?;
    let figure =
        Figure::new('a', "matcher, 5,000 a transaction, beside a bare transactional copy", "events/s", matched);
    Ok(vec![figure.beside(&copied).promised(Bound::RatioAtLeast, 0.7, Some(0.9))])
}

fn publish(publisher: &Publisher, round: u64) -> anyhow::Result<()> {
    for id in round * EVENTS..(round + 1) * EVENTS {
        let (team, app) = (id % TEAMS, id / TEAMS % SUBSCRIPTIONS_PER_TEAM);
        let event = event(&format!("team-{team}"), id, &format!("app-{app}"));
        publisher.send(id, event.to_string().as_bytes())?;
    }
    publisher.flush()
}

/// Events a second, from the first progress that is seen to `end`.
async fn rate(end: u64, progress: impl AsyncFn() -> anyhow::Result<u64>) -> anyhow::Result<f64> {
    let before = progress().await?;
    let began = Instant::now();
    let mut first = None;
    loop {
        let (now, done) = (Instant::now(), progress().await?);
        ensure!(done <= end, "{done} of {end} events");
        if done > before {
            first.get_or_insert((now, done));
        }
        if let Some((since, already)) = first
            && done == end
        {
            return Ok((end - already) as f64 / now.duration_since(since).as_secs_f64());
        }
        ensure!(began.elapsed() < RUN_WITHIN, "{done} of {end} events within {RUN_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Records in the deliveries topic, transactions' markers among them.
async fn deliveries(installation: &Installation) -> anyhow::Result<u64> {
    use tidings::log::{Log, partition_count};
    use tidings_core::domain::TopicPartition;

    let (log, topic) = (installation.log()?, format!("{}deliveries", installation.prefix).into());
    let mut sum = 0;
    for partition in 0..partition_count(&log, &topic).await? {
        let bounds = log.bounds(TopicPartition { topic: topic.clone(), partition }).await?;
        sum += (bounds.end - bounds.start) as u64;
    }
    Ok(sum)
}
