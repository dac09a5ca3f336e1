//! The one connection that changes the file. Changes that arrive while it commits go into the next commit together,
//! so that a hundred waiting writers pay for one sync.
//!
//! A change that is refused or fenced undoes itself and nothing else. A change is answered when the commit is; a caller that no longer
//! waits has changed the file all the same.

use sqlx::{
    AssertSqlSafe, Connection, Sqlite, SqliteConnection, Transaction,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions},
};
use tidings_core::domain::{Attempt, Day, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::super::{
    StoreError, WriteBatch,
    rows::{self, storable},
};

/// What can be done to the file. The answer is a number: an epoch, or rows deleted.
pub enum Change {
    Write(WriteBatch),
    Acquire { partition: u32, owner: String },
    OpenDays { oldest: Day, newest: Day },
    DropDay { day: Day, rows: i64 },
    CloseDay(Day),
    DropStrays { before: Timestamp, rows: i64 },
}

/// The way to the writer. It ends when the last of these is dropped.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Request>);

struct Request {
    change: Change,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<i64, StoreError>;

/// Changes in one commit, and changes waiting for the next.
const MAX_GROUP: usize = 64;
/// Attempts in one statement. One round trip to the connection's thread costs as much as several rows.
const ROWS_PER_STATEMENT: usize = 50;

// === impl Writer ===

impl Writer {
    /// Starts on a connection made with these options, which are those of its successors too.
    pub fn start(options: SqliteConnectOptions, connection: SqliteConnection) -> Writer {
        let (requests, inbox) = mpsc::channel(MAX_GROUP);
        tokio::spawn(run(options, connection, inbox));
        Writer(requests)
    }

    pub async fn change(&self, change: Change) -> Answer {
        let gone = || StoreError::Unavailable("the writer has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Request { change, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run(options: SqliteConnectOptions, connection: SqliteConnection, mut inbox: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    let mut connection = Some(connection);
    while inbox.recv_many(&mut group, MAX_GROUP).await > 0 {
        let answers = match open(&mut connection, &options).await {
            Ok(connection) => commit(connection, &group).await,
            Err(error) => Err(error),
        };
        // When the disk is full or fails, SQLite undoes the whole transaction by itself. sqlx does not see that, counts
        // the transaction as open, and could never begin another on this connection.
        if answers.is_err()
            && let Some(broken) = connection.take()
        {
            broken.close().await.ok();
        }
        for (position, request) in group.drain(..).enumerate() {
            let answer = match &answers {
                Ok(answers) => answers[position].clone(),
                Err(error) => Err(error.clone()),
            };
            // A caller that no longer waits needs no answer.
            let _ = request.answer.send(answer);
        }
    }
}

/// The connection, or a new one if the last has been thrown away.
async fn open<'c>(
    connection: &'c mut Option<SqliteConnection>,
    options: &SqliteConnectOptions,
) -> Result<&'c mut SqliteConnection, StoreError> {
    match connection {
        Some(connection) => Ok(connection),
        none => Ok(none.insert(SqliteConnection::connect_with(options).await?)),
    }
}

/// One commit for the whole group; its failure is everyone's, and its connection is of no use any more.
async fn commit(connection: &mut SqliteConnection, group: &[Request]) -> Result<Vec<Answer>, StoreError> {
    match together(connection, group).await? {
        Some(answers) => Ok(answers),
        None => apart(connection, group).await,
    }
}

/// Nearly always no change is refused, and then none needs a savepoint, for which SQLite keeps a copy of each page as it was. `None`: one
/// was, and nothing is done.
async fn together(connection: &mut SqliteConnection, group: &[Request]) -> Result<Option<Vec<Answer>>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(group.len());
    for request in group {
        match apply(&mut transaction, &request.change).await {
            // What is fenced is so before any of it is written.
            answer @ (Ok(_) | Err(StoreError::Fenced(_))) => answers.push(answer),
            // A full or failing disk may have undone the whole transaction.
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(_) => {
                transaction.rollback().await?;
                return Ok(None);
            }
        }
    }
    transaction.commit().await?;
    Ok(Some(answers))
}

/// Each change with a savepoint, to which it goes back if it is refused.
async fn apart(connection: &mut SqliteConnection, group: &[Request]) -> Result<Vec<Answer>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(group.len());
    for request in group {
        let mut step = transaction.begin().await?;
        match apply(&mut step, &request.change).await {
            Ok(number) => {
                step.commit().await?;
                answers.push(Ok(number));
            }
            // A full or failing disk may have undone the whole transaction.
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                step.rollback().await?;
                answers.push(Err(error));
            }
        }
    }
    transaction.commit().await?;
    Ok(answers)
}

