//! Which topics the patterns of sources mean: looked up when a process starts, and again and again while it runs.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use tidings_core::{codec::mapping::TopicPattern, domain::TopicPartition};
use tokio::sync::watch;

use crate::{
    config::Settings,
    log::{Log, LogError, Reader, partition_count},
    telemetry::facts,
};

/// The topics that events are read from. They become more, never fewer, while a process runs.
#[derive(Clone, Debug)]
pub struct EventsTopics(watch::Receiver<Vec<Arc<str>>>);

/// Finds topics that have appeared since.
pub struct Patterns<L> {
    log: L,
    patterns: Vec<TopicPattern>,
    /// What Tidings' own topics begin with.
    own_prefix: String,
    every: Duration,
    found: watch::Sender<Vec<Arc<str>>>,
    /// Those that are there and may not be read, so that this is said once.
    refused: BTreeSet<Arc<str>>,
}

/// The most topics that patterns may stand for.
pub const MAX_FOUND: usize = 1_000;
/// How long a new topic may take to say that it must not be read.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// The settings with every topic by name that is there now.
pub async fn expand<L: Log>(log: &L, mut settings: Settings) -> Result<Settings, LogError> {
    let patterns = patterns(&settings);
    if patterns.is_empty() {
        return Ok(settings);
    }
    let mut found = meant(log, &patterns, &settings.log.topic_prefix).await?;
    tracing::info!(topics = %found.join(" "), "topics of the sources' patterns");
    let mut topics = settings.topics().events;
    found.retain(|name| !topics.contains(name));
    topics.append(&mut found);
    settings.log.events_topics = topics.iter().map(ToString::to_string).collect();
    Ok(settings)
}

fn patterns(settings: &Settings) -> Vec<TopicPattern> {
    settings.sources().into_iter().map(|source| source.topic).filter(TopicPattern::is_pattern).collect()
}

/// In the order of their names.
async fn meant<L: Log>(log: &L, patterns: &[TopicPattern], own_prefix: &str) -> Result<Vec<Arc<str>>, LogError> {
    let mut found: Vec<Arc<str>> = log.topic_names().await?;
    found.retain(|name| {
        // Tidings' own topics hold no events but that of events, and brokers keep theirs behind two underscores.
        let is_own = name.starts_with(own_prefix) || name.starts_with("__");
        !is_own && patterns.iter().any(|pattern| pattern.matches(name))
    });
    found.sort();
    if found.len() > MAX_FOUND {
        let reason = format!("the patterns of sources mean {} topics; at most {MAX_FOUND} are read", found.len());
        return Err(LogError::Refused(reason));
    }
    Ok(found)
}

// === impl EventsTopics ===

impl EventsTopics {
    /// These, whatever else appears.
    pub fn fixed(topics: Vec<Arc<str>>) -> EventsTopics {
        EventsTopics(watch::channel(topics).1)
    }

    pub fn now(&self) -> Vec<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Waits until there are more than this handle has told, and tells all. Cancel safe.
    pub async fn more(&mut self) -> Vec<Arc<str>> {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => future::pending().await,
        }
    }
}

// === impl Patterns ===

impl<L: Log> Patterns<L> {
    /// `settings` are [expanded](expand).
    pub fn new(log: L, settings: &Settings) -> (Patterns<L>, EventsTopics) {
        let (found, topics) = watch::channel(settings.topics().events);
        let every = Duration::from_secs(settings.log.pattern_refresh_seconds);
        let own_prefix = settings.log.topic_prefix.clone();
        let refused = BTreeSet::new();
        (Patterns { log, patterns: patterns(settings), own_prefix, every, found, refused }, EventsTopics(topics))
    }

    /// Looks again and again; for ever.
    pub async fn run(mut self) {
        if self.patterns.is_empty() {
            return future::pending().await;
        }
        loop {
            tokio::time::sleep(self.every).await;
            if let Err(error) = self.look().await {
                facts::log_failed("sources", &error);
            }
        }
    }

    async fn look(&mut self) -> Result<(), LogError> {
        let mut topics = self.found.borrow().clone();
        let known = topics.len();
        for name in meant(&self.log, &self.patterns, &self.own_prefix).await? {
            if topics.contains(&name) {
                continue;
            }
            match self.try_to_read(&name).await {
                Ok(()) => topics.push(name),
                // It comes again at the next look: somebody may have granted the right by then.
                Err(error) if self.refused.insert(name.clone()) => {
                    tracing::warn!(topic = %name, %error, "a pattern of a source means this topic, but it cannot be read");
                }
                Err(_) => {}
            }
        }
        if topics.len() > known {
            tracing::info!(topics = %topics[known..].join(" "), "new topics of the sources' patterns");
            self.found.send_replace(topics);
        }
        Ok(())
    }

    /// Looks into a topic before a group is told of it: one that must not be read would end the whole membership.
    async fn try_to_read(&self, topic: &Arc<str>) -> Result<(), LogError> {
        partition_count(&self.log, topic).await?;
        let first = TopicPartition { topic: topic.clone(), partition: 0 };
        let bounds = self.log.bounds(first.clone()).await?;
        self.log.reader(first, bounds.start).await?.next(REFUSED_WITHIN).await.map(drop)
    }
}
