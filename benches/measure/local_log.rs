//! (f) The local log beside bare inserts into the same table, with the same sync of each commit.

use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use rusqlite::{Connection, params};
use tidings::log::{
    Log, TopicSpec,
    local::{Local, LocalOptions},
};
use tidings_core::domain::{Output, TopicPartition};

use crate::report::{Bound, Figure};

const RECORDS: usize = 60_000;
const RECORDS_PER_COMMIT: usize = 1_000;
const VALUE_BYTES: usize = 1_000;
const PARTITIONS: u32 = 12;
const KEY: &[u8] = b"customer-1234";
const RUNS: usize = 3;
/// On the disk that the project is on: a temporary folder may be in memory.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");

pub async fn measure() -> anyhow::Result<Vec<Figure>> {
    std::fs::create_dir_all(FOLDER)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=RUNS {
        let rates = (log().await?, tokio::task::spawn_blocking(inserts).await??);
        eprintln!("  local log {:.0} records a second, bare inserts {:.0}", rates.0, rates.1);
        // The first one warms up.
        if round > 0 {
            ours.push(rates.0);
            bare.push(rates.1);
        }
    }
    let what = format!("local log, {VALUE_BYTES} bytes × {RECORDS_PER_COMMIT} a commit, beside bare inserts");
    let figure = Figure::new('f', what, "records/s", ours).beside(&bare);
    Ok(vec![figure.promised(Bound::RatioAtLeast, 0.5, Some(0.8))])
}

fn value(n: usize) -> Vec<u8> {
    // Not all alike, as records are not.
    (0..VALUE_BYTES).map(|place| (n * 31 + place * 7) as u8).collect()
}

async fn log() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(FOLDER)?;
    let log = Local::open(folder.path(), LocalOptions::default())?;
    let topic = "measured";
    log.create_topic(TopicSpec { name: topic.into(), partitions: PARTITIONS, settings: Vec::new() }).await?;
    let output = |n: usize| Output {
        topic: topic.into(),
        partition: Some(n as u32 % PARTITIONS),
        key: Some(Bytes::from_static(KEY)),
        value: Some(value(n).into()),
        headers: Vec::new(),
    };
    let batches: Vec<Vec<Output>> =
        (0..RECORDS).step_by(RECORDS_PER_COMMIT).map(|n| (n..n + RECORDS_PER_COMMIT).map(output).collect()).collect();
    let began = Instant::now();
    for batch in batches {
        log.append(batch).await?;
    }
    let rate = RECORDS as f64 / began.elapsed().as_secs_f64();
    let mut held = 0;
    for partition in 0..PARTITIONS {
        held += log.bounds(TopicPartition { topic: topic.into(), partition }).await?.end;
    }
    ensure!(held == RECORDS as i64, "the log holds {held} of {RECORDS} records");
    Ok(rate)
}

fn inserts() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir_in(FOLDER)?;
    let mut db = Connection::open(folder.path().join("bare.db"))?;
    // As in the local log: its table of records, its sync, its checkpoints.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE records (place INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB)
         STRICT;",
    )?;
    let values: Vec<Vec<u8>> = (0..RECORDS).map(value).collect();
    let began = Instant::now();
    for first in (0..RECORDS).step_by(RECORDS_PER_COMMIT) {
        let transaction = db.transaction()?;
        // In the table's own order, as the log writes them.
        for partition in 0..PARTITIONS as usize {
            let mut insert = transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, NULL)")?;
            for n in (first..first + RECORDS_PER_COMMIT).filter(|n| n % PARTITIONS as usize == partition) {
                let place = (partition as i64) << 40 | (n / PARTITIONS as usize) as i64;
                insert.execute(params![place, 1_790_000_000_000_i64, KEY, values[n]])?;
            }
        }
        transaction.commit()?;
    }
    let rate = RECORDS as f64 / began.elapsed().as_secs_f64();
    let held: i64 = db.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
    ensure!(held == RECORDS as i64, "the table holds {held} of {RECORDS} records");
    Ok(rate)
}