async fn apply(connection: &mut Transaction<'_, Sqlite>, change: &Change) -> Answer {
    let query = match change {
        Change::Write(batch) => return write(connection, batch).await.map(|()| 0),
        Change::Acquire { partition, owner } => {
            let query = sqlx::query_scalar(rows::ACQUIRE).bind(i64::from(*partition)).bind(owner.as_str());
            return Ok(query.fetch_one(&mut **connection).await?);
        }
        Change::OpenDays { oldest, newest } => {
            sqlx::query(include_str!("../queries/sqlite/open_days.sql")).bind(oldest.0).bind(newest.0)
        }
        Change::DropDay { day, rows } => {
            sqlx::query(include_str!("../queries/sqlite/drop_day.sql")).bind(day.0).bind(rows)
        }
        Change::CloseDay(day) => sqlx::query("DELETE FROM days WHERE day = $1").bind(day.0),
        Change::DropStrays { before, rows } => {
            sqlx::query(include_str!("../queries/sqlite/drop_strays.sql")).bind(before.0).bind(rows)
        }
    };
    Ok(query.execute(&mut **connection).await?.rows_affected() as i64)
}

async fn write(connection: &mut Transaction<'_, Sqlite>, batch: &WriteBatch) -> Result<(), StoreError> {
    if !batch.fences.is_empty() {
        let partitions: Vec<u32> = batch.fences.iter().map(|(partition, _)| *partition).collect();
        let query = sqlx::query(include_str!("../queries/sqlite/fences.sql"));
        let newest = query.bind(serde_json::json!(partitions).to_string()).fetch_all(&mut **connection).await?;
        let stale = rows::stale(batch, &newest)?;
        if !stale.is_empty() {
            return Err(StoreError::Fenced(stale));
        }
    }
    for attempts in rows::attempts_in_order(batch).chunks(ROWS_PER_STATEMENT) {
        let mut query = sqlx::query(AssertSqlSafe(insert_attempts(attempts.len())));
        for attempt in attempts {
            query = bind_attempt(query, attempt);
        }
        query.execute(&mut **connection).await?;
    }
    for parked in rows::parked_in_order(batch) {
        let query = sqlx::query(include_str!("../queries/sqlite/park.sql"))
            .bind(parked.day.0)
            .bind(&parked.notification.0[..])
            .bind(parked.team.as_str())
            .bind(parked.subscription.as_str())
            .bind(parked.destination.as_str())
            .bind(i64::from(parked.destination_hash))
            .bind(i64::from(parked.attempts))
            .bind(parked.due.0)
            .bind(&parked.delivery[..])
            .bind(parked.content.map(|content| content.0));
        query.execute(&mut **connection).await?;
    }
    if !batch.unpark.is_empty() {
        let query = sqlx::query(include_str!("../queries/sqlite/unpark.sql"));
        query.bind(super::keys(&batch.unpark)).execute(&mut **connection).await?;
    }
    Ok(())
}

fn insert_attempts(rows: usize) -> String {
    const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    include_str!("../queries/sqlite/insert_attempts.sql").replace("{rows}", &vec![ROW; rows].join(", "))
}

fn bind_attempt<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    attempt: &'q Attempt,
) -> Query<'q, Sqlite, SqliteArguments> {
    query
        .bind(attempt.day.0)
        .bind(&attempt.notification.0[..])
        .bind(i64::from(attempt.attempt))
        .bind(attempt.team.as_str())
        .bind(attempt.subscription.as_str())
        .bind(attempt.destination.as_str())
        .bind(storable(&attempt.event_type))
        .bind(storable(&attempt.event_id))
        .bind(storable(&attempt.position.topic))
        .bind(i64::from(attempt.position.partition))
        .bind(attempt.position.offset)
        .bind(attempt.index_version)
        .bind(attempt.at.0)
        .bind(i64::from(attempt.duration_ms))
        .bind(attempt.code)
        .bind(attempt.error.map(|error| error.as_str()))
        .bind(attempt.message.as_deref().map(storable))
        .bind(attempt.response.as_deref().map(storable))
        .bind(attempt.outcome.map(|outcome| outcome.as_str()))
        .bind(attempt.next_attempt_at.map(|due| due.0))
        .bind(attempt.content.map(|content| content.0))
}
