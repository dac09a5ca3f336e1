//! A schema registry with Confluent's HTTP API: Confluent's own, Apicurio (under `/apis/ccompat/v7`), Karapace, Redpanda.
//!
//! Only two answers say something about a schema: the schema, and "there is none" in the registry's own words. All else, a
//! 404 of some proxy or a refused password too, is an outage: whoever asks waits, and no record is blamed for it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tidings_core::codec::{
    Registered, SchemaRef, json,
    registered::{MAX_REFERENCES, MAX_SCHEMA_BYTES},
};
use tokio::time::Instant;
use url::Url;

use crate::telemetry::facts;

/// Asks one registry. Cheap to clone; all clones are one connection pool.
#[derive(Clone)]
pub struct Registry {
    http: Client,
    base: Url,
    credentials: Arc<Credentials>,
    timeout: Duration,
}

/// What an operator says of a registry.
pub struct RegistrySettings {
    /// With the path below which the API is.
    pub url: Url,
    pub credentials: Credentials,
    /// Trusted besides the public ones.
    pub authorities: Vec<CertificateDer<'static>>,
    /// For one schema, all that it refers to included.
    pub timeout: Duration,
}

/// Who we are to the registry.
pub enum Credentials {
    Nobody,
    Basic { username: String, password: SecretString },
    Bearer(SecretString),
}

/// Why a registry said nothing about a schema. The text is for operators and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema registry does not answer: {text}")]
pub struct RegistryError {
    pub kind: RegistryTrouble,
    pub text: String,
}

/// What an operator would look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryTrouble {
    /// Nobody there, or too slow.
    Connection,
    /// Its certificate is not trusted.
    Certificate,
    /// It does not let us in.
    Credentials,
    /// There is a server, but none of this API at this path.
    Path,
    /// Something that it should not say.
    Answer,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("registry.ca_file: a certificate is no authority that can be trusted: {0}")]
    Authority(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(reqwest::Error),
}

