//! What a member writes: outputs with their offsets, and the way back when that fails.
//!
//! After a commit that failed, the member [goes back](Worker::repair): to a new producer if the outcome of the last is
//! unknown, then to the committed offsets, which tell the outcome. No record is handed out until that has worked.

use std::{thread, time::Instant};

use rdkafka::{
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tidings_core::domain::{Output, TopicPartition};

use super::{
    errors::log_error,
    producer::{Failure, Transactional},
    records::offset_list,
    settings::REQUEST_TIMEOUT,
    worker::{GoingBack, Producer, RETRY_AFTER, Worker, fatal},
};
use crate::log::{Group, LogError, Offsets, Outputs};

impl Worker {
    pub(super) fn commit(&mut self, outputs: &[Output], offsets: Offsets) -> Result<(), LogError> {
        if let Some(error) = self.inbox.ended() {
            return Err(error);
        }
        self.cluster.check_outputs(outputs)?;
        let (ours, not_ours): (Offsets, Offsets) = offsets
            .into_iter()
            .partition(|(partition, _)| self.owned.contains_key(partition) && !self.inbox.loss_untold(partition));

        if outputs.is_empty() && self.group.outputs == Outputs::AtLeastOnce {
            // Of lost partitions nothing is said; the role is told of the loss.
            return self.commit_offsets_later(ours);
        }
        if let Some((partition, _)) = not_ours.first() {
            self.go_back();
            return Err(LogError::Aborted(format!("{partition} is not ours any more")));
        }
        if self.back.is_some() {
            return Err(LogError::Aborted("the member is still going back to the committed offsets".into()));
        }
        let written = match &self.producer {
            Producer::Transactional(producer) => self.commit_together(producer, outputs, &ours),
            Producer::Plain(producer) => producer
                .append(outputs)
                .map_err(Failure::Aborted)
                .and_then(|()| self.commit_offsets(&ours).map_err(Failure::Aborted)),
            Producer::None => Err(Failure::Replace("there is no producer".into())),
        };
        match written {
            Ok(()) => {
                self.owned.extend(ours);
                Ok(())
            }
            Err(failure) => self.recover(failure, ours),
        }
    }

    fn commit_together(
        &self,
        producer: &Transactional,
        outputs: &[Output],
        offsets: &[(TopicPartition, i64)],
    ) -> Result<(), Failure> {
        if offsets.is_empty() {
            return if outputs.is_empty() { Ok(()) } else { producer.commit(outputs, None) };
        }
        let refused = |error| Failure::Aborted(log_error("naming offsets", error));
        let list = offset_list(offsets.iter().map(|(partition, offset)| (partition, *offset))).map_err(refused)?;
        // Taken now: after a rebalance the broker refuses an older one, and with it a member that has been replaced.
        let group = self
            .consumer
            .group_metadata()
            .ok_or_else(|| Failure::Aborted(LogError::Unavailable("the group is not joined".into())))?;
        producer.commit(outputs, Some((list, group)))
    }

    /// After a commit that failed. `Ok` only if it turns out to have taken effect.
    fn recover(&mut self, failure: Failure, attempted: Offsets) -> Result<(), LogError> {
        match failure {
            Failure::Final(error) => {
                self.end(error.clone());
                Err(error)
            }
            // Without a transaction only the group knows who we are, and it has said that we are another.
            Failure::Aborted(error @ LogError::Fenced(_)) if self.group.outputs == Outputs::AtLeastOnce => {
                self.end(error.clone());
                Err(error)
            }
            Failure::Aborted(error) => {
                tracing::warn!(group = self.group.name, "commit aborted: {error}");
                self.go_back();
                match error {
                    // It will fail again in the same way: not for trying again, but for somebody to look at.
                    LogError::Refused(_) | LogError::UnknownTopic(_) => Err(error),
                    error => Err(LogError::Aborted(error.to_string())),
                }
            }
            Failure::Replace(reason) => {
                tracing::warn!(
                    group = self.group.name,
                    "outcome of a commit is unknown, making a new producer: {reason}"
                );
                let before: Offsets = attempted
                    .iter()
                    .filter_map(|(partition, _)| Some((partition.clone(), *self.owned.get(partition)?)))
                    .collect();
                self.producer = Producer::None;
                self.go_back();
                if let Some(error) = self.inbox.ended() {
                    return Err(error);
                }
                // Offsets move with the outputs: if they moved to where this commit wanted them, it is in effect.
                let in_effect = self.back.is_none()
                    && before != attempted
                    && attempted.iter().all(|(partition, offset)| self.owned.get(partition) == Some(offset));
                if in_effect { Ok(()) } else { Err(LogError::Aborted(reason)) }
            }
        }
    }

    /// Stops handing out records until the member is back at the committed offsets.
    fn go_back(&mut self) {
        self.back = Some(GoingBack { next_try: Instant::now() });
        self.repair();
    }

    /// Goes back: producer, then offsets, then positions. Tried again until it works.
    pub(super) fn repair(&mut self) {
        self.inbox.clear_records();
        match self.try_repair() {
            Ok(()) => self.back = None,
            Err(error @ LogError::Fenced(_)) => self.end(error),
            Err(error) => {
                tracing::warn!(group = self.group.name, "going back to the committed offsets: {error}");
                self.inbox.warn(error);
                self.back = Some(GoingBack { next_try: Instant::now() + RETRY_AFTER });
            }
        }
    }

    fn try_repair(&mut self) -> Result<(), LogError> {
        if matches!(self.producer, Producer::None) {
            // A new producer fences whoever has its id. If our place in the group is taken, it is not ours to have.
            if let Some((code, _)) = self.consumer.client().fatal_error() {
                return Err(fatal(code));
            }
            let producer = Transactional::new(&self.cluster.settings, &producer_id(&self.group))?;
            self.producer = Producer::Transactional(producer);
        }
        let going = self.revoking.as_ref().map_or(&[][..], |revoking| &revoking.partitions);
        let staying: Vec<_> = self.owned.keys().filter(|partition| !going.contains(partition)).cloned().collect();
        let starts = self.starts(&staying)?;
        let doing = "going back";
        let list = offset_list(starts.iter().map(|(partition, offset)| (partition, *offset)))
            .map_err(|error| log_error(doing, error))?;
        if !starts.is_empty() {
            let sought = self.consumer.seek_partitions(list, REQUEST_TIMEOUT).map_err(|e| log_error(doing, e))?;
            for element in sought.elements() {
                element.error().map_err(|error| log_error(doing, error))?;
            }
        }
        self.unheard.expect(staying);
        self.owned.extend(starts);
        Ok(())
    }

    /// Commits offsets alone and waits for the answer.
    pub(super) fn commit_offsets(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        let doing = "committing offsets";
        let list = offset_list(offsets.iter().map(|(partition, offset)| (partition, *offset)))
            .map_err(|error| log_error(doing, error))?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            match self.consumer.commit(&list, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                // The coordinator moves, or waits for a member's answer: it says so at once, and not for long.
                Err(KafkaError::ConsumerCommit(
                    Code::RebalanceInProgress
                    | Code::CoordinatorLoadInProgress
                    | Code::CoordinatorNotAvailable
                    | Code::NotCoordinator
                    | Code::WaitingForCoordinator,
                )) if Instant::now() < deadline => thread::sleep(RETRY_AFTER),
                Err(error) => return Err(log_error(doing, error)),
            }
        }
    }

    /// Commits offsets alone, without waiting: they are sent again if the answer is an error.
    fn commit_offsets_later(&mut self, offsets: Offsets) -> Result<(), LogError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.unconfirmed.extend(offsets.iter().cloned());
        let sent = offset_list(offsets.iter().map(|(partition, offset)| (partition, *offset)))
            .and_then(|list| self.consumer.commit(&list, CommitMode::Async));
        match sent {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(group = self.group.name, "offsets could not be sent: {error}");
                self.resend = Some(Instant::now() + RETRY_AFTER);
                Ok(())
            }
        }
    }

    pub(super) fn resend(&mut self) {
        if self.resend.take_if(|at| *at <= Instant::now()).is_some() {
            let offsets = self.unconfirmed.clone().into_iter().collect();
            // Failing again, it asks for the next try by itself.
            self.commit_offsets_later(offsets).ok();
        }
    }
}

/// The same after a restart, so that the open transaction of a dead predecessor is settled at once.
pub(super) fn producer_id(group: &Group) -> String {
    format!("{}-{}", group.name, group.instance)
}
