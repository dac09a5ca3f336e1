//! Tidings turns a platform's events into notifications. This package carries out what `tidings-core` decides.
//!
//! Reading order, along the way of one event:
//!
//! - [`log`]: where records are; Kafka or one local file. Groups, transactions, readers.
//! - [`roles`]: one loop per service around a pure `step` of the core.
//! - [`sources`]: which topics events come from, how they are read, and the schemas for it.
//! - [`store`]: attempts, parked notifications, the fence; PostgreSQL or SQLite.
//! - [`channels`]: how a notification leaves; the webhook, and which addresses may be called.
//! - [`secrets`]: the key ring and sealed values.
//! - [`backup`]: an embedded installation as one file, and back.
//! - [`process`]: opens what the mode says, joins the roles, stops them in order.
//! - [`api`]: HTTP for operators and other programs; [`cli`]: the commands, most of which speak to it.
//! - [`demo`]: `tidings up --demo`, all of it with events and receivers around it.
//! - [`schemas`]: the event types in force, compiled in and from a folder.
//! - [`config`]: every setting, its default and its manual; [`telemetry`]: logs, metrics, readiness.
//! - [`crash`]: where a development build can be told to die.
//!
//! Only `log` and `store` know whether Tidings runs embedded or distributed. No policy lives in this package:
//! whatever decides is a function in `tidings-core`.

pub mod api;
pub mod backup;
pub mod channels;
pub mod cli;
pub mod config;
pub mod crash;
pub mod demo;
pub mod log;
pub mod process;
pub mod roles;
pub mod schemas;
pub mod secrets;
pub mod sources;
pub mod store;
pub mod telemetry;
