//! Who gets what: one small function per role, the same for both modes.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use metrics_exporter_prometheus::PrometheusHandle;
use tidings_core::{catalog::Catalog, codec::DirectoryCodec, matcher, sender};
use tokio::net::TcpListener;

use super::{Running, Stages, housekeeping, open::Partitions, parts, terminal};
use crate::{
    api::{self, ApiState, Token, token},
    backup::Backups,
    cli::run::Roles,
    config::{OutputsSetting, Settings, Topics},
    log::{BatchLimits, Group, Log, Outputs},
    roles::{
        DirectoryView, SystemClock,
        directory::follower,
        editor::{Editor, editor},
        matcher::MatcherRole,
        replay::Replays,
        seam::Seam,
        sender::SenderRole,
    },
    schemas,
    secrets::KeyRing,
    sources::{EventsTopics, Schemas, configured, topics::Patterns},
    store::Store,
    telemetry::Readiness,
};

/// What the roles of a process share.
struct Shared<L, S> {
    settings: Settings,
    topics: Topics,
    partitions: Partitions,
    log: L,
    store: Option<S>,
    backups: Option<Backups>,
    catalog: Arc<Catalog>,
    schemas: Schemas,
    /// What events are read from, as it becomes more.
    events: EventsTopics,
    view: DirectoryView,
    readiness: Readiness,
}

/// Batches of deliveries: small enough that the first of them is not kept waiting by decoding the last.
const DELIVERY_BATCH: BatchLimits =
    BatchLimits { records: 1_000, bytes: 4 * 1024 * 1024, time: Duration::from_millis(5) };
/// What of `send.stop_seconds` is not the sender's to drain in: its last writes, and what stops after it.
const AFTER_DRAIN_S: u64 = 2;
/// How long the API may finish what it has begun, in a stop.
const API_GRACE: Duration = Duration::from_secs(5);

/// Starts the follower and then each role that is asked for.
pub async fn compose<L: Log, S: Store>(
    roles: Roles,
    settings: Settings,
    metrics: PrometheusHandle,
    log: L,
    store: Option<S>,
    backups: Option<Backups>,
    partitions: Partitions,
) -> anyhow::Result<Running> {
    let topics = settings.topics();
    let catalog = schemas::catalog(&settings)?;
    let readiness = Readiness::default();
    let schemas = configured::schemas(&settings, &catalog, &readiness)?;
    let (following, view) = follower(log.clone(), topics.directory.clone(), catalog.clone(), readiness.clone());
    let following = following.reading(Arc::new(DirectoryCodec::new(settings.directory_schema_ids())));
    let (patterns, events) = Patterns::new(log.clone(), &settings);
    let shared =
        Shared { settings, topics, partitions, log, store, backups, catalog, schemas, events, view, readiness };

    // Everything that can be refused is made before anything runs.
    let keys = if roles.sender || roles.api { Some(parts::keys(&shared.settings)?) } else { None };
    let sender = keys.clone().filter(|_| roles.sender).map(|keys| shared.sender(keys)).transpose()?;
    let mut running = Running::new(&shared.settings);
    match keys.filter(|_| roles.api) {
        Some(keys) => shared.start_api(keys, metrics, &mut running).await?,
        None => shared.start_health(metrics, &mut running).await?,
    }
    if let Some(sender) = sender {
        running.spawn(Stages::Roles, "sender", sender.run(running.order(Stages::Roles)));
    }
    if roles.matcher {
        running.spawn(Stages::Roles, "matcher", shared.matcher().run(running.order(Stages::Roles)));
    }
    shared.start_housekeeping(roles, &mut running);
    // A sender reads no events, and may not.
    if roles.matcher || roles.api {
        let mut order = running.order(Stages::Roles);
        running.spawn(Stages::Roles, "look for new topics", async move {
            tokio::select! {
                _ = order.ordered() => anyhow::Ok(()),
                () = patterns.run() => anyhow::Ok(()),
            }
        });
    }
    let order = running.order(Stages::Follower);
    running.spawn(Stages::Follower, "directory's follower", async move {
        following.run(order, terminal::progress()).await;
        anyhow::Ok(())
    });
    Ok(running)
}

