//! Whether we may do what we will have to: asked of the brokers without changing anything there.
//!
//! Kafka tells nobody his rights but by refusing. So each right is tried with a request that fails for another reason
//! once it is allowed, or that finds nothing: a record that is larger than its topic takes, a read at the end of a topic.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    topic_partition_list::Offset,
};

use super::{
    errors::{by_code, log_error},
    producer::Transactional,
    records::forward_log,
    settings::{KafkaSettings, REQUEST_TIMEOUT},
};
use crate::log::LogError;

/// One thing that somebody may do or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Read {
        topic: Arc<str>,
    },
    /// `max_message_bytes` is the topic's own bound: the record that is tried is beyond it.
    Write {
        topic: Arc<str>,
        max_message_bytes: usize,
    },
    /// To ask a group's coordinator. Who may be a member of the group may; a right to look at it is enough, too.
    Use {
        group: String,
        topic: Arc<str>,
    },
    /// To write in transactions of this id. Nobody else may use it.
    Transact {
        id: String,
    },
}

/// Beyond a topic's bound by so much; the frame around a record is smaller.
const TOO_MANY_BYTES: usize = 1_024;
/// The coordinator was asked before the first read, so its answer is not far behind that of the read.
const COORDINATOR_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Keeps the first answer that a request got.
#[derive(Clone, Default)]
struct Answered(Arc<Mutex<Option<Result<(), Code>>>>);

/// [`LogError::Refused`]: we may not. Blocks for up to 10 s.
pub(super) fn may(settings: &KafkaSettings, access: &Access) -> Result<(), LogError> {
    match access {
        Access::Read { topic } => may_read(settings, topic),
        Access::Write { topic, max_message_bytes } => may_write(settings, topic, *max_message_bytes),
        Access::Use { group, topic } => may_use(settings, group, topic),
        Access::Transact { id } => Transactional::new(settings, id).map(drop),
    }
}

/// Reads at the end of a partition, where there is nothing but the answer that there is nothing.
fn may_read(settings: &KafkaSettings, topic: &str) -> Result<(), LogError> {
    let doing = format!("reading topic {topic}");
    let mut config = settings.reader();
    config.set("enable.partition.eof", "true");
    let client: BaseConsumer<Answered> =
        config.create_with_context(Answered::default()).map_err(|error| log_error(&doing, error))?;
    assign_end(&client, topic).map_err(|error| log_error(&doing, error))?;
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    while Instant::now() < deadline {
        match client.poll(LOOK_EVERY) {
            None => {}
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            // Others are of the group whose name a reader must have.
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                return Err(by_code(&doing, Code::TopicAuthorizationFailed));
            }
            Some(Err(_)) => {}
        }
    }
    Err(LogError::Unavailable(format!("{doing}: no answer")))
}

/// Writes a record that the topic does not take. Whether we may is asked before how large it is.
fn may_write(settings: &KafkaSettings, topic: &str, max_message_bytes: usize) -> Result<(), LogError> {
    let doing = format!("writing topic {topic}");
    let answered = Answered::default();
    let producer: BaseProducer<Answered> = settings
        .oversized(max_message_bytes + 2 * TOO_MANY_BYTES)
        .create_with_context(answered.clone())
        .map_err(|error| log_error(&doing, error))?;
    let value = vec![0; max_message_bytes + TOO_MANY_BYTES];
    let record: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(topic).partition(0).key(b"check".as_slice()).payload(&value);
    producer.send(record).map_err(|(error, _)| log_error(&doing, error))?;
    let found = answered.wait(|| {
        producer.poll(LOOK_EVERY);
    });
    producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    match found {
        Some(Err(Code::MessageSizeTooLarge | Code::InvalidRecord) | Ok(())) => Ok(()),
        Some(Err(code)) => Err(by_code(&doing, code)),
        None => Err(LogError::Unavailable(format!("{doing}: no answer"))),
    }
}

/// Reads at the end of a partition under the group's name, but joins nothing: librdkafka asks for the group's coordinator at
/// once, and is refused by it if we have no right to the group.
fn may_use(settings: &KafkaSettings, group: &str, topic: &str) -> Result<(), LogError> {
    let doing = format!("using group {group}");
    let mut config = settings.group_query(group);
    config.set("auto.offset.reset", "latest").set("enable.partition.eof", "true");
    let answered = Answered::default();
    let client: BaseConsumer<Answered> =
        config.create_with_context(answered.clone()).map_err(|error| log_error(&doing, error))?;
    assign_end(&client, topic).map_err(|error| log_error(&doing, error))?;
    let mut deadline = Instant::now() + REQUEST_TIMEOUT;
    let mut read = false;
    while Instant::now() < deadline {
        let code = match client.poll(LOOK_EVERY) {
            None => None,
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {
                if !read {
                    deadline = deadline.min(Instant::now() + COORDINATOR_ANSWERS_WITHIN);
                }
                read = true;
                None
            }
            Some(Err(error)) => error.rdkafka_error_code(),
        };
        match code.or(answered.code()) {
            Some(Code::GroupAuthorizationFailed) => return Err(by_code(&doing, Code::GroupAuthorizationFailed)),
            // Who may not read the topic is told so where that is tried.
            Some(Code::TopicAuthorizationFailed) => return Ok(()),
            _ => {}
        }
    }
    if read { Ok(()) } else { Err(LogError::Unavailable(format!("{doing}: no answer"))) }
}

fn assign_end(client: &BaseConsumer<Answered>, topic: &str) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::End)?;
    client.assign(&list)
}

fn is_unauthorised(code: Code) -> bool {
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed)
}

// === impl Answered ===

impl Answered {
    fn take(&self, answer: Option<Result<(), Code>>) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *first = first.take().or(answer);
    }

    fn code(&self) -> Option<Code> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).and_then(Result::err)
    }

    /// Calls `poll`, which waits a little, until there is an answer; `None` if there is none in time.
    fn wait(&self, mut poll: impl FnMut()) -> Option<Result<(), Code>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            poll();
            let answer = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if answer.is_some() || Instant::now() >= deadline {
                return answer;
            }
        }
    }
}

impl ClientContext for Answered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        forward_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, _: &str) {
        self.take(error.rdkafka_error_code().filter(|code| is_unauthorised(*code)).map(Err));
    }
}

impl ConsumerContext for Answered {}

impl ProducerContext for Answered {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let answer = match report {
            Ok(_) => Some(Ok(())),
            Err((error, _)) => error.rdkafka_error_code().map(Err),
        };
        self.take(answer);
    }
}
