//! A record of an events topic → an event.
//!
//! A record is read in four steps: [`framing`] says its format, the format's reader makes JSON of it (with
//! the writer's schema where there is one), [`mapping`](super::mapping) finds attributes and data in that, and
//! [`attributes`](super::attributes) holds them to their bounds.
//!
//! Where nothing is configured: JSON is a CloudEvent in structured mode (it has `specversion`) or the plain envelope
//! `{"team", "type", "id"?, "source"?, "time"?, "subject"?, "data"?}`, whose attributes have the same names. Avro, and
//! anything in CloudEvents' binary mode, is the data alone; the attributes are in the headers `ce_team`, `ce_id` and so on,
//! and an Avro record's type is that of its schema.
//!
//! The way back, from a delivery to its event, has the untouched value and the delivery's attributes, but neither headers
//! nor the configuration of then. So the [codec](Decoded::codec) that a delivery carries says all else: the format, the
//! schema where the headers named it, and where the data is: `json`, `json#/payload`, `confluent_avro:17`.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Poison, Reason,
    attributes::{Attributes, Usual, event_type},
    avro, bad_field,
    envelope::{data_at, envelope, envelope_data, json_body, looks_like_an_envelope},
    framing::{self, CONFLUENT_FRAME, Frame, Headers, IdPlace, SchemaRef},
    json,
    known::{Known, KnownSchema},
    learned::{Learned, Lesson},
    mapping::{Pointer, Source, TopicPattern},
    registered::{Body, Registered, Writer},
    shown,
    types::{Schema, Types},
};
use crate::{
    catalog::{Catalog, Shape},
    domain::{Delivery, Event, Record, TeamId},
};

/// Reads source records. Built once per configuration; shared by all matchers and senders.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// In the order of the configuration.
    sources: Vec<Source>,
    /// What begins the names of topics that no pattern means; empty: nothing does.
    own_prefix: String,
    /// For topics of no source.
    usual: Source,
    pub(super) types: Types,
    known: Known,
    /// `None`: there is no registry, and what is not mapped is unknown.
    registry: Option<Learned>,
}

/// An event, and the format it was in.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub event: Event,
    /// Goes into [`Delivery::codec`], so that [`Decoder::again`] finds the way back.
    pub codec: Cow<'static, str>,
}

/// Why a record was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It cannot be, and never will.
    #[error(transparent)]
    Poison(#[from] Poison),
    /// It can be once this schema has been [learned](Decoder::learn).
    #[error("schema {0} has not been fetched from the registry yet")]
    Needs(SchemaRef),
}

/// What a decoder is built from.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    pub sources: Vec<Source>,
    /// What Tidings' own topics begin with: a source has to name one of them to read it.
    pub own_prefix: String,
    /// Confluent schema id → key of the catalog, whose schema of now it is, or name of an earlier one.
    pub schema_ids: BTreeMap<u32, String>,
    /// Schemas that events were or are written with beside the catalog's own, as name and text.
    pub earlier: Vec<(String, String)>,
    /// For records of topics that no source is for.
    pub default_team: Option<TeamId>,
    /// Whether schemas can be [learned](Decoder::learn).
    pub registry: bool,
}

/// JSON: CloudEvents structured mode or the plain envelope.
pub const JSON: &str = "json";
/// JSON behind Confluent's framing.
pub const CONFLUENT_JSON: &str = "confluent_json";
/// Avro with Confluent framing: 0x00, schema id as 32 bits big-endian, datum; with an argument, the datum alone.
pub const CONFLUENT_AVRO: &str = "confluent_avro";
/// Avro single-object encoding.
pub const AVRO_OBJECT: &str = "avro_object";
/// An Avro datum of the catalog's schema with the fingerprint that is the argument.
pub const AVRO: &str = "avro";

/// The largest event, in bytes: with its envelope it fits a delivery and a dead letter of 2 MiB.
pub const MAX_EVENT_BYTES: usize = 768 * 1024;

/// A value made JSON.
struct Opened {
    value: Value,
    /// Whether it holds the attributes too.
    is_envelope: bool,
    /// What its schema says that it is, the best first.
    names: Named,
    /// Whether it is Avro of another schema than the catalog's, which may have to complete it.
    is_foreign: bool,
    codec: Codec,
}

enum Named {
    Nothing,
    Key(Arc<str>),
    Writer(Arc<Writer>),
}

