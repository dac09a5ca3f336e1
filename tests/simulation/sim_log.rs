//! A log that lives in the world: topics, groups with cooperative hand-over, transactions that may come to nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tidings::log::{
    Appender, Bounds, Group, Input, Log, LogError, Member, Offsets, Outputs, Reader, TopicSpec, TopicState,
};
use tidings_core::domain::{Output, Record, Timestamp, TopicPartition};

use crate::{
    faults::{Fault, Sabotage},
    world::{GroupState, MemberState, Process, State, World},
};

/// How long the group waits for a silent member.
pub const SESSION_MS: i64 = 10_000;

/// One process's access to the log.
#[derive(Clone)]
pub struct SimLog {
    pub world: World,
    pub process: Process,
}

pub struct SimMember {
    world: World,
    process: Process,
    group: Group,
    id: u64,
    left: bool,
    /// The last commit was learnt to be one by going back: what was given before comes again.
    went_back: bool,
}

pub struct SimReader {
    world: World,
    process: Process,
    partition: TopicPartition,
    position: i64,
}

pub struct SimAppender {
    world: World,
    process: Process,
    name: String,
    id: u64,
}

// === impl SimLog ===

impl Log for SimLog {
    type Member = SimMember;
    type Reader = SimReader;
    type Appender = SimAppender;

    async fn join(&self, group: Group) -> Result<SimMember, LogError> {
        self.world.pass(self.process, 20).await;
        let id = {
            let mut state = self.world.state();
            let id = state.next_id();
            let members = state.groups.entry(group.name.clone()).or_default();
            // A static member that comes back takes over what its former life owned.
            let former: Vec<u64> =
                members.members.iter().filter(|(_, m)| m.instance == group.instance).map(|(id, _)| *id).collect();
            for old in &former {
                if let Some(old) = members.members.get_mut(old) {
                    old.fenced = true;
                }
            }
            members.owners.retain(|_, owner| !former.contains(owner));
            members.members.insert(
                id,
                MemberState {
                    process: self.process,
                    instance: group.instance.clone(),
                    topics: group.topics.clone(),
                    positions: Default::default(),
                    inbox: Default::default(),
                    revoking: BTreeSet::new(),
                    paused: false,
                    fenced: false,
                    dropped: None,
                    stuck_since: None,
                },
            );
            id
        };
        self.world.note(format!("p{} joins {} as m{id}", self.process.0, group.name));
        rebalance(&self.world);
        Ok(SimMember { world: self.world.clone(), process: self.process, group, id, left: false, went_back: false })
    }

    async fn reader(&self, partition: TopicPartition, from: i64) -> Result<SimReader, LogError> {
        self.world.pass(self.process, 5).await;
        Ok(SimReader { world: self.world.clone(), process: self.process, partition, position: from })
    }

    async fn appender(&self, name: &str) -> Result<SimAppender, LogError> {
        self.world.pass(self.process, 5).await;
        let id = {
            let mut state = self.world.state();
            let id = state.next_id();
            state.appenders.insert(name.to_owned(), id);
            id
        };
        Ok(SimAppender { world: self.world.clone(), process: self.process, name: name.to_owned(), id })
    }

    async fn append(&self, outputs: Vec<Output>) -> Result<(), LogError> {
        reach(&self.world, self.process).await?;
        append(&self.world, outputs);
        self.world.wake();
        Ok(())
    }

    async fn bounds(&self, partition: TopicPartition) -> Result<Bounds, LogError> {
        reach(&self.world, self.process).await?;
        let state = self.world.state();
        let end = records(&state, &partition).len() as i64;
        // The spoiled process believes that the directory is folded when it has read nothing.
        let blind = state.plan.sabotage == Some(Sabotage::MatchBeforeFold) && partition.topic.ends_with("directory");
        Ok(Bounds { start: 0, end: if blind { 0 } else { end } })
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, LogError> {
        let state = self.world.state();
        let committed = state.groups.get(group).map(|g| g.committed.clone()).unwrap_or_default();
        Ok(committed.into_iter().filter(|(partition, _)| &*partition.topic == topic).collect())
    }

    async fn topics(&self, names: &[Arc<str>]) -> Result<Vec<TopicState>, LogError> {
        let state = self.world.state();
        let found = names.iter().filter_map(|name| {
            let partitions = state.topics.get(name)?.len() as u32;
            Some(TopicState { name: name.clone(), partitions, settings: Vec::new() })
        });
        Ok(found.collect())
    }

    async fn topic_names(&self) -> Result<Vec<Arc<str>>, LogError> {
        Ok(self.world.state().topics.keys().cloned().collect())
    }

    async fn create_topic(&self, spec: TopicSpec) -> Result<bool, LogError> {
        self.world.create_topic(&spec.name, spec.partitions);
        Ok(true)
    }
}

/// A call that needs the log: late, and refused while the process is cut off.
async fn reach(world: &World, process: Process) -> Result<(), LogError> {
    world.pass(process, 4).await;
    if world.is_cut(process) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        return Err(LogError::Unavailable("cut off".to_owned()));
    }
    Ok(())
}

