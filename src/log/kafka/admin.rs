//! Questions to the cluster and the creation of topics. Everything here but [`Cluster::topics`] and
//! [`Cluster::create_topic`] blocks: callers are on a thread that may.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    topic_partition_list::Offset,
};
use tidings_core::domain::{Output, TopicPartition};

use super::{
    errors::{by_code, by_response, log_error},
    records::{Quiet, output_bytes, partition_list},
    settings::{KafkaSettings, REQUEST_TIMEOUT},
};
use crate::log::{Bounds, LogError, Offsets, TopicSpec, TopicState};

/// Between looks at a topic just made, until every broker knows it.
const CREATION_PAUSE: Duration = Duration::from_millis(50);
/// Between looks at a record just appended, until readers of committed records see it: a few milliseconds, mostly.
const VISIBLE_PAUSE: Duration = Duration::from_millis(1);
/// Events served after a question. A client that is never polled would keep every log line it has.
const EVENTS_SERVED: usize = 64;

/// The connection that all clones of the log share.
pub(super) struct Cluster {
    pub(super) settings: KafkaSettings,
    query: BaseConsumer<Quiet>,
    admin: AdminClient<Quiet>,
    /// One client per group asked about; groups are few.
    groups: Mutex<BTreeMap<String, Arc<BaseConsumer<Quiet>>>>,
    /// Topics seen to exist. A producer would create others without asking, where brokers allow it.
    known: Mutex<HashSet<Arc<str>>>,
}

// === impl Cluster ===

impl Cluster {
    pub(super) fn new(settings: KafkaSettings) -> Result<Cluster, LogError> {
        settings.check()?;
        let query = settings.query().create_with_context(Quiet).map_err(|e| log_error("making a client", e))?;
        let admin = settings.admin().create_with_context(Quiet).map_err(|e| log_error("making a client", e))?;
        Ok(Cluster { settings, query, admin, groups: Mutex::default(), known: Mutex::default() })
    }

