//! The decoder with the schemas that it needs: each is asked for once, however many wait for it.
//!
//! What has been found is kept until it is displaced (schemas never change). That there is none, or that it cannot be read
//! with, is believed for `registry.absent_seconds` only, because either may be mended.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tidings_core::{
    codec::{Decoded, Decoder, Poison, SchemaRef, Unread},
    domain::Record,
};
use tokio::time::Instant;

use super::{Registry, RegistryError};
use crate::telemetry::{Readiness, facts};

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Schemas(Arc<Inner>);

struct Inner {
    decoder: Decoder,
    asking: Option<Asking>,
}

/// What there is where a registry is configured.
struct Asking {
    registry: Registry,
    absent_for: Duration,
    readiness: Readiness,
    /// Questions that are on their way. Bounded by those who wait.
    flights: Mutex<HashMap<SchemaRef, Flight>>,
    /// What is not believed for ever, and until when; the oldest in front. Bounded by what the decoder keeps.
    doubtful: Mutex<VecDeque<(Instant, SchemaRef)>>,
}

type Flight = Shared<BoxFuture<'static, Result<(), RegistryError>>>;

/// The condition that the registry answers, beside those of the roles.
const REGISTRY: &str = "registry";
/// The first wait after a failure, doubled up to [`MAX_BACKOFF`].
const BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A registry that has failed for this long makes the process not ready: what needs it stands still.
const UNREADY_AFTER: Duration = Duration::from_secs(1);

// === impl Schemas ===

impl Schemas {
    /// Where there is no registry, nothing is ever missing.
    pub fn local(decoder: Decoder) -> Schemas {
        Schemas(Arc::new(Inner { decoder, asking: None }))
    }

    /// The decoder must be one that can learn.
    pub fn asking(decoder: Decoder, registry: Registry, absent_for: Duration, readiness: Readiness) -> Schemas {
        let (flights, doubtful) = (Mutex::default(), Mutex::default());
        Schemas(Arc::new(Inner {
            decoder,
            asking: Some(Asking { registry, absent_for, readiness, flights, doubtful }),
        }))
    }

    /// With what is known now.
    pub fn decoder(&self) -> &Decoder {
        if let Some(asking) = &self.0.asking {
            let now = Instant::now();
            let mut doubtful = held(&asking.doubtful);
            while let Some((_, schema)) = doubtful.pop_front_if(|(until, _)| *until <= now) {
                self.0.decoder.forget(&schema);
            }
        }
        &self.0.decoder
    }

    /// Asks once; together with all who ask for the same schema at this time.
    pub async fn learn(&self, schema: SchemaRef) -> Result<(), RegistryError> {
        let Some(asking) = &self.0.asking else { return Ok(()) };
        let flight = {
            let mut flights = held(&asking.flights);
            if self.0.decoder.has_learned(&schema) {
                return Ok(());
            }
            let begin = || ask(self.0.clone(), schema).boxed().shared();
            flights.entry(schema).or_insert_with(begin).clone()
        };
        flight.await
    }

    /// Asks until the registry answers, and says so where that takes long.
    pub async fn insist(&self, schema: SchemaRef) {
        let Some(asking) = &self.0.asking else { return };
        let (began, mut backoff, mut failed) = (Instant::now(), BACKOFF, false);
        while let Err(error) = self.learn(schema).await {
            failed = true;
            if began.elapsed() >= UNREADY_AFTER {
                asking.readiness.not_ready(REGISTRY, error.to_string());
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        if failed {
            asking.readiness.ready(REGISTRY);
        }
    }

    /// Reads a record for who shows it: one question to the registry, and its failure is told like poison.
    pub async fn decode(&self, record: &Record) -> Result<Decoded, Poison> {
        match self.decoder().decode(record) {
            Err(Unread::Needs(schema)) => {
                let failed = |error: RegistryError| {
                    Poison::new(tidings_core::codec::Reason::UnknownSchema, format!("schema {schema}: {error}"))
                };
                self.learn(schema).await.map_err(failed)?;
                self.decoder().decode(record).map_err(Poison::from)
            }
            other => other.map_err(Poison::from),
        }
    }
}

async fn ask(inner: Arc<Inner>, schema: SchemaRef) -> Result<(), RegistryError> {
    let Some(asking) = &inner.asking else { return Ok(()) };
    let answer = fetch(&inner.decoder, &asking.registry, schema).await;
    let learned = answer.map(|registered| {
        let is_usable = inner.decoder.learn(schema, registered.as_ref());
        facts::schema_learned(&schema, registered.is_some(), is_usable);
        if !is_usable {
            held(&asking.doubtful).push_back((Instant::now() + asking.absent_for, schema));
        }
    });
    if let Err(error) = &learned {
        facts::registry_failed(&schema, error);
    }
    // After it was learned, so that nobody asks in between.
    held(&asking.flights).remove(&schema);
    learned
}

async fn fetch(
    decoder: &Decoder,
    registry: &Registry,
    schema: SchemaRef,
) -> Result<Option<tidings_core::codec::Registered>, RegistryError> {
    let mut found = registry.schema(&schema).await?;
    if let Some(registered) = &mut found
        && !decoder.is_named(registered)
    {
        registered.subjects = registry.subjects(&schema).await;
    }
    Ok(found)
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
