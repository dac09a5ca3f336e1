//! The log on a Kafka cluster, 2.5 or newer.
//!
//! Every member is one OS thread that owns one consumer and one producer; async tasks talk to it by channels. Why it
//! is not rdkafka's own async side, and which of its flaws are stepped around, stands where it matters:
//! [`worker`] for groups and rebalances, [`producer`] for transactions, [`reader`] for reading by position.
//!
//! The room does *not* create topics unless asked to, and keeps nothing: what it knows is in the cluster.
//!
//! Reading order: this file, [`settings`], [`member`], [`inbox`], [`worker`], [`commit`], [`producer`], [`caller`],
//! [`plain`], [`reader`], [`admin`], [`records`], [`errors`]; and for whoever looks whether all is well, [`connection`], [`access`].

mod access;
mod admin;
mod caller;
mod commit;
mod connection;
mod errors;
mod inbox;
mod member;
mod orphans;
mod plain;
mod producer;
mod reader;
mod records;
mod revive;
mod settings;
mod worker;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidings_core::domain::{Output, TopicPartition};

pub use self::{access::Access, member::KafkaMember, reader::KafkaReader, settings::KafkaSettings};
use self::{
    admin::{Cluster, blocking},
    plain::Plain,
    producer::{Failure, Transactional},
};
use super::{Appender, Bounds, Group, Log, LogError, Offsets, TopicSpec, TopicState};

/// A log on Kafka. Clones share one connection for questions and one producer for independent records.
#[derive(Clone)]
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    /// Made when first needed: most processes append nothing outside a member.
    plain: Arc<OnceLock<Plain>>,
}

/// A writer that fences its predecessor.
///
/// Its producer is not replaced after an unknown outcome ([`LogError::Unavailable`]): that would fence whoever has
/// taken over in the meantime. Make a new one, under the same lock as the first, and read what is there.
pub struct KafkaAppender {
    cluster: Arc<Cluster>,
    /// `None` once the outcome of an append is unknown.
    producer: Arc<Mutex<Option<Transactional>>>,
}

// === impl KafkaLog ===

impl KafkaLog {
    /// Checks the settings. Nothing is connected to yet: a cluster that is away is found out by the first request.
    pub fn new(settings: KafkaSettings) -> Result<KafkaLog, LogError> {
        Ok(KafkaLog { cluster: Arc::new(Cluster::new(settings)?), plain: Arc::default() })
    }

    /// Connects once, for its error: it says what librdkafka says only to its log.
    pub async fn connect(&self) -> Result<(), LogError> {
        let settings = self.cluster.settings.clone();
        blocking(move || connection::connect(&settings)).await
    }

    /// Whether we may do this. Changes nothing.
    pub async fn may(&self, access: Access) -> Result<(), LogError> {
        let settings = self.cluster.settings.clone();
        blocking(move || access::may(&settings, &access)).await
    }
}

impl Log for KafkaLog {
    type Member = KafkaMember;
    type Reader = KafkaReader;
    type Appender = KafkaAppender;

    async fn join(&self, group: Group) -> Result<KafkaMember, LogError> {
        KafkaMember::join(self.cluster.clone(), group).await
    }

    async fn reader(&self, partition: TopicPartition, from: i64) -> Result<KafkaReader, LogError> {
        KafkaReader::open(self.cluster.clone(), partition, from).await
    }

    async fn appender(&self, name: &str) -> Result<KafkaAppender, LogError> {
        let (cluster, name) = (self.cluster.clone(), name.to_owned());
        blocking(move || {
            let producer = Arc::new(Mutex::new(Some(Transactional::new(&cluster.settings, &name)?)));
            Ok(KafkaAppender { cluster, producer })
        })
        .await
    }

    async fn append(&self, outputs: Vec<Output>) -> Result<(), LogError> {
        let log = self.clone();
        blocking(move || {
            log.cluster.check_outputs(&outputs)?;
            if log.plain.get().is_none() {
                // If two make one at the same time, one of them is dropped unused.
                log.plain.set(Plain::new(&log.cluster.settings)?).ok();
            }
            log.plain.get().map_or(Ok(()), |plain| plain.append(&outputs))
        })
        .await
    }

    async fn bounds(&self, partition: TopicPartition) -> Result<Bounds, LogError> {
        let cluster = self.cluster.clone();
        blocking(move || cluster.bounds(&partition)).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, LogError> {
        let (cluster, group, topic) = (self.cluster.clone(), group.to_owned(), topic.to_owned());
        blocking(move || cluster.committed(&group, &topic)).await
    }

    async fn topics(&self, names: &[Arc<str>]) -> Result<Vec<TopicState>, LogError> {
        self.cluster.topics(names).await
    }

    async fn topic_names(&self) -> Result<Vec<Arc<str>>, LogError> {
        let cluster = self.cluster.clone();
        blocking(move || cluster.topic_names()).await
    }

    async fn create_topic(&self, spec: TopicSpec) -> Result<bool, LogError> {
        self.cluster.create_topic(spec).await
    }
}

// === impl KafkaAppender ===

impl Appender for KafkaAppender {
    async fn append(&mut self, outputs: Vec<Output>) -> Result<(), LogError> {
        let (cluster, producer) = (self.cluster.clone(), self.producer.clone());
        blocking(move || {
            cluster.check_outputs(&outputs)?;
            let mut slot = producer.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(producer) = slot.as_ref() else {
                return Err(LogError::Unavailable(
                    "the outcome of an earlier append is unknown: make a new appender".into(),
                ));
            };
            if outputs.is_empty() {
                return Ok(());
            }
            let failure = match producer.commit_where(&outputs) {
                Ok(places) => return cluster.wait_until_visible(&places),
                Err(Failure::Aborted(error)) => return Err(aborted(error)),
                Err(failure) => failure,
            };
            *slot = None;
            Err(match failure {
                Failure::Final(error) | Failure::Aborted(error) => error,
                Failure::Replace(reason) => LogError::Unavailable(reason),
            })
        })
        .await
    }
}

/// Nothing was written; some errors say more than that.
fn aborted(error: LogError) -> LogError {
    match error {
        LogError::Refused(_) | LogError::UnknownTopic(_) => error,
        error => LogError::Aborted(error.to_string()),
    }
}
