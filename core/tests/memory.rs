//! Hostile input by what it makes us allocate: the peak of the heap while a record is read, counted by the allocator.
//!
//! A program of its own with one test, because the count is of the whole process.

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use tidings_core::{
    catalog::Catalog,
    codec::{
        Decoder, DirectoryCodec, MAX_EVENT_BYTES, Recipe, Registered, SchemaRef, Written,
        avro::put_long,
        registered::{MAX_REFERENCES, MAX_SCHEMA_BYTES, fingerprints},
        tape::Tape,
    },
    domain::{Record, TeamId, Timestamp},
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What a refusal may cost, in bytes: its text, and a parser's beginnings.
const REFUSAL: usize = 64 * 1024;
/// What a byte of an event may become while it is read as a whole, in bytes: `0,` is a value and its digits on the heap.
const GROWTH: usize = 96;
/// What a byte of an event may become on the matcher's usual way.
const TAPE_GROWTH: usize = 16;
/// What a byte of a registry's schema may become while it is compiled, in bytes.
const SCHEMA_GROWTH: usize = 64;

const WIDE: &str = r#"{"type": "record", "name": "w.Wide", "fields": [
    {"name": "text", "type": ["null", "string"]},
    {"name": "rows", "type": {"type": "array", "items": {"type": "record", "name": "Row", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "raw", "type": ["null", "bytes"]}]}}},
    {"name": "more", "type": {"type": "map", "values": "long"}}]}"#;

/// The peak above what was in use before, in bytes.
fn peak<T>(work: impl FnOnce() -> T) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let made = work();
    let peak = HEAP.peak_usage() - before;
    drop(made);
    peak
}

fn record(value: Vec<u8>, headers: Vec<(String, Bytes)>) -> Record {
    let value = Some(Bytes::from(value));
    Record { topic: "t".into(), partition: 0, offset: 0, timestamp: Timestamp(0), key: None, value, headers }
}

fn framed(id: u32, parts: &[&[u8]]) -> Vec<u8> {
    [&[&[0][..], &id.to_be_bytes()].concat(), &parts.concat()[..]].concat()
}

fn long(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_long(&mut out, value);
    out
}

fn check(name: &str, found: usize, bound: usize) {
    println!("{name}: {found} B of {bound} B");
    assert!(found <= bound, "{name}: {found} bytes; at most {bound}");
}

/// Reads a record in both ways that there are, with a tape as new: what it keeps for the next one counts too.
fn read(decoder: &Decoder, name: &str, record: &Record, whole: usize, usual: usize) {
    check(name, peak(|| decoder.decode(record).map(drop).is_ok()), whole);
    let both = peak(|| {
        let mut tape = Tape::new();
        decoder.read(record, &mut tape).is_ok()
    });
    check(&format!("{name}, by the matcher"), both, usual);
}

