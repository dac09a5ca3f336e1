//! The real program from outside: started as a process, fed over HTTP or Kafka, stopped by signals, watched by the
//! receivers of its webhooks.
//!
//! Reading order: [`embedded`] (delivery, changes, stopping), [`isolation`], [`replay`], [`backup`],
//! [`distributed`], [`lost_store`]; [`program`] and
//! [`receiver`] are what they stand on.
#![allow(clippy::duplicate_mod, reason = "both servers' modules bring what they share")]

mod backup;
mod distributed;
mod embedded;
mod isolation;
#[path = "../support/kafka.rs"]
mod kafka;
mod lost_store;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/program.rs"]
mod program;
mod receiver;
mod replay;
