//! The file: tables, statements, and what SQLite's errors mean to a log.
//!
//! A record's row id is its partition's slot and its offset in one integer, so that records of a partition lie side by
//! side in the order they are read, and rows of a few kilobytes still fit a page (in a `WITHOUT ROWID` table a record of
//! 1 KB takes a page of its own: a third of the speed, four times the space;
//! `docs/decisions/0001-rusqlite-for-the-local-log.md`).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use tidings_core::domain::{Record, Timestamp, TopicPartition};

use super::{
    Durability, hold,
    topic::{Budget, Partition},
};
use crate::log::{Bounds, LogError};

/// The writer's connection.
pub(super) struct Storage {
    db: Connection,
}

/// Connections for reading what has left memory. As many as there are reads at once: at most one per member and reader.
pub(super) struct ColdReads {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// A topic as the file holds it.
pub(super) struct StoredTopic {
    pub name: String,
    pub partitions: u32,
    pub first_slot: u32,
    pub settings: Vec<(String, String)>,
}

/// What one step of upkeep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upkeep {
    pub deleted: usize,
    /// The step ended at its bound, so there may be more.
    pub more: bool,
}

/// Bits of a row id that are the offset: 10^12 records per partition.
const OFFSET_BITS: u32 = 40;

/// Raised with every change of the tables. A file of another version is refused.
const VERSION: i64 = 1;

/// Pages of 4 KiB in the write-ahead log before SQLite copies them into the file: fewer, longer pauses.
const CHECKPOINT_PAGES: u32 = 4000;

/// Pages of 4 KiB: SQLite's default, and what most disks write at once.
const PAGE_BYTES: u32 = 4096;

/// How many idle read connections are kept open.
const MAX_IDLE_READS: usize = 4;

/// How long a read waits for the writer to finish recovering or resetting the write-ahead log, in milliseconds.
const BUSY_MS: u32 = 5000;

