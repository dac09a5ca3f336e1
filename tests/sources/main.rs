//! Where events come from: a schema registry that answers, lies, hangs and is away, and topics by pattern.
//!
//! The registry is [`stub`], so that it can fail on demand; a real one takes part in the tests of producers.
//!
//! Reading order: [`stub`], [`asking`] (one question), [`outage`] (a matcher and a sender that wait), [`patterns`], [`command`],
//! [`check`].

mod asking;
mod check;
mod command;
#[cfg(feature = "kafka")]
#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/matcher.rs"]
mod matcher;
mod outage;
mod patterns;
mod stub;
