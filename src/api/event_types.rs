//! `/v1/event-types[/{key}]`: the catalog in force, and `/v1/event-types/check`: what a folder of schema files would change.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
};
use serde_json::{Value, json};
use tidings_core::catalog::{Catalog, CatalogFault, builtin_files, description, evolution};

use super::{ApiError, ApiState, MAX_EVENTS_BODY, body, error::fault, query::Parameters};
use crate::{log::Log, store::Store};

/// One row a type, in the order of keys; `platform` and `category` narrow.
pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let platform = parameters.text("platform")?;
    let category = parameters.text("category")?;
    parameters.end()?;
    let wanted = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    let types = state.catalog.types();
    let types = types.filter(|t| wanted(&platform, &t.platform) && wanted(&category, &t.category));
    Ok(Json(json!({"items": types.map(description::row).collect::<Vec<_>>()})))
}

/// Everything about one type, by any of its names.
pub async fn show<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = state.catalog.resolve(&name);
    let absent = || ApiError::NotFound(format!("no event type is called {name:?}"));
    Ok(Json(description::detail(found.ok_or_else(absent)?)))
}

/// `{"files": {"<platform>/<key>.avsc": "<text>"}}`, beside the compiled-in types, held against the catalog in force and
/// the subscriptions. Nothing is changed.
pub async fn check<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let bytes = body::bytes(request, &state, MAX_EVENTS_BODY).await?;
    let body: Value =
        serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_request(format!("not JSON: {error}")))?;
    let wrong = |found: String| {
        ApiError::invalid("the folder", vec![fault("files", found, "an object of file names and texts")])
    };
    let given = body.get("files").and_then(Value::as_object).ok_or_else(|| wrong("no object".to_owned()))?;
    let mut files = builtin_files();
    for (name, text) in given {
        let text = text.as_str().ok_or_else(|| wrong(format!("{name:?} without text")))?;
        files.push((name.clone(), text.to_owned()));
    }
    let after = match Catalog::load(&files) {
        Ok(after) => after,
        Err(faults) => return Ok(Json(json!({"faults": shown(faults), "changes": [], "subscriptions": []}))),
    };
    let broken = state.directory()?.broken_by(&after);
    let broken = broken
        .iter()
        .map(|(subscription, faults)| json!({"team": subscription.team, "id": subscription.id, "faults": faults}));
    Ok(Json(json!({
        "faults": [],
        "changes": shown(evolution::faults(&state.catalog, &after)),
        "subscriptions": broken.collect::<Vec<_>>(),
    })))
}

fn shown(faults: Vec<CatalogFault>) -> Value {
    let shown = |fault: CatalogFault| json!({"file": fault.file, "field": fault.field, "reason": fault.reason});
    faults.into_iter().map(shown).collect()
}
