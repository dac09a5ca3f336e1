//! The webhook channel: one signed HTTP POST, and what came of it.
//!
//! How an attempt goes: open the settings, check where the URL leads, sign, send, read the answer's beginning. All of
//! it happens within the destination's timeout. A receiver may be hostile, so nothing it does costs more than one slot
//! until then and [`MAX_RESPONSE`] bytes: redirects are not followed, bodies are neither inflated nor read to their
//! end, and no connection goes to an address that the policy refuses.
//!
//! One client is shared by all destinations; building one costs as much as a hundred requests. What fails inside the
//! client is put into words in [`super::request_error`].

use std::{sync::Arc, time::Duration};

use reqwest::{
    Client, Request, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect, retry,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use secrecy::ExposeSecret;
use tidings_core::{
    domain::{
        ErrorClass, Timestamp,
        address::{UrlFault, UrlRules, split_secret},
    },
    message::{class_of_status, excerpt, retry_after_ms, sign},
};
use tokio::time::Instant;
use url::Url;

use super::{
    Answer, Channel, Failure, Job,
    request_error::failure_of,
    resolver::{LookUp, Resolver},
};
use crate::secrets::{KeyRing, OpenWebhookError};

/// Sends webhooks. Cheap to clone; all clones are one connection pool.
#[derive(Clone)]
pub struct WebhookChannel {
    client: Client,
    rules: Arc<UrlRules>,
    keys: Arc<KeyRing>,
    clock: Clock,
}

/// Where the time of an attempt, which is signed, comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an operator decides about webhooks.
#[derive(Clone, Debug, Default)]
pub struct WebhookSettings {
    pub rules: UrlRules,
    /// Authorities trusted besides the public ones: the setting `delivery.extra_ca_file`.
    pub extra_authorities: Vec<CertificateDer<'static>>,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("delivery.extra_ca_file: a certificate is no authority that can be trusted: {0}")]
    Authority(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Client(reqwest::Error),
}

/// How much of an answer's body is read, in bytes (16 KiB). Then the connection is dropped.
pub const MAX_RESPONSE: usize = 16 * 1024;
/// Bounds of a destination's timeout; what a record says beyond is clamped.
pub const MIN_TIMEOUT: Duration = Duration::from_secs(1);
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Name, TCP and TLS together: twice the 5 s that each half deserves.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept. Less than the 5 s after which common servers (Node.js) close theirs, because
/// a request that meets a closing connection is a failed attempt.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// The most unused connections to one host: many destinations may be behind one name, and those that are closed for being
/// too many are opened again a moment later, at several times the price of a request.
const MAX_IDLE_PER_HOST: usize = 512;
/// The most bytes of header fields in an HTTP/2 answer (64 KiB). HTTP/1 answers are bounded by hyper to 100 fields.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// The most bytes of a `Location` that are told.
const MAX_LOCATION: usize = 256;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Reads a file of PEM certificates, for [`WebhookSettings::extra_authorities`].
pub fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

// === impl WebhookChannel ===

impl WebhookChannel {
    pub fn new(
        settings: WebhookSettings,
        look_up: Arc<dyn LookUp>,
        keys: Arc<KeyRing>,
        clock: Clock,
    ) -> Result<WebhookChannel, SetupError> {
        let resolver = Resolver::new(look_up, Arc::new(settings.rules.addresses.clone()));
        let client = Client::builder()
            .user_agent(concat!("Tidings/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls(settings.extra_authorities)?)
            .dns_resolver(resolver)
            // A proxy from the environment would resolve names itself, past the guard.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // One attempt is one request; else the attempts' table would not tell the truth.
            .retry(retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .build()
            .map_err(SetupError::Client)?;
        Ok(WebhookChannel { client, rules: Arc::new(settings.rules), keys, clock })
    }

    /// The signed request. `at` is the time of this attempt.
    fn request(&self, job: &Job, at: Timestamp) -> Result<Request, Failure> {
        let plain = self.keys.open_webhook(&job.destination).map_err(|error| {
            let class = match error {
                OpenWebhookError::Sealed(_) => ErrorClass::Secret,
                _ => ErrorClass::Configuration,
            };
            failure(class, error.to_string())
        })?;
        self.rules.check(&plain.url).map_err(|fault| {
            let class = match fault {
                UrlFault::Address(_) => ErrorClass::BlockedAddress,
                _ => ErrorClass::Configuration,
            };
            failure(class, fault.to_string())
        })?;

        let mut headers = HeaderMap::new();
        let unusable = |name: &str| failure(ErrorClass::Configuration, format!("header {name:?} cannot be sent"));
        for (name, value) in &plain.headers {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable(name))?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| unusable(name))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        // After the team's own, which can therefore replace none of these.
        let id = job.notification.to_string();
        let signature = sign(&plain.signing_keys, &id, at.seconds(), &job.body);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(&id).map_err(|_| unusable("webhook-id"))?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.seconds()));
        headers
            .insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).map_err(|_| unusable("webhook-signature"))?);

        // User info in the URL becomes an Authorization header here.
        let request = self.client.post(plain.url).headers(headers).body(job.body.clone()).build();
        request.map_err(|_| failure(ErrorClass::Configuration, "no request can be made of this URL"))
    }

    /// Whether the connection went where it may: the resolver and the check of literals both let it pass, so a mismatch
    /// is a hole in one of them.
    fn check_connection(&self, response: &Response) -> Result<(), Failure> {
        let Some(peer) = response.remote_addr() else { return Ok(()) };
        self.rules.addresses.check(peer.ip()).map_err(|blocked| {
            tracing::error!(%peer, "a webhook was sent to an address that must not be called");
            metrics::counter!("tidings_address_guard_failures_total").increment(1);
            failure(ErrorClass::BlockedAddress, blocked.to_string())
        })
    }

    async fn attempt(&self, job: &Job, at: Timestamp) -> Result<Received, Failure> {
        let timeout = Duration::from_millis(job.destination.webhook.timeout_ms.into()).clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let request = self.request(job, at)?;
        let mut response = match tokio::time::timeout_at(deadline, self.client.execute(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure_of(&error)),
            Err(_) => {
                let message = format!("no answer within {} ms", timeout.as_millis());
                return Err(failure(ErrorClass::Timeout, message));
            }
        };
        self.check_connection(&response)?;
        let body = read_beginning(&mut response, deadline).await;
        Ok(Received {
            code: response.status().as_u16(),
            failure: judge(&response, (self.clock)()),
            excerpt: excerpt(&body),
        })
    }
}