const TABLES: &str = "
    CREATE TABLE topics (
        name TEXT PRIMARY KEY,
        partitions INTEGER NOT NULL,
        first_slot INTEGER NOT NULL UNIQUE, -- partition p of the topic has slot first_slot + p
        settings TEXT NOT NULL              -- JSON: [[name, value], ...]
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE records (
        place INTEGER PRIMARY KEY,          -- slot << 40 | offset
        timestamp INTEGER NOT NULL,         -- milliseconds since 1970, when it was appended
        key BLOB,
        value BLOB,                         -- NULL is a tombstone
        headers BLOB                        -- NULL is none; else length, name, length, value, ...
    ) STRICT;

    CREATE TABLE offsets (
        group_name TEXT NOT NULL,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next INTEGER NOT NULL,
        PRIMARY KEY (group_name, topic, partition)
    ) STRICT, WITHOUT ROWID;

    -- For compacted topics: the last record of each key,
    CREATE TABLE keys (
        slot INTEGER NOT NULL,
        key BLOB NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (slot, key)
    ) STRICT, WITHOUT ROWID;

    -- and records that may be deleted from a time on: displaced ones and tombstones.
    CREATE TABLE expiring (
        due INTEGER NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (due, place)
    ) STRICT, WITHOUT ROWID;
";

// === impl Storage ===

impl Storage {
    pub fn open(path: &Path, durability: Durability, max_bytes: Option<u64>) -> Result<Storage, LogError> {
        let db = Connection::open(path)?;
        db.pragma_update(None, "page_size", PAGE_BYTES)?;
        db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        let synchronous = match durability {
            Durability::Full => "full",
            Durability::Relaxed => "off",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        db.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |row| row.get::<_, i64>(0))?;
        db.set_prepared_statement_cache_capacity(32);
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => db.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))?,
            VERSION => {}
            found => {
                let path = path.display();
                return Err(LogError::Refused(format!("{path} has format {found}; this version reads {VERSION}")));
            }
        }
        if let Some(bytes) = max_bytes {
            let pages = (bytes / u64::from(PAGE_BYTES)).clamp(1, u64::from(u32::MAX - 1)) as i64;
            db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))?;
        }
        Ok(Storage { db })
    }

    pub fn topics(&self) -> Result<Vec<StoredTopic>, LogError> {
        let mut statement = self.db.prepare("SELECT name, partitions, first_slot, settings FROM topics")?;
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?)))?;
        let mut topics = Vec::new();
        for row in rows {
            let (name, partitions, first_slot, settings) = row?;
            let settings = serde_json::from_str(&settings)
                .map_err(|e| LogError::Refused(format!("topic {name}: its settings cannot be read: {e}")))?;
            topics.push(StoredTopic { name, partitions, first_slot, settings });
        }
        Ok(topics)
    }

    pub fn offsets(&self) -> Result<Vec<(String, TopicPartition, i64)>, LogError> {
        let mut statement = self.db.prepare("SELECT group_name, topic, partition, next FROM offsets")?;
        let rows = statement.query_map([], |row| {
            let topic: String = row.get(1)?;
            Ok((row.get(0)?, TopicPartition { topic: topic.into(), partition: row.get(2)? }, row.get(3)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// First and end offset. Upkeep never deletes the newest record of a partition, so the end needs no row of its own.
    pub fn bounds(&self, slot: u32) -> Result<Bounds, LogError> {
        let (low, high) = (place(slot, 0), place(slot + 1, 0));
        let mut statement = self.db.prepare_cached(
            "SELECT (SELECT min(place) FROM records WHERE place >= ?1 AND place < ?2),
                    (SELECT max(place) FROM records WHERE place >= ?1 AND place < ?2)",
        )?;
        let (first, last) = statement
            .query_row(params![low, high], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
        Ok(match (first, last) {
            (Some(first), Some(last)) => Bounds { start: offset(first), end: offset(last) + 1 },
            _ => Bounds { start: 0, end: 0 },
        })
    }

    /// Adds a topic and returns the slot of its first partition.
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[(String, String)]) -> Result<u32, LogError> {
        let first_slot: u32 =
            self.db.query_row("SELECT coalesce(max(first_slot + partitions), 0) FROM topics", [], |row| row.get(0))?;
        let settings = serde_json::to_string(settings).map_err(|e| LogError::Refused(e.to_string()))?;
        self.db
            .execute("INSERT INTO topics VALUES (?1, ?2, ?3, ?4)", params![name, partitions, first_slot, settings])?;
        Ok(first_slot)
    }

    /// Ends every partition of these topics this many offsets later, with a tombstone that readers step over.
    pub fn leave_gap(&self, topics: &[Arc<str>], offsets: i64, now: Timestamp) -> Result<(), LogError> {
        self.begin()?;
        for topic in self.topics()?.into_iter().filter(|topic| topics.iter().any(|name| **name == topic.name)) {
            let name: Arc<str> = topic.name.into();
            for partition in 0..topic.partitions {
                let slot = topic.first_slot + partition;
                let offset = self.bounds(slot)?.end + offsets;
                let (topic, timestamp) = (name.clone(), now);
                let headers = Vec::new();
                self.insert(slot, &Record { topic, partition, offset, timestamp, key: None, value: None, headers })?;
            }
        }
        self.commit()
    }

    /// Puts everything into the one file and closes it.
    pub fn close(self) -> Result<(), LogError> {
        self.db.pragma_update_and_check(None, "wal_checkpoint", "truncate", |row| row.get::<_, i64>(0))?;
        self.db.close().map_err(|(_, error)| error.into())
    }

    pub fn begin(&self) -> Result<(), LogError> {
        Ok(self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ())?)
    }

    pub fn commit(&self) -> Result<(), LogError> {
        Ok(self.db.prepare_cached("COMMIT")?.execute([]).map(|_| ())?)
    }

    /// Undoes what was begun, unless SQLite has done so itself.
    pub fn rollback(&self) {
        if !self.db.is_autocommit()
            && let Err(e) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %e, "the local log could not roll back");
        }
    }

    pub fn insert(&self, slot: u32, record: &Record) -> Result<(), LogError> {
        let mut statement = self.db.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let headers = encode_headers(&record.headers);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        statement.execute(params![place(slot, record.offset), record.timestamp.0, key, value, headers])?;
        Ok(())
    }

    /// Notes that this record of a compacted topic is now the last one of its key.
    pub fn displace(&self, slot: u32, record: &Record, lag_ms: i64, tombstone_ms: i64) -> Result<(), LogError> {
        let (key, new) = (record.key.as_deref(), place(slot, record.offset));
        let mut last = self.db.prepare_cached("SELECT place FROM keys WHERE slot = ?1 AND key = ?2")?;
        let old: Option<i64> = last.query_row(params![slot, key], |row| row.get(0)).optional()?;
        self.db.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3)")?.execute(params![slot, key, new])?;
        let mut expire = self.db.prepare_cached("INSERT OR IGNORE INTO expiring VALUES (?1, ?2)")?;
        if let Some(old) = old {
            expire.execute(params![record.timestamp.plus(lag_ms).0, old])?;
        }
        if record.value.is_none() {
            expire.execute(params![record.timestamp.plus(lag_ms.max(tombstone_ms)).0, new])?;
        }
        Ok(())
    }

    pub fn set_offset(&self, group: &str, partition: &TopicPartition, next: i64) -> Result<(), LogError> {
        let mut statement = self.db.prepare_cached("INSERT OR REPLACE INTO offsets VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![group, &*partition.topic, partition.partition, next])?;
        Ok(())
    }

    /// Deletes the oldest records that were appended before `cutoff`, but not the newest record of the partition.
    pub fn retain(&self, slot: u32, cutoff: Timestamp, at_most: usize) -> Result<Upkeep, LogError> {
        let Bounds { start, end } = self.bounds(slot)?;
        let mut oldest = self.db.prepare_cached(
            "SELECT place, timestamp FROM records WHERE place >= ?1 AND place < ?2 ORDER BY place LIMIT ?3",
        )?;
        let mut rows = oldest.query(params![place(slot, start), place(slot, (end - 1).max(0)), at_most as i64])?;
        let (mut keep, mut deleted) = (None, 0);
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? >= cutoff.0 {
                break;
            }
            keep = Some(row.get::<_, i64>(0)? + 1);
            deleted += 1;
        }
        if let Some(keep) = keep {
            let mut delete = self.db.prepare_cached("DELETE FROM records WHERE place >= ?1 AND place < ?2")?;
            delete.execute(params![place(slot, start), keep])?;
        }
        Ok(Upkeep { deleted, more: deleted == at_most })
    }

    /// Deletes displaced records and old tombstones of compacted topics that are due, oldest due time first: so a
    /// tombstone never goes before what it has deleted. The newest record of a partition waits until it is not.
    pub fn compact(&self, now: Timestamp, at_most: usize) -> Result<Upkeep, LogError> {
        let mut select =
            self.db.prepare_cached("SELECT due, place FROM expiring WHERE due <= ?1 ORDER BY due, place LIMIT ?2")?;
        let due: Vec<(i64, i64)> = select
            .query_map(params![now.0, at_most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut drop_due = self.db.prepare_cached("DELETE FROM expiring WHERE due = ?1 AND place = ?2")?;
        let mut postpone = self.db.prepare_cached("INSERT OR IGNORE INTO expiring VALUES (?1, ?2)")?;
        let mut forget = self.db.prepare_cached(
            "DELETE FROM keys WHERE slot = ?1 AND place = ?2 AND key = (SELECT key FROM records WHERE place = ?2)",
        )?;
        let mut delete = self.db.prepare_cached("DELETE FROM records WHERE place = ?1")?;
        let mut deleted = 0;
        for (due, old) in &due {
            drop_due.execute(params![due, old])?;
            let slot = slot(*old);
            if offset(*old) + 1 == self.bounds(slot)?.end {
                postpone.execute(params![now.0 + 1, old])?;
                continue;
            }
            forget.execute(params![slot, old])?;
            deleted += delete.execute(params![old])?;
        }
        Ok(Upkeep { deleted, more: due.len() == at_most })
    }
}

// === impl ColdReads ===

impl ColdReads {
    pub fn new(path: PathBuf) -> ColdReads {
        ColdReads { path, idle: Mutex::default() }
    }

    /// Records from an offset on, up to `end`, and the offset to go on from: blocks on the disk.
    pub fn read(
        &self,
        partition: &Partition,
        from: i64,
        end: i64,
        mut budget: Budget,
    ) -> Result<(Vec<Record>, i64), LogError> {
        let idle = hold(&self.idle).pop();
        let db = match idle {
            Some(db) => db,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let db = Connection::open_with_flags(&self.path, flags)?;
                db.busy_timeout(std::time::Duration::from_millis(BUSY_MS.into()))?;
                db
            }
        };
        let found = read(&db, partition, from, end, &mut budget)?;
        let mut idle = hold(&self.idle);
        if idle.len() < MAX_IDLE_READS {
            idle.push(db);
        }
        Ok(found)
    }
}

fn read(
    db: &Connection,
    partition: &Partition,
    from: i64,
    end: i64,
    budget: &mut Budget,
) -> Result<(Vec<Record>, i64), LogError> {
    let mut statement = db.prepare_cached(
        "SELECT place, timestamp, key, value, headers FROM records WHERE place >= ?1 AND place < ?2 ORDER BY place",
    )?;
    let mut rows = statement.query(params![place(partition.slot, from), place(partition.slot, end)])?;
    let mut records: Vec<Record> = Vec::new();
    while let Some(row) = rows.next()? {
        let record = record(partition, row)?;
        if !budget.take(&record) {
            let next = record.offset;
            return Ok((records, next));
        }
        records.push(record);
    }
    Ok((records, end))
}

fn record(partition: &Partition, row: &Row<'_>) -> Result<Record, LogError> {
    let bytes = |value: Option<Vec<u8>>| value.map(Bytes::from);
    let headers: Option<Vec<u8>> = row.get(4)?;
    Ok(Record {
        topic: partition.name.topic.clone(),
        partition: partition.name.partition,
        offset: offset(row.get(0)?),
        timestamp: Timestamp(row.get(1)?),
        key: bytes(row.get(2)?),
        value: bytes(row.get(3)?),
        headers: match headers {
            Some(headers) => decode_headers(headers.into())
                .ok_or_else(|| LogError::Refused("log.db is damaged: headers of a record cannot be read".into()))?,
            None => Vec::new(),
        },
    })
}

fn place(slot: u32, offset: i64) -> i64 {
    (i64::from(slot) << OFFSET_BITS) | offset
}

fn slot(place: i64) -> u32 {
    (place >> OFFSET_BITS) as u32
}

fn offset(place: i64) -> i64 {
    place & ((1 << OFFSET_BITS) - 1)
}

fn encode_headers(headers: &[(String, Bytes)]) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for part in headers.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        // Far below u32::MAX: a record with its headers has passed the topic's bound.
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    Some(out)
}

