//! Telemetry: logs, metrics and readiness.
//!
//! Roles do not write log lines and metrics side by side: they state a fact ([`facts`]), which emits both, so that
//! a count and its log line cannot tell different stories. What must never appear in either: secrets, URLs, addresses,
//! event data.
//!
//! The room does *not* listen anywhere: the API serves what is collected here.
//!
//! Reading order: this file, [`facts`], [`metrics_list`], [`readiness`].

pub mod facts;
pub mod metrics_list;
pub mod readiness;

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

pub use readiness::Readiness;

use crate::config::{LogFormat, TelemetrySettings};

/// Histogram buckets, in seconds: from an embedded hop to the longest attempt deadline and beyond.
pub const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// How often finished samples are folded into histograms when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts logging and installs the process's metrics recorder. Once per process, inside a tokio runtime.
pub fn start(settings: &TelemetrySettings) -> anyhow::Result<PrometheusHandle> {
    start_logging(settings)?;
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok().context("a metrics recorder is already installed")?;
    metrics_list::describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// A recorder that renders what `/metrics` shows; tests install it for one thread.
pub fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .expect("the bucket list is not empty")
        .build_recorder()
}

/// Text for a person, JSON for a machine; always on stderr, because stdout belongs to a command's answer.
fn start_logging(settings: &TelemetrySettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter).context("telemetry.filter")?;
    let text = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if text {
        registry.with(lines.with_target(false)).try_init()?;
    } else {
        registry.with(lines.json().flatten_event(true)).try_init()?;
    }
    Ok(())
}
