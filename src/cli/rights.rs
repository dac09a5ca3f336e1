//! The least rights of each role on Kafka: printed by `tidings topics create --print`, tried by `tidings check`.

use std::{fmt, sync::Arc};

use clap::ValueEnum;
use tidings_core::codec::mapping::TopicPattern;

use crate::config::{OutputsSetting, Settings};

/// What a role may do with one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    pub role: Role,
    pub resource: Resource,
    /// By Kafka's names.
    pub operations: &'static [&'static str],
}

/// Each may have a principal of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    Match,
    Send,
    Api,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic(Arc<str>),
    /// All that the pattern of a source means, those too that are yet to come.
    Topics(TopicPattern),
    Group {
        name: String,
        /// One that its members read.
        topic: Arc<str>,
    },
    /// All transactional ids that begin so.
    TransactionalIds(String),
}

const READ: &[&str] = &["Read", "Describe", "DescribeConfigs"];
const WRITE: &[&str] = &["Write", "Describe"];
const JOIN: &[&str] = &["Read"];
const LOOK: &[&str] = &["Describe"];

/// Every right, role by role.
pub fn rights(settings: &Settings) -> Vec<Right> {
    let topics = settings.topics();
    let mut rights = Vec::new();
    let mut add = |role, operations, resource| rights.push(Right { role, resource, operations });
    let topic = |name: &Arc<str>| Resource::Topic(name.clone());
    let group = |name: String, topic: &Arc<str>| Resource::Group { name, topic: topic.clone() };
    let patterns = || settings.sources().into_iter().map(|source| source.topic).filter(TopicPattern::is_pattern);
    let (match_group, send_group) = (settings.match_group(), settings.send_group());
    for name in topics.events.iter().chain([&topics.directory]) {
        add(Role::Match, READ, topic(name));
    }
    patterns().for_each(|pattern| add(Role::Match, READ, Resource::Topics(pattern)));
    for name in [&topics.deliveries, &topics.dead_letters, &topics.index_versions] {
        add(Role::Match, WRITE, topic(name));
    }
    add(Role::Match, JOIN, group(match_group.clone(), &topics.events[0]));
    if settings.log.outputs == OutputsSetting::Transactional {
        add(Role::Match, WRITE, Resource::TransactionalIds(format!("{match_group}-")));
    }
    add(Role::Send, READ, topic(&topics.deliveries));
    add(Role::Send, READ, topic(&topics.directory));
    // A delivery that cannot be read is set aside like an event.
    add(Role::Send, WRITE, topic(&topics.dead_letters));
    add(Role::Send, JOIN, group(send_group.clone(), &topics.deliveries));
    for name in topics.events.iter().chain([&topics.directory, &topics.dead_letters]) {
        add(Role::Api, READ, topic(name));
    }
    for name in topics.events.iter().chain([&topics.directory]) {
        add(Role::Api, WRITE, topic(name));
    }
    for pattern in patterns() {
        add(Role::Api, READ, Resource::Topics(pattern.clone()));
        // Where dead letters are fed in again.
        add(Role::Api, WRITE, Resource::Topics(pattern));
    }
    // Replays read the versions, write what is missing, and keep their place.
    add(Role::Api, READ, topic(&topics.index_versions));
    add(Role::Api, WRITE, topic(&topics.index_versions));
    add(Role::Api, WRITE, topic(&topics.deliveries));
    add(Role::Api, LOOK, group(match_group, &topics.events[0]));
    add(Role::Api, LOOK, group(send_group, &topics.deliveries));
    add(Role::Api, WRITE, Resource::TransactionalIds(settings.log.topic_prefix.clone()));
    rights
}

/// Only what is meant: a beginning that is shorter than the pattern's text, or none, would be a right to more.
fn is_grantable(pattern: &TopicPattern) -> bool {
    let (beginning, is_all) = pattern.beginning();
    is_all && !beginning.is_empty()
}

// === impl Right ===

impl Right {
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains(&operation)
    }
}

/// Kafka's own command that grants it; a comment where Kafka has none.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.role.as_str();
        if let Resource::Topics(pattern) = &self.resource
            && !is_grantable(pattern)
        {
            let operations = self.operations.join(", ");
            return write!(
                f,
                "# {who} needs {operations} on every topic that {} means: Kafka grants rights by whole names and by beginnings, so \
                 grant them topic by topic",
                pattern.as_str()
            );
        }
        write!(f, "kafka-acls.sh --bootstrap-server \"$BROKERS\" --add --allow-principal \"${who}\"")?;
        self.operations.iter().try_for_each(|operation| write!(f, " --operation {operation}"))?;
        match &self.resource {
            Resource::Topic(name) => write!(f, " --topic {name}"),
            Resource::Topics(pattern) => {
                write!(f, " --topic {} --resource-pattern-type prefixed", pattern.beginning().0)
            }
            Resource::Group { name, .. } => write!(f, " --group {name}"),
            Resource::TransactionalIds(prefix) => {
                write!(f, " --transactional-id {prefix} --resource-pattern-type prefixed")
            }
        }
    }
}

// === impl Role ===

impl Role {
    /// The variable that stands for its principal in printed commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Match => "MATCH",
            Role::Send => "SEND",
            Role::Api => "API",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, load};

    /// The lines for the topics of one pattern.
    fn check(pattern: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidings.toml");
        std::fs::write(&file, format!("[[source]]\ntopic = '{pattern}'\n")).unwrap();
        let settings = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        let lines: Vec<String> = super::rights(&settings).iter().map(ToString::to_string).collect();
        let found: Vec<&str> = lines
            .iter()
            .filter(|line| line.contains("crm") || line.starts_with('#'))
            .map(|line| {
                line.trim_start_matches("kafka-acls.sh --bootstrap-server \"$BROKERS\" --add --allow-principal ")
            })
            .collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn a_pattern_is_granted_as_a_beginning_or_topic_by_topic() {
        check(
            "crm.*",
            &[
                "\"$MATCH\" --operation Read --operation Describe --operation DescribeConfigs --topic crm. \
                 --resource-pattern-type prefixed",
                "\"$API\" --operation Read --operation Describe --operation DescribeConfigs --topic crm. \
                 --resource-pattern-type prefixed",
                "\"$API\" --operation Write --operation Describe --topic crm. --resource-pattern-type prefixed",
            ],
        );
        let by_topic = |who: &str, operations: &str, pattern: &str| {
            format!(
                "# {who} needs {operations} on every topic that {pattern} means: Kafka grants rights by whole names and by \
                 beginnings, so grant them topic by topic"
            )
        };
        for pattern in ["crm.*.events", "*"] {
            let read = "Read, Describe, DescribeConfigs";
            let lines = [("MATCH", read), ("API", read), ("API", "Write, Describe")];
            let lines = lines.map(|(who, operations)| by_topic(who, operations, pattern));
            check(pattern, &lines.each_ref().map(String::as_str));
        }
    }
}
