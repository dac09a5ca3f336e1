//! The servers that `scripts/bench` has started, and the machine that all of it runs on.

use std::{env, fs};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::receiver::now_us;

/// Kafka and PostgreSQL: where they are, and which processes they are.
#[derive(Clone, Debug)]
pub struct Servers {
    pub kafka: String,
    pub kafka_pid: u32,
    pub postgres: String,
    pub postgres_pid: u32,
}

// === impl Servers ===

impl Servers {
    pub fn found() -> anyhow::Result<Servers> {
        let text = |name: &str| env::var(name).with_context(|| format!("{name} is not set: use scripts/bench"));
        let pid = |name: &str| text(name)?.parse().with_context(|| format!("{name} is no process id"));
        Ok(Servers {
            kafka: text("TIDINGS_BENCH_KAFKA")?,
            kafka_pid: pid("TIDINGS_BENCH_KAFKA_PID")?,
            postgres: text("TIDINGS_BENCH_POSTGRES")?,
            postgres_pid: pid("TIDINGS_BENCH_POSTGRES_PID")?,
        })
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> anyhow::Result<String> {
        let name = format!("measure_{}", now_us());
        let mut connection = PgConnection::connect(&self.postgres).await?;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await?;
        let (server, _) = self.postgres.rsplit_once('/').context("the URL ends in a database's name")?;
        Ok(format!("{server}/{name}"))
    }
}

/// Processor, cores, memory and kernel, in one line.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let kib: u64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores of {processor}, {} GiB, Linux {}", kib >> 20, kernel.trim())
}
