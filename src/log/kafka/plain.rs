//! Writing without transactions, for records that are independent of each other.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::producer::ThreadedProducer;
use tidings_core::domain::Output;

use super::{
    producer::{Batch, Reports, create, send},
    settings::KafkaSettings,
};
use crate::log::LogError;

/// How much later than `message.timeout.ms` a record may be reported as given up: librdkafka looks once a second.
const REPORT_SLACK: Duration = Duration::from_secs(3);

/// A producer whose records are independent of each other.
///
/// It is replaced after an append that was not acknowledged. While a broker is away librdkafka gives records up that may
/// have been written; then it starts its numbering of records anew, waits for requests that are under way, and after
/// some outages of a lone broker it waits for ever: nothing is sent any more, nor given up.
pub(super) struct Plain {
    settings: KafkaSettings,
    producer: Mutex<Arc<ThreadedProducer<Reports>>>,
    /// Bounds one append: what librdkafka has not given up by then it never will.
    timeout: Duration,
}

// === impl Plain ===

impl Plain {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Plain, LogError> {
        let producer = Mutex::new(Arc::new(create(&settings.idempotent())?));
        Ok(Plain { settings: settings.clone(), producer, timeout: settings.message_timeout() + REPORT_SLACK })
    }

    /// Returns when all records are durable. After an error some may be.
    pub(super) fn append(&self, outputs: &[Output]) -> Result<(), LogError> {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deadline = Instant::now() + self.timeout;
        let batch = Batch::of(outputs);
        let done = send(&producer, &batch, outputs, deadline).and_then(|()| batch.wait(deadline));
        if let Err(error) = &done
            && !matches!(error, LogError::Refused(_) | LogError::UnknownTopic(_))
        {
            self.replace(&producer, error);
        }
        done
    }

    /// Those who still wait for the old one keep it until their own time is up.
    fn replace(&self, old: &Arc<ThreadedProducer<Reports>>, error: &LogError) {
        let mut current = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, old) {
            return;
        }
        match create(&self.settings.idempotent()) {
            Ok(new) => {
                tracing::warn!("a producer is replaced by a new one: {error}");
                *current = Arc::new(new);
            }
            // The next append that fails tries it again.
            Err(why) => tracing::warn!("a producer could not be replaced: {why}"),
        }
    }
}
