//! What a receiver sees, and how its answer is read.
//!
//! Everything here is text over plain values: no request is made and no secret is opened. The sender's channels do
//! both, and call these functions with what they opened.
//!
//! Reading order, as a webhook goes: [`body`](mod@body), [`signature`], [`header`], then the answer: [`answer`],
//! [`retry_after`]; and for people, [`curl`].

pub mod answer;
pub mod body;
pub mod curl;
pub mod header;
pub mod retry_after;
pub mod signature;

pub use answer::{class_of_status, excerpt};
pub use body::{BodyError, MAX_BODY, Presentation, body, render};
pub use retry_after::retry_after_ms;
pub use signature::{SigningKey, SigningKeyFault, sign};