#[test]
fn what_hostile_input_makes_us_allocate_is_bounded() {
    let recipe = Recipe { registry: true, default_team: TeamId::new("acme").ok(), ..Recipe::default() };
    let catalog = Catalog::builtin();
    let decoder = Decoder::of(&catalog, recipe).unwrap();
    let learn = |id: u32, schema: &str| {
        decoder.learn(SchemaRef::Id(id), Some(&Registered { schema: schema.to_owned(), ..Registered::default() }))
    };
    assert!(learn(1, WIDE));
    let deep = (0..60).fold("\"long\"".to_owned(), |inner, _| format!(r#"{{"type": "array", "items": {inner}}}"#));
    assert!(learn(2, &format!(r#"{{"type": "record", "name": "D", "fields": [{{"name": "d", "type": {deep}}}]}}"#)));
    let quota = fingerprints(&catalog.get("tyk.QuotaExceeded").unwrap().schema)[0];
    // What is made once is made now.
    let _ = decoder.decode(&record(framed(1, &[&[0, 0, 0]]), Vec::new()));

    lengths(&decoder, quota);
    depths(&decoder);
    widths(&decoder);
    frames(&decoder);
    directory();
    schemas(&decoder);
}

/// A length is believed only as far as there are bytes.
fn lengths(decoder: &Decoder, quota: [u8; 8]) {
    for length in [1 << 16, 1 << 20, 1 << 31, 1 << 40, i64::MAX, -1, -(1 << 20), -(1 << 40), i64::MIN] {
        let length = long(length);
        for (name, value) in [
            ("a text's length", framed(1, &[&[2], &length])),
            ("an array's count", framed(1, &[&[0], &length, &[0; 16]])),
            ("a block's size", framed(1, &[&[0], &long(-2), &length, &[0; 16]])),
            ("bytes' length", framed(1, &[&[0, 2, 0, 2], &length])),
            ("a map's count", framed(1, &[&[0, 0], &length, &[0; 16]])),
            ("a key's length", framed(1, &[&[0, 0, 2], &length])),
            ("a single object's length", [&[0xC3, 1][..], &quota, &length].concat()),
        ] {
            let name = format!("{name} {length:02x?}");
            read(decoder, &name, &record(value, Vec::new()), REFUSAL, REFUSAL);
        }
    }
}

fn depths(decoder: &Decoder) {
    let filling = MAX_EVENT_BYTES - 64;
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let text = format!("{{\"team\":\"acme\",\"type\":\"a.b\",\"data\":{}", open.repeat(filling / open.len()));
        read(decoder, &format!("JSON {open}…"), &record(text.into_bytes(), Vec::new()), REFUSAL, REFUSAL);
    }
    // Sixty levels of one item each, then a count for which there is nothing.
    let datum = [&[2; 60][..], &long(1 << 50)].concat();
    read(decoder, "Avro in depth", &record(framed(2, &[&datum]), Vec::new()), REFUSAL, REFUSAL);
}

/// As much as there can be in the largest event.
fn widths(decoder: &Decoder) {
    let fill = |head: &str, item: &str, tail: &str| {
        let count = (MAX_EVENT_BYTES - head.len() - tail.len()) / item.len();
        format!("{head}{}{tail}", item.repeat(count)).into_bytes()
    };
    let head = "{\"team\":\"acme\",\"type\":\"a.b\",\"data\":{\"x\":";
    let (whole, usual) = (GROWTH * MAX_EVENT_BYTES, TAPE_GROWTH * MAX_EVENT_BYTES);
    for (name, value) in [
        ("JSON, numbers", fill(&format!("{head}[0"), ",0", "]}}")),
        ("JSON, empty texts", fill(&format!("{head}[0"), ",\"\"", "]}}")),
        ("JSON, empty objects", fill(&format!("{head}[0"), ",{}", "]}}")),
        ("JSON, one member each", fill(&format!("{head}[0"), ",{\"\":0}", "]}}")),
        ("JSON, one key again and again", fill(&format!("{head}{{\"k\":0"), ",\"k\":0", "}}}")),
        ("JSON, escapes", fill(&format!("{head}\""), "\\n", "\"}}")),
    ] {
        assert!(value.len() <= MAX_EVENT_BYTES);
        read(decoder, name, &record(value, Vec::new()), whole, usual);
    }
    // Of a registry's schema the matcher reads the whole, too.
    for (name, value) in [
        ("Avro, small rows", framed(1, &[&[0], &long(60_000), &[0; 120_000], &[0, 0]])),
        ("Avro, too many rows", framed(1, &[&[0], &long(380_000), &[0; 760_000], &[0, 0]])),
        ("Avro, one text", framed(1, &[&[2], &long(760_000), &[b'x'; 760_000], &[0, 0]])),
    ] {
        assert!(value.len() <= MAX_EVENT_BYTES);
        read(decoder, name, &record(value, Vec::new()), whole, whole);
    }
    let above = record(vec![b'['; MAX_EVENT_BYTES + 1], Vec::new());
    read(decoder, "more than is read", &above, REFUSAL, REFUSAL);
}

fn frames(decoder: &Decoder) {
    let header = |name: &str, value: &[u8]| (name.to_owned(), Bytes::copy_from_slice(value));
    let filling = vec![b'x'; 512 * 1024];
    for (name, value, headers) in [
        ("no value", Vec::new(), Vec::new()),
        ("half a frame", vec![0, 0, 0], Vec::new()),
        ("half an object", vec![0xC3, 1, 7], Vec::new()),
        ("an id of many bytes", vec![0], vec![header("__value_schema_id", &filling)]),
        ("a type of many bytes", b"{}".to_vec(), vec![header("ce_specversion", b"1.0"), header("ce_type", &filling)]),
        ("a version of many bytes", b"{}".to_vec(), vec![header("ce_specversion", &filling)]),
        ("many headers", b"{}".to_vec(), vec![header("ce_id", b"1"); 50_000]),
        ("a byte that begins nothing", filling.clone(), Vec::new()),
    ] {
        read(decoder, name, &record(value, headers), REFUSAL, REFUSAL);
    }
}

fn directory() {
    let codec = DirectoryCodec::new([(7, Written::Subscription)].into());
    // The published schemas are read once.
    let _ = codec.object(Some(Written::Subscription), &framed(7, &[&[0]]));
    for length in [1 << 20, 1 << 40, i64::MAX, i64::MIN] {
        let value = framed(7, &[&long(length), &[0; 8]]);
        check("a directory record's length", peak(|| codec.object(Some(Written::Subscription), &value)), REFUSAL);
    }
    let deep = "[".repeat(256 * 1024).into_bytes();
    check("a deep directory record", peak(|| codec.object(Some(Written::Subscription), &deep)), REFUSAL);
}

/// What whoever may write to the registry can bring about.
fn schemas(decoder: &Decoder) {
    let learn = |name: &str, schema: String, references: Vec<String>, bound: usize| {
        let registered = Registered { schema, references, ..Registered::default() };
        let found = peak(|| decoder.learn(SchemaRef::Id(99), Some(&registered)));
        decoder.forget(&SchemaRef::Id(99));
        check(name, found, bound);
    };
    let all = SCHEMA_GROWTH * MAX_SCHEMA_BYTES;
    let fields = |count: usize| {
        let fields: Vec<String> = (0..count).map(|n| format!(r#"{{"name":"f{n}","type":"int"}}"#)).collect();
        format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
    };
    learn("a schema that is too long", " ".repeat(MAX_SCHEMA_BYTES + 1), Vec::new(), REFUSAL);
    learn("too many references", "\"int\"".to_owned(), vec!["{}".to_owned(); MAX_REFERENCES + 1], REFUSAL);
    learn("a deep schema", "[".repeat(MAX_SCHEMA_BYTES), Vec::new(), REFUSAL);
    learn("a schema of many fields", fields(30_000), Vec::new(), all);
    // Each stands where it is named the first time only, so that it cannot double itself again and again.
    let doubling: Vec<String> = (0..MAX_REFERENCES)
        .map(|n| {
            let inner = if n == 0 { "int".to_owned() } else { format!("R{}", n - 1) };
            format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"{inner}"}},{{"name":"b","type":"{inner}"}}]}}"#)
        })
        .collect();
    learn("references that double", "\"R63\"".to_owned(), doubling, 1024 * 1024);
}
