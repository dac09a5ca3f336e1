//! Which topics the patterns of sources mean: looked up once, when a process starts.

use std::sync::Arc;

use tidings_core::codec::mapping::TopicPattern;

use crate::{
    config::Settings,
    log::{Log, LogError},
};

/// The most topics that patterns may stand for.
pub const MAX_FOUND: usize = 1_000;

/// The settings with every topic by name. A topic that appears later is read after the next start.
pub async fn expand<L: Log>(log: &L, mut settings: Settings) -> Result<Settings, LogError> {
    let patterns: Vec<TopicPattern> =
        settings.sources().into_iter().map(|source| source.topic).filter(TopicPattern::is_pattern).collect();
    if patterns.is_empty() {
        return Ok(settings);
    }
    let mut found: Vec<Arc<str>> = log.topic_names().await?;
    found.retain(|name| {
        // Tidings' own topics hold no events but that of events, and brokers keep theirs behind two underscores.
        let is_own = name.starts_with(&settings.log.topic_prefix) || name.starts_with("__");
        !is_own && patterns.iter().any(|pattern| pattern.matches(name))
    });
    found.sort();
    if found.len() > MAX_FOUND {
        let reason = format!("the patterns of sources mean {} topics; at most {MAX_FOUND} are read", found.len());
        return Err(LogError::Refused(reason));
    }
    tracing::info!(topics = %found.join(" "), "topics of the sources' patterns");
    let mut topics = settings.topics().events;
    found.retain(|name| !topics.contains(name));
    topics.append(&mut found);
    settings.log.events_topics = topics.iter().map(ToString::to_string).collect();
    Ok(settings)
}
