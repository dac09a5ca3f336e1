//! What every store must do, checked on SQLite always and on PostgreSQL where there is one.
//!
//! Each case is one function over any [`Bench`]; the list at the end runs it on both.

#[path = "support/postgres.rs"]
mod postgres_cluster;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tidings::store::{
    AttemptQuery, Epoch, Known, NotificationQuery, Parked, Standing, Status, Store, StoreError, Waiting, WriteBatch,
    postgres::Postgres,
    sqlite::{Durability, Sqlite},
};
use tidings_core::domain::{
    Attempt, Day, DestinationId, ErrorClass, Fingerprint, NotificationId, Outcome, Position, SubscriptionId, TeamId,
    Timestamp,
};

// === The two benches ===

/// A store that can be opened again, as after a restart.
trait Bench {
    type Store: Store;
    async fn open(&self) -> Self::Store;
    /// Another handle that must respect this one's locks: SQLite's live in one process.
    async fn beside(&self, store: &Self::Store) -> Self::Store;
    /// Does something to the tables behind the store's back.
    async fn run(&self, sql: &str);
}

struct SqliteBench(tempfile::TempDir);

struct PostgresBench {
    url: String,
}

impl SqliteBench {
    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("store.db")
    }
}

impl Bench for SqliteBench {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        Sqlite::open(&self.file(), Durability::Normal).await.unwrap()
    }

    async fn beside(&self, store: &Sqlite) -> Sqlite {
        store.clone()
    }

    async fn run(&self, sql: &str) {
        let mut connection = SqliteConnection::connect(self.file().to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

impl Bench for PostgresBench {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        Postgres::connect(&self.url, 8).await.unwrap()
    }

    async fn beside(&self, _: &Postgres) -> Postgres {
        self.open().await
    }

    async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
}

// === Rows ===

const TODAY: Day = Day(20_780);
const NOON: Timestamp = Timestamp(20_780 * 86_400_000 + 43_200_000);

fn id(n: u64) -> NotificationId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NotificationId(id)
}

fn team(name: &str) -> TeamId {
    TeamId::new(name).unwrap()
}

/// A failed attempt, `n` as the notification, one second after the one before.
fn failed(n: u64, attempt: u32) -> Attempt {
    Attempt {
        day: TODAY,
        notification: id(n),
        attempt,
        team: team("acme"),
        subscription: SubscriptionId::new("sub").unwrap(),
        destination: DestinationId::new("dst").unwrap(),
        event_type: "platform.thing".into(),
        event_id: format!("event-{n}").into(),
        position: Position { topic: "tidings.events".into(), partition: 3, offset: n as i64 },
        content: Some(Fingerprint(n as i64)),
        index_version: 42,
        at: NOON.plus(n as i64 * 60_000 + i64::from(attempt) * 1000),
        duration_ms: 17,
        code: Some(503),
        error: Some(ErrorClass::ServerError),
        message: Some("the receiver answered 503".to_owned()),
        response: Some("busy".to_owned()),
        outcome: None,
        next_attempt_at: Some(NOON.plus(3_600_000)),
    }
}

fn ended(n: u64, attempt: u32, outcome: Outcome) -> Attempt {
    let (code, error) = match outcome {
        Outcome::Delivered => (Some(200), None),
        _ => (Some(503), Some(ErrorClass::ServerError)),
    };
    Attempt { outcome: Some(outcome), code, error, message: None, next_attempt_at: None, ..failed(n, attempt) }
}

fn parked(n: u64, destination_hash: u32, due: i64) -> Parked {
    Parked {
        day: TODAY,
        notification: id(n),
        team: team("acme"),
        subscription: SubscriptionId::new("sub").unwrap(),
        destination: DestinationId::new("dst").unwrap(),
        destination_hash,
        attempts: 1,
        due: Timestamp(due),
        delivery: Bytes::from(vec![0, 255, n as u8]),
        content: Some(Fingerprint(n as i64)),
    }
}

fn attempts(attempts: Vec<Attempt>) -> WriteBatch {
    WriteBatch { attempts, ..WriteBatch::default() }
}

fn park(park: Vec<Parked>) -> WriteBatch {
    WriteBatch { park, ..WriteBatch::default() }
}

async fn all_attempts(store: &impl Store) -> Vec<Attempt> {
    store.attempts(&AttemptQuery { limit: 1000, ..AttemptQuery::default() }).await.unwrap()
}

async fn all_parked(store: &impl Store) -> Vec<Parked> {
    store.due(0, 1, None, Timestamp(i64::MAX), 1000).await.unwrap()
}

async fn known(store: &impl Store, n: u64) -> Option<Standing> {
    store.look_up(&[(TODAY, id(n))]).await.unwrap().pop().map(|(_, known)| known.standing)
}

fn fenced_from(answer: Result<(), StoreError>) -> Vec<u32> {
    match answer {
        Err(StoreError::Fenced(partitions)) => partitions,
        other => panic!("{other:?} where a fence was due"),
    }
}

// === Batches ===

