//! What `tidings check` asks of Kafka: the connection, topics, rights, and what lies in the directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tidings_core::{
    catalog::Catalog,
    codec::{DirectoryCodec, mapping::TopicPattern},
    directory::{Directory, Reason},
    domain::TopicPartition,
};

use super::{
    check::{Finding, key_ring},
    rights::{Resource, Right, Role, rights},
    topics,
};
use crate::{
    config::{Settings, Topics, topic_specs},
    log::{
        Log, LogError, Reader, TopicSpec, TopicState,
        kafka::{Access, KafkaLog},
    },
    sources::topics::expand,
};

/// How long the directory may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Waiting for its next records.
const POLL: Duration = Duration::from_secs(1);
/// Behind the first part of our transactional ids: no process can have such a name.
const CHECK_ID: &str = "~check";

/// `roles` are those whose rights are tried; none means all. Without a catalog, types of a folder of one's own are not known.
pub(super) async fn look(settings: &Settings, roles: &[Role], catalog: Option<Arc<Catalog>>) -> Vec<Finding> {
    let log = match topics::kafka(settings) {
        Ok(log) => log,
        Err(error) => return vec![Finding::bad("kafka", &error.to_string(), "look at [log.kafka]")],
    };
    if let Err(error) = log.connect().await {
        let remedy = "look at log.kafka.brokers and log.kafka.properties";
        return vec![Finding::bad("kafka", &error.to_string(), remedy)];
    }
    let mut findings = vec![Finding::good("kafka")];
    let expanded = match expand(&log, settings.clone()).await {
        Ok(expanded) => expanded,
        Err(error) => {
            let remedy = "make the patterns of [[source]] narrower, or look at the brokers";
            findings.push(Finding::bad("topics of patterns", &error.to_string(), remedy));
            settings.clone()
        }
    };
    findings.extend(patterns(&expanded));
    let settings = &expanded;
    let specs = topic_specs(settings);
    let mut states = Vec::new();
    for spec in &specs {
        findings.push(match state(&log, &spec.name).await {
            Ok(state) => {
                let finding = compare(spec, state.as_ref());
                states.extend(state);
                finding
            }
            Err(error) => Finding::bad(format!("topic {}", spec.name), &error.to_string(), &describe(&spec.name)),
        });
    }
    findings.extend(foreign(&log, &settings.topics(), &specs, &mut states).await);
    findings.extend(may(&log, settings, roles, &states).await);
    findings.extend(directory(&log, settings, catalog).await);
    findings
}

/// A pattern that means no topic yet is no mistake, but may be one.
fn patterns(expanded: &Settings) -> impl Iterator<Item = Finding> {
    let topics = expanded.topics().events;
    let patterns = expanded.sources().into_iter().map(|source| source.topic).filter(TopicPattern::is_pattern);
    patterns.map(move |pattern| {
        let found = topics.iter().filter(|topic| pattern.matches(topic)).count();
        Finding::good(format!("pattern {} ({found} topic(s) now)", pattern.as_str()))
    })
}

async fn state(log: &KafkaLog, name: &Arc<str>) -> Result<Option<TopicState>, LogError> {
    Ok(log.topics(std::slice::from_ref(name)).await?.into_iter().next())
}

fn describe(topic: &str) -> String {
    format!("grant Describe and DescribeConfigs on topic {topic}: `tidings topics create --print` says how")
}

/// Events topics of others must exist; how they are set is their owners' business.
async fn foreign(log: &KafkaLog, topics: &Topics, own: &[TopicSpec], states: &mut Vec<TopicState>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in topics.events.iter().filter(|name| own.iter().all(|spec| spec.name != **name)) {
        let subject = format!("topic {name}");
        findings.push(match state(log, name).await {
            Ok(None) => Finding::bad(subject, "absent", "its owner creates it, or log.events_topics names another"),
            Ok(Some(state)) => {
                states.push(state);
                Finding::good(subject)
            }
            Err(error) => Finding::bad(subject, &error.to_string(), &describe(name)),
        });
    }
    findings
}

