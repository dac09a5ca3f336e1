//! One process: opens the log and the store of its mode, joins the roles it is to run, and stops them in order.
//!
//! [`start`] answers once everything is open and the API listens; the roles go on by themselves. [`Running::stop`]
//! gives the order to stop and [`Running::ended`] waits for it to be followed: first the roles give up what they own
//! and the API finishes what it has begun, then the directory's editor ends, last its follower, because each leans on
//! the next. What does not end in time is cut off, which loses nothing: it is the same as a crash.
//!
//! This is the only place that knows which room gets what from where. It decides nothing about events.
//!
//! Reading order: this file, [`parts`] (what settings become), [`open`] (the two modes), [`compose`] (who gets what),
//! [`housekeeping`], [`terminal`] (what a person sees; signals), [`source_test`] (no process, but what one would read).

mod compose;
mod housekeeping;
mod open;
mod parts;
pub mod source_test;
mod terminal;

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{task::JoinSet, time::Instant};

pub use terminal::run;

use crate::{
    cli::run::Roles,
    config::Settings,
    crash,
    roles::{Stop, Stopper, stop_pair},
    telemetry,
};

/// The roles of this process, at work. Dropping it cuts them off.
pub struct Running {
    /// Where the API listens, if this process has one.
    pub api: Option<SocketAddr>,
    /// The operator token in clear, for programs that start Tidings inside themselves; empty without an API.
    pub token: String,
    stages: [Stage; 3],
    stop_within: Duration,
    stop_by: Option<Instant>,
    trouble: Option<anyhow::Error>,
}

/// Tasks that are stopped together.
struct Stage {
    stopper: Stopper,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

/// The stages in the order in which they are stopped.
#[derive(Clone, Copy, Debug)]
enum Stages {
    Roles,
    Editor,
    Follower,
}

/// What is left of `send.stop_seconds` for the stages after the roles, and for closing files.
const STOP_RESERVE: Duration = Duration::from_secs(1);

/// Starts these roles. Once per process, because logs and metrics are the process's.
pub async fn start(roles: Roles, settings: Settings) -> anyhow::Result<Running> {
    let metrics = telemetry::start(&settings.telemetry)?;
    crash::arm()?;
    raise_open_files();
    open::open(roles, settings, metrics).await
}

/// Every receiver takes a connection, and common soft limits (1,024) are below `send.max_in_flight`.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

// === impl Running ===

impl Running {
    fn new(settings: &Settings) -> Running {
        Running {
            api: None,
            token: String::new(),
            stages: [Stage::new(), Stage::new(), Stage::new()],
            stop_within: Duration::from_secs(settings.send.stop_seconds).saturating_sub(STOP_RESERVE),
            stop_by: None,
            trouble: None,
        }
    }

    /// The order that this stage's tasks listen to.
    fn order(&self, stage: Stages) -> Stop {
        self.stages[stage as usize].stopper.listener()
    }

    fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        stage: Stages,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.stages[stage as usize].tasks.spawn(async move { (name, task.await.map_err(Into::into)) });
    }

    /// Gives the order to stop. [`Running::ended`] tells when that is done.
    pub fn stop(&self) {
        self.stages[Stages::Roles as usize].stopper.stop();
    }

    /// Waits until everything has ended: after the order to stop, or because a task has failed, which stops the others
    /// and is the error returned. Cancel safe.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        if self.stop_by.is_none() {
            self.first_end().await;
            self.stop();
            self.stop_by = Some(Instant::now() + self.stop_within);
        }
        let stop_by = self.stop_by.unwrap_or_else(Instant::now);
        for stage in &mut self.stages {
            stage.stopper.stop();
            stage.drain(stop_by, &mut self.trouble).await;
        }
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// Waits for the order to stop, or for a task that ends without one.
    async fn first_end(&mut self) {
        let mut order = self.order(Stages::Roles);
        let [roles, editor, follower] = &mut self.stages;
        let joined = tokio::select! {
            biased;
            _ = order.ordered() => return,
            Some(joined) = roles.tasks.join_next() => joined,
            Some(joined) = editor.tasks.join_next() => joined,
            Some(joined) = follower.tasks.join_next() => joined,
        };
        let trouble = match joined {
            Ok((name, Ok(()))) => anyhow!("the {name} ended without being told to"),
            Ok((name, Err(error))) => error.context(format!("the {name} failed")),
            Err(error) => anyhow::Error::new(error).context("a task broke off"),
        };
        tracing::error!(error = format!("{trouble:#}"), "stopping");
        self.trouble = Some(trouble);
    }
}

// === impl Stage ===

impl Stage {
    fn new() -> Stage {
        Stage { stopper: stop_pair().0, tasks: JoinSet::new() }
    }

    /// Waits for the tasks to end, and cuts off those that do not in time. The first failure is kept.
    async fn drain(&mut self, stop_by: Instant, trouble: &mut Option<anyhow::Error>) {
        while let Ok(Some(joined)) = tokio::time::timeout_at(stop_by, self.tasks.join_next()).await {
            let failure = match joined {
                Ok((name, Ok(()))) => {
                    tracing::debug!(task = name, "stopped");
                    continue;
                }
                Ok((name, failed)) => failed.with_context(|| format!("the {name} failed while stopping")),
                Err(error) => Err(error).context("a task broke off while stopping"),
            };
            if let Err(error) = failure {
                tracing::error!(error = format!("{error:#}"), "not stopped in good order");
                trouble.get_or_insert(error);
            }
        }
        if !self.tasks.is_empty() {
            tracing::warn!(tasks = self.tasks.len(), "not stopped in time and cut off; their work comes again");
            self.tasks.shutdown().await;
        }
    }
}
