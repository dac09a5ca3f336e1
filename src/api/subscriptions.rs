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
    ApiError, ApiState, Directories, Edit, Expected,
    body::{self, JsonBody},
    cursor,
    directory::{edit_one, etag, expected, is_conditional, page, team},
    error::Fault,
    query::Parameters,
};
use crate::{log::Log, store::Store};

pub async fn list<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
    Path(team_name): Path<String>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let team = team(&team_name)?;
    let listing = format!("subscriptions/{team}");
    let limit = parameters.limit()?;
    let after = parameters.text("cursor")?.map(|text| cursor::open::<String>(&state.token, &listing, &text)).transpose()?;
    parameters.end()?;
    let all = state.directory.subscriptions(&team);
    let (items, more) = page(&all, |item| item.id.as_str(), after.as_deref(), limit);
    let next = items.last().filter(|_| more).map(|last| cursor::seal(&state.token, &listing, &last.id.as_str()));
    Ok(Json(json!({"items": items, "next": next})))
}

pub async fn show<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
    Path((team_name, id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (_, _, found) = find(&state.directory, &team_name, &id)?;
    let found = found.ok_or_else(|| absent(&id))?;
    Ok(([(header::ETAG, etag(found.revision))], Json(&*found)).into_response())
}

/// Creates a subscription under the id that the body names.
pub async fn create<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
    Path(team_name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let team = team(&team_name)?;
    let subscription: Subscription = body::typed("the subscription", body::object(body, &[("team", team.as_str())])?)?;
    if state.directory.subscription(&team, &subscription.id).is_some() {
        return Err(ApiError::Conflict(format!("subscription {} exists already", subscription.id)));
    }
    write(&state, subscription, Expected::Absent, false, StatusCode::CREATED).await
}

/// Creates a subscription or replaces it as a whole.
pub async fn put<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (_, _, current) = find(&state.directory, &team_name, &id)?;
    let expected = expected(&headers, current.as_ref().map(|found| found.revision))?;
    let object = body::object(body, &[("team", &team_name), ("id", &id)])?;
    let status = if current.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    write(&state, body::typed("the subscription", object)?, expected, is_conditional(&headers), status).await
}

pub async fn delete<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
    Path((team_name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (team, id, current) = find(&state.directory, &team_name, &id)?;
    let current = current.ok_or_else(|| absent(id.as_str()))?;
    let expected = expected(&headers, Some(current.revision))?;
    let edit = Edit { key: subscription_key(&team, &id), value: None, expected };
    edit_one(&state.directory, edit, is_conditional(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn write<L: Log, S: Store, D: Directories>(
    state: &ApiState<L, S, D>,
    mut subscription: Subscription,
    expected: Expected,
    conditional: bool,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let mut faults: Vec<Fault> =
        validate_subscription(&subscription, &state.catalog).into_iter().map(Fault::from).collect();
    for (index, destination) in subscription.destinations.iter().enumerate() {
        if state.directory.destination(&subscription.team, destination).is_none() {
            let path = format!("destinations[{index}]");
            faults.push(Fault::new(path, format!("{:?}", destination.as_str()), "a destination that the team has"));
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the subscription", faults));
    }
    let value = serde_json::to_vec(&subscription).map_err(|error| ApiError::Internal(error.to_string()))?;
    let key = subscription_key(&subscription.team, &subscription.id);
    let edit = Edit { key, value: Some(value.into()), expected };
    subscription.revision = edit_one(&state.directory, edit, conditional).await?;
    Ok((status, [(header::ETAG, etag(subscription.revision))], Json(&subscription)).into_response())
}

type Found = (TeamId, SubscriptionId, Option<Arc<Subscription>>);

fn find<D: Directories>(directory: &D, team_name: &str, id: &str) -> Result<Found, ApiError> {
    let team = team(team_name)?;
    let id = SubscriptionId::new(id).map_err(|_| absent(id))?;
    let found = directory.subscription(&team, &id);
    Ok((team, id, found))
}

fn absent(id: &str) -> ApiError {
    ApiError::NotFound(format!("there is no subscription {id:?}"))
}
