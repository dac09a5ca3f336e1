//! Named facts: one function per thing that happened, emitting its metric and its log line together.
//!
//! Metrics count everything. Log lines are for what an operator may act on: dead letters, aborted commits, lost
//! connections; the ordinary way of an event is at `debug`. Lines never hold event data, URLs, addresses or secrets.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tidings_core::{
    codec::{Poison, SchemaRef},
    directory::Problem,
    domain::{Attempt, ErrorClass, NotificationId, Outcome, Position, TopicPartition, WriteBatch},
};

use crate::store::StoreError;

// --- The matcher ---

pub fn events_published(count: usize) {
    counter!("tidings_events_published_total").increment(count as u64);
}

pub fn events_read(topic: &str, records: usize) {
    counter!("tidings_events_read_total", "topic" => topic.to_owned()).increment(records as u64);
}

/// A record without a value on an events topic.
pub fn tombstones_skipped(topic: &str, records: usize) {
    counter!("tidings_events_skipped_total", "topic" => topic.to_owned()).increment(records as u64);
}

/// What one batch came to. Stated once it is committed, so that an aborted batch is not counted twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Matched {
    pub events: usize,
    pub notifications: usize,
    pub unmatched: usize,
    pub unknown_type: usize,
    pub index_version: i64,
    pub took: Duration,
}

pub fn batch_matched(matched: Matched) {
    counter!("tidings_matched_total").increment(matched.notifications as u64);
    counter!("tidings_events_unmatched_total").increment(matched.unmatched as u64);
    counter!("tidings_events_unknown_type_total").increment(matched.unknown_type as u64);
    histogram!("tidings_match_batch_seconds").record(matched.took);
    index_version("match", matched.index_version);
    tracing::debug!(
        events = matched.events,
        notifications = matched.notifications,
        index_version = matched.index_version,
        took_ms = matched.took.as_millis() as u64,
        "batch matched"
    );
}

/// `detail` was written for operators by the codec: it names fields, not their values.
pub fn dead_lettered(position: &Position, reason: &'static str, detail: &str) {
    counter!("tidings_deadlettered_total", "reason" => reason).increment(1);
    tracing::warn!(%position, reason, detail, "record set aside as a dead letter");
}

// --- Sources ---

/// One question to the schema registry; `found` is `None` where it did not answer.
pub fn registry_asked(found: Option<bool>, took: Duration) {
    let result = match found {
        Some(true) => "found",
        Some(false) => "absent",
        None => "unavailable",
    };
    counter!("tidings_registry_requests_total", "result" => result).increment(1);
    histogram!("tidings_registry_request_seconds").record(took);
}

/// What has come of a question. A schema that is absent or cannot be read with makes its records dead letters.
pub fn schema_learned(schema: &SchemaRef, is_there: bool, is_usable: bool) {
    match (is_there, is_usable) {
        (true, true) => tracing::info!(%schema, "schema learned"),
        (true, false) => tracing::warn!(%schema, "the registry's schema cannot be read with; its records say why"),
        (false, _) => tracing::warn!(%schema, "the registry has no such schema"),
    }
}

pub fn registry_failed(schema: &SchemaRef, error: &dyn std::error::Error) {
    tracing::warn!(%schema, %error, "a schema could not be fetched; records that need it wait");
}

pub fn dead_letters_retried(count: usize) {
    counter!("tidings_deadletters_retried_total").increment(count as u64);
    tracing::info!(count, "dead letters fed in again");
}

/// A replay has come to its end. A dry run has written nothing.
pub fn replayed(partition: &TopicPartition, events: u64, notifications: u64, dry_run: bool) {
    if !dry_run {
        counter!("tidings_replayed_total").increment(notifications);
    }
    tracing::info!(%partition, events, notifications, dry_run, "events replayed");
}

/// Both snapshots of a backup are open; for this long nothing could be written to the log.
pub fn backup_begun(writers_held: Duration) {
    tracing::info!(writers_held_ms = writers_held.as_millis() as u64, "backup begun");
}

pub fn backed_up() {
    tracing::info!("backup finished");
}

pub fn backup_failed(error: &str) {
    tracing::warn!(error, "a backup broke off");
}

pub fn commit_aborted(role: &'static str, why: &str) {
    counter!("tidings_commits_aborted_total", "role" => role).increment(1);
    tracing::warn!(role, why, "commit aborted; its records come again");
}

// --- The directory ---

pub fn index_version(role: &'static str, version: i64) {
    gauge!("tidings_index_version", "role" => role).set(version as f64);
}

