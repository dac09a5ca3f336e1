//! The store of the distributed mode: PostgreSQL 15 or newer.
//!
//! The main read here is [`write_on`]: one transaction per batch. Decisions are never taken from a replica: a
//! connection that turns out to be read-only, or fails in any other way that another try may mend, is thrown away.

mod days;

use std::{collections::BTreeSet, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres as Database, Row,
    migrate::{MigrateError, Migrator},
    pool::PoolConnection,
    postgres::{PgArguments, PgBindIterExt, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};
use tidings_core::domain::{Attempt, Day, NotificationId, TeamId, Timestamp};

use super::{
    AttemptQuery, DueCursor, Epoch, Guard, Known, Notification, NotificationQuery, Parked, Store, StoreError, Waiting,
    WriteBatch,
    rows::{self, Columns, Listing, Value, storable},
};

/// The store in a PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    options: PgConnectOptions,
}

/// The right to edit the directory, over all processes on this database. The lock lives as long as its connection,
/// which is closed when this is dropped and is never used for anything else.
pub struct DirectoryGuard(#[expect(dead_code, reason = "held for its drop")] PgConnection);

/// Waiting for a free connection, or for a new one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server gives up a statement after this, waiting for locks included.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// We give up an operation after this: the server may be gone without a word.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// The server ends a transaction whose process fell asleep, for it holds the fence that the next owner waits for.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A migration may rewrite a table.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts in one statement.
const MAX_ATTEMPTS_PER_STATEMENT: usize = 5000;
/// Deliveries in one statement, in bytes; a single larger one goes alone.
const MAX_PARKED_BYTES_PER_STATEMENT: usize = 16 * 1024 * 1024;
/// Of a row that is never kept.
const NO_PARTITION: i64 = -1;
/// Advisory locks, in the database's one name space: "tidings" in ASCII, and a number.
const DIRECTORY_LOCK: i64 = 0x7469_6469_6e67_7301;
const DAYS_LOCK: i64 = 0x7469_6469_6e67_7302;

/// Writes a batch on one connection: fence, attempts, parked, unparked.
async fn write_on(connection: &mut PgConnection, batch: &WriteBatch) -> Result<(), StoreError> {
    let attempts_alone = batch.park.is_empty() && batch.unpark.is_empty() && !batch.fences.is_empty();
    if attempts_alone && (1..=MAX_ATTEMPTS_PER_STATEMENT).contains(&batch.attempts.len()) {
        return write_attempts(connection, batch).await;
    }
    let mut transaction = connection.begin().await?;
    if !batch.fences.is_empty() {
        let partitions = batch.fences.iter().map(|(partition, _)| i64::from(*partition)).bind_iter();
        let query = sqlx::query(include_str!("queries/postgres/fences.sql")).bind(partitions);
        let stale = rows::stale(batch, &query.fetch_all(&mut *transaction).await?)?;
        if !stale.is_empty() {
            return Err(StoreError::Fenced(stale));
        }
    }
    for attempts in rows::attempts_in_order(batch).chunks(MAX_ATTEMPTS_PER_STATEMENT) {
        insert_attempts(&mut transaction, attempts).await?;
    }
    let parked = rows::parked_in_order(batch);
    for parked in slices(&parked, MAX_PARKED_BYTES_PER_STATEMENT) {
        park(&mut transaction, parked).await?;
    }
    if !batch.unpark.is_empty() {
        let mut keys = batch.unpark.clone();
        keys.sort();
        let query = sqlx::query(include_str!("queries/postgres/unpark.sql"))
            .bind(keys.iter().map(|(day, _)| i64::from(day.0)).bind_iter())
            .bind(keys.iter().map(|(_, id)| id.0).bind_iter());
        query.execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// A statement is a transaction: one round trip instead of four, and so much less time between an answer and its row.
async fn write_attempts(connection: &mut PgConnection, batch: &WriteBatch) -> Result<(), StoreError> {
    let query = include_str!("queries/postgres/insert_attempts_fenced.sql");
    let stale = bind_attempts(query, &rows::attempts_in_order(batch))
        .bind(batch.fences.iter().map(|(partition, _)| i64::from(*partition)).bind_iter())
        .bind(batch.fences.iter().map(|(_, epoch)| *epoch).bind_iter())
        .fetch_all(connection)
        .await?;
    if stale.is_empty() {
        return Ok(());
    }
    let stale = stale.iter().map(|row| Ok(row.try_get::<i64, _>("partition")? as u32));
    Err(StoreError::Fenced(stale.collect::<Result<_, sqlx::Error>>()?))
}

async fn insert_attempts(connection: &mut PgConnection, attempts: &[&Attempt]) -> Result<(), StoreError> {
    bind_attempts(include_str!("queries/postgres/insert_attempts.sql"), attempts).execute(connection).await?;
    Ok(())
}

/// Binds a column each, as `$1` to `$21`.
fn bind_attempts(sql: &'static str, attempts: &[&Attempt]) -> Query<'static, Database, PgArguments> {
    sqlx::query(sql)
        .bind(attempts.iter().map(|a| i64::from(a.day.0)).bind_iter())
        .bind(attempts.iter().map(|a| a.notification.0).bind_iter())
        .bind(attempts.iter().map(|a| i64::from(a.attempt)).bind_iter())
        .bind(attempts.iter().map(|a| a.team.as_str()).bind_iter())
        .bind(attempts.iter().map(|a| a.subscription.as_str()).bind_iter())
        .bind(attempts.iter().map(|a| a.destination.as_str()).bind_iter())
        .bind(attempts.iter().map(|a| storable(&a.event_type)).bind_iter())
        .bind(attempts.iter().map(|a| storable(&a.event_id)).bind_iter())
        .bind(attempts.iter().map(|a| storable(&a.position.topic)).bind_iter())
        .bind(attempts.iter().map(|a| i64::from(a.position.partition)).bind_iter())
        .bind(attempts.iter().map(|a| a.position.offset).bind_iter())
        .bind(attempts.iter().map(|a| a.index_version).bind_iter())
        .bind(attempts.iter().map(|a| a.at.0).bind_iter())
        .bind(attempts.iter().map(|a| i64::from(a.duration_ms)).bind_iter())
        .bind(attempts.iter().map(|a| a.code.map(i64::from)).bind_iter())
        .bind(attempts.iter().map(|a| a.error.map(|error| error.as_str())).bind_iter())
        .bind(attempts.iter().map(|a| a.message.as_deref().map(storable)).bind_iter())
        .bind(attempts.iter().map(|a| a.response.as_deref().map(storable)).bind_iter())
        .bind(attempts.iter().map(|a| a.outcome.map(|outcome| outcome.as_str())).bind_iter())
        .bind(attempts.iter().map(|a| a.next_attempt_at.map(|due| due.0)).bind_iter())
        .bind(attempts.iter().map(|a| a.content.map(|content| content.0)).bind_iter())
}

async fn park(connection: &mut PgConnection, parked: &[&Parked]) -> Result<(), StoreError> {
    let query = sqlx::query(include_str!("queries/postgres/park.sql"))
        .bind(parked.iter().map(|p| i64::from(p.day.0)).bind_iter())
        .bind(parked.iter().map(|p| p.notification.0).bind_iter())
        .bind(parked.iter().map(|p| p.team.as_str()).bind_iter())
        .bind(parked.iter().map(|p| p.subscription.as_str()).bind_iter())
        .bind(parked.iter().map(|p| p.destination.as_str()).bind_iter())
        .bind(parked.iter().map(|p| i64::from(p.destination_hash)).bind_iter())
        .bind(parked.iter().map(|p| i64::from(p.attempts)).bind_iter())
        .bind(parked.iter().map(|p| p.due.0).bind_iter())
        .bind(parked.iter().map(|p| &p.delivery[..]).bind_iter())
        .bind(parked.iter().map(|p| p.content.map(|content| content.0)).bind_iter())
        .bind(distinct(parked.iter().map(|p| p.day)));
    query.execute(connection).await?;
    Ok(())
}

/// Cuts parked rows so that no slice carries more than `max_bytes`, unless it is a single row.
fn slices<'a>(parked: &'a [&'a Parked], max_bytes: usize) -> impl Iterator<Item = &'a [&'a Parked]> {
    let mut rest = parked;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|p| {
            bytes += p.delivery.len();
            bytes <= max_bytes
        });
        let (slice, after) = rest.split_at(fitting.count().max(1).min(rest.len()));
        rest = after;
        Some(slice).filter(|slice| !slice.is_empty())
    })
}

fn distinct(days: impl Iterator<Item = Day>) -> Vec<i64> {
    let days: BTreeSet<Day> = days.collect();
    days.into_iter().map(|day| day.0.into()).collect()
}

/// Bounds an operation, as the server may be gone without a word.
async fn within<T>(limit: Duration, operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, operation).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unavailable(format!("no answer from PostgreSQL within {} s", limit.as_secs()))),
    }
}

