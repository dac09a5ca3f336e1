//! What is configurable about the connection to Kafka, and the client configurations made from it.
//!
//! Three layers, later ones win: defaults that an operator may change, the operator's `properties` (any librdkafka
//! property), and what the promises of the log rest on. The last are refused in `properties`, not ignored.

use std::{collections::BTreeMap, fmt, time::Duration};

use rdkafka::ClientConfig;

use super::errors::refused_property;
use crate::log::LogError;

/// Connection to a Kafka cluster (2.5 or newer).
#[derive(Clone)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Any librdkafka property: security, compression, timeouts. Values may be secret: they are never shown.
    pub properties: BTreeMap<String, String>,
    /// Name of this client in broker logs and quotas, unless `properties` give another. Also the prefix of the group that
    /// reads outside any group.
    pub client_id: String,
}

/// Defaults that `properties` may change, by librdkafka's names: first those of every client.
const CLIENT_DEFAULTS: &[(&str, &str)] = &[
    // Longest pause between tries to connect. With the default of 10 s a cluster that is back is found as much later. Left out
    // where the operator sets the shortest pause, which librdkafka takes no longer than this one.
    ("reconnect.backoff.max.ms", "1000"),
];

const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    ("session.timeout.ms", "10000"),
    // Prefetched records of all partitions of a consumer together, 16 MiB.
    ("queued.max.messages.kbytes", "16384"),
    // Largest answer to a fetch, 4 MiB. The default of 50 MiB makes buffers of megabytes that the allocator gives back and takes anew
    // each time. A single batch that is larger comes all the same.
    ("fetch.max.bytes", "4194304"),
    // How long fetching rests once that is full. The default of 1 s makes small queues slow.
    ("fetch.queue.backoff.ms", "5"),
];

const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    // First of a doubling series up to 1 s. A transaction that follows closely on another is told to try again, nearly
    // always: with the default of 100 ms that would be the time of a commit.
    ("retry.backoff.ms", "3"),
    ("compression.type", "lz4"),
    // As Java clients do, so that a key goes to the same partition whoever writes it.
    ("partitioner", "murmur2_random"),
    // Topics take 2 MiB (`max.message.bytes`), so that a delivery with its event always fits.
    ("message.max.bytes", "2097152"),
    ("transaction.timeout.ms", "15000"),
    // Must be below the transaction's, or a record could outlive the transaction it belongs to.
    ("message.timeout.ms", "12000"),
];

/// Set by Tidings; each is part of a promise in `log/mod.rs`.
const OWNED: &[&str] = &[
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "transactional.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "isolation.level",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "allow.auto.create.topics",
    "enable.partition.eof",
];

/// How a token of OAUTHBEARER is come by; `oidc` asks a server over HTTP.
const OAUTH_METHOD: &str = "sasl.oauthbearer.method";

/// How long a blocking request to the cluster may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

// === impl KafkaSettings ===

impl KafkaSettings {
    pub fn new(brokers: impl Into<String>) -> KafkaSettings {
        KafkaSettings { brokers: brokers.into(), properties: BTreeMap::new(), client_id: "tidings".into() }
    }