async fn a_batch_written_twice_is_the_same_as_once(bench: &impl Bench) {
    let store = bench.open().await;
    let batch = WriteBatch {
        fences: vec![],
        attempts: vec![failed(1, 1), ended(2, 1, Outcome::Delivered)],
        park: vec![parked(1, 5, 100)],
        unpark: vec![(TODAY, id(2))],
    };
    for _ in 0..3 {
        store.write(&batch).await.unwrap();
        assert_eq!(all_attempts(&store).await, [ended(2, 1, Outcome::Delivered), failed(1, 1)]);
        assert_eq!(all_parked(&store).await, [parked(1, 5, 100)]);
    }
    store.write(&WriteBatch::default()).await.unwrap();
}

async fn a_batch_is_written_as_a_whole_or_not_at_all(bench: &impl Bench) {
    let store = bench.open().await;
    bench.run("ALTER TABLE parked RENAME TO elsewhere").await;
    let batch = WriteBatch { attempts: vec![failed(1, 1)], ..park(vec![parked(1, 0, 1)]) };
    let answer = store.write(&batch).await;
    assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    bench.run("ALTER TABLE elsewhere RENAME TO parked").await;
    assert_eq!(all_attempts(&store).await, []);
    store.write(&batch).await.unwrap();
    assert_eq!(all_attempts(&store).await.len(), 1);
}

async fn a_refused_batch_does_not_take_others_with_it(bench: &impl Bench) {
    let store = bench.open().await;
    let epoch = store.acquire(0, "a").await.unwrap();
    let write = |n, epoch: Epoch| {
        let (store, fences) = (store.clone(), vec![(0, epoch)]);
        tokio::spawn(async move { store.write(&WriteBatch { fences, ..attempts(vec![failed(n, 1)]) }).await })
    };
    let writes: Vec<_> = (0..20).map(|n| write(n, epoch - i64::from(n % 2 == 1))).collect();
    for (n, write) in writes.into_iter().enumerate() {
        assert_eq!(write.await.unwrap().is_ok(), n % 2 == 0, "write {n}");
    }
    assert_eq!(all_attempts(&store).await.len(), 10);
}

async fn large_batches_are_one_batch(bench: &impl Bench) {
    let store = bench.open().await;
    let many = (0..6000).map(|n| ended(n, 1, Outcome::Delivered)).collect();
    store.write(&attempts(many)).await.unwrap();
    let large = |n: u64| Parked { delivery: Bytes::from(vec![7; 9 << 20]), ..parked(10_000 + n, 0, n as i64) };
    store.write(&park((0..3).map(large).collect())).await.unwrap();
    let ids: Vec<_> = (0..12_000).map(|n| (TODAY, id(n))).collect();
    let found = store.look_up(&ids).await.unwrap();
    assert_eq!(found.iter().filter(|(_, known)| known.standing == Standing::Final(Outcome::Delivered)).count(), 6000);
    assert_eq!(found.iter().filter(|(_, known)| known.standing == Standing::Parked).count(), 3);
    assert_eq!(store.due(0, 1, None, NOON, 10).await.unwrap()[2].delivery.len(), 9 << 20);
}

