//! The step under one roof with a store and receivers of a few lines: what a dead, hanging or limited destination does to
//! its neighbours, and what is written when.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::json;

use super::{Answered, Effect, Flow, Incoming, Input, Loaded, Options, Sender, Ticket};
use crate::{
    catalog::Catalog,
    codec,
    directory::Directory,
    domain::{
        Chance, Day, Delivery, DestinationId, ErrorClass, Known, NotificationId, Outcome, Position, Record, Standing,
        SubscriptionId, TeamId, Timestamp, notification::destination_hash,
    },
};

/// One sender with one partition, its time, and everything it has asked for.
struct Bench {
    sender: Sender,
    chance: Chance,
    directory: Directory,
    now: Timestamp,
    offset: i64,
    sends: Vec<(Ticket, String, u32)>,
    parked: BTreeMap<NotificationId, Timestamp>,
    known: BTreeMap<NotificationId, Known>,
    ended: BTreeMap<NotificationId, Outcome>,
    committed: i64,
    released: bool,
    conflicts: usize,
}

const START: Timestamp = Timestamp(1_790_000_000_000);

impl Bench {
    fn new(destinations: &[(&str, serde_json::Value)], options: Options) -> Bench {
        let mut directory = Directory::new(Catalog::builtin());
        let mut offset = 0;
        let mut put = |key: String, value: serde_json::Value| {
            let record = Record {
                topic: "directory".into(),
                partition: 0,
                offset,
                timestamp: START,
                key: Some(Bytes::from(key)),
                value: Some(Bytes::from(value.to_string())),
                headers: Vec::new(),
            };
            offset += 1;
            directory.apply(&record);
        };
        let names: Vec<&str> = destinations.iter().map(|(name, _)| *name).collect();
        for some in names.chunks(100) {
            put(
                format!("sub/acme/{}", some[0]),
                json!({"team": "acme", "id": some[0], "events": [{"type": "*"}], "destinations": some}),
            );
        }
        for (name, limits) in destinations {
            let secret = format!("v1.k1.{}", "A".repeat(96));
            put(
                format!("dst/acme/{name}"),
                json!({"team": "acme", "id": name, "limits": limits, "retry": {"schedule_s": [10, 20], "jitter": 0.0},
                       "webhook": {"url": "https://example.com/", "secrets": [secret]}}),
            );
        }
        assert_eq!(directory.counts().destinations, destinations.len(), "{:?}", directory.problems().next());
        let mut bench = Bench {
            sender: Sender::new(Options { partitions: 1, ..options }),
            chance: Chance::new(1),
            directory,
            now: START,
            offset: 0,
            sends: Vec::new(),
            parked: BTreeMap::new(),
            known: BTreeMap::new(),
            ended: BTreeMap::new(),
            committed: 0,
            released: false,
            conflicts: 0,
        };
        bench.feed(Input::Assigned(vec![0]));
        bench
    }

