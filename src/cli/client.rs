//! Speaking to the API: one address, one token, JSON in and out, its errors as ours.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::Global;
use crate::config::Settings;

/// How long the API may take for one request, unless its answer comes line by line.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const BROKEN_OFF: &str = "the API's answer broke off";

#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// What the API says of an error.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Debug, Deserialize)]
struct RefusalBody {
    message: String,
    #[serde(default)]
    faults: Vec<RefusalFault>,
}

#[derive(Debug, Deserialize)]
struct RefusalFault {
    path: String,
    found: String,
    allowed: String,
}

// === impl Client ===

impl Client {
    pub fn new(global: &Global) -> anyhow::Result<Client> {
        let base = match &global.server {
            Some(server) => server.trim_end_matches('/').to_owned(),
            None => format!("http://{}", super::settings(global)?.api.listen),
        };
        let token = match &global.token {
            Some(token) => token.clone(),
            None => token_of(&super::settings(global)?)?,
        };
        // One process, one TLS implementation; a second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The operator token must not travel through a proxy that happens to stand in the environment.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Client { http, base, token })
    }

    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url = url::Url::parse(&format!("{}{path}", self.base)).context("--server")?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.http.request(Method::GET, url)).await
    }

    /// `/readyz`, whose refusal is an answer too.
    pub async fn readiness(&self) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}/readyz", self.base)).timeout(TIMEOUT).send().await;
        let answer = answer.with_context(|| format!("no answer from {}", self.base))?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    pub async fn send_bytes(&self, path: &str, content_type: &'static str, body: Vec<u8>) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.answer(request.header(header::CONTENT_TYPE, content_type).body(body)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let body = self.begin(request.timeout(TIMEOUT)).await?.bytes().await.context(BROKEN_OFF)?;
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }

    /// Shows each line of an answer as it comes. One that is an error is ours.
    pub async fn lines(
        &self,
        path: &str,
        body: &Value,
        mut show: impl FnMut(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut answer = self.begin(self.http.post(format!("{}{path}", self.base)).json(body)).await?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.context(BROKEN_OFF)? {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                if let Ok(refusal) = serde_json::from_slice::<Refusal>(&line) {
                    bail!("{}", refusal.error.text());
                }
                show(&serde_json::from_slice(&line)?)?;
            }
        }
        Ok(())
    }

    /// Gives an answer to `take` as it comes.
    pub async fn download(&self, path: &str, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut answer = self.begin(self.http.get(format!("{}{path}", self.base))).await?;
        while let Some(piece) = answer.chunk().await.context(BROKEN_OFF)? {
            take(&piece)?;
        }
        Ok(())
    }

    /// The answer once it has begun, if it is no refusal.
    async fn begin(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request.bearer_auth(&self.token).send().await;
        let answer = answer.with_context(|| format!("no answer from {}; is `tidings up` running?", self.base))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.bytes().await.context(BROKEN_OFF)?;
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => bail!("{}", refusal.error.text()),
            Err(_) => bail!("{} answered {status}{}", self.base, hint(status)),
        }
    }
}

fn hint(status: StatusCode) -> &'static str {
    if status == StatusCode::NOT_FOUND { "; is it a Tidings API?" } else { "" }
}

fn token_of(settings: &Settings) -> anyhow::Result<String> {
    if !settings.api.token.is_empty() {
        return Ok(settings.api.token.expose().to_owned());
    }
    let file = settings.token_file();
    let token = std::fs::read_to_string(&file)
        .with_context(|| format!("no --token, and the token file {} cannot be read", file.display()))?;
    Ok(token.trim().to_owned())
}

// === impl RefusalBody ===

impl RefusalBody {
    fn text(&self) -> String {
        let faults = self.faults.iter().map(|f| format!("\n  {}: found {}; allowed: {}", f.path, f.found, f.allowed));
        format!("{}{}", self.message, faults.collect::<String>())
    }
}