// === impl Shared ===

impl<L: Log, S: Store> Shared<L, S> {
    fn store(&self) -> anyhow::Result<S> {
        self.store.clone().context("this role needs a store")
    }

    /// What the matcher writes and where, the same for one that matches again.
    fn matcher_options(&self) -> matcher::Options {
        let matching = &self.settings.matching;
        matcher::Options {
            deliveries: self.topics.deliveries.clone(),
            deadletters: self.topics.dead_letters.clone(),
            index_versions: self.topics.index_versions.clone(),
            delivery_partitions: self.partitions.deliveries,
            max_fanout: matching.max_fanout,
            max_fanout_bytes: matching.max_fanout_bytes,
            max_batch_bytes: matching.batch_bytes,
            threads: match matching.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            },
        }
    }

    fn replays(&self) -> anyhow::Result<Replays<L, S>> {
        Ok(Replays {
            log: self.log.clone(),
            store: self.store()?,
            view: self.view.clone(),
            schemas: self.schemas.clone(),
            options: self.matcher_options(),
            group: self.settings.match_group(),
            events: self.events.clone(),
            directory: self.topics.directory.clone(),
            prefix: self.settings.log.topic_prefix.clone(),
            retention_days: self.settings.retention.days,
        })
    }

    fn matcher(&self) -> MatcherRole<L> {
        let Settings { matching, log, .. } = &self.settings;
        let group = Group {
            name: self.settings.match_group(),
            topics: self.topics.events.clone(),
            instance: self.settings.process_name(),
            outputs: match log.outputs {
                OutputsSetting::Transactional => Outputs::Transactional,
                OutputsSetting::AtLeastOnce => Outputs::AtLeastOnce,
            },
            batch: BatchLimits {
                records: matching.batch_records,
                bytes: matching.batch_bytes,
                time: Duration::from_millis(matching.batch_ms),
            },
        };
        MatcherRole {
            log: self.log.clone(),
            group,
            events: self.events.clone(),
            view: self.view.clone(),
            schemas: self.schemas.clone(),
            options: self.matcher_options(),
            readiness: self.readiness.clone(),
            seam: Seam::closed(),
        }
    }

    fn sender(
        &self,
        keys: Arc<KeyRing>,
    ) -> anyhow::Result<SenderRole<L, S, crate::channels::webhook::WebhookChannel, SystemClock>> {
        let send = &self.settings.send;
        let group = Group {
            name: self.settings.send_group(),
            topics: vec![self.topics.deliveries.clone()],
            instance: self.settings.process_name(),
            // It writes nothing into the log but offsets.
            outputs: Outputs::AtLeastOnce,
            batch: DELIVERY_BATCH,
        };
        let options = sender::Options {
            partitions: self.partitions.deliveries,
            max_in_flight: send.max_in_flight,
            max_unsettled: send.max_unsettled,
            max_queued: send.max_queued,
            max_queued_bytes: send.max_queued_bytes,
            max_age_ms: i64::from(send.max_age_hours) * 3_600_000,
            drain_ms: send.stop_seconds.saturating_sub(AFTER_DRAIN_S).max(1) as i64 * 1_000,
            ..sender::Options::default()
        };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
        Ok(SenderRole {
            log: self.log.clone(),
            store: self.store()?,
            channel: Arc::new(parts::webhooks(&self.settings, parts::url_rules(&self.settings)?, keys)?),
            clock: SystemClock,
            group,
            deliveries: self.topics.deliveries.clone(),
            deadletters: self.topics.dead_letters.clone(),
            view: self.view.clone(),
            schemas: self.schemas.clone(),
            catalog: self.catalog.clone(),
            options,
            seed: u64::from_le_bytes(seed),
            readiness: self.readiness.clone(),
            seam: Seam::closed(),
        })
    }

    /// Binds the address before anything runs, so that one that is taken is a refusal and not a surprise.
    async fn start_api(
        &self,
        keys: Arc<KeyRing>,
        metrics: PrometheusHandle,
        running: &mut Running,
    ) -> anyhow::Result<()> {
        let text = token::prepare(&self.settings)?;
        let listen = self.settings.api.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("api.listen {listen}"))?;
        running.api = Some(listener.local_addr()?);
        let state = Arc::new(ApiState {
            log: self.log.clone(),
            store: self.store()?,
            view: self.view.clone(),
            editor: self.start_editor(running)?,
            catalog: self.catalog.clone(),
            schemas: self.schemas.clone(),
            keys,
            topics: self.topics.clone(),
            replays: self.replays()?,
            backups: self.backups.clone(),
            url_rules: parts::url_rules(&self.settings)?,
            max_event_bytes: self.settings.log.max_event_bytes,
            token: Token::new(&text),
            readiness: self.readiness.clone(),
            metrics,
        });
        running.token = text;
        let (mut order, mut last_order) = (running.order(Stages::Roles), running.order(Stages::Roles));
        running.spawn(Stages::Roles, "API", async move {
            let grace = async {
                last_order.ordered().await;
                tokio::time::sleep(API_GRACE).await;
            };
            tokio::select! {
                served = api::serve(state, listener, async move { order.ordered().await }) => served,
                _ = grace => Ok(()),
            }
        });
        Ok(())
    }

    /// A process without the API says by itself how it is, if it is told where.
    async fn start_health(&self, metrics: PrometheusHandle, running: &mut Running) -> anyhow::Result<()> {
        let listen = &self.settings.telemetry.listen;
        if listen.is_empty() {
            return Ok(());
        }
        let listener = TcpListener::bind(listen).await.with_context(|| format!("telemetry.listen {listen}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics and health are served");
        let router = api::health::router(self.readiness.clone(), metrics);
        let mut order = running.order(Stages::Roles);
        running.spawn(Stages::Roles, "health", async move {
            let router = router.into_make_service();
            axum::serve(listener, router).with_graceful_shutdown(async move { order.ordered().await }).await
        });
        Ok(())
    }

    fn start_editor(&self, running: &mut Running) -> anyhow::Result<Editor> {
        let (task, editor) = editor(self.log.clone(), self.store()?, self.topics.directory.clone(), self.view.clone());
        let order = running.order(Stages::Editor);
        running.spawn(Stages::Editor, "directory's editor", async move {
            task.run(order).await;
            anyhow::Ok(())
        });
        Ok(editor)
    }

    fn start_housekeeping(&self, roles: Roles, running: &mut Running) {
        if let Some(store) = self.store.clone() {
            let (days, order) = (self.settings.retention.days, running.order(Stages::Roles));
            running.spawn(Stages::Roles, "housekeeping", async move {
                housekeeping::keep_store(store, days, order).await;
                anyhow::Ok(())
            });
        }
        // Whoever serves `/metrics` measures the lag of all.
        if roles.api {
            let events = self.topics.events.iter().cloned().zip(self.partitions.events.iter().copied());
            let followed = housekeeping::Followed {
                log: self.log.clone(),
                match_group: self.settings.match_group(),
                events: self.events.clone(),
                groups: events
                    .map(|(topic, partitions)| (self.settings.match_group(), topic, partitions))
                    .chain([(self.settings.send_group(), self.topics.deliveries.clone(), self.partitions.deliveries)])
                    .collect(),
            };
            let order = running.order(Stages::Roles);
            running.spawn(Stages::Roles, "lag measurement", async move {
                followed.run(order).await;
                anyhow::Ok(())
            });
        }
    }
}
