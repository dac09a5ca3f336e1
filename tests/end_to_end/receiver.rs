//! Receivers of webhooks on one port: what a path begins with is how it behaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::{net::TcpListener, time::sleep};

/// How long `/slow/…` takes to answer.
pub const SLOW: Duration = Duration::from_millis(200);

/// `/ok/<name>` answers at once, `/failing/<name>` with 503, `/slow/<name>` after [`SLOW`], `/silent/<name>` accepts and never answers.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    receipts: Arc<Mutex<Vec<Receipt>>>,
}

/// One request, as it came. Those to `/silent/…` are kept too.
#[derive(Clone)]
pub struct Receipt {
    pub name: String,
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: Bytes,
}

// === impl Receiver ===

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver { address: listener.local_addr().unwrap(), receipts: Arc::default() };
        let router = Router::new().route("/{behaviour}/{name}", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn url(&self, behaviour: &str, name: &str) -> String {
        format!("http://{}/{behaviour}/{name}", self.address)
    }

    pub fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.receipts.lock().unwrap().len()
    }

    /// How often each event came.
    pub fn events(&self) -> BTreeMap<String, usize> {
        let mut events = BTreeMap::new();
        self.receipts().iter().for_each(|receipt| *events.entry(receipt.event()).or_default() += 1);
        events
    }

    /// Waits until at least so many different events have come.
    pub async fn wait_for(&self, events: usize, within: Duration) {
        let deadline = Instant::now() + within;
        while self.events().len() < events {
            assert!(Instant::now() < deadline, "{} of {events} events within {within:?}", self.events().len());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    Path((behaviour, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    receiver.receipts.lock().unwrap().push(Receipt { name, at: Instant::now(), headers, body });
    match behaviour.as_str() {
        "ok" => {}
        "failing" => return StatusCode::SERVICE_UNAVAILABLE,
        "slow" => sleep(SLOW).await,
        _ => std::future::pending().await,
    }
    StatusCode::NO_CONTENT
}

// === impl Receipt ===

impl Receipt {
    /// The event's id.
    pub fn event(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    /// The notification's id.
    pub fn notification(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }

    /// Verifies the signature with the official library.
    pub fn verify(&self, secret: &str) {
        standardwebhooks::Webhook::new(secret).unwrap().verify(&self.body, &self.headers).unwrap();
    }
}

/// Different notifications among these.
pub fn notifications(receipts: &[Receipt]) -> usize {
    receipts.iter().map(Receipt::notification).collect::<BTreeSet<_>>().len()
}
