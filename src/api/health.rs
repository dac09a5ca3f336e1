//! `/healthz`, `/readyz`, `/metrics`: the process itself.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use super::ApiState;
use crate::{log::Log, store::Store, telemetry::Readiness};

/// What a process without the API serves: itself, and nothing else.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(async move || readiness_answer(&readiness)))
        .route("/metrics", get(async move || metrics_answer(&metrics)))
}

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process answers; whether it can do its work is [`ready`]'s to tell.
pub async fn alive() -> &'static str {
    "alive\n"
}

pub async fn ready<L: Log, S: Store>(State(state): State<Arc<ApiState<L, S>>>) -> impl IntoResponse {
    readiness_answer(&state.readiness)
}

fn readiness_answer(readiness: &Readiness) -> (StatusCode, Json<serde_json::Value>) {
    let reasons = readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: serde_json::Map<String, serde_json::Value> =
        reasons.into_iter().map(|(condition, reason)| (condition.to_owned(), json!(reason))).collect();
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons})))
}

pub async fn metrics<L: Log, S: Store>(State(state): State<Arc<ApiState<L, S>>>) -> impl IntoResponse {
    metrics_answer(&state.metrics)
}

fn metrics_answer(metrics: &PrometheusHandle) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render())
}
