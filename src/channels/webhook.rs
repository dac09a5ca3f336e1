//! The webhook channel: one signed HTTP POST, and what came of it.
//!
//! How an attempt goes: what all requests of the destination share ([`super::prepared`]), sign, send ([`super::client`]), read the
//! answer's beginning. All of it happens within the destination's timeout. A receiver may be hostile, so nothing it does costs more
//! than one slot until then and [`MAX_RESPONSE`] bytes: redirects are not followed, bodies are neither inflated nor read to their
//! end, and no connection goes to an address that the policy refuses.
//!
//! What fails inside the client is put into words in [`super::request_error`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};
use hyper_util::client::legacy::connect::HttpInfo;
use rustls::pki_types::{CertificateDer, pem, pem::PemObject};
use tidings_core::{
    domain::{
        ErrorClass, Timestamp,
        address::{UrlRules, split_secret},
    },
    message::{class_of_status, excerpt, retry_after_ms, sign},
};
use tokio::time::Instant;
use url::Url;

use super::{
    Answer, Channel, Failure, Job,
    client::{self, Client, SetupError},
    prepared::{Preparing, unusable},
    request_error::failure_of,
    resolver::{LookUp, Resolver},
};
use crate::secrets::KeyRing;

/// Sends webhooks. Cheap to clone; all clones are one connection pool.
#[derive(Clone)]
pub struct WebhookChannel {
    client: Client,
    preparing: Arc<Preparing>,
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

/// How much of an answer's body is read, in bytes (16 KiB). Then the connection is dropped.
pub const MAX_RESPONSE: usize = 16 * 1024;
/// Bounds of a destination's timeout; what a record says beyond is clamped.
pub const MIN_TIMEOUT: Duration = Duration::from_secs(1);
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
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
        let client = client::build(resolver, settings.extra_authorities)?;
        Ok(WebhookChannel { client, preparing: Arc::new(Preparing::new(settings.rules, keys)), clock })
    }

    /// The signed request. `at` is the time of this attempt.
    fn request(&self, job: &Job, at: Timestamp) -> Result<Request<Full<Bytes>>, Failure> {
        let prepared = self.preparing.of(&job.destination)?;
        let id = job.notification.to_string();
        let signature = sign(&prepared.signing_keys, &id, at.seconds(), &job.body);

        let mut headers = prepared.headers.clone();
        // After the team's own, which can therefore replace none of these.
        headers.insert(WEBHOOK_ID, HeaderValue::from_str(&id).map_err(|_| unusable("webhook-id"))?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.seconds()));
        headers
            .insert(WEBHOOK_SIGNATURE, HeaderValue::from_str(&signature).map_err(|_| unusable("webhook-signature"))?);

        let mut request = Request::new(Full::new(job.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = prepared.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Whether the connection went where it may: the resolver and the check of literals both let it pass, so a mismatch
    /// is a hole in one of them.
    fn check_connection(&self, response: &Response<Incoming>) -> Result<(), Failure> {
        let Some(peer) = response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr) else { return Ok(()) };
        self.preparing.rules().addresses.check(peer.ip()).map_err(|blocked| {
            tracing::error!(%peer, "a webhook was sent to an address that must not be called");
            metrics::counter!("tidings_address_guard_failures_total").increment(1);
            Failure::new(ErrorClass::BlockedAddress, blocked.to_string())
        })
    }

    async fn attempt(&self, job: &Job, at: Timestamp) -> Result<Received, Failure> {
        let timeout = Duration::from_millis(job.destination.webhook.timeout_ms.into()).clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let request = self.request(job, at)?;
        let mut response = match tokio::time::timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure_of(&error)),
            Err(_) => {
                let message = format!("no answer within {} ms", timeout.as_millis());
                return Err(Failure::new(ErrorClass::Timeout, message));
            }
        };
        self.check_connection(&response)?;
        let body = read_beginning(response.body_mut(), deadline).await;
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
fn judge<B>(response: &Response<B>, now: Timestamp) -> Option<Failure> {
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
async fn read_beginning(answer: &mut Incoming, deadline: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, answer.frame()).await {
        let Ok(chunk) = frame.into_data() else { continue };
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_RESPONSE - body.len())]);
        if body.len() == MAX_RESPONSE {
            break;
        }
    }
    body
}