async fn concurrent_writers_of_the_same_rows_agree(bench: &impl Bench) {
    let store = bench.open().await;
    let writers: Vec<_> = (0..8u32)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..10u64 {
                    // Every writer the same keys, each in another order and with another outcome.
                    let outcome = if writer % 2 == 0 { Outcome::Delivered } else { Outcome::Exhausted };
                    let mut rows: Vec<_> = (0..50).map(|n| ended(round * 50 + n, writer, outcome)).collect();
                    rows.rotate_left(writer as usize * 7);
                    let mut waiting: Vec<_> = (0..20).map(|n| parked(5000 + n, writer, i64::from(writer))).collect();
                    waiting.rotate_left(writer as usize * 2);
                    let batch = WriteBatch { park: waiting, ..attempts(rows) };
                    while let Err(error) = store.write(&batch).await {
                        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let rows = all_attempts(&store).await;
    assert_eq!(rows.len(), 500);
    assert_eq!(rows.iter().map(|row| row.notification).collect::<BTreeSet<_>>().len(), 500);
    assert_eq!(all_parked(&store).await.len(), 20);
}

async fn everything_survives_a_restart(bench: &impl Bench) {
    let store = bench.open().await;
    let epoch = store.acquire(7, "a").await.unwrap();
    store.keep_days(Day(TODAY.0 - 1), Day(TODAY.0 + 1)).await.unwrap();
    let batch = WriteBatch { fences: vec![(7, epoch)], ..attempts(vec![failed(1, 1)]) };
    store.write(&WriteBatch { park: vec![parked(1, 7, 9)], ..batch }).await.unwrap();
    drop(store);
    let store = bench.open().await;
    assert_eq!(all_attempts(&store).await, [failed(1, 1)]);
    assert_eq!(all_parked(&store).await, [parked(1, 7, 9)]);
    assert_eq!(known(&store, 1).await, Some(Standing::Parked));
    assert_eq!(store.acquire(7, "b").await.unwrap(), epoch + 1);
    assert_eq!(store.keep_days(TODAY, Day(TODAY.0 + 2)).await.unwrap(), [Day(TODAY.0 - 1)]);
}

// === Final outcomes ===

async fn a_final_outcome_is_never_overwritten(bench: &impl Bench) {
    let store = bench.open().await;
    store.write(&attempts(vec![failed(1, 1), ended(1, 2, Outcome::Delivered)])).await.unwrap();
    for late in [
        ended(1, 2, Outcome::Exhausted),
        ended(1, 1, Outcome::Exhausted),
        ended(1, 3, Outcome::Exhausted),
        ended(1, 0, Outcome::Discarded),
    ] {
        store
            .write(&attempts(vec![late.clone(), ended(u64::from(late.attempt) + 10, 1, Outcome::Expired)]))
            .await
            .unwrap();
        assert_eq!(known(&store, 1).await, Some(Standing::Final(Outcome::Delivered)), "after attempt {}", late.attempt);
        assert_eq!(known(&store, u64::from(late.attempt) + 10).await, Some(Standing::Final(Outcome::Expired)));
    }
    // Two in one batch: the first stands.
    store.write(&attempts(vec![ended(2, 4, Outcome::Expired), ended(2, 3, Outcome::Delivered)])).await.unwrap();
    assert_eq!(known(&store, 2).await, Some(Standing::Final(Outcome::Expired)));
    // Another day is another key.
    let tomorrow = Attempt { day: Day(TODAY.0 + 1), ..ended(1, 1, Outcome::Exhausted) };
    store.write(&attempts(vec![tomorrow.clone()])).await.unwrap();
    let both = store.look_up(&[(TODAY, id(1)), (tomorrow.day, id(1))]).await.unwrap();
    assert_eq!(both.len(), 1, "an id is looked up once: {both:?}");
}

async fn what_has_ended_is_not_parked_again(bench: &impl Bench) {
    let store = bench.open().await;
    store.write(&attempts(vec![ended(1, 1, Outcome::Delivered), failed(2, 1)])).await.unwrap();
    store.write(&park(vec![parked(1, 0, 1), parked(2, 0, 1), parked(3, 0, 1)])).await.unwrap();
    assert_eq!(all_parked(&store).await, [parked(2, 0, 1), parked(3, 0, 1)]);
}

async fn look_up_tells_what_is_known(bench: &impl Bench) {
    let store = bench.open().await;
    assert_eq!(store.look_up(&[]).await.unwrap(), []);
    store.write(&park(vec![parked(1, 0, 1), parked(2, 0, 1)])).await.unwrap();
    store.write(&attempts(vec![failed(1, 1), ended(2, 2, Outcome::Exhausted), failed(3, 1)])).await.unwrap();
    let far = Attempt { day: Day(i32::MAX), ..ended(4, 0, Outcome::Suppressed) };
    store.write(&attempts(vec![far.clone()])).await.unwrap();
    let ids = [1, 2, 3, 4, 5].map(|n| (if n == 4 { far.day } else { TODAY }, id(n)));
    let mut found = store.look_up(&ids).await.unwrap();
    found.sort_by_key(|(id, _)| *id);
    let expected =
        [(1, Standing::Parked), (2, Standing::Final(Outcome::Exhausted)), (4, Standing::Final(Outcome::Suppressed))];
    let expected = expected.map(|(n, standing)| (id(n), Known { standing, content: Some(Fingerprint(n as i64)) }));
    assert_eq!(found, expected);
    // The day is part of the key.
    assert_eq!(store.look_up(&[(Day(1), id(1)), (Day(1), id(2))]).await.unwrap(), []);
}

// === The fence ===

async fn an_older_epoch_is_refused_as_a_whole(bench: &impl Bench) {
    let store = bench.open().await;
    let (old, other) = (store.acquire(1, "a").await.unwrap(), store.acquire(2, "a").await.unwrap());
    let batch = |fences: Vec<(u32, Epoch)>, n| WriteBatch {
        fences,
        attempts: vec![ended(n, 1, Outcome::Delivered)],
        park: vec![parked(n + 100, 0, 1)],
        unpark: vec![(TODAY, id(999))],
    };
    store.write(&park(vec![parked(999, 0, 1)])).await.unwrap();
    let new = store.acquire(1, "b").await.unwrap();
    assert!(new > old);
    assert_eq!(fenced_from(store.write(&batch(vec![(1, old), (2, other)], 1)).await), [1]);
    assert_eq!(fenced_from(store.write(&batch(vec![(1, new + 1)], 1)).await), [1], "an epoch nobody was given");
    assert_eq!(fenced_from(store.write(&batch(vec![(3, 1)], 1)).await), [3], "a partition nobody took");
    assert_eq!((all_attempts(&store).await.len(), all_parked(&store).await.len()), (0, 1));
    store.write(&batch(vec![(1, new), (2, other)], 1)).await.unwrap();
    assert_eq!(all_attempts(&store).await.len(), 1);
    assert_eq!(all_parked(&store).await, [parked(101, 0, 1)]);
}

async fn of_two_owners_only_the_newer_writes(bench: &impl Bench) {
    let store = bench.open().await;
    let beside = bench.beside(&store).await;
    let mut epochs = Vec::new();
    for round in 0..10 {
        let (a, b) = tokio::join!(store.acquire(0, "a"), beside.acquire(0, "b"));
        let (a, b) = (a.unwrap(), b.unwrap());
        epochs.extend([a, b]);
        let write = |n, epoch| WriteBatch { fences: vec![(0, epoch)], ..attempts(vec![failed(n, 1)]) };
        let (batch_a, batch_b) = (write(round * 2, a), write(round * 2 + 1, b));
        let (a_wrote, b_wrote) = tokio::join!(store.write(&batch_a), beside.write(&batch_b));
        assert_eq!((a_wrote.is_ok(), b_wrote.is_ok()), (a > b, b > a));
    }
    assert_eq!(epochs.iter().collect::<BTreeSet<_>>().len(), 20, "no epoch is given twice");
    assert_eq!(all_attempts(&store).await.len(), 10);
}

async fn nothing_of_a_former_owner_lands_after_the_next_has_taken_over(bench: &impl Bench) {
    let store = bench.open().await;
    let epoch = store.acquire(0, "a").await.unwrap();
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let rows = (0..20).map(|row| failed(writer * 1_000_000 + n * 20 + row, 1)).collect();
                    let batch = WriteBatch { fences: vec![(0, epoch)], ..attempts(rows) };
                    if store.write(&batch).await.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    store.acquire(0, "b").await.unwrap();
    let query = AttemptQuery { limit: 1000, ..AttemptQuery::default() };
    let at_take_over = store.attempts(&query).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.attempts(&query).await.unwrap(), at_take_over);
}

// === Parked rows ===

async fn parking_again_moves_the_due_time(bench: &impl Bench) {
    let store = bench.open().await;
    store.write(&park(vec![parked(1, 3, 100)])).await.unwrap();
    let again = Parked { attempts: 2, delivery: Bytes::from_static(b"another"), ..parked(1, 3, 50) };
    let twice = Parked { attempts: 3, ..parked(1, 3, 70) };
    store.write(&park(vec![again, twice.clone()])).await.unwrap();
    assert_eq!(all_parked(&store).await, [twice], "attempts and due time of the last one, the first delivery");
    store.write(&WriteBatch { unpark: vec![(TODAY, id(1)), (TODAY, id(2))], ..WriteBatch::default() }).await.unwrap();
    assert_eq!(all_parked(&store).await, []);
    let both = WriteBatch { unpark: vec![(TODAY, id(1))], ..park(vec![parked(1, 3, 100)]) };
    store.write(&both).await.unwrap();
    assert_eq!(all_parked(&store).await, [], "unparked after parked");
}

async fn due_rows_come_in_order_by_partition_and_page(bench: &impl Bench) {
    let store = bench.open().await;
    const PARTITIONS: u32 = 3;
    let hash = |n: u64| u32::MAX - n as u32;
    // Four share each due time, so that the id decides.
    let rows: Vec<_> = (0..60).map(|n| parked(n * 37 % 60, hash(n * 37 % 60), (n * 37 % 60 / 4) as i64 * 10)).collect();
    store.write(&park(rows)).await.unwrap();
    let mut seen = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let mut after = None;
        let mut pages = Vec::new();
        loop {
            let page = store.due(partition, PARTITIONS, after, Timestamp(100), 4).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.due, last.notification));
            pages.extend(page);
        }
        assert!(pages.is_sorted_by_key(|row| (row.due, row.notification)));
        assert!(pages.iter().all(|row| row.destination_hash % PARTITIONS == partition && row.due <= Timestamp(100)));
        seen.extend(pages.iter().map(|row| row.notification));
    }
    assert_eq!(seen, (0..44).map(id).collect(), "due up to and with 100");
}

