//! What customers have at the other end: servers on loopback that behave well, badly, or not at all.
//!
//! Every request is verified with the reference implementation of Standard Webhooks, not with our own code: if we
//! signed wrongly, this is where it would be seen.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde::Deserialize;
use standardwebhooks::Webhook;
use tidings_core::domain::Timestamp;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::roles::{Clock, SystemClock};

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers 204.
    Healthy,
    /// Answers 500 three times out of ten.
    Flaky,
    /// Its port is closed.
    Dead,
    /// Accepts the connection, reads, and never answers.
    Silent,
}

/// Every receiver, by the name that `cast.yaml` uses.
const RECEIVERS: [(&str, Manner); 5] = [
    ("healthy", Manner::Healthy),
    ("limited", Manner::Healthy),
    ("flaky", Manner::Flaky),
    ("dead", Manner::Dead),
    ("silent", Manner::Silent),
];
/// Which of every ten requests the flaky one fails: in a fixed order, the first at once, so that there is something to see.
const FAILS: [bool; 10] = [true, false, false, false, true, false, false, true, false, false];
/// The times that percentiles are taken of: of the last so many seconds …
const WINDOW: Duration = Duration::from_secs(10);
/// … and no more than this many, which bounds memory.
const WINDOW_SIZE: usize = 20_000;

/// All of them, for as long as the process runs.
pub struct Receivers {
    list: Vec<Arc<Receiver>>,
    /// The dead one's: bound, so that nobody else gets the port, but not listening, so that connections are refused.
    _closed: TcpSocket,
}

/// One server, and what it has seen.
pub struct Receiver {
    pub name: &'static str,
    pub manner: Manner,
    address: SocketAddr,
    /// By the path of the destination's URL.
    keys: Mutex<HashMap<String, Webhook>>,
    received: AtomicU64,
    verified: AtomicU64,
    forged: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
    times: Mutex<VecDeque<(Instant, i64)>>,
}

/// What a receiver has seen until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: &'static str,
    pub manner: Manner,
    /// Requests read, or connections accepted by the silent one.
    pub received: u64,
    pub verified: u64,
    /// Requests whose signature did not hold.
    pub forged: u64,
    /// Requests answered 500 on purpose.
    pub failed: u64,
    /// Connections that wait for an answer now.
    pub open: u64,
}

/// Milliseconds from an event's own time to its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    pub p50_ms: i64,
    pub p99_ms: i64,
}

/// What is read of a notification.
#[derive(Deserialize)]
struct Body {
    timestamp: Timestamp,
}

// === impl Receivers ===

impl Receivers {
    /// Starts every receiver on a port that the system chooses.
    pub async fn start() -> anyhow::Result<Receivers> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let closed = TcpSocket::new_v4()?;
        closed.bind(anywhere)?;
        let mut list = Vec::new();
        for (name, manner) in RECEIVERS {
            if manner == Manner::Dead {
                list.push(Receiver::new(name, manner, closed.local_addr()?));
                continue;
            }
            let listener = TcpListener::bind(anywhere).await?;
            let receiver = Receiver::new(name, manner, listener.local_addr()?);
            list.push(receiver.clone());
            if manner == Manner::Silent {
                tokio::spawn(accept_and_wait(receiver, listener));
            } else {
                let router = Router::new().fallback(receive).with_state(receiver);
                tokio::spawn(async move { axum::serve(listener, router).await });
            }
        }
        Ok(Receivers { list, _closed: closed })
    }

    /// Where the receiver of this name is.
    pub fn url(&self, name: &str) -> Option<String> {
        self.list.iter().find(|receiver| receiver.name == name).map(|receiver| format!("http://{}", receiver.address))
    }

    /// Tells the receiver behind a URL with which key its requests are signed.
    pub fn trust(&self, url: &str, secret: &str) -> anyhow::Result<()> {
        let uri: Uri = url.parse().context("a receiver's URL")?;
        let is_there =
            |receiver: &&Arc<Receiver>| uri.authority().is_some_and(|a| a.as_str() == receiver.address.to_string());
        let receiver = self.list.iter().find(is_there).context("no receiver has this address")?;
        lock(&receiver.keys).insert(uri.path().to_owned(), Webhook::new(secret).context("a signing key")?);
        Ok(())
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.list.iter().map(|receiver| receiver.seen()).collect()
    }

    /// Of the healthy one: elsewhere it would be the receiver's slowness that is measured.
    pub fn percentiles(&self) -> Option<Percentiles> {
        self.list.first()?.percentiles(Instant::now())
    }
}

// === impl Receiver ===

impl Receiver {
    fn new(name: &'static str, manner: Manner, address: SocketAddr) -> Arc<Receiver> {
        Arc::new(Receiver {
            name,
            manner,
            address,
            keys: Mutex::default(),
            received: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            forged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            open: AtomicU64::new(0),
            times: Mutex::default(),
        })
    }