/// The most of an answer that is read, in bytes: the text of the largest schema, escaped, and what is around it.
const MAX_ANSWER: usize = 2 * MAX_SCHEMA_BYTES + 64 * 1024;
/// The largest id that every registry takes for one.
const UNLIKELY_ID: &str = "2147483647";
/// The most subjects of a schema that are looked at.
const MAX_SUBJECTS: usize = 16;
/// How often "there is none" is asked about before it is believed: a schema just registered may not be on every replica.
const TRIES_OF_ABSENT: u32 = 3;
/// Between these.
const ABSENT_PAUSE: Duration = Duration::from_millis(100);
/// Media types that registries of this API take.
const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// What an operator is told of an answer that is no success, in bytes.
const MAX_TOLD: usize = 200;
/// Error codes by which a registry says that it is the schema, subject or version that is not there.
const NOT_FOUND_CODES: std::ops::RangeInclusive<i64> = 40_400..=40_499;

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(rename = "schemaType", default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

// === impl Registry ===

impl Registry {
    pub fn new(settings: RegistrySettings) -> Result<Registry, SetupError> {
        let http = Client::builder()
            .user_agent(concat!("Tidings/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(settings.authorities)?)
            // Credentials must not travel through a proxy that happens to stand in the environment, nor to another host.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.timeout)
            .build()
            .map_err(SetupError::Client)?;
        let credentials = Arc::new(settings.credentials);
        Ok(Registry { http, base: settings.url, credentials, timeout: settings.timeout })
    }

    /// A schema with all that it refers to; `None` if the registry says that there is none.
    pub async fn schema(&self, schema: &SchemaRef) -> Result<Option<Registered>, RegistryError> {
        let started = Instant::now();
        let asked = tokio::time::timeout(self.timeout, self.insist_on_absence(schema)).await;
        let late =
            |_| Err(RegistryTrouble::Connection.because(format!("nothing within {} ms", self.timeout.as_millis())));
        let answer = asked.unwrap_or_else(late);
        facts::registry_asked(answer.as_ref().map(Option::is_some).ok(), started.elapsed());
        answer
    }

    /// Whether it answers us at all, with these credentials, over this path. Asks for a schema that most likely is not there.
    pub async fn answers(&self) -> Result<(), RegistryError> {
        let path = ["schemas", "ids", UNLIKELY_ID];
        let late =
            |_| Err(RegistryTrouble::Connection.because(format!("nothing within {} ms", self.timeout.as_millis())));
        tokio::time::timeout(self.timeout, self.get(&path)).await.unwrap_or_else(late).map(drop)
    }

    /// Under which subjects a schema was registered: a help to name its type, so no answer is none.
    pub async fn subjects(&self, schema: &SchemaRef) -> Vec<String> {
        let SchemaRef::Id(id) = schema else { return Vec::new() };
        let path = ["schemas", "ids", &id.to_string(), "subjects"];
        match tokio::time::timeout(self.timeout, self.get(&path)).await {
            Ok(Ok(Some(Value::Array(subjects)))) => {
                let texts = subjects.into_iter().filter_map(|subject| subject.as_str().map(str::to_owned));
                texts.take(MAX_SUBJECTS).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn insist_on_absence(&self, schema: &SchemaRef) -> Result<Option<Registered>, RegistryError> {
        for attempt in 1..=TRIES_OF_ABSENT {
            let answer = match schema {
                SchemaRef::Id(id) => self.get(&["schemas", "ids", &id.to_string()]).await?,
                SchemaRef::Guid(_) => self.get(&["schemas", "guids", &schema.to_string()]).await?,
            };
            if let Some(answer) = answer {
                return self.whole(read(answer)?).await.map(Some);
            }
            if attempt < TRIES_OF_ABSENT {
                tokio::time::sleep(ABSENT_PAUSE * attempt).await;
            }
        }
        Ok(None)
    }

    /// Fetches what a schema refers to, each after what that one refers to.
    async fn whole(&self, answer: SchemaAnswer) -> Result<Registered, RegistryError> {
        let schema_type = answer.schema_type.unwrap_or_else(|| "AVRO".to_owned());
        let mut registered = Registered { schema_type, schema: answer.schema, ..Registered::default() };
        if registered.schema_type != "AVRO" {
            return Ok(registered);
        }
        enum Todo {
            Fetch(Reference),
            Take(String),
        }
        let mut seen = HashSet::new();
        let mut todo: Vec<Todo> = answer.references.into_iter().flatten().rev().map(Todo::Fetch).collect();
        while let Some(next) = todo.pop() {
            match next {
                Todo::Take(text) => registered.references.push(text),
                // One more than may be is enough to be refused for.
                Todo::Fetch(reference) if seen.len() <= MAX_REFERENCES && seen.insert(reference.clone()) => {
                    let Reference { subject, version } = &reference;
                    let found = self.get(&["subjects", subject, "versions", &version.to_string()]).await?;
                    // Without it the schema is not whole, which is found out when it is read.
                    let Some(found) = found else { continue };
                    let found = read(found)?;
                    todo.push(Todo::Take(found.schema));
                    todo.extend(found.references.into_iter().flatten().rev().map(Todo::Fetch));
                }
                Todo::Fetch(_) => {}
            }
        }
        Ok(registered)
    }

    /// `None`: the registry says that there is no such thing.
    async fn get(&self, path: &[&str]) -> Result<Option<Value>, RegistryError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        // A schema that records still use may have been deleted since.
        url.query_pairs_mut().append_pair("deleted", "true");
        let answer = self.authorised(self.http.get(url)).header("accept", ACCEPT).send().await;
        let answer = answer.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = bounded(answer).await?;
        if status.is_success() {
            let value = json::parse(&body);
            let value =
                value.map_err(|poison| RegistryTrouble::Answer.because(format!("no JSON: {}", poison.detail)))?;
            return Ok(Some(value));
        }
        let said = json::parse(&body).unwrap_or_default();
        let code = said.get("error_code").and_then(Value::as_i64);
        // By this the registry's server says that it has no such path.
        let no_path = said.get("message").and_then(Value::as_str) == Some("HTTP 404 Not Found");
        match (status, code) {
            (StatusCode::NOT_FOUND, Some(404)) if !no_path => Ok(None),
            (StatusCode::NOT_FOUND, Some(code)) if NOT_FOUND_CODES.contains(&code) => Ok(None),
            (StatusCode::NOT_FOUND, _) => {
                Err(RegistryTrouble::Path.because("404, but not of a schema: is the path of registry.url right?"))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                let text = format!("{status}: look at registry.username and registry.secret");
                Err(RegistryTrouble::Credentials.because(text))
            }
            _ => Err(RegistryTrouble::Answer.because(told(status, &body))),
        }
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &*self.credentials {
            Credentials::Nobody => request,
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password.expose_secret())),
            Credentials::Bearer(token) => request.bearer_auth(token.expose_secret()),
        }
    }
}

// === impl RegistryTrouble ===

impl RegistryTrouble {
    fn because(self, text: impl Into<String>) -> RegistryError {
        RegistryError { kind: self, text: text.into() }
    }
}

async fn bounded(mut answer: Response) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(RegistryTrouble::Answer.because(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn read(answer: Value) -> Result<SchemaAnswer, RegistryError> {
    let read = serde_json::from_value(answer);
    read.map_err(|error| RegistryTrouble::Answer.because(format!("no schema in its answer: {error}")))
}

/// Only what is text on one line of a log.
fn told(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_TOLD)]);
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("{status} {plain}").trim_end().to_owned()
}

/// Without the URL, which may hold a password; with the cause, which reqwest leaves to its sources.
fn failed(error: &reqwest::Error) -> RegistryError {
    let mut text = if error.is_timeout() { "too late" } else { "the connection failed" }.to_owned();
    let mut kind = RegistryTrouble::Connection;
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        if matches!(tls_error(inner), Some(rustls::Error::InvalidCertificate(_))) {
            kind = RegistryTrouble::Certificate;
        }
        cause = inner.source();
    }
    kind.because(text)
}

/// An I/O error is silent about what it wraps, which may be another one.
fn tls_error<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    while let Some(wrapped) = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
        error = wrapped;
    }
    error.downcast_ref()
}

fn tls(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in authorities {
        roots.add(authority).map_err(SetupError::Authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(SetupError::Tls)?.with_root_certificates(roots).with_no_client_auth())
}
