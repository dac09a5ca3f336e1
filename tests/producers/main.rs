//! Unmodified clients of other languages on real Kafka: what they write is read, matched and delivered.
//!
//! Each program here is what a service's own code would be, with the libraries as their registries give them;
//! `scripts/producers-for-tests` fetches those. Reading order: [`installation`], [`directory`], [`events`].
#![allow(clippy::duplicate_mod, reason = "the servers' modules bring what they share")]

mod directory;
mod events;
mod installation;
#[path = "../support/kafka.rs"]
mod kafka;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/producers.rs"]
mod producers;
#[path = "../support/program.rs"]
mod program;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../end_to_end/receiver.rs"]
mod receiver;