async fn waiting_counts_parked_rows(bench: &impl Bench) {
    let store = bench.open().await;
    assert_eq!(store.waiting(None).await.unwrap(), Waiting { parked: 0, oldest_due: None });
    let other = Parked { team: team("other"), ..parked(3, 0, 5) };
    store.write(&park(vec![parked(1, 0, 20), parked(2, 0, 10), other])).await.unwrap();
    let waiting = |parked, due| Waiting { parked, oldest_due: Some(Timestamp(due)) };
    assert_eq!(store.waiting(None).await.unwrap(), waiting(3, 5));
    assert_eq!(store.waiting(Some(&team("acme"))).await.unwrap(), waiting(2, 10));
    assert_eq!(store.waiting(Some(&team("nobody"))).await.unwrap().parked, 0);
}

// === Listings ===

async fn attempts_are_narrowed_by_each_field(bench: &impl Bench) {
    let store = bench.open().await;
    let subscription = || SubscriptionId::new("sub-2").unwrap();
    let destination = || DestinationId::new("dst-2").unwrap();
    let rows = vec![
        failed(1, 1),
        failed(1, 2),
        Attempt { team: team("other"), ..failed(2, 1) },
        Attempt { subscription: subscription(), ..failed(3, 1) },
        Attempt { destination: destination(), event_id: "it's \"odd\" \\ 🦀".into(), ..failed(4, 1) },
    ];
    store.write(&attempts(rows.clone())).await.unwrap();
    let all = AttemptQuery { limit: 100, ..AttemptQuery::default() };
    let from = |n: usize| rows[n].at;
    let cases = [
        ("everything", all.clone(), vec![4, 3, 2, 1, 0]),
        ("team", AttemptQuery { team: Some(team("acme")), ..all.clone() }, vec![4, 3, 1, 0]),
        ("notification", AttemptQuery { notification: Some(id(1)), ..all.clone() }, vec![1, 0]),
        ("subscription", AttemptQuery { subscription: Some(subscription()), ..all.clone() }, vec![3]),
        ("destination", AttemptQuery { destination: Some(destination()), ..all.clone() }, vec![4]),
        ("event", AttemptQuery { event_id: Some(rows[4].event_id.to_string()), ..all.clone() }, vec![4]),
        ("since, with it", AttemptQuery { since: Some(from(2)), ..all.clone() }, vec![4, 3, 2]),
        ("until, without it", AttemptQuery { until: Some(from(2)), ..all.clone() }, vec![1, 0]),
        ("two fields", AttemptQuery { team: Some(team("acme")), since: Some(from(3)), ..all.clone() }, vec![4, 3]),
        ("nothing fits", AttemptQuery { team: Some(team("other")), notification: Some(id(1)), ..all.clone() }, vec![]),
        ("limit", AttemptQuery { limit: 2, ..all.clone() }, vec![4, 3]),
        ("limit 0 is 1", AttemptQuery { limit: 0, ..all.clone() }, vec![4]),
    ];
    for (name, query, expected) in cases {
        let expected: Vec<_> = expected.into_iter().map(|n: usize| rows[n].clone()).collect();
        assert_eq!(store.attempts(&query).await.unwrap(), expected, "{name}");
    }
}

