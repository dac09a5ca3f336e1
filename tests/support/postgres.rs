//! PostgreSQL for tests: a fresh database each, in the cluster that `scripts/postgres-for-tests` started.
//!
//! `TIDINGS_TEST_POSTGRES` is the cluster's URL, `TIDINGS_TEST_POSTGRES_DIR` its folder. Without them a test is
//! skipped, or fails if `TIDINGS_REQUIRE` names `postgres`.

use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

mod server;

/// The URL of a new, empty database, or `None` if PostgreSQL is to be skipped.
pub async fn database(name: &str) -> Option<String> {
    let cluster = server::found("postgres", "TIDINGS_TEST_POSTGRES")?;
    let name = &format!("tidings_{name}")[..63.min("tidings_".len() + name.len())];
    let mut connection = PgConnection::connect(&cluster).await.expect("the cluster of TIDINGS_TEST_POSTGRES answers");
    for statement in
        [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name} TEMPLATE template0")]
    {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let (server, _) = cluster.rsplit_once('/').expect("TIDINGS_TEST_POSTGRES ends in a database's name");
    Some(format!("{server}/{name}"))
}

/// Restarts the whole cluster; `immediate` is a crash. `false` if that cannot be done here.
#[allow(dead_code, reason = "not every test that needs a database crashes it")]
pub fn restart(mode: &str) -> bool {
    control(&["restart", mode])
}

/// `halt` crashes the cluster, `resume` starts it again. `false` if that cannot be done here.
#[allow(dead_code, reason = "not every test that needs a database crashes it")]
pub fn control(action: &[&str]) -> bool {
    let Some(folder) = server::found("postgres", "TIDINGS_TEST_POSTGRES_DIR") else { return false };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres-for-tests");
    let status = Command::new(script).arg(action[0]).arg(&folder).args(&action[1..]).status().expect("the script runs");
    assert!(status.success(), "{action:?} of the cluster in {folder}: {status}");
    true
}
