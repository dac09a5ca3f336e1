//! `tidings-core` decides; the `tidings` package carries out.
//!
//! Everything here is a plain synchronous function over plain values. Time and
//! chance are arguments, so a test, a benchmark or the simulation can hold both.
//! What is deliberately absent: a clock, a random source, sockets, files, async.
//!
//! Reading order, along the way of one event:
//!
//! - [`domain`]: the words. Ids, time, event, subscription, destination, notification, attempt.
//! - [`catalog`]: event types, read from Avro schema files; what may be filtered on and how.
//! - [`codec`]: bytes ↔ domain. Source records in; our own topic records in and out.
//! - [`filter`]: pattern → clause → index; explain.
//! - [`directory`]: the fold of the directory topic, one immutable snapshot per version.
//! - [`matcher`]: one batch of source records → deliveries, dead letters, index versions.
//! - [`replay`]: a range of events matched again, against the versions that held for it.
//! - [`message`]: what a receiver sees. Bodies and signatures.
//! - [`sender`]: deliveries → sends, attempt rows, parked rows, offset commits.

pub mod catalog;
pub mod codec;
pub mod directory;
pub mod domain;
pub mod filter;
pub mod matcher;
pub mod message;
pub mod replay;
pub mod sender;
