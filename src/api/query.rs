//! Reading query parameters: each is known, and each can be read, or the answer names it.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use tidings_core::domain::Timestamp;

use super::ApiError;

/// The query parameters of a request, taken one by one. What nobody took is refused by [`Parameters::end`].
#[derive(Clone, Debug)]
pub struct Parameters(Vec<(String, String)>);

/// Rows of a page if nobody says.
pub const DEFAULT_LIMIT: u32 = 50;
/// The most rows of a page.
pub const MAX_LIMIT: u32 = 1_000;

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Parameters, ApiError> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|Query(pairs)| Parameters(pairs)).map_err(|_| ApiError::bad_request("the query cannot be read"))
    }
}

// === impl Parameters ===

impl Parameters {
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(index) = self.0.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, value) = self.0.remove(index);
        match self.0.iter().any(|(found, _)| found == name) {
            true => Err(ApiError::bad_request(format!("{name} is given twice"))),
            false => Ok(Some(value)),
        }
    }

    pub fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: Display,
    {
        self.read(name, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    pub fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        read(&text).map(Some).map_err(|reason| ApiError::bad_parameter(name, &text, reason))
    }

    pub fn time(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.read(name, |text| Timestamp::parse(text).ok_or_else(|| "an RFC 3339 time".to_owned()))
    }

    pub fn limit(&mut self) -> Result<u32, ApiError> {
        let allowed = || format!("1 to {MAX_LIMIT}");
        let limit = self.read("limit", |text| {
            text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(allowed)
        })?;
        Ok(limit.unwrap_or(DEFAULT_LIMIT))
    }

    /// Refuses what is left, so that a misspelt filter does not show everything.
    pub fn end(self) -> Result<(), ApiError> {
        match self.0.first() {
            Some((name, value)) => Err(ApiError::bad_parameter(name, value, "no such parameter here")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_double_or_unreadable_is_refused() {
        let given = |pairs: &[(&str, &str)]| Parameters(pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect());
        assert_eq!(given(&[]).limit(), Ok(DEFAULT_LIMIT));
        assert_eq!(given(&[("limit", "1000")]).limit(), Ok(1_000));
        assert!(given(&[("limit", "0")]).limit().is_err());
        assert!(given(&[("limit", "1"), ("limit", "1")]).limit().is_err());
        assert!(given(&[("since", "soon")]).time("since").is_err());
        assert!(given(&[("sinse", "2026-01-01T00:00:00Z")]).end().is_err());
    }
}
