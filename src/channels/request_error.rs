//! Why a request failed, found in the HTTP client's chain of causes and put into words for the customer.
//!
//! The client's own texts name addresses and resolver details of the inside; none of them is passed on.

use std::{error::Error, io, iter};

use hyper_util::client::legacy;
use rustls::{AlertDescription, CertificateError};
use tidings_core::domain::ErrorClass;
use tokio::time::error::Elapsed;

use super::{Failure, client::CONNECT_TIMEOUT, resolver::ResolveError};

/// The class and words for a request that got no answer. The first rule that applies decides: what is certain before
/// what is concluded from where it happened.
pub fn failure_of(error: &legacy::Error) -> Failure {
    let (class, message) = if causes(error).any(is_local) {
        // The operator's trouble, so the operator gets the detail.
        tracing::warn!(error = %chain(error), "webhook not sent: out of local resources");
        (ErrorClass::Local, "Tidings is out of resources; the attempt is repeated".to_owned())
    } else if let Some(resolve) = first::<ResolveError>(error) {
        let class = match resolve {
            ResolveError::Blocked(_) => ErrorClass::BlockedAddress,
            ResolveError::NoAddress | ResolveError::TimedOut | ResolveError::Failed(_) => ErrorClass::Dns,
        };
        (class, resolve.to_string())
    } else if let Some(tls) = first::<rustls::Error>(error) {
        (ErrorClass::Tls, tls_words(tls).to_owned())
    } else if error.is_connect() {
        connect_words(error)
    } else if causes(error).any(is_timeout) {
        (ErrorClass::Timeout, "no answer in time".to_owned())
    } else {
        (ErrorClass::Protocol, "the answer was not HTTP, or the connection broke off before it was whole".to_owned())
    };
    Failure::new(class, message)
}

fn connect_words(error: &legacy::Error) -> (ErrorClass, String) {
    // Of I/O errors within I/O errors the innermost, which is the operating system's.
    let kind = causes(error).filter_map(|cause| cause.downcast_ref()).last().map(io::Error::kind);
    let message = match kind {
        _ if causes(error).any(is_timeout) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        Some(io::ErrorKind::ConnectionRefused) => "the connection was refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset) => "the connection was reset".to_owned(),
        // TCP alone knows no end of data while connecting, so this was TLS.
        Some(io::ErrorKind::UnexpectedEof) => {
            return (ErrorClass::Tls, "the receiver closed the connection during the TLS handshake".to_owned());
        }
        _ => "no connection could be made".to_owned(),
    };
    (ErrorClass::Connect, message)
}

fn tls_words(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::UnknownIssuer => "the certificate's issuer is not trusted, or it is self-signed",
            CertificateError::Revoked => "the certificate was revoked",
            _ => "the certificate was not accepted",
        },
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion) => {
            "no common TLS version and cipher; at least TLS 1.2 is needed"
        }
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS on this port",
        _ => "the TLS handshake failed",
    }
}

/// Whether this machine, not the receiver, is short of something.
fn is_local(cause: &(dyn Error + 'static)) -> bool {
    /// Linux and the BSDs agree on these: no descriptors in the system, none in the process.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    /// Linux: no buffer space.
    const ENOBUFS: i32 = 105;

    cause.downcast_ref::<io::Error>().is_some_and(|error| {
        // Every port towards this receiver is taken.
        matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
            || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
    })
}

/// Ours while connecting, or the operating system's: what was sent was not acknowledged.
fn is_timeout(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<Elapsed>()
        || cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
}

fn first<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error and what caused it. An `io::Error` that wraps another, asked for its source, would skip what it wraps.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(Some(error), |&cause| match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => cause.source(),
    })
}

/// The whole story for the operator. None of it names the URL, which may hold secrets.
fn chain(error: &legacy::Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_of_local_resources_is_told_from_the_receivers_faults() {
        let check = |error: io::Error, local: bool| assert_eq!(causes(&error).any(is_local), local, "{error:?}");
        check(io::Error::from_raw_os_error(24), true);
        check(io::Error::from_raw_os_error(23), true);
        check(io::Error::from(io::ErrorKind::AddrNotAvailable), true);
        check(io::Error::from(io::ErrorKind::ConnectionRefused), false);
        // As a resolver that could open no socket hands it on.
        check(io::Error::other(ResolveError::Failed(io::Error::from_raw_os_error(24))), true);
    }
}
