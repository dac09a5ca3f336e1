//! What values are allowed: one row per key that has a bound, then the rules that tie keys together.

use std::{collections::BTreeMap, net::SocketAddr};

use tidings_core::{
    codec::{
        MAX_EVENT_BYTES,
        mapping::{PLACES, Place, Pointer, TopicPattern},
    },
    domain::TeamId,
};
use toml::{Table, Value};

use super::{ConfigFault, Mode, Settings, layers::find};

/// Keys whose values are shown nowhere.
pub(super) const SECRET_KEYS: [&str; 4] = ["api.token", "store.url", "secrets.keys", "registry.secret"];

/// The longest process name: it becomes a part of Kafka's group instance ids.
const MAX_PROCESS_NAME: usize = 128;
/// The longest topic prefix; Kafka's topic names end at 249.
const MAX_TOPIC_NAME: usize = 249;
const MAX_TOPIC_PREFIX: usize = 64;
/// Shorter tokens could be guessed.
const MIN_TOKEN: usize = 32;

enum Rule {
    Range(i64, i64),
    OneOf(&'static [&'static str]),
    /// A test of the text, and what it allows.
    Text(fn(&str) -> bool, &'static str),
    /// The same for each item of a list.
    Items(fn(&str) -> bool, &'static str),
    /// The same for each key of a free table.
    Keys(fn(&str) -> bool, &'static str),
}

const RULES: &[(&str, Rule)] = &[
    ("mode", Rule::OneOf(&["embedded", "distributed"])),
    ("data.dir", Rule::Text(|text| !text.is_empty(), "a folder")),
    (
        "process.name",
        Rule::Text(|text| text.is_empty() || is_name(text, MAX_PROCESS_NAME), "up to 128 of A-Z a-z 0-9 . _ -"),
    ),
    (
        "api.listen",
        Rule::Text(|text| text.parse::<SocketAddr>().is_ok(), "an IP address and a port, for example 127.0.0.1:8470"),
    ),
    ("api.token", Rule::Text(|text| text.is_empty() || is_token(text), "at least 32 visible ASCII characters")),
    ("log.topic_prefix", Rule::Text(|text| is_name(text, MAX_TOPIC_PREFIX), "1 to 64 of A-Z a-z 0-9 . _ -")),
    ("log.events_topics", Rule::Items(|text| is_name(text, MAX_TOPIC_NAME), "1 to 249 of A-Z a-z 0-9 . _ -")),
    ("log.pattern_refresh_seconds", Rule::Range(1, 3_600)),
    ("log.partitions", Rule::Range(1, 1_000)),
    ("log.replication", Rule::Range(1, 9)),
    ("log.max_event_bytes", Rule::Range(1_024, MAX_EVENT_BYTES as i64)),
    ("log.outputs", Rule::OneOf(&["transactional", "at_least_once"])),
    ("store.max_connections", Rule::Range(2, 1_000)),
    ("match.batch_records", Rule::Range(1, 100_000)),
    ("match.batch_ms", Rule::Range(1, 10_000)),
    ("match.batch_bytes", Rule::Range(1_048_576, 268_435_456)),
    ("match.max_fanout", Rule::Range(1, 1_000_000)),
    ("match.max_fanout_bytes", Rule::Range(1_048_576, 1_073_741_824)),
    ("match.threads", Rule::Range(0, 64)),
    ("send.max_in_flight", Rule::Range(1, 100_000)),
    ("send.max_unsettled", Rule::Range(1, 100_000)),
    ("send.max_queued", Rule::Range(1, 10_000_000)),
    ("send.max_queued_bytes", Rule::Range(1_048_576, 17_179_869_184)),
    ("send.max_age_hours", Rule::Range(1, 8_760)),
    ("send.stop_seconds", Rule::Range(1, 300)),
    ("delivery.allow_networks", Rule::Items(is_network, "a CIDR block, for example 10.20.0.0/16")),
    ("schemas.ids", Rule::Keys(|text| text.parse::<u32>().is_ok(), "a schema id, 0 to 4294967295")),
    (
        "registry.url",
        Rule::Text(
            |text| text.is_empty() || is_registry(text),
            "an http:// or https:// URL without user, query and fragment",
        ),
    ),
    ("registry.timeout_ms", Rule::Range(100, 60_000)),
    ("registry.absent_seconds", Rule::Range(1, 3_600)),
    ("retention.days", Rule::Range(1, 3_650)),
    ("telemetry.format", Rule::OneOf(&["auto", "text", "json"])),
    (
        "telemetry.filter",
        Rule::Text(
            |text| tracing_subscriber::EnvFilter::try_new(text).is_ok(),
            "error, warn, info, debug, trace, or target=level, comma separated",
        ),
    ),
];

/// The same for each source.
const SOURCE_RULES: &[(&str, Rule)] = &[
    (
        "topic",
        Rule::Text(|text| text.parse::<TopicPattern>().is_ok(), "1 to 249 of A-Z a-z 0-9 . _ - and * for any of them"),
    ),
    ("format", Rule::OneOf(&["auto", "json", "confluent", "avro_object", "avro"])),
    ("type", Rule::Text(is_place, PLACES)),
    ("id", Rule::Text(is_place, PLACES)),
    ("source", Rule::Text(is_place, PLACES)),
    ("team", Rule::Text(is_place, PLACES)),
    ("time", Rule::Text(is_place, PLACES)),
    ("subject", Rule::Text(is_place, PLACES)),
    (
        "data",
        Rule::Text(
            |text| text == "whole" || text.parse::<Pointer>().is_ok(),
            "whole, or a JSON pointer such as /payload, up to 256 bytes",
        ),
    ),
    (
        "default_team",
        Rule::Text(|text| text.is_empty() || TeamId::new(text).is_ok(), "1 to 128 of A-Z a-z 0-9 . _ : @ -"),
    ),
];

/// Checks each value by itself, in the order of the manual.
pub(super) fn check(table: &Table, origins: &BTreeMap<String, String>) -> Vec<ConfigFault> {
    let mut faults = check_rules(RULES, table, "", origins);
    for (index, source) in table.get("source").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Value::Table(source) = source {
            faults.extend(check_rules(SOURCE_RULES, source, &format!("source[{index}]."), origins));
        }
    }
    faults
}

fn check_rules(
    rules: &[(&str, Rule)],
    table: &Table,
    above: &str,
    origins: &BTreeMap<String, String>,
) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    for (key, rule) in rules {
        let Some(value) = find(table, key) else { continue };
        let path = &*format!("{above}{key}");
        let mut refuse = |path: &str, found: String, allowed: &str| {
            let found = if SECRET_KEYS.contains(&path) { "…".to_owned() } else { found };
            faults.push(ConfigFault::new(origins.get(path).map_or("", String::as_str), path, &found, allowed));
        };
        match (rule, value) {
            (Rule::Range(min, max), Value::Integer(found)) if !(min..=max).contains(&found) => {
                refuse(path, found.to_string(), &format!("{min} to {max}"));
            }
            (Rule::OneOf(names), Value::String(found)) if !names.contains(&found.as_str()) => {
                refuse(path, format!("{found:?}"), &names.join(", "));
            }
            (Rule::Text(holds, allowed), Value::String(found)) if !holds(found) => {
                refuse(path, format!("{found:?}"), allowed);
            }
            (Rule::Items(holds, allowed), Value::Array(items)) => {
                for item in items.iter().filter(|item| !item.as_str().is_some_and(holds)) {
                    refuse(path, item.to_string(), allowed);
                }
            }
            (Rule::Keys(holds, allowed), Value::Table(free)) => {
                for key in free.keys().filter(|key| !holds(key)) {
                    refuse(&format!("{path}.{key}"), format!("{key:?}"), allowed);
                }
            }
            _ => {}
        }
    }
    faults
}

