//! `/healthz`, `/readyz`, `/metrics`: the process itself.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::json;

use super::{ApiState, Directories};
use crate::{log::Log, store::Store};

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process answers; whether it can do its work is [`ready`]'s to tell.
pub async fn alive() -> &'static str {
    "alive\n"
}

pub async fn ready<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
) -> impl IntoResponse {
    let reasons = state.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: serde_json::Map<String, serde_json::Value> =
        reasons.into_iter().map(|(condition, reason)| (condition.to_owned(), json!(reason))).collect();
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons})))
}

pub async fn metrics<L: Log, S: Store, D: Directories>(
    State(state): State<Arc<ApiState<L, S, D>>>,
) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], state.metrics.render())
}
