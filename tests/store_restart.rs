//! PostgreSQL crashes while senders write. A program of its own, so that no other test loses its server meanwhile.

#[path = "support/postgres.rs"]
mod postgres_cluster;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidings::store::{Epoch, Standing, Store, StoreError, WriteBatch, postgres::Postgres};
use tidings_core::domain::{
    Attempt, Day, DestinationId, NotificationId, Outcome, Position, SubscriptionId, TeamId, Timestamp,
};

const WRITERS: u64 = 4;
const BATCHES_OF_EACH: u64 = 60;
const ROWS_OF_EACH: u64 = 20;
const TODAY: Day = Day(20_780);
/// Until the server takes connections again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a sender does: the same batch again for as long as the store is unavailable.
async fn write_until_taken(store: &Postgres, batch: &WriteBatch, refusals: &AtomicU64) {
    let writing = async {
        while let Err(error) = store.write(batch).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            refusals.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, writing).await.expect("the server comes back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_and_the_rest_is_written_again() {
    let Some(url) = postgres_cluster::database("restart").await else { return };
    let store = Postgres::connect(&url, 4).await.unwrap();
    let epoch = store.acquire(0, "before").await.unwrap();
    let taken = Arc::new(AtomicU64::new(0));
    let refusals = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, taken, refusals) = (store.clone(), taken.clone(), refusals.clone());
            tokio::spawn(async move {
                for n in 0..BATCHES_OF_EACH {
                    write_until_taken(&store, &batch(epoch, writer, n), &refusals).await;
                    taken.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    for quarter in 1..=2 {
        while taken.load(Ordering::Relaxed) < WRITERS * BATCHES_OF_EACH * quarter / 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let crash = || postgres_cluster::restart("immediate");
        if !tokio::task::spawn_blocking(crash).await.unwrap() {
            writers.iter().for_each(|writer| writer.abort());
            return;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(refusals.load(Ordering::Relaxed) > 0, "the crashes were not noticed: the test shows nothing");
    let keys: Vec<_> = (0..WRITERS * BATCHES_OF_EACH * ROWS_OF_EACH).map(|n| (TODAY, id(n))).collect();
    let known = store.look_up(&keys).await.unwrap();
    assert_eq!(known.len(), keys.len());
    assert!(known.iter().all(|(_, known)| known.standing == Standing::Final(Outcome::Delivered)));
    assert_eq!(store.acquire(0, "after").await.unwrap(), epoch + 1, "the fence survives");
}

fn id(n: u64) -> NotificationId {
    NotificationId((u128::from(n) << 64).to_be_bytes())
}

fn batch(epoch: Epoch, writer: u64, n: u64) -> WriteBatch {
    let first = (writer * BATCHES_OF_EACH + n) * ROWS_OF_EACH;
    let attempts = (first..first + ROWS_OF_EACH).map(delivered).collect();
    WriteBatch { fences: vec![(0, epoch)], attempts, ..WriteBatch::default() }
}

fn delivered(n: u64) -> Attempt {
    Attempt {
        day: TODAY,
        notification: id(n),
        attempt: 1,
        team: TeamId::new("acme").unwrap(),
        subscription: SubscriptionId::new("sub").unwrap(),
        destination: DestinationId::new("dst").unwrap(),
        event_type: "platform.thing".into(),
        event_id: "event".into(),
        position: Position { topic: "tidings.events".into(), partition: 0, offset: n as i64 },
        content: None,
        index_version: 1,
        at: Timestamp(n as i64),
        duration_ms: 1,
        code: Some(200),
        error: None,
        message: None,
        response: None,
        outcome: Some(Outcome::Delivered),
        next_attempt_at: None,
    }
}