pub fn directory_folded(role: &'static str, version: i64, subscriptions: usize, destinations: usize, problems: usize) {
    index_version(role, version);
    gauge!("tidings_subscriptions").set(subscriptions as f64);
    gauge!("tidings_destinations").set(destinations as f64);
    gauge!("tidings_directory_problems").set(problems as f64);
}

/// A record of the directory topic made its key inactive. Key, field and detail hold no value of the record.
pub fn directory_record_refused(problem: &Problem) {
    counter!("tidings_directory_refused_total", "reason" => problem.reason.as_str()).increment(1);
    tracing::warn!(
        key = problem.key,
        offset = problem.offset,
        reason = problem.reason.as_str(),
        field = problem.field,
        detail = problem.detail,
        "a directory record is refused; its key is inactive"
    );
}

// --- The sender ---

/// An attempt was answered. Attempt 0 is an outcome without a try and counts as none.
pub fn attempt_made(attempt: &Attempt) {
    if attempt.attempt > 0 {
        let class = attempt.error.map_or("ok", ErrorClass::as_str);
        counter!("tidings_attempts_total", "class" => class).increment(1);
        histogram!("tidings_attempt_seconds").record(f64::from(attempt.duration_ms) / 1000.0);
    }
    tracing::debug!(
        notification = %attempt.notification,
        team = %attempt.team,
        destination = %attempt.destination,
        attempt = attempt.attempt,
        code = attempt.code,
        class = attempt.error.map(ErrorClass::as_str),
        duration_ms = attempt.duration_ms,
        "attempt made"
    );
}

pub fn notification_ended(outcome: Outcome) {
    counter!("tidings_notifications_total", "outcome" => outcome.as_str()).increment(1);
}

/// From the source record's log timestamp to the receiver's 2xx.
pub fn delivered_at_first_attempt(latency: Duration) {
    histogram!("tidings_latency_seconds").record(latency);
}

/// What a sender holds at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderLoad {
    pub queued: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
    pub unsettled: usize,
}

pub fn sender_load(load: SenderLoad) {
    gauge!("tidings_queued").set(load.queued as f64);
    gauge!("tidings_queued_bytes").set(load.queued_bytes as f64);
    gauge!("tidings_in_flight").set(load.in_flight as f64);
    gauge!("tidings_unsettled").set(load.unsettled as f64);
}

/// Another event came under the id of an earlier one, and was not sent.
pub fn id_conflict(position: &Position, notification: NotificationId) {
    counter!("tidings_id_conflicts_total").increment(1);
    tracing::warn!(%position, %notification, "another event has this one's id: the first was sent, this one is not");
}

/// `overdue`: how long the oldest of them has been due.
pub fn parked(count: u64, overdue: Duration) {
    gauge!("tidings_parked").set(count as f64);
    gauge!("tidings_overdue_seconds").set(overdue.as_secs_f64());
}

pub fn store_written(attempts: usize, took: Duration) {
    histogram!("tidings_store_write_seconds").record(took);
    tracing::debug!(attempts, took_ms = took.as_millis() as u64, "attempts stored");
}

/// A parked row whose delivery cannot be read: it stays where it is, for a newer version to read.
pub fn parked_row_unreadable(notification: NotificationId, poison: &Poison) {
    counter!("tidings_parked_unreadable_total").increment(1);
    tracing::error!(%notification, reason = poison.reason.as_str(), detail = poison.detail, "a parked row cannot be read");
}

/// The store will never take a row, whatever is left out of it.
pub fn row_refused(batch: &WriteBatch, why: &str) {
    counter!("tidings_rows_refused_total").increment(1);
    let notification = batch.attempts.first().map(|attempt| attempt.notification);
    tracing::error!(?notification, why, "the store refused a row for good");
}

// --- Log and store ---

pub fn store_failed(error: &StoreError) {
    let kind = match error {
        StoreError::Fenced(_) => "fenced",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Refused(_) => "refused",
    };
    counter!("tidings_store_errors_total", "kind" => kind).increment(1);
    tracing::warn!(kind, %error, "the store did not serve a request");
}

pub fn log_failed(role: &'static str, error: &crate::log::LogError) {
    counter!("tidings_log_errors_total", "role" => role).increment(1);
    tracing::warn!(role, %error, "the log did not serve a request");
}

pub fn partitions_assigned(role: &'static str, partitions: &[TopicPartition]) {
    tracing::info!(role, partitions = %listed(partitions), "partitions assigned");
}