/// Checks what depends on several keys.
pub(super) fn check_together(settings: &Settings) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    let mut refuse = |path: &str, found: &str, allowed: &str| faults.push(ConfigFault::new("", path, found, allowed));
    if settings.mode == Mode::Distributed {
        if settings.log.kafka.brokers.trim().is_empty() {
            refuse("log.kafka.brokers", "nothing", "host:port of Kafka brokers, in distributed mode");
        }
        let url = settings.store.url.expose();
        if url.is_empty() {
            refuse("store.url", "nothing", "a postgres:// URL, in distributed mode");
        } else if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            refuse("store.url", "another scheme", "a postgres:// URL");
        }
    }
    let registry = &settings.registry;
    let has_file = !registry.secret_file.as_os_str().is_empty();
    if !registry.secret.is_empty() && has_file {
        refuse("registry.secret_file", "both", "registry.secret or registry.secret_file");
    }
    if !registry.username.is_empty() && registry.secret.is_empty() && !has_file {
        let allowed = "registry.secret or registry.secret_file with it";
        refuse("registry.username", "a user without password", allowed);
    }
    for (index, source) in settings.source.iter().enumerate() {
        if !source.schema.is_empty() && source.format != "avro" {
            let path = format!("source[{index}].schema");
            refuse(&path, &format!("{:?}", source.schema), "a file of schemas.earlier, with format = \"avro\" only");
        }
    }
    let topics = settings.topics();
    for own in [&topics.directory, &topics.deliveries, &topics.dead_letters, &topics.index_versions] {
        if topics.events.contains(own) {
            refuse(
                "source.topic",
                &format!("{own:?}"),
                "topics of events (also in log.events_topics); this one is no such",
            );
        }
    }
    let oldest_days = settings.send.max_age_hours.div_ceil(24) + 1;
    if settings.retention.days < oldest_days {
        let allowed = format!("at least {oldest_days}: send.max_age_hours in days, and one more");
        refuse("retention.days", &settings.retention.days.to_string(), &allowed);
    }
    if settings.matching.max_fanout_bytes < settings.log.max_event_bytes {
        let allowed = format!("at least log.max_event_bytes ({})", settings.log.max_event_bytes);
        refuse("match.max_fanout_bytes", &settings.matching.max_fanout_bytes.to_string(), &allowed);
    }
    faults
}

/// The characters that Kafka allows in topic and group names.
pub(super) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.chars().all(is_name_character)
}

fn is_place(text: &str) -> bool {
    text.is_empty() || text.parse::<Place>().is_ok()
}

fn is_registry(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain && url.query().is_none() && url.fragment().is_none() && ["http", "https"].contains(&url.scheme())
    })
}

fn is_token(text: &str) -> bool {
    text.len() >= MIN_TOKEN && text.chars().all(|c| c.is_ascii_graphic())
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => bits <= 32,
        Ok(std::net::IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}
