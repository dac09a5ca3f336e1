//! Every metric: its name, kind, labels and meaning. `docs/metrics.md` is made from this list.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// A metric as it is documented and registered. [`facts`](super::facts) is the only place that writes one.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// Label names. Their values come from small closed sets: topics, partitions, reasons; never teams.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// In seconds; buckets in [`super::SECONDS_BUCKETS`].
    Histogram,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

/// In the order of an event's way.
pub const METRICS: &[Metric] = &[
    counter("tidings_events_published_total", &[], "Events accepted by the API and durable in the log."),
    counter(
        "tidings_events_read_total",
        &["topic"],
        "Records read by matchers, of every kind; repeats after an abort count again.",
    ),
    counter("tidings_events_skipped_total", &["topic"], "Records without a value, skipped."),
    counter("tidings_events_unmatched_total", &[], "Events that no subscription matched."),
    counter(
        "tidings_events_unknown_type_total",
        &[],
        "Events of a type that the catalog does not know; subscriptions to any type still see them.",
    ),
    counter("tidings_matched_total", &[], "Notifications made by matchers."),
    counter("tidings_deadlettered_total", &["reason"], "Records set aside in the dead-letter topic."),
    counter(
        "tidings_registry_requests_total",
        &["result"],
        "Schemas asked for at the registry: `found`, `absent`, or `unavailable` where it did not answer.",
    ),
    histogram("tidings_registry_request_seconds", &[], "Fetching one schema with all that it refers to."),
    counter("tidings_deadletters_retried_total", &[], "Dead letters fed in again."),
    counter("tidings_replayed_total", &[], "Notifications handed over again by replays that have finished."),
    histogram("tidings_match_batch_seconds", &[], "Matching and committing one batch."),
    counter(
        "tidings_commits_aborted_total",
        &["role"],
        "Commits of which nothing became visible; their records come again.",
    ),
    gauge("tidings_index_version", &["role"], "Next directory offset to be folded: the version that matches now."),
    gauge("tidings_subscriptions", &[], "Active subscriptions in the directory."),
    gauge("tidings_destinations", &[], "Active destinations in the directory."),
    gauge("tidings_directory_problems", &[], "Directory keys that are inactive because their record is invalid."),
    counter(
        "tidings_directory_refused_total",
        &["reason"],
        "Directory records that made their key inactive, since this process has read the directory to its end.",
    ),
    counter(
        "tidings_id_conflicts_total",
        &[],
        "Notifications not sent because another event came first under the same team, source and event id; \
         a producer uses ids twice.",
    ),
    gauge("tidings_queued", &[], "Notifications in the sender's memory, waiting for their turn."),
    gauge("tidings_queued_bytes", &[], "Bytes of the notifications that wait in the sender's memory."),
    gauge("tidings_in_flight", &[], "Requests waiting for an answer."),
    gauge("tidings_unsettled", &[], "Attempts answered but not yet stored: what a crash now would repeat."),
    gauge("tidings_parked", &[], "Notifications waiting in the store for their next attempt, of all partitions."),
    gauge(
        "tidings_overdue_seconds",
        &[],
        "For how long the oldest of them has been due; minutes mean that no sender takes them up.",
    ),
    counter("tidings_attempts_total", &["class"], "Attempts by error class; `ok` where there was none."),
    histogram("tidings_attempt_seconds", &[], "One attempt, from resolving the name to the end of the answer."),
    counter("tidings_notifications_total", &["outcome"], "Notifications that ended, by outcome."),
    histogram(
        "tidings_latency_seconds",
        &[],
        "From the source record's log timestamp to the receiver's 2xx, for notifications delivered at the first attempt.",
    ),
    histogram("tidings_store_write_seconds", &[], "Writing one batch of attempts and parked rows."),
    counter(
        "tidings_store_errors_total",
        &["kind"],
        "Requests that the store could not serve (`unavailable`, `refused`) or refused to a former owner (`fenced`).",
    ),
    counter("tidings_parked_unreadable_total", &[], "Parked rows whose delivery could not be read."),
    counter("tidings_rows_refused_total", &[], "Rows that the store will never take."),
    counter("tidings_log_errors_total", &["role"], "Requests that the log could not serve."),
    gauge(
        "tidings_lag",
        &["group", "topic", "partition"],
        "Records between a group's committed offset and the end of a partition.",
    ),
    gauge("tidings_ready", &[], "1 if the process is ready, else 0."),
    counter("tidings_http_requests_total", &["method", "route", "status"], "Requests answered by the API."),
    histogram("tidings_http_request_seconds", &["route"], "Answering one request of the API."),
];

/// Registers every description with the installed recorder.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metrics::Unit::Seconds, metric.help),
        }
    }
}

/// `docs/metrics.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n<!-- Made by `tidings config metrics` from `src/telemetry/metrics_list.rs`; a test holds them together. -->\n\n\
         `GET /metrics` (with the operator token) answers in Prometheus' text format. Times are in seconds.\n\n\
         | metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        page.push_str(&format!("| `{}` | {kind} | {} | {} |\n", metric.name, metric.labels.join(", "), metric.help));
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_the_one_made_here() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == super::page(), "docs/metrics.md is old: `cargo run -- config metrics > docs/metrics.md`");
    }
}
