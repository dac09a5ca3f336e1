//! The roles: one loop per service around a pure `step` of the core, generic over log, store, channel and clock.
//!
//! A loop does I/O and holds no policy; what to do next comes from `tidings_core`. The simulation runs these very
//! loops over stand-ins.
//!
//! Reading order: [`stop`], [`clock`], [`directory`], [`matcher`], [`sender`], [`persisting`], [`bodies`],
//! [`editor`], [`replay`], [`seam`].

pub mod bodies;
pub mod clock;
pub mod directory;
pub mod editor;
pub mod matcher;
mod persisting;
pub mod replay;
pub mod seam;
pub mod sender;
pub mod stop;

pub use clock::{Clock, SystemClock};
pub use directory::DirectoryView;
pub use stop::{Stop, Stopper, stop_pair};

use crate::{log::LogError, store::StoreError};

/// Why a role ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the directory is no longer followed")]
    NoDirectory,
    #[error("a job of the sender failed: {0}")]
    Job(String),
}
