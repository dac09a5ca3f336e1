//! What Tidings is held against: the same work without what makes it Tidings.
//!
//! [`Copy`] is consume, add the bytes of a delivery's envelope, produce, commit: a matcher that matches nothing, with the
//! same client, the same settings and the same batches. [`Posts`] are HTTP connections that send what they are given: a
//! sender that signs nothing, limits nothing and writes nothing down.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use tidings::log::{Log, TopicSpec, kafka::KafkaLog};
use tidings_core::{
    codec::encode_delivery,
    domain::{Day, Delivery, DestinationId, NotificationId, Position, SubscriptionId, TeamId, Timestamp},
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

/// One copying thread, until it is dropped.
pub struct Copy {
    stop: Arc<AtomicBool>,
    copied: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

/// How a copy commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// Outputs and offsets in one transaction.
    Transactional,
    /// Outputs acknowledged, then offsets.
    AtLeastOnce,
}

/// From where to where.
#[derive(Clone, Debug)]
pub struct Route {
    pub brokers: String,
    pub from: String,
    pub to: String,
}

/// Connections that post what they are given, one request at a time each.
pub struct Posts {
    queues: Vec<mpsc::Sender<Post>>,
    tasks: JoinSet<anyhow::Result<()>>,
    next: usize,
}

struct Post {
    id: String,
    body: Bytes,
}

/// Records in one transaction: that of `match.batch_records`.
pub const BATCH_RECORDS: usize = 5_000;
/// Partitions of the deliveries, as the product's.
const PARTITIONS: u32 = 12;
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// The longest sleep of a thread that is to look whether it is to stop.
const IDLE: Duration = Duration::from_millis(100);
/// Between looks at what is still in flight, as in the product.
const DRAIN_PAUSE: Duration = Duration::from_micros(50);
/// Where a delivery's id stands, after the marker and the schema's fingerprint.
const ID: Range<usize> = 10..26;
/// Spreads a number over all bytes: the golden ratio's, of 128 bits.
const ODD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
/// How often offsets of what was posted are committed, as the sender does.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// What a delivery has before its event, in bytes as they are: ids, names, positions.
pub fn envelope() -> Vec<u8> {
    let name = |text: &str| text.to_owned();
    let delivery = Delivery {
        id: NotificationId([7; 16]),
        day: Day(20_780),
        team: TeamId::new("team-17").expect("a name"),
        subscription: SubscriptionId::new("subscription-1234").expect("a name"),
        subscription_revision: 1,
        destination: DestinationId::new("hook").expect("a name"),
        destination_revision: 1,
        destination_hash: 4_000_000_000,
        event_type: name(crate::events::TYPE).into(),
        event_id: name("evt-000000012345").into(),
        event_source: name("measure.1790000000000000.0.events").into(),
        event_time: None,
        event_subject: None,
        index_version: 1_100,
        position: Position { topic: name("measure.1790000000000000.0.events").into(), partition: 7, offset: 123_456 },
        recorded_at: Timestamp(1_790_000_000_000),
        replayed_at: None,
        codec: name("json").into(),
        event: Bytes::new(),
    };
    encode_delivery(&delivery).to_vec()
}

/// Makes the topic that a copy writes to.
pub async fn make_topic(log: &KafkaLog, name: &str) -> anyhow::Result<()> {
    log.create_topic(TopicSpec { name: name.into(), partitions: PARTITIONS, settings: Vec::new() }).await?;
    Ok(())
}

fn consumer(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    // The product's settings.
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("group.instance.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "10000")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "4194304")
        .set("fetch.queue.backoff.ms", "5")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .create()?)
}

fn producer(brokers: &str, transactional_id: Option<&str>) -> anyhow::Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "3")
        .set("compression.type", "lz4")
        .set("enable.idempotence", "true")
        .set("transaction.timeout.ms", "15000")
        .set("message.timeout.ms", "12000");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    Ok(config.create()?)
}

// === impl Copy ===

impl Copy {
    pub fn start(route: Route, commits: Commits) -> Copy {
        let (stop, copied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ordered, count) = (stop.clone(), copied.clone());
        let thread = thread::spawn(move || copy(&route, commits, &ordered, &count));
        Copy { stop, copied, thread: Some(thread) }
    }

