//! The sender's loop: feeds `tidings_core::sender` with what happened and performs the effects it answers with.
//!
//! Every effect that waits runs as a task of its own whose result is the next input; the loop itself never waits for
//! a store or a receiver, so that it goes on polling the group whatever else stands still.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_core::{
    catalog::Catalog,
    codec::{self, DeadLetter, Poison},
    domain::{Chance, Delivery, ErrorClass, NotificationId, Output, Record, Timestamp, TopicPartition},
    sender::{Answered, Attempting, Effect, Flow, Incoming, Input, Loaded, Options, Sender},
};
use tokio::{task::JoinSet, time::Instant};

use super::{
    RoleError,
    bodies::Bodies,
    clock::Clock,
    directory::DirectoryView,
    persisting::{BACKOFF, MAX_BACKOFF, insist, write},
    seam::Seam,
    stop::Stop,
};
use crate::{
    channels::{Answer, Channel, Job},
    crash::{self, Point},
    log::{self, Group, Log, LogError, Member},
    sources::Schemas,
    store::Store,
    telemetry::{Readiness, facts},
};

/// What one sender worker needs.
pub struct SenderRole<L, S, Ch, Cl> {
    pub log: L,
    pub store: S,
    pub channel: Arc<Ch>,
    pub clock: Cl,
    pub group: Group,
    pub deliveries: Arc<str>,
    pub deadletters: Arc<str>,
    pub view: DirectoryView,
    pub schemas: Schemas,
    pub catalog: Arc<Catalog>,
    pub options: Options,
    /// Where jitter comes from.
    pub seed: u64,
    pub readiness: Readiness,
    pub seam: Seam<Vec<Effect>>,
}

const ROLE: &str = "send";
/// The condition that dead letters can be written, beside the role's own.
const DEAD_LETTERS: &str = "deadletters";
/// The longest sleep between two looks at the clock, so that a clock that was set is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Inputs in one step: enough to share its cost, few enough that what follows from the first is not kept waiting.
const MAX_INPUTS: usize = 64;
/// After this a group has answered a heartbeat (`heartbeat.interval.ms` is 3 s), and so told who has our name.
const REPLACED_HEARD_WITHIN: Duration = Duration::from_secs(5);
/// How often what is in memory is written to the metrics.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// One membership of the group, from joining to leaving.
struct Worker<'a, L: Log, S, Ch, Cl> {
    role: &'a SenderRole<L, S, Ch, Cl>,
    view: DirectoryView,
    sender: Sender,
    chance: Chance,
    member: L::Member,
    bodies: Arc<Bodies>,
    jobs: JoinSet<Input>,
    /// Offsets whose commit failed; they go with the next one.
    uncommitted: BTreeMap<u32, i64>,
    paused: bool,
    stopping: bool,
    rejoin: bool,
}

// === impl SenderRole ===

impl<L: Log, S: Store, Ch: Channel, Cl: Clock> SenderRole<L, S, Ch, Cl> {
    /// Runs until the order to stop; then gives up its partitions in good order.
    pub async fn run(self, mut stop: Stop) -> Result<(), RoleError> {
        self.readiness.not_ready(ROLE, "joining");
        let mut view = self.view.clone();
        tokio::select! {
            biased;
            _ = stop.ordered() => return Ok(()),
            ready = view.ready() => {
                ready.ok_or(RoleError::NoDirectory)?;
            }
        }
        let mut seed = self.seed;
        loop {
            let member = self.log.join(self.group.clone()).await?;
            self.readiness.ready(ROLE);
            seed = seed.wrapping_add(1);
            let mut worker = Worker {
                role: &self,
                view: view.clone(),
                sender: Sender::new(self.options.clone()),
                chance: Chance::new(seed),
                member,
                bodies: Arc::new(Bodies::new(self.schemas.clone(), self.catalog.clone())),
                jobs: JoinSet::new(),
                uncommitted: BTreeMap::new(),
                paused: false,
                stopping: false,
                rejoin: false,
            };
            let mut ended = worker.serve(&mut stop).await;
            if worker.rejoin && ended.is_ok() {
                ended = worker.hear_if_replaced(&mut stop).await;
            }
            worker.jobs.abort_all();
            worker.member.leave().await;
            if !worker.rejoin || stop.is_ordered() {
                return ended;
            }
            ended?;
        }
    }
}

