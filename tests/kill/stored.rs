//! The store of a run, read past the program.

use std::path::Path;

use sqlx::{PgPool, SqlitePool};
use tidings_core::domain::NotificationId;

pub enum Stored {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Row {
    pub notification: NotificationId,
    pub attempt: i64,
    pub outcome: Option<String>,
    /// Another one was to follow.
    pub next_attempt: bool,
}

type Columns = (Vec<u8>, i64, Option<String>, Option<i64>);

const ATTEMPTS: &str = "SELECT notification, attempt, outcome, next_attempt_at FROM attempts";
const PARKED: &str = "SELECT count(*) FROM parked";

// === impl Stored ===

impl Stored {
    pub fn postgres(url: &str) -> Stored {
        Stored::Postgres(PgPool::connect_lazy(url).expect("a URL"))
    }

    pub fn sqlite(file: &Path) -> Stored {
        Stored::Sqlite(SqlitePool::connect_lazy(&format!("sqlite://{}", file.display())).expect("a file"))
    }

    pub async fn rows(&self) -> Vec<Row> {
        let rows: Vec<Columns> = match self {
            Stored::Postgres(pool) => sqlx::query_as(ATTEMPTS).fetch_all(pool).await,
            Stored::Sqlite(pool) => sqlx::query_as(ATTEMPTS).fetch_all(pool).await,
        }
        .expect("the store answers");
        let row = |(notification, attempt, outcome, next): Columns| Row {
            notification: NotificationId(notification.try_into().expect("16 bytes")),
            attempt,
            outcome,
            next_attempt: next.is_some(),
        };
        rows.into_iter().map(row).collect()
    }

    /// How many wait for their next attempt.
    pub async fn parked(&self) -> i64 {
        match self {
            Stored::Postgres(pool) => sqlx::query_scalar(PARKED).fetch_one(pool).await,
            Stored::Sqlite(pool) => sqlx::query_scalar(PARKED).fetch_one(pool).await,
        }
        .expect("the store answers")
    }
}
