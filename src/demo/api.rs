//! The demo speaks to Tidings as a stranger would: over HTTP, with the operator token.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use serde_json::Value;

/// The API of the running demo. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the roles may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

// === impl Api ===

impl Api {
    pub fn new(address: SocketAddr, token: String) -> anyhow::Result<Api> {
        // One process, one TLS implementation; a second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Api { http, base: format!("http://{address}"), token })
    }

    /// Waits until every role can do its work.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let ready = async {
            while !self.http.get(format!("{}/readyz", self.base)).send().await.is_ok_and(|a| a.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(READY_WITHIN, ready).await.ok().with_context(|| {
            format!("Tidings was not ready within {} s; {}/readyz says why", READY_WITHIN.as_secs(), self.base)
        })
    }

    pub async fn put(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let text = self.answer(self.http.put(format!("{}{path}", self.base)).json(object)).await;
        Ok(serde_json::from_str(&text.with_context(|| path.to_owned())?)?)
    }

    pub async fn publish(&self, events: &[Value]) -> anyhow::Result<()> {
        self.answer(self.http.post(format!("{}/v1/events", self.base)).json(events)).await.map(drop)
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        self.answer(self.http.get(format!("{}/metrics", self.base))).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<String> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{status}: {text}");
        }
        Ok(text)
    }
}
