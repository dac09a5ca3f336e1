//! What goes on while the blows fall: events are published, the directory changes, and somebody looks on.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;
use tidings::log::{Log, LogError, Reader, kafka::KafkaLog};
use tidings_core::{
    codec,
    domain::{Delivery, NotificationId, Output, TopicPartition},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};

use crate::{
    installation::{edit, publish},
    program::Api,
    receiver::Receiver,
    registry,
    workload::{Changes, Workload},
};

/// What the tasks of a run share.
pub struct Traffic {
    workload: Workload,
    /// Events a second; [`SATURATED`] is as fast as they are taken.
    rate: AtomicU64,
    /// The number of the next event to be handed over.
    handed: AtomicU64,
    acknowledged: AtomicU64,
    limit: AtomicU64,
    changes_made: AtomicU64,
    stop: AtomicBool,
    violations: Mutex<Vec<String>>,
    /// Final outcomes as they were seen during the run: which attempt, when, and how.
    finals: Mutex<HashMap<NotificationId, Final>>,
    /// How many deliveries of each partition of events are in the topic.
    matched: Vec<AtomicU64>,
    /// What the reader that reads along has seen: of each partition, offsets and notifications in order.
    along: Mutex<Vec<Vec<(i64, NotificationId)>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    pub attempt: i64,
    pub outcome: String,
}

/// Where events go in.
#[derive(Clone)]
pub enum Inlet {
    /// Past our API, as other programs' producers do.
    Topic {
        log: KafkaLog,
        topic: Arc<str>,
        partitions: u32,
    },
    Http(Api),
}

pub const SATURATED: u64 = u64::MAX;
/// Events handed over at one time, at saturation.
const CHUNK: u64 = 1_000;
/// At saturation, how far the publisher is ahead of the receiver: enough to keep everybody busy, and not more, so that a
/// run ends.
const AHEAD: u64 = 3_000;
/// Changes under way together.
const EDITORS: usize = 16;
const PUBLISH_EVERY: Duration = Duration::from_millis(20);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
const WATCH_EVERY: Duration = Duration::from_secs(1);

// === impl Traffic ===

impl Traffic {
    pub fn new(workload: Workload, partitions: u32) -> Arc<Traffic> {
        Arc::new(Traffic {
            workload,
            rate: AtomicU64::new(0),
            handed: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            changes_made: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            violations: Mutex::default(),
            finals: Mutex::default(),
            matched: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            along: Mutex::new(vec![Vec::new(); partitions as usize]),
        })
    }