/// Tries every right, each once, whoever needs it: one line per role, or one for each right that is missing.
async fn may(log: &KafkaLog, settings: &Settings, roles: &[Role], states: &[TopicState]) -> Vec<Finding> {
    let wanted: Vec<Right> =
        rights(settings).into_iter().filter(|right| roles.is_empty() || roles.contains(&right.role)).collect();
    let accesses: Vec<(usize, Access)> =
        (0..).zip(&wanted).flat_map(|(i, right)| accesses(right, states).into_iter().map(move |a| (i, a))).collect();
    let distinct: BTreeSet<&Access> = accesses.iter().map(|(_, access)| access).collect();
    let tried = join_all(distinct.iter().map(|access| async { (*access, log.may((*access).clone()).await) })).await;
    let tried: BTreeMap<&Access, Result<(), LogError>> = tried.into_iter().collect();
    let mut findings = Vec::new();
    for role in [Role::Match, Role::Send, Role::Api] {
        let of_role = accesses.iter().filter(|(i, _)| wanted[*i].role == role);
        let before = findings.len();
        for (i, access) in of_role.clone() {
            if let Err(error) = &tried[access] {
                let subject = format!("right of {} to {}", name(role), in_words(access));
                findings.push(Finding::bad(subject, &error.to_string(), &format!("`{}`", wanted[*i])));
            }
        }
        if findings.len() == before && of_role.count() > 0 {
            findings.push(Finding::good(format!("rights of {}", name(role))));
        }
    }
    findings
}

/// What is tried for a right. Nothing for a topic that is absent or does not tell its bound: that is said elsewhere.
fn accesses(right: &Right, states: &[TopicState]) -> Vec<Access> {
    match &right.resource {
        Resource::Topic(topic) => {
            let Some(state) = states.iter().find(|state| state.name == *topic) else { return Vec::new() };
            let bound = state.settings.iter().find(|(name, _)| name == "max.message.bytes");
            match bound.and_then(|(_, value)| value.parse().ok()) {
                Some(max_message_bytes) if right.has("Write") => {
                    vec![Access::Write { topic: topic.clone(), max_message_bytes }]
                }
                _ if right.has("Read") => vec![Access::Read { topic: topic.clone() }],
                _ => Vec::new(),
            }
        }
        Resource::Group { name, topic } if states.iter().any(|state| state.name == *topic) => {
            vec![Access::Use { group: name.clone(), topic: topic.clone() }]
        }
        // Those that are there now are tried by name.
        Resource::Topics(_) | Resource::Group { .. } => Vec::new(),
        Resource::TransactionalIds(prefix) => vec![Access::Transact { id: format!("{prefix}{CHECK_ID}") }],
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Match => "match",
        Role::Send => "send",
        Role::Api => "api",
    }
}

fn in_words(access: &Access) -> String {
    match access {
        Access::Read { topic } => format!("read topic {topic}"),
        Access::Write { topic, .. } => format!("write topic {topic}"),
        Access::Use { group, .. } => format!("use group {group}"),
        Access::Transact { id } => format!("write in transactions named {}…", id.trim_end_matches(CHECK_ID)),
    }
}

/// Whether all of the directory is active, and every secret in it can be opened.
async fn directory(log: &KafkaLog, settings: &Settings, catalog: Option<Arc<Catalog>>) -> Vec<Finding> {
    let is_whole = catalog.is_some();
    let directory = match fold(log, settings, catalog.unwrap_or_else(Catalog::builtin)).await {
        Ok(Some(directory)) => directory,
        // That it cannot be read has been said.
        Ok(None) | Err(LogError::UnknownTopic(_) | LogError::Refused(_)) => return Vec::new(),
        Err(error) => return vec![Finding::bad("directory", &error.to_string(), "look at the brokers")],
    };
    let problems: Vec<_> =
        directory.problems().filter(|problem| is_whole || problem.reason != Reason::Invalid).collect();
    let mut findings = vec![match problems.first() {
        None => Finding::good("directory"),
        Some(first) => {
            let found = format!("{} key(s) are inactive, first {}: {}", problems.len(), first.key, first.reason);
            Finding::bad("directory", &found, "`tidings directory problems` lists all")
        }
    }];
    let Ok(keys) = key_ring(settings) else { return findings };
    let destinations = directory.teams().flat_map(|team| directory.destinations(team));
    let mut sealed: Vec<String> = destinations
        .filter_map(|destination| {
            let error = keys.open_webhook(&directory.resolved(destination.clone())).err()?;
            Some(format!("destination {}/{}: {error}", destination.team, destination.id))
        })
        .collect();
    sealed.sort();
    findings.push(match sealed.first() {
        None => Finding::good("secrets"),
        Some(first) => Finding::bad(
            "secrets",
            &format!("{} destination(s) cannot be used, first {first}", sealed.len()),
            "put the key that is missing back into the key ring, or store these secrets again",
        ),
    });
    findings
}

