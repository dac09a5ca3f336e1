//! `/v1/teams/{team}/destinations[/{id}]`: where notifications go.
//!
//! Secrets come in clear over this connection and are sealed before they go anywhere else, or by the name that they are
//! [stored](super::secrets) under. They are never shown again: only that they are set, and the name, or a fingerprint that
//! changes when they do. An object as it is shown can be sent back: what it does not say of secrets stays as it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::{
    directory::{destination_key, validate_destination},
    domain::{Destination, DestinationId, Limits, RetryPolicy, Secret, TeamId, Webhook},
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    directory::{edit_one, etag, expected, listed, page, team, written_status},
    query::Parameters,
    webhook_input::{Sealing, WebhookInput},
};
use crate::{log::Log, roles::editor::Expected, store::Store};

/// A destination as callers write it. Has no `Debug`: it holds secrets in clear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationInput {
    team: TeamId,
    id: DestinationId,
    /// Shown, so accepted; the revision to be replaced is told by `If-Match`.
    #[serde(default, rename = "revision")]
    _revision: u64,
    name: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    webhook: WebhookInput,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    retry: RetryPolicy,
}

/// Characters of a fingerprint: the end of the sealed text, which is a part of its authentication code.
const FINGERPRINT: usize = 8;

fn yes() -> bool {
    true
}

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    listed(&state, "destinations", &team_name, parameters, |directory, team, place| {
        page(directory.destinations(team), place, |item| item.id.as_str(), shown)
    })
}

pub async fn show<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (_, _, found) = find(&state, &team_name, &id)?;
    let found = found.ok_or_else(|| absent(&id))?;
    Ok(([(header::ETAG, etag(found.revision))], Json(shown(&found))).into_response())
}

/// Creates a destination under the id that the body names.
pub async fn create<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let team = team(&team_name)?;
    let input: DestinationInput = body::typed("the destination", body::object(body, &[("team", team.as_str())])?)?;
    if state.directory()?.destination(&team, &input.id).is_some() {
        return Err(ApiError::Conflict(format!("destination {} exists already", input.id)));
    }
    write(&state, input, None, Expected::Absent, &headers).await
}

/// Creates a destination or replaces it, but for the secrets that the body does not name.
pub async fn put<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (_, _, current) = find(&state, &team_name, &id)?;
    let expected = match (expected(&headers, current.as_ref().map(|found| found.revision))?, &current) {
        // What is kept was read from this revision; a write in between must not be undone by it.
        (Expected::Anything | Expected::Present, Some(current)) => Expected::Revision(current.revision),
        (expected, _) => expected,
    };
    let object = body::object(body, &[("team", &team_name), ("id", &id)])?;
    let input = body::typed("the destination", object)?;
    write(&state, input, current.as_deref(), expected, &headers).await
}

pub async fn delete<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (team, id, current) = find(&state, &team_name, &id)?;
    let current = current.ok_or_else(|| absent(id.as_str()))?;
    let expected = expected(&headers, Some(current.revision))?;
    edit_one(&state, destination_key(&team, &id), None::<&Destination>, expected, &headers).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn write<L: Log, S: Store>(
    state: &ApiState<L, S>,
    input: DestinationInput,
    current: Option<&Destination>,
    expected: Expected,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let directory = state.directory()?;
    let DestinationInput { team, id, name, enabled, webhook, limits, retry, .. } = input;
    let sealing = Sealing {
        keys: &state.keys,
        rules: &state.url_rules,
        directory: &directory,
        team: &team,
        destination: &id,
        current,
    };
    let (webhook, generated) = sealing.webhook(&webhook)?;
    let (team_of, id_of) = (team.clone(), id.clone());
    let mut destination = Destination { team: team_of, id: id_of, revision: 0, name, enabled, webhook, limits, retry };
    let faults = validate_destination(&destination);
    if !faults.is_empty() {
        return Err(ApiError::invalid("the destination", faults));
    }
    sealing.check_named(destination.clone())?;
    let key = destination_key(&destination.team, &destination.id);
    destination.revision = edit_one(state, key, Some(&destination), expected, headers).await?;
    let mut answer = shown(&destination);
    if let Some(key) = generated {
        answer["generated_secret"] = json!(key.reveal());
    }
    Ok((written_status(current.is_some()), [(header::ETAG, etag(destination.revision))], Json(answer)).into_response())
}

/// A destination without its secrets.
fn shown(destination: &Destination) -> Value {
    let Webhook { url, url_secret, secrets, headers, timeout_ms } = &destination.webhook;
    let headers: Vec<Value> =
        headers.iter().map(|header| json!({"name": header.name, "fingerprint": fingerprint(&header.value)})).collect();
    let mut shown = json!({
        "team": destination.team,
        "id": destination.id,
        "revision": destination.revision,
        "enabled": destination.enabled,
        "webhook": {
            "url": url,
            "url_has_secret": url_secret.is_some(),
            "secret_fingerprints": secrets.iter().map(fingerprint).collect::<Vec<_>>(),
            "headers": headers,
            "timeout_ms": timeout_ms,
        },
        "limits": destination.limits,
        "retry": destination.retry,
    });
    if let Some(name) = &destination.name {
        shown["name"] = json!(name);
    }
    if let Some(named @ Secret::Named { .. }) = url_secret {
        shown["webhook"]["url_secret"] = json!(named);
    }
    shown
}

/// What may be seen of a secret: the end of its sealed text, or the name that it is stored under.
pub(super) fn fingerprint(secret: &Secret) -> Value {
    match secret {
        Secret::Sealed(sealed) => {
            let characters: Vec<char> = sealed.0.trim_end_matches('=').chars().collect();
            json!(characters[characters.len().saturating_sub(FINGERPRINT)..].iter().collect::<String>())
        }
        Secret::Named { .. } => json!(secret),
    }
}

type Found = (TeamId, DestinationId, Option<Arc<Destination>>);

fn find<L, S>(state: &ApiState<L, S>, team_name: &str, id: &str) -> Result<Found, ApiError> {
    let team = team(team_name)?;
    let id = DestinationId::new(id).map_err(|_| absent(id))?;
    let found = state.directory()?.destination(&team, &id).cloned();
    Ok((team, id, found))
}

fn absent(id: &str) -> ApiError {
    ApiError::NotFound(format!("there is no destination {id:?}"))
}