    /// From now on so many events a second, up to this many in all.
    pub fn go(&self, rate: u64, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Events a second.
    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Every task ends after what it has begun.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Every event below this number was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn changes_made(&self) -> u64 {
        self.changes_made.load(Ordering::Relaxed)
    }

    pub fn violation(&self, what: String) {
        println!("VIOLATION: {what}");
        self.violations.lock().unwrap().push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub fn finals(&self) -> HashMap<NotificationId, Final> {
        self.finals.lock().unwrap().clone()
    }

    /// How many deliveries of each partition of events have been read along.
    pub fn matched(&self) -> Vec<u64> {
        self.matched.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    pub fn along(&self) -> Vec<Vec<(i64, NotificationId)>> {
        self.along.lock().unwrap().clone()
    }

    // --- tasks ---

    /// Publishes each event until it is acknowledged, in the order of their numbers.
    pub async fn publish(self: Arc<Traffic>, inlet: Inlet, receiver: Receiver) {
        let (mut owed, mut last) = (0.0, Instant::now());
        while !self.is_stopped() {
            let (rate, first) = (self.rate.load(Ordering::Relaxed), self.handed());
            let elapsed = last.elapsed().as_secs_f64();
            last = Instant::now();
            let due = if rate == SATURATED {
                if first < receiver.slowest() + AHEAD { CHUNK } else { 0 }
            } else {
                // After an outage, what was missed comes at most a second's worth at a time.
                owed = (owed + elapsed * rate as f64).min(rate as f64);
                owed as u64
            };
            let count = due.min(self.limit.load(Ordering::Relaxed).saturating_sub(first));
            if count == 0 {
                sleep(PUBLISH_EVERY).await;
                continue;
            }
            owed = (owed - count as f64).max(0.0);
            self.handed.store(first + count, Ordering::Relaxed);
            let events: Vec<Value> = (first..first + count).map(|number| self.workload.event(number)).collect();
            while !inlet.take(first, &events).await {
                sleep(TRY_AGAIN_AFTER).await;
            }
            self.acknowledged.store(first + count, Ordering::Relaxed);
            if rate != SATURATED {
                sleep(PUBLISH_EVERY).await;
            }
        }
    }

    /// Changes the directory all the time, each change until it is made. Some are under way together, because one
    /// waits for lock, transaction and fold.
    pub async fn change(self: Arc<Traffic>, api: Api, mut changes: Changes, per_second: u64) {
        let mut under_way = JoinSet::new();
        let mut due = tokio::time::interval(Duration::from_secs(1) / per_second as u32);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_stopped() {
            due.tick().await;
            if under_way.len() >= EDITORS {
                under_way.join_next().await;
            }
            let (traffic, api, change) = (self.clone(), api.clone(), changes.next());
            under_way.spawn(async move {
                while !edit(&api, &change).await && !traffic.is_stopped() {
                    sleep(TRY_AGAIN_AFTER).await;
                }
                traffic.changes_made.fetch_add(1, Ordering::Relaxed);
            });
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Looks at the newest attempts again and again, and holds what has ended against what was seen before.
    pub async fn watch(self: Arc<Traffic>, api: Api) {
        while !self.is_stopped() {
            sleep(WATCH_EVERY).await;
            let Ok((status, answer)) = api.ask(Method::GET, "/v1/attempts?limit=1000", &Value::Null).await else {
                continue;
            };
            for row in answer["items"].as_array().into_iter().flatten().filter(|_| status.is_success()) {
                let Some(outcome) = row["outcome"].as_str() else { continue };
                let id: NotificationId = row["notification"].as_str().unwrap().parse().unwrap();
                let seen = Final { attempt: row["attempt"].as_i64().unwrap(), outcome: outcome.to_owned() };
                let before = self.finals.lock().unwrap().insert(id, seen.clone());
                if let Some(before) = before.filter(|before| *before != seen) {
                    self.violation(format!("{id} had ended as {before:?} and then as {seen:?}"));
                }
            }
        }
    }

    /// Reads committed deliveries while they are written.
    pub async fn read_along(self: Arc<Traffic>, log: KafkaLog, topic: Arc<str>) {
        let partitions = self.along.lock().unwrap().len() as u32;
        let mut readers = JoinSet::new();
        for partition in 0..partitions {
            let (traffic, log) = (self.clone(), log.clone());
            let place = TopicPartition { topic: topic.clone(), partition };
            readers.spawn(async move {
                let mut reader = log.reader(place, 0).await.expect("a reader");
                while !traffic.is_stopped() {
                    match reader.next(WATCH_EVERY).await {
                        Ok(records) => {
                            let read = records.iter().map(|record| {
                                let delivery = delivery(record.value.as_ref());
                                let matched = &traffic.matched[delivery.position.partition as usize];
                                matched.fetch_add(1, Ordering::Relaxed);
                                (record.offset, delivery.id)
                            });
                            let read: Vec<_> = read.collect();
                            traffic.along.lock().unwrap()[partition as usize].extend(read);
                        }
                        Err(LogError::Unavailable(_)) => sleep(TRY_AGAIN_AFTER).await,
                        Err(error) => return traffic.violation(format!("the reader that reads along ended: {error}")),
                    }
                }
            });
        }
        while readers.join_next().await.is_some() {}
    }
}

fn delivery(value: Option<&Bytes>) -> Delivery {
    codec::decode_delivery(value.expect("a value")).expect("a delivery")
}

// === impl Inlet ===

impl Inlet {
    /// Whether all of them were acknowledged.
    async fn take(&self, first: u64, events: &[Value]) -> bool {
        match self {
            Inlet::Http(api) => publish(api, events).await,
            Inlet::Topic { log, topic, partitions } => {
                let output = |(number, event): (u64, &Value)| Output {
                    topic: topic.clone(),
                    partition: Some((number % u64::from(*partitions)) as u32),
                    key: None,
                    value: Some(Bytes::from(registry::framed(event.to_string()))),
                    headers: Vec::new(),
                };
                log.append((first..).zip(events).map(output).collect()).await.is_ok()
            }
        }
    }
}
