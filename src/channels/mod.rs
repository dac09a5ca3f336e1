//! Channels: how a notification leaves. This file is the contract; [`webhook`] is the first channel.
//!
//! A channel makes exactly one attempt and tells what happened. It does not retry, wait for a rate limit, or decide
//! what a failure means for the notification: that is `tidings_core::sender`.
//!
//! Reading order: this file, [`webhook`], [`prepared`], [`client`], [`resolver`], [`request_error`].

pub mod client;
pub mod prepared;
pub mod request_error;
pub mod resolver;
pub mod webhook;

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tidings_core::domain::{Destination, ErrorClass, NotificationId, Timestamp};

/// One attempt to be made.
#[derive(Clone, Debug)]
pub struct Job {
    pub notification: NotificationId,
    /// 1 is the first try.
    pub attempt: u32,
    pub destination: Arc<Destination>,
    /// Rendered, redacted, not yet signed: the signature is made at the last moment.
    pub body: Bytes,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When the attempt began, and how long it took.
    pub at: Timestamp,
    pub duration_ms: u32,
    /// The HTTP status, if an answer came.
    pub code: Option<u16>,
    /// `None` is success: any 2xx, even if its body then failed to read.
    pub failure: Option<Failure>,
    /// The beginning of the answer's body as valid text without NUL, at most `MAX_EXCERPT` bytes.
    pub response: Option<String>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub class: ErrorClass,
    /// For the customer: no internal addresses, no secrets.
    pub message: String,
    /// The receiver asks to wait this long (`Retry-After`, already read from seconds or date; not yet clamped).
    pub retry_after_ms: Option<i64>,
}

/// A way for notifications to leave.
pub trait Channel: Send + Sync + 'static {
    /// Makes one attempt. Always comes back within the destination's timeout plus a little.
    fn deliver(&self, job: Job) -> impl Future<Output = Answer> + Send;
}

// === impl Failure ===

impl Failure {
    /// One that says nothing of when to try again.
    fn new(class: ErrorClass, message: impl Into<String>) -> Failure {
        Failure { class, message: message.into(), retry_after_ms: None }
    }
}
