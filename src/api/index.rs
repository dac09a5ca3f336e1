//! `GET /v1/index`: how large the filter index of this process is, part by part, and where it is widest.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{ApiError, ApiState, query::Parameters};
use crate::{log::Log, store::Store};

pub async fn show<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.end()?;
    let directory = state.directory()?;
    // It goes through every partition: some milliseconds at a hundred thousand subscriptions.
    let stats = serde_json::to_value(directory.index_stats()).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Json(json!({"version": directory.version(), "subscriptions": directory.counts().subscriptions, "index": stats})))
}
