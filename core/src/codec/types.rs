//! The catalog as records name it: by keys, by other names, by schema.

use std::{collections::HashMap, sync::Arc};

use super::{evolution::Reader, mapping::Source, registered::fingerprints};
use crate::catalog::{Catalog, Names, Shape};

/// The catalog by everything that its types are called.
#[derive(Clone, Debug)]
pub struct Types {
    names: Names,
    pub schemas: HashMap<Arc<str>, Schema>,
    pub readers: HashMap<Arc<str>, Reader>,
}

/// A schema of the catalog.
#[derive(Clone, Debug)]
pub struct Schema {
    pub event_type: Arc<str>,
    pub shape: Arc<Shape>,
    /// As single objects name it.
    pub fingerprint: [u8; 8],
}

// === impl Types ===

impl Types {
    pub fn of(catalog: &Catalog) -> Types {
        let (mut schemas, mut readers) = (HashMap::new(), HashMap::new());
        for known in catalog.types() {
            let key: Arc<str> = known.key.clone();
            let fingerprint = fingerprints(&known.schema).first().copied().unwrap_or_default();
            schemas.insert(key.clone(), Schema { event_type: key.clone(), shape: known.shape.clone(), fingerprint });
            readers.insert(key.clone(), Reader::of(known));
        }
        Types { names: catalog.names().clone(), schemas, readers }
    }

    /// The type that a producer of this source means by a name.
    pub fn key(&self, source: &Source, name: &str) -> Option<Arc<str>> {
        let name = source.types.get(name).map_or(name, String::as_str);
        self.names.key_of(name).cloned()
    }
}