/// A format with its argument; where the data is comes after it.
enum Codec {
    Plain(&'static str),
    With(&'static str, String),
}

// === impl Decoder ===

impl Decoder {
    /// Without sources and registry: `schema_ids` gives the catalog key of each Confluent schema id; `default_team` is for
    /// records that name none.
    pub fn new(
        catalog: Arc<Catalog>,
        schema_ids: BTreeMap<u32, String>,
        default_team: Option<TeamId>,
    ) -> Result<Decoder, String> {
        let recipe = Recipe { schema_ids, default_team, ..Recipe::default() };
        Decoder::of(&catalog, recipe).map_err(|faults| faults.join("; "))
    }

    /// Every fault names what is wrong: a type that the catalog does not know, a schema that cannot be read with.
    pub fn of(catalog: &Catalog, recipe: Recipe) -> Result<Decoder, Vec<String>> {
        let types = Types::of(catalog);
        let mut faults = Vec::new();
        let known = Known::of(catalog, &types, recipe.earlier, recipe.schema_ids, &mut faults);
        for (index, source) in recipe.sources.iter().enumerate() {
            for (outside, key) in source.types.iter().filter(|(_, key)| catalog.key_of(key).is_none()) {
                faults.push(format!("source[{index}].types.{outside}: found {key:?}, which the catalog does not know"));
            }
            if let Some(name) = source.schema.as_ref().filter(|name| known.by_name(name).is_none()) {
                faults.push(format!("source[{index}].schema: found {name:?}, which schemas.earlier does not have"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let any: TopicPattern = "*".parse().map_err(|allowed: &str| vec![allowed.to_owned()])?;
        Ok(Decoder {
            sources: recipe.sources,
            own_prefix: recipe.own_prefix,
            usual: Source { default_team: recipe.default_team, ..Source::usual(any) },
            types,
            known,
            registry: recipe.registry.then(Learned::default),
        })
    }

    /// Reads the event of a record. Tombstones are the caller's to skip.
    pub fn decode(&self, record: &Record) -> Result<Decoded, Unread> {
        let value = record.value.as_deref().unwrap_or_default();
        check_size(value)?;
        let source = self.source(&record.topic);
        let headers = Headers::of(record)?;
        let opened = match framing::recognise(value, &headers, source.format)? {
            Frame::Json(text) => Opened::json(text, &headers, source)?,
            Frame::Registered { schema, place, payload } => self.registered(schema, place, payload, source)?,
            Frame::SingleObject { fingerprint, datum } => {
                Opened::of_known(self.fingerprinted(&fingerprint)?, datum, Codec::Plain(AVRO_OBJECT))?
            }
            Frame::Bare(datum) => self.bare(record, &headers, source, datum)?,
        };
        Ok(self.event(record, &headers, source, opened)?)
    }

    /// The event behind a delivery: attributes from the delivery, data from the untouched bytes.
    pub fn again(&self, delivery: &Delivery) -> Result<Event, Unread> {
        let data = self.data_again(&delivery.codec, &delivery.event, &delivery.event_type)?;
        Ok(Event {
            team: delivery.team.clone(),
            id: delivery.event_id.clone(),
            source: delivery.event_source.clone(),
            event_type: delivery.event_type.clone(),
            time: delivery.event_time,
            subject: delivery.event_subject.clone(),
            data,
        })
    }

    fn data_again(&self, codec: &str, value: &[u8], event_type: &str) -> Result<Value, Unread> {
        let no_format = || Poison::new(Reason::BadFrame, format!("{} is no format", shown(codec)));
        let (format, pointer) = match codec.split_once('#') {
            Some((format, pointer)) => (format, Some(pointer.parse::<Pointer>().map_err(|_| no_format())?)),
            None => (codec, None),
        };
        let (name, argument) = format.split_once(':').map_or((format, None), |(name, rest)| (name, Some(rest)));
        let headers = Headers::default();
        let (value, is_foreign) = match (name, argument) {
            (JSON | CONFLUENT_JSON, None) => {
                let text = if name == JSON { value } else { value.get(CONFLUENT_FRAME..).unwrap_or_default() };
                return Ok(match pointer {
                    None => envelope_data(envelope(text)?)?,
                    Some(pointer) => data_at(&pointer, json_body(text)?)?,
                });
            }
            (CONFLUENT_AVRO, argument) => {
                let (schema, datum) = match argument {
                    Some(text) => (SchemaRef::parse(text).ok_or_else(no_format)?, value),
                    None => match framing::recognise(value, &headers, super::mapping::Format::Confluent)? {
                        Frame::Registered { schema, payload, .. } => (schema, payload),
                        _ => return Err(no_format().into()),
                    },
                };
                self.writer(schema)?.again(datum, event_type).ok_or_else(no_format)??
            }
            (AVRO_OBJECT, None) => match framing::recognise(value, &headers, super::mapping::Format::AvroObject)? {
                Frame::SingleObject { fingerprint, datum } => {
                    self.fingerprinted(&fingerprint)?.again(datum, event_type).ok_or_else(no_format)??
                }
                _ => return Err(no_format().into()),
            },
            (AVRO, Some(fingerprint)) => {
                let fingerprint = u64::from_str_radix(fingerprint, 16).map_err(|_| no_format())?.to_be_bytes();
                self.fingerprinted(&fingerprint)?.again(value, event_type).ok_or_else(no_format)??
            }
            _ => return Err(no_format().into()),
        };
        let data = data_at(&pointer.unwrap_or_else(Pointer::whole), value)?;
        Ok(if is_foreign { self.completed(data, event_type) } else { data })
    }

    /// The schema that must be learned before this record can be read; nothing is said of records that are poison anyway.
    pub fn needs(&self, record: &Record) -> Option<SchemaRef> {
        let learned = self.registry.as_ref()?;
        let value = record.value.as_deref()?;
        let headers = Headers::of(record).ok()?;
        match framing::recognise(value, &headers, self.source(&record.topic).format).ok()? {
            Frame::Registered { schema, .. } => {
                let known = self.known.by_id(&schema).is_some() || learned.get(&schema).is_some();
                (!known).then_some(schema)
            }
            _ => None,
        }
    }

    /// Whether a schema has been learned, be it that there is none.
    pub fn has_learned(&self, schema: &SchemaRef) -> bool {
        self.registry.as_ref().is_some_and(|learned| learned.get(schema).is_some())
    }

    /// Takes in what a registry says of a schema, and tells whether its records can be read now: where there is none, or it
    /// cannot be read with, they are poison until it is [forgotten](Decoder::forget).
    pub fn learn(&self, schema: SchemaRef, registered: Option<&Registered>) -> bool {
        let Some(learned) = &self.registry else { return false };
        let lesson = match registered.map(Writer::compile) {
            None => Lesson::Absent,
            Some(Ok(writer)) => Lesson::Writer(Arc::new(writer)),
            Some(Err(reason)) => Lesson::Unusable(reason.into()),
        };
        let is_usable = matches!(lesson, Lesson::Writer(_));
        learned.learn(schema, lesson);
        is_usable
    }

    /// Asks again for a schema the next time that it is needed.
    pub fn forget(&self, schema: &SchemaRef) {
        if let Some(learned) = &self.registry {
            learned.forget(schema);
        }
    }

    /// Whether a schema by itself, without the subjects that it was registered under, says the event type.
    pub fn is_named(&self, registered: &Registered) -> bool {
        // Of one that cannot be read the name does not matter.
        let Ok(writer) = Writer::compile(registered) else { return true };
        let means = |source: &Source| writer.names.iter().any(|name| self.types.key(source, name).is_some());
        self.sources.iter().chain([&self.usual]).any(means)
    }

    /// The source that names the topic, or else the first whose pattern means it.
    pub(super) fn source(&self, topic: &str) -> &Source {
        let find = |is_pattern: bool| {
            self.sources.iter().find(|s| s.topic.is_pattern() == is_pattern && s.topic.matches(topic))
        };
        let is_own = !self.own_prefix.is_empty() && topic.starts_with(&self.own_prefix);
        find(false).or_else(|| if is_own { None } else { find(true) }).unwrap_or(&self.usual)
    }

    /// A schema of the catalog's own that the configuration maps an id to.
    pub(super) fn mapped_schema(&self, schema: &SchemaRef) -> Option<&Schema> {
        self.known.by_id(schema)?.of_catalog()
    }

    /// The schema of the catalog's own that has this fingerprint.
    pub(super) fn object(&self, fingerprint: &[u8; 8]) -> Option<&Schema> {
        self.known.by_fingerprint(fingerprint)?.of_catalog()
    }

    fn fingerprinted(&self, fingerprint: &[u8; 8]) -> Result<Found<'_>, Poison> {
        let unknown = || {
            let shown = u64::from_be_bytes(*fingerprint);
            let detail = format!("no schema of the catalog or of schemas.earlier has the fingerprint {shown:016x}");
            Poison::new(Reason::UnknownSchema, detail)
        };
        self.known.by_fingerprint(fingerprint).map(Found::from).ok_or_else(unknown)
    }

    fn writer(&self, schema: SchemaRef) -> Result<Found<'_>, Unread> {
        if let Some(known) = self.known.by_id(&schema) {
            return Ok(known.into());
        }
        let unknown = |detail: String| Unread::Poison(Poison::new(Reason::UnknownSchema, detail));
        let Some(learned) = &self.registry else {
            return Err(unknown(format!("schema id {schema} is not mapped to an event type")));
        };
        match learned.get(&schema) {
            Some(Lesson::Writer(writer)) => Ok(Found::Writer(writer)),
            Some(Lesson::Unusable(reason)) => Err(unknown(format!("schema {schema} cannot be read with: {reason}"))),
            Some(Lesson::Absent) => Err(unknown(format!("the registry has no schema {schema}"))),
            None => Err(Unread::Needs(schema)),
        }
    }

    fn registered(&self, schema: SchemaRef, place: IdPlace, payload: &[u8], source: &Source) -> Result<Opened, Unread> {
        let avro = match place {
            IdPlace::Value => Codec::Plain(CONFLUENT_AVRO),
            IdPlace::Header => Codec::With(CONFLUENT_AVRO, schema.to_string()),
        };
        match self.writer(schema)? {
            Found::Writer(writer) if writer.body == Body::Json => {
                let value = json::parse(payload)?;
                let is_envelope = source.data.is_none() && looks_like_an_envelope(&value);
                let name = if place == IdPlace::Value { CONFLUENT_JSON } else { JSON };
                let (codec, names) = (Codec::Plain(name), Named::Writer(writer));
                // JSON is what its producer says: a default of ours would be put into its mouth.
                Ok(Opened { value, is_envelope, is_foreign: false, codec, names })
            }
            known => Ok(Opened::of_known(known, payload, avro)?),
        }
    }

    /// Where the source does not say the schema, the type must be known from elsewhere, because it does.
    fn bare(&self, record: &Record, headers: &Headers<'_>, source: &Source, datum: &[u8]) -> Result<Opened, Poison> {
        let codec = |fingerprint: [u8; 8]| Codec::With(AVRO, format!("{:016x}", u64::from_be_bytes(fingerprint)));
        if let Some((fingerprint, writer)) = source.schema.as_ref().and_then(|name| self.known.by_name(name)) {
            return Opened::of_known(Found::Writer(writer.clone()), datum, codec(*fingerprint));
        }
        let found = match &source.event_type {
            Some(place) => place.find("type", record, &Value::Null)?,
            None => headers.event_type.map(str::to_owned),
        };
        let text = found.ok_or_else(|| bad_field("type", "is missing; Avro without framing needs it"))?;
        let schema = self.types.key(source, &text).and_then(|key| self.types.schemas.get(&key));
        let schema = schema.ok_or_else(|| {
            let detail = format!("{} is no type of the catalog, which would have the schema", shown(&text));
            Poison::new(Reason::UnknownSchema, detail)
        })?;
        Opened::of_known(Found::Catalog(schema), datum, codec(schema.fingerprint))
    }

    fn event(
        &self,
        record: &Record,
        headers: &Headers<'_>,
        source: &Source,
        opened: Opened,
    ) -> Result<Decoded, Poison> {
        let Opened { value, is_envelope, names, is_foreign, codec } = opened;
        let usual = match &value {
            Value::Object(envelope) if is_envelope => Usual::Envelope(envelope),
            _ => Usual::Headers(headers),
        };
        let attributes = Attributes::find(source, usual, record, &value)?;
        let event_type = self.event_type(source, attributes.event_type.as_deref(), &names, headers)?;
        let event = attributes.event(source, record, event_type)?;
        let (data, place) = match (&source.data, value) {
            (Some(pointer), value) => (data_at(pointer, value)?, Some(pointer.as_str())),
            (None, Value::Object(envelope)) if is_envelope => (envelope_data(envelope)?, None),
            (None, value) => {
                // Avro's data is the whole datum anyway, and so it was written since the first version.
                let place = matches!(codec, Codec::Plain(JSON | CONFLUENT_JSON)).then_some("");
                (data_at(&Pointer::whole(), value)?, place)
            }
        };
        let data = if is_foreign { self.completed(data, &event.event_type) } else { data };
        Ok(Decoded { event: Event { data, ..event }, codec: codec.text(place) })
    }

    /// What the source says comes first, then what the record says, then what its schema is called.
    fn event_type(
        &self,
        source: &Source,
        said: Option<&str>,
        names: &Named,
        headers: &Headers<'_>,
    ) -> Result<Arc<str>, Poison> {
        let of_text = |text: &str| match self.types.key(source, text) {
            Some(key) => Ok(key),
            None => event_type(text),
        };
        match (said, names) {
            (Some(text), _) => of_text(text),
            (None, Named::Key(key)) => Ok(key.clone()),
            (None, Named::Writer(writer)) => {
                let known = writer.names.iter().find_map(|name| self.types.key(source, name));
                match (known, headers.event_type.or(writer.names.first().map(String::as_str))) {
                    (Some(key), _) => Ok(key),
                    (None, Some(text)) => of_text(text),
                    (None, None) => Err(bad_field("type", "is missing, and the schema has no name")),
                }
            }
            (None, Named::Nothing) => Err(bad_field("type", "is missing")),
        }
    }

    fn completed(&self, data: Value, event_type: &str) -> Value {
        match (data, self.types.readers.get(event_type)) {
            (Value::Object(mut object), Some(reader)) => {
                reader.complete(&mut object);
                Value::Object(object)
            }
            (data, _) => data,
        }
    }
}

/// Whose schema a payload is read with.
enum Found<'d> {
    Catalog(&'d Schema),
    Writer(Arc<Writer>),
}

// === impl Found ===

impl Found<'_> {
    /// `None` for one that Avro is not written with.
    fn shape(&self) -> Option<&Shape> {
        match self {
            Found::Catalog(known) => Some(&known.shape),
            Found::Writer(writer) => match &writer.body {
                Body::Avro(shape) => Some(shape),
                Body::Json => None,
            },
        }
    }

    /// A datum once more, and whether the catalog's schema may have to complete it; `None` as for [`Found::shape`].
    fn again(&self, datum: &[u8], event_type: &str) -> Option<Result<(Value, bool), Poison>> {
        let is_foreign = matches!(self, Found::Writer(_));
        Some(datum_json(self.shape()?, datum, event_type).map(|value| (value, is_foreign)))
    }
}

impl<'d> From<&'d KnownSchema> for Found<'d> {
    fn from(known: &'d KnownSchema) -> Found<'d> {
        match known {
            KnownSchema::Catalog(schema) => Found::Catalog(schema),
            KnownSchema::Earlier(writer) => Found::Writer(writer.clone()),
        }
    }
}

// === impl Unread ===

impl From<Unread> for Poison {
    /// For who cannot wait for a schema.
    fn from(unread: Unread) -> Poison {
        match unread {
            Unread::Poison(poison) => poison,
            needs => Poison::new(Reason::UnknownSchema, needs.to_string()),
        }
    }
}

// === impl Opened ===

impl Opened {
    fn json(text: &[u8], headers: &Headers<'_>, source: &Source) -> Result<Opened, Poison> {
        // Where the source says where the data is, the value need be nobody's envelope.
        let is_envelope = !headers.is_binary();
        let value = match is_envelope && source.data.is_none() {
            true => Value::Object(envelope(text)?),
            false => json_body(text)?,
        };
        Ok(Opened { value, is_envelope, is_foreign: false, names: Named::Nothing, codec: Codec::Plain(JSON) })
    }

    fn of_known(known: Found<'_>, datum: &[u8], codec: Codec) -> Result<Opened, Poison> {
        let (name, is_foreign) = match &known {
            Found::Catalog(schema) => (&*schema.event_type, false),
            Found::Writer(writer) => (writer.names.first().map_or("", String::as_str), true),
        };
        let no_avro =
            || Poison::new(Reason::UnknownSchema, format!("{name}: the schema is of JSON, the value of Avro"));
        let value = datum_json(known.shape().ok_or_else(no_avro)?, datum, name)?;
        let names = match known {
            Found::Catalog(schema) => Named::Key(schema.event_type.clone()),
            Found::Writer(writer) => Named::Writer(writer),
        };
        Ok(Opened { value, is_envelope: false, is_foreign, names, codec })
    }
}

// === impl Codec ===

impl Codec {
    fn text(self, place: Option<&str>) -> Cow<'static, str> {
        match (self, place) {
            (Codec::Plain(name), None) => name.into(),
            (Codec::Plain(name), Some(place)) => format!("{name}#{place}").into(),
            (Codec::With(name, argument), None) => format!("{name}:{argument}").into(),
            (Codec::With(name, argument), Some(place)) => format!("{name}:{argument}#{place}").into(),
        }
    }
}

fn check_size(value: &[u8]) -> Result<(), Poison> {
    if value.len() > MAX_EVENT_BYTES {
        let detail = format!("{} bytes; at most {MAX_EVENT_BYTES} are read", value.len());
        return Err(Poison::new(Reason::TooLarge, detail));
    }
    Ok(())
}

/// `name` is for the complaint.
fn datum_json(shape: &Shape, datum: &[u8], name: &str) -> Result<Value, Poison> {
    avro::decode(shape, datum).map_err(|e| {
        let reason = if e == avro::Malformed::TooMany { Reason::TooLarge } else { Reason::Decode };
        Poison::new(reason, format!("{name}: {e}"))
    })
}
