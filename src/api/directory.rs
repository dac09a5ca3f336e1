//! What the API asks of the directory: its current fold, and edits that take effect or say why not.

use std::{future::Future, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use tidings_core::domain::{Destination, DestinationId, Subscription, SubscriptionId, TeamId};

use super::ApiError;

/// The directory as this process sees it. Reads never wait; an edit that was answered is seen by every later read.
pub trait Directories: Clone + Send + Sync + 'static {
    fn subscription(&self, team: &TeamId, id: &SubscriptionId) -> Option<Arc<Subscription>>;
    fn destination(&self, team: &TeamId, id: &DestinationId) -> Option<Arc<Destination>>;
    /// In the order of their ids.
    fn subscriptions(&self, team: &TeamId) -> Vec<Arc<Subscription>>;
    /// In the order of their ids.
    fn destinations(&self, team: &TeamId) -> Vec<Arc<Destination>>;
    /// Performs all edits or none; the new revision of each.
    fn edit(&self, edits: Vec<Edit>) -> impl Future<Output = Result<Vec<u64>, EditError>> + Send;
}

/// One key of the directory to be written or, without a value, deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// `sub/<team>/<id>` or `dst/<team>/<id>`.
    pub key: String,
    /// JSON of the object; its `revision` is set by the editor.
    pub value: Option<Bytes>,
    pub expected: Expected,
}

/// What must be true of the key for the edit to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    Revision(u64),
    Absent,
}

/// Why nothing was edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{key} is not as expected")]
    Conflict { key: String },
    #[error("{0}")]
    Unavailable(String),
}

/// What the caller's `If-Match` and `If-None-Match` ask for. `current` is the revision that the fold shows.
pub fn expected(headers: &HeaderMap, current: Option<u64>) -> Result<Expected, ApiError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH), current) {
        (None, None, _) => Ok(Expected::Any),
        (None, Some("*"), None) => Ok(Expected::Absent),
        (None, Some("*"), Some(_)) => Err(ApiError::PreconditionFailed("it exists already".to_owned())),
        (None, Some(_), _) => Err(ApiError::bad_request("If-None-Match can only be *")),
        (Some(_), Some(_), _) => Err(ApiError::bad_request("If-Match and If-None-Match exclude each other")),
        (Some(_), None, None) => Err(ApiError::PreconditionFailed("it does not exist".to_owned())),
        (Some("*"), None, Some(revision)) => Ok(Expected::Revision(revision)),
        (Some(given), None, Some(revision)) if given == etag(revision) => Ok(Expected::Revision(revision)),
        (Some(given), None, Some(revision)) => {
            let message = format!("If-Match is {given}, the current ETag is {}", etag(revision));
            Err(ApiError::PreconditionFailed(message))
        }
    }
}

/// Performs one edit. A conflict after a precondition that held a moment ago is that precondition failing.
pub async fn edit_one<D: Directories>(directory: &D, edit: Edit, conditional: bool) -> Result<u64, ApiError> {
    match directory.edit(vec![edit]).await {
        Ok(revisions) => {
            revisions.first().copied().ok_or_else(|| ApiError::Internal("an edit gave no revision".to_owned()))
        }
        Err(EditError::Conflict { .. }) if conditional => {
            Err(ApiError::PreconditionFailed("it was changed meanwhile; read it and try again".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

pub fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// The entity tag of a revision.
pub fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// One page of a sorted list, after the id that a cursor names.
pub fn page<'l, T>(items: &'l [Arc<T>], id: impl Fn(&T) -> &str, after: Option<&str>, limit: u32) -> (&'l [Arc<T>], bool) {
    let start = after.map_or(0, |after| items.partition_point(|item| id(item) <= after));
    let end = items.len().min(start + limit as usize);
    (&items[start..end], end < items.len())
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
        check(None, Some(3), Ok(Expected::Any));
        check(Some(("if-match", "\"3\"")), Some(3), Ok(Expected::Revision(3)));
        check(Some(("if-match", "*")), Some(3), Ok(Expected::Revision(3)));
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
            let (found, left) = page(&items, String::as_str, after, limit);
            assert_eq!(found.iter().map(|item| item.as_str()).collect::<Vec<_>>(), expected);
            assert_eq!(left, more);
        };
        check(None, 2, &["a", "c"], true);
        check(Some("c"), 2, &["e"], false);
        check(Some("b"), 1, &["c"], true);
        check(Some("z"), 5, &[], false);
    }
}
