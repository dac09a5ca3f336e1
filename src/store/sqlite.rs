//! The store of the embedded mode: one SQLite file, one writer with group commit, a few readers.
//!
//! One process opens the file; the lock on the data folder sees to that. All changes go through one connection, in
//! [`writer`]; readers see what is committed and never wait for it (write-ahead log).

mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::json;
use sqlx::{
    AssertSqlSafe, Connection, Row, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tidings_core::domain::{Attempt, Day, NotificationId, TeamId, Timestamp};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    AttemptQuery, DueCursor, Epoch, Guard, Known, Notification, NotificationQuery, Parked, Store, StoreError, Waiting,
    WriteBatch,
    rows::{self, Columns, Listing, Value},
};
use writer::{Change, Writer};

/// What a write has survived when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: synced before each commit returns.
    #[default]
    Full,
    /// The end of the process, not of the machine. For tests and demonstrations.
    Normal,
}

/// The store in one SQLite file.
#[derive(Clone)]
pub struct Sqlite {
    readers: SqlitePool,
    writer: Writer,
    directory: Arc<Mutex<()>>,
}

/// The right to edit the directory, within this process.
pub struct DirectoryGuard(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

/// Connections that read at one time.
const MAX_READERS: u32 = 4;
/// How long a reader or a statement waits for its turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of the writer, in KiB. SQLite's own 2 MiB are less than one group of writes touches.
const WRITER_CACHE_KIB: u32 = 16 * 1024;
/// The write-ahead log is copied into the file beyond this many pages of 4 KiB: the ids are random, so the longer it
/// grows, the more changes of one page are copied once.
const CHECKPOINT_PAGES: u32 = 16 * 1024;
/// Rows deleted in one transaction, so that writes between wait for little.
const DROP_SLICE_ROWS: i64 = 2000;

// === impl Sqlite ===

impl Sqlite {
    /// Opens the file, makes it if missing, and brings its tables up to date. Must be called within a tokio runtime,
    /// whose end is the writer's end.
    pub async fn open(path: &Path, durability: Durability) -> Result<Sqlite, StoreError> {
        let synchronous = match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT);
        let writing = options
            .clone()
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let mut connection = SqliteConnection::connect_with(&writing).await?;
        migrations().run(&mut connection).await.map_err(refused)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(MAX_READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options.create_if_missing(false).read_only(true));
        Ok(Sqlite { readers, writer: Writer::start(writing, connection), directory: Arc::default() })
    }

    async fn list(&self, listing: Listing) -> Result<Vec<SqliteRow>, StoreError> {
        // Composed of our own texts; whatever a person gave is bound.
        let mut query = sqlx::query(AssertSqlSafe(listing.sql));
        for value in listing.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Deletes slice by slice until none is left.
    async fn drop_all(&self, slice: impl Fn() -> Change) -> Result<(), StoreError> {
        while self.writer.change(slice()).await? == DROP_SLICE_ROWS {}
        Ok(())
    }
}

impl Store for Sqlite {
    type Guard = DirectoryGuard;

    async fn acquire(&self, partition: u32, owner: &str) -> Result<Epoch, StoreError> {
        self.writer.change(Change::Acquire { partition, owner: rows::storable(owner).into_owned() }).await
    }

    async fn look_up(&self, ids: &[(Day, NotificationId)]) -> Result<Vec<(NotificationId, Known)>, StoreError> {
        const LOOK_UP: &str = include_str!("queries/sqlite/look_up.sql");
        let found = sqlx::query(LOOK_UP).bind(keys(ids)).fetch_all(&self.readers).await?;
        rows::known(&found)
    }

    async fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        self.writer.change(Change::Write(batch.clone())).await.map(|_| ())
    }

    async fn due(
        &self,
        partition: u32,
        partitions: u32,
        after: Option<DueCursor>,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Parked>, StoreError> {
        let (after_due, after_id) = after.map_or((i64::MIN, vec![]), |(due, id)| (due.0, id.0.to_vec()));
        let query = sqlx::query(rows::DUE)
            .bind(i64::from(partition))
            .bind(i64::from(partitions))
            .bind(until.0)
            .bind(after_due)
            .bind(after_id)
            .bind(i64::from(limit));
        query.fetch_all(&self.readers).await?.iter().map(rows::parked).collect()
    }

    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, StoreError> {
        self.list(rows::attempts_listing(query)).await?.iter().map(rows::attempt).collect()
    }

    async fn notifications(&self, query: &NotificationQuery) -> Result<Vec<Notification>, StoreError> {
        self.list(rows::notifications_listing(query)).await?.iter().map(rows::notification).collect()
    }

    async fn waiting(&self, team: Option<&TeamId>) -> Result<Waiting, StoreError> {
        let query = match team {
            None => sqlx::query(rows::WAITING),
            Some(team) => sqlx::query(rows::WAITING_OF_TEAM).bind(team.to_string()),
        };
        rows::waiting(&query.fetch_one(&self.readers).await?)
    }

    async fn keep_days(&self, oldest: Day, newest: Day) -> Result<Vec<Day>, StoreError> {
        rows::check_kept_days(oldest, newest)?;
        self.writer.change(Change::OpenDays { oldest, newest }).await?;
        let query = sqlx::query("SELECT day FROM days WHERE day < $1 ORDER BY day").bind(i64::from(oldest.0));
        let mut dropped = Vec::new();
        for row in query.fetch_all(&self.readers).await? {
            let day = Day(row.try_get("day")?);
            self.drop_all(|| Change::DropDay { day, rows: DROP_SLICE_ROWS }).await?;
            self.writer.change(Change::CloseDay(day)).await?;
            dropped.push(day);
        }
        self.drop_all(|| Change::DropStrays { before: oldest.start(), rows: DROP_SLICE_ROWS }).await?;
        Ok(dropped)
    }

    async fn lock_directory(&self) -> Result<DirectoryGuard, StoreError> {
        Ok(DirectoryGuard(self.directory.clone().lock_owned().await))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }
}

impl Guard for DirectoryGuard {}

impl Columns for SqliteRow {
    fn number(&self, name: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(name)
    }

    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(name)
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
        self.try_get(name)
    }
}

