//! The receiver of every webhook of a run: counts each notification's requests, and knows how far events have come.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tidings_core::domain::NotificationId;
use tokio::{net::TcpListener, time::sleep};

use crate::workload::{DESTINATIONS, delivery_partition, is_failing};

/// What every destination here signs with.
pub const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// The signature of one request in so many is verified: the official library takes its time.
const VERIFY_ONE_IN: u64 = 50;
/// A failing destination takes a notification at this request.
const FAILURES: u32 = 2;
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Seen>,
    requests: AtomicU64,
    verified: AtomicU64,
    forged: AtomicU64,
    /// The newest event that came through each partition, plus one.
    by_events: Vec<AtomicU64>,
    by_deliveries: Vec<AtomicU64>,
    /// Requests through each delivery partition.
    counted: Vec<AtomicU64>,
    partition_of: Vec<u32>,
}

#[derive(Default)]
struct Seen {
    requests: HashMap<NotificationId, u32>,
    /// When a notification came again after it had been taken.
    repeats: Vec<Instant>,
}

/// What the processes of a role divide among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divided {
    /// Partitions of the events topic, as the publisher chooses them: an event's number modulo their count.
    Events,
    Deliveries,
}

// === impl Receiver ===

impl Receiver {
    pub async fn start(partitions: u32) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let counters = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        let shared = Shared {
            seen: Mutex::default(),
            requests: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            by_events: counters(),
            by_deliveries: counters(),
            counted: counters(),
            partition_of: (0..DESTINATIONS).map(|n| delivery_partition(n, partitions)).collect(),
        };
        let receiver = Receiver { address: listener.local_addr().unwrap(), shared: Arc::new(shared) };
        let router = Router::new().route("/{destination}", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn url(&self, destination: usize) -> String {
        format!("http://{}/{destination}", self.address)
    }

    /// Waits until an event from `first` on has come through each partition. `false` if that takes too long.
    pub async fn flows(&self, divided: Divided, first: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let newest = match divided {
            Divided::Events => &self.shared.by_events,
            Divided::Deliveries => &self.shared.by_deliveries,
        };
        while newest.iter().any(|next| next.load(Ordering::Relaxed) <= first) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
        true
    }

    /// Every event below this number, or a newer one of its partition, has come.
    pub fn slowest(&self) -> u64 {
        self.shared.by_events.iter().map(|next| next.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// Requests through each delivery partition.
    pub fn counted(&self) -> Vec<u64> {
        self.shared.counted.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// How often each notification was taken: 2xx. Those that were never are left out.
    pub fn taken(&self, destination_of: &HashMap<NotificationId, usize>) -> HashMap<NotificationId, u32> {
        let seen = self.shared.seen.lock().unwrap();
        let taken = |(id, requests): (&NotificationId, &u32)| {
            let failing = destination_of.get(id).is_some_and(|destination| is_failing(*destination));
            let taken = if failing { requests.saturating_sub(FAILURES) } else { *requests };
            (taken > 0).then_some((*id, taken))
        };
        seen.requests.iter().filter_map(taken).collect()
    }

    pub fn ids(&self) -> Vec<NotificationId> {
        self.shared.seen.lock().unwrap().requests.keys().copied().collect()
    }

    /// Requests for what had been taken already.
    pub fn repeats(&self) -> usize {
        self.shared.seen.lock().unwrap().repeats.len()
    }

    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Signatures looked at, and those of them that were wrong.
    pub fn signatures(&self) -> (u64, u64) {
        (self.shared.verified.load(Ordering::Relaxed), self.shared.forged.load(Ordering::Relaxed))
    }

    fn take(&self, destination: usize, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let Some(id) = headers.get("webhook-id").and_then(|id| id.to_str().ok()?.parse::<NotificationId>().ok()) else {
            return StatusCode::BAD_REQUEST;
        };
        let nth = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if nth.is_multiple_of(VERIFY_ONE_IN) {
            let webhook = standardwebhooks::Webhook::new(SECRET).expect("a secret");
            let counter =
                if webhook.verify(body, headers).is_ok() { &self.shared.verified } else { &self.shared.forged };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(number), Some(partition)) = (event_number(body), self.shared.partition_of.get(destination)) {
            let by_events = &self.shared.by_events[number as usize % self.shared.by_events.len()];
            by_events.fetch_max(number + 1, Ordering::Relaxed);
            self.shared.by_deliveries[*partition as usize].fetch_max(number + 1, Ordering::Relaxed);
            self.shared.counted[*partition as usize].fetch_add(1, Ordering::Relaxed);
        }
        let mut seen = self.shared.seen.lock().unwrap();
        let requests = seen.requests.entry(id).or_default();
        *requests += 1;
        let failures = if is_failing(destination) { FAILURES } else { 0 };
        if *requests <= failures {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        if *requests > failures + 1 {
            seen.repeats.push(Instant::now());
        }
        StatusCode::NO_CONTENT
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    Path(destination): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    receiver.take(destination, &headers, &body)
}

/// From the beginning of the body, `{"id":"e123",…`: reading all of it would cost more than sending it.
fn event_number(body: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(br#"{"id":"e"#)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
