//! (b) The sender: signed, limited, accounted for, beside bare HTTP connections to the same receiver.
//!
//! The deliveries lie in Kafka before the sender starts; every one ends as a row in PostgreSQL, and the rows are counted.
//! The bare side sends bodies of the same size over as many connections as the sender may have requests in flight. The time
//! is that from the first receipt to the last.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;

use crate::{
    bare::Posts,
    environment::Servers,
    events::{Publisher, TEAM, TYPE, event},
    installation::Installation,
    receiver::Receiver,
    report::{Bound, Figure},
};

const NOTIFICATIONS: u64 = 60_000;
const DESTINATIONS: u64 = 8;
/// Requests in flight to each destination.
const IN_FLIGHT: u32 = 16;
/// A body of the sender, in bytes, to within a few.
const BODY_BYTES: usize = 500;
const RUNS: usize = 3;
const RUN_WITHIN: Duration = Duration::from_secs(120);

pub async fn measure(servers: &Servers, receiver: &Receiver) -> anyhow::Result<Vec<Figure>> {
    let mut installation = Installation::distributed(servers, &[]).await?;
    let mut subscriptions = Vec::new();
    for n in 0..DESTINATIONS {
        let id = format!("hook-{n}");
        installation.destination(TEAM, &id, &receiver.url("ok", &id), IN_FLIGHT).await?;
        let events = serde_json::json!([{"type": TYPE, "filter": {"appId": [format!("app-{n}")]}}]);
        subscriptions.push((TEAM.to_owned(), id.clone(), serde_json::json!({"events": events, "destinations": [id]})));
    }
    installation.subscriptions(subscriptions).await?;
    installation.start("match", &["match"])?;
    let log = installation.log()?;

    let (mut sent, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=RUNS as u64 {
        let publisher = Publisher::new(&servers.kafka, installation.events_topic(), 5)?;
        tokio::task::spawn_blocking(move || publish(&publisher, round)).await??;
        let end = (round + 1) * NOTIFICATIONS;
        let began = Instant::now();
        while (installation.matched(&log).await? as u64) < end {
            ensure!(began.elapsed() < RUN_WITHIN, "not all events were matched within {RUN_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        receiver.reset().await?;
        installation.start("send", &["send"])?;
        let receipts = receiver.wait_for(NOTIFICATIONS, RUN_WITHIN).await?;
        installation.wait_for_rows(end, RUN_WITHIN).await?;
        installation.stop("send").await?;
        let rate = NOTIFICATIONS as f64 / (receipts.span_us as f64 / 1e6);

        receiver.reset().await?;
        let mut posts = Posts::connect(receiver.address, (DESTINATIONS * u64::from(IN_FLIGHT)) as usize).await?;
        let body = Bytes::from(vec![b'x'; BODY_BYTES]);
        for n in 0..NOTIFICATIONS {
            posts.post(n.to_string(), body.clone()).await?;
        }
        posts.done().await?;
        let receipts = receiver.wait_for(NOTIFICATIONS, RUN_WITHIN).await?;
        let bare_rate = NOTIFICATIONS as f64 / (receipts.span_us as f64 / 1e6);

        eprintln!("  sent {rate:.0} a second, bare {bare_rate:.0}");
        // The first one warms up.
        if round > 0 {
            sent.push(rate);
            bare.push(bare_rate);
        }
    }
    installation.end().await?;
    let what = "sender, Kafka + PostgreSQL, signed, a row each, beside bare hyper connections";
    let figure = Figure::new('b', what, "notifications/s", sent);
    Ok(vec![figure.beside(&bare).promised(Bound::RatioAtLeast, 0.5, Some(0.7))])
}

fn publish(publisher: &Publisher, round: u64) -> anyhow::Result<()> {
    for id in round * NOTIFICATIONS..(round + 1) * NOTIFICATIONS {
        publisher.send(id, event(TEAM, id, &format!("app-{}", id % DESTINATIONS)).to_string().as_bytes())?;
    }
    publisher.flush()
}