    /// Takes one input and everything that store and group answer to it at once.
    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.sender.step(self.now, &mut self.chance, &self.directory, [input], &mut effects);
            for effect in effects {
                inputs.extend(self.perform(effect));
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Acquire(partition, lease) => Some(Input::Acquired(partition, lease, 1)),
            Effect::LookUp(lookup, ids) => {
                let known = ids.iter().filter_map(|(_, id)| Some((*id, *self.known.get(id)?)));
                Some(Input::LookedUp(lookup, known.collect()))
            }
            Effect::Conflict(_) => {
                self.conflicts += 1;
                None
            }
            Effect::Send(ticket, attempting) => {
                self.sends.push((ticket, attempting.destination.id.to_string(), attempting.attempt));
                None
            }
            Effect::Store(batch) => {
                self.parked.extend(batch.park.iter().map(|row| (row.notification, row.due)));
                self.parked.retain(|id, _| !batch.unpark.iter().any(|(_, gone)| gone == id));
                self.ended.extend(batch.attempts.iter().filter_map(|row| Some((row.notification, row.outcome?))));
                Some(Input::Stored)
            }
            Effect::LoadDue { partition, lease, until, .. } => {
                Some(Input::Due(partition, lease, Vec::new(), Loaded::Until(until)))
            }
            Effect::Commit(offsets) => {
                offsets.iter().for_each(|(_, next)| self.committed = *next);
                None
            }
            Effect::Release(_) => {
                self.released = true;
                None
            }
            Effect::Rejoin => panic!("no reason to rejoin"),
        }
    }

    fn deliver(&mut self, subscription: &str, destination: &str, count: usize) {
        let records = (0..count).map(|_| self.incoming(subscription, destination)).collect();
        self.feed(Input::Deliveries(records));
    }

    fn incoming(&mut self, subscription: &str, destination: &str) -> Incoming {
        let (team, destination) = (TeamId::new("acme").unwrap(), DestinationId::new(destination).unwrap());
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.offset.to_be_bytes());
        let delivery = Delivery {
            id: NotificationId(id),
            day: Day(20_000),
            destination_hash: destination_hash(&team, &destination),
            team,
            subscription: SubscriptionId::new(subscription).unwrap(),
            subscription_revision: 1,
            destination,
            destination_revision: 1,
            event_type: "a.b".into(),
            event_id: format!("e{}", self.offset).into(),
            event_source: "s".into(),
            event_time: None,
            event_subject: None,
            index_version: 0,
            position: Position { topic: "events".into(), partition: 0, offset: self.offset },
            recorded_at: self.now,
            replayed_at: None,
            codec: "json".into(),
            event: Bytes::from_static(b"{}"),
        };
        let raw = codec::encode_delivery(&delivery);
        let offset = self.offset;
        self.offset += 1;
        Incoming { partition: 0, offset, delivery: Some(Arc::new(delivery)), raw }
    }

    fn wait(&mut self, ms: i64) {
        let until = self.now.plus(ms);
        while self.now < until {
            let wake = self.sender.next_wake().unwrap_or(until).max(self.now.plus(1));
            self.now = wake.min(until);
            self.feed(Input::Tick);
        }
    }

    fn answer(&mut self, ticket: Ticket, error: Option<ErrorClass>) {
        let answer = Answered {
            at: self.now,
            duration_ms: 5,
            code: None,
            error,
            message: None,
            response: None,
            retry_after_ms: None,
        };
        self.feed(Input::Answered(ticket, answer));
    }

    /// Answers everything sent so far to destinations whose name begins so.
    fn answer_all(&mut self, prefix: &str, error: Option<ErrorClass>) -> usize {
        let (answered, rest) =
            std::mem::take(&mut self.sends).into_iter().partition(|(_, name, _)| name.starts_with(prefix));
        self.sends = rest;
        let answered: Vec<(Ticket, String, u32)> = answered;
        let count = answered.len();
        answered.into_iter().for_each(|(ticket, ..)| self.answer(ticket, error));
        count
    }

    fn sent_to(&self, prefix: &str) -> usize {
        self.sends.iter().filter(|(_, name, _)| name.starts_with(prefix)).count()
    }
}

fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:03}")).collect()
}

#[test]
fn a_delivered_notification_is_one_row_and_then_its_offset_goes() {
    let mut bench = Bench::new(&[("ops", json!({}))], Options::default());
    bench.deliver("ops", "ops", 3);
    bench.wait(10);
    while bench.answer_all("ops", None) > 0 {}
    assert!(bench.ended.is_empty(), "rows are gathered for a moment");
    bench.wait(1_000);
    assert_eq!(bench.ended.values().collect::<Vec<_>>(), [&Outcome::Delivered; 3]);
    assert_eq!(bench.committed, 3);
}

#[test]
fn a_failed_attempt_is_parked_with_its_row_and_settled() {
    let mut bench = Bench::new(&[("ops", json!({}))], Options::default());
    bench.deliver("ops", "ops", 1);
    bench.answer_all("ops", Some(ErrorClass::ServerError));
    bench.wait(1_000);
    assert_eq!(bench.parked.len(), 1);
    assert_eq!(bench.committed, 1, "parked is settled");
    bench.wait(10_000);
    assert_eq!(bench.sends[0].2, 2, "the second attempt comes from the wheel");
    bench.answer_all("ops", Some(ErrorClass::ServerError));
    bench.wait(21_000);
    bench.answer_all("ops", Some(ErrorClass::ServerError));
    bench.wait(100);
    assert_eq!(bench.ended.values().collect::<Vec<_>>(), [&Outcome::Exhausted]);
    assert!(bench.parked.is_empty());
}

#[test]
fn a_repeated_record_joins_the_one_in_memory() {
    let mut bench = Bench::new(&[("ops", json!({}))], Options::default());
    let first = bench.incoming("ops", "ops");
    let again = Incoming { offset: 1, ..first.clone() };
    bench.feed(Input::Deliveries(vec![first, again]));
    assert_eq!(bench.sends.len(), 1);
    bench.answer_all("ops", None);
    bench.wait(1_000);
    assert_eq!(bench.committed, 2);
}

