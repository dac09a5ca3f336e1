//! Configuration: [`Settings`], read from `tidings.toml`, then `TIDINGS__SECTION__KEY`, then flags; the last one wins.
//!
//! `default.toml` is both the manual and the defaults: every key stands there with its comment, its type and its
//! default value, and nowhere else; those of a `[[source]]` in `source.toml`. A key that is not there is refused, and every
//! mistake is reported at once.
//!
//! The room does *not* open files that settings point to, and does not know what the values are for.
//!
//! Reading order: this file, `default.toml`, [`layers`], [`bounds`], [`topics`], [`sources`], [`manual`].

pub mod bounds;
pub mod layers;
pub mod manual;
pub mod sources;
pub mod topics;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};

use serde::Deserialize;
use tidings_core::codec::Written;

pub use layers::{ConfigFault, Sources, load};
pub use sources::SourceSettings;
pub use topics::{Topics, topic_specs};

/// Every setting. The manual of each is its comment in `default.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub mode: Mode,
    pub source: Vec<SourceSettings>,
    pub data: DataSettings,
    pub process: ProcessSettings,
    pub api: ApiSettings,
    pub log: LogSettings,
    pub store: StoreSettings,
    #[serde(rename = "match")]
    pub matching: MatchSettings,
    pub send: SendSettings,
    pub delivery: DeliverySettings,
    pub secrets: SecretsSettings,
    pub registry: RegistrySettings,
    pub schemas: SchemasSettings,
    pub retention: RetentionSettings,
    pub telemetry: TelemetrySettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Embedded,
    Distributed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    pub dir: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    pub name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    pub listen: SocketAddr,
    pub token: Hidden,
    pub token_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub topic_prefix: String,
    pub events_topics: Vec<String>,
    pub pattern_refresh_seconds: u64,
    pub partitions: u32,
    pub replication: u32,
    pub max_event_bytes: usize,
    pub outputs: OutputsSetting,
    pub kafka: KafkaSection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputsSetting {
    Transactional,
    AtLeastOnce,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSection {
    pub brokers: String,
    pub properties: Properties,
    /// Property → file that holds its value.
    pub property_files: BTreeMap<String, PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    pub url: Hidden,
    pub max_connections: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSettings {
    pub batch_records: usize,
    pub batch_ms: u64,
    pub batch_bytes: usize,
    pub max_fanout: usize,
    pub max_fanout_bytes: usize,
    pub threads: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendSettings {
    pub max_in_flight: usize,
    pub max_unsettled: usize,
    pub max_queued: usize,
    pub max_queued_bytes: usize,
    pub max_age_hours: u32,
    pub stop_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverySettings {
    pub allow_networks: Vec<String>,
    pub allow_http: bool,
    pub extra_ca_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsSettings {
    pub keys_file: PathBuf,
    pub keys: Hidden,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    /// Empty: none.
    pub url: String,
    pub username: String,
    pub secret: Hidden,
    pub secret_file: PathBuf,
    pub ca_file: PathBuf,
    pub timeout_ms: u64,
    pub absent_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemasSettings {
    pub folder: PathBuf,
    pub earlier: PathBuf,
    /// Schema id (a decimal number, as text) → catalog key or file of `earlier`.
    pub ids: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    pub days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Empty: not served.
    pub listen: String,
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

/// A secret setting: never shown by `Debug`, so that it cannot reach a log line.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

/// librdkafka properties, some of which are secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

// === impl Settings ===

impl Settings {
    /// The configured name, or the host's; a name that Kafka takes in any case.
    pub fn process_name(&self) -> String {
        if !self.process.name.is_empty() {
            return self.process.name.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
        let plain = host.unwrap_or_default().trim().replace(|c: char| !bounds::is_name_character(c), "-");
        if plain.is_empty() { "tidings".to_owned() } else { plain }
    }

    pub fn token_file(&self) -> PathBuf {
        self.or_in_data(&self.api.token_file, "operator.token")
    }

    pub fn keys_file(&self) -> PathBuf {
        self.or_in_data(&self.secrets.keys_file, "keys")
    }

    fn or_in_data(&self, configured: &std::path::Path, name: &str) -> PathBuf {
        if configured.as_os_str().is_empty() { self.data.dir.join(name) } else { configured.to_owned() }
    }

    /// The consumer group of the matchers, and a part of their transactional ids.
    pub fn match_group(&self) -> String {
        format!("{}match", self.log.topic_prefix)
    }

    /// The consumer group of the senders.
    pub fn send_group(&self) -> String {
        format!("{}send", self.log.topic_prefix)
    }

    /// Schema id → catalog key or file of `schemas.earlier`. The texts were checked to be numbers when the settings were loaded.
    pub fn schema_ids(&self) -> BTreeMap<u32, String> {
        let events = self.schemas.ids.iter().filter(|(_, key)| Written::parse(key).is_none());
        events.filter_map(|(id, key)| Some((id.parse().ok()?, key.clone()))).collect()
    }

    /// Schema id → what of the directory is written with it.
    pub fn directory_schema_ids(&self) -> BTreeMap<u32, Written> {
        let ids = self.schemas.ids.iter();
        ids.filter_map(|(id, key)| Some((id.parse().ok()?, Written::parse(key)?))).collect()
    }
}

// === impl Hidden ===

impl Hidden {
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"…\"" })
    }
}

// === impl Properties ===

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| (name, if is_secret_property(name) { "…" } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

/// Whether a librdkafka property holds a secret, judged by its name.
pub fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passphrase", "secret", "pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
}
