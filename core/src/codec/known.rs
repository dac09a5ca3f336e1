//! Schemas that are known without asking anybody: the catalog's own, and those that its events were written with before.
//!
//! A datum is read with the schema that it was written with, or not at all. When a type gains a field, what its producers have
//! written and go on writing is of the schema before: that one is kept as a file of its own, and has its fingerprint still.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use apache_avro::Schema as Avro;

use super::{
    framing::SchemaRef,
    registered::{Registered, Writer, fingerprints},
    types::{Schema, Types},
};
use crate::catalog::{Catalog, earlier_files};

/// What the configuration and the catalog say of schemas.
#[derive(Clone, Debug)]
pub struct Known {
    /// By Confluent schema id, as the configuration maps them.
    ids: HashMap<u32, KnownSchema>,
    /// As single objects name them.
    fingerprints: HashMap<[u8; 8], KnownSchema>,
    /// Earlier ones by their names, with the fingerprint by which they are found again.
    files: HashMap<String, ([u8; 8], Arc<Writer>)>,
}

#[derive(Clone, Debug)]
pub enum KnownSchema {
    /// What the catalog has now.
    Catalog(Schema),
    /// What it had once, or what somebody else writes: read as if a registry had said it.
    Earlier(Arc<Writer>),
}

// === impl Known ===

impl Known {
    /// `earlier` are files by name and text, `ids` maps a schema id to a key of the catalog or to the name of such a file.
    pub fn of(
        catalog: &Catalog,
        types: &Types,
        earlier: Vec<(String, String)>,
        ids: BTreeMap<u32, String>,
        faults: &mut Vec<String>,
    ) -> Known {
        let mut known = Known { ids: HashMap::new(), fingerprints: HashMap::new(), files: HashMap::new() };
        for (event_type, schema) in catalog.types().filter_map(|t| Some((t, types.schemas.get(&*t.key)?))) {
            let found = fingerprints(&event_type.schema).into_iter();
            known.fingerprints.extend(found.map(|fingerprint| (fingerprint, KnownSchema::Catalog(schema.clone()))));
        }
        for (name, text) in earlier_files().into_iter().chain(earlier) {
            match read(text) {
                Ok((writer, found)) => {
                    for fingerprint in &found {
                        // Where only names for readers have changed since, the catalog's own is read faster.
                        let earlier = || KnownSchema::Earlier(writer.clone());
                        known.fingerprints.entry(*fingerprint).or_insert_with(earlier);
                    }
                    known.files.insert(name, (found.first().copied().unwrap_or_default(), writer));
                }
                Err(reason) => faults.push(format!("schemas.earlier: {name}: {reason}")),
            }
        }
        for (id, name) in ids {
            let now = catalog.key_of(&name).and_then(|key| types.schemas.get(key));
            match (known.files.get(&name), now) {
                (Some((_, writer)), _) => drop(known.ids.insert(id, KnownSchema::Earlier(writer.clone()))),
                (None, Some(schema)) => drop(known.ids.insert(id, KnownSchema::Catalog(schema.clone()))),
                (None, None) => {
                    let who = if name.ends_with(".avsc") {
                        "schemas.earlier does not have"
                    } else {
                        "the catalog does not know"
                    };
                    faults.push(format!("schema id {id} is mapped to {name:?}, which {who}"));
                }
            }
        }
        known
    }

    pub fn by_id(&self, schema: &SchemaRef) -> Option<&KnownSchema> {
        match schema {
            SchemaRef::Id(id) => self.ids.get(id),
            SchemaRef::Guid(_) => None,
        }
    }

    /// An earlier schema, and its fingerprint.
    pub fn by_name(&self, name: &str) -> Option<&([u8; 8], Arc<Writer>)> {
        self.files.get(name)
    }

    pub fn by_fingerprint(&self, fingerprint: &[u8; 8]) -> Option<&KnownSchema> {
        self.fingerprints.get(fingerprint)
    }
}

fn read(text: String) -> Result<(Arc<Writer>, Vec<[u8; 8]>), String> {
    let registered = Registered { schema: text, ..Registered::default() };
    // First, because it holds the text to its bounds.
    let writer = Writer::compile(&registered)?;
    let schema = Avro::parse_str(&registered.schema).map_err(|error| format!("no Avro schema: {error}"))?;
    Ok((Arc::new(writer), fingerprints(&schema)))
}

// === impl KnownSchema ===

impl KnownSchema {
    /// `None` for one that is not the catalog's.
    pub fn of_catalog(&self) -> Option<&Schema> {
        match self {
            KnownSchema::Catalog(schema) => Some(schema),
            KnownSchema::Earlier(_) => None,
        }
    }
}
