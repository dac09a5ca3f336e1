//! `/v1/teams/{team}/destinations[/{id}]`: where notifications go.
//!
//! Secrets come in clear over this connection and are sealed before they go anywhere else. They are never shown again:
//! only that they are set, and a fingerprint that changes when they do. An object as it is shown can be sent back:
//! what it does not say of secrets stays as it is.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::{
    directory::{destination_key, validate_destination},
    domain::{
        Destination, DestinationId, Limits, RetryPolicy, Secret, TeamId, Webhook,
        address::{check_url, split_secret},
    },
    filter::Fault,
    message::{
        SigningKey,
        header::{check_header_name, check_header_value},
    },
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    cursor,
    directory::{edit_one, etag, expected, page, team, written_status},
    error::fault,
    query::Parameters,
};
use crate::{
    log::Log,
    roles::editor::Expected,
    secrets::{PlainWebhook, new_signing_key},
    store::Store,
};

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookInput {
    /// With user info and query, if it has any.
    url: String,
    /// `url` is the shown part of a URL whose user info or query stay as they are.
    #[serde(default)]
    url_has_secret: bool,
    /// `whsec_…`; one to sign with.
    secret: Option<String>,
    /// Several to sign with, newest first: for rotation.
    secrets: Option<Vec<String>>,
    /// Shown, so accepted.
    #[serde(default, rename = "secret_fingerprints")]
    _secret_fingerprints: Vec<Value>,
    #[serde(default)]
    headers: Vec<HeaderInput>,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderInput {
    name: String,
    /// Absent: the value that is there stays.
    value: Option<String>,
    /// Shown, so accepted.
    #[serde(default, rename = "fingerprint")]
    _fingerprint: Option<Value>,
}

/// Characters of a fingerprint: the end of the sealed text, which is a part of its authentication code.
const FINGERPRINT: usize = 8;

fn yes() -> bool {
    true
}

fn default_timeout_ms() -> u32 {
    15_000
}

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let team = team(&team_name)?;
    let listing = format!("destinations/{team}");
    let limit = parameters.limit()?;
    let after =
        parameters.text("cursor")?.map(|text| cursor::open::<String>(&state.token, &listing, &text)).transpose()?;
    parameters.end()?;
    let directory = state.directory()?;
    let (items, more) = page(directory.destinations(&team), |item| item.id.as_str(), after.as_deref(), limit);
    let next = items.last().filter(|_| more).map(|last| cursor::seal(&state.token, &listing, &last.id.as_str()));
    let items: Vec<Value> = items.iter().map(|item| shown(item)).collect();
    Ok(Json(json!({"items": items, "next": next})))
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
    let (webhook, generated) = seal(state, &input, current)?;
    let DestinationInput { team, id, name, enabled, limits, retry, .. } = input;
    let mut destination = Destination { team, id, revision: 0, name, enabled, webhook, limits, retry };
    let faults = validate_destination(&destination);
    if !faults.is_empty() {
        return Err(ApiError::invalid("the destination", faults));
    }
    let key = destination_key(&destination.team, &destination.id);
    destination.revision = edit_one(state, key, Some(&destination), expected, headers).await?;
    let mut answer = shown(&destination);
    if let Some(key) = generated {
        answer["generated_secret"] = json!(key.reveal());
    }
    Ok((written_status(current.is_some()), [(header::ETAG, etag(destination.revision))], Json(answer)).into_response())
}

