//! What the API answers when it does not do what was asked. Each variant is one HTTP status and one code.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tidings_core::filter::{Fault, MAX_FAULTS};

use crate::{log::LogError, store::StoreError};

/// Ordered by status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// 400: not what it claims to be, or a parameter that cannot be read.
    BadRequest { message: String, faults: Vec<Fault> },
    /// 401: no operator token, or another one.
    Unauthorized,
    /// 404: absent, or of another team.
    NotFound(String),
    /// 405.
    MethodNotAllowed,
    /// 409: exists already, or was changed meanwhile.
    Conflict(String),
    /// 412: `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed(String),
    /// 413, with the bound in bytes.
    TooLarge(usize),
    /// 415, with what is taken.
    UnsupportedMediaType(&'static str),
    /// 422: understood, and not valid.
    Invalid { message: String, faults: Vec<Fault> },
    /// 503: the log or the store cannot answer now.
    Unavailable(String),
    /// 500: ours. The text goes to the log, not to the caller.
    Internal(String),
}

pub async fn no_such_path() -> ApiError {
    ApiError::NotFound("no such path".to_owned())
}

pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

// === impl ApiError ===

impl ApiError {
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::BadRequest { message: message.into(), faults: Vec::new() }
    }

    /// One wrong query parameter or path segment.
    pub fn bad_parameter(name: &str, found: &str, allowed: impl Into<String>) -> ApiError {
        let wrong = fault(name, format!("{found:?}"), allowed);
        ApiError::BadRequest { message: format!("{name} cannot be read"), faults: vec![wrong] }
    }

    pub fn invalid(what: &str, faults: Vec<Fault>) -> ApiError {
        ApiError::Invalid { message: format!("{what} is not valid"), faults }
    }

    /// The status, and what is said with it: as a body, or as the last line of an answer that has begun.
    pub fn body(self) -> (StatusCode, Value) {
        let (status, code, mut message, mut faults) = self.parts();
        if faults.len() > MAX_FAULTS {
            message = format!("{message}; {} faults, of which the first {MAX_FAULTS} follow", faults.len());
            faults.truncate(MAX_FAULTS);
        }
        (status, json!({"error": {"code": code, "message": message, "faults": faults}}))
    }

    fn parts(self) -> (StatusCode, &'static str, String, Vec<Fault>) {
        let plain = |status, code, message: String| (status, code, message, Vec::new());
        match self {
            ApiError::BadRequest { message, faults } => (StatusCode::BAD_REQUEST, "bad_request", message, faults),
            ApiError::Unauthorized => plain(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "the header `Authorization: Bearer <operator token>` is needed".to_owned(),
            ),
            ApiError::NotFound(message) => plain(StatusCode::NOT_FOUND, "not_found", message),
            ApiError::MethodNotAllowed => plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not take that method".to_owned(),
            ),
            ApiError::Conflict(message) => plain(StatusCode::CONFLICT, "conflict", message),
            ApiError::PreconditionFailed(message) => {
                plain(StatusCode::PRECONDITION_FAILED, "precondition_failed", message)
            }
            ApiError::TooLarge(max) => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body may have {max} bytes"))
            }
            ApiError::UnsupportedMediaType(allowed) => plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!("the content-type must be {allowed}"),
            ),
            ApiError::Invalid { message, faults } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, faults),
            ApiError::Unavailable(message) => plain(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message),
            ApiError::Internal(detail) => {
                tracing::error!(detail, "an API request failed");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an error on our side; see the log".to_owned())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, body) = self.body();
        let body = Json(body);
        if status == StatusCode::UNAUTHORIZED {
            return (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
        }
        (status, body).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        crate::telemetry::facts::store_failed(&error);
        match error {
            StoreError::Unavailable(_) => ApiError::Unavailable("the store does not answer now; try again".to_owned()),
            StoreError::Fenced(_) | StoreError::Refused(_) => ApiError::Internal(error.to_string()),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> ApiError {
        crate::telemetry::facts::log_failed("api", &error);
        match error {
            LogError::Unavailable(_) | LogError::Aborted(_) | LogError::Fenced(_) => {
                ApiError::Unavailable("the log does not answer now; try again".to_owned())
            }
            LogError::TooLarge { max, .. } => ApiError::TooLarge(max),
            LogError::UnknownTopic(_) => ApiError::Unavailable(error.to_string()),
            LogError::Refused(_) => ApiError::Internal(error.to_string()),
        }
    }
}

/// A fault found here, in the words of those that the core finds.
pub fn fault(path: impl Into<String>, found: impl Into<String>, allowed: impl Into<String>) -> Fault {
    Fault { path: path.into(), found: found.into(), allowed: allowed.into() }
}