// === impl Postgres ===

impl Postgres {
    /// Connects and brings the tables up to date. TLS is as the URL's `sslmode` says.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Postgres, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        let options = options.application_name("tidings").options([
            ("statement_timeout", milliseconds(STATEMENT_TIMEOUT)),
            ("idle_in_transaction_session_timeout", milliseconds(IDLE_TRANSACTION_TIMEOUT)),
            // The server notices a lost client in half a minute, and frees its locks.
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "4".to_owned()),
            // A generic plan would open every day's partition, and one made while a table was empty would scan it.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            // Every statement here is made for an index. What the planner believes of a table that was empty a minute ago, as
            // `parked` is until a receiver fails, makes it read the whole table for a handful of keys.
            ("enable_seqscan", "off".to_owned()),
            ("enable_hashjoin", "off".to_owned()),
            ("enable_mergejoin", "off".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options.clone());
        let store = Postgres { pool, options };
        within(MIGRATION_TIMEOUT, store.prepare()).await?;
        Ok(store)
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let mut connection = self.own_connection().await?;
        let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut connection).await?;
        if encoding != "UTF8" {
            return Err(StoreError::Refused(format!("database encoding {encoding}; UTF8 is needed")));
        }
        sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
        migrations().run(&mut connection).await.map_err(refused)
    }

    /// Whether rows can be written: writes one in a transaction that is then rolled back, and asks for the rights on the
    /// other tables.
    pub async fn writable(&self) -> Result<(), StoreError> {
        let mut connection = self.own_connection().await?;
        within(ANSWER_TIMEOUT, async {
            let may: bool =
                sqlx::query_scalar(include_str!("queries/postgres/may_write.sql")).fetch_one(&mut connection).await?;
            if !may {
                return Err(StoreError::Refused("no right to insert, update and delete rows of its tables".to_owned()));
            }
            let mut transaction = connection.begin().await?;
            let acquiring = sqlx::query(rows::ACQUIRE).bind(NO_PARTITION).bind("check");
            acquiring.execute(&mut *transaction).await?;
            Ok(transaction.rollback().await?)
        })
        .await
    }

    /// A connection from the pool, to be handed to [`settle`].
    async fn connection(&self) -> Result<PoolConnection<Database>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// A connection of one's own, outside the pool, that ends with its holder.
    async fn own_connection(&self) -> Result<PgConnection, StoreError> {
        within(CONNECT_TIMEOUT, async { Ok(PgConnection::connect_with(&self.options).await?) }).await
    }

    /// A connection that holds an advisory lock until it is dropped.
    async fn lock(&self, key: i64) -> Result<PgConnection, StoreError> {
        let mut connection = self.own_connection().await?;
        let locking = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
        within(ANSWER_TIMEOUT, async { Ok(locking.execute(&mut connection).await?) }).await?;
        Ok(connection)
    }

    async fn list(&self, listing: Listing) -> Result<Vec<PgRow>, StoreError> {
        // Composed of our own texts; whatever a person gave is bound.
        let mut query = sqlx::query(AssertSqlSafe(listing.sql));
        for value in listing.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        let mut connection = self.connection().await?;
        let rows = within(ANSWER_TIMEOUT, async { Ok(query.fetch_all(&mut *connection).await?) }).await;
        settle(connection, rows)
    }
}

