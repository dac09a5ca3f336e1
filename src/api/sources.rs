//! `GET /v1/sources/test`: the last records of an events topic, and how each would be read.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{ApiError, ApiState, query::Parameters};
use crate::{
    log::Log,
    sources::look::{MAX_LAST, look},
    store::Store,
};

/// Records shown where no number is asked for.
const LAST: usize = 20;

pub async fn test<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let topic = parameters.text("topic")?;
    let last = parameters.read("last", |text| match text.parse() {
        Ok(last) if (1..=MAX_LAST).contains(&last) => Ok(last),
        _ => Err(format!("1 to {MAX_LAST}")),
    })?;
    parameters.end()?;
    let topic: Arc<str> = topic.map_or_else(|| state.topics.events[0].clone(), Arc::from);
    // Other topics hold no events, and the directory holds what no one may read here.
    let known = state.replays.events.now();
    if !known.contains(&topic) {
        let known = known.join(", ");
        return Err(ApiError::NotFound(format!("{topic} is no topic of events; these are: {known}")));
    }
    let rows = look(&state.log, &state.schemas, &state.catalog, &topic, last.unwrap_or(LAST)).await?;
    Ok(Json(json!({"topic": &*topic, "items": rows})))
}
