//! PostgreSQL for tests: a fresh database each, in the cluster that `scripts/postgres-for-tests` started.
//!
//! `TIDINGS_TEST_POSTGRES` is the cluster's URL, `TIDINGS_TEST_POSTGRES_DIR` its folder. Without them a test is
//! skipped, loudly, unless `TIDINGS_REQUIRE` names postgres.

use std::{env, io::Write, process::Command, sync::Once};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The URL of a new, empty database, or `None` if PostgreSQL is to be skipped.
pub async fn database(name: &str) -> Option<String> {
    let cluster = variable("TIDINGS_TEST_POSTGRES")?;
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
    let Some(folder) = variable("TIDINGS_TEST_POSTGRES_DIR") else { return false };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres-for-tests");
    let status = Command::new(script).args(["restart", &folder, mode]).status().expect("the script runs");
    assert!(status.success(), "restarting the cluster in {folder}: {status}");
    true
}

fn variable(name: &str) -> Option<String> {
    if let Ok(value) = env::var(name) {
        return Some(value);
    }
    let required = env::var("TIDINGS_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == "postgres"));
    assert!(!required, "TIDINGS_REQUIRE names postgres, but {name} is not set");
    static SAID: Once = Once::new();
    // Past the macros, whose output a passing test swallows.
    let mut terminal = std::io::stderr();
    SAID.call_once(|| writeln!(terminal, "skipped: postgres: {name} is not set").unwrap());
    None
}