/// The webhook with every secret sealed, and the signing key if one had to be made. All faults at once.
fn seal<L: Log, S: Store>(
    state: &ApiState<L, S>,
    input: &DestinationInput,
    current: Option<&Destination>,
) -> Result<(Webhook, Option<SigningKey>), ApiError> {
    if current.is_some_and(|current| current.webhook.secrets().any(|(_, s)| matches!(s, Secret::Named { .. }))) {
        let why = "its secrets stand there by reference, so a service wrote it; change it there, or delete it first";
        return Err(ApiError::Conflict(why.to_owned()));
    }
    let kept = match current {
        Some(current) if keeps_secrets(&input.webhook) => Some(state.keys.open_webhook(current).map_err(|error| {
            ApiError::Conflict(format!("its present secrets cannot be kept ({error}); give all secrets anew"))
        })?),
        _ => None,
    };
    let mut faults = Vec::new();
    let url = url(state, &input.webhook, kept.as_ref(), &mut faults);
    let headers = headers(&input.webhook, kept.as_ref(), &mut faults);
    let given = signing_keys(&input.webhook, &mut faults);
    let (signing_keys, generated) = match (given, kept) {
        (Some(keys), _) => (keys, None),
        (None, Some(kept)) => (kept.signing_keys, None),
        (None, None) => {
            let key = new_signing_key();
            (vec![key.clone()], Some(key))
        }
    };
    match url {
        Some(url) if faults.is_empty() => {
            let plain = PlainWebhook { url, signing_keys, headers, timeout_ms: input.webhook.timeout_ms };
            Ok((state.keys.seal_webhook(&input.team, &input.id, &plain), generated))
        }
        _ => Err(ApiError::invalid("the destination", faults)),
    }
}

fn keeps_secrets(input: &WebhookInput) -> bool {
    let names_no_key = input.secret.is_none() && input.secrets.is_none();
    names_no_key || input.url_has_secret || input.headers.iter().any(|header| header.value.is_none())
}

fn url<L: Log, S: Store>(
    state: &ApiState<L, S>,
    input: &WebhookInput,
    kept: Option<&PlainWebhook>,
    faults: &mut Vec<Fault>,
) -> Option<url::Url> {
    let whole = match kept {
        Some(kept) if input.url_has_secret && split_secret(&kept.url).0 == input.url => kept.url.as_str(),
        _ if input.url_has_secret => {
            faults.push(fault("webhook.url_has_secret", "true", "false, or true with the url unchanged"));
            return None;
        }
        _ => &input.url,
    };
    match check_url(whole, &state.url_rules) {
        Ok(url) => Some(url),
        Err(refused) => {
            // It never repeats the URL, which may hold a password.
            faults.push(fault("webhook.url", refused.to_string(), "an https URL of a public address"));
            None
        }
    }
}

fn headers(input: &WebhookInput, kept: Option<&PlainWebhook>, faults: &mut Vec<Fault>) -> Vec<(String, SecretString)> {
    let mut headers = Vec::with_capacity(input.headers.len());
    for (index, HeaderInput { name, value, .. }) in input.headers.iter().enumerate() {
        let mut refuse = |key: &str, found: String, allowed: &str| {
            faults.push(fault(format!("webhook.headers[{index}].{key}"), found, allowed));
        };
        if let Err(refused) = check_header_name(name) {
            refuse("name", refused.to_string(), "a header name that is not reserved");
            continue;
        }
        let same = |found: &&(String, SecretString)| found.0.eq_ignore_ascii_case(name);
        match (value, kept.and_then(|kept| kept.headers.iter().find(same))) {
            (Some(value), _) => match check_header_value(value) {
                Ok(()) => headers.push((name.clone(), value.clone().into())),
                Err(refused) => refuse("value", refused.to_string(), "visible ASCII"),
            },
            (None, Some((_, value))) => headers.push((name.clone(), value.clone())),
            (None, None) => refuse("value", "nothing".to_owned(), "a value; there is none to be kept"),
        }
    }
    headers
}

/// The keys that the body names; `None` if it names none.
fn signing_keys(input: &WebhookInput, faults: &mut Vec<Fault>) -> Option<Vec<SigningKey>> {
    let given: Vec<(String, &String)> = match (&input.secret, &input.secrets) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            faults.push(fault("webhook.secret", "both secret and secrets", "one of them"));
            return None;
        }
        (Some(secret), None) => vec![("webhook.secret".to_owned(), secret)],
        (None, Some(secrets)) => {
            (0..).zip(secrets).map(|(i, secret): (usize, _)| (format!("webhook.secrets[{i}]"), secret)).collect()
        }
    };
    if given.is_empty() {
        faults.push(fault("webhook.secrets", "an empty list", "at least one; every webhook is signed"));
    }
    let mut keys = Vec::with_capacity(given.len());
    for (path, text) in given {
        match SigningKey::parse(text) {
            Ok(key) => keys.push(key),
            Err(refused) => faults.push(fault(path, refused.to_string(), "whsec_ and base64 of 24 to 64 bytes")),
        }
    }
    Some(keys)
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