/// The directory at its end; `None` if that is not reached in time.
async fn fold(log: &KafkaLog, settings: &Settings, catalog: Arc<Catalog>) -> Result<Option<Directory>, LogError> {
    let partition = TopicPartition { topic: settings.topics().directory, partition: 0 };
    let end = log.bounds(partition.clone()).await?.end;
    let mut reader = log.reader(partition, 0).await?;
    let codec = DirectoryCodec::new(settings.directory_schema_ids());
    let mut directory = Directory::read_with(catalog, codec.into());
    let deadline = Instant::now() + READ_WITHIN;
    while reader.position() < end {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        for record in reader.next(POLL).await? {
            directory.apply(&record);
        }
    }
    Ok(Some(directory))
}

/// Compares a topic as it is with what it must be. Settings that a log does not tell are not compared.
fn compare(spec: &TopicSpec, state: Option<&TopicState>) -> Finding {
    let subject = format!("topic {}", spec.name);
    let Some(state) = state else {
        return Finding::bad(subject, "absent", "`tidings topics create`");
    };
    let mut found = Vec::new();
    let mut remedy = Vec::new();
    if state.partitions != spec.partitions {
        found.push(format!("{} partitions instead of {}", state.partitions, spec.partitions));
        remedy.push(format!("set log.partitions = {} or make the topic anew", state.partitions));
    }
    for (name, wanted) in &spec.settings {
        match state.settings.iter().find(|(found, _)| found == name) {
            Some((_, value)) if !is_enough(name, value, wanted) => {
                found.push(format!("{name}={value} instead of {wanted}"));
                remedy.push(format!(
                    "`kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {name}={wanted}`",
                    spec.name
                ));
            }
            _ => {}
        }
    }
    if found.is_empty() { Finding::good(subject) } else { Finding::bad(subject, &found.join(", "), &remedy.join("; ")) }
}

/// More retention, more lag and larger records than asked for do no harm; -1 is without bound.
fn is_enough(name: &str, value: &str, wanted: &str) -> bool {
    let at_least = ["retention.ms", "min.compaction.lag.ms", "delete.retention.ms", "max.message.bytes"];
    match (value.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(value), Ok(wanted)) if at_least.contains(&name) => value == -1 || value >= wanted,
        // How eagerly segments roll and compact is the operator's business.
        _ if ["segment.ms", "max.compaction.lag.ms"].contains(&name) => true,
        _ => value == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(partitions: u32, settings: &[(&str, &str)], expected: &str) {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let wanted = [("cleanup.policy", "delete"), ("retention.ms", "1000"), ("segment.ms", "5")];
        let spec = TopicSpec { name: "t".into(), partitions: 3, settings: pairs(&wanted) };
        let state = TopicState { name: "t".into(), partitions, settings: pairs(settings) };
        assert_eq!(compare(&spec, Some(&state)).to_string(), expected);
    }

    #[test]
    fn topics_are_compared_with_what_they_must_be() {
        check(3, &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.ms", "7")], "ok       topic t");
        check(3, &[], "ok       topic t");
        check(
            3,
            &[("retention.ms", "999")],
            "problem  topic t: retention.ms=999 instead of 1000; remedy: \
             `kafka-configs.sh --alter --entity-type topics --entity-name t --add-config retention.ms=1000`",
        );
        check(
            4,
            &[],
            "problem  topic t: 4 partitions instead of 3; remedy: set log.partitions = 4 or make the topic anew",
        );
    }
}
