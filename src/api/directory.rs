//! What handlers of the directory have in common: reading the fold, preconditions, and edits.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use serde::Serialize;
use serde_json::{Value, json};
use tidings_core::{directory::Directory, domain::TeamId};

use super::{ApiError, ApiState, cursor, query::Parameters};
use crate::roles::editor::{Edit, EditError, Expected};

impl<L, S> ApiState<L, S> {
    /// The directory as this process sees it now.
    pub(super) fn directory(&self) -> Result<Arc<Directory>, ApiError> {
        let first_fold = || ApiError::Unavailable("the directory is still being read; try again".to_owned());
        self.view.current().ok_or_else(first_fold)
    }
}

/// What the caller's `If-Match` and `If-None-Match` ask for. `current` is the revision that the fold shows.
pub fn expected(headers: &HeaderMap, current: Option<u64>) -> Result<Expected, ApiError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH), current) {
        (None, None, _) => Ok(Expected::Anything),
        (None, Some("*"), None) => Ok(Expected::Absent),
        (None, Some("*"), Some(_)) => Err(ApiError::PreconditionFailed("it exists already".to_owned())),
        (None, Some(_), _) => Err(ApiError::bad_request("If-None-Match can only be *")),
        (Some(_), Some(_), _) => Err(ApiError::bad_request("If-Match and If-None-Match exclude each other")),
        (Some(_), None, None) => Err(ApiError::PreconditionFailed("it does not exist".to_owned())),
        (Some("*"), None, Some(_)) => Ok(Expected::Present),
        (Some(given), None, Some(revision)) if given == etag(revision) => Ok(Expected::Revision(revision)),
        (Some(given), None, Some(revision)) => {
            let message = format!("If-Match is {given}, the current ETag is {}", etag(revision));
            Err(ApiError::PreconditionFailed(message))
        }
    }
}

/// Writes one key, or deletes it, and answers its new revision.
///
/// A precondition that held against the fold a moment ago and does not at the editor fails as a precondition.
pub async fn edit_one<L, S, T: Serialize>(
    state: &ApiState<L, S>,
    key: String,
    object: Option<&T>,
    expected: Expected,
    headers: &HeaderMap,
) -> Result<u64, ApiError> {
    let value = match object.map(serde_json::to_value) {
        None => None,
        Some(Ok(serde_json::Value::Object(object))) => Some(object),
        Some(Ok(_)) => return Err(ApiError::Internal(format!("{key} is written as something that is no object"))),
        Some(Err(error)) => return Err(ApiError::Internal(error.to_string())),
    };
    let is_conditional = headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH);
    match state.editor.edit(vec![Edit { key, value, expected }]).await {
        Ok(revisions) => {
            revisions.first().copied().ok_or_else(|| ApiError::Internal("an edit gave no revision".to_owned()))
        }
        Err(EditError::Unavailable(reason)) => {
            tracing::warn!(reason, "the directory was not edited");
            Err(ApiError::Unavailable("the directory cannot be written now; try again".to_owned()))
        }
        Err(error) if is_conditional => Err(ApiError::PreconditionFailed(error.to_string())),
        Err(error @ EditError::Missing(_)) => Err(ApiError::NotFound(error.to_string())),
        Err(error @ (EditError::Conflict { .. } | EditError::Exists(_))) => Err(ApiError::Conflict(error.to_string())),
    }
}

/// 201 for what was not there before.
pub fn written_status(was_there: bool) -> StatusCode {
    if was_there { StatusCode::OK } else { StatusCode::CREATED }
}

/// The entity tag of a revision.
pub fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Where a page of a list begins, and how long it is at the most.
pub struct Place {
    /// The id that the page before ended with.
    after: Option<String>,
    limit: u32,
}

/// One page of a list.
#[derive(Debug, PartialEq)]
pub struct Page {
    items: Vec<Value>,
    /// The id that the next page begins after, if there is more.
    ends_with: Option<String>,
}

/// Answers a list of what a team has, page by page. `kind` is its name in the path: the cursor of one list is of no use in
/// another.
pub fn listed<L, S>(
    state: &ApiState<L, S>,
    kind: &str,
    team_name: &str,
    mut parameters: Parameters,
    page: impl FnOnce(&Directory, &TeamId, &Place) -> Page,
) -> Result<Json<Value>, ApiError> {
    let team = team(team_name)?;
    let listing = format!("{kind}/{team}");
    let limit = parameters.limit()?;
    let after = parameters.text("cursor")?.map(|text| cursor::open(&state.token, &listing, &text)).transpose()?;
    parameters.end()?;
    let Page { items, ends_with } = page(&*state.directory()?, &team, &Place { after, limit });
    let next = ends_with.map(|last| cursor::seal(&state.token, &listing, &last));
    Ok(Json(json!({"items": items, "next": next})))
}

/// The items of a page, which come in the order of their ids, each as it is shown.
pub fn page<'l, T: 'l>(
    items: impl Iterator<Item = &'l Arc<T>>,
    place: &Place,
    id: impl Fn(&T) -> &str,
    shown: impl Fn(&T) -> Value,
) -> Page {
    let after = place.after.as_deref();
    let mut rest = items.skip_while(|item| after.is_some_and(|after| id(item) <= after));
    let items: Vec<&Arc<T>> = rest.by_ref().take(place.limit as usize).collect();
    let ends_with = rest.next().and_then(|_| items.last().map(|last| id(last).to_owned()));
    Page { items: items.into_iter().map(|item| shown(item)).collect(), ends_with }
}

/// A name out of a path; one that cannot exist is not found.
pub fn team(text: &str) -> Result<TeamId, ApiError> {
    TeamId::new(text).map_err(|_| ApiError::NotFound(format!("there is no team {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions_follow_the_revision() {
        let check = |name: Option<(&'static str, &'static str)>, current, expected_status: Result<Expected, u16>| {
            let headers: HeaderMap = name
                .into_iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let found = expected(&headers, current).map_err(|error| match error {
                ApiError::PreconditionFailed(_) => 412,
                _ => 400,
            });
            assert_eq!(found, expected_status, "{name:?} {current:?}");
        };
        check(None, Some(3), Ok(Expected::Anything));
        check(Some(("if-match", "\"3\"")), Some(3), Ok(Expected::Revision(3)));
        check(Some(("if-match", "*")), Some(3), Ok(Expected::Present));
        check(Some(("if-match", "\"2\"")), Some(3), Err(412));
        check(Some(("if-match", "\"2\"")), None, Err(412));
        check(Some(("if-none-match", "*")), None, Ok(Expected::Absent));
        check(Some(("if-none-match", "*")), Some(3), Err(412));
        check(Some(("if-none-match", "\"1\"")), None, Err(400));
    }

    #[test]
    fn pages_go_on_after_a_name_even_if_it_is_gone() {
        let items: Vec<Arc<String>> = ["a", "c", "e"].map(|name| Arc::new(name.to_owned())).into();
        let check = |after, limit, expected: &[&str], more| {
            let place = Place { after: Option::<&str>::map(after, str::to_owned), limit };
            let found = page(items.iter(), &place, String::as_str, |item| json!(item));
            assert_eq!(found.items, expected);
            assert_eq!(found.ends_with.as_deref(), expected.last().copied().filter(|_| more));
        };
        check(None, 2, &["a", "c"], true);
        check(Some("c"), 2, &["e"], false);
        check(Some("b"), 1, &["c"], true);
        check(Some("z"), 5, &[], false);
    }
}
