//! The writer thread: takes requests in order and is the only one to change the log.
//!
//! Writes that wait while an fsync runs are committed together by the next one. Whatever else changes who may write
//! (joining, leaving, a new appender) is done between two commits: so what a commit has checked stays true until it is
//! durable, and a fenced writer has nothing under way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tidings_core::domain::{Output, Record, Timestamp, TopicPartition};

use super::{
    LocalOptions, Topics,
    assignment::{Assignment, Change, MemberId},
    request::{Author, Mailbox, Notice, Refusal, Request, Write},
    storage::{Storage, StoredTopic, Upkeep},
    topic::{self, Partition, Topic},
};
use crate::{
    crash::{self, Point},
    log::{LogError, Offsets, TopicSpec},
};

pub(super) struct Writer {
    storage: Storage,
    queue: mpsc::Receiver<Request>,
    topics: Arc<Topics>,
    options: LocalOptions,
    groups: HashMap<String, Membership>,
    appenders: HashMap<Arc<str>, u64>,
    next_member: MemberId,
    /// Spreads records without key over partitions.
    keyless: u32,
    next_upkeep: Instant,
}

/// One group: its committed offsets, and its members if it has any.
#[derive(Default)]
struct Membership {
    committed: BTreeMap<TopicPartition, i64>,
    assignment: Assignment,
    instances: HashMap<String, MemberId>,
    mailboxes: HashMap<MemberId, Arc<Mailbox>>,
}

/// Writes that are checked and in the open transaction, until they are durable.
#[derive(Default)]
struct Staged {
    /// By slot, so that the file is written in its own order.
    records: BTreeMap<u32, StagedRecords>,
    offsets: Vec<(String, Offsets)>,
}

/// What one partition gets, in offset order.
type StagedRecords = (Arc<Topic>, Arc<Partition>, Vec<Record>);

/// Writes in one commit: bounds what is lost to one failure and how long a lone write waits for its company.
const MAX_COMMIT_WRITES: usize = 4096;
/// Records and offsets in one commit, beyond which no further write joins it.
const MAX_COMMIT_RECORDS: usize = 20_000;
/// Records deleted in one step of upkeep: a few milliseconds.
const UPKEEP_RECORDS: usize = 500;
/// Pause between two steps of upkeep when there is more to do: writes go first.
const UPKEEP_PAUSE: Duration = Duration::from_millis(5);

// === impl Writer ===

impl Writer {
    pub fn new(
        storage: Storage,
        queue: mpsc::Receiver<Request>,
        topics: Arc<Topics>,
        options: LocalOptions,
    ) -> Result<Writer, LogError> {
        let mut groups: HashMap<String, Membership> = HashMap::new();
        for (group, partition, next) in storage.offsets()? {
            groups.entry(group).or_default().committed.insert(partition, next);
        }
        let next_upkeep = Instant::now() + options.upkeep_every;
        let appenders = HashMap::new();
        Ok(Writer { storage, queue, topics, options, groups, appenders, next_member: 0, keyless: 0, next_upkeep })
    }

    /// Until nobody can ask for anything any more.
    pub fn run(mut self) {
        loop {
            let due = self.next_expiry().map_or(self.next_upkeep, |expiry| expiry.min(self.next_upkeep));
            match self.queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(first) => self.serve(first),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            self.expire(now);
            if now >= self.next_upkeep {
                let pause = if self.upkeep() { UPKEEP_PAUSE } else { self.options.upkeep_every };
                self.next_upkeep = now + pause;
            }
        }
    }

