//! One run: starts the processes, lets the workload and the faults loose on them, drains, and checks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings::{
    log::{BatchLimits, Group, Outputs},
    roles::{Stopper, directory::follower, matcher::MatcherRole, seam::Seam, sender::SenderRole, stop_pair},
    sources::{EventsTopics, Schemas},
    telemetry::Readiness,
};
use tidings_core::{
    catalog::Catalog,
    codec::{self, Decoder},
    domain::{Chance, Outcome, Timestamp, WriteBatch},
    matcher::{self, Batch},
    sender::{self, Effect},
};
use tokio::task::JoinHandle;

use crate::{
    checkers,
    faults::{Fault, Plan, Sabotage},
    sim_channel::SimChannel,
    sim_log::{self, SimLog},
    sim_store::SimStore,
    workload::{DELIVERY_PARTITIONS, EVENT_PARTITIONS, Workload, topics},
    world::{Process, World, WorldClock},
};

/// What a run came to.
pub struct Report {
    pub seed: u64,
    pub fingerprint: String,
    pub violations: Vec<String>,
    pub struck: BTreeMap<Fault, u64>,
    pub events: u64,
    pub deliveries: usize,
    pub delivered: usize,
    pub requests: usize,
    pub trace: Vec<String>,
}

pub const EVENTS: u64 = 2_000;
const MATCHERS: usize = 2;
const SENDERS: usize = 2;
/// Virtual time that a drained run may take at most.
const DRAIN_LIMIT_S: u64 = 1_800;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Match,
    Send,
}

/// A process's present life.
struct Life {
    tasks: Vec<JoinHandle<()>>,
    stopper: Stopper,
}

struct Cluster {
    world: World,
    catalog: Arc<Catalog>,
    schemas: Schemas,
    outputs: Outputs,
    lives: Vec<Option<Life>>,
    chance: Chance,
}

/// Runs a seed to its end. Equal arguments give equal reports.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(run_in_time(seed, sabotage))
}

async fn run_in_time(seed: u64, sabotage: Option<Sabotage>) -> Report {
    let world = World::new(seed, Plan::drawn(seed, sabotage));
    let names = topics();
    world.create_topic(&names.events, EVENT_PARTITIONS);
    world.create_topic(&names.directory, 1);
    world.create_topic(&names.deliveries, DELIVERY_PARTITIONS);
    world.create_topic(&names.deadletters, 1);
    world.create_topic(&names.index_versions, 1);
    // Some clusters forbid transactions; a sabotage that only shows in them would hide behind the weaker promise.
    let transactional = sabotage.is_some() || !seed.is_multiple_of(5);
    let catalog = Catalog::builtin();
    let decoder = Decoder::new(catalog.clone(), BTreeMap::new(), None).expect("no ids");
    let mut cluster = Cluster {
        world: world.clone(),
        catalog,
        schemas: Schemas::local(decoder),
        outputs: if transactional { Outputs::Transactional } else { Outputs::AtLeastOnce },
        lives: (0..MATCHERS + SENDERS).map(|_| None).collect(),
        chance: Chance::new(seed ^ 0xFA17),
    };
    let mut workload = Workload::new(seed, world.clone());
    workload.begin();
    (0..MATCHERS + SENDERS).for_each(|n| cluster.start(n));
    cluster.storm(&mut workload).await;
    cluster.drain().await;
    cluster.stop_all().await;
    checkers::check(&world, transactional);
    let fingerprint = world.fingerprint();
    let state = world.state();
    Report {
        seed,
        fingerprint,
        violations: state.violations.clone(),
        struck: state.struck.clone(),
        events: workload.written(),
        deliveries: state.topics[&names.deliveries].iter().map(Vec::len).sum(),
        delivered: state.store.attempts.values().filter(|row| row.outcome == Some(Outcome::Delivered)).count(),
        requests: state.requests.len(),
        trace: state.trace.clone(),
    }
}

// === impl Cluster ===

