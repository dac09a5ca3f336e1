//! The world: everything outside the loops, in one place and under one seed.
//!
//! Holds what survives a crash (topics, committed offsets, the store) and what the outside saw (requests at
//! receivers), keeps the trace, and decides by its seed where faults strike.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use tidings::roles::Clock;
use tidings_core::domain::{Attempt, Chance, Day, Epoch, NotificationId, Parked, Record, Timestamp, TopicPartition};
use tokio::{sync::Notify, time::Instant};

use crate::faults::{Fault, Plan};

/// Shared by every stand-in of one run.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    origin: Instant,
}

/// One process of the simulated deployment, by number. Restarted, it keeps the number and gets a new life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub usize);

/// When virtual time begins.
pub const EPOCH: Timestamp = Timestamp(1_790_000_000_000);

pub struct State {
    pub chance: Chance,
    pub plan: Plan,
    pub topics: BTreeMap<Arc<str>, Vec<Vec<Record>>>,
    pub groups: BTreeMap<String, GroupState>,
    /// The newest appender of each name.
    pub appenders: BTreeMap<String, u64>,
    pub store: StoreState,
    pub requests: Vec<Request>,
    /// Requests per notification.
    pub seen: BTreeMap<NotificationId, u64>,
    pub links: BTreeMap<Process, Link>,
    pub struck: BTreeMap<Fault, u64>,
    /// Up to where each delivery partition's committed offsets have been checked.
    pub checked: BTreeMap<TopicPartition, i64>,
    pub violations: Vec<String>,
    pub trace: Vec<String>,
    pub counter: u64,
    /// When faults stop, so that the run can drain.
    pub calm: bool,
}

/// What stands between a process and the rest.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Every call of the process stands still until then: SIGSTOP.
    pub frozen_until: Option<Timestamp>,
    /// The log is out of reach until then; store and receivers are not.
    pub cut_until: Option<Timestamp>,
    /// Times at which the process was disturbed: crashed, frozen, cut off, or left a partition.
    pub disturbed: Vec<Timestamp>,
    /// Of those, the ones after which it went on with what it knew before: frozen or cut off.
    pub stalled: Vec<Timestamp>,
}

#[derive(Default)]
pub struct GroupState {
    pub committed: BTreeMap<TopicPartition, i64>,
    pub members: BTreeMap<u64, MemberState>,
    pub owners: BTreeMap<TopicPartition, u64>,
}

pub struct MemberState {
    pub process: Process,
    pub instance: String,
    pub topics: Vec<Arc<str>>,
    pub positions: BTreeMap<TopicPartition, i64>,
    pub inbox: std::collections::VecDeque<tidings::log::Input>,
    /// Asked to give up, not released yet.
    pub revoking: BTreeSet<TopicPartition>,
    pub paused: bool,
    /// Replaced by a newer member of the same instance.
    pub fenced: bool,
    /// When its process died with it.
    pub dropped: Option<Timestamp>,
    /// Since when it has been frozen or cut off.
    pub stuck_since: Option<Timestamp>,
}

#[derive(Default)]
pub struct StoreState {
    pub attempts: BTreeMap<(Day, NotificationId, u32), Attempt>,
    pub parked: BTreeMap<(Day, NotificationId), Parked>,
    pub epochs: BTreeMap<u32, Epoch>,
    /// When each final outcome became durable.
    pub finals: BTreeMap<NotificationId, Timestamp>,
    pub down_until: Option<Timestamp>,
}

/// One request as a receiver saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Timestamp,
    pub process: Process,
    pub notification: NotificationId,
    pub team: String,
    pub destination: String,
    /// Whether the receiver answered 2xx.
    pub accepted: bool,
    /// Whether the sender heard the answer.
    pub heard: bool,
}

/// The world's time, for the loops.
#[derive(Clone)]
pub struct WorldClock(pub World);

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

// === impl World ===

impl World {
    pub fn new(seed: u64, plan: Plan) -> World {
        let state = State {
            chance: Chance::new(seed),
            plan,
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            appenders: BTreeMap::new(),
            store: StoreState::default(),
            requests: Vec::new(),
            seen: BTreeMap::new(),
            links: BTreeMap::new(),
            struck: BTreeMap::new(),
            checked: BTreeMap::new(),
            violations: Vec::new(),
            trace: Vec::new(),
            counter: 0,
            calm: false,
        };
        World(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), origin: Instant::now() }))
    }

    pub fn now(&self) -> Timestamp {
        EPOCH.plus(self.0.origin.elapsed().as_millis() as i64)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something became visible: whoever waits for records looks again.
    pub fn wake(&self) {
        self.0.changed.notify_waiters();
    }

    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.changed.notified()
    }

    /// What every call of a process goes through: it takes a while, and longer if the process is frozen.
    pub async fn pass(&self, process: Process, most_ms: u64) {
        let delay = {
            let mut state = self.state();
            let slow = state.strikes(Fault::Delay);
            let delay = state.chance.below(most_ms.max(1) + 1);
            if slow { delay * 20 } else { delay }
        };
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        self.thaw(process).await;
    }

    pub async fn thaw(&self, process: Process) {
        loop {
            let until = self.state().links.get(&process).and_then(|link| link.frozen_until);
            match until {
                Some(until) if until > self.now() => self.sleep_until(until).await,
                _ => return,
            }
        }
    }

    pub fn is_cut(&self, process: Process) -> bool {
        let until = self.state().links.get(&process).and_then(|link| link.cut_until);
        until.is_some_and(|until| until > self.now())
    }

    pub async fn sleep_until(&self, time: Timestamp) {
        let ms = time.since(self.now()).max(0) as u64;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub fn note(&self, line: String) {
        let now = self.now().since(EPOCH);
        self.state().trace.push(format!("{now:>8} {line}"));
    }

    pub fn violation(&self, what: String) {
        self.note(format!("VIOLATION {what}"));
        self.state().violations.push(what);
    }

    pub fn create_topic(&self, name: &str, partitions: u32) {
        self.state().topics.insert(name.into(), (0..partitions).map(|_| Vec::new()).collect());
    }

    /// Appends at once, as the broker does when a transaction commits.
    pub fn append(&self, topic: &Arc<str>, partition: u32, key: Option<Bytes>, value: Option<Bytes>) -> i64 {
        self.append_record(topic, partition, key, value, Vec::new())
    }

    pub fn append_record(
        &self,
        topic: &Arc<str>,
        partition: u32,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(String, Bytes)>,
    ) -> i64 {
        let timestamp = self.now();
        let mut state = self.state();
        let records = &mut state.topics.get_mut(topic).expect("the topic exists")[partition as usize];
        let offset = records.len() as i64;
        records.push(Record { topic: topic.clone(), partition, offset, timestamp, key, value, headers });
        offset
    }

    /// The trace as one number: equal seeds must give equal traces.
    pub fn fingerprint(&self) -> String {
        let state = self.state();
        let mut hasher = blake3::Hasher::new();
        state.trace.iter().for_each(|line| {
            hasher.update(line.as_bytes());
        });
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

// === impl State ===

impl State {
    /// Whether this fault strikes here and now; counted if so.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        if self.calm {
            return false;
        }
        let one_in = self.plan.one_in(fault);
        let strikes = one_in > 0 && self.chance.one_in(one_in);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    pub fn count(&mut self, fault: Fault) {
        *self.struck.entry(fault).or_default() += 1;
    }

    pub fn disturb(&mut self, process: Process, at: Timestamp) {
        self.links.entry(process).or_default().disturbed.push(at);
    }

    pub fn next_id(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}