    /// Does a request and those that have come meanwhile.
    fn serve(&mut self, first: Request) {
        let (mut writes, mut records) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write(write) => {
                    records += write.outputs.len();
                    writes.push(write);
                    if writes.len() >= MAX_COMMIT_WRITES || records >= MAX_COMMIT_RECORDS {
                        break;
                    }
                }
                other => {
                    self.commit(std::mem::take(&mut writes));
                    self.control(other);
                }
            }
            next = self.queue.try_recv().ok();
        }
        self.commit(writes);
    }

    fn control(&mut self, request: Request) {
        match request {
            Request::Write(write) => self.commit(vec![write]),
            Request::Create { spec, reply } => {
                let _ = reply.send(self.create(spec));
            }
            Request::Join { group, topics, instance, mailbox, reply } => {
                let _ = reply.send(self.join(group, &topics, instance, mailbox));
            }
            Request::Widen { group, member, topics, reply } => {
                let _ = reply.send(self.widen(&group, member, &topics));
            }
            Request::Release { group, member, partitions, reply } => {
                let _ = reply.send(self.release(&group, member, &partitions));
            }
            Request::Leave { group, member, reply } => {
                self.leave(&group, member);
                let _ = reply.send(());
            }
            Request::Appender { name, reply } => {
                let epoch = self.appenders.entry(name).or_default();
                *epoch += 1;
                let _ = reply.send(*epoch);
            }
            Request::Hold(hold) => hold.wait(),
            Request::Committed { group, topic, reply } => {
                let committed = self.groups.get(&group).map(|group| &group.committed);
                let of_topic = committed.into_iter().flatten().filter(|(partition, _)| partition.topic == topic);
                let _ = reply.send(of_topic.map(|(partition, next)| (partition.clone(), *next)).collect());
            }
        }
    }

    // --- writing ---

    /// Commits what may be written in one transaction, shows it to readers, answers.
    fn commit(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let mut staged = Staged::default();
        let mut accepted = Vec::new();
        let now = now();
        for write in writes {
            match self.stage(write.author, write.outputs, now, &mut staged) {
                Ok(strict) => accepted.push((strict, write.reply)),
                Err(refusal) => {
                    let _ = write.reply.send(Err(refusal));
                }
            }
        }
        let done = self.store(&staged);
        if let Err(error) = &done {
            tracing::warn!(%error, writes = accepted.len(), "the local log could not write");
        } else {
            self.publish(staged);
        }
        for (strict, reply) in accepted {
            let _ = reply.send(done.clone().map_err(|error| match strict {
                Some((group, member)) => self.abort(&group, member, error.to_string()),
                None => error.into(),
            }));
        }
    }

    /// Checks one write whole before any of it is staged. Returns the member, if a failure sends it back.
    fn stage(
        &mut self,
        author: Author,
        outputs: Vec<Output>,
        now: Timestamp,
        staged: &mut Staged,
    ) -> Result<Option<(String, MemberId)>, Refusal> {
        let (mut committed, mut strict) = (None, None);
        match author {
            Author::Anyone => {}
            Author::Appender { name, epoch } if self.appenders.get(&name) == Some(&epoch) => {}
            Author::Appender { name, .. } => {
                return Err(LogError::Fenced(format!("a newer appender has taken the name {name}")).into());
            }
            Author::Member { group, member, mut offsets, loose } => {
                let membership = self.membership(&group, member)?;
                let foreign = offsets.iter().find(|(partition, _)| !membership.may_commit(member, partition));
                if loose {
                    offsets.retain(|(partition, _)| membership.may_commit(member, partition));
                } else if let Some((partition, _)) = foreign {
                    let reason = format!("partition {partition} does not belong to this member, or was lost meanwhile");
                    return Err(self.abort(&group, member, reason));
                } else {
                    strict = Some((group.clone(), member));
                }
                committed = Some((group, offsets));
            }
        }
        let mut resolved: Vec<Arc<Topic>> = Vec::with_capacity(outputs.len());
        for output in &outputs {
            let topic = match resolved.last() {
                Some(last) if last.name == output.topic => last.clone(),
                _ => self.topic(&output.topic)?,
            };
            topic.admit(output)?;
            resolved.push(topic);
        }
        for (output, topic) in outputs.into_iter().zip(resolved) {
            let index = output.partition.unwrap_or_else(|| self.choose(&output, topic.partitions.len() as u32));
            let partition = topic.partition(index)?.clone();
            let slot = partition.slot;
            let (topic, partition, records) =
                staged.records.entry(slot).or_insert_with(|| (topic.clone(), partition, Vec::new()));
            let offset = records.last().map_or_else(|| partition.bounds().end, |last| last.offset + 1);
            let Output { key, value, headers, .. } = output;
            let topic = topic.name.clone();
            records.push(Record { topic, partition: index, offset, timestamp: now, key, value, headers });
        }
        staged.offsets.extend(committed);
        Ok(strict)
    }

    /// Sends a member back to its committed offsets.
    fn abort(&self, group: &str, member: MemberId, reason: String) -> Refusal {
        let rewind = self.groups.get(group).map(|group| group.rewind(member)).unwrap_or_default();
        Refusal { error: LogError::Aborted(reason), rewind }
    }

    /// The partition of a record whose writer leaves it to the log: by FNV-1a of its key, or in turn.
    fn choose(&mut self, output: &Output, partitions: u32) -> u32 {
        match &output.key {
            Some(key) => (fnv1a(key) % u64::from(partitions)) as u32,
            None => {
                self.keyless = self.keyless.wrapping_add(1);
                self.keyless % partitions
            }
        }
    }

    fn store(&self, staged: &Staged) -> Result<(), LogError> {
        if staged.records.is_empty() && staged.offsets.is_empty() {
            return Ok(());
        }
        self.transaction(|storage| {
            crash::point(Point::TransactionBegun);
            for (slot, (topic, _, records)) in &staged.records {
                for record in records {
                    storage.insert(*slot, record)?;
                    if topic.rules.compacted {
                        storage.displace(*slot, record, topic.rules.compaction_lag_ms, topic.rules.tombstone_ms)?;
                    }
                }
            }
            crash::point(Point::Produced);
            for (group, offsets) in &staged.offsets {
                for (partition, next) in offsets {
                    storage.set_offset(group, partition, *next)?;
                }
            }
            crash::point(Point::OffsetsSent);
            Ok(())
        })?;
        crash::point(Point::Committed);
        Ok(())
    }

    fn transaction<T>(&self, body: impl FnOnce(&Storage) -> Result<T, LogError>) -> Result<T, LogError> {
        let done = self.storage.begin().and_then(|()| body(&self.storage)).and_then(|value| {
            self.storage.commit()?;
            Ok(value)
        });
        if done.is_err() {
            self.storage.rollback();
        }
        done
    }

    fn publish(&mut self, staged: Staged) {
        for (group, offsets) in staged.offsets {
            self.groups.entry(group).or_default().committed.extend(offsets);
        }
        let mut changed: Vec<Arc<Topic>> = Vec::new();
        for (topic, partition, records) in staged.records.into_values() {
            partition.publish(records);
            if !changed.iter().any(|known| Arc::ptr_eq(known, &topic)) {
                changed.push(topic);
            }
        }
        for topic in changed {
            topic.wake();
        }
    }

    // --- topics ---

    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    fn create(&mut self, spec: TopicSpec) -> Result<bool, LogError> {
        if self.topic(&spec.name).is_ok() {
            return Ok(false);
        }
        topic::check(&spec)?;
        let TopicSpec { name, partitions, settings } = spec;
        let first_slot = self.transaction(|storage| storage.create_topic(&name, partitions, &settings))?;
        let stored = StoredTopic { name: name.to_string(), partitions, first_slot, settings };
        let topic = Arc::new(Topic::new(stored, self.options.tail_bytes)?);
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(name, topic);
        Ok(true)
    }

    // --- groups ---

    fn membership(&self, group: &str, member: MemberId) -> Result<&Membership, LogError> {
        let membership = self.groups.get(group).filter(|group| group.assignment.has(member));
        membership.ok_or_else(|| LogError::Fenced(replaced(group)))
    }

    fn join(
        &mut self,
        group: String,
        topics: &[Arc<str>],
        instance: String,
        mailbox: Arc<Mailbox>,
    ) -> Result<MemberId, LogError> {
        let counted = self.counted(topics)?;
        self.next_member += 1;
        let member = self.next_member;
        let overdue_at = Instant::now() + self.options.revoke_within;
        let membership = self.groups.entry(group.clone()).or_default();
        if let Some(older) = membership.instances.insert(instance, member) {
            membership.assignment.remove(older);
            if let Some(mailbox) = membership.mailboxes.remove(&older) {
                mailbox.put(Notice::Fenced(replaced(&group)));
            }
        }
        membership.mailboxes.insert(member, mailbox);
        let changes = membership.assignment.join(member, &counted, overdue_at);
        self.tell(&group, changes);
        Ok(member)
    }

    /// Each with the number of its partitions.
    fn counted(&self, topics: &[Arc<str>]) -> Result<Vec<(Arc<str>, u32)>, LogError> {
        topics.iter().map(|name| Ok((name.clone(), self.topic(name)?.partitions.len() as u32))).collect()
    }

    fn widen(&mut self, group: &str, member: MemberId, topics: &[Arc<str>]) -> Result<(), LogError> {
        self.membership(group, member)?;
        let counted = self.counted(topics)?;
        let overdue_at = Instant::now() + self.options.revoke_within;
        let membership = self.groups.entry(group.to_owned()).or_default();
        let changes = membership.assignment.widen(member, &counted, overdue_at);
        self.tell(group, changes);
        Ok(())
    }

    fn release(&mut self, group: &str, member: MemberId, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.membership(group, member)?;
        let overdue_at = Instant::now() + self.options.revoke_within;
        let membership = self.groups.entry(group.to_owned()).or_default();
        let changes = membership.assignment.release(member, partitions, overdue_at);
        self.tell(group, changes);
        Ok(())
    }

    fn leave(&mut self, group: &str, member: MemberId) {
        let overdue_at = Instant::now() + self.options.revoke_within;
        let Some(membership) = self.groups.get_mut(group).filter(|group| group.assignment.has(member)) else { return };
        membership.instances.retain(|_, holder| *holder != member);
        membership.mailboxes.remove(&member);
        let changes = membership.assignment.leave(member, overdue_at);
        self.tell(group, changes);
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.groups.values().filter_map(|group| group.assignment.next_expiry()).min()
    }

    fn expire(&mut self, now: Instant) {
        let overdue_at = now + self.options.revoke_within;
        let due = |group: &&mut Membership| group.assignment.next_expiry().is_some_and(|at| at <= now);
        let expired: Vec<_> = self
            .groups
            .iter_mut()
            .filter_map(|(name, group)| {
                Some(group).filter(due).map(|g| (name.clone(), g.assignment.expire(now, overdue_at)))
            })
            .collect();
        for (group, changes) in expired {
            tracing::warn!(group, "a member of the local log did not release its partitions in time");
            self.tell(&group, changes);
        }
    }

    /// Puts changes into the members' mailboxes: one notice per member and kind.
    fn tell(&self, group: &str, changes: Vec<(MemberId, Change)>) {
        let Some(membership) = self.groups.get(group) else { return };
        let mut notices: BTreeMap<MemberId, (Vec<_>, Vec<_>, Vec<_>)> = BTreeMap::new();
        for (member, change) in changes {
            let (lost, revoking, assigned) = notices.entry(member).or_default();
            match change {
                Change::Lost(partition) => lost.push(partition),
                Change::Revoking(partition) => revoking.push(partition),
                Change::Assigned(name) => {
                    // Every partition of a group belongs to a topic that was there when a member joined.
                    if let Ok(partition) =
                        self.topic(&name.topic).and_then(|topic| topic.partition(name.partition).cloned())
                    {
                        let from = membership.position(&partition);
                        assigned.push((partition, from));
                    }
                }
            }
        }
        for (member, (lost, revoking, assigned)) in notices {
            let Some(mailbox) = membership.mailboxes.get(&member) else { continue };
            if !lost.is_empty() {
                mailbox.put(Notice::Lost(lost));
            }
            if !assigned.is_empty() {
                mailbox.put(Notice::Assigned(assigned));
            }
            if !revoking.is_empty() {
                mailbox.put(Notice::Revoking(revoking));
            }
        }
    }

    // --- upkeep ---

    /// One bounded step of retention and compaction. True if there is more to do.
    fn upkeep(&self) -> bool {
        let topics: Vec<_> = self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let now = now();
        let step = self.transaction(|storage| {
            let mut done = storage.compact(now, UPKEEP_RECORDS)?;
            for (topic, ms) in topics.iter().filter_map(|topic| Some((topic, topic.rules.retention_ms?))) {
                for partition in &topic.partitions {
                    let left = UPKEEP_RECORDS.saturating_sub(done.deleted);
                    if left == 0 {
                        return Ok(Upkeep { more: true, ..done });
                    }
                    let step = storage.retain(partition.slot, now.plus(-ms), left)?;
                    done = Upkeep { deleted: done.deleted + step.deleted, more: done.more || step.more };
                }
            }
            Ok(done)
        });
        let starts = step.and_then(|step| {
            if step.deleted > 0 {
                for partition in topics.iter().flat_map(|topic| &topic.partitions) {
                    partition.starts(self.storage.bounds(partition.slot)?.start);
                }
            }
            Ok(step.more)
        });
        starts.unwrap_or_else(|error| {
            tracing::warn!(%error, "retention of the local log failed; it is tried again");
            false
        })
    }
}

// === impl Membership ===

impl Membership {
    /// Where a member that gets this partition goes on.
    fn position(&self, partition: &Partition) -> i64 {
        self.committed.get(&partition.name).copied().unwrap_or_else(|| partition.bounds().start)
    }

    /// Whether the partition is the member's and has been since the member last heard of it. One that was lost and has
    /// come back is another tenure: what the member knows of it is from before somebody else had it.
    fn may_commit(&self, member: MemberId, partition: &TopicPartition) -> bool {
        let told = self.mailboxes.get(&member).is_none_or(|mailbox| !mailbox.loss_untold(partition));
        told && self.assignment.owns(member, partition)
    }

    /// Committed offsets of what the member owns. A partition without commits is read from its start: 0 stands for that.
    fn rewind(&self, member: MemberId) -> Offsets {
        let owned = self.assignment.owned(member);
        owned.map(|partition| (partition.clone(), self.committed.get(partition).copied().unwrap_or(0))).collect()
    }
}

fn replaced(group: &str) -> String {
    format!("another member of group {group} has joined as the same instance")
}

/// The log is the broker, so its clock stamps the records.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): fixed for ever, since it says where the records of a key are.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // The published FNV-1a test vectors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