impl Cluster {
    /// The time of faults: events and directory changes all along, and something happens to some process now and then.
    async fn storm(&mut self, workload: &mut Workload) {
        let mut next_fault = 3_000;
        let mut next_change = 500;
        let mut clock = 0u64;
        let mut struck = 0;
        while workload.written() < EVENTS || struck < 8 {
            let pause = 20 + self.chance.below(100);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            clock += pause;
            if workload.written() < EVENTS {
                workload.events(4);
            }
            if clock >= next_change {
                next_change = clock + 200 + self.chance.below(2_000);
                workload.change();
            }
            sim_log::rebalance(&self.world);
            if clock >= next_fault {
                next_fault = clock + 1_000 + self.chance.below(7_000);
                self.disturb().await;
                struck += 1;
            }
        }
    }

    /// One disturbance. The first few are crashes, so that every run has some.
    async fn disturb(&mut self) {
        let n = self.chance.below(self.lives.len() as u64) as usize;
        let process = Process(n);
        let now = self.world.now();
        let crashes = self.world.state().struck.get(&Fault::Crash).copied().unwrap_or(0);
        let kind = if crashes < 3 { 0 } else { self.chance.below(10) };
        match kind {
            0..=3 => {
                self.crash(n).await;
                let away = [300, 2_000, 15_000][self.chance.below(3) as usize];
                self.come_back(n, away).await;
            }
            4..=5 => {
                self.world.state().count(Fault::Restart);
                self.stop(n).await;
                self.come_back(n, 500).await;
            }
            6..=7 => {
                let until = now.plus(12_000 + self.chance.below(8_000) as i64);
                self.stall(process, Fault::Freeze, until);
            }
            8 => {
                let until = now.plus(12_000 + self.chance.below(8_000) as i64);
                self.stall(process, Fault::Cut, until);
            }
            _ => {
                let mut state = self.world.state();
                state.count(Fault::StoreDown);
                state.store.down_until = Some(now.plus(2_000 + self.chance.below(38_000) as i64));
            }
        }
    }

    fn stall(&mut self, process: Process, fault: Fault, until: Timestamp) {
        let now = self.world.now();
        let mut state = self.world.state();
        state.count(fault);
        state.disturb(process, now);
        let link = state.links.entry(process).or_default();
        link.stalled.extend([now, until]);
        match fault {
            Fault::Freeze => link.frozen_until = Some(until),
            _ => link.cut_until = Some(until),
        }
        drop(state);
        self.world.note(format!("p{} {fault:?} until {until}", process.0));
    }

    /// Time goes on while a process is away: the group must do without it.
    async fn come_back(&mut self, n: usize, away_ms: u64) {
        for _ in 0..away_ms.div_ceil(250) {
            tokio::time::sleep(Duration::from_millis(250)).await;
            sim_log::rebalance(&self.world);
        }
        self.start(n);
    }

    async fn crash(&mut self, n: usize) {
        let Some(life) = self.lives[n].take() else { return };
        let now = self.world.now();
        {
            let mut state = self.world.state();
            state.count(Fault::Crash);
            state.disturb(Process(n), now);
        }
        self.world.note(format!("p{n} crashes"));
        for task in &life.tasks {
            task.abort();
        }
        for task in life.tasks {
            // Cancelled is what was asked for.
            let _ = task.await;
        }
    }

