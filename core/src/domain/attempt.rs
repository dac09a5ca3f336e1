//! One try to deliver one notification, and how a notification ended.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Day, DestinationId, Fingerprint, NotificationId, Position, SubscriptionId, TeamId, Timestamp};

/// One row of the attempts table. Attempt 0 records an outcome without a try.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    pub day: Day,
    pub notification: NotificationId,
    /// 1 is the first try.
    pub attempt: u32,
    pub team: TeamId,
    pub subscription: SubscriptionId,
    pub destination: DestinationId,
    pub event_type: Arc<str>,
    pub event_id: Arc<str>,
    /// Where the event stands, to read it again.
    #[serde(skip)]
    pub position: Position,
    /// Of the event as it was sent, to tell a repeat from another event under the same id.
    #[serde(skip)]
    pub content: Option<Fingerprint>,
    pub index_version: i64,
    /// When the attempt started, or the outcome was decided.
    pub at: Timestamp,
    pub duration_ms: u32,
    /// The HTTP status, where an answer came.
    pub code: Option<u16>,
    pub error: Option<ErrorClass>,
    /// What went wrong, in words fit for the customer: no addresses, no secrets.
    pub message: Option<String>,
    /// The beginning of the answer's body, at most [`MAX_EXCERPT`] bytes of valid text.
    pub response: Option<String>,
    /// Set on the attempt that ended the notification.
    pub outcome: Option<Outcome>,
    /// Set where another attempt will follow.
    pub next_attempt_at: Option<Timestamp>,
}

/// The longest stored excerpt of an answer, in bytes.
pub const MAX_EXCERPT: usize = 4096;

/// How a notification ended. Final: never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver answered 2xx.
    Delivered,
    /// Every retry failed, or the failure was permanent.
    Exhausted,
    /// It grew too old before it could be delivered.
    Expired,
    /// Its subscription or destination is gone.
    Discarded,
    /// Its subscription or destination is disabled.
    Suppressed,
}

/// Why an attempt failed. Ordered as an attempt proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The event could not be read again or rendered. Permanent.
    Render,
    /// A secret could not be opened: wrong or missing key. Ours: not charged to the destination.
    Secret,
    /// The URL or a header cannot be used. Permanent.
    Configuration,
    /// The name did not resolve.
    Dns,
    /// The address is one that must not be called. Permanent.
    BlockedAddress,
    /// The connection was refused, reset, or not reached in time.
    Connect,
    /// The TLS handshake or the certificate failed.
    Tls,
    /// No whole answer within the attempt's deadline.
    Timeout,
    /// The answer was not HTTP, or broke off.
    Protocol,
    /// 3xx: never followed.
    Redirect,
    /// 410: the receiver wants no more.
    Gone,
    /// 429.
    RateLimited,
    /// Other 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// Local trouble: no file descriptors, no memory. Ours: not charged to the destination.
    Local,
}

/// Every outcome, for documents, filters and tests.
pub const OUTCOMES: [Outcome; 5] =
    [Outcome::Delivered, Outcome::Exhausted, Outcome::Expired, Outcome::Discarded, Outcome::Suppressed];

/// Every error class, for documents and tests.
pub const ERROR_CLASSES: [ErrorClass; 15] = [
    ErrorClass::Render,
    ErrorClass::Secret,
    ErrorClass::Configuration,
    ErrorClass::Dns,
    ErrorClass::BlockedAddress,
    ErrorClass::Connect,
    ErrorClass::Tls,
    ErrorClass::Timeout,
    ErrorClass::Protocol,
    ErrorClass::Redirect,
    ErrorClass::Gone,
    ErrorClass::RateLimited,
    ErrorClass::ClientError,
    ErrorClass::ServerError,
    ErrorClass::Local,
];

// === impl Outcome ===

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Exhausted => "exhausted",
            Outcome::Expired => "expired",
            Outcome::Discarded => "discarded",
            Outcome::Suppressed => "suppressed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Outcome, String> {
        OUTCOMES.into_iter().find(|o| o.as_str() == text).ok_or_else(|| format!("{text:?} is no outcome"))
    }
}

// === impl ErrorClass ===

impl ErrorClass {
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Render => "render",
            ErrorClass::Secret => "secret",
            ErrorClass::Configuration => "configuration",
            ErrorClass::Dns => "dns",
            ErrorClass::BlockedAddress => "blocked_address",
            ErrorClass::Connect => "connect",
            ErrorClass::Tls => "tls",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Protocol => "protocol",
            ErrorClass::Redirect => "redirect",
            ErrorClass::Gone => "gone",
            ErrorClass::RateLimited => "rate_limited",
            ErrorClass::ClientError => "client_error",
            ErrorClass::ServerError => "server_error",
            ErrorClass::Local => "local",
        }
    }

    /// Whether another attempt can help at all.
    pub fn is_permanent(self) -> bool {
        matches!(self, ErrorClass::Render | ErrorClass::Configuration | ErrorClass::BlockedAddress | ErrorClass::Gone)
    }

    /// Whether the trouble is on our side, so that the attempt does not count against the schedule.
    pub fn is_ours(self) -> bool {
        matches!(self, ErrorClass::Secret | ErrorClass::Local)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorClass {
    type Err = String;

    fn from_str(text: &str) -> Result<ErrorClass, String> {
        ERROR_CLASSES.into_iter().find(|c| c.as_str() == text).ok_or_else(|| format!("{text:?} is no error class"))
    }
}
