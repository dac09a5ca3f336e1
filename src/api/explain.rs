//! `POST /v1/explain`: why an event matches a subscription or not, condition by condition.

use std::sync::Arc;

use axum::{Json, extract::State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::Reason,
    domain::{Event, Position, Record, Subscription, SubscriptionId, TeamId},
    filter::{Fault, Rule, SelectorExplanation},
    message::body::REDACTED,
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    error::fault,
    history::record_at,
};
use crate::{log::Log, store::Store};

/// An event, given or by its place in the log, and a subscription, given or by its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// As for `POST /v1/events`.
    event: Option<Value>,
    /// `<topic>-<partition>-<offset>`.
    position: Option<String>,
    /// `{"team", "id"}`, or a whole one that need not exist.
    subscription: Map<String, Value>,
}

/// Given subscriptions that name no id get this one.
const UNNAMED: &str = "unnamed";

pub async fn explain<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request: Request = body::typed("the request", body::object(body, &[])?)?;
    let record = match (request.event, request.position) {
        (Some(event), None) => given(&state, &event),
        (None, Some(text)) => {
            let position = parse_position(&text).ok_or_else(|| {
                let wrong = fault("position", format!("{text:?}"), "<topic>-<partition>-<offset> of an events topic");
                ApiError::invalid("the request", vec![wrong])
            })?;
            // Other topics hold no events, and the directory holds what no one may read here.
            let is_read = state.replays.events.now().contains(&position.topic);
            let found = if is_read { record_at(&state.log, &position).await? } else { None };
            found.ok_or_else(|| ApiError::NotFound(format!("there is no event at {text}")))?
        }
        _ => {
            let wrong = fault("", "both or neither of event and position", "one of them");
            return Err(ApiError::invalid("the request", vec![wrong]));
        }
    };
    let event = state.schemas.decode(&record).await.map_err(|poison| {
        let wrong = fault("event", poison.to_string(), "an event; a matcher would set this one aside");
        ApiError::invalid("the event", vec![wrong])
    })?;
    let rule = rule(&state, request.subscription)?;
    Ok(Json(answer(&event.event, &rule, &state.catalog)))
}

fn given<L, S>(state: &ApiState<L, S>, event: &Value) -> Record {
    Record {
        topic: state.topics.events[0].clone(),
        partition: 0,
        offset: 0,
        timestamp: super::now(),
        key: None,
        value: Some(Bytes::from(event.to_string())),
        headers: Vec::new(),
    }
}

/// An existing subscription if nothing but its name is given, else the given one.
fn rule<L, S>(state: &ApiState<L, S>, mut given: Map<String, Value>) -> Result<Arc<Rule>, ApiError> {
    if given.contains_key("events") {
        // What an explanation does not need, a draft need not have.
        given.entry("id").or_insert_with(|| json!(UNNAMED));
        given.entry("destinations").or_insert_with(|| json!([]));
        let subscription: Subscription = body::typed("subscription", given)?;
        let rule = Rule::compile(Arc::new(subscription), &state.catalog);
        return rule.map(Arc::new).map_err(|faults| {
            let within = |wrong: Fault| Fault { path: format!("subscription.{}", wrong.path), ..wrong };
            ApiError::invalid("the subscription", faults.into_iter().map(within).collect())
        });
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Name {
        team: TeamId,
        id: SubscriptionId,
    }
    let Name { team, id } = body::typed("subscription", given)?;
    let absent = || ApiError::NotFound(format!("there is no subscription {team}/{id}"));
    state.directory()?.rule(&team, &id).cloned().ok_or_else(absent)
}

fn answer(event: &Event, rule: &Rule, catalog: &Catalog) -> Value {
    let subscription = &rule.subscription;
    let matches = match rule.matches_within(event) {
        Ok(matches) => matches,
        // To find what held and what did not would cost no less.
        Err(costly) => {
            let verdict = format!(
                "tried alone ({}): {costly}; the matcher sets such an event aside unless its index knows the answer",
                Reason::FilterTooCostly
            );
            return json!({"matches": null, "verdict": verdict, "type": event.event_type, "selectors": []});
        }
    };
    let mut selectors = rule.explain(event);
    let fields = catalog.get(&event.event_type).map_or(&[][..], |known| &known.fields);
    let sensitive: Vec<&[String]> =
        fields.iter().filter(|field| field.sensitive).map(|field| &field.path[..]).collect();
    selectors.iter_mut().for_each(|selector| redact(selector, &sensitive));
    let same_team = subscription.team == event.team;
    let verdict = match (same_team, matches, subscription.enabled) {
        (false, _, _) => format!("the event is of team {}, the subscription of team {}", event.team, subscription.team),
        (true, false, _) => "the event does not match".to_owned(),
        (true, true, true) => "the event matches".to_owned(),
        (true, true, false) => {
            "the event matches, but the subscription is disabled: its notifications are recorded as suppressed"
                .to_owned()
        }
    };
    json!({"matches": matches, "verdict": verdict, "type": event.event_type, "selectors": selectors})
}

/// A condition may be asked for what it found; a sensitive value is not told.
fn redact(selector: &mut SelectorExplanation, sensitive: &[&[String]]) {
    for condition in selector.conditions.iter_mut().filter(|condition| condition.found.is_some()) {
        if sensitive.iter().any(|path| covers(path, &condition.path)) {
            condition.found = Some(json!(REDACTED));
        }
    }
}

/// Whether a sensitive path is the looked-at field, holds it, or is held by it. Array indexes do not count.
fn covers(sensitive: &[String], looked_at: &str) -> bool {
    let plain = looked_at.split('.').map(|part| part.split('[').next().unwrap_or(part));
    sensitive.iter().zip(plain).all(|(step, part)| step == part || step == tidings_core::catalog::EVERY_VALUE)
}

/// A topic's name may hold dashes itself.
fn parse_position(text: &str) -> Option<Position> {
    let mut parts = text.rsplitn(3, '-');
    let (offset, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Position { topic: topic.into(), partition: partition.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_shown() {
        let check =
            |text: &str| assert_eq!(parse_position(text).map(|position| position.to_string()).as_deref(), Some(text));
        check("tidings.events-3-17");
        check("my-events-0-0");
        assert_eq!(parse_position("events-3"), None);
        assert_eq!(parse_position("a-b-c"), None);
    }

    #[test]
    fn sensitive_fields_are_known_wherever_they_stand() {
        let check = |sensitive: &[&str], path: &str, expected: bool| {
            let sensitive: Vec<String> = sensitive.iter().map(|step| (*step).to_owned()).collect();
            assert_eq!(covers(&sensitive, path), expected, "{sensitive:?} {path}");
        };
        check(&["variables", "value"], "variables[0].value", true);
        check(&["variables", "value"], "variables", true);
        check(&["secrets", "*"], "secrets.token", true);
        check(&["variables", "value"], "variables[0].name", false);
    }
}