#[test]
fn row_13_another_event_under_a_known_id_is_counted_and_not_sent() {
    let another = |first: &Incoming, offset: i64| {
        let mut delivery = Delivery::clone(first.delivery.as_ref().unwrap());
        delivery.event = Bytes::from_static(b"another");
        Incoming { offset, delivery: Some(Arc::new(delivery)), ..first.clone() }
    };
    let mut bench = Bench::new(&[("ops", json!({}))], Options::default());
    let first = bench.incoming("ops", "ops");
    let (same, other) = (Incoming { offset: 1, ..first.clone() }, another(&first, 2));
    bench.feed(Input::Deliveries(vec![first.clone(), same, other]));
    assert_eq!((bench.sends.len(), bench.conflicts), (1, 1), "while the first is in memory");
    bench.answer_all("ops", None);
    bench.wait(1_000);
    assert_eq!(bench.committed, 3);

    let delivery = first.delivery.as_ref().unwrap();
    let standing = Standing::Final(Outcome::Delivered);
    for (content, conflicts) in [(None, 1), (Some(delivery.content()), 2)] {
        bench.known.insert(delivery.id, Known { standing, content });
        let (same, other) =
            (Incoming { offset: bench.committed, ..first.clone() }, another(&first, bench.committed + 1));
        bench.feed(Input::Deliveries(vec![same]));
        bench.feed(Input::Deliveries(vec![other]));
        bench.wait(1_000);
        assert_eq!((bench.sends.len(), bench.conflicts), (0, conflicts), "known with {content:?}");
    }
    assert_eq!(bench.committed, 7);
}

#[test]
fn row_18_what_waits_for_a_deleted_subscription_is_discarded_and_not_sent() {
    let mut bench = Bench::new(&[("ops", json!({"in_flight": 1}))], Options::default());
    bench.deliver("ops", "ops", 3);
    assert_eq!(bench.sent_to("ops"), 1, "the others wait for their turn");
    let deleted = Record {
        topic: "directory".into(),
        partition: 0,
        offset: bench.directory.version(),
        timestamp: bench.now,
        key: Some(Bytes::from_static(b"sub/acme/ops")),
        value: None,
        headers: Vec::new(),
    };
    bench.directory.apply(&deleted);
    bench.feed(Input::Tick);
    bench.answer_all("ops", None);
    bench.wait(1_000);
    assert_eq!(bench.sent_to("ops"), 0, "nothing more is sent");
    let mut outcomes: Vec<_> = bench.ended.values().map(|outcome| outcome.as_str()).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["delivered", "discarded", "discarded"]);
    assert_eq!(bench.committed, 3, "discarded is settled");
}

#[test]
fn hundred_and_fifty_hanging_among_two_hundred_delay_nobody() {
    let (hanging, healthy) = (many("hanging", 150), many("ok", 50));
    let all: Vec<(&str, serde_json::Value)> = hanging.iter().chain(&healthy).map(|n| (n.as_str(), json!({}))).collect();
    let mut bench = Bench::new(&all, Options::default());
    let subscription_of = |n: usize| if n < 100 { "hanging000" } else { "hanging100" };
    for second in 0..60 {
        for (n, (name, _)) in all.iter().enumerate() {
            bench.deliver(subscription_of(n), name, 5);
        }
        // A healthy one answers before the next round: all its five go out at once or within its window.
        for _ in 0..5 {
            bench.answer_all("ok", None);
        }
        assert_eq!(bench.sent_to("ok"), 0, "after {second} s");
        assert_eq!(bench.sender.flow(bench.now), Flow::Read, "after {second} s");
        bench.wait(1_000);
        if second % 15 == 14 {
            bench.answer_all("hanging", Some(ErrorClass::Timeout));
        }
    }
    let delivered = bench.ended.values().filter(|outcome| **outcome == Outcome::Delivered).count();
    assert_eq!(delivered, 60 * 50 * 5);
}

#[test]
fn one_limited_destination_with_ten_thousand_queued_delays_nobody() {
    let mut bench = Bench::new(&[("limited", json!({"per_second": 1.0})), ("ok", json!({}))], Options::default());
    let mut limited = 0;
    for _ in 0..10 {
        bench.deliver("limited", "limited", 1_000);
        bench.wait(20);
    }
    for _ in 0..10 {
        bench.deliver("limited", "ok", 20);
        for _ in 0..20 {
            bench.answer_all("ok", None);
        }
        assert_eq!(bench.sent_to("ok"), 0);
        limited += bench.answer_all("limited", None);
        bench.wait(100);
    }
    bench.wait(1_000);
    assert!((2..=4).contains(&limited), "{limited} sent in 1.2 s at 1/s");
    assert!(bench.parked.len() > 9_900, "{} parked", bench.parked.len());
    assert!(bench.committed > 10_000, "committed {}", bench.committed);
}

