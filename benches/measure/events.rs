//! The events of all measurements, and their way into Kafka.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::{Value, json};

use crate::receiver::now_us;

/// The team whose events are measured.
pub const TEAM: &str = "bench";
/// Teams of [`bystanders`].
pub const BYSTANDING_TEAMS: usize = 100;
/// Of the built-in catalog, so that it is read, summarised and redacted as a known type.
pub const TYPE: &str = "replicated.customer.created";

/// An event of about 300 bytes. `app` is what subscriptions filter by; `t` says when it was made.
pub fn event(team: &str, id: u64, app: &str) -> Value {
    json!({
        "team": team,
        "type": TYPE,
        "id": format!("evt-{id:012}"),
        "data": {
            "app_id": app,
            "app_name": "Gitea Enterprise",
            "customer_id": format!("cus-{id}"),
            "customer_name": "Northwind Traders International",
            "license_type": "paid",
            "license_fields": {"seats": 250, "region": "eu-west"},
            "t": now_us(),
        },
    })
}

/// One that goes to everything which [`everything`] subscribes.
pub fn plain(id: u64) -> Value {
    event(TEAM, id, "app-0")
}

/// A subscription to all events of [`plain`], for one destination.
pub fn everything(destination: &str) -> (String, String, Value) {
    let body = json!({"events": [{"type": TYPE, "filter": {"appId": ["app-0"]}}], "destinations": [destination]});
    (TEAM.to_owned(), destination.to_owned(), body)
}

/// Subscriptions of other teams, which no event of [`plain`] concerns: what a directory is full of.
pub fn bystanders(count: usize) -> Vec<(String, String, Value)> {
    let body = |n: usize| {
        let filter = json!({"appId": [format!("app-{n}")], "licenseType": ["paid"]});
        json!({"events": [{"type": TYPE, "filter": filter}], "destinations": ["hook"]})
    };
    (0..count).map(|n| (bystander_team(n % BYSTANDING_TEAMS), format!("subscription-{n}"), body(n))).collect()
}

/// The name of one of their teams, which needs a destination `hook`.
pub fn bystander_team(n: usize) -> String {
    format!("team-{n}")
}

/// A producer of some platform, which knows nothing of Tidings.
pub struct Publisher {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

const FLUSH_WITHIN: Duration = Duration::from_secs(60);

// === impl Publisher ===

impl Publisher {
    /// `linger_ms` is 0 where latency is measured.
    pub fn new(brokers: &str, topic: String, linger_ms: u32) -> anyhow::Result<Publisher> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("linger.ms", linger_ms.to_string())
            .set("compression.type", "lz4")
            .set("acks", "all")
            .create()?;
        Ok(Publisher { producer, topic })
    }

    /// Keys differ, so that all partitions have their part.
    pub fn send(&self, key: u64, value: &[u8]) -> anyhow::Result<()> {
        let key = key.to_be_bytes();
        let mut record = BaseRecord::to(&self.topic).key(&key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                    record = same;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => bail!("publishing: {error}"),
            }
        }
    }

    pub fn flush(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FLUSH_WITHIN;
        while self.producer.in_flight_count() > 0 {
            ensure!(Instant::now() < deadline, "Kafka took not all events within {FLUSH_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
