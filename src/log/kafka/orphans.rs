//! Partitions that no member of the group has, and how they find one.
//!
//! The cooperative protocol moves a partition in two rounds: the first takes it from its owner, who then asks for the second, which
//! gives it to the heir. An owner that is killed between the two never asks; and because a static member that comes back within its
//! session gets what it had, without a round, nobody else does. The group is then stable, each member content with what it has, and
//! some partitions are read by nobody until somebody's session ends.
//!
//! So whoever has been assigned something, be it nothing, looks a little later whether all partitions have an owner. If not, a visitor
//! joins the group and leaves it: each of the two makes it divide all partitions anew. The visitor reads nothing and commits nothing.
//!
//! Looking is for a thread and a connection of their own: on the member's connection a question waits its turn behind fetches, each of
//! which the broker holds for half a second where there is nothing to read.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult},
};

use super::{
    admin::Cluster,
    records::{forward_error, forward_log},
    worker::Worker,
};
use crate::log::Group;

/// From an assignment to the look, and between looks. An owner that is alive asks for the second round sooner, mostly.
const LOOK_AFTER: Duration = Duration::from_millis(1_500);
/// So many looks must find the same before anything is done.
const LOOKS: u32 = 2;
/// After a visit; the group has then divided everything twice.
const AFTER_VISIT: Duration = Duration::from_secs(10);
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// A visitor that the group has not let in by then goes.
const VISIT_WITHIN: Duration = Duration::from_secs(30);
const STABLE: &str = "Stable";

/// Whether and when to look for partitions without an owner.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    look_at: Option<Instant>,
    /// A look that is under way.
    answer: Option<Receiver<KafkaResult<Option<usize>>>>,
    looks: u32,
}

/// What a visitor waits for: that the group has given it something, or nothing.
struct Visit {
    received: Arc<AtomicBool>,
}

// === impl Orphans ===

impl Orphans {
    pub(super) fn look_soon(&mut self) {
        self.look_after(LOOK_AFTER, 0);
    }

    fn look_after(&mut self, pause: Duration, looks: u32) {
        *self = Orphans { look_at: Some(Instant::now() + pause), answer: None, looks };
    }
}

// === impl Worker ===

impl Worker {
    /// Looks, when it is time, until every partition has an owner. Waits for nothing.
    pub(super) fn look_for_orphans(&mut self) {
        if self.orphans.look_at.take_if(|at| *at <= Instant::now()).is_some() {
            if self.revoking.is_some() || self.assigning.is_some() {
                return self.orphans.look_soon();
            }
            self.orphans.answer = look(self.cluster.clone(), self.group.clone());
            if self.orphans.answer.is_none() {
                self.orphans.look_soon();
            }
        }
        let Some(answer) = &self.orphans.answer else { return };
        match answer.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Ok(Some(0))) => self.orphans.answer = None,
            Ok(Ok(Some(count))) if self.orphans.looks + 1 >= LOOKS => {
                tracing::warn!(
                    group = self.group.name,
                    partitions = count,
                    "partitions without an owner in a stable group: a visitor makes it divide them again"
                );
                visit(self.cluster.clone(), self.group.clone());
                self.orphans.look_after(AFTER_VISIT, 0);
            }
            Ok(Ok(Some(_))) => self.orphans.look_after(LOOK_AFTER, self.orphans.looks + 1),
            // It is dividing them just now, or cannot say.
            Ok(Ok(None)) | Err(TryRecvError::Disconnected) => self.orphans.look_soon(),
            Ok(Err(error)) => {
                tracing::debug!(group = self.group.name, "asking who owns what: {error}");
                self.orphans.look_soon();
            }
        }
    }
}

/// Looks on a thread of its own; `None` if there can be none.
fn look(cluster: Arc<Cluster>, group: Group) -> Option<Receiver<KafkaResult<Option<usize>>>> {
    let (answer, answered) = channel();
    let looking = move || {
        // Nobody asks any more if something has been assigned meanwhile: then there will be another look.
        answer.send(cluster.ask(|client| ownerless(client, &group))).ok();
    };
    match thread::Builder::new().name("kafka owners".to_owned()).spawn(looking) {
        Ok(_) => Some(answered),
        Err(error) => {
            tracing::warn!("starting a thread: {error}");
            None
        }
    }
}