/// Throws a connection away if its operation failed in a way that another try may mend: it may be broken, hang, or
/// lead to a server that is a replica by now.
fn settle<T>(mut connection: PoolConnection<Database>, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    if matches!(answer, Err(StoreError::Unavailable(_))) {
        connection.close_on_drop();
    }
    answer
}

impl Store for Postgres {
    type Guard = DirectoryGuard;

    async fn acquire(&self, partition: u32, owner: &str) -> Result<Epoch, StoreError> {
        let query = sqlx::query_scalar(rows::ACQUIRE).bind(i64::from(partition)).bind(storable(owner));
        let mut connection = self.connection().await?;
        let epoch = within(ANSWER_TIMEOUT, async { Ok(query.fetch_one(&mut *connection).await?) }).await;
        settle(connection, epoch)
    }

    async fn look_up(&self, ids: &[(Day, NotificationId)]) -> Result<Vec<(NotificationId, Known)>, StoreError> {
        let query = sqlx::query(include_str!("queries/postgres/look_up.sql"))
            .bind(ids.iter().map(|(day, _)| i64::from(day.0)).bind_iter())
            .bind(ids.iter().map(|(_, id)| id.0).bind_iter())
            .bind(distinct(ids.iter().map(|(day, _)| *day)));
        let mut connection = self.connection().await?;
        let found = within(ANSWER_TIMEOUT, async { Ok(query.fetch_all(&mut *connection).await?) }).await;
        rows::known(&settle(connection, found)?)
    }

