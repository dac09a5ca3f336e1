//! The HTTP client that all webhooks share.
//!
//! It follows no redirect, asks no proxy of the environment (which would resolve names itself, past the guard), repeats nothing that
//! a receiver may have seen, and connects to exactly the addresses that [`Resolver`] lets pass. Why it is not `reqwest`:
//! `docs/decisions/0012-webhooks-by-hyper.md`.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tower_service::Service;

use super::resolver::Resolver;

/// Cheap to clone; all clones are one connection pool.
pub type Client = legacy::Client<Bounded, Full<Bytes>>;

/// Connects within [`CONNECT_TIMEOUT`], or fails with tokio's `Elapsed`.
#[derive(Clone)]
pub struct Bounded(Connector);

type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("delivery.extra_ca_file: a certificate is no authority that can be trusted: {0}")]
    Authority(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

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
/// A connection whose other end is gone without a word is noticed after a minute of silence, or when what was sent is not
/// acknowledged for half of one.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Builds the client: TLS by rustls and ring, HTTP/2 where the receiver offers it.
pub fn build(resolver: Resolver, extra_authorities: Vec<CertificateDer<'static>>) -> Result<Client, SetupError> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    // Divided among the addresses of a name, so that a silent one leaves time for the next.
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(extra_authorities)?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .build(Bounded(https)))
}

/// The public authorities and the operator's own.
fn tls(extra_authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in extra_authorities {
        roots.add(authority).map_err(SetupError::Authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

// === impl Bounded ===

impl Service<Uri> for Bounded {
    type Response = <Connector as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.0.call(uri));
        Box::pin(async move { connecting.await? })
    }
}
