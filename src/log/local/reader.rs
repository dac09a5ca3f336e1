//! Reading one partition without a group, and reads of what has left memory.

use std::{sync::Arc, time::Duration};

use tidings_core::domain::Record;
use tokio::{sync::Notify, task::JoinHandle, time};

use super::{
    Shared,
    topic::{Budget, Looked, Partition},
};
use crate::log::{LogError, Reader};

/// Reads one partition of the local log.
pub struct LocalReader {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    changed: Arc<Notify>,
    position: i64,
    cold: Option<ColdRead>,
}

/// A read of the file on a blocking thread. It goes on if nobody waits for it, and may be waited for again.
pub(super) struct ColdRead {
    pub from: i64,
    task: JoinHandle<Result<(Vec<Record>, i64), LogError>>,
}

/// What one call of [`Reader::next`] returns at most.
const READ_RECORDS: usize = 5000;
/// Likewise, in bytes; a single larger record is returned alone.
const READ_BYTES: usize = 4 * 1024 * 1024;

// === impl LocalReader ===

impl LocalReader {
    pub(super) fn new(shared: Arc<Shared>, partition: Arc<Partition>, changed: Arc<Notify>, from: i64) -> LocalReader {
        LocalReader { shared, partition, changed, position: from.max(0), cold: None }
    }

    /// What is there now, possibly nothing. A hole moves the position and returns nothing either.
    async fn fetch(&mut self) -> Result<Vec<Record>, LogError> {
        if self.cold.is_none() {
            let (mut records, mut budget) = (Vec::new(), Budget::new(READ_RECORDS, READ_BYTES));
            match self.partition.look(self.position, &mut budget, &mut records) {
                Looked::Next(next) => {
                    self.position = next;
                    return Ok(records);
                }
                Looked::Cold { end } => {
                    self.cold = Some(ColdRead::start(&self.shared, &self.partition, self.position, end, budget));
                }
            }
        }
        let Some(cold) = &mut self.cold else { return Ok(Vec::new()) };
        let found = cold.finish().await;
        self.cold = None;
        let (records, next) = found?;
        self.position = next;
        Ok(records)
    }
}

impl Reader for LocalReader {
    async fn next(&mut self, wait: Duration) -> Result<Vec<Record>, LogError> {
        let until = time::Instant::now() + wait;
        loop {
            let before = self.position;
            let records = self.fetch().await?;
            if !records.is_empty() {
                return Ok(records);
            }
            if self.position > before {
                continue;
            }
            if time::timeout_at(until, self.changed.notified()).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    fn position(&self) -> i64 {
        self.position
    }
}

// === impl ColdRead ===

impl ColdRead {
    pub fn start(shared: &Shared, partition: &Arc<Partition>, from: i64, end: i64, budget: Budget) -> ColdRead {
        let (cold, partition) = (shared.cold.clone(), partition.clone());
        ColdRead { from, task: tokio::task::spawn_blocking(move || cold.read(&partition, from, end, budget)) }
    }

    /// Cancel safe. Not to be called again once it has returned.
    pub async fn finish(&mut self) -> Result<(Vec<Record>, i64), LogError> {
        (&mut self.task)
            .await
            .unwrap_or_else(|e| Err(LogError::Unavailable(format!("a read of log.db ended early: {e}"))))
    }
}