// === impl Worker ===

impl<L: Log, S: Store, Ch: Channel, Cl: Clock> Worker<'_, L, S, Ch, Cl> {
    async fn serve(&mut self, stop: &mut Stop) -> Result<(), RoleError> {
        let mut next_load = Instant::now();
        loop {
            if self.stopping && self.sender.is_idle() {
                return Ok(());
            }
            if next_load <= Instant::now() {
                next_load = Instant::now() + LOAD_EVERY;
                self.state_load();
            }
            let flow = self.flow().await?;
            let sleep = self.sleep();
            let input = tokio::select! {
                biased;
                _ = stop.ordered(), if !self.stopping => self.begin_stop(),
                Some(done) = self.jobs.join_next() => match done {
                    Ok(input) => input,
                    // A job that panicked leaves its effect undone, and only a fresh start mends that.
                    Err(error) => return Err(RoleError::Job(error.to_string())),
                },
                next = self.member.next(), if !self.stopping && flow != Flow::Hold => match self.heard(next).await? {
                    Some(input) => input,
                    None => continue,
                },
                // Last, because every input looks at the time and the directory anyway.
                _ = tokio::time::sleep(sleep) => Input::Tick,
                _ = self.view.changed() => Input::Tick,
            };
            // What has been answered meanwhile goes in with it.
            let mut inputs = vec![input];
            while inputs.len() < MAX_INPUTS
                && let Some(done) = self.jobs.try_join_next()
            {
                inputs.push(done.map_err(|error| RoleError::Job(error.to_string()))?);
            }
            self.feed(inputs).await?;
        }
    }

    /// Before joining again: whether the group says that another process has our name.
    ///
    /// A process that slept through its replacement hears of it from the store first. If it joined again then, it would
    /// throw its successor out, and that one would do the same to it.
    async fn hear_if_replaced(&mut self, stop: &mut Stop) -> Result<(), RoleError> {
        let news = async {
            loop {
                match self.member.next().await {
                    Ok(_) => {}
                    Err(LogError::Unavailable(_) | LogError::Aborted(_)) => tokio::time::sleep(BACKOFF).await,
                    Err(error) => return error,
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.ordered() => Ok(()),
            error = news => Err(error.into()),
            _ = tokio::time::sleep(REPLACED_HEARD_WITHIN) => Ok(()),
        }
    }

    fn begin_stop(&mut self) -> Input {
        self.stopping = true;
        Input::Stop
    }

    fn sleep(&self) -> Duration {
        let Some(wake) = self.sender.next_wake() else { return MAX_SLEEP };
        let ms = wake.since(self.role.clock.now()).max(1);
        Duration::from_millis(ms as u64).min(MAX_SLEEP)
    }

    /// Pauses or resumes the member as the core's flow says.
    async fn flow(&mut self) -> Result<Flow, RoleError> {
        let flow = self.sender.flow(self.role.clock.now());
        let pause = flow == Flow::Pause;
        if pause != self.paused && !self.stopping {
            let done = if pause { self.member.pause().await } else { self.member.resume().await };
            match done {
                Ok(()) => self.paused = pause,
                Err(LogError::Unavailable(why)) => facts::log_failed(ROLE, &LogError::Unavailable(why)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(flow)
    }

    async fn feed(&mut self, inputs: Vec<Input>) -> Result<(), RoleError> {
        let Some(directory) = self.view.current() else { return Err(RoleError::NoDirectory) };
        let mut effects = Vec::new();
        self.sender.step(self.role.clock.now(), &mut self.chance, &directory, inputs, &mut effects);
        self.role.seam.tamper(&mut effects);
        for effect in effects {
            self.perform(effect).await?;
        }
        Ok(())
    }

    // --- what the group says ---

    async fn heard(&mut self, next: Result<log::Input, LogError>) -> Result<Option<Input>, RoleError> {
        match next {
            Ok(log::Input::Records(records)) => Ok(Some(self.deliveries(records))),
            Ok(log::Input::Assigned(partitions)) => {
                let partitions: Vec<_> = partitions.into_iter().map(|(partition, _)| partition).collect();
                facts::partitions_assigned(ROLE, &partitions);
                self.uncommitted.retain(|number, _| !partitions.iter().any(|p| p.partition == *number));
                Ok(Some(Input::Assigned(numbers(&partitions))))
            }
            Ok(log::Input::Revoking(partitions)) => Ok(Some(Input::Revoking(numbers(&partitions)))),
            Ok(log::Input::Lost(partitions)) => {
                facts::partitions_lost(ROLE, &partitions);
                self.uncommitted.retain(|number, _| !partitions.iter().any(|p| p.partition == *number));
                Ok(Some(Input::Lost(numbers(&partitions))))
            }
            Err(LogError::Unavailable(why)) | Err(LogError::Aborted(why)) => {
                facts::log_failed(ROLE, &LogError::Unavailable(why));
                tokio::time::sleep(BACKOFF).await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn deliveries(&mut self, records: Vec<Record>) -> Input {
        let mut incoming = Vec::with_capacity(records.len());
        for record in records {
            let raw = record.value.clone().unwrap_or_default();
            let delivery = match codec::decode_shared_delivery(&raw) {
                Ok(delivery) => Some(Arc::new(delivery)),
                Err(poison) => {
                    let (log, topic) = (self.role.log.clone(), self.role.deadletters.clone());
                    let (record, readiness) = (record.clone(), self.role.readiness.clone());
                    self.jobs.spawn(async move { set_aside(&log, &topic, &record, &poison, &readiness).await });
                    None
                }
            };
            incoming.push(Incoming { partition: record.partition, offset: record.offset, delivery, raw });
        }
        Input::Deliveries(incoming)
    }

    // --- effects ---

    async fn perform(&mut self, effect: Effect) -> Result<(), RoleError> {
        let role = self.role;
        match effect {
            Effect::Conflict(delivery) => facts::id_conflict(&delivery.position, delivery.id),
            Effect::Acquire(partition, lease) => {
                let (store, owner, readiness) =
                    (role.store.clone(), role.group.instance.clone(), role.readiness.clone());
                self.jobs.spawn(async move {
                    let epoch = insist(&readiness, || store.acquire(partition, &owner)).await;
                    Input::Acquired(partition, lease, epoch)
                });
            }
            Effect::LookUp(lookup, ids) => {
                let (store, readiness) = (role.store.clone(), role.readiness.clone());
                self.jobs
                    .spawn(async move { Input::LookedUp(lookup, insist(&readiness, || store.look_up(&ids)).await) });
            }
            Effect::Send(ticket, attempting) => {
                let (channel, clock, bodies) = (role.channel.clone(), role.clock.clone(), self.bodies.clone());
                let attempting = match self.view.current() {
                    Some(directory) => {
                        Attempting { destination: directory.resolved(attempting.destination), ..attempting }
                    }
                    None => attempting,
                };
                self.jobs.spawn(async move {
                    let answered = attempt(&*channel, &clock, &bodies, attempting).await;
                    crash::point(Point::Answered);
                    Input::Answered(ticket, answered)
                });
            }
            Effect::Store(batch) => {
                let (store, readiness) = (role.store.clone(), role.readiness.clone());
                self.jobs.spawn(async move { write(&store, &readiness, batch).await });
            }
            Effect::LoadDue { partition, lease, after, until, limit } => {
                let (store, readiness, partitions) =
                    (role.store.clone(), role.readiness.clone(), role.options.partitions);
                self.jobs.spawn(async move {
                    let load = || store.due(partition, partitions, after, until, limit);
                    let rows = insist(&readiness, load).await;
                    let loaded = match rows.last() {
                        Some(last) if rows.len() as u32 >= limit => Loaded::Upto((last.due, last.notification)),
                        _ => Loaded::Until(until),
                    };
                    let rows = rows.into_iter().filter_map(|row| Some((read(row.notification, &row.delivery)?, row)));
                    Input::Due(partition, lease, rows.map(|(delivery, row)| (row, delivery)).collect(), loaded)
                });
            }
            Effect::Commit(offsets) => self.commit(offsets).await?,
            Effect::Release(partitions) => self.release(&partitions).await?,
            Effect::Rejoin => {
                self.rejoin = true;
                self.stopping = true;
                Box::pin(self.feed(vec![Input::Stop])).await?;
            }
        }
        Ok(())
    }

    /// Late commits cost re-reading, never re-sending: a failed one waits for the next.
    async fn commit(&mut self, offsets: Vec<(u32, i64)>) -> Result<(), RoleError> {
        self.uncommitted.extend(offsets);
        let topic = &self.role.deliveries;
        let offsets = self
            .uncommitted
            .iter()
            .map(|(partition, next)| (TopicPartition { topic: topic.clone(), partition: *partition }, *next))
            .collect();
        match self.member.commit(Vec::new(), offsets).await {
            Ok(()) => self.uncommitted.clear(),
            Err(LogError::Unavailable(why)) | Err(LogError::Aborted(why)) => facts::commit_aborted(ROLE, &why),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn release(&mut self, numbers: &[u32]) -> Result<(), RoleError> {
        let topic = &self.role.deliveries;
        let partitions: Vec<TopicPartition> =
            numbers.iter().map(|n| TopicPartition { topic: topic.clone(), partition: *n }).collect();
        self.uncommitted.retain(|number, _| !numbers.contains(number));
        // On the way out the whole membership is given up by leaving.
        if !self.stopping {
            match self.member.release(&partitions).await {
                Ok(()) => {}
                Err(LogError::Unavailable(why)) => facts::log_failed(ROLE, &LogError::Unavailable(why)),
                Err(error) => return Err(error.into()),
            }
        }
        facts::partitions_released(ROLE, &partitions);
        Ok(())
    }

    fn state_load(&self) {
        let load = self.sender.load();
        facts::sender_load(facts::SenderLoad {
            queued: load.queued,
            queued_bytes: load.queued_bytes,
            in_flight: load.in_flight,
            unsettled: load.unsettled,
        });
    }
}

/// A delivery that cannot be read goes to the dead letters before its offset counts as settled.
async fn set_aside<L: Log>(
    log: &L,
    topic: &Arc<str>,
    record: &Record,
    poison: &Poison,
    readiness: &Readiness,
) -> Input {
    let DeadLetter { key, value, headers } = codec::dead_letter(record, poison);
    let letter = Output { topic: topic.clone(), partition: None, key, value, headers };
    let mut backoff = BACKOFF;
    while let Err(error) = log.append(vec![letter.clone()]).await {
        facts::log_failed(ROLE, &error);
        readiness.not_ready(DEAD_LETTERS, "the dead-letter topic cannot be written");
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    readiness.ready(DEAD_LETTERS);
    facts::dead_lettered(&record.position(), poison.reason.as_str(), &poison.detail);
    Input::SetAside(record.partition, record.offset)
}

fn numbers(partitions: &[TopicPartition]) -> Vec<u32> {
    partitions.iter().map(|p| p.partition).collect()
}

fn read(notification: NotificationId, delivery: &Bytes) -> Option<Arc<Delivery>> {
    match codec::decode_shared_delivery(delivery) {
        Ok(delivery) => Some(Arc::new(delivery)),
        Err(poison) => {
            facts::parked_row_unreadable(notification, &poison);
            None
        }
    }
}

/// Makes the attempt, with the body that every destination of this event gets.
async fn attempt<Ch: Channel, Cl: Clock>(
    channel: &Ch,
    clock: &Cl,
    bodies: &Bodies,
    attempting: Attempting,
) -> Answered {
    let Attempting { attempt, destination, delivery } = attempting;
    let body = match bodies.of(&delivery).await {
        Ok(body) => body,
        Err(message) => return unsendable(clock.now(), message),
    };
    let Answer { at, duration_ms, code, failure, response } =
        channel.deliver(Job { notification: delivery.id, attempt, destination, body }).await;
    let (error, message, retry_after_ms) = match failure {
        Some(failure) => (Some(failure.class), Some(failure.message), failure.retry_after_ms),
        None => (None, None, None),
    };
    if error.is_none() && attempt == 1 {
        let latency = at.plus(i64::from(duration_ms)).since(delivery.begins_at()).max(0);
        facts::delivered_at_first_attempt(Duration::from_millis(latency as u64));
    }
    Answered { at, duration_ms, code, error, message, response, retry_after_ms }
}

fn unsendable(at: Timestamp, message: String) -> Answered {
    Answered {
        at,
        duration_ms: 0,
        code: None,
        error: Some(ErrorClass::Render),
        message: Some(message),
        response: None,
        retry_after_ms: None,
    }
}