    /// Refuses what no client could be made of, before anything connects.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if let Some(key) = OWNED.iter().find(|key| self.properties.contains_key(**key)) {
            return Err(LogError::Refused(format!(
                "kafka property {key} is set by Tidings and cannot be configured; remove it"
            )));
        }
        if !cfg!(feature = "kafka-oidc") && self.properties.get(OAUTH_METHOD).is_some_and(|value| value == "oidc") {
            let why = "needs a program that was built with the feature kafka-oidc";
            return Err(LogError::Refused(format!("kafka property {OAUTH_METHOD} = \"oidc\" {why}")));
        }
        for config in [self.member("check", "check"), self.transactional("check"), self.query()] {
            config.create_native_config().map_err(refused_property)?;
        }
        let (transaction, message) = (self.transaction_timeout(), self.message_timeout());
        if message.is_zero() || self.properties.contains_key("delivery.timeout.ms") {
            let why = "must be above 0, and goes by this name alone: appends are given up by it";
            return Err(LogError::Refused(format!("kafka property message.timeout.ms {why}")));
        }
        if message >= transaction {
            return Err(LogError::Refused(format!(
                "kafka property message.timeout.ms is {} and must be below transaction.timeout.ms, {}",
                message.as_millis(),
                transaction.as_millis()
            )));
        }
        Ok(())
    }

    /// A member of a group: static, so that a restart within the session keeps its partitions.
    pub(super) fn member(&self, group: &str, instance: &str) -> ClientConfig {
        let mut config = self.visitor(group);
        config.set("group.instance.id", instance);
        config
    }

    /// A member without a name of its own, which is forgotten when it leaves.
    pub(super) fn visitor(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("auto.offset.reset", "earliest");
        config
    }

    /// Reads partitions by assignment. librdkafka wants a group's name for that; nothing joins or commits under it.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer();
        config.set("group.id", format!("{}.read", self.client_id)).set("auto.offset.reset", "error");
        config
    }

    /// Asks for metadata and offsets; reads no records.
    pub(super) fn query(&self) -> ClientConfig {
        self.consumer()
    }

    /// Asks for the offsets of a group, without joining it.
    pub(super) fn group_query(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer();
        config.set("group.id", group);
        config
    }

    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut config = self.idempotent();
        config.set("transactional.id", id);
        config
    }

    /// A producer that sends a record which the broker refuses for its size.
    pub(super) fn oversized(&self, bytes: usize) -> ClientConfig {
        let mut config = self.base(PRODUCER_DEFAULTS);
        config.set("message.max.bytes", bytes.to_string()).set("compression.type", "none");
        config
    }

    pub(super) fn idempotent(&self) -> ClientConfig {
        let mut config = self.base(PRODUCER_DEFAULTS);
        config.set("enable.idempotence", "true").set("acks", "all");
        config
    }

    /// Only what concerns the connection: administration takes part in nothing else.
    pub(super) fn admin(&self) -> ClientConfig {
        self.base(&[])
    }

    /// Largest record a producer takes, in bytes, before compression.
    pub(super) fn max_record_bytes(&self) -> usize {
        self.number("message.max.bytes") as usize
    }

    pub(super) fn transaction_timeout(&self) -> Duration {
        Duration::from_millis(self.number("transaction.timeout.ms"))
    }

    pub(super) fn message_timeout(&self) -> Duration {
        Duration::from_millis(self.number("message.timeout.ms"))
    }

    /// A producer property that has a default above. An unreadable one is refused by librdkafka in `check`.
    fn number(&self, key: &str) -> u64 {
        let config = self.idempotent();
        config.get(key).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    fn consumer(&self) -> ClientConfig {
        let mut config = self.base(CONSUMER_DEFAULTS);
        config
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("enable.partition.eof", "false");
        config
    }

    fn base(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        let pauses_of_theirs = self.properties.contains_key("reconnect.backoff.ms");
        let of_client = CLIENT_DEFAULTS.iter().filter(|_| !pauses_of_theirs);
        for (key, value) in of_client.chain(defaults) {
            config.set(*key, *value);
        }
        config.set("client.id", &self.client_id);
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config
    }
}

/// Shows which properties are set, never to what.
impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties.keys())
            .field("client_id", &self.client_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)]) -> Result<(), String> {
        let mut settings = KafkaSettings::new("127.0.0.1:9092");
        settings.properties = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn properties_pass_through_unless_a_promise_rests_on_them() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("linger.ms", "1"), ("compression.type", "zstd")]), Ok(()));
        assert_eq!(check(&[("security.protocol", "SASL_SSL"), ("sasl.password", "s3cret")]), Ok(()));
        assert_eq!(check(&[("client.id", "shop"), ("client.rack", "eu-1a")]), Ok(()));
        assert_eq!(check(&[("reconnect.backoff.ms", "2000")]), Ok(()));
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert_eq!(check(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", mechanism)]), Ok(()));
        }
        for (properties, expected) in [
            (("enable.auto.commit", "true"), "enable.auto.commit is set by Tidings"),
            (("transactional.id", "mine"), "transactional.id is set by Tidings"),
            (("no.such.property", "1"), "no.such.property"),
            (("session.timeout.ms", "soon"), "session.timeout.ms"),
            (("message.timeout.ms", "0"), "must be above 0"),
            (("delivery.timeout.ms", "5000"), "goes by this name alone"),
            (("message.timeout.ms", "20000"), "must be below transaction.timeout.ms, 15000"),
        ] {
            let refusal = check(&[properties]).expect_err(properties.0);
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    #[cfg(not(feature = "kafka-oidc"))]
    fn oidc_names_the_feature_that_it_needs() {
        let refusal = check(&[("sasl.oauthbearer.method", "oidc")]).unwrap_err();
        assert!(refusal.contains("the feature kafka-oidc"), "{refusal}");
    }

    #[test]
    fn a_client_id_of_the_operator_holds() {
        let mut settings = KafkaSettings::new("127.0.0.1:9092");
        assert_eq!(settings.query().get("client.id"), Some("tidings"));
        settings.properties.insert("client.id".into(), "shop".into());
        assert_eq!(settings.query().get("client.id"), Some("shop"));
    }

    #[test]
    fn values_are_never_shown() {
        let mut settings = KafkaSettings::new("127.0.0.1:9092");
        settings.properties.insert("sasl.password".into(), "canary".into());
        assert!(!format!("{settings:?}").contains("canary"));
        // A secret in the wrong place must not come back in the refusal either.
        settings.properties.insert("ssl.endpoint.identification.algorithm".into(), "canary".into());
        let refusal = settings.check().expect_err("not an algorithm").to_string();
        assert!(!refusal.contains("canary"), "{refusal}");
    }
}
