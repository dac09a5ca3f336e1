//! The first connection: whether there is one, and if not, why, in words that an operator can act on.
//!
//! librdkafka tries for ever, and says why it fails in passing: refused credentials and an untrusted certificate look
//! to a request like a broker that is away. Here a client listens to what is said while it waits for its first answer.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    errors::log_error,
    records::forward_log,
    settings::{KafkaSettings, REQUEST_TIMEOUT},
};
use crate::log::LogError;

/// Waits for the first answer this long between two looks at what was said.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What every error of OpenSSL's has in its text.
const OPENSSL_ERROR: &str = "SSL routines";

/// Keeps what librdkafka says of its connections.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Option<(Code, String)>>>);

/// Connects once. [`LogError::Refused`]: no retry mends it. [`LogError::Unavailable`]: no broker has answered in time.
pub(super) fn connect(settings: &KafkaSettings) -> Result<(), LogError> {
    let heard = Heard::default();
    let client: BaseConsumer<Heard> =
        settings.query().create_with_context(heard.clone()).map_err(|error| log_error("making a client", error))?;
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        if client.client().fetch_cluster_id(LOOK_EVERY).is_some() {
            return Ok(());
        }
        // Nothing is read here: what a poll gives is what was said, and the context has it by then.
        drop(client.poll(Duration::ZERO));
        let said = heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match said {
            Some((code, reason)) if is_final(code, &reason) => return Err(refusal(code, &reason)),
            Some((_, reason)) if Instant::now() >= deadline => {
                return Err(LogError::Unavailable(format!("no broker of {} answers: {reason}", settings.brokers)));
            }
            None if Instant::now() >= deadline => {
                return Err(LogError::Unavailable(format!("no broker of {} answers", settings.brokers)));
            }
            _ => {}
        }
    }
}

/// What TLS refuses is told as such during its handshake only. In TLS 1.3 a broker refuses our certificate, or that we have
/// none, after it: then a read has failed, with OpenSSL's words.
fn is_final(code: Code, reason: &str) -> bool {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::SSL => true,
        Code::BrokerTransportFailure => reason.contains(OPENSSL_ERROR),
        _ => false,
    }
}

fn refusal(code: Code, reason: &str) -> LogError {
    let look_at = match code {
        // A token that could not be had, or that the brokers do not take.
        _ if reason.contains("OAUTHBEARER") => {
            "sasl.oauthbearer.token.endpoint.url, sasl.oauthbearer.client.id and sasl.oauthbearer.client.secret"
        }
        Code::SSL | Code::BrokerTransportFailure => {
            "security.protocol, ssl.ca.location (whom we trust), and ssl.certificate.location with ssl.key.location \
             (who we are)"
        }
        _ => "sasl.mechanism, sasl.username and sasl.password",
    };
    LogError::Refused(format!(
        "the brokers and we do not accept each other: {reason}; look at {look_at} of [log.kafka]"
    ))
}

// === impl Heard ===

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        // The error that is returned says it, once.
        if facility != "FAIL" {
            forward_log(level, facility, text);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are away follows from what was said before it, and says less.
        if code != Code::AllBrokersDown && !heard.as_ref().is_some_and(|(code, reason)| is_final(*code, reason)) {
            *heard = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Heard {}
