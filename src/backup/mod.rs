//! Backups of the embedded mode: one file that holds the log, the store and the keys as they were at one moment.
//!
//! One moment, because the log and the store speak of each other: event ids come from offsets, so a store that is newer
//! than its log would know of offsets that the log gives out again, and what is published there would never be
//! delivered. So the log's writer is held while both snapshots are opened, and they are copied at leisure.
//!
//! The file is a tar archive. It holds events and secrets in clear: whoever can read it can read everything.
//!
//! What is deliberately absent: the distributed mode, whose log and store have backups of their own
//! (`docs/OPERATIONS.md`), and parts: a backup is whole or it is refused.
//!
//! Reading order: this file, [`snapshot`], [`archive`], [`restore`](mod@restore).

pub mod archive;
pub mod restore;
pub mod snapshot;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tidings_core::domain::Timestamp;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use archive::{FORMAT, Manifest};
pub use restore::restore;
pub use snapshot::Snapshot;

use crate::log::{LogError, local::Local};

/// The files of a data folder, as they are called there and in a backup.
pub const LOG_FILE: &str = "log.db";
pub const STORE_FILE: &str = "store.db";
pub const KEYS_FILE: &str = "keys";
pub const TOKEN_FILE: &str = "operator.token";

/// Makes backups of one running installation. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    log: Local,
    folder: PathBuf,
    /// One at a time: each needs as much room as the data takes.
    turn: Arc<Mutex<()>>,
}

/// Both databases at one moment, not yet copied.
pub struct Moment {
    folder: PathBuf,
    log: Snapshot,
    store: Snapshot,
    made_at: Timestamp,
    held: Duration,
    _turn: OwnedMutexGuard<()>,
}

/// Why there is no backup, or nothing is restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("another backup is under way")]
    Busy,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}: {1}")]
    Database(String, rusqlite::Error),
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// Not a backup, an altered one, or one of another format.
    #[error("{0}")]
    Unsound(String),
    /// Nothing may be restored into this folder.
    #[error("{0}")]
    Occupied(String),
}

/// Where the copies are made, in the data folder. What an interrupted backup has left there is removed by the next.
const COPIES: &str = "backup";

// === impl Backups ===

impl Backups {
    pub fn new(log: Local, folder: PathBuf) -> Backups {
        Backups { log, folder, turn: Arc::default() }
    }

    /// Opens both snapshots while the log's writer is held: for some milliseconds.
    pub async fn moment(&self, now: Timestamp) -> Result<Moment, BackupError> {
        let turn = self.turn.clone().try_lock_owned().map_err(|_| BackupError::Busy)?;
        let held = self.log.hold().await?;
        let (log, store) = (self.folder.join(LOG_FILE), self.folder.join(STORE_FILE));
        let opened = tokio::task::spawn_blocking(move || Ok((Snapshot::open(&log)?, Snapshot::open(&store)?))).await;
        let opened: Result<(Snapshot, Snapshot), BackupError> =
            opened.unwrap_or_else(|error| Err(BackupError::Unsound(format!("a snapshot broke off: {error}"))));
        let held = held.release()?;
        let (log, store) = opened?;
        Ok(Moment { folder: self.folder.clone(), log, store, made_at: now, held, _turn: turn })
    }
}

// === impl Moment ===

impl Moment {
    /// For how long nothing could be written to the log.
    pub fn held(&self) -> Duration {
        self.held
    }

    /// Copies the snapshots and writes the archive. Blocks for as long as the disk takes.
    pub fn write(self, out: impl Write) -> Result<(), BackupError> {
        let copies = self.folder.join(COPIES);
        let made = remove(&copies).and_then(|()| fs::create_dir(&copies));
        made.map_err(|error| BackupError::Io(copies.display().to_string(), error))?;
        let written = self.write_from(&copies, out);
        let removed = remove(&copies).map_err(|error| BackupError::Io(copies.display().to_string(), error));
        written.and(removed)
    }

    fn write_from(self, copies: &Path, out: impl Write) -> Result<(), BackupError> {
        let mut files = Vec::new();
        for (name, snapshot) in [(LOG_FILE, self.log), (STORE_FILE, self.store)] {
            snapshot.copy_to(&copies.join(name))?;
            files.push((name, copies.join(name)));
        }
        // Kept elsewhere if the configuration says so; then it is not for this backup to carry them around.
        let beside = [KEYS_FILE, TOKEN_FILE].map(|name| (name, self.folder.join(name)));
        files.extend(beside.into_iter().filter(|(_, path)| path.exists()));
        let manifest = Manifest {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            mode: "embedded".to_owned(),
            made_at: self.made_at,
            writers_held_ms: self.held.as_millis() as u64,
            files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
        };
        archive::write(out, &manifest, &files)
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An I/O error with the path that it is about.
fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |error| BackupError::Io(path.display().to_string(), error)
}