    fn request(&self, path: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> StatusCode {
        let is_genuine = lock(&self.keys).get(path).is_some_and(|key| key.verify(body, headers).is_ok());
        count(if is_genuine { &self.verified } else { &self.forged });
        // Counted last: whoever sees a request counted sees it judged.
        let before = self.received.fetch_add(1, Ordering::Release);
        if !is_genuine {
            return StatusCode::UNAUTHORIZED;
        }
        if self.manner == Manner::Flaky && FAILS[before as usize % FAILS.len()] {
            count(&self.failed);
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        if let Ok(Body { timestamp }) = serde_json::from_slice(body) {
            self.took(now.since(timestamp), Instant::now());
        }
        StatusCode::NO_CONTENT
    }

    fn took(&self, ms: i64, now: Instant) {
        let mut times = lock(&self.times);
        times.push_back((now, ms));
        while times.len() > WINDOW_SIZE || times.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            times.pop_front();
        }
    }

    fn percentiles(&self, now: Instant) -> Option<Percentiles> {
        let times = lock(&self.times);
        let mut recent: Vec<i64> =
            times.iter().filter(|(at, _)| now.duration_since(*at) <= WINDOW).map(|(_, ms)| *ms).collect();
        drop(times);
        recent.sort_unstable();
        // The nearest rank: the smallest time that so many per cent do not exceed.
        let rank = |percent: usize| recent.get((recent.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Percentiles { p50_ms: rank(50)?, p99_ms: rank(99)? })
    }

    fn seen(&self) -> Seen {
        let read = |number: &AtomicU64| number.load(Ordering::Acquire);
        let received = read(&self.received);
        Seen {
            name: self.name,
            manner: self.manner,
            received,
            verified: read(&self.verified),
            forged: read(&self.forged),
            failed: read(&self.failed),
            open: read(&self.open),
        }
    }
}

async fn receive(State(receiver): State<Arc<Receiver>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.request(uri.path(), &headers, &body, SystemClock.now())
}

/// Reads whatever comes until the other side hangs up. Tidings' limits bound how many wait here.
async fn accept_and_wait(receiver: Arc<Receiver>, listener: TcpListener) {
    loop {
        // An error here is about one connection, or a shortage that passes.
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        count(&receiver.received);
        let receiver = receiver.clone();
        tokio::spawn(async move {
            count(&receiver.open);
            read_to_end(connection).await;
            receiver.open.fetch_sub(1, Ordering::Release);
        });
    }
}

async fn read_to_end(mut connection: TcpStream) {
    let mut buffer = [0; 4096];
    while connection.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

fn count(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Release);
}

/// A lock whose data stays valid whatever its holder did: every change under it is a single step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn receiver(manner: Manner) -> Arc<Receiver> {
        let receiver = Receiver::new("healthy", manner, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        lock(&receiver.keys).insert("/acme/crm".to_owned(), Webhook::new(SECRET).unwrap());
        receiver
    }

    fn signed(body: &str) -> HeaderMap {
        let now = SystemClock.now().seconds();
        let signature = Webhook::new(SECRET).unwrap().sign("id-1", now, body.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "id-1".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn only_what_is_signed_with_the_destinations_key_is_verified() {
        let healthy = receiver(Manner::Healthy);
        let body = r#"{"timestamp":"2026-11-23T12:00:00.000Z"}"#;
        let at = Timestamp::parse("2026-11-23T12:00:00.007Z").unwrap();
        let check = |path: &str, body: &str, headers: &HeaderMap, expected: u16| {
            assert_eq!(healthy.request(path, headers, body.as_bytes(), at).as_u16(), expected, "{path} {body}");
        };
        check("/acme/crm", body, &signed(body), 204);
        check("/acme/crm", &body.replace("23T", "22T"), &signed(body), 401);
        check("/acme/crm", body, &HeaderMap::new(), 401);
        check("/globex/ops", body, &signed(body), 401);
        let seen = healthy.seen();
        assert_eq!((seen.received, seen.verified, seen.forged), (4, 1, 3));
        assert_eq!(healthy.percentiles(Instant::now()), Some(Percentiles { p50_ms: 7, p99_ms: 7 }));
    }

    #[test]
    fn the_flaky_one_fails_three_times_out_of_ten() {
        let flaky = receiver(Manner::Flaky);
        let headers = signed("{}");
        for _ in 0..1_000 {
            flaky.request("/acme/crm", &headers, b"{}", Timestamp(0));
        }
        assert_eq!(flaky.seen().failed, 300);
    }

    #[test]
    fn percentiles_are_of_the_last_seconds() {
        let healthy = receiver(Manner::Healthy);
        let start = Instant::now();
        assert_eq!(healthy.percentiles(start), None);
        (1..=100).for_each(|ms| healthy.took(ms, start));
        assert_eq!(healthy.percentiles(start), Some(Percentiles { p50_ms: 50, p99_ms: 99 }));
        let later = start + WINDOW + Duration::from_secs(1);
        assert_eq!(healthy.percentiles(later), None);
        healthy.took(5, later);
        assert_eq!(healthy.percentiles(later), Some(Percentiles { p50_ms: 5, p99_ms: 5 }));
    }

    #[tokio::test]
    async fn the_dead_refuse_and_the_silent_never_answer() {
        let receivers = Receivers::start().await.unwrap();
        let address = |name: &str| receivers.url(name).unwrap().strip_prefix("http://").unwrap().to_owned();
        let refused = TcpStream::connect(address("dead")).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let mut connection = TcpStream::connect(address("silent")).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), connection.read(&mut [0; 1])).await;
        assert!(answer.is_err(), "it answered");
        let silent = receivers.seen().into_iter().find(|seen| seen.name == "silent").unwrap();
        assert_eq!((silent.received, silent.open), (1, 1));
    }
}
