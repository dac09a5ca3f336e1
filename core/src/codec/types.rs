//! The catalog as records name it: by keys, by other names, by schema.

use std::{collections::HashMap, sync::Arc};

use super::{evolution::Reader, mapping::Source, registered::fingerprints};
use crate::catalog::{Catalog, Shape};

/// The catalog by everything that its types are called.
#[derive(Clone, Debug)]
pub struct Types {
    /// Keys, and such other names as belong to one type alone.
    keys: HashMap<String, Arc<str>>,
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
        let (mut keys, mut shared) = (HashMap::<String, Arc<str>>::new(), Vec::new());
        let (mut schemas, mut readers) = (HashMap::new(), HashMap::new());
        for known in catalog.types() {
            let key: Arc<str> = known.key.as_str().into();
            for name in known.wire_name.iter().chain(&known.aliases) {
                match keys.insert(name.clone(), key.clone()) {
                    Some(other) if other != key => shared.push(name.clone()),
                    _ => {}
                }
            }
            let fingerprint = fingerprints(&known.schema).first().copied().unwrap_or_default();
            schemas.insert(key.clone(), Schema { event_type: key.clone(), shape: known.shape.clone(), fingerprint });
            readers.insert(key.clone(), Reader::of(known));
        }
        // A name of several types names none of them.
        shared.iter().for_each(|name| {
            keys.remove(name);
        });
        // A key means its own type, whatever others are called.
        keys.extend(schemas.keys().map(|key| (key.to_string(), key.clone())));
        Types { keys, schemas, readers }
    }

    /// The type that a producer of this source means by a name.
    pub fn key(&self, source: &Source, name: &str) -> Option<Arc<str>> {
        let name = source.types.get(name).map_or(name, String::as_str);
        self.keys.get(name).cloned()
    }
}
