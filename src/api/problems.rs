//! `GET /v1/directory/problems`: which keys of the directory are inactive, and why.
//!
//! A record that a service wrote past the API cannot be answered, so what is wrong with it is said here: key, field,
//! reason. Listed too, with the reason `unknown_secret`, are references of active destinations to secrets that are not
//! stored: what goes there waits for them.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use tidings_core::directory::{Directory, Problem, Unresolved};

use super::{ApiError, ApiState, cursor, directory::team, query::Parameters};
use crate::{log::Log, store::Store};

const LISTING: &str = "directory/problems";
const UNKNOWN_SECRET: &str = "unknown_secret";

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let team = parameters.text("team")?.map(|name| team(&name)).transpose()?;
    let limit = parameters.limit()? as usize;
    // Key and field of the last one shown.
    let after: Option<(String, String)> =
        parameters.text("cursor")?.map(|text| cursor::open(&state.token, LISTING, &text)).transpose()?;
    parameters.end()?;
    let mut problems = problems(&*state.directory()?);
    problems.retain(|problem| team.as_ref().is_none_or(|team| problem["team"] == team.as_str()));
    problems.retain(|problem| after.as_ref().is_none_or(|after| place(problem) > *after));
    let more = problems.len() > limit;
    problems.truncate(limit);
    let next = problems.last().filter(|_| more).map(|last| cursor::seal(&state.token, LISTING, &place(last)));
    Ok(Json(json!({"items": problems, "next": next})))
}

/// All of them, in the order of keys and fields.
fn problems(directory: &Directory) -> Vec<Value> {
    let mut problems: Vec<Value> = directory.problems().map(|problem| inactive(problem)).collect();
    problems.extend(directory.unresolved().map(|reference| unresolved(&reference)));
    problems.sort_by_cached_key(place);
    problems
}

fn inactive(problem: &Problem) -> Value {
    json!({
        "key": problem.key,
        "team": problem.team,
        "field": problem.field,
        "reason": problem.reason,
        "detail": problem.detail,
        "active": false,
        "offset": problem.offset,
    })
}

fn unresolved(reference: &Unresolved) -> Value {
    json!({
        "key": reference.key,
        "team": reference.team,
        "field": reference.field,
        "reason": UNKNOWN_SECRET,
        "detail": "it refers to a secret that is not stored; what goes there waits for it",
        "active": true,
        "offset": null,
    })
}

fn place(problem: &Value) -> (String, String) {
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (text("key"), text("field"))
}
