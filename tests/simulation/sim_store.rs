//! A store that lives in the world. Keeps the contract, unless a sabotage says otherwise.

use std::time::Duration;

use tidings::store::{
    AttemptQuery, DueCursor, Epoch, Guard, Known, Notification, NotificationQuery, Parked, Standing, Store, StoreError,
    Waiting, WriteBatch,
};
use tidings_core::domain::{Attempt, Day, NotificationId, TeamId, Timestamp};

use crate::{
    faults::{Fault, Sabotage},
    world::{EPOCH, Process, World},
};

/// One process's access to the store.
#[derive(Clone)]
pub struct SimStore {
    pub world: World,
    pub process: Process,
}

pub struct NoGuard;

impl Guard for NoGuard {}

// === impl SimStore ===

impl SimStore {
    async fn reach(&self) -> Result<(), StoreError> {
        self.world.pass(self.process, 6).await;
        let down = self.world.state().store.down_until;
        if down.is_some_and(|until| until > self.world.now()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        Ok(())
    }

    /// The way back: the work is done, but the caller may never hear of it.
    async fn answer(&self) -> Result<(), StoreError> {
        let lost = self.world.state().strikes(Fault::StoreAnswerLost);
        self.world.pass(self.process, 4).await;
        if lost { Err(StoreError::Unavailable("the answer was lost".to_owned())) } else { Ok(()) }
    }

    fn apply(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let now = self.world.now();
        let mut violations = Vec::new();
        let mut state = self.world.state();
        let unfenced = state.plan.sabotage == Some(Sabotage::WriteAfterLosingPartition);
        let store = &mut state.store;
        let stale: Vec<u32> = batch
            .fences
            .iter()
            .filter(|(partition, epoch)| store.epochs.get(partition) != Some(epoch))
            .map(|(partition, _)| *partition)
            .collect();
        if !stale.is_empty() {
            if !unfenced {
                return Err(StoreError::Fenced(stale));
            }
            violations.push(format!("a write of a former owner of partitions {stale:?} was taken"));
        }
        for attempt in &batch.attempts {
            let key = (attempt.day, attempt.notification, attempt.attempt);
            if store.attempts.contains_key(&key) {
                continue;
            }
            if let Some(outcome) = attempt.outcome {
                if store.finals.contains_key(&attempt.notification) {
                    violations.push(format!("{} ended a second time, as {outcome}", attempt.notification));
                    continue;
                }
                store.finals.insert(attempt.notification, now);
            } else if store.finals.contains_key(&attempt.notification) {
                violations.push(format!("{} was tried again after its end", attempt.notification));
            }
            store.attempts.insert(key, attempt.clone());
        }
        for parked in &batch.park {
            if store.finals.contains_key(&parked.notification) {
                violations.push(format!("{} was parked after its end", parked.notification));
            }
            store.parked.insert((parked.day, parked.notification), parked.clone());
        }
        for key in &batch.unpark {
            store.parked.remove(key);
        }
        drop(state);
        violations.into_iter().for_each(|what| self.world.violation(what));
        let ids = |ids: Vec<String>| ids.join(" ");
        self.world.note(format!(
            "p{} stores {}; parks {}; unparks {}",
            self.process.0,
            ids(batch.attempts.iter().map(|a| format!("{}#{}", a.notification, a.attempt)).collect()),
            ids(batch.park.iter().map(|p| format!("{}@{}", p.notification, p.due.since(EPOCH))).collect()),
            ids(batch.unpark.iter().map(|(_, id)| id.to_string()).collect()),
        ));
        Ok(())
    }
}

impl Store for SimStore {
    type Guard = NoGuard;

    async fn acquire(&self, partition: u32, owner: &str) -> Result<Epoch, StoreError> {
        self.reach().await?;
        let epoch = {
            let mut state = self.world.state();
            let epoch = state.store.epochs.entry(partition).or_insert(0);
            *epoch += 1;
            *epoch
        };
        self.world.note(format!("{owner} acquires {partition} at {epoch}"));
        self.answer().await?;
        Ok(epoch)
    }

    async fn look_up(&self, ids: &[(Day, NotificationId)]) -> Result<Vec<(NotificationId, Known)>, StoreError> {
        self.reach().await?;
        let found = {
            let state = self.world.state();
            let known = |key: &(Day, NotificationId)| {
                let mut rows = state.store.attempts.range((key.0, key.1, 0)..=(key.0, key.1, u32::MAX));
                let ended = rows.find_map(|(_, row)| Some((Standing::Final(row.outcome?), row.content)));
                let parked = || state.store.parked.get(key).map(|row| (Standing::Parked, row.content));
                let (standing, content) = ended.or_else(parked)?;
                Some((key.1, Known { standing, content }))
            };
            ids.iter().filter_map(known).collect()
        };
        self.world.pass(self.process, 4).await;
        Ok(found)
    }

    async fn write(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        self.reach().await?;
        self.apply(batch)?;
        self.answer().await
    }

    async fn due(
        &self,
        partition: u32,
        partitions: u32,
        after: Option<DueCursor>,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Parked>, StoreError> {
        self.reach().await?;
        let mut rows: Vec<Parked> = {
            let state = self.world.state();
            let due = |row: &&Parked| {
                row.destination_hash % partitions == partition
                    && row.due <= until
                    && after.is_none_or(|after| (row.due, row.notification) > after)
            };
            state.store.parked.values().filter(due).cloned().collect()
        };
        rows.sort_by_key(|row| (row.due, row.notification));
        rows.truncate(limit as usize);
        self.world.note(format!(
            "p{} loads {partition} after {} until {}: {} rows",
            self.process.0,
            after.map_or("-".to_owned(), |(due, id)| format!("{} {id}", due.since(EPOCH))),
            until.since(EPOCH),
            rows.len()
        ));
        self.world.pass(self.process, 4).await;
        Ok(rows)
    }

    async fn attempts(&self, _: &AttemptQuery) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.world.state().store.attempts.values().cloned().collect())
    }

    async fn notifications(&self, _: &NotificationQuery) -> Result<Vec<Notification>, StoreError> {
        Ok(Vec::new())
    }

    async fn waiting(&self, _: Option<&TeamId>) -> Result<Waiting, StoreError> {
        let state = self.world.state();
        let oldest_due = state.store.parked.values().map(|row| row.due).min();
        Ok(Waiting { parked: state.store.parked.len() as u64, oldest_due })
    }

    async fn keep_days(&self, _: Day, _: Day) -> Result<Vec<Day>, StoreError> {
        Ok(Vec::new())
    }

    async fn lock_directory(&self) -> Result<NoGuard, StoreError> {
        self.reach().await?;
        Ok(NoGuard)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.reach().await
    }
}
