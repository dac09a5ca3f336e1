//! `/v1/teams/{team}/secrets[/{name}]`: secrets stored under a name, for destinations that refer to them.
//!
//! A value comes in clear over this connection, is sealed before it goes anywhere else, and is never shown again: only
//! that it is there, and a fingerprint that changes when it does. A destination that refers to a secret uses what is
//! stored at the moment of each attempt.

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
    directory::secret_key,
    domain::{NamedSecret, Secret, SecretId, TeamId},
    message::header::MAX_HEADER_VALUE,
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    destinations::fingerprint,
    directory::{edit_one, etag, expected, listed, page, team, written_status},
    error::fault,
    query::Parameters,
};
use crate::{log::Log, store::Store};

/// A secret as callers write it. Has no `Debug`: it is in clear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretInput {
    team: TeamId,
    id: SecretId,
    value: String,
}

/// The longest value, in bytes: no place where one is used takes more.
const MAX_VALUE: usize = MAX_HEADER_VALUE;

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    listed(&state, "secrets", &team_name, parameters, |directory, team, place| {
        page(directory.secrets(team), place, |item| item.id.as_str(), shown)
    })
}

/// Stores a secret, or puts another in its place.
pub async fn put<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let object = body::object(body, &[("team", &team_name), ("id", &id)])?;
    let SecretInput { team, id, value } = body::typed("the secret", object)?;
    check(&id, &value)?;
    let current = state.directory()?.secret(&team, &id).map(|found| found.revision);
    let expected = expected(&headers, current)?;
    let value = state.keys.seal_named(&team, &id, &value);
    let mut secret = NamedSecret { team, id, revision: 0, value };
    secret.revision = edit_one(&state, secret_key(&secret.team, &secret.id), Some(&secret), expected, &headers).await?;
    let status = written_status(current.is_some());
    Ok((status, [(header::ETAG, etag(secret.revision))], Json(shown(&secret))).into_response())
}

pub async fn delete<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let team = team(&team_name)?;
    let absent = || ApiError::NotFound(format!("there is no secret {id:?}"));
    let name = SecretId::new(&id).map_err(|_| absent())?;
    let current = state.directory()?.secret(&team, &name).map(|found| found.revision).ok_or_else(absent)?;
    let expected = expected(&headers, Some(current))?;
    edit_one(&state, secret_key(&team, &name), None::<&NamedSecret>, expected, &headers).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What it is used for shows only where it is used, so all that is looked at is that it can be sent.
fn check(id: &SecretId, value: &str) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    if id.as_str().starts_with("whsec_") {
        faults.push(fault("id", "a signing key", "a name for one; the key itself is the value"));
    }
    if !(1..=MAX_VALUE).contains(&value.len()) {
        faults.push(fault("value", format!("{} bytes", value.len()), format!("1 to {MAX_VALUE}")));
    }
    if value.chars().any(char::is_control) {
        faults.push(fault("value", "a control character", "text on one line"));
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid("the secret", faults)) }
}

/// A secret without what is secret of it.
fn shown(secret: &NamedSecret) -> Value {
    json!({
        "team": secret.team,
        "id": secret.id,
        "revision": secret.revision,
        "fingerprint": fingerprint(&Secret::Sealed(secret.value.clone())),
    })
}
