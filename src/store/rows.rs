//! What both stores share: rows read back into the domain, listings composed from what a person asks for.
//!
//! Text columns cannot hold NUL in PostgreSQL, so [`storable`] writes U+FFFD in its place, in both stores alike and in
//! queries too. Only texts for show and for searching are touched; the delivery and its event are bytes.

use std::{borrow::Cow, collections::HashMap, str::FromStr, sync::Arc};

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType},
};
use tidings_core::domain::{
    Attempt, Day, DestinationId, Fingerprint, NotificationId, Outcome, Position, SubscriptionId, TeamId, Timestamp,
};

use super::{
    AttemptQuery, Known, Notification, NotificationQuery, Parked, Standing, Status, StoreError, Waiting, WriteBatch,
};

pub const ACQUIRE: &str = include_str!("queries/acquire.sql");
pub const DUE: &str = include_str!("queries/due.sql");
pub const WAITING: &str = include_str!("queries/waiting.sql");
pub const WAITING_OF_TEAM: &str = include_str!("queries/waiting_of_team.sql");

/// The most rows of one listing.
const MAX_LISTED: u32 = 1000;
/// The most days from the oldest to the newest kept.
const MAX_KEPT_DAYS: i64 = 3660;
/// Days that have a name as a date: years 0001 to 9998.
const DATED: std::ops::RangeInclusive<i32> = -719_162..=2_932_531;

/// A row's columns by name, whichever database it comes from.
pub trait Columns {
    fn number(&self, name: &str) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error>;
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

/// A value bound to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A listing: its text with numbered places, and the values for them in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    pub sql: String,
    pub values: Vec<Value>,
}

/// A step of a store's tables, in a transaction of its own.
pub fn migration(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

/// Text as a column takes it.
pub fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

pub fn attempts_listing(query: &AttemptQuery) -> Listing {
    let mut listing = Listing::of(query);
    listing.narrow(query);
    listing.into_sql(include_str!("queries/attempts.sql"))
}

pub fn notifications_listing(query: &NotificationQuery) -> Listing {
    let mut listing = Listing::of(&query.attempts);
    listing.narrow(&query.attempts);
    let narrows_to_trouble =
        query.error.is_some() || query.status.is_some_and(|s| s != Status::Ended(Outcome::Delivered));
    if narrows_to_trouble {
        // Literally the condition of the partial indexes; an attempt that delivered has no error.
        listing.sql.push_str(" AND a.outcome IS DISTINCT FROM 'delivered'");
    }
    match query.status {
        None => {}
        Some(Status::Retrying) => listing.sql.push_str(" AND a.outcome IS NULL"),
        Some(Status::Ended(outcome)) => listing.and("a.outcome = ", Value::Text(outcome.to_string())),
    }
    if let Some(error) = query.error {
        listing.and("a.error = ", Value::Text(error.to_string()));
    }
    listing.into_sql(include_str!("queries/notifications.sql"))
}

pub fn attempt(row: &impl Columns) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        day: day(row)?,
        notification: notification_id(row)?,
        attempt: number(row, "attempt")?,
        team: named(row, "team", TeamId::new)?,
        subscription: named(row, "subscription", SubscriptionId::new)?,
        destination: named(row, "destination", DestinationId::new)?,
        event_type: text(row, "event_type")?.into(),
        event_id: text(row, "event_id")?.into(),
        position: Position {
            topic: Arc::from(text(row, "source_topic")?),
            partition: number(row, "source_partition")?,
            offset: number(row, "source_offset")?,
        },
        content: content(row)?,
        index_version: number(row, "index_version")?,
        at: Timestamp(number(row, "at")?),
        duration_ms: number(row, "duration_ms")?,
        code: row.number("code")?.map(|code| fit("code", code)).transpose()?,
        error: word(row, "error")?,
        message: row.text("message")?,
        response: row.text("response")?,
        outcome: word(row, "outcome")?,
        next_attempt_at: row.number("next_attempt_at")?.map(Timestamp),
    })
}

/// Retrying is whatever has no outcome: it is parked, or the log still holds its delivery.
pub fn notification(row: &impl Columns) -> Result<Notification, StoreError> {
    let last = attempt(row)?;
    Ok(match last.outcome {
        Some(outcome) => Notification { status: Status::Ended(outcome), last, next_attempt_at: None },
        None => {
            let next_attempt_at = row.number("due")?.map(Timestamp).or(last.next_attempt_at);
            Notification { status: Status::Retrying, last, next_attempt_at }
        }
    })
}