async fn pages_neither_overlap_nor_skip(bench: &impl Bench) {
    let store = bench.open().await;
    let at = |n: u64| NOON.plus(n as i64 / 7);
    let rows: Vec<_> = (0..100).map(|n| Attempt { at: at(n), ..failed(n / 2, n as u32 % 2) }).collect();
    store.write(&attempts(rows.clone())).await.unwrap();
    let mut query = AttemptQuery { team: Some(team("acme")), limit: 9, ..AttemptQuery::default() };
    let mut read = Vec::new();
    loop {
        let page = store.attempts(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.at, last.notification, last.attempt));
        read.extend(page);
    }
    let mut expected = rows;
    expected.sort_by_key(|row| std::cmp::Reverse((row.at, row.notification, row.attempt)));
    assert_eq!(read, expected);
}

async fn a_notification_is_shown_by_its_newest_attempt(bench: &impl Bench) {
    let store = bench.open().await;
    store
        .write(&attempts(vec![
            failed(1, 1),
            ended(1, 2, Outcome::Delivered),
            failed(2, 1),
            failed(2, 2),
            failed(3, 1),
            failed(3, 2),
            // Given up without a third try.
            ended(3, 0, Outcome::Discarded),
            ended(4, 1, Outcome::Exhausted),
            Attempt { error: Some(ErrorClass::Timeout), ..failed(5, 1) },
        ]))
        .await
        .unwrap();
    let due = NOON.plus(77);
    store.write(&park(vec![Parked { due, ..parked(2, 0, 0) }])).await.unwrap();
    let all = NotificationQuery {
        attempts: AttemptQuery { limit: 100, ..AttemptQuery::default() },
        ..NotificationQuery::default()
    };
    let shown = store.notifications(&all).await.unwrap();
    let summary: Vec<_> =
        shown.iter().map(|n| (n.last.notification, n.last.attempt, n.status, n.next_attempt_at)).collect();
    assert_eq!(
        summary,
        [
            (id(5), 1, Status::Retrying, failed(5, 1).next_attempt_at),
            (id(4), 1, Status::Ended(Outcome::Exhausted), None),
            (id(3), 0, Status::Ended(Outcome::Discarded), None),
            (id(2), 2, Status::Retrying, Some(due)),
            (id(1), 2, Status::Ended(Outcome::Delivered), None),
        ]
    );
    let with = |status, error| NotificationQuery { status, error, ..all.clone() };
    let paged =
        AttemptQuery { after: Some((shown[1].last.at, id(4), 1)), team: Some(team("acme")), ..all.attempts.clone() };
    let cases = [
        (with(Some(Status::Retrying), None), vec![5, 2]),
        (with(Some(Status::Ended(Outcome::Delivered)), None), vec![1]),
        (with(Some(Status::Ended(Outcome::Exhausted)), None), vec![4]),
        (with(Some(Status::Ended(Outcome::Expired)), None), vec![]),
        (with(None, Some(ErrorClass::Timeout)), vec![5]),
        (with(Some(Status::Retrying), Some(ErrorClass::ServerError)), vec![2]),
        (NotificationQuery { attempts: paged, ..all.clone() }, vec![3, 2, 1]),
    ];
    for (query, expected) in cases {
        let found: Vec<_> = store.notifications(&query).await.unwrap().iter().map(|n| n.last.notification).collect();
        assert_eq!(found, expected.into_iter().map(id).collect::<Vec<_>>(), "{query:?}");
    }
}