fn decode_headers(mut bytes: Bytes) -> Option<Vec<(String, Bytes)>> {
    let mut headers = Vec::new();
    let part = |bytes: &mut Bytes| {
        let length = bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes)? as usize;
        bytes.get(4..4 + length)?;
        let part = bytes.slice(4..4 + length);
        *bytes = bytes.slice(4 + length..);
        Some(part)
    };
    while !bytes.is_empty() {
        let name = String::from_utf8(part(&mut bytes)?.to_vec()).ok()?;
        headers.push((name, part(&mut bytes)?));
    }
    Some(headers)
}

impl From<rusqlite::Error> for LogError {
    /// A disk that is full, failing or busy may recover; anything else does not mend itself.
    fn from(error: rusqlite::Error) -> LogError {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory,
            ) => LogError::Unavailable(format!("log.db: {error}")),
            _ => LogError::Refused(format!("log.db: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_damage_is_noticed() {
        let check = |headers: &[(&str, &[u8])]| {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), Bytes::copy_from_slice(v))).collect();
            let encoded = encode_headers(&headers).unwrap_or_default();
            assert_eq!(decode_headers(encoded.clone().into()).as_ref(), Some(&headers));
            for cut in 1..encoded.len() {
                let whole = decode_headers(Bytes::copy_from_slice(&encoded[..cut]));
                assert!(whole.is_none_or(|found| headers.starts_with(&found)));
            }
        };
        check(&[]);
        check(&[("", b"")]);
        check(&[("ce_id", b"7"), ("ce_id", &[0xff, 0x00]), ("é", b"")]);
    }

    #[test]
    fn a_place_is_a_slot_and_an_offset() {
        for (s, o) in [(0, 0), (7, 12), (1 << 20, (1 << OFFSET_BITS) - 1)] {
            assert_eq!((slot(place(s, o)), offset(place(s, o))), (s, o));
        }
    }
}