fn records<'a>(state: &'a State, partition: &TopicPartition) -> &'a [Record] {
    state.topics.get(&partition.topic).map_or(&[], |topic| topic[partition.partition as usize].as_slice())
}

fn names(input: &Input, partition: &TopicPartition) -> bool {
    match input {
        Input::Assigned(partitions) => partitions.iter().any(|(p, _)| p == partition),
        Input::Lost(partitions) => partitions.contains(partition),
        Input::Revoking(_) | Input::Records(_) => false,
    }
}

fn append(world: &World, outputs: Vec<Output>) {
    for output in outputs {
        let partition = output.partition.unwrap_or(0);
        let offset = world.append_record(&output.topic, partition, output.key, output.value, output.headers);
        world.note(format!("append {}-{partition}-{offset}", output.topic));
    }
}

// === impl SimMember ===

impl SimMember {
    fn with<T>(&self, act: impl FnOnce(&mut State, &mut GroupState) -> T) -> T {
        let mut state = self.world.state();
        let mut group = state.groups.remove(&self.group.name).expect("the group exists");
        let result = act(&mut state, &mut group);
        state.groups.insert(self.group.name.clone(), group);
        result
    }

    /// What is there for this member now. Takes it; nothing may wait after this.
    fn take(&mut self) -> Option<Result<Input, LogError>> {
        let id = self.id;
        let most = self.group.batch.records as u64;
        self.with(|state, group| {
            let member = group.members.get_mut(&id)?;
            if member.fenced {
                return Some(Err(LogError::Fenced(member.instance.clone())));
            }
            if let Some(input) = member.inbox.pop_front() {
                return Some(Ok(input));
            }
            if member.paused {
                return None;
            }
            let mut taken = Vec::new();
            let mut left = 1 + state.chance.below(most) as usize;
            let owned: Vec<TopicPartition> = member.positions.keys().cloned().collect();
            let from = state.chance.below(owned.len().max(1) as u64) as usize;
            for partition in owned.iter().cycle().skip(from).take(owned.len()) {
                if member.revoking.contains(partition) {
                    continue;
                }
                let position = member.positions.get_mut(partition)?;
                let rest = records(state, partition).get(*position as usize..).unwrap_or_default();
                let part = &rest[..rest.len().min(left)];
                left -= part.len();
                *position += part.len() as i64;
                taken.extend_from_slice(part);
                if left == 0 {
                    break;
                }
            }
            (!taken.is_empty()).then_some(Ok(Input::Records(taken)))
        })
    }

    fn rewind(&self) {
        let id = self.id;
        self.with(|state, group| {
            if state.plan.sabotage == Some(Sabotage::NoRewindAfterAbort) {
                return;
            }
            let committed = group.committed.clone();
            if let Some(member) = group.members.get_mut(&id) {
                for (partition, position) in &mut member.positions {
                    *position = committed.get(partition).copied().unwrap_or(0);
                }
            }
        });
    }

    fn apply_offsets(&self, offsets: &Offsets) {
        let world = self.world.clone();
        let name = self.group.name.clone();
        let mut back = Vec::new();
        self.with(|_, group| {
            for (partition, next) in offsets {
                let committed = group.committed.entry(partition.clone()).or_insert(0);
                if *next < *committed {
                    back.push(format!("{name}: offset of {partition} went back from {committed} to {next}"));
                }
                *committed = *next;
            }
        });
        back.into_iter().for_each(|what| world.violation(what));
        for (partition, next) in offsets {
            world.note(format!("commit {} {partition} {next}", self.group.name));
        }
        if self.group.name.ends_with("send") {
            crate::checkers::settled_below(&world, offsets);
        }
    }
}

