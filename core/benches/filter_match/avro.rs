//! The same events in Avro: their data of a schema that has a place for each field, the team and the type beside it.

use std::sync::Arc;

use apache_avro::{Schema, types::Value as AvroValue, writer::datum::GenericDatumWriter};
use serde_json::{Value, json};
use tidings_core::{
    catalog::Shape,
    filter::{AvroProgram, Index, Rule, Scanner},
};

use crate::workload::Workload;

pub struct AvroEvents {
    program: AvroProgram,
    events: Vec<AvroEvent>,
    scanner: Scanner,
}

struct AvroEvent {
    team: String,
    event_type: String,
    datum: Vec<u8>,
}

// === impl AvroEvents ===

impl AvroEvents {
    pub fn of(workload: &Workload, index: &Index) -> AvroEvents {
        let schema = schema();
        let shape = Shape::of(&schema).expect("a shape");
        let program = index.avro_program(&shape).expect("a record");
        let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
        let read = |text: &String| {
            let event: Value = serde_json::from_str(text).expect("JSON");
            let value = AvroValue::try_from(event["data"].clone()).and_then(|value| value.resolve(&schema));
            let datum = writer.write_value_to_vec(value.expect("data of the schema")).expect("encodes");
            let word = |name: &str| event[name].as_str().expect("a text").to_owned();
            AvroEvent { team: word("team"), event_type: word("type"), datum }
        };
        AvroEvents { program, events: workload.events.iter().map(read).collect(), scanner: Scanner::new() }
    }

    pub fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.datum.len()).sum::<usize>() / self.events.len()
    }

    /// Only the fields in use.
    pub fn read(&mut self, place: usize) -> usize {
        usize::from(self.program.read(&self.events[place].datum, &mut self.scanner).is_ok())
    }

    pub fn matching<'i>(&mut self, place: usize, index: &'i Index, found: &mut Vec<&'i Arc<Rule>>) {
        let AvroEvent { team, event_type, datum } = &self.events[place];
        index.matching_avro((team, event_type), &self.program, datum, &mut self.scanner, found).expect("usual Avro");
    }
}

/// Of the events of [`Workload`] that are not hypermatch's.
fn schema() -> Schema {
    let record = |name: &str, fields: &[(&str, Value)]| {
        let fields: Vec<Value> = fields.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        json!({"type": "record", "name": name, "fields": fields})
    };
    let (text, long) = (json!("string"), json!("long"));
    let texts = json!({"type": "array", "items": "string"});
    let data = record(
        "Data",
        &[
            ("app", text.clone()),
            ("channel", text.clone()),
            ("customer", record("Customer", &[("id", text.clone()), ("name", text.clone()), ("email", text.clone())])),
            (
                "license",
                record(
                    "License",
                    &[
                        ("id", text.clone()),
                        ("type", text.clone()),
                        ("expires", long.clone()),
                        ("fields", json!({"type": "map", "values": ["string", "long", "boolean"]})),
                    ],
                ),
            ),
            (
                "instance",
                record(
                    "Instance",
                    &[
                        ("id", text.clone()),
                        ("status", text.clone()),
                        ("tags", texts),
                        ("k8s", text.clone()),
                        ("distribution", text.clone()),
                        ("cloud", text.clone()),
                        ("nodes", long.clone()),
                    ],
                ),
            ),
            ("version", record("Version", &[("label", text.clone()), ("ord", long.clone()), ("sequence", long)])),
            ("actor", record("Actor", &[("type", text.clone()), ("email", text.clone())])),
            ("message", text),
        ],
    );
    Schema::parse(&data).expect("a schema")
}