/// How many partitions no member has; `None` while the group is not stable.
fn ownerless<C: ConsumerContext>(consumer: &BaseConsumer<C>, group: &Group) -> KafkaResult<Option<usize>> {
    let groups = consumer.fetch_group_list(Some(&group.name), ASK_WITHIN)?;
    let Some(found) = groups.groups().iter().find(|found| found.name() == group.name) else { return Ok(None) };
    if found.state() != STABLE {
        return Ok(None);
    }
    let mut owned = HashSet::new();
    for member in found.members() {
        owned.extend(member.assignment().and_then(assigned).unwrap_or_default());
    }
    let mut count = 0;
    for topic in &group.topics {
        let metadata = consumer.fetch_metadata(Some(topic), ASK_WITHIN)?;
        let partitions =
            metadata.topics().iter().filter(|found| found.name() == &**topic).flat_map(|found| found.partitions());
        count += partitions.filter(|partition| !owned.contains(&(topic.to_string(), partition.id()))).count();
    }
    Ok(Some(count))
}

/// A member's assignment as the consumer protocol writes it: version, topics with their partitions. `None` if it is something else.
fn assigned(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(taken)
    };
    let mut partitions = Vec::new();
    take(2)?;
    let topics = i32::from_be_bytes(take(4)?.try_into().ok()?);
    for _ in 0..topics {
        let length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        let topic = std::str::from_utf8(take(usize::try_from(length).ok()?)?).ok()?;
        let count = i32::from_be_bytes(take(4)?.try_into().ok()?);
        for _ in 0..count {
            partitions.push((topic.to_owned(), i32::from_be_bytes(take(4)?.try_into().ok()?)));
        }
    }
    Some(partitions)
}

/// Joins the group and leaves it, on a thread of its own.
fn visit(cluster: Arc<Cluster>, group: Group) {
    let visiting = move || {
        let received = Arc::new(AtomicBool::new(false));
        let visitor: KafkaResult<BaseConsumer<Visit>> =
            cluster.settings.visitor(&group.name).create_with_context(Visit { received: received.clone() });
        let topics: Vec<&str> = group.topics.iter().map(|topic| &**topic).collect();
        let visited = visitor.and_then(|visitor| {
            visitor.subscribe(&topics)?;
            let give_up = Instant::now() + VISIT_WITHIN;
            while !received.load(Ordering::Acquire) && Instant::now() < give_up {
                if let Some(Err(error)) = visitor.poll(Duration::from_millis(100)) {
                    tracing::debug!(group = group.name, "visiting the group: {error}");
                }
            }
            // Dropping it closes it, and a member without a name of its own tells the group that it goes.
            Ok(())
        });
        if let Err(error) = visited {
            tracing::warn!(group = group.name, "the group could not be visited: {error}");
        }
    };
    if let Err(error) = thread::Builder::new().name("kafka visitor".to_owned()).spawn(visiting) {
        tracing::warn!("starting a thread: {error}");
    }
}

// === impl Visit ===

impl ClientContext for Visit {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        forward_log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        forward_error(&error, reason);
    }
}

impl ConsumerContext for Visit {
    fn post_rebalance(&self, _: &BaseConsumer<Visit>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.received.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_anything_else_is_none() {
        let bytes = b"\0\x01\0\0\0\x01\0\x06events\0\0\0\x02\0\0\0\x03\0\0\0\x07\xff\xff\xff\xff";
        assert_eq!(assigned(bytes), Some(vec![("events".to_owned(), 3), ("events".to_owned(), 7)]));
        assert_eq!(assigned(b"\0\x01\0\0\0\0"), Some(vec![]));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(assigned(b"\0\x01\0\0\0\x01\xff\xff"), None, "a topic of negative length");
    }
}
