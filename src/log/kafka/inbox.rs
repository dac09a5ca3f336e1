//! Between the thread that talks to Kafka and the task that asks [`next`](crate::log::Member::next).
//!
//! The thread puts in, the task takes out, and dropping a waiting task loses nothing. The batch in here stays open:
//! records are added to it until it is taken or full, so that batches grow by themselves when the task is slow.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tidings_core::domain::{Record, TopicPartition};
use tokio::sync::Notify;

use super::records::record_bytes;
use crate::log::{BatchLimits, Input, LogError};

pub(super) struct Inbox {
    limits: BatchLimits,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Assignments, revocations, losses and errors. They come before the batch: it holds no record of a partition
    /// that was taken away, and those of new partitions only after their assignment was put in.
    news: VecDeque<Result<Input, LogError>>,
    batch: Vec<Record>,
    batch_bytes: usize,
    paused: bool,
    /// How often records were thrown away because they come again.
    clearings: u64,
    /// A commit has failed, and whoever asked for it has not heard of that yet: what they are given now they would take for what
    /// comes again.
    shut: bool,
    /// The member is at its end, and why.
    ended: Option<LogError>,
}

/// What [`Inbox::take`] found.
pub(super) enum Taken {
    Input(Result<Input, LogError>),
    /// Records, out of a batch that was full: the thread has been waiting for room.
    FullBatch(Vec<Record>),
    Nothing,
}

// === impl Inbox ===