    async fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let written = within(ANSWER_TIMEOUT, write_on(&mut connection, batch)).await;
        settle(connection, written)
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
        let mut connection = self.connection().await?;
        let due = within(ANSWER_TIMEOUT, async { Ok(query.fetch_all(&mut *connection).await?) }).await;
        settle(connection, due)?.iter().map(rows::parked).collect()
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
            Some(team) => sqlx::query(rows::WAITING_OF_TEAM).bind(team.as_str()),
        };
        let mut connection = self.connection().await?;
        let row = within(ANSWER_TIMEOUT, async { Ok(query.fetch_one(&mut *connection).await?) }).await;
        rows::waiting(&settle(connection, row)?)
    }

    async fn keep_days(&self, oldest: Day, newest: Day) -> Result<Vec<Day>, StoreError> {
        rows::check_kept_days(oldest, newest)?;
        let mut connection = self.lock(DAYS_LOCK).await?;
        days::keep(&mut connection, oldest, newest).await
    }

    /// Waits [`STATEMENT_TIMEOUT`] at most; then the store is unavailable.
    async fn lock_directory(&self) -> Result<DirectoryGuard, StoreError> {
        Ok(DirectoryGuard(self.lock(DIRECTORY_LOCK).await?))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        let answer = within(ANSWER_TIMEOUT, async { Ok(connection.ping().await?) }).await;
        settle(connection, answer)
    }
}

impl Guard for DirectoryGuard {}

impl Columns for PgRow {
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

fn migrations() -> Migrator {
    let mut migrator = Migrator::with_migrations(vec![
        rows::migration(1, "store", include_str!("../../migrations/postgres/0001_store.sql")),
        rows::migration(2, "content", include_str!("../../migrations/postgres/0002_content.sql")),
        rows::migration(3, "fewer indexes", include_str!("../../migrations/postgres/0003_fewer_indexes.sql")),
        rows::migration(4, "one key a row", include_str!("../../migrations/postgres/0004_one_key_a_row.sql")),
    ]);
    // An older program beside a newer one's tables goes on: migrations add columns and change indexes, and nothing asks for an index by
    // its name. What it asks for may lack one, and be slow until it is replaced: `docs/OPERATIONS.md` says so.
    migrator.set_ignore_missing(true);
    migrator
}

fn refused(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StoreError::Refused(format!("tables of the store: {other}")),
    }
}
