//! Bytes as a datum of one of the catalog's schemas, which the first byte chooses: what the tape and our decoder read is the same, and
//! is what apache-avro reads.
#![no_main]

use std::sync::LazyLock;

use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use libfuzzer_sys::fuzz_target;
use tidings_core::{
    catalog::{Shape, builtin_files},
    codec::{avro, tape::Tape},
};

static SCHEMAS: LazyLock<Vec<(Schema, Shape)>> = LazyLock::new(|| {
    let files = builtin_files();
    let schemas = files.iter().map(|(_, text)| Schema::parse_str(text).expect("a schema"));
    schemas.map(|schema| (schema.clone(), Shape::of(&schema).expect("a shape"))).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, datum)) = bytes.split_first() else { return };
    let (schema, shape) = &SCHEMAS[usize::from(*first) % SCHEMAS.len()];
    let ours = avro::decode(shape, datum).ok();
    let mut tape = Tape::new();
    if let Ok(view) = tape.read_avro(shape, datum) {
        assert_eq!(Some(view.to_value()), ours, "on the tape");
    }
    let Some(ours) = ours else { return };
    let reader = GenericDatumReader::builder(schema).build().expect("a reader");
    let theirs = reader.read_value(&mut &*datum).expect("apache-avro reads it too");
    let writer = GenericDatumWriter::builder(schema).build().expect("a writer");
    let again = writer.write_value_to_vec(theirs).expect("and writes it");
    assert_eq!(avro::decode(shape, &again).ok(), Some(ours), "what apache-avro understood");
});
