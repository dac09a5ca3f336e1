//! Where events come from: which topics, how their records are read, and the schemas for it.
//!
//! What a record means is decided in `tidings_core::codec`; here is what that needs and cannot have itself: a registry that
//! is asked over HTTP, a clock for how long its "there is none" holds, and the cluster's list of topics, which grows.
//! The room does *not* know who reads records, nor what becomes of those that cannot be read.
//!
//! Reading order:
//!
//! - [`registry`]: one question to a registry with Confluent's API.
//! - [`schemas`]: the decoder with the schemas it needs, each asked for once.
//! - [`configured`]: what settings say of both.
//! - [`topics`]: which topics the patterns of sources mean.
//! - [`look`]: the last records of a topic and how they would be read.

pub mod configured;
pub mod look;
pub mod registry;
pub mod schemas;
pub mod topics;

pub use registry::{Credentials, Registry, RegistryError, RegistrySettings, RegistryTrouble};
pub use schemas::Schemas;
pub use topics::EventsTopics;
