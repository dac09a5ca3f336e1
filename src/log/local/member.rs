//! A member of a group: hears of its partitions, reads them, commits.

use std::sync::Arc;

use tidings_core::domain::{Output, Record, TopicPartition};

use super::{
    Shared,
    assignment::MemberId,
    hold,
    reader::ColdRead,
    request::{Author, Mailbox, Notice, Request},
    topic::{Budget, Looked, Partition},
};
use crate::log::{BatchLimits, Group, Input, LogError, Member, Offsets, Outputs};

/// A member of a group of the local log. Dropping it is its death: others get its partitions at once.
pub struct LocalMember {
    shared: Arc<Shared>,
    id: MemberId,
    group: String,
    outputs: Outputs,
    limits: BatchLimits,
    mailbox: Arc<Mailbox>,
    owned: Vec<Owned>,
    /// The partition that is looked at first, so that a busy one does not starve the others.
    turn: usize,
    paused: bool,
    /// A read of the file under way; kept here so that dropping `next` loses nothing.
    cold: Option<(TopicPartition, ColdRead)>,
    fenced: Option<String>,
}

struct Owned {
    partition: Arc<Partition>,
    position: i64,
    revoking: bool,
}

// === impl LocalMember ===

impl LocalMember {
    pub(super) fn new(shared: Arc<Shared>, id: MemberId, group: Group, mailbox: Arc<Mailbox>) -> LocalMember {
        let Group { name, outputs, batch: limits, .. } = group;
        let owned = Vec::new();
        LocalMember {
            shared,
            id,
            group: name,
            outputs,
            limits,
            mailbox,
            owned,
            turn: 0,
            paused: false,
            cold: None,
            fenced: None,
        }
    }

    fn hear(&mut self, notice: Notice) -> Result<Input, LogError> {
        match notice {
            Notice::Assigned(partitions) => {
                let told = partitions.iter().map(|(partition, from)| (partition.name.clone(), *from)).collect();
                let new = partitions.into_iter();
                self.owned.extend(new.map(|(partition, position)| Owned { partition, position, revoking: false }));
                Ok(Input::Assigned(told))
            }
            Notice::Revoking(partitions) => {
                for owned in self.owned.iter_mut().filter(|owned| partitions.contains(&owned.partition.name)) {
                    owned.revoking = true;
                }
                Ok(Input::Revoking(partitions))
            }
            Notice::Lost(partitions) => {
                self.owned.retain(|owned| !partitions.contains(&owned.partition.name));
                Ok(Input::Lost(partitions))
            }
            Notice::Fenced(why) => {
                self.owned.clear();
                self.fenced = Some(why.clone());
                Err(LogError::Fenced(why))
            }
        }
    }

    fn alive(&self) -> Result<(), LogError> {
        self.fenced.as_ref().map_or(Ok(()), |why| Err(LogError::Fenced(why.clone())))
    }

    /// What is there and fits a batch, possibly nothing: from memory, or one read of the file where memory does not
    /// reach. A position moves in the same step as its records are returned, so that dropping this loses nothing.
    async fn fetch(&mut self) -> Result<Vec<Record>, LogError> {
        loop {
            if let Some((name, read)) = &mut self.cold {
                let found = read.finish().await;
                let (name, from) = (name.clone(), read.from);
                self.cold = None;
                let (records, next) = found?;
                let asked =
                    |owned: &&mut Owned| owned.partition.name == name && owned.position == from && !owned.revoking;
                if let Some(owned) = self.owned.iter_mut().find(asked) {
                    owned.position = next;
                    if !records.is_empty() {
                        return Ok(records);
                    }
                }
            }
            let (mut records, mut cold) = (Vec::new(), None);
            let mut budget = Budget::new(self.limits.records, self.limits.bytes);
            self.turn += 1;
            for i in 0..self.owned.len() {
                let at = (self.turn + i) % self.owned.len();
                let owned = &mut self.owned[at];
                if owned.revoking {
                    continue;
                }
                match owned.partition.look(owned.position, &mut budget, &mut records) {
                    Looked::Next(next) => owned.position = next,
                    Looked::Cold { end } => {
                        cold = cold.or(Some((at, end)));
                        // Its turn: partitions that always have something in memory must not keep it from the file.
                        if i == 0 {
                            break;
                        }
                    }
                }
            }
            match cold {
                Some((at, end)) if records.is_empty() => {
                    let Owned { partition, position, .. } = &self.owned[at];
                    let read = ColdRead::start(&self.shared, partition, *position, end, budget);
                    self.cold = Some((partition.name.clone(), read));
                }
                _ => return Ok(records),
            }
        }
    }
}

impl Member for LocalMember {
    async fn next(&mut self) -> Result<Input, LogError> {
        loop {
            self.alive()?;
            let notice = hold(&self.mailbox.notices).pop_front();
            if let Some(notice) = notice {
                return self.hear(notice);
            }
            if !self.paused {
                let records = self.fetch().await?;
                if !records.is_empty() {
                    return Ok(Input::Records(records));
                }
            }
            self.mailbox.changed.notified().await;
        }
    }

    async fn commit(&mut self, outputs: Vec<Output>, offsets: Offsets) -> Result<(), LogError> {
        self.alive()?;
        let loose = outputs.is_empty() && self.outputs == Outputs::AtLeastOnce;
        let author = Author::Member { group: self.group.clone(), member: self.id, offsets, loose };
        let Err(refusal) = self.shared.write(author, outputs).await else { return Ok(()) };
        if matches!(refusal.error, LogError::Aborted(_)) {
            self.cold = None;
            for owned in &mut self.owned {
                let committed = refusal.rewind.iter().find(|(partition, _)| *partition == owned.partition.name);
                owned.position = committed.map_or(owned.position, |(_, next)| *next);
            }
        }
        Err(refusal.error)
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.alive()?;
        self.owned.retain(|owned| !partitions.contains(&owned.partition.name));
        let (group, member, partitions) = (self.group.clone(), self.id, partitions.to_vec());
        self.shared.ask(|reply| Request::Release { group, member, partitions, reply }).await?
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        self.paused = true;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        self.paused = false;
        Ok(())
    }

    async fn read_also(&mut self, topics: Vec<Arc<str>>) -> Result<(), LogError> {
        self.alive()?;
        for name in &topics {
            self.shared.topic(name)?.watch(&self.mailbox.changed);
        }
        let (group, member) = (self.group.clone(), self.id);
        self.shared.ask(|reply| Request::Widen { group, member, topics, reply }).await?
    }

    async fn leave(self) {
        let (group, member) = (self.group.clone(), self.id);
        let _ = self.shared.ask(|reply| Request::Leave { group, member, reply }).await;
    }
}

impl Drop for LocalMember {
    /// For a member that has left this says nothing new.
    fn drop(&mut self) {
        let (group, member) = (self.group.clone(), self.id);
        let (reply, _) = tokio::sync::oneshot::channel();
        self.shared.tell(Request::Leave { group, member, reply });
    }
}
