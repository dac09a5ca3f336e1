//! `/v1/teams/{team}/notifications[/{id}]` and `/v1/teams/{team}/attempts`: what became of events, newest first.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use tidings_core::{
    domain::{
        Attempt, DestinationId, ErrorClass, NotificationId, Outcome, Position, Record, SubscriptionId, TeamId,
        TopicPartition, attempt::OUTCOMES,
    },
    message::{self, curl::curl},
};

use super::{ApiError, ApiState, cursor, directory::team, query::Parameters};
use crate::{
    log::{Log, LogError, Reader},
    store::{AttemptQuery, Notification, NotificationQuery, Status, Store},
};

type Shared<L, S> = State<Arc<ApiState<L, S>>>;
/// Where a listing goes on: the last row's time in milliseconds, notification and attempt.
type Place = (i64, NotificationId, u32);

/// The most attempts looked at for one page, when the page is narrowed by what the store does not index.
const MAX_SCANNED: usize = 10_000;
/// Attempts shown of one notification; a retry schedule has at most 32 entries.
const MAX_ATTEMPTS: u32 = 1_000;
/// How long the log may take to give one record.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

pub async fn notifications<L: Log, S: Store>(
    State(state): Shared<L, S>,
    Path(team_name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    list_notifications(&state, Some(team(&team_name)?), parameters).await
}

pub async fn notifications_of_all<L: Log, S: Store>(
    State(state): Shared<L, S>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    list_notifications(&state, None, parameters).await
}

pub async fn attempts<L: Log, S: Store>(
    State(state): Shared<L, S>,
    Path(team_name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    list_attempts(&state, Some(team(&team_name)?), parameters).await
}

pub async fn attempts_of_all<L: Log, S: Store>(
    State(state): Shared<L, S>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    list_attempts(&state, None, parameters).await
}

pub async fn notification<L: Log, S: Store>(
    State(state): Shared<L, S>,
    Path((team_name, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    show_notification(&state, Some(team(&team_name)?), &id).await
}

pub async fn notification_of_any<L: Log, S: Store>(
    State(state): Shared<L, S>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    show_notification(&state, None, &id).await
}

async fn list_notifications<L: Log, S: Store>(
    state: &ApiState<L, S>,
    team: Option<TeamId>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let (query, listing) = query(state, "notifications", team, parameters)?;
    let rows = state.store.notifications(&query).await?;
    let full = rows.len() == query.attempts.limit as usize;
    let next = rows.last().filter(|_| full).map(|row| cursor::seal(&state.token, &listing, &place(&row.last)));
    Ok(Json(json!({"items": rows.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

async fn list_attempts<L: Log, S: Store>(
    state: &ApiState<L, S>,
    team: Option<TeamId>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let (NotificationQuery { mut attempts, status, error }, listing) = query(state, "attempts", team, parameters)?;
    let limit = attempts.limit as usize;
    let mut items = Vec::new();
    let mut last = None;
    let mut scanned = 0;
    loop {
        let rows = state.store.attempts(&attempts).await?;
        let end = rows.len() < attempts.limit as usize;
        scanned += rows.len();
        for row in rows {
            last = Some(place(&row));
            if is_wanted(&row, status, error) {
                items.push(row);
            }
            if items.len() == limit {
                break;
            }
        }
        if end && items.len() < limit {
            last = None;
        }
        if end || items.len() == limit || scanned >= MAX_SCANNED {
            break;
        }
        attempts.after = last.map(after);
    }
    let next = last.map(|place| cursor::seal(&state.token, &listing, &place));
    Ok(Json(json!({"items": items, "next": next})))
}

/// One notification with all its attempts, its event, and the request as a command.
async fn show_notification<L: Log, S: Store>(
    state: &ApiState<L, S>,
    team: Option<TeamId>,
    id: &str,
) -> Result<Json<Value>, ApiError> {
    let absent = || ApiError::NotFound(format!("there is no notification {id:?}"));
    let id: NotificationId = id.parse().map_err(|_| absent())?;
    let attempts = AttemptQuery { team, notification: Some(id), limit: MAX_ATTEMPTS, ..AttemptQuery::default() };
    let query = NotificationQuery { attempts: AttemptQuery { limit: 1, ..attempts.clone() }, ..Default::default() };
    let found = state.store.notifications(&query).await?.into_iter().next().ok_or_else(absent)?;
    let mut shown = shown(&found);
    shown["attempts"] = json!(state.store.attempts(&attempts).await?);
    let last = &found.last;
    match record_at(&state.log, &last.position).await? {
        None => shown["event"] = Value::Null,
        Some(record) => show_request(state, last, &record, &mut shown).await?,
    }
    Ok(Json(shown))
}

/// Adds what was sent, as it would be sent now: redacted by the catalog, without the secrets of the destination.
async fn show_request<L: Log, S: Store>(
    state: &ApiState<L, S>,
    last: &Attempt,
    record: &Record,
    shown: &mut Value,
) -> Result<(), ApiError> {
    let Ok(decoded) = state.schemas.decode(record).await else { return Ok(()) };
    let Ok(body) = message::body(&decoded.event, record.timestamp, &state.catalog) else { return Ok(()) };
    shown["event"] = serde_json::from_slice(&body).map_err(|error| ApiError::Internal(error.to_string()))?;
    if let Some(destination) = state.directory()?.destination(&last.team, &last.destination) {
        shown["curl"] = json!(curl(destination, &last.notification, &body));
    }
    Ok(())
}

/// The record at a position; `None` if the log no longer holds it.
pub async fn record_at<L: Log>(log: &L, position: &Position) -> Result<Option<Record>, ApiError> {
    let partition = TopicPartition { topic: position.topic.clone(), partition: position.partition };
    let bounds = match log.bounds(partition.clone()).await {
        Ok(bounds) => bounds,
        Err(LogError::UnknownTopic(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !(bounds.start..bounds.end).contains(&position.offset) {
        return Ok(None);
    }
    let mut reader = log.reader(partition, position.offset).await?;
    let records = reader.next(READ_TIMEOUT).await?;
    Ok(records.into_iter().find(|record| record.offset == position.offset))
}

fn query<L, S>(
    state: &ApiState<L, S>,
    what: &str,
    team: Option<TeamId>,
    mut parameters: Parameters,
) -> Result<(NotificationQuery, String), ApiError> {
    // A cursor holds for the same listing of the same team; what narrows it may change in between.
    let listing = format!("{what}/{}", team.as_ref().map_or("", TeamId::as_str));
    let name = |reason: tidings_core::domain::NameError| reason.to_string();
    let query = NotificationQuery {
        attempts: AttemptQuery {
            team,
            notification: parameters.parsed("notification")?,
            subscription: parameters.read("subscription", |text| SubscriptionId::new(text).map_err(name))?,
            destination: parameters.read("destination", |text| DestinationId::new(text).map_err(name))?,
            event_id: parameters.text("event")?,
            since: parameters.time("since")?,
            until: parameters.time("until")?,
            limit: parameters.limit()?,
            after: match parameters.text("cursor")? {
                Some(text) => Some(after(cursor::open(&state.token, &listing, &text)?)),
                None => None,
            },
        },
        status: parameters.read("status", status)?,
        error: parameters.parsed::<ErrorClass>("error")?,
    };
    parameters.end()?;
    Ok((query, listing))
}

fn status(text: &str) -> Result<Status, String> {
    match text.parse::<Outcome>() {
        Ok(outcome) => Ok(Status::Ended(outcome)),
        Err(_) if text == "retrying" => Ok(Status::Retrying),
        Err(_) => Err(["retrying"].into_iter().chain(OUTCOMES.map(Outcome::as_str)).collect::<Vec<_>>().join(", ")),
    }
}

fn is_wanted(attempt: &Attempt, status: Option<Status>, error: Option<ErrorClass>) -> bool {
    let fits = match status {
        None => true,
        Some(Status::Retrying) => attempt.next_attempt_at.is_some(),
        Some(Status::Ended(outcome)) => attempt.outcome == Some(outcome),
    };
    fits && error.is_none_or(|error| attempt.error == Some(error))
}

fn shown(notification: &Notification) -> Value {
    let mut shown = json!(notification);
    shown["position"] = json!(notification.last.position.to_string());
    shown
}

fn place(attempt: &Attempt) -> Place {
    (attempt.at.0, attempt.notification, attempt.attempt)
}

fn after((at, notification, attempt): Place) -> (tidings_core::domain::Timestamp, NotificationId, u32) {
    (tidings_core::domain::Timestamp(at), notification, attempt)
}
