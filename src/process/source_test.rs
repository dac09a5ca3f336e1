//! `tidings source test`: how the last records of a topic would be read with this configuration.
//!
//! In distributed mode the log is read here, so that a configuration can be tried before any process runs with it. In
//! embedded mode the data folder is the running process's, and its API is asked.

use crate::{
    cli::{
        Global, client, settings,
        source::{SourceTest, print},
    },
    config::Mode,
};

pub async fn run(command: SourceTest, global: &Global) -> anyhow::Result<()> {
    let settings = settings(global)?;
    if settings.mode == Mode::Embedded || global.server.is_some() {
        let mut query = vec![("last", command.last.to_string())];
        query.extend(command.topic.map(|topic| ("topic", topic)));
        let answer = client::Client::new(global)?.get("/v1/sources/test", &query).await?;
        print(&answer, global.json);
        return Ok(());
    }
    distributed(command, global, settings).await
}

#[cfg(feature = "kafka")]
async fn distributed(command: SourceTest, global: &Global, settings: crate::config::Settings) -> anyhow::Result<()> {
    use std::sync::Arc;

    use serde_json::json;

    use crate::{
        cli::topics,
        sources::{configured, look::look},
        telemetry::Readiness,
    };

    let log = topics::kafka(&settings)?;
    let catalog = crate::schemas::catalog(&settings)?;
    let schemas = configured::schemas(&settings, &catalog, &Readiness::default())?;
    let topic: Arc<str> = match command.topic {
        Some(topic) => topic.into(),
        None => settings.topics().events[0].clone(),
    };
    let rows = look(&log, &schemas, &catalog, &topic, command.last).await?;
    print(&json!({"topic": &*topic, "items": rows}), global.json);
    Ok(())
}

#[cfg(not(feature = "kafka"))]
async fn distributed(_: SourceTest, _: &Global, _: crate::config::Settings) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without Kafka (feature `kafka`)")
}
