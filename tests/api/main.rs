//! The HTTP API over the real local log and the real SQLite store. Each file is named after the paths it asks.

mod cli;
mod dead_letters;
mod destinations;
mod event_types;
mod events;
mod explain;
mod harness;
mod history;
mod process;
mod secrets;
mod sources;
mod subscriptions;