// === Values ===

async fn odd_values_survive(bench: &impl Bench) {
    let store = bench.open().await;
    let odd = Attempt {
        attempt: u32::MAX,
        event_type: "\u{1}\u{7f}'\"\\;--\u{202e}".into(),
        event_id: "🦀\u{fffe}\u{10ffff} ".into(),
        position: Position { topic: "".into(), partition: u32::MAX, offset: i64::MAX },
        index_version: i64::MIN,
        at: Timestamp(i64::MAX),
        duration_ms: u32::MAX,
        code: Some(u16::MAX),
        message: Some(String::new()),
        response: Some("é".repeat(2048)),
        next_attempt_at: Some(Timestamp(i64::MIN)),
        day: Day(i32::MIN),
        ..failed(1, 1)
    };
    let waiting = Parked {
        destination_hash: u32::MAX,
        attempts: u32::MAX,
        delivery: Bytes::new(),
        day: Day(i32::MAX),
        ..parked(1, 0, i64::MAX)
    };
    store.write(&WriteBatch { attempts: vec![odd.clone()], ..park(vec![waiting.clone()]) }).await.unwrap();
    assert_eq!(all_attempts(&store).await, [odd]);
    assert_eq!(all_parked(&store).await, [waiting]);
}

async fn nul_in_text_is_replaced_and_still_found(bench: &impl Bench) {
    let store = bench.open().await;
    let odd = Attempt {
        event_id: "a\0b".into(),
        event_type: "\0".into(),
        message: Some("\0\0".to_owned()),
        response: Some("x\0".to_owned()),
        ..failed(1, 1)
    };
    store.write(&attempts(vec![odd, failed(2, 1)])).await.unwrap();
    let query = AttemptQuery { event_id: Some("a\0b".to_owned()), limit: 10, ..AttemptQuery::default() };
    let found = store.attempts(&query).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].event_id, &*found[0].event_type), ("a\u{fffd}b", "\u{fffd}"));
    assert_eq!(found[0].message.as_deref(), Some("\u{fffd}\u{fffd}"));
    assert_eq!(found[0].response.as_deref(), Some("x\u{fffd}"));
    store.acquire(0, "na\0me").await.unwrap();
}

async fn an_event_id_of_any_length_is_stored(bench: &impl Bench) {
    let store = bench.open().await;
    // Beyond what an entry of a tree index holds, and not to be compressed below it.
    let long: String =
        (0..200_000u32).map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 26) as u8)).collect();
    store.write(&attempts(vec![Attempt { event_id: long.as_str().into(), ..failed(1, 1) }])).await.unwrap();
    let query = AttemptQuery { event_id: Some(long), limit: 10, ..AttemptQuery::default() };
    assert_eq!(store.attempts(&query).await.unwrap().len(), 1);
}

// === Days ===

async fn old_days_are_dropped_whole(bench: &impl Bench) {
    let store = bench.open().await;
    let on =
        |day: i32, n| Attempt { day: Day(TODAY.0 + day), at: NOON.plus(i64::from(day) * 86_400_000), ..failed(n, 1) };
    // Written before its day was made: it moves to the day.
    store.write(&attempts(vec![on(-3, 1)])).await.unwrap();
    assert_eq!(store.keep_days(Day(TODAY.0 - 3), Day(TODAY.0 + 2)).await.unwrap(), []);
    store.write(&attempts((-3..=3).map(|day| on(day, (10 + day) as u64)).collect())).await.unwrap();
    assert_eq!(all_attempts(&store).await.len(), 8);
    let dropped = store.keep_days(Day(TODAY.0 - 1), Day(TODAY.0 + 4)).await.unwrap();
    assert_eq!(dropped, [Day(TODAY.0 - 3), Day(TODAY.0 - 2)]);
    let left: Vec<_> = all_attempts(&store).await.iter().map(|row| row.day.0 - TODAY.0).collect();
    assert_eq!(left, [3, 2, 1, 0, -1]);
    assert_eq!(store.keep_days(Day(TODAY.0 - 1), Day(TODAY.0 + 4)).await.unwrap(), [], "done once");
    // The same rules hold for what moved.
    let end = |outcome| Attempt { attempt: 2, outcome: Some(outcome), ..on(3, 13) };
    store.write(&attempts(vec![on(3, 13), end(Outcome::Delivered), end(Outcome::Expired)])).await.unwrap();
    let rows = all_attempts(&store).await;
    assert_eq!(rows.iter().filter(|row| row.outcome == Some(Outcome::Delivered)).count(), 1);
    assert_eq!(rows.len(), 6);
}