/// Keys as the JSON that the queries take apart: SQLite has no arrays.
fn keys(ids: &[(Day, NotificationId)]) -> String {
    let keys: Vec<_> = ids.iter().map(|(day, id)| json!([day.0, id])).collect();
    json!(keys).to_string()
}

fn migrations() -> Migrator {
    let mut migrator = Migrator::with_migrations(vec![
        rows::migration(1, "store", include_str!("../../migrations/sqlite/0001_store.sql")),
        rows::migration(2, "content", include_str!("../../migrations/sqlite/0002_content.sql")),
        rows::migration(3, "fewer indexes", include_str!("../../migrations/sqlite/0003_fewer_indexes.sql")),
    ]);
    // An older program beside a newer one's tables goes on: migrations add columns, and nothing asks for an index by its name.
    migrator.set_ignore_missing(true);
    migrator
}

fn refused(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StoreError::Refused(format!("tables of the store: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use tidings_core::domain::DestinationId;

    use super::{super::Status, *};

    async fn plan(store: &Sqlite, listing: Listing) -> String {
        let explained = Listing { sql: format!("EXPLAIN QUERY PLAN {}", listing.sql), values: listing.values };
        let steps = store.list(explained).await.unwrap();
        steps.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
    }

    /// What is full is the file's bound, not the disk: SQLite meets both in the same way.
    #[tokio::test]
    async fn a_full_disk_takes_nothing_half_and_writes_go_on_when_there_is_room() {
        const PAGES: &str = "200";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let options = SqliteConnectOptions::new().filename(&path).journal_mode(SqliteJournalMode::Wal);
        let store = Sqlite::open(&path, Durability::Normal).await.unwrap();
        let bounded = options.pragma("max_page_count", PAGES);
        let connection = SqliteConnection::connect_with(&bounded).await.unwrap();
        let store = Sqlite { writer: Writer::start(bounded, connection), ..store };

        let mut written = 0;
        let full = loop {
            match store.write(&parked(written)).await {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        // Again and again: every one of them must say that it may be tried again.
        for _ in 0..3 {
            assert!(matches!(full, StoreError::Unavailable(_)), "{full}");
            let again = store.write(&parked(written)).await;
            assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
        }
        assert_eq!(store.waiting(None).await.unwrap().parked, u64::from(written) * ROWS, "nothing half");
        let gone = (0..ROWS).map(|row| (Day(1), id(0, row))).collect();
        store.write(&WriteBatch { unpark: gone, ..WriteBatch::default() }).await.unwrap();
        store.write(&parked(written)).await.unwrap();
    }

    /// As when the disk is full while it commits, which a trigger stands for here.
    #[tokio::test]
    async fn a_transaction_that_sqlite_undoes_by_itself_spoils_none_after_it() {
        const UNDO: &str = "CREATE TRIGGER undo BEFORE INSERT ON parked WHEN new.due = 99
            BEGIN SELECT RAISE(ROLLBACK, 'undone'); END";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Sqlite::open(&path, Durability::Normal).await.unwrap();
        let mut other = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
        sqlx::query(UNDO).execute(&mut other).await.unwrap();
        let mut undone = parked(1);
        undone.park[0].due = Timestamp(99);
        store.write(&undone).await.unwrap_err();
        store.write(&parked(2)).await.unwrap();
        assert_eq!(store.waiting(None).await.unwrap().parked, ROWS);
    }

    /// Its first rows are written when its last is refused, and those that are committed with it are written too.
    #[tokio::test]
    async fn a_change_that_is_refused_undoes_itself_and_nothing_else() {
        const REFUSE: &str = "CREATE TRIGGER refuse BEFORE INSERT ON parked WHEN new.due = 99
            BEGIN SELECT RAISE(FAIL, 'refused'); END";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = Sqlite::open(&path, Durability::Normal).await.unwrap();
        let mut other = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();
        sqlx::query(REFUSE).execute(&mut other).await.unwrap();
        let mut refused = parked(1);
        refused.park[ROWS as usize - 1].due = Timestamp(99);
        let (before, with, after) = (parked(0), parked(2), parked(3));
        let answers =
            tokio::join!(store.write(&before), store.write(&with), store.write(&refused), store.write(&after));
        assert!(matches!(answers, (Ok(()), Ok(()), Err(_), Ok(()))), "{answers:?}");
        assert_eq!(store.waiting(None).await.unwrap().parked, 3 * ROWS);
    }

    const ROWS: u64 = 4;

    fn id(batch: u8, row: u64) -> NotificationId {
        let mut id = [batch; 16];
        id[15] = row as u8;
        NotificationId(id)
    }

    fn parked(batch: u8) -> WriteBatch {
        let parked = |row| Parked {
            day: Day(1),
            notification: id(batch, row),
            team: TeamId::new("acme").unwrap(),
            subscription: tidings_core::domain::SubscriptionId::new("s").unwrap(),
            destination: DestinationId::new("d").unwrap(),
            destination_hash: 0,
            attempts: 1,
            due: Timestamp(0),
            delivery: vec![0; 8_000].into(),
            content: None,
        };
        WriteBatch { park: (0..ROWS).map(parked).collect(), ..WriteBatch::default() }
    }

    #[tokio::test]
    async fn listings_walk_an_index_and_do_not_scan() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("store.db"), Durability::Normal).await.unwrap();
        let team = || TeamId::new("acme").ok();
        let all = AttemptQuery::default;
        let by_team = || AttemptQuery { team: team(), ..all() };
        let by_event = AttemptQuery { event_id: Some("e".to_owned()), ..by_team() };
        let by_destination =
            AttemptQuery { destination: "d".to_owned().try_into().ok().map(DestinationId), ..by_team() };
        let one = AttemptQuery { notification: Some(NotificationId([0; 16])), ..by_team() };
        let retrying = |attempts| NotificationQuery { attempts, status: Some(Status::Retrying), error: None };
        let cases = [
            (rows::attempts_listing(&all()), "SEARCH a USING INDEX attempts_at (at<?)"),
            (rows::attempts_listing(&by_team()), "SEARCH a USING INDEX attempts_team (team=? AND at<?)"),
            // Whether a row is of the destination is seen in the index, too.
            (rows::attempts_listing(&by_destination), "SEARCH a USING INDEX attempts_team (team=? AND at<?)"),
            (rows::attempts_listing(&by_event), "SEARCH a USING INDEX attempts_event (event_id=?)"),
            (rows::attempts_listing(&one), "SEARCH a USING INDEX sqlite_autoindex_attempts_1 (notification=?)"),
            (
                rows::notifications_listing(&retrying(by_team())),
                "SEARCH a USING INDEX attempts_team_undelivered (team=? AND at<?)",
            ),
            (rows::notifications_listing(&retrying(all())), "SEARCH a USING INDEX attempts_undelivered (at<?)"),
        ];
        for (listing, expected) in cases {
            let sql = listing.sql.clone();
            let plan = plan(&store, listing).await;
            assert!(plan.contains(expected), "{sql}\n{plan}");
        }
    }
}