pub fn parked(row: &impl Columns) -> Result<Parked, StoreError> {
    Ok(Parked {
        day: day(row)?,
        notification: notification_id(row)?,
        team: named(row, "team", TeamId::new)?,
        subscription: named(row, "subscription", SubscriptionId::new)?,
        destination: named(row, "destination", DestinationId::new)?,
        destination_hash: number(row, "destination_hash")?,
        attempts: number(row, "attempts")?,
        due: Timestamp(number(row, "due")?),
        delivery: row.bytes("delivery")?.ok_or_else(|| missing("delivery"))?.into(),
        content: content(row)?,
    })
}

pub fn waiting(row: &impl Columns) -> Result<Waiting, StoreError> {
    Ok(Waiting { parked: number(row, "parked")?, oldest_due: row.number("oldest_due")?.map(Timestamp) })
}

/// Rows of a look-up: a final outcome outranks a parked row.
pub fn known<R: Columns>(rows: &[R]) -> Result<Vec<(NotificationId, Known)>, StoreError> {
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let (id, content) = (notification_id(row)?, content(row)?);
        match word(row, "outcome")? {
            Some(outcome) => drop(known.insert(id, Known { standing: Standing::Final(outcome), content })),
            None => drop(known.entry(id).or_insert(Known { standing: Standing::Parked, content })),
        }
    }
    Ok(known.into_iter().collect())
}

/// The fences of a batch that do not name the newest epoch. A partition that nobody ever took is fenced, too.
pub fn stale<R: Columns>(batch: &WriteBatch, newest: &[R]) -> Result<Vec<u32>, StoreError> {
    let mut epochs = HashMap::with_capacity(newest.len());
    for row in newest {
        epochs.insert(number::<u32>(row, "partition")?, number::<i64>(row, "epoch")?);
    }
    let stale = batch.fences.iter().filter(|(partition, epoch)| epochs.get(partition) != Some(epoch));
    Ok(stale.map(|(partition, _)| *partition).collect())
}

/// Attempts in key order: two writers then wait for each other instead of deadlocking, and the key's index is walked.
///
/// The sort is stable, so of two outcomes of one notification the batch's first stands.
pub fn attempts_in_order(batch: &WriteBatch) -> Vec<&Attempt> {
    let mut attempts: Vec<&Attempt> = batch.attempts.iter().collect();
    attempts.sort_by_key(|a| (a.day, a.notification));
    attempts
}

/// Parked rows in key order, the last one of each key: one statement may not touch a row twice.
pub fn parked_in_order(batch: &WriteBatch) -> Vec<&Parked> {
    let mut parked: Vec<&Parked> = batch.park.iter().rev().collect();
    parked.sort_by_key(|p| (p.day, p.notification));
    parked.dedup_by_key(|p| (p.day, p.notification));
    parked
}

/// Refuses a range of days that no table of days should be made for.
pub fn check_kept_days(oldest: Day, newest: Day) -> Result<(), StoreError> {
    let days = newest.0 as i64 - oldest.0 as i64 + 1;
    let sensible = (1..=MAX_KEPT_DAYS).contains(&days) && DATED.contains(&oldest.0) && DATED.contains(&newest.0);
    match sensible {
        true => Ok(()),
        false => Err(StoreError::Refused(format!(
            "keep_days from {oldest} to {newest}: {days} days; 1 to {MAX_KEPT_DAYS} within years 0001 to 9998 are allowed"
        ))),
    }
}

fn day(row: &impl Columns) -> Result<Day, StoreError> {
    number(row, "day").map(Day)
}

fn notification_id(row: &impl Columns) -> Result<NotificationId, StoreError> {
    let bytes = row.bytes("notification")?.ok_or_else(|| missing("notification"))?;
    let length = bytes.len();
    let id = bytes.try_into().map_err(|_| unreadable("notification", format!("{length} bytes; an id has 16")))?;
    Ok(NotificationId(id))
}

fn content(row: &impl Columns) -> Result<Option<Fingerprint>, StoreError> {
    Ok(row.number("content")?.map(Fingerprint))
}

fn number<N: TryFrom<i64>>(row: &impl Columns, name: &str) -> Result<N, StoreError> {
    fit(name, row.number(name)?.ok_or_else(|| missing(name))?)
}

fn fit<N: TryFrom<i64>>(name: &str, number: i64) -> Result<N, StoreError> {
    number.try_into().map_err(|_| unreadable(name, format!("{number} is out of its range")))
}

fn text(row: &impl Columns, name: &str) -> Result<String, StoreError> {
    row.text(name)?.ok_or_else(|| missing(name))
}

fn named<T, E: ToString>(row: &impl Columns, name: &str, new: fn(&str) -> Result<T, E>) -> Result<T, StoreError> {
    new(&text(row, name)?).map_err(|e| unreadable(name, e))
}

fn word<T: FromStr<Err: ToString>>(row: &impl Columns, name: &str) -> Result<Option<T>, StoreError> {
    row.text(name)?.map(|text| text.parse().map_err(|e: T::Err| unreadable(name, e))).transpose()
}