async fn rows_of_other_days_go_by_their_age(bench: &impl Bench) {
    let store = bench.open().await;
    store.keep_days(Day(TODAY.0 - 1), Day(TODAY.0 + 1)).await.unwrap();
    let claims = |n, day, at| Attempt { day: Day(day), at, ..ended(n, 1, Outcome::Delivered) };
    let long_ago = NOON.plus(-40 * 86_400_000);
    let rows = vec![
        claims(1, 0, NOON),
        claims(2, 0, long_ago),
        claims(3, 2_000_000, NOON),
        claims(4, 2_000_000, long_ago),
        claims(5, TODAY.0, long_ago),
    ];
    store.write(&attempts(rows)).await.unwrap();
    assert_eq!(store.keep_days(Day(TODAY.0 - 1), Day(TODAY.0 + 1)).await.unwrap(), []);
    let left: BTreeSet<_> = all_attempts(&store).await.iter().map(|row| row.notification).collect();
    assert_eq!(left, [1, 3, 5].map(id).into(), "an event of 1970 is remembered as long as one of today");
}

async fn a_senseless_range_of_days_is_refused(bench: &impl Bench) {
    let store = bench.open().await;
    for (oldest, newest) in [(1, 0), (0, 1_000_000), (i32::MIN, i32::MIN + 1), (i32::MAX - 1, i32::MAX)] {
        let answer = store.keep_days(Day(oldest), Day(newest)).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{oldest} to {newest}: {answer:?}");
    }
}

async fn days_are_made_while_others_write(bench: &impl Bench) {
    let store = bench.open().await;
    let beside = bench.beside(&store).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..200u64 {
                let batch = attempts(vec![Attempt { day: Day(TODAY.0 + n as i32 % 10), ..failed(n, 1) }]);
                while let Err(error) = store.write(&batch).await {
                    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                }
            }
        }
    });
    for newest in 0..10 {
        let newest = Day(TODAY.0 + newest);
        let (here, there) = tokio::join!(store.keep_days(TODAY, newest), beside.keep_days(TODAY, newest));
        for answer in [here, there] {
            assert!(matches!(answer, Ok(_) | Err(StoreError::Unavailable(_))), "{answer:?}");
        }
    }
    writer.await.unwrap();
    assert_eq!(all_attempts(&store).await.len(), 200);
}

// === The lock on the directory, and health ===

async fn one_writer_at_a_time_edits_the_directory(bench: &impl Bench) {
    let store = bench.open().await;
    let beside = bench.beside(&store).await;
    const HELD: Duration = Duration::from_millis(200);
    let guard = store.lock_directory().await.unwrap();
    let asked = Instant::now();
    let waiting = tokio::spawn(async move { beside.lock_directory().await.map(|_guard| asked.elapsed()) });
    tokio::time::sleep(HELD).await;
    assert!(!waiting.is_finished(), "the lock was given to two");
    drop(guard);
    assert!(waiting.await.unwrap().unwrap() >= HELD);
    drop(store.lock_directory().await.unwrap());
}

async fn the_store_answers(bench: &impl Bench) {
    bench.open().await.ping().await.unwrap();
}

// === PostgreSQL alone ===

#[tokio::test]
async fn two_processes_may_start_on_an_empty_database() {
    let Some(url) = postgres_cluster::database("two_start").await else { return };
    let (a, b) = tokio::join!(Postgres::connect(&url, 2), Postgres::connect(&url, 2));
    a.unwrap();
    b.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_on_the_directory_ends_with_its_holder() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let Some(url) = postgres_cluster::database("lock_ends").await else { return };
    let store = Postgres::connect(&url, 2).await.unwrap();
    // Dropped without a word, as when a process is killed.
    for _ in 0..20 {
        let locked = tokio::time::timeout(PATIENCE, store.lock_directory()).await.expect("the former lock has ended");
        drop(locked.unwrap());
    }
}