#[test]
fn a_store_that_stands_still_bounds_what_is_answered_and_stops_reading() {
    let options = Options { max_unsettled: 10, max_queued: 50, ..Options::default() };
    let mut sender = Bench::new(&[("ops", json!({"in_flight": 8}))], options);
    // A store that never answers: effects are dropped.
    let records: Vec<Incoming> = (0..60).map(|_| sender.incoming("ops", "ops")).collect();
    let mut answered = 0;
    let mut inputs = vec![Input::Deliveries(records)];
    while let Some(input) = inputs.pop() {
        let mut effects = Vec::new();
        sender.sender.step(sender.now, &mut sender.chance, &sender.directory, [input], &mut effects);
        for effect in effects {
            match effect {
                Effect::LookUp(lookup, _) => inputs.push(Input::LookedUp(lookup, Vec::new())),
                Effect::Send(ticket, _) => {
                    answered += 1;
                    let answer = Answered {
                        at: sender.now,
                        duration_ms: 1,
                        code: Some(200),
                        error: None,
                        message: None,
                        response: None,
                        retry_after_ms: None,
                    };
                    inputs.push(Input::Answered(ticket, answer));
                }
                _ => {}
            }
        }
    }
    // The bound, and what was in flight when it was reached.
    assert!((10..=18).contains(&answered), "{answered} answered");
    assert_eq!(sender.sender.flow(sender.now), Flow::Hold);
    sender.now = sender.now.plus(super::PAUSE_AFTER_MS);
    assert_eq!(sender.sender.flow(sender.now), Flow::Pause);
}

/// As after a long outage: far more lies in the log than the process can send in the time that a lane may be waited for.
#[test]
fn a_backlog_that_only_we_are_too_slow_for_is_not_parked() {
    let names = many("ops", 20);
    let destinations: Vec<(&str, serde_json::Value)> = names.iter().map(|name| (name.as_str(), json!({}))).collect();
    let mut sender = Bench::new(&destinations, Options { max_in_flight: 4, ..Options::default() });
    for name in &names {
        sender.deliver("ops000", name, 50);
    }
    // Four answers in 100 ms: 1,000 notifications take 25 s, although each lane alone would be through in a moment.
    let mut steps = 0;
    while sender.ended.len() < 1_000 {
        sender.wait(100);
        sender.answer_all("ops", None);
        steps += 1;
        assert!(steps < 1_000, "{} of 1000 ended", sender.ended.len());
        assert_eq!(sender.parked.len(), 0, "after {steps} steps");
    }
    assert!(steps > 100, "{steps} steps: nothing had to wait");
}

#[test]
fn a_revoked_partition_waits_for_what_is_in_flight_and_no_more() {
    let mut bench = Bench::new(&[("ops", json!({"in_flight": 1}))], Options::default());
    bench.deliver("ops", "ops", 10);
    bench.feed(Input::Revoking(vec![0]));
    bench.wait(5_000);
    assert!(!bench.released);
    let sent = bench.sends.len();
    bench.answer_all("ops", None);
    bench.wait(10);
    assert!(bench.released);
    assert_eq!(bench.committed as usize, sent, "what was not sent comes again to the next owner");
}

#[test]
fn a_request_in_flight_from_an_earlier_assignment_ends_unheard_and_gives_its_slot_back() {
    let options = Options { max_in_flight: 4, ..Options::default() };
    let mut bench = Bench::new(&[("ops", json!({"in_flight": 1}))], options);
    for round in 0..10 {
        bench.deliver("ops", "ops", 1);
        assert_eq!(bench.sends.len(), 1, "round {round}");
        bench.feed(Input::Lost(vec![0]));
        bench.feed(Input::Assigned(vec![0]));
        bench.answer_all("ops", None);
    }
    assert!(bench.ended.is_empty());
    assert_eq!(bench.sender.load().in_flight, 0);
}

#[test]
fn a_request_that_outlasts_the_stop_is_written_down_as_timed_out() {
    let mut bench = Bench::new(&[("ops", json!({}))], Options { drain_ms: 5_000, ..Options::default() });
    bench.deliver("ops", "ops", 1);
    bench.feed(Input::Stop);
    bench.wait(4_900);
    assert!(!bench.released);
    bench.wait(200);
    assert!(bench.released && bench.sender.is_idle());
    assert_eq!(bench.parked.len(), 1);
}