fn missing(column: &str) -> StoreError {
    StoreError::Refused(format!("column {column} is null"))
}

fn unreadable(column: &str, why: impl ToString) -> StoreError {
    StoreError::Refused(format!("column {column}: {}", why.to_string()))
}

/// One notification or event is a handful of rows: the indexes of time and team, with all their rows, are kept out of it. PostgreSQL
/// takes them in otherwise, whole, as long as it knows little of a table.
fn is_narrow(query: &AttemptQuery) -> bool {
    query.notification.is_some() || query.event_id.is_some()
}

fn time_of(query: &AttemptQuery) -> &'static str {
    if is_narrow(query) { "a.at + 0" } else { "a.at" }
}

// === impl Listing ===

impl Listing {
    /// The limit is `$1`. An upper end is always there: without one SQLite, which does not see the limit, sorts the
    /// whole table instead of walking the index on time.
    fn of(query: &AttemptQuery) -> Listing {
        let newest = query.after.map_or(i64::MAX, |(at, ..)| at.0);
        let limit = query.limit.clamp(1, MAX_LISTED);
        Listing {
            sql: format!(" AND {} <= $2", time_of(query)),
            values: vec![Value::Number(limit.into()), Value::Number(newest)],
        }
    }

    /// Only what is asked for becomes a condition: SQLite plans `$1 IS NULL OR team = $1` without the index.
    fn narrow(&mut self, query: &AttemptQuery) {
        if let Some(team) = &query.team {
            let column = if is_narrow(query) { "a.team || '' = " } else { "a.team = " };
            self.and(column, Value::Text(team.to_string()));
        }
        if let Some(notification) = query.notification {
            // Halved, because PostgreSQL has one index of tries and another of outcomes.
            let place = self.place(Value::Bytes(notification.0.to_vec()));
            self.sql.push_str(&format!(
                " AND (a.notification = {place} AND a.outcome IS NULL OR a.notification = {place} AND a.outcome IS NOT NULL)"
            ));
        }
        if let Some(subscription) = &query.subscription {
            self.and("a.subscription = ", Value::Text(subscription.to_string()));
        }
        if let Some(destination) = &query.destination {
            self.and("a.destination = ", Value::Text(destination.to_string()));
        }
        if let Some(event_id) = &query.event_id {
            self.and("a.event_id = ", Value::Text(storable(event_id).into_owned()));
        }
        if let Some(since) = query.since {
            self.and(&format!("{} >= ", time_of(query)), Value::Number(since.0));
        }
        if let Some(until) = query.until {
            self.and(&format!("{} < ", time_of(query)), Value::Number(until.0));
        }
        if let Some((at, notification, attempt)) = query.after {
            let at = self.place(Value::Number(at.0));
            let notification = self.place(Value::Bytes(notification.0.to_vec()));
            let attempt = self.place(Value::Number(attempt.into()));
            self.sql.push_str(&format!(" AND (a.at, a.notification, a.attempt) < ({at}, {notification}, {attempt})"));
        }
    }

    fn and(&mut self, condition: &str, value: Value) {
        let place = self.place(value);
        self.sql.push_str(&format!(" AND {condition}{place}"));
    }

    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn into_sql(self, text: &str) -> Listing {
        Listing { sql: text.replace("/* conditions */", &self.sql), values: self.values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_a_condition_for_each_thing_asked_for() {
        let query = AttemptQuery {
            team: TeamId::new("acme").ok(),
            event_id: Some("a\0b".to_owned()),
            after: Some((Timestamp(7), NotificationId([1; 16]), 2)),
            limit: 5_000,
            ..AttemptQuery::default()
        };
        let listing = attempts_listing(&query);
        let conditions = "WHERE TRUE  AND a.at + 0 <= $2 AND a.team || '' = $3 AND a.event_id = $4 \
                          AND (a.at, a.notification, a.attempt) < ($5, $6, $7)";
        assert!(listing.sql.contains(conditions), "{}", listing.sql);
        assert_eq!(listing.values[..2], [Value::Number(1000), Value::Number(7)]);
        assert_eq!(listing.values[3], Value::Text("a\u{fffd}b".to_owned()));
        assert_eq!(listing.values.len(), 7);
    }

    #[test]
    fn days_to_keep_are_bounded() {
        assert!(check_kept_days(Day(20_000), Day(20_031)).is_ok());
        for (oldest, newest) in [(20_001, 20_000), (0, 20_000), (i32::MIN, i32::MAX), (i32::MAX, i32::MAX)] {
            assert!(check_kept_days(Day(oldest), Day(newest)).is_err(), "{oldest} to {newest}");
        }
    }
}
