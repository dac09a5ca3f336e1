//! (a) The matcher on Kafka: 1,000 subscriptions, then 100,000, each event matched by one, beside a bare transactional copy.
//!
//! Both read the same events from the same topic and write records of the same size, up to 5,000 in a transaction. The
//! events are all there before either starts, and the time is that from the first record written to the last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use serde_json::json;
use tidings::log::{Log, Reader, kafka::KafkaLog, partition_count};
use tidings_core::domain::TopicPartition;

use crate::{
    bare::{BATCH_RECORDS, Commits, Copy, Route, make_topic},
    environment::Servers,
    events::{Publisher, TYPE, event},
    installation::Installation,
    receiver::Receiver,
    report::{Bound, Figure},
};

const EVENTS: u64 = 1_000_000;
const TEAMS: u64 = 50;
/// How many subscriptions each team has, and what is promised of that.
const SIZES: [(u64, f64, Option<f64>); 2] = [(20, 0.7, Some(0.9)), (2_000, 0.9, None)];
const RUNS: usize = 3;
const RUN_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const READ_WITHIN: Duration = Duration::from_secs(10);
/// So many places before its end a partition has a record among the transactions' markers.
const TAIL: i64 = 64;

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (per_team, must, stretch) in SIZES {
        let (matched, copied) = with_subscriptions(servers, receiver, per_team).await?;
        let what = format!(
            "matcher, {} subscriptions, 5,000 a transaction, beside a bare transactional copy",
            per_team * TEAMS
        );
        let figure = Figure::new('a', what, "events/s", matched).beside(&copied);
        figures.push(figure.promised(Bound::RatioAtLeast, must, stretch));
    }
    Ok(figures)
}

/// Events a second, of each run: matched, copied.
async fn with_subscriptions(
    servers: &Servers,
    receiver: &Receiver,
    per_team: u64,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut installation = Installation::distributed(servers, &[]).await?;
    let mut subscriptions = Vec::new();
    // Nothing is sent here; a subscription needs a destination all the same.
    let place = |team| (format!("team-{team}"), "hook".to_owned(), receiver.url("ok", "hook"));
    installation.destinations((0..TEAMS).map(place).collect(), 1).await?;
    for team in 0..TEAMS {
        for n in 0..per_team {
            let body = json!({
                "events": [{"type": TYPE, "filter": {"appId": [format!("app-{n}")], "licenseType": ["paid"]}}],
                "destinations": ["hook"],
            });
            subscriptions.push((format!("team-{team}"), format!("subscription-{n}"), body));
        }
    }
    installation.subscriptions(subscriptions).await?;
    let log = installation.log()?;
    let (deliveries, copies) = (format!("{}deliveries", installation.prefix), format!("{}copies", installation.prefix));
    make_topic(&log, &copies).await?;
    let route = Route { brokers: servers.kafka.clone(), from: installation.events_topic(), to: copies.clone() };

    let (mut matched, mut copied) = (Vec::new(), Vec::new());
    for round in 0..=RUNS as u64 {
        let publisher = Publisher::new(&servers.kafka, installation.events_topic(), 5)?;
        tokio::task::spawn_blocking(move || publish(&publisher, round, per_team)).await??;
        let end = (round + 1) * EVENTS;

        let written = Written::since_now(&log, &deliveries).await?;
        installation.start("match", &["match"])?;
        reach(end, async || Ok(installation.matched(&log).await? as u64)).await?;
        installation.stop("match").await?;
        let rate = written.rate().await?;

        let written = Written::since_now(&log, &copies).await?;
        let copy = Copy::start(route.clone(), Commits::Transactional);
        reach(EVENTS, async || Ok(copy.copied())).await?;
        copy.stop()?;
        let bare = written.rate().await?;

        eprintln!("  matched {rate:.0} a second, copied {bare:.0}");
        // The first one warms up.
        if round > 0 {
            matched.push(rate);
            copied.push(bare);
        }
    }
    installation.end().await?;
    Ok((matched, copied))
}

fn publish(publisher: &Publisher, round: u64, per_team: u64) -> anyhow::Result<()> {
    for id in round * EVENTS..(round + 1) * EVENTS {
        let (team, app) = (id % TEAMS, id / TEAMS % per_team);
        let event = event(&format!("team-{team}"), id, &format!("app-{app}"));
        publisher.send(id, event.to_string().as_bytes())?;
    }
    publisher.flush()
}

/// Waits until all is done that there is to do.
async fn reach(end: u64, progress: impl AsyncFn() -> anyhow::Result<u64>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let done = progress().await?;
        ensure!(done <= end, "{done} of {end} events");
        if done == end {
            return Ok(());
        }
        ensure!(began.elapsed() < RUN_WITHIN, "{done} of {end} events within {RUN_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What one run has written to a topic.
struct Written {
    log: KafkaLog,
    topic: Arc<str>,
    /// Where the run's records begin, by partition.
    since: Vec<i64>,
}

impl Written {
    async fn since_now(log: &KafkaLog, topic: &str) -> anyhow::Result<Written> {
        let (log, topic) = (log.clone(), Arc::<str>::from(topic));
        let mut since = Vec::new();
        for partition in 0..partition_count(&log, &topic).await? {
            since.push(log.bounds(TopicPartition { topic: topic.clone(), partition }).await?.end);
        }
        Ok(Written { log, topic, since })
    }

    /// Events a second, by when the producer made the first record and when the last: whoever watches a run from outside sees
    /// its beginning late. The first batch was ready when the first record was made, so it is not counted, and a run is if anything
    /// told as slower than it was.
    async fn rate(self) -> anyhow::Result<f64> {
        let (mut first, mut last, mut places) = (i64::MAX, i64::MIN, 0);
        for (partition, since) in self.since.into_iter().enumerate() {
            let partition = TopicPartition { topic: self.topic.clone(), partition: partition as u32 };
            let end = self.log.bounds(partition.clone()).await?.end;
            places += (end - since) as u64;
            let mut head = self.log.reader(partition.clone(), since).await?;
            first = head.next(READ_WITHIN).await?.first().map_or(first, |record| first.min(record.timestamp.0));
            let mut tail = self.log.reader(partition, since.max(end - TAIL)).await?;
            while tail.position() < end {
                let records = tail.next(READ_WITHIN).await?;
                ensure!(!records.is_empty() || tail.position() >= end, "the end of a topic cannot be read");
                last = records.last().map_or(last, |record| last.max(record.timestamp.0));
            }
        }
        eprintln!("    {} transactions", (places - EVENTS) / 12);
        ensure!(last > first && places >= EVENTS, "{places} records of a run, from {first} to {last} ms");
        Ok((EVENTS - BATCH_RECORDS as u64) as f64 / ((last - first) as f64 / 1000.0))
    }
}
