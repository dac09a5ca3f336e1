//! Bodies of notifications, each event's rendered once: an event for a hundred destinations is read and written once.
//!
//! A body depends on the event alone, so it is kept by the event's position. What is kept is bounded by count and bytes; the
//! oldest goes first, because destinations of one event follow each other closely.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use hashlink::LinkedHashMap;
use tidings_core::{
    catalog::Catalog,
    codec::{Decoder, SchemaRef, Unread},
    domain::{Delivery, Position},
    message,
};

use crate::sources::Schemas;

/// Renders, and remembers the newest bodies.
pub struct Bodies {
    schemas: Schemas,
    catalog: Arc<Catalog>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The oldest in front.
    bodies: LinkedHashMap<Position, Bytes>,
    bytes: usize,
}

/// Why there is no body.
enum Unrendered {
    Needs(SchemaRef),
    Failed(String),
}

/// The most bodies kept, and their bytes together.
const MAX_BODIES: usize = 1_024;
const MAX_BYTES: usize = 4 * 1024 * 1024;

// === impl Bodies ===

impl Bodies {
    pub fn new(schemas: Schemas, catalog: Arc<Catalog>) -> Bodies {
        Bodies { schemas, catalog, kept: Mutex::default() }
    }

    /// The body that a receiver sees for this delivery. The same for every attempt and every destination.
    ///
    /// Waits for a schema that is not known here yet, as long as it takes: a registry that is down is no reason to count an
    /// attempt as failed.
    pub async fn of(&self, delivery: &Delivery) -> Result<Bytes, String> {
        loop {
            match self.now(delivery) {
                Err(Unrendered::Needs(schema)) => self.schemas.insist(schema).await,
                Err(Unrendered::Failed(why)) => return Err(why),
                Ok(body) => return Ok(body),
            }
        }
    }

    fn now(&self, delivery: &Delivery) -> Result<Bytes, Unrendered> {
        if let Some(body) = self.kept().bodies.get(&delivery.position) {
            return Ok(body.clone());
        }
        // Not under the lock: two tasks may render the same event, which does no harm.
        let body = render(self.schemas.decoder(), &self.catalog, delivery)?;
        self.kept().keep(&delivery.position, &body);
        Ok(body)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Kept ===

impl Kept {
    fn keep(&mut self, position: &Position, body: &Bytes) {
        if self.bodies.insert(position.clone(), body.clone()).is_some() {
            return;
        }
        self.bytes += body.len();
        while self.bodies.len() > MAX_BODIES || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.bodies.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

/// A bug that one event brings out must cost that event alone, as in the matcher.
fn render(decoder: &Decoder, catalog: &Catalog, delivery: &Delivery) -> Result<Bytes, Unrendered> {
    catch_unwind(AssertUnwindSafe(|| {
        let event = decoder.again(delivery).map_err(|unread| match unread {
            Unread::Needs(schema) => Unrendered::Needs(schema),
            Unread::Poison(poison) => Unrendered::Failed(poison.to_string()),
        })?;
        message::body(&event, delivery.recorded_at, catalog).map_err(|error| Unrendered::Failed(error.to_string()))
    }))
    .unwrap_or_else(|_| Err(Unrendered::Failed("the event could not be rendered".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidings_core::domain::{Day, DestinationId, NotificationId, SubscriptionId, TeamId, Timestamp};

    use super::*;

    fn bodies() -> Bodies {
        let catalog = Catalog::builtin();
        Bodies::new(Schemas::local(Decoder::new(catalog.clone(), BTreeMap::new(), None).unwrap()), catalog)
    }

    fn delivery(offset: i64, text: &str) -> Delivery {
        Delivery {
            id: NotificationId([0; 16]),
            day: Day(0),
            team: TeamId::new("acme").unwrap(),
            subscription: SubscriptionId::new("s").unwrap(),
            subscription_revision: 1,
            destination: DestinationId::new("d").unwrap(),
            destination_revision: 1,
            destination_hash: 0,
            event_type: "test.thing.happened".into(),
            event_id: format!("e{offset}").into(),
            event_source: "test".into(),
            event_time: None,
            event_subject: None,
            index_version: 1,
            position: Position { topic: "events".into(), partition: 0, offset },
            recorded_at: Timestamp(0),
            replayed_at: None,
            codec: "json".into(),
            event: format!(r#"{{"team":"acme","type":"test.thing.happened","data":{{"text":"{text}"}}}}"#).into(),
        }
    }

    #[tokio::test]
    async fn an_event_is_rendered_once_for_all_its_destinations() {
        let bodies = bodies();
        let first = bodies.of(&delivery(1, "x")).await.unwrap();
        let other = Delivery { destination: DestinationId::new("other").unwrap(), ..delivery(1, "x") };
        assert_eq!(first.as_ptr(), bodies.of(&other).await.unwrap().as_ptr());
        assert_ne!(first, bodies.of(&delivery(2, "x")).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_by_count_and_by_bytes() {
        let bodies = bodies();
        for offset in 0..2 * MAX_BODIES as i64 {
            bodies.of(&delivery(offset, "x")).await.unwrap();
        }
        assert_eq!(bodies.kept().bodies.len(), MAX_BODIES);
        let long = "x".repeat(MAX_BYTES / 50);
        for offset in 10_000..10_100 {
            bodies.of(&delivery(offset, &long)).await.unwrap();
        }
        let kept = bodies.kept();
        assert_eq!(kept.bytes, kept.bodies.values().map(Bytes::len).sum::<usize>());
        assert_eq!(kept.bodies.len(), 49);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_each_time() {
        let broken = Delivery { event: Bytes::from_static(b"{"), ..delivery(1, "x") };
        let bodies = bodies();
        assert!(bodies.of(&broken).await.unwrap_err().starts_with("decode: "));
        assert!(bodies.of(&broken).await.is_err());
    }
}