impl Inbox {
    pub(super) fn new(limits: BatchLimits) -> Inbox {
        Inbox { limits, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For the task.

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn take(&self) -> Taken {
        let mut state = self.state();
        if let Some(error) = &state.ended {
            return Taken::Input(Err(error.clone()));
        }
        if let Some(news) = state.news.pop_front() {
            return Taken::Input(news);
        }
        if state.paused || state.batch.is_empty() {
            return Taken::Nothing;
        }
        let was_full = self.is_full(&state);
        state.batch_bytes = 0;
        let batch = std::mem::take(&mut state.batch);
        if was_full { Taken::FullBatch(batch) } else { Taken::Input(Ok(Input::Records(batch))) }
    }

    /// Records, once there are some before which nothing is to be told, and how often records had been thrown away by then. Cancel safe.
    pub(super) async fn more(&self) -> (Vec<Record>, u64) {
        loop {
            if let Some(taken) = self.take_records() {
                return taken;
            }
            self.changed().await;
        }
    }

    fn take_records(&self) -> Option<(Vec<Record>, u64)> {
        let mut state = self.state();
        let first = state.ended.is_some() || !state.news.is_empty();
        if first || state.shut || state.paused || state.batch.is_empty() {
            return None;
        }
        state.batch_bytes = 0;
        Some((std::mem::take(&mut state.batch), state.clearings))
    }

    pub(super) fn clearings(&self) -> u64 {
        self.state().clearings
    }

    /// Whoever asked for a commit has heard of this.
    pub(super) fn open_after(&self, done: &Result<(), LogError>) {
        if done.is_err() {
            self.state().shut = false;
        }
    }

    pub(super) fn ended(&self) -> Option<LogError> {
        self.state().ended.clone()
    }

    // For the thread.

    /// Before a commit that failed is told.
    pub(super) fn shut(&self) {
        self.state().shut = true;
    }

    /// Records and bytes that still fit; `None` if the batch is full.
    pub(super) fn room(&self) -> Option<(usize, usize)> {
        let state = self.state();
        (!self.is_full(&state))
            .then(|| (self.limits.records - state.batch.len(), self.limits.bytes - state.batch_bytes))
    }

    fn is_full(&self, state: &State) -> bool {
        state.batch.len() >= self.limits.records || state.batch_bytes >= self.limits.bytes
    }

    pub(super) fn add(&self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let mut state = self.state();
        state.batch_bytes += records.iter().map(record_bytes).sum::<usize>();
        if state.batch.is_empty() {
            state.batch = std::mem::take(records);
        } else {
            state.batch.append(records);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn tell(&self, input: Input) {
        let mut state = self.state();
        if let Input::Revoking(partitions) | Input::Lost(partitions) = &input {
            let gone: BTreeSet<_> = partitions.iter().collect();
            state.batch.retain(|record| !gone.contains(&record.topic_partition()));
            state.batch_bytes = state.batch.iter().map(record_bytes).sum();
        }
        state.news.push_back(Ok(input));
        drop(state);
        self.changed.notify_one();
    }

    /// Tells of trouble once, however often it is found before somebody asks.
    pub(super) fn warn(&self, error: LogError) {
        let mut state = self.state();
        if !matches!(state.news.back(), Some(Err(_))) {
            state.news.push_back(Err(error));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets records not yet taken: the member goes back, and they will come again.
    pub(super) fn clear_records(&self) {
        let mut state = self.state();
        state.batch.clear();
        state.batch_bytes = 0;
        state.clearings += 1;
    }

    /// Whether the task has yet to learn that it lost this partition. What it says about it until then is stale, even
    /// if the partition has come back in the meantime.
    pub(super) fn loss_untold(&self, partition: &TopicPartition) -> bool {
        let lost = |news: &Result<Input, LogError>| matches!(news, Ok(Input::Lost(lost)) if lost.contains(partition));
        self.state().news.iter().any(lost)
    }

    pub(super) fn pause(&self, paused: bool) {
        self.state().paused = paused;
        self.changed.notify_one();
    }

    /// The first reason stays.
    pub(super) fn end(&self, error: LogError) {
        self.state().ended.get_or_insert(error);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_core::domain::Timestamp;

    use super::*;

    fn partition(partition: u32) -> TopicPartition {
        TopicPartition { topic: "t".into(), partition }
    }

    fn record(partition: u32, offset: i64) -> Record {
        let (topic, timestamp) = ("t".into(), Timestamp(0));
        Record { topic, partition, offset, timestamp, key: None, value: None, headers: Vec::new() }
    }

    fn inbox(records: usize) -> Inbox {
        Inbox::new(BatchLimits { records, bytes: 1 << 20, time: Duration::ZERO })
    }

    fn offsets(taken: Taken) -> Vec<(u32, i64)> {
        match taken {
            Taken::Input(Ok(Input::Records(records))) | Taken::FullBatch(records) => {
                records.iter().map(|r| (r.partition, r.offset)).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn an_open_batch_grows_until_it_is_taken_or_full() {
        let inbox = inbox(3);
        inbox.add(&mut vec![record(0, 1)]);
        inbox.add(&mut vec![record(1, 1)]);
        assert_eq!(inbox.room().map(|(records, _)| records), Some(1));
        inbox.add(&mut vec![record(0, 2)]);
        assert_eq!(inbox.room(), None);
        assert_eq!(offsets(inbox.take()), [(0, 1), (1, 1), (0, 2)]);
        assert!(matches!(inbox.take(), Taken::Nothing));
    }

    #[test]
    fn no_record_follows_the_news_that_its_partition_goes() {
        let inbox = inbox(10);
        inbox.add(&mut vec![record(0, 1), record(1, 1)]);
        inbox.tell(Input::Revoking(vec![partition(0)]));
        assert!(matches!(inbox.take(), Taken::Input(Ok(Input::Revoking(_)))));
        assert_eq!(offsets(inbox.take()), [(1, 1)]);
    }

    #[test]
    fn a_loss_stays_untold_until_it_is_taken() {
        let inbox = inbox(10);
        inbox.tell(Input::Lost(vec![partition(0)]));
        inbox.tell(Input::Assigned(vec![(partition(0), 7)]));
        assert!(inbox.loss_untold(&partition(0)));
        assert!(!inbox.loss_untold(&partition(1)));
        inbox.take();
        assert!(!inbox.loss_untold(&partition(0)));
    }

    #[test]
    fn nothing_is_given_ahead_between_a_failure_and_its_being_heard() {
        let inbox = inbox(10);
        inbox.add(&mut vec![record(0, 1)]);
        assert_eq!(inbox.take_records().map(|(records, clearings)| (records.len(), clearings)), Some((1, 0)));
        inbox.add(&mut vec![record(0, 2)]);
        // The commit of what came before fails: all of it comes again.
        inbox.clear_records();
        inbox.shut();
        inbox.add(&mut vec![record(0, 0)]);
        assert!(inbox.take_records().is_none());
        inbox.open_after(&Err(LogError::Aborted("a broker went".into())));
        assert_eq!(inbox.take_records().map(|(records, clearings)| (records[0].offset, clearings)), Some((0, 1)));
    }

    #[test]
    fn news_come_before_what_is_given_ahead() {
        let inbox = inbox(10);
        inbox.tell(Input::Assigned(vec![(partition(1), 0)]));
        inbox.add(&mut vec![record(0, 1)]);
        assert!(inbox.take_records().is_none());
        inbox.take();
        inbox.pause(true);
        assert!(inbox.take_records().is_none());
        inbox.pause(false);
        assert!(inbox.take_records().is_some());
    }

    #[test]
    fn a_paused_inbox_gives_news_but_no_records() {
        let inbox = inbox(10);
        inbox.add(&mut vec![record(0, 1)]);
        inbox.pause(true);
        assert!(matches!(inbox.take(), Taken::Nothing));
        inbox.tell(Input::Assigned(vec![(partition(1), 0)]));
        assert!(matches!(inbox.take(), Taken::Input(Ok(Input::Assigned(_)))));
        inbox.pause(false);
        assert_eq!(offsets(inbox.take()), [(0, 1)]);
    }
}