pub fn partitions_released(role: &'static str, partitions: &[TopicPartition]) {
    tracing::info!(role, partitions = %listed(partitions), "partitions released");
}

pub fn partitions_lost(role: &'static str, partitions: &[TopicPartition]) {
    tracing::warn!(role, partitions = %listed(partitions), "partitions lost without warning");
}

pub fn lag(group: &str, partition: &TopicPartition, records: i64) {
    gauge!(
        "tidings_lag",
        "group" => group.to_owned(),
        "topic" => partition.topic.to_string(),
        "partition" => partition.partition.to_string()
    )
    .set(records as f64);
}

fn listed(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(" ")
}

// --- The process and its API ---

pub fn readiness_changed(ready: bool) {
    gauge!("tidings_ready").set(if ready { 1.0 } else { 0.0 });
}

/// `route` is the pattern, not the path: paths hold names that people chose.
pub fn request_answered(method: &str, route: &str, status: u16, took: Duration) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    counter!("tidings_http_requests_total", &labels).increment(1);
    histogram!("tidings_http_request_seconds", "route" => route.to_owned()).record(took);
    if status >= 500 {
        tracing::error!(method, route, status, "request failed");
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::domain::{DestinationId, SubscriptionId, TeamId, Timestamp};

    use tidings_core::directory::Reason;

    use super::*;
    use crate::telemetry::metrics_list::METRICS;

    /// States every fact once; what comes out must be the list, no more and no less.
    #[test]
    fn every_listed_metric_is_written_and_nothing_else() {
        let recorder = crate::telemetry::recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            crate::telemetry::metrics_list::describe();
            state_every_fact();
        });
        let rendered = handle.render();
        let mut written: Vec<&str> =
            rendered.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let mut listed: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        written.sort_unstable();
        listed.sort_unstable();
        assert_eq!(written, listed);
        for metric in METRICS {
            let sample = rendered.lines().find(|line| line.starts_with(metric.name)).unwrap();
            for label in metric.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample} has no label {label}");
            }
        }
    }

    fn state_every_fact() {
        let partition = TopicPartition { topic: "t".into(), partition: 3 };
        let position = Position { topic: "t".into(), partition: 3, offset: 4 };
        events_published(1);
        events_read("t", 1);
        tombstones_skipped("t", 1);
        batch_matched(Matched::default());
        dead_lettered(&position, "decode", "");
        dead_letters_retried(1);
        registry_asked(None, Duration::from_millis(3));
        schema_learned(&SchemaRef::Id(1), false, false);
        registry_failed(&SchemaRef::Id(1), &crate::log::LogError::Unavailable(String::new()));
        replayed(&TopicPartition { topic: "t".into(), partition: 0 }, 1, 1, false);
        commit_aborted("match", "");
        directory_folded("match", 1, 1, 1, 0);
        directory_record_refused(&Problem {
            key: "sub/acme/s".to_owned(),
            team: None,
            offset: 1,
            reason: Reason::Decode,
            field: None,
            detail: String::new(),
        });
        id_conflict(&position, NotificationId([1; 16]));
        attempt_made(&attempt(position));
        notification_ended(Outcome::Delivered);
        delivered_at_first_attempt(Duration::from_millis(3));
        sender_load(SenderLoad::default());
        parked(1, Duration::from_secs(1));
        store_written(1, Duration::from_millis(3));
        parked_row_unreadable(NotificationId([1; 16]), &Poison::new(tidings_core::codec::Reason::Decode, ""));
        row_refused(&WriteBatch::default(), "");
        store_failed(&StoreError::Unavailable(String::new()));
        log_failed("match", &crate::log::LogError::Unavailable(String::new()));
        lag("g", &partition, 1);
        readiness_changed(true);
        request_answered("GET", "/healthz", 200, Duration::from_millis(3));
    }

    fn attempt(position: Position) -> Attempt {
        Attempt {
            day: Timestamp(0).day(),
            notification: NotificationId([1; 16]),
            attempt: 1,
            team: TeamId::new("acme").unwrap(),
            subscription: SubscriptionId::new("s").unwrap(),
            destination: DestinationId::new("d").unwrap(),
            event_type: "a.b".into(),
            event_id: "1".into(),
            position,
            content: None,
            index_version: 1,
            at: Timestamp(0),
            duration_ms: 12,
            code: Some(200),
            error: None,
            message: None,
            response: None,
            outcome: Some(Outcome::Delivered),
            next_attempt_at: None,
        }
    }
}
