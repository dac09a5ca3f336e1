//! librdkafka's errors as the few that callers decide on.

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};

use crate::log::LogError;

/// What a failure means for whoever made the request.
pub(super) fn log_error(doing: &str, error: KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(..) => refused_property(error),
        KafkaError::ClientCreation(text) => LogError::Refused(format!("{doing}: {text}")),
        error => match error.rdkafka_error_code() {
            Some(code) => by_code(doing, code),
            None => LogError::Unavailable(format!("{doing}: {error}")),
        },
    }
}

pub(super) fn by_code(doing: &str, code: Code) -> LogError {
    let text = format!("{doing}: {code}");
    match code {
        code if is_fenced(code) => LogError::Fenced(text),
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => LogError::UnknownTopic(text),
        code if is_refusal(code) => LogError::Refused(text),
        _ => LogError::Unavailable(text),
    }
}

/// The same, where librdkafka gives the bare number.
pub(super) fn by_response(doing: &str, error: RDKafkaRespErr) -> LogError {
    by_code(doing, Code::from(error))
}

/// Someone with our name is newer than we are.
pub(super) fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId)
}

/// No retry mends it: someone has to change a permission, a setting or a record.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::InvalidRequest
            | Code::InvalidArgument
            | Code::InvalidTransactionTimeout
            | Code::InvalidSessionTimeout
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
    )
}

/// A property that librdkafka does not take. Its value may be a secret, and librdkafka's text quotes it: neither is shown.
pub(super) fn refused_property(error: KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(_, text, key, _) if text.starts_with("No such configuration property") => {
            LogError::Refused(format!("kafka property {key} does not exist"))
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            LogError::Refused(format!("kafka property {key} has a value that librdkafka does not take"))
        }
        error => LogError::Refused(format!("kafka client: {error}")),
    }
}
