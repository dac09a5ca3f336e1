//! One matcher at work: the real role over a real log, with topics of its own, and what comes out of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings::{
    log::{BatchLimits, Group, Log, Outputs, Reader, TopicSpec},
    roles::{RoleError, Stopper, directory::follower, matcher::MatcherRole, seam::Seam, stop_pair},
    sources::{EventsTopics, Schemas},
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    domain::{Output, Record, TopicPartition},
    matcher::Options,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The topics of one installation in a log, by their names behind the prefix, with one partition each.
#[derive(Clone)]
pub struct Topics<L> {
    pub log: L,
    pub prefix: String,
}

/// A matcher that runs until it is [stopped](Matching::stop).
pub struct Matching {
    pub readiness: Readiness,
    stopper: Stopper,
    role: JoinHandle<Result<(), RoleError>>,
    following: JoinHandle<()>,
}

// === impl Topics ===

impl<L: Log> Topics<L> {
    /// All that a matcher needs but those named in `without`.
    pub async fn made(log: L, prefix: String, without: &[&str]) -> Topics<L> {
        let topics = Topics { log, prefix };
        for name in ["events", "directory", "deliveries", "deadletters", "index_versions"] {
            if !without.contains(&name) {
                topics.create(name).await;
            }
        }
        topics
    }

    pub fn name(&self, topic: &str) -> Arc<str> {
        format!("{}{topic}", self.prefix).into()
    }

    pub async fn create(&self, topic: &str) {
        let spec = TopicSpec { name: self.name(topic), partitions: 1, settings: Vec::new() };
        self.log.create_topic(spec).await.unwrap();
    }

    pub async fn put(&self, topic: &str, key: Option<&str>, values: &[Bytes]) {
        let output = |value: &Bytes| Output {
            topic: self.name(topic),
            partition: Some(0),
            key: key.map(|key| Bytes::from(key.to_owned())),
            value: Some(value.clone()),
            headers: Vec::new(),
        };
        self.log.append(values.iter().map(output).collect()).await.unwrap();
    }

    /// Everything that is in a topic now.
    pub async fn read(&self, topic: &str) -> Vec<Record> {
        let partition = TopicPartition { topic: self.name(topic), partition: 0 };
        let bounds = self.log.bounds(partition.clone()).await.unwrap();
        let mut reader = self.log.reader(partition, bounds.start).await.unwrap();
        let (mut records, give_up) = (Vec::new(), Instant::now() + PATIENCE);
        while reader.position() < bounds.end {
            assert!(Instant::now() < give_up, "at {} of {}", reader.position(), bounds.end);
            records.extend(reader.next(Duration::from_millis(200)).await.unwrap());
        }
        records
    }

    /// Up to where the matcher has come in a topic.
    pub async fn committed(&self, topic: &str) -> i64 {
        let committed = self.log.committed(&self.group(), &self.name(topic)).await.unwrap();
        committed.first().map_or(0, |(_, next)| *next)
    }

    fn group(&self) -> String {
        format!("{}match", self.prefix)
    }

    /// Starts a matcher. It need not be ready when this returns.
    pub fn start(&self, readiness: Readiness, schemas: Schemas, events: EventsTopics) -> Matching {
        let (stopper, stop) = stop_pair();
        let (log, directory) = (self.log.clone(), self.name("directory"));
        let (following, view) = follower(log.clone(), directory, Catalog::builtin(), readiness.clone());
        let following = tokio::spawn(following.run(stop.clone(), |_| {}));
        let role = MatcherRole {
            log,
            group: Group {
                name: self.group(),
                topics: events.now(),
                instance: format!("{}one", self.prefix),
                outputs: Outputs::Transactional,
                batch: BatchLimits { records: 100, bytes: 1 << 20, time: Duration::from_millis(5) },
            },
            events,
            view,
            schemas,
            options: Options {
                deliveries: self.name("deliveries"),
                deadletters: self.name("deadletters"),
                index_versions: self.name("index_versions"),
                delivery_partitions: 1,
                max_fanout: 100,
                max_fanout_bytes: 1 << 20,
                max_batch_bytes: 1 << 20,
                threads: 2,
            },
            readiness: readiness.clone(),
            seam: Seam::closed(),
        };
        Matching { readiness, stopper, role: tokio::spawn(role.run(stop)), following }
    }
}

// === impl Matching ===

impl Matching {
    pub fn is_up(&self) -> bool {
        !self.role.is_finished()
    }

    pub async fn ready(&self) {
        until("ready", async || self.readiness.reasons().is_empty()).await;
    }

    /// Stops it, in good order and in time.
    pub async fn stop(self) {
        self.stopper.stop();
        timeout(Duration::from_secs(5), self.role).await.expect("in time").unwrap().unwrap();
        self.following.await.unwrap();
    }
}

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