    /// Refuses what a producer must not be given, before any of it is written.
    pub(super) fn check_outputs(&self, outputs: &[Output]) -> Result<(), LogError> {
        let max = self.settings.max_record_bytes();
        let mut unknown: Vec<Arc<str>> = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut last: Option<&Arc<str>> = None;
            for output in outputs {
                let size = output_bytes(output);
                if size > max {
                    return Err(LogError::TooLarge { topic: output.topic.to_string(), size, max });
                }
                // Nearly all of a batch go to one topic.
                if last.is_some_and(|last| Arc::ptr_eq(last, &output.topic)) {
                    continue;
                }
                last = Some(&output.topic);
                if !known.contains(&output.topic) && !unknown.contains(&output.topic) {
                    unknown.push(output.topic.clone());
                }
            }
        }
        unknown.iter().try_for_each(|topic| self.check_topic(topic))
    }

    /// A question of somebody's own.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&BaseConsumer<Quiet>) -> T) -> T {
        let answer = question(&self.query);
        serve(&self.query);
        answer
    }

    pub(super) fn check_topic(&self, topic: &Arc<str>) -> Result<(), LogError> {
        match self.partitions(topic, REQUEST_TIMEOUT)? {
            Some(_) => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.clone());
                Ok(())
            }
            None => Err(LogError::UnknownTopic(topic.to_string())),
        }
    }

    /// How many partitions a topic has; `None` if it does not exist.
    fn partitions(&self, topic: &str, time: Duration) -> Result<Option<u32>, LogError> {
        let doing = format!("asking about topic {topic}");
        let metadata = self.ask(|query| query.fetch_metadata(Some(topic), time)).map_err(|e| log_error(&doing, e))?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
        match found.error() {
            None => Ok(Some(found.partitions().len() as u32)),
            Some(error) if Code::from(error) == Code::UnknownTopicOrPartition => Ok(None),
            Some(error) => Err(by_response(&doing, error)),
        }
    }

    pub(super) fn topic_names(&self) -> Result<Vec<Arc<str>>, LogError> {
        let metadata = self.ask(|query| query.fetch_metadata(None, REQUEST_TIMEOUT));
        let metadata = metadata.map_err(|error| log_error("asking for the list of topics", error))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().into()).collect())
    }

    /// First and end offsets for a reader of committed records: the end is where the oldest open transaction starts.
    pub(super) fn bounds(&self, partition: &TopicPartition) -> Result<Bounds, LogError> {
        self.bounds_within(partition, REQUEST_TIMEOUT)
    }

    pub(super) fn bounds_within(&self, partition: &TopicPartition, time: Duration) -> Result<Bounds, LogError> {
        match self.partitions(&partition.topic, time)? {
            None => return Err(LogError::UnknownTopic(partition.topic.to_string())),
            Some(count) if partition.partition >= count => {
                return Err(LogError::Refused(format!("partition {partition}: the topic has {count}")));
            }
            Some(_) => {}
        }
        let found = self.ask(|query| query.fetch_watermarks(&partition.topic, partition.partition as i32, time));
        let (start, end) = found.map_err(|e| log_error(&format!("asking for the bounds of {partition}"), e))?;
        Ok(Bounds { start, end })
    }

    /// Waits until readers of committed records can see these, and so everything that was appended with them.
    pub(super) fn wait_until_visible(&self, places: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        for (partition, offset) in places {
            loop {
                let hidden = match self.bounds(partition) {
                    Ok(bounds) if bounds.end > *offset => break,
                    Ok(bounds) => format!("committed records of {partition} end at {}", bounds.end),
                    Err(error) => error.to_string(),
                };
                if Instant::now() >= deadline {
                    let reason = format!("appended at offset {offset}, but not yet to be seen: {hidden}");
                    return Err(LogError::Unavailable(reason));
                }
                thread::sleep(VISIBLE_PAUSE);
            }
        }
        Ok(())
    }

    pub(super) fn committed(&self, group: &str, topic: &str) -> Result<Offsets, LogError> {
        let Some(count) = self.partitions(topic, REQUEST_TIMEOUT)? else {
            return Err(LogError::UnknownTopic(topic.into()));
        };
        let topic: Arc<str> = topic.into();
        let all: Vec<_> = (0..count).map(|partition| TopicPartition { topic: topic.clone(), partition }).collect();
        let client = self.group_client(group)?;
        let found = committed_offsets(&client, &all);
        serve(&client);
        Ok(found?.into_iter().collect())
    }

    fn group_client(&self, group: &str) -> Result<Arc<BaseConsumer<Quiet>>, LogError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = groups.get(group) {
            return Ok(client.clone());
        }
        let made = self.settings.group_query(group).create_with_context(Quiet);
        let client: Arc<BaseConsumer<Quiet>> = Arc::new(made.map_err(|e| log_error("making a client", e))?);
        groups.insert(group.into(), client.clone());
        Ok(client)
    }

    pub(super) async fn topics(self: &Arc<Self>, names: &[Arc<str>]) -> Result<Vec<TopicState>, LogError> {
        let mut found = Vec::new();
        for name in names {
            let (cluster, topic) = (self.clone(), name.clone());
            if let Some(partitions) = blocking(move || cluster.partitions(&topic, REQUEST_TIMEOUT)).await? {
                found.push(TopicState { name: name.clone(), partitions, settings: Vec::new() });
            }
        }
        if found.is_empty() {
            return Ok(found);
        }

        let wanted: Vec<_> = found.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let doing = "asking for topic settings";
        let answers =
            self.admin.describe_configs(&wanted, &options()).await.map_err(|error| log_error(doing, error))?;
        for (topic, answer) in found.iter_mut().zip(answers) {
            let resource = answer.map_err(|code| by_code(doing, code))?;
            topic.settings = resource
                .entries
                .into_iter()
                .filter(|entry| !entry.is_sensitive)
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect();
            topic.settings.sort();
        }
        Ok(found)
    }

    pub(super) async fn create_topic(self: &Arc<Self>, spec: TopicSpec) -> Result<bool, LogError> {
        let doing = format!("creating topic {}", spec.name);
        // The cluster's own replication factor: what its operator wants.
        let mut topic = NewTopic::new(&spec.name, spec.partitions as i32, TopicReplication::Fixed(-1));
        for (key, value) in &spec.settings {
            topic = topic.set(key, value);
        }
        let answers = self.admin.create_topics([&topic], &options()).await.map_err(|e| log_error(&doing, e))?;
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err((_, Code::TopicAlreadyExists)) => return Ok(false),
                Err((_, code)) => return Err(by_code(&doing, code)),
            }
        }
        let cluster = self.clone();
        blocking(move || cluster.wait_for_topic(&spec)).await?;
        Ok(true)
    }

    /// Brokers learn of a new topic one after the other; until then it can be neither written nor read.
    fn wait_for_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let last = TopicPartition { topic: spec.name.clone(), partition: spec.partitions.saturating_sub(1) };
        loop {
            match self.bounds(&last) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => thread::sleep(CREATION_PAUSE),
            }
        }
    }
}

/// Offsets committed by the group of `client`, for those of `partitions` that have any. While a transaction with such
/// offsets is open, this waits for its end: the answer is never older than what a predecessor committed.
pub(super) fn committed_offsets<C: rdkafka::consumer::ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
    let doing = "asking for committed offsets";
    let answer: TopicPartitionList =
        client.committed_offsets(partition_list(partitions), REQUEST_TIMEOUT).map_err(|e| log_error(doing, e))?;
    let mut found = BTreeMap::new();
    for element in answer.elements() {
        let partition = TopicPartition { topic: element.topic().into(), partition: element.partition() as u32 };
        match (element.error(), element.offset()) {
            (Err(KafkaError::OffsetFetch(code)), _) => return Err(by_code(doing, code)),
            (Err(error), _) => return Err(log_error(doing, error)),
            (Ok(()), Offset::Offset(offset)) => drop(found.insert(partition, offset)),
            // None committed.
            (Ok(()), _) => {}
        }
    }
    Ok(found)
}

/// Runs what blocks where that is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(LogError::Refused(format!("a request to kafka ended abnormally: {error}"))),
    }
}

fn serve(client: &BaseConsumer<Quiet>) {
    for _ in 0..EVENTS_SERVED {
        // Neither client reads records: whatever comes is an error that `Quiet` has logged already.
        drop(client.poll(Duration::ZERO));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}