    /// Records whose commit is through.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Acquire)
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            _ => Err(anyhow!("the copying thread panicked")),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn copy(route: &Route, commits: Commits, stop: &AtomicBool, copied: &AtomicU64) -> anyhow::Result<()> {
    let group = format!("{}.copy", route.to);
    let id = (commits == Commits::Transactional).then_some(group.as_str());
    let producer = producer(&route.brokers, id)?;
    if id.is_some() {
        producer.init_transactions(REQUEST_WITHIN)?;
    }
    let consumer = consumer(&route.brokers, &group)?;
    consumer.subscribe(&[&route.from])?;
    let mut envelope = envelope();
    let mut value = Vec::new();
    let (mut partition, mut number) = (0, 0_u128);
    while !stop.load(Ordering::Acquire) {
        let Some(first) = consumer.poll(IDLE) else { continue };
        let mut batch = vec![first?];
        while batch.len() < BATCH_RECORDS
            && let Some(message) = consumer.poll(Duration::ZERO)
        {
            batch.push(message?);
        }
        if id.is_some() {
            producer.begin_transaction()?;
        }
        let mut offsets = TopicPartitionList::new();
        for message in &batch {
            // Each id is another, as ours are: one and the same would compress to nothing, and half as many bytes be written.
            number += 1;
            envelope[ID].copy_from_slice(&number.wrapping_mul(ODD).to_le_bytes());
            value.clear();
            value.extend_from_slice(&envelope);
            value.extend_from_slice(message.payload().unwrap_or_default());
            partition = (partition + 1) % PARTITIONS as i32;
            let record = BaseRecord::to(&route.to).partition(partition).key("team-17/hook").payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
            let next = Offset::Offset(message.offset() + 1);
            match offsets.find_partition(message.topic(), message.partition()) {
                Some(mut found) => found.set_offset(next)?,
                None => offsets.add_partition_offset(message.topic(), message.partition(), next)?,
            }
        }
        let drain = || {
            while producer.in_flight_count() > 0 {
                thread::sleep(DRAIN_PAUSE);
            }
        };
        if id.is_some() {
            let metadata = consumer.group_metadata().context("the group is joined")?;
            producer.send_offsets_to_transaction(&offsets, &metadata, REQUEST_WITHIN)?;
            // rdkafka's commit sleeps for 100 ms while anything is unacknowledged.
            drain();
            producer.commit_transaction(REQUEST_WITHIN)?;
        } else {
            drain();
            consumer.commit(&offsets, CommitMode::Sync)?;
        }
        copied.fetch_add(batch.len() as u64, Ordering::Release);
    }
    Ok(())
}

/// Posts what comes to a topic of copies, until it is told to stop.
pub async fn post_all(
    route: Route,
    receiver: SocketAddr,
    connections: usize,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut posts = Posts::connect(receiver, connections).await?;
    let (records, mut inbox) = mpsc::channel::<Post>(BATCH_RECORDS);
    let envelope = envelope().len();
    let reading = thread::spawn(move || -> anyhow::Result<()> {
        let consumer = consumer(&route.brokers, &format!("{}.post", route.to))?;
        consumer.subscribe(&[&route.to])?;
        let mut committed = Instant::now();
        while !stop.load(Ordering::Acquire) {
            if let Some(message) = consumer.poll(IDLE) {
                let message = message?;
                let body = Bytes::copy_from_slice(&message.payload().unwrap_or_default()[envelope..]);
                consumer.store_offset_from_message(&message)?;
                let id = format!("{}-{}", message.partition(), message.offset());
                if records.blocking_send(Post { id, body }).is_err() {
                    break;
                }
            }
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                // With nothing new to commit it says so, and that is all right.
                let _ = consumer.commit_consumer_state(CommitMode::Async);
            }
        }
        Ok(())
    });
    while let Some(Post { id, body }) = inbox.recv().await {
        posts.post(id, body).await?;
    }
    posts.done().await?;
    reading.join().map_err(|_| anyhow!("the reading thread panicked"))?
}

// === impl Posts ===

impl Posts {
    pub async fn connect(receiver: SocketAddr, connections: usize) -> anyhow::Result<Posts> {
        let (mut queues, mut tasks) = (Vec::new(), JoinSet::new());
        for _ in 0..connections {
            let stream = TcpStream::connect(receiver).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let (queue, mut posts) = mpsc::channel::<Post>(1);
            queues.push(queue);
            tasks.spawn(async move {
                while let Some(Post { id, body }) = posts.recv().await {
                    let request = Request::post("/ok/bare")
                        .header("host", "127.0.0.1")
                        .header("content-type", "application/json")
                        .header("webhook-id", id)
                        .body(Full::new(body))?;
                    let answer = sender.send_request(request).await?;
                    ensure!(answer.status() == 200, "the receiver answered {}", answer.status());
                    answer.into_body().collect().await?;
                    sender.ready().await?;
                }
                Ok(())
            });
        }
        Ok(Posts { queues, tasks, next: 0 })
    }

    /// Gives one to a connection that has room, else waits for the next in turn.
    pub async fn post(&mut self, id: String, body: Bytes) -> anyhow::Result<()> {
        let mut post = Post { id, body };
        for _ in 0..self.queues.len() {
            self.next = (self.next + 1) % self.queues.len();
            match self.queues[self.next].try_send(post) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(same)) => post = same,
                Err(mpsc::error::TrySendError::Closed(_)) => return self.failed().await,
            }
        }
        match self.queues[self.next].send(post).await {
            Ok(()) => Ok(()),
            Err(_) => self.failed().await,
        }
    }

    /// Waits for the last answer.
    pub async fn done(mut self) -> anyhow::Result<()> {
        self.queues.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// A connection has ended: why.
    async fn failed(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Err(anyhow!("a connection ended"))
    }
}
