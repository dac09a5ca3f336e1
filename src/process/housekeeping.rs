//! What is done now and then: old days dropped, waiting notifications counted, lag measured.
//!
//! Nothing here is needed for an event to become a notification, so a failure is stated and tried again next time.

use std::{sync::Arc, time::Duration};

use tidings_core::domain::{Day, TopicPartition};

use crate::{
    log::{Log, LogError, partition_count},
    roles::{Clock, Stop, SystemClock},
    sources::EventsTopics,
    store::{Store, StoreError},
    telemetry::facts,
};

/// How often days are made and dropped.
const DAYS_EVERY: Duration = Duration::from_secs(3_600);
/// Days made ahead, so that a night without a process does not put its attempts into the stray ones.
const DAYS_AHEAD: i32 = 3;
/// How often something is counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Keeps `days` days of attempts, and counts what is parked, until the order to stop.
pub async fn keep_store<S: Store>(store: S, days: u32, mut stop: Stop) {
    let work = async {
        let mut keep = tokio::time::interval(DAYS_EVERY);
        let mut count = tokio::time::interval(COUNT_EVERY);
        loop {
            let done = tokio::select! {
                _ = keep.tick() => keep_days(&store, days).await,
                _ = count.tick() => count_parked(&store).await,
            };
            if let Err(error) = done {
                facts::store_failed(&error);
            }
        }
    };
    tokio::select! {
        _ = stop.ordered() => {}
        () = work => {}
    }
}

async fn count_parked<S: Store>(store: &S) -> Result<(), StoreError> {
    let waiting = store.waiting(None).await?;
    let overdue = waiting.oldest_due.map_or(0, |due| SystemClock.now().since(due).max(0));
    facts::parked(waiting.parked, Duration::from_millis(overdue as u64));
    Ok(())
}

async fn keep_days<S: Store>(store: &S, days: u32) -> Result<(), StoreError> {
    let Day(today) = SystemClock.now().day();
    let dropped = store.keep_days(Day(today.saturating_sub_unsigned(days)), Day(today + DAYS_AHEAD)).await?;
    for day in dropped {
        tracing::info!(%day, "attempts of a day dropped, by retention.days");
    }
    Ok(())
}

/// Groups whose lag is measured.
pub struct Followed<L> {
    pub log: L,
    /// Group, topic, partitions of the topic.
    pub groups: Vec<(String, Arc<str>, u32)>,
    pub match_group: String,
    /// What that group reads; those not yet in `groups` come to it.
    pub events: EventsTopics,
}

// === impl Followed ===

impl<L: Log> Followed<L> {
    /// Measures until the order to stop.
    pub async fn run(mut self, mut stop: Stop) {
        let work = async {
            let mut count = tokio::time::interval(COUNT_EVERY);
            loop {
                count.tick().await;
                if let Err(error) = self.take_up().await {
                    facts::log_failed("api", &error);
                }
                for (group, topic, partitions) in &self.groups {
                    if let Err(error) = self.measure(group, topic, *partitions).await {
                        facts::log_failed("api", &error);
                    }
                }
            }
        };
        tokio::select! {
            _ = stop.ordered() => {}
            () = work => {}
        }
    }

    async fn take_up(&mut self) -> Result<(), LogError> {
        for topic in self.events.now() {
            if !self.groups.iter().any(|(_, known, _)| *known == topic) {
                let partitions = partition_count(&self.log, &topic).await?;
                self.groups.push((self.match_group.clone(), topic, partitions));
            }
        }
        Ok(())
    }

    async fn measure(&self, group: &str, topic: &Arc<str>, partitions: u32) -> Result<(), LogError> {
        let committed = self.log.committed(group, topic).await?;
        for partition in (0..partitions).map(|partition| TopicPartition { topic: topic.clone(), partition }) {
            let bounds = self.log.bounds(partition.clone()).await?;
            let next = committed.iter().find(|(found, _)| *found == partition).map_or(bounds.start, |(_, next)| *next);
            facts::lag(group, &partition, (bounds.end - next.max(bounds.start)).max(0));
        }
        Ok(())
    }
}