    async fn stop(&mut self, n: usize) {
        let Some(life) = self.lives[n].take() else { return };
        self.world.note(format!("p{n} is asked to stop"));
        life.stopper.stop();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        for mut task in life.tasks {
            loop {
                sim_log::rebalance(&self.world);
                match tokio::time::timeout(Duration::from_millis(250), &mut task).await {
                    Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Ok(_) => break,
                    Err(_) if tokio::time::Instant::now() > deadline => {
                        self.world.violation(format!("p{n} did not stop within 60 s"));
                        task.abort();
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// No more faults: everything must come to its end.
    async fn drain(&mut self) {
        {
            let mut state = self.world.state();
            state.calm = true;
            state.store.down_until = None;
        }
        for n in 0..self.lives.len() {
            if self.lives[n].as_ref().is_none_or(|life| life.tasks.iter().any(JoinHandle::is_finished)) {
                self.stop(n).await;
                self.start(n);
            }
        }
        for _ in 0..DRAIN_LIMIT_S {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sim_log::rebalance(&self.world);
            // What is wrong already need not be waited for.
            if self.is_drained() || !self.world.state().violations.is_empty() {
                return;
            }
        }
        let parked = self.world.state().store.parked.len();
        let lag = self.lag();
        self.world.violation(format!("not drained after {DRAIN_LIMIT_S} s: {parked} parked, lag {lag:?}"));
    }

    fn is_drained(&self) -> bool {
        self.lag().iter().all(|(_, lag)| *lag == 0) && self.world.state().store.parked.is_empty()
    }

    fn lag(&self) -> Vec<(&'static str, i64)> {
        let state = self.world.state();
        let names = topics();
        [("tidings.match", &names.events), ("tidings.send", &names.deliveries)]
            .map(|(group, topic)| {
                let ends: i64 = state.topics[topic].iter().map(|records| records.len() as i64).sum();
                let committed = state.groups.get(group).map(|g| g.committed.values().sum()).unwrap_or(0);
                (group, ends - committed)
            })
            .to_vec()
    }

    async fn stop_all(&mut self) {
        for n in 0..self.lives.len() {
            self.stop(n).await;
        }
    }

    // --- processes ---

    fn start(&mut self, n: usize) {
        let process = Process(n);
        let kind = if n < MATCHERS { Kind::Match } else { Kind::Send };
        let log = SimLog { world: self.world.clone(), process };
        let (stopper, stop) = stop_pair();
        let readiness = Readiness::default();
        let (follower, view) =
            follower(log.clone(), topics().directory.clone(), self.catalog.clone(), readiness.clone());
        let mut tasks = vec![tokio::spawn(follower.run(stop.clone(), |_| {}))];
        let group = self.group(kind, n);
        self.world.note(format!("p{n} starts"));
        let world = self.world.clone();
        tasks.push(match kind {
            Kind::Match => {
                let role = MatcherRole {
                    log,
                    events: EventsTopics::fixed(group.topics.clone()),
                    group,
                    view,
                    schemas: self.schemas.clone(),
                    options: matcher_options(),
                    readiness,
                    seam: matcher_seam(&self.world),
                };
                tokio::spawn(async move { ended(&world, n, role.run(stop).await) })
            }
            Kind::Send => {
                let role = SenderRole {
                    log,
                    store: SimStore { world: self.world.clone(), process },
                    channel: Arc::new(SimChannel { world: self.world.clone(), process }),
                    clock: WorldClock(self.world.clone()),
                    group,
                    deliveries: topics().deliveries.clone(),
                    deadletters: topics().deadletters.clone(),
                    view,
                    schemas: self.schemas.clone(),
                    catalog: self.catalog.clone(),
                    options: sender_options(),
                    seed: self.chance.next_u64(),
                    readiness,
                    seam: sender_seam(&self.world),
                };
                tokio::spawn(async move { ended(&world, n, role.run(stop).await) })
            }
        });
        self.lives[n] = Some(Life { tasks, stopper });
    }

    fn group(&self, kind: Kind, n: usize) -> Group {
        let (name, topic, outputs) = match kind {
            Kind::Match => ("tidings.match", &topics().events, self.outputs),
            Kind::Send => ("tidings.send", &topics().deliveries, Outputs::Transactional),
        };
        Group {
            name: name.to_owned(),
            topics: vec![topic.clone()],
            instance: format!("p{n}"),
            outputs,
            batch: BatchLimits { records: 40, bytes: 1 << 20, time: Duration::from_millis(5) },
        }
    }
}

fn ended(world: &World, n: usize, result: Result<(), tidings::roles::RoleError>) {
    if let Err(error) = result {
        world.note(format!("p{n} ended: {error}"));
    }
}

fn matcher_options() -> matcher::Options {
    matcher::Options {
        deliveries: topics().deliveries.clone(),
        deadletters: topics().deadletters.clone(),
        index_versions: topics().index_versions.clone(),
        delivery_partitions: DELIVERY_PARTITIONS,
        max_fanout: 1_000,
        max_fanout_bytes: 1 << 20,
        max_batch_bytes: 64 << 10,
        threads: 2,
    }
}

fn sender_options() -> sender::Options {
    sender::Options {
        partitions: DELIVERY_PARTITIONS,
        max_in_flight: 32,
        max_unsettled: 40,
        max_queued: 300,
        max_age_ms: 3_600_000,
        drain_ms: 5_000,
        ..sender::Options::default()
    }
}

// --- sabotages that spoil what the core has decided ---

fn matcher_seam(world: &World) -> Seam<Batch> {
    let sabotage = world.state().plan.sabotage;
    let world = world.clone();
    let names = topics();
    let one_in = move |n: u64| world.state().chance.one_in(n);
    match sabotage {
        Some(Sabotage::StaleIndexVersion) => Seam::spoiled(move |batch: &mut Batch| {
            for output in batch.outputs.iter_mut().filter(|output| output.topic == names.index_versions) {
                let mut value: serde_json::Value = serde_json::from_slice(output.value.as_deref().unwrap()).unwrap();
                value["index_version"] = (value["index_version"].as_i64().unwrap() - 1).into();
                output.value = Some(Bytes::from(value.to_string()));
            }
        }),
        Some(Sabotage::DropDeadLetter) => {
            Seam::spoiled(move |batch: &mut Batch| batch.outputs.retain(|output| output.topic != names.deadletters))
        }
        Some(Sabotage::DropDelivery) => Seam::spoiled(move |batch: &mut Batch| {
            batch.outputs.retain(|output| output.topic != names.deliveries || !one_in(100));
        }),
        Some(Sabotage::RepeatDelivery) => Seam::spoiled(move |batch: &mut Batch| {
            let again = batch.outputs.iter().find(|output| output.topic == names.deliveries && one_in(20)).cloned();
            batch.outputs.extend(again);
        }),
        Some(Sabotage::UnstableId) => Seam::spoiled(move |batch: &mut Batch| {
            for output in batch.outputs.iter_mut().filter(|output| output.topic == names.deliveries && one_in(20)) {
                let mut delivery = codec::decode_delivery(output.value.as_deref().unwrap()).unwrap();
                delivery.id.0[0] ^= 0xFF;
                output.value = Some(codec::encode_delivery(&delivery));
            }
        }),
        _ => Seam::closed(),
    }
}

fn sender_seam(world: &World) -> Seam<Vec<Effect>> {
    match world.state().plan.sabotage {
        Some(Sabotage::CommitBeforeStore) => each_effect(|effect| {
            if let Effect::Commit(offsets) = effect {
                offsets.iter_mut().for_each(|(_, next)| *next += 2);
            }
        }),
        Some(Sabotage::ReleaseBeforeParked) => each_store(|batch| batch.park.clear()),
        Some(Sabotage::NoLookUp) => each_effect(|effect| {
            if let Effect::LookUp(_, ids) = effect {
                ids.clear();
            }
        }),
        Some(Sabotage::ForgetParked) => each_effect(|effect| {
            if let Effect::LoadDue { until, .. } = effect {
                *until = Timestamp(0);
            }
        }),
        _ => Seam::closed(),
    }
}

fn each_effect(spoil: impl Fn(&mut Effect) + Send + Sync + 'static) -> Seam<Vec<Effect>> {
    Seam::spoiled(move |effects: &mut Vec<Effect>| effects.iter_mut().for_each(&spoil))
}

fn each_store(spoil: impl Fn(&mut WriteBatch) + Send + Sync + 'static) -> Seam<Vec<Effect>> {
    each_effect(move |effect| {
        if let Effect::Store(batch) = effect {
            spoil(batch);
        }
    })
}
