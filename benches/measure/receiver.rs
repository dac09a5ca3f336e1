//! The receiver of all measurements: a process of its own, so that its work is nobody else's, that answers 200 at once.
//!
//! `/ok/…` is answered, `/silent/…` is accepted and never answered. A body names when its event was published
//! (`"t":` and microseconds); how long it took from there is kept for each request.
//!
//! One thread serves, because it is there to be called and not to be measured.

use std::{
    cell::RefCell,
    collections::HashSet,
    convert::Infallible,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// The receiver, as the measuring process sees it. Ends with it.
pub struct Receiver {
    process: Child,
    pub address: SocketAddr,
    http: reqwest::Client,
}

/// What has come since the last reset, requests to `/silent/…` left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Receipts {
    pub received: u64,
    /// By `webhook-id`.
    pub distinct: u64,
    pub silent: u64,
    /// From the first to the last.
    pub span_us: u64,
    /// From publishing to receipt.
    pub p50_us: u64,
    pub p99_us: u64,
    pub worst_us: u64,
}

#[derive(Default)]
struct Counts {
    ids: HashSet<Box<[u8]>>,
    received: u64,
    silent: u64,
    first_us: u64,
    last_us: u64,
    took_us: Vec<u64>,
}

/// The argument by which this program runs as the receiver.
pub const ARGUMENT: &str = "receiver";
/// Between looks at how much has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

// === impl Receiver ===

impl Receiver {
    pub fn start() -> anyhow::Result<Receiver> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let address = line.trim().parse().context("the receiver's address")?;
        Ok(Receiver { process, address, http: reqwest::Client::builder().no_proxy().build()? })
    }

    pub fn url(&self, behaviour: &str, name: &str) -> String {
        format!("http://{}/{behaviour}/{name}", self.address)
    }

    pub async fn reset(&self) -> anyhow::Result<()> {
        self.http.post(format!("http://{}/reset", self.address)).send().await?.error_for_status()?;
        Ok(())
    }

    pub async fn receipts(&self) -> anyhow::Result<Receipts> {
        let answer = self.http.get(format!("http://{}/receipts", self.address)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Waits until this many different notifications have come; more, or one twice, is an error.
    pub async fn wait_for(&self, count: u64, within: Duration) -> anyhow::Result<Receipts> {
        let deadline = Instant::now() + within;
        loop {
            let receipts = self.receipts().await?;
            ensure!(receipts.distinct <= count, "{} of {count} notifications came", receipts.distinct);
            if receipts.distinct == count {
                ensure!(receipts.received == count, "{} requests for {count} notifications", receipts.received);
                return Ok(receipts);
            }
            ensure!(Instant::now() < deadline, "{} of {count} notifications came within {within:?}", receipts.distinct);
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has nothing to put in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Microseconds since 1970, of the clock that both processes read.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Runs as the receiver until the measuring process is gone.
pub fn serve() -> anyhow::Result<()> {
    // Its input is a pipe that ends with the process that started it.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let counts = Rc::new(RefCell::new(Counts::default()));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let counts = counts.clone();
            let service = service_fn(move |request| answer(request, counts.clone()));
            tokio::task::spawn_local(async move {
                // A caller may hang up whenever it likes.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(request: Request<Incoming>, counts: Rc<RefCell<Counts>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut content = Bytes::new();
    let path = request.uri().path();
    if path == "/receipts" {
        let receipts = counts.borrow_mut().receipts();
        content = serde_json::to_vec(&receipts).unwrap_or_default().into();
    } else if path == "/reset" {
        *counts.borrow_mut() = Counts::default();
    } else if path.starts_with("/silent/") {
        counts.borrow_mut().silent += 1;
        std::future::pending::<()>().await;
    } else {
        let id = request.headers().get("webhook-id").map(|id| id.as_bytes().into());
        if let Ok(body) = request.into_body().collect().await {
            counts.borrow_mut().add(id, &body.to_bytes());
        }
    }
    Ok(Response::new(Full::new(content)))
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, id: Option<Box<[u8]>>, body: &[u8]) {
        let now = now_us();
        if self.received == 0 {
            self.first_us = now;
        }
        self.last_us = now;
        self.received += 1;
        self.ids.extend(id);
        if let Some(published) = published_us(body) {
            self.took_us.push(now.saturating_sub(published));
        }
    }

    fn receipts(&mut self) -> Receipts {
        self.took_us.sort_unstable();
        let at = |share: usize| self.took_us.get(self.took_us.len() * share / 100).copied().unwrap_or_default();
        Receipts {
            received: self.received,
            distinct: self.ids.len() as u64,
            silent: self.silent,
            span_us: self.last_us - self.first_us,
            p50_us: at(50),
            p99_us: at(99),
            worst_us: self.took_us.last().copied().unwrap_or_default(),
        }
    }
}

/// The number after `"t":`.
fn published_us(body: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"t\":";
    let after = body.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let digits = body[after..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