impl Channel for WebhookChannel {
    async fn deliver(&self, job: Job) -> Answer {
        let at = (self.clock)();
        let started = Instant::now();
        let received = self.attempt(&job, at).await;
        let duration_ms = started.elapsed().as_millis().try_into().unwrap_or(u32::MAX);
        match received {
            Ok(Received { code, failure, excerpt }) => {
                Answer { at, duration_ms, code: Some(code), failure, response: excerpt }
            }
            Err(failure) => Answer { at, duration_ms, code: None, failure: Some(failure), response: None },
        }
    }
}

/// What a receiver that answered has said.
struct Received {
    code: u16,
    failure: Option<Failure>,
    excerpt: Option<String>,
}

/// The status decides alone: a 2xx whose body then breaks off or never ends has been received.
fn judge(response: &Response, now: Timestamp) -> Option<Failure> {
    let code = response.status().as_u16();
    let class = class_of_status(code)?;
    let mut message = format!("the receiver answered {code}");
    if class == ErrorClass::Redirect {
        message.push_str("; redirects are not followed");
        if let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) {
            message.push_str(": ");
            message.push_str(&shown_location(location));
        }
    }
    // Of several wishes the longest, which satisfies all.
    let wishes = response.headers().get_all(RETRY_AFTER).iter().filter_map(|value| value.to_str().ok());
    let retry_after_ms = wishes.filter_map(|value| retry_after_ms(value, now)).max();
    Some(Failure { class, message, retry_after_ms })
}

/// A redirect's target without what may be secret: receivers like to repeat the query they were called with.
fn shown_location(location: &str) -> String {
    let mut shown = match Url::parse(location) {
        Ok(url) => split_secret(&url).0,
        Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    shown.truncate(shown.floor_char_boundary(MAX_LOCATION));
    shown
}

/// Up to [`MAX_RESPONSE`] bytes, as many as come before the end, a fault or the deadline.
async fn read_beginning(response: &mut Response, deadline: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(deadline, response.chunk()).await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_RESPONSE - body.len())]);
        if body.len() == MAX_RESPONSE {
            break;
        }
    }
    body
}

fn failure(class: ErrorClass, message: impl Into<String>) -> Failure {
    Failure { class, message: message.into(), retry_after_ms: None }
}

/// rustls with ring, the public authorities and the operator's own; HTTP/2 where the receiver offers it.
fn tls(extra_authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in extra_authorities {
        roots.add(authority).map_err(SetupError::Authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
