//! `/v1/teams/{team}/subscriptions[/{id}]`: what a team wants to hear.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tidings_core::{
    directory::{subscription_key, validate_subscription},
    domain::{Subscription, SubscriptionId, TeamId},
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    directory::{edit_one, etag, expected, listed, page, team, written_status},
    error::fault,
    query::Parameters,
};
use crate::{log::Log, roles::editor::Expected, store::Store};

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    listed(&state, "subscriptions", &team_name, parameters, |directory, team, place| {
        page(directory.subscriptions(team), place, |item| item.id.as_str(), |item| json!(item))
    })
}

pub async fn show<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (_, _, found) = find(&state, &team_name, &id)?;
    let found = found.ok_or_else(|| absent(&id))?;
    Ok(([(header::ETAG, etag(found.revision))], Json(&*found)).into_response())
}

/// Creates a subscription under the id that the body names.
pub async fn create<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(team_name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let team = team(&team_name)?;
    let subscription: Subscription = body::typed("the subscription", body::object(body, &[("team", team.as_str())])?)?;
    if state.directory()?.subscription(&team, &subscription.id).is_some() {
        return Err(ApiError::Conflict(format!("subscription {} exists already", subscription.id)));
    }
    write(&state, subscription, Expected::Absent, &headers, StatusCode::CREATED).await
}

/// Creates a subscription or replaces it as a whole.
pub async fn put<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (_, _, current) = find(&state, &team_name, &id)?;
    let expected = expected(&headers, current.as_ref().map(|found| found.revision))?;
    let object = body::object(body, &[("team", &team_name), ("id", &id)])?;
    let status = written_status(current.is_some());
    write(&state, body::typed("the subscription", object)?, expected, &headers, status).await
}

pub async fn delete<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (team, id, current) = find(&state, &team_name, &id)?;
    let current = current.ok_or_else(|| absent(id.as_str()))?;
    let expected = expected(&headers, Some(current.revision))?;
    edit_one(&state, subscription_key(&team, &id), None::<&Subscription>, expected, &headers).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn write<L: Log, S: Store>(
    state: &ApiState<L, S>,
    mut subscription: Subscription,
    expected: Expected,
    headers: &HeaderMap,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let mut faults = validate_subscription(&subscription, &state.catalog);
    let directory = state.directory()?;
    for (index, destination) in subscription.destinations.iter().enumerate() {
        if directory.destination(&subscription.team, destination).is_none() {
            let path = format!("destinations[{index}]");
            faults.push(fault(path, format!("{:?}", destination.as_str()), "a destination that the team has"));
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the subscription", faults));
    }
    let key = subscription_key(&subscription.team, &subscription.id);
    subscription.revision = edit_one(state, key, Some(&subscription), expected, headers).await?;
    Ok((status, [(header::ETAG, etag(subscription.revision))], Json(&subscription)).into_response())
}

type Found = (TeamId, SubscriptionId, Option<Arc<Subscription>>);

fn find<L, S>(state: &ApiState<L, S>, team_name: &str, id: &str) -> Result<Found, ApiError> {
    let team = team(team_name)?;
    let id = SubscriptionId::new(id).map_err(|_| absent(id))?;
    let found = state.directory()?.subscription(&team, &id).cloned();
    Ok((team, id, found))
}

fn absent(id: &str) -> ApiError {
    ApiError::NotFound(format!("there is no subscription {id:?}"))
}
