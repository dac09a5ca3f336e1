//! The two modes: where the log and the store come from. From here on nothing knows which it is.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{Running, compose::compose};
use crate::{
    backup::{self, Backups, STORE_FILE},
    cli::{run::Roles, topics},
    config::{Mode, Settings, topic_specs},
    log::{
        Log, LogError,
        local::{Local, LocalOptions},
    },
    sources::topics::expand,
    store::sqlite::{self, Sqlite},
};

const FOLDER_MODE: u32 = 0o700;

pub async fn open(roles: Roles, settings: Settings, metrics: PrometheusHandle) -> anyhow::Result<Running> {
    match settings.mode {
        Mode::Embedded => embedded(roles, settings, metrics).await,
        #[cfg(feature = "kafka")]
        Mode::Distributed => distributed(roles, settings, metrics).await,
        #[cfg(not(feature = "kafka"))]
        Mode::Distributed => bail!("this program was built without Kafka (feature `kafka`)"),
    }
}

/// One data folder, which this process alone uses. Its topics are nobody else's, so they are made here.
async fn embedded(roles: Roles, settings: Settings, metrics: PrometheusHandle) -> anyhow::Result<Running> {
    let folder = settings.data.dir.clone();
    let opened = tokio::task::spawn_blocking(move || {
        own_folder(&folder)?;
        if backup::restore::is_unfinished(&folder) {
            let place = folder.display();
            return Err(LogError::Refused(format!(
                "a restore into {place} has broken off; empty the folder and restore again"
            )));
        }
        Local::open(&folder, LocalOptions::default())
    });
    let log = opened.await?.context("the log")?;
    let settings = expand(&log, settings).await.context("the sources' topics")?;
    topics::create(&log, topic_specs(&settings)).await.context("the log's topics")?;
    let file = settings.data.dir.join(STORE_FILE);
    let store = Sqlite::open(&file, sqlite::Durability::Full).await.context("the store")?;
    let counts = partitions(&log, &settings).await?;
    let backups = Backups::new(log.clone(), settings.data.dir.clone());
    compose(roles, settings, metrics, log, Some(store), Some(backups), counts).await
}

/// Makes the folder, if it is missing, for its owner alone: events are in it in clear.
fn own_folder(folder: &Path) -> Result<(), LogError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|error| LogError::Refused(format!("the data folder {} cannot be created: {error}", folder.display())))
}

#[cfg(feature = "kafka")]
async fn distributed(roles: Roles, settings: Settings, metrics: PrometheusHandle) -> anyhow::Result<Running> {
    use crate::store::postgres::Postgres;

    let log = topics::kafka(&settings)?;
    log.connect().await.context("Kafka (log.kafka)")?;
    let settings = expand(&log, settings).await.context("the sources' topics")?;
    let counts = partitions(&log, &settings).await?;
    // A matcher needs no store, so it must not fail for want of one.
    let store = if roles.sender || roles.api {
        let connected = Postgres::connect(settings.store.url.expose(), settings.store.max_connections).await;
        Some(connected.context("the store (store.url)")?)
    } else {
        None
    };
    compose(roles, settings, metrics, log, store, None, counts).await
}

/// Partitions of each topic, as they are and not as they were meant to be.
pub struct Partitions {
    /// In the order of [`Topics::events`](crate::config::Topics::events).
    pub events: Vec<u32>,
    pub deliveries: u32,
}

/// Looks whether every topic is there, before any role finds out in the middle of its work.
async fn partitions<L: Log>(log: &L, settings: &Settings) -> anyhow::Result<Partitions> {
    let topics = settings.topics();
    let mut names: Vec<Arc<str>> = topics.events.clone();
    names.extend([&topics.directory, &topics.deliveries, &topics.dead_letters, &topics.index_versions].map(Arc::clone));
    let found = log.topics(&names).await.context("the log's topics")?;
    let count = |name: &Arc<str>| found.iter().find(|state| state.name == *name).map(|state| state.partitions);
    let absent: Vec<&str> = names.iter().filter(|name| count(name).is_none()).map(|name| &**name).collect();
    if !absent.is_empty() {
        bail!("these topics do not exist: {}; `tidings topics create` creates what is missing", absent.join(", "));
    }
    if let Some(several) = count(&topics.directory).filter(|count| *count != 1) {
        bail!("topic {} has {several} partitions; it must have 1, because its offset is a version", topics.directory);
    }
    let deliveries = count(&topics.deliveries).unwrap_or_default();
    if deliveries != settings.log.partitions {
        tracing::warn!(
            topic = %topics.deliveries,
            found = deliveries,
            configured = settings.log.partitions,
            "log.partitions is not what the topic has; the topic's number holds"
        );
    }
    Ok(Partitions { events: topics.events.iter().filter_map(count).collect(), deliveries })
}
