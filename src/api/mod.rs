//! The HTTP API, for operators, the command line and other programs.
//!
//! Handlers read their own fold of the directory and the store, write through the directory's editor and the log, and
//! leave every decision to the core: what is valid, what matches, what may be shown.
//!
//! | path | |
//! | --- | --- |
//! | `/v1/teams/{team}/subscriptions[/{id}]`, `/v1/teams/{team}/destinations[/{id}]` | what a team wants to hear, and where |
//! | `/v1/teams/{team}/secrets[/{name}]` | secrets that destinations refer to by name |
//! | `/v1/directory/problems` | which keys of the directory are inactive, and why |
//! | `/v1/teams/{team}/notifications[/{id}]`, `/v1/teams/{team}/attempts`, and both without team | what became of events |
//! | `/v1/events` | POST one event or many |
//! | `/v1/event-types[/{key}]`, `/v1/event-types/check` | the catalog in force; POST a folder's files to see what they would change |
//! | `/v1/deadletters`, `/v1/deadletters/retry` | what was set aside |
//! | `/v1/replays` | POST a range of events to be matched again |
//! | `/v1/backup` | GET the installation as one file, in embedded mode |
//! | `/v1/sources/test` | how the last records of an events topic would be read |
//! | `/v1/explain` | why an event matches a subscription or not |
//! | `/v1/index` | how large the filter index is, and where it is widest |
//! | `/metrics`, `/healthz`, `/readyz` | the process itself |
//!
//! Every path but `/healthz` and `/readyz` needs the operator token. What is of another team is not found. Every error
//! is `{"error": {"code", "message", "faults": [{"path", "found", "allowed"}]}}`.
//!
//! Reading order: this file, [`token`], [`error`], [`body`], [`query`], [`cursor`], [`directory`], then the handlers:
//! [`subscriptions`], [`destinations`] with its `webhook_input`, [`secrets`], [`problems`], [`events`], [`event_types`], [`history`], [`dead_letters`],
//! [`replays`], [`backup`], [`sources`], [`explain`], [`index`], [`health`].

pub mod backup;
pub mod body;
pub mod cursor;
pub mod dead_letters;
pub mod destinations;
pub mod directory;
pub mod error;
pub mod event_types;
pub mod events;
pub mod explain;
pub mod health;
pub mod history;
pub mod index;
pub mod problems;
pub mod query;
pub mod replays;
pub mod secrets;
pub mod sources;
pub mod subscriptions;
pub mod token;
mod webhook_input;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tidings_core::{
    catalog::Catalog,
    domain::{Timestamp, address::UrlRules},
};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutLayer;

pub use error::ApiError;
pub use token::Token;

use crate::{
    backup::Backups,
    config::Topics,
    log::Log,
    roles::{Clock, DirectoryView, SystemClock, editor::Editor, replay::Replays},
    secrets::KeyRing,
    sources::Schemas,
    store::Store,
    telemetry::{Readiness, facts},
};

/// What handlers work with. Shared by all of them as an [`Arc`].
pub struct ApiState<L, S> {
    pub log: L,
    pub store: S,
    pub view: DirectoryView,
    pub editor: Editor,
    pub catalog: Arc<Catalog>,
    pub schemas: Schemas,
    pub keys: Arc<KeyRing>,
    pub topics: Topics,
    pub replays: Replays<L, S>,
    /// Only the embedded mode makes its own.
    pub backups: Option<Backups>,
    pub url_rules: UrlRules,
    pub max_event_bytes: usize,
    pub token: Token,
    pub readiness: Readiness,
    pub metrics: PrometheusHandle,
}

/// The largest body of `POST /v1/events` and of `POST /v1/event-types/check`, in bytes.
pub const MAX_EVENTS_BODY: usize = 8 * 1024 * 1024;
/// The largest body of any other request, in bytes.
pub const MAX_BODY: usize = 512 * 1024;
/// How long a request may take, its body's arrival included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(50);

/// Answers requests until `stop` is done, then finishes those begun.
pub async fn serve<L: Log, S: Store>(
    state: Arc<ApiState<L, S>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "the API listens");
    // Without this each connection would have its own copy of all routes, 60 KiB.
    let router = router(state).into_make_service();
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

/// Every route.
pub fn router<L: Log, S: Store>(state: Arc<ApiState<L, S>>) -> Router {
    let large = Router::new()
        .route("/v1/events", post(events::publish))
        .route("/v1/event-types/check", post(event_types::check))
        .layer(DefaultBodyLimit::max(MAX_EVENTS_BODY));
    let guarded = Router::new()
        .route("/v1/teams/{team}/subscriptions", get(subscriptions::list).post(subscriptions::create))
        .route(
            "/v1/teams/{team}/subscriptions/{id}",
            get(subscriptions::show).put(subscriptions::put).delete(subscriptions::delete),
        )
        .route("/v1/teams/{team}/destinations", get(destinations::list).post(destinations::create))
        .route(
            "/v1/teams/{team}/destinations/{id}",
            get(destinations::show).put(destinations::put).delete(destinations::delete),
        )
        .route("/v1/teams/{team}/secrets", get(secrets::list))
        .route("/v1/teams/{team}/secrets/{id}", put(secrets::put).delete(secrets::delete))
        .route("/v1/directory/problems", get(problems::list))
        .route("/v1/notifications", get(history::notifications_of_all))
        .route("/v1/notifications/{id}", get(history::notification_of_any))
        .route("/v1/attempts", get(history::attempts_of_all))
        .route("/v1/teams/{team}/notifications", get(history::notifications))
        .route("/v1/teams/{team}/notifications/{id}", get(history::notification))
        .route("/v1/teams/{team}/attempts", get(history::attempts))
        .route("/v1/deadletters", get(dead_letters::list))
        .route("/v1/deadletters/retry", post(dead_letters::retry))
        .route("/v1/replays", post(replays::start))
        .route("/v1/sources/test", get(sources::test))
        .route("/v1/backup", get(backup::make))
        .route("/v1/event-types", get(event_types::list))
        .route("/v1/event-types/{key}", get(event_types::show))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/index", get(index::show))
        .route("/metrics", get(health::metrics))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(large)
        .route_layer(middleware::from_fn_with_state(state.clone(), token::require));
    guarded
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(error::method_not_allowed)
        .route_layer(middleware::from_fn(count))
        .fallback(error::no_such_path)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .with_state(state)
}

async fn count(path: MatchedPath, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    facts::request_answered(method.as_str(), path.as_str(), response.status().as_u16(), began.elapsed());
    response
}

/// The system clock, for the edges of the program: the core gets time as an argument.
pub fn now() -> Timestamp {
    SystemClock.now()
}
