//! One process with all roles on Kafka and PostgreSQL, and a receiver.

use std::{path::PathBuf, time::Duration};

use tokio::sync::{Mutex, MutexGuard};

use crate::{
    kafka, postgres, producers,
    program::{Api, Program, common},
    receiver::Receiver,
};

/// A key ring of these tests.
const KEYS: &str = "test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

pub struct Installation {
    pub api: Api,
    pub receiver: Receiver,
    pub brokers: String,
    /// Of every topic.
    pub prefix: String,
    /// Where the clients are.
    pub clients: PathBuf,
    process: Program,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// One at a time: what is measured must not wait for other installations' processes.
static TURN: Mutex<()> = Mutex::const_new(());

// === impl Installation ===

impl Installation {
    /// `None` if a server is missing. Settings beside those that every installation has are the caller's.
    pub async fn start(name: &str, settings: &[String]) -> Option<Installation> {
        let (brokers, clients) = (kafka::brokers()?, producers::folder()?);
        let turn = TURN.lock().await;
        let store = postgres::database(&format!("producers_{name}")).await?;
        let (folder, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
        let prefix = format!("{}.", kafka::unique(name));
        let mut all = common();
        all.extend([
            "mode=distributed".to_owned(),
            format!("log.kafka.brokers={brokers}"),
            format!("log.topic_prefix={prefix}"),
            "log.replication=1".to_owned(),
            "log.partitions=2".to_owned(),
            format!("store.url={store}"),
            format!("secrets.keys={KEYS}"),
            format!("process.name={name}"),
            "api.listen=127.0.0.1:0".to_owned(),
        ]);
        all.extend_from_slice(settings);
        let mut tool = Program::start(folder.path(), "tool", &["topics", "create"], &all);
        let (status, _) = tool.ended(Duration::from_secs(60)).await;
        assert!(status.success(), "{}", tool.log());
        let process = Program::start(folder.path(), "up", &["up"], &all);
        let api = process.api().await;
        process.logs("partitions assigned").await;
        Some(Installation { api, receiver, brokers, prefix, clients, process, _folder: folder, _turn: turn })
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What the process has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub async fn stopped(mut self) {
        self.process.stopped().await;
    }
}
