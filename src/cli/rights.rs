//! The least rights of each role on Kafka: printed by `tidings topics create --print`, tried by `tidings check`.

use std::{fmt, sync::Arc};

use clap::ValueEnum;

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
    let (match_group, send_group) = (settings.match_group(), settings.send_group());
    for name in topics.events.iter().chain([&topics.directory]) {
        add(Role::Match, READ, topic(name));
    }
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
    // Replays read the versions, write what is missing, and keep their place.
    add(Role::Api, READ, topic(&topics.index_versions));
    add(Role::Api, WRITE, topic(&topics.index_versions));
    add(Role::Api, WRITE, topic(&topics.deliveries));
    add(Role::Api, LOOK, group(match_group, &topics.events[0]));
    add(Role::Api, LOOK, group(send_group, &topics.deliveries));
    add(Role::Api, WRITE, Resource::TransactionalIds(settings.log.topic_prefix.clone()));
    rights
}

// === impl Right ===

impl Right {
    pub fn has(&self, operation: &str) -> bool {
        self.operations.contains(&operation)
    }
}

/// Kafka's own command that grants it.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.role.as_str();
        write!(f, "kafka-acls.sh --bootstrap-server \"$BROKERS\" --add --allow-principal \"${who}\"")?;
        self.operations.iter().try_for_each(|operation| write!(f, " --operation {operation}"))?;
        match &self.resource {
            Resource::Topic(name) => write!(f, " --topic {name}"),
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