#[tokio::test]
async fn a_server_that_turned_read_only_is_unavailable_until_it_takes_writes() {
    let Some(url) = postgres_cluster::database("read_only").await else { return };
    let bench = PostgresBench { url };
    let store = bench.open().await;
    store.acquire(0, "a").await.unwrap();
    let set = |value: &str| format!("ALTER DATABASE tidings_read_only SET default_transaction_read_only = {value}");
    bench.run(&set("on")).await;
    // A failover ends the sessions; new ones meet a replica.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    bench.run(end).await;
    let batch = attempts(vec![failed(1, 1)]);
    for _ in 0..10 {
        let answer = store.write(&batch).await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    bench.run(&format!("BEGIN READ WRITE; {}; COMMIT", set("off"))).await;
    store.write(&batch).await.unwrap();
    assert_eq!(all_attempts(&store).await, [failed(1, 1)]);
}

/// The tables as they were before tries and outcomes had an index each.
const KEY_OF_BEFORE: &str = "
    DROP INDEX attempts_tries;
    ALTER TABLE attempts ADD CONSTRAINT attempts_pkey PRIMARY KEY (notification, day, attempt);
    ALTER TABLE attempts_default REPLICA IDENTITY DEFAULT;
    DELETE FROM _sqlx_migrations WHERE version = 4";

#[tokio::test]
async fn rows_and_days_of_before_stay_when_the_key_changes() {
    let Some(url) = postgres_cluster::database("key_changes").await else { return };
    let bench = PostgresBench { url };
    let store = bench.open().await;
    bench.run(KEY_OF_BEFORE).await;
    store.keep_days(TODAY, Day(TODAY.0 + 1)).await.unwrap();
    let far = Attempt { day: Day(9), ..failed(3, 1) };
    let before = vec![failed(1, 1), ended(1, 2, Outcome::Delivered), failed(2, 1), far.clone()];
    store.write(&attempts(before.clone())).await.unwrap();

    let store = bench.open().await;
    store.write(&attempts(before)).await.unwrap();
    assert_eq!(all_attempts(&store).await.len(), 4, "what is there is not written twice");
    store.write(&attempts(vec![ended(1, 3, Outcome::Expired), ended(2, 2, Outcome::Exhausted)])).await.unwrap();
    assert_eq!(known(&store, 1).await, Some(Standing::Final(Outcome::Delivered)));
    assert_eq!(known(&store, 2).await, Some(Standing::Final(Outcome::Exhausted)));
    // Days are made, moved into, and dropped, those of before among them; under a publication, too.
    bench.run("CREATE PUBLICATION everything FOR ALL TABLES").await;
    store.write(&attempts(vec![Attempt { day: Day(TODAY.0 + 2), ..failed(4, 1) }])).await.unwrap();
    assert_eq!(store.keep_days(Day(TODAY.0 + 1), Day(TODAY.0 + 2)).await.unwrap(), [TODAY]);
    let left: Vec<_> = all_attempts(&store).await.iter().map(|row| row.day.0).collect();
    assert_eq!(left, [TODAY.0 + 2]);
}

/// Among twenty thousand rows, a notification's are found by its own two indexes.
#[tokio::test]
async fn one_notification_is_found_without_walking_the_others() {
    let Some(url) = postgres_cluster::database("one_found").await else { return };
    let bench = PostgresBench { url: url.clone() };
    let store = bench.open().await;
    store.keep_days(TODAY, TODAY).await.unwrap();
    for chunk in (0..20_000u64).collect::<Vec<_>>().chunks(5_000) {
        let row = |n: &u64| if n.is_multiple_of(7) { failed(*n, 1) } else { ended(*n, 1, Outcome::Delivered) };
        store.write(&attempts(chunk.iter().map(row).collect())).await.unwrap();
    }
    let one = AttemptQuery { notification: Some(id(7_007)), limit: 10, ..AttemptQuery::default() };
    // Statistics are told when a session ends, so this one is of a single connection and ends.
    let reading = Postgres::connect(&url, 1).await.unwrap();
    for _ in 0..5 {
        assert_eq!(reading.attempts(&one).await.unwrap(), [failed(7_007, 1)]);
        let query = NotificationQuery { attempts: one.clone(), ..NotificationQuery::default() };
        assert_eq!(reading.notifications(&query).await.unwrap()[0].status, Status::Retrying);
    }
    drop(reading);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut read = async |index: &str| -> i64 {
        sqlx::query_scalar(
            "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes
             WHERE relname LIKE 'attempts_2%' AND indexrelname LIKE $1",
        )
        .bind(index)
        .fetch_one(&mut connection)
        .await
        .unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while read("%_notification_day_attempt_idx").await < 10 {
        assert!(Instant::now() < deadline, "the index of tries was never used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(read("%_at_idx").await < 100, "rows were walked by their time");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Port 1 on loopback: nobody listens.
    let answer = Postgres::connect("postgres://nobody@127.0.0.1:1/none?sslmode=disable", 1).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{:?}", answer.err());
}

// === Every case on both stores ===

macro_rules! on_both_stores {
    ($($case:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&super::SqliteBench(tempfile::tempdir().unwrap())).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(url) = super::postgres_cluster::database(stringify!($case)).await {
                        super::$case(&super::PostgresBench { url }).await;
                    }
                }
            )*
        }
    };
}

on_both_stores! {
    a_batch_written_twice_is_the_same_as_once
    a_batch_is_written_as_a_whole_or_not_at_all
    a_refused_batch_does_not_take_others_with_it
    large_batches_are_one_batch
    concurrent_writers_of_the_same_rows_agree
    everything_survives_a_restart
    a_final_outcome_is_never_overwritten
    what_has_ended_is_not_parked_again
    look_up_tells_what_is_known
    an_older_epoch_is_refused_as_a_whole
    of_two_owners_only_the_newer_writes
    nothing_of_a_former_owner_lands_after_the_next_has_taken_over
    parking_again_moves_the_due_time
    due_rows_come_in_order_by_partition_and_page
    waiting_counts_parked_rows
    attempts_are_narrowed_by_each_field
    pages_neither_overlap_nor_skip
    a_notification_is_shown_by_its_newest_attempt
    odd_values_survive
    nul_in_text_is_replaced_and_still_found
    an_event_id_of_any_length_is_stored
    old_days_are_dropped_whole
    rows_of_other_days_go_by_their_age
    a_senseless_range_of_days_is_refused
    days_are_made_while_others_write
    one_writer_at_a_time_edits_the_directory
    the_store_answers
}