impl Member for SimMember {
    async fn next(&mut self) -> Result<Input, LogError> {
        loop {
            let world = self.world.clone();
            let changed = world.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.world.thaw(self.process).await;
            if !self.world.is_cut(self.process)
                && let Some(input) = self.take()
            {
                return input;
            }
            tokio::select! {
                biased;
                _ = changed => {}
                _ = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    async fn commit(&mut self, outputs: Vec<Output>, offsets: Offsets) -> Result<(), LogError> {
        reach(&self.world, self.process).await?;
        let id = self.id;
        let refused = self.with(|state, group| {
            let Some(member) = group.members.get(&id).filter(|m| !m.fenced) else {
                return Some(LogError::Fenced(format!("m{id}")));
            };
            // What the member has not been told yet counts too: an assignment in its inbox follows a loss.
            let ours = |partition: &TopicPartition| {
                group.owners.get(partition) == Some(&id) && !member.inbox.iter().any(|input| names(input, partition))
            };
            if offsets.iter().any(|(partition, _)| !ours(partition)) {
                return Some(LogError::Aborted("a partition is no longer ours".to_owned()));
            }
            let abort = state.strikes(Fault::Abort);
            abort.then(|| LogError::Aborted("the coordinator said no".to_owned()))
        });
        if let Some(error) = refused {
            self.world.note(format!("m{id} {error}"));
            if matches!(error, LogError::Aborted(_)) {
                self.rewind();
                self.world.wake();
            }
            return Err(error);
        }
        let transactional = self.group.outputs == Outputs::Transactional;
        crate::checkers::index_is_fresh(&self.world, self.process, &outputs);
        append(&self.world, outputs);
        if !transactional {
            self.world.wake();
            // Between the outputs and the offsets lies the one crash point that at-least-once repeats from.
            self.world.pass(self.process, 4).await;
            let ours = self.with(|_, group| {
                !group.members.get(&id).is_none_or(|m| m.fenced)
                    && offsets.iter().all(|(partition, _)| group.owners.get(partition) == Some(&id))
            });
            if !ours {
                self.rewind();
                return Err(LogError::Aborted("a partition was lost before its offset was committed".to_owned()));
            }
        }
        self.apply_offsets(&offsets);
        self.world.wake();
        if self.world.state().strikes(Fault::AbortAfterCommit) {
            self.world.note(format!("m{id} never learns of its commit"));
            self.rewind();
            return Err(LogError::Aborted("the outcome is not known".to_owned()));
        }
        if transactional && self.world.state().strikes(Fault::CommitLearntLate) {
            self.world.note(format!("m{id} learns late of its commit"));
            self.rewind();
            self.went_back = true;
        }
        self.world.pass(self.process, 3).await;
        Ok(())
    }

    async fn commit_holding(&mut self, outputs: Vec<Output>, offsets: Offsets) -> Result<bool, LogError> {
        self.went_back = false;
        self.commit(outputs, offsets).await?;
        Ok(!self.went_back)
    }

    /// What is given ahead is given first: so it is void if anything goes wrong afterwards.
    async fn commit_ahead(
        &mut self,
        outputs: Vec<Output>,
        offsets: Offsets,
        ahead: impl FnOnce(Vec<Record>) + Send,
    ) -> Result<bool, LogError> {
        let id = self.id;
        let told = self.with(|_, group| group.members.get(&id).is_some_and(|member| member.inbox.is_empty()));
        if told
            && !self.world.is_cut(self.process)
            && let Some(Ok(Input::Records(records))) = self.take()
        {
            self.world.note(format!("m{id} takes {} ahead", records.len()));
            ahead(records);
        }
        self.commit_holding(outputs, offsets).await
    }

    async fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.world.pass(self.process, 3).await;
        let (id, process) = (self.id, self.process);
        let now = self.world.now();
        self.with(|state, group| {
            state.disturb(process, now);
            for partition in partitions {
                if group.owners.get(partition) == Some(&id) {
                    group.owners.remove(partition);
                }
                if let Some(member) = group.members.get_mut(&id) {
                    member.revoking.remove(partition);
                    member.positions.remove(partition);
                }
            }
        });
        self.world.note(format!("m{id} releases {}", partitions.len()));
        rebalance(&self.world);
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), LogError> {
        let id = self.id;
        self.with(|_, group| group.members.get_mut(&id).map(|m| m.paused = true));
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), LogError> {
        let id = self.id;
        self.with(|_, group| group.members.get_mut(&id).map(|m| m.paused = false));
        self.world.wake();
        Ok(())
    }

    async fn read_also(&mut self, topics: Vec<Arc<str>>) -> Result<(), LogError> {
        let id = self.id;
        self.with(|_, group| group.members.get_mut(&id).map(|m| m.topics.extend(topics)));
        rebalance(&self.world);
        Ok(())
    }

    async fn leave(mut self) {
        self.left = true;
        let (id, process) = (self.id, self.process);
        let now = self.world.now();
        self.with(|state, group| {
            state.disturb(process, now);
            group.members.remove(&id);
            group.owners.retain(|_, owner| *owner != id);
        });
        self.world.note(format!("m{id} leaves"));
        rebalance(&self.world);
    }
}

impl Drop for SimMember {
    /// Dropped without leaving: the process is dead, and the group finds out by its silence.
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let (id, now) = (self.id, self.world.now());
        self.with(|_, group| {
            if let Some(member) = group.members.get_mut(&id) {
                member.dropped = Some(now);
            }
        });
    }
}

// === impl SimReader, SimAppender ===

impl Reader for SimReader {
    async fn next(&mut self, wait: Duration) -> Result<Vec<Record>, LogError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let world = self.world.clone();
            let changed = world.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.world.thaw(self.process).await;
            if self.world.is_cut(self.process) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Err(LogError::Unavailable("cut off".to_owned()));
            }
            // A fold takes its time: a few records at once, and a pause before each handful.
            let (found, pause) = {
                let mut state = self.world.state();
                let (most, pause) = (1 + state.chance.below(8) as usize, state.chance.below(100));
                let rest = records(&state, &self.partition).get(self.position as usize..).unwrap_or_default();
                (rest[..rest.len().min(most)].to_vec(), pause)
            };
            if !found.is_empty() {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                self.position += found.len() as i64;
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    fn position(&self) -> i64 {
        self.position
    }
}

impl Appender for SimAppender {
    async fn append(&mut self, outputs: Vec<Output>) -> Result<(), LogError> {
        reach(&self.world, self.process).await?;
        if self.world.state().appenders.get(&self.name) != Some(&self.id) {
            return Err(LogError::Fenced(self.name.clone()));
        }
        append(&self.world, outputs);
        self.world.wake();
        Ok(())
    }
}

// --- the group coordinator ---

/// Looks at every group: buries silent members, asks for partitions that should move, hands out free ones.
pub fn rebalance(world: &World) {
    let now = world.now();
    let mut notes = Vec::new();
    {
        let mut state = world.state();
        let names: Vec<String> = state.groups.keys().cloned().collect();
        for name in names {
            let mut group = state.groups.remove(&name).expect("the group exists");
            notes.extend(settle_group(&mut state, &mut group, now));
            state.groups.insert(name, group);
        }
    }
    notes.into_iter().for_each(|note| world.note(note));
    world.wake();
}

fn settle_group(state: &mut State, group: &mut GroupState, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    for member in group.members.values_mut() {
        let link = state.links.get(&member.process).cloned().unwrap_or_default();
        let stuck = [link.frozen_until, link.cut_until].into_iter().flatten().any(|until| until > now);
        member.stuck_since = if stuck { member.stuck_since.or(Some(now)) } else { None };
    }
    let silent = |m: &MemberState| m.dropped.into_iter().chain(m.stuck_since).any(|at| now.since(at) >= SESSION_MS);
    let dead: Vec<u64> = group.members.iter().filter(|(_, m)| m.fenced || silent(m)).map(|(id, _)| *id).collect();
    for id in &dead {
        let lost: Vec<TopicPartition> =
            group.owners.iter().filter(|(_, owner)| *owner == id).map(|(p, _)| p.clone()).collect();
        group.owners.retain(|_, owner| owner != id);
        if let Some(member) = group.members.get_mut(id)
            && !lost.is_empty()
        {
            notes.push(format!("m{id} is held to be dead and loses {}", lost.len()));
            member.positions.clear();
            member.revoking.clear();
            member.inbox.clear();
            member.inbox.push_back(Input::Lost(lost));
        }
    }
    let live: Vec<u64> = group.members.keys().copied().filter(|id| !dead.contains(id)).collect();
    let Some(first) = live.first() else { return notes };
    let topics = group.members[first].topics.clone();
    let all: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            let count = state.topics.get(topic).map_or(0, Vec::len) as u32;
            (0..count).map(|partition| TopicPartition { topic: topic.clone(), partition })
        })
        .collect();
    for (i, partition) in all.iter().enumerate() {
        let wanted = live[i % live.len()];
        match group.owners.get(partition).copied() {
            Some(owner) if owner == wanted => {}
            Some(owner) => {
                if let Some(member) = group.members.get_mut(&owner)
                    && member.revoking.insert(partition.clone())
                {
                    state.count(Fault::Rebalance);
                    member.inbox.push_back(Input::Revoking(vec![partition.clone()]));
                }
            }
            None => {
                let next = group.committed.get(partition).copied().unwrap_or(0);
                group.owners.insert(partition.clone(), wanted);
                if let Some(member) = group.members.get_mut(&wanted) {
                    member.positions.insert(partition.clone(), next);
                    member.inbox.push_back(Input::Assigned(vec![(partition.clone(), next)]));
                }
            }
        }
    }
    notes
}
