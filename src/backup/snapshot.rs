//! One SQLite file as it was at one moment, while others go on writing.

use std::{path::Path, time::Duration};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::BackupError;

/// An open read transaction. As long as it lives, the write-ahead log beside the file grows with what is written.
pub struct Snapshot {
    db: Connection,
    name: String,
}

/// Pages copied in one step: some megabytes.
const STEP_PAGES: i32 = 2_000;
/// How long a lock of another connection is waited for: one that recovers or resets the write-ahead log.
const BUSY: Duration = Duration::from_secs(5);

// === impl Snapshot ===

impl Snapshot {
    /// From here on the snapshot does not change.
    pub fn open(path: &Path) -> Result<Snapshot, BackupError> {
        let name = path.display().to_string();
        let open = || {
            let db =
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            db.busy_timeout(BUSY)?;
            // A transaction begins with its first read.
            db.execute_batch("BEGIN")?;
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
            Ok(db)
        };
        match open() {
            Ok(db) => Ok(Snapshot { db, name }),
            Err(error) => Err(BackupError::Database(name, error)),
        }
    }

    /// Copies it into a new file. Within a read transaction SQLite's backup never starts over, whatever is written.
    pub fn copy_to(self, path: &Path) -> Result<(), BackupError> {
        let copy = || {
            let mut to = Connection::open(path)?;
            let backup = Backup::new(&self.db, &mut to)?;
            loop {
                match backup.step(STEP_PAGES)? {
                    StepResult::Done => return Ok(()),
                    StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(10)),
                    _ => {}
                }
            }
        };
        copy().map_err(|error| BackupError::Database(self.name.clone(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_of_its_moment_whatever_is_written_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("source.db"), folder.path().join("copy.db"));
        let db = Connection::open(&source).unwrap();
        db.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2);")
            .unwrap();
        let snapshot = Snapshot::open(&source).unwrap();
        db.execute_batch("INSERT INTO t VALUES (3); PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
        snapshot.copy_to(&copy).unwrap();
        let count = |path: &Path| {
            let count =
                Connection::open(path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
            count.unwrap()
        };
        assert_eq!((count(&copy), count(&source)), (2, 3));
    }
}
