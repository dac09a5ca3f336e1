//! AvroPrograms against [`decode`] and plain evaluation.

use std::sync::Arc;

use apache_avro::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    catalog::Catalog,
    codec::avro::{decode, put_bytes, put_long},
    domain::{Chance, DestinationId, Event, EventSelector, Subscription, SubscriptionId, TeamId, TypeSelector},
    filter::Index,
};

/// Every kind of value that is looked at, each beside one that is not.
const SCHEMA: &str = r#"{"type": "record", "name": "Data", "fields": [
    {"name": "text", "type": ["null", "string", "long", "boolean"]}, {"name": "text_not", "type": "string"},
    {"name": "whole", "type": "int"}, {"name": "whole_not", "type": "int"},
    {"name": "half", "type": "float"}, {"name": "double", "type": "double"}, {"name": "double_not", "type": "double"},
    {"name": "yes", "type": "boolean"}, {"name": "yes_not", "type": "boolean"},
    {"name": "symbol", "type": {"type": "enum", "name": "E", "symbols": ["x", "y", "z"]}}, {"name": "symbol_not", "type": "E"},
    {"name": "bytes", "type": "bytes"}, {"name": "bytes_not", "type": "bytes"},
    {"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 2}}, {"name": "fixed_not", "type": "F"},
    {"name": "date", "type": {"type": "int", "logicalType": "date"}},
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "inner", "type": {"type": "record", "name": "R", "fields": [
        {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "long"]}]}},
    {"name": "maybe", "type": ["null", "R", "string"]}, {"name": "inner_not", "type": "R"},
    {"name": "map", "type": {"type": "map", "values": ["null", "string", "long", {"type": "array", "items": "string"}]}},
    {"name": "map_not", "type": {"type": "map", "values": "R"}},
    {"name": "records", "type": {"type": "map", "values": "R"}},
    {"name": "list", "type": {"type": "array", "items": ["null", "string", "double", "R", {"type": "array", "items": "long"}]}},
    {"name": "list_not", "type": {"type": "array", "items": "R"}},
    {"name": "way", "type": {"type": "array", "items": "R"}}
]}"#;

fn shape() -> Shape {
    Shape::of(&Schema::parse_str(SCHEMA).unwrap()).unwrap()
}

fn index() -> (Index, Vec<Arc<Rule>>) {
    let filters = [
        json!({"text": ["x", null, 1, true]}),
        json!({"text": [{"anything-but": "x"}], "yes": [true]}),
        json!({"whole": [{"numeric": ["<", 0]}], "symbol": ["x", "y"]}),
        json!({"half": [{"numeric": [">", 0.1]}, 0.1, "NaN", "Infinity"]}),
        json!({"double": [{"numeric": ["<=", 0.5]}, 0.5]}),
        json!({"bytes": [{"prefix": "AA"}, ""], "fixed": [{"anything-but": "AAA="}]}),
        json!({"date": [{"prefix": "19"}], "time": [{"prefix": "1970-01-01T00"}]}),
        json!({"micros": [{"suffix": "0Z"}]}),
        json!({"inner": {"a": ["x", "y"], "b": [null, {"numeric": [">", 0]}]}}),
        json!({"inner": [{"exists": false}]}),
        json!({"maybe": ["x"]}),
        json!({"maybe": {"a": [{"exists": true}]}}),
        json!({"map": {"x": ["x", 1, null], "y": [{"exists": false}]}}),
        json!({"map": {"y": [{"anything-but": ["x"]}]}}),
        json!({"records": {"x": {"a": ["x"]}, "y": [{"exists": false}]}}),
        json!({"list": ["x", 0.5, null, 1]}),
        json!({"list": [{"exists": false}]}),
        json!({"list": [{"anything-but": "x"}]}),
        json!({"way": {"a": ["x"]}}),
        json!({"way": {"b": [{"exists": false}]}}),
        json!({"absent": {"deep": [{"exists": false}]}, "symbol": ["z"]}),
    ];
    let rule = |(number, filter): (usize, Value)| {
        let subscription = Subscription {
            team: TeamId::new("acme").unwrap(),
            id: SubscriptionId::new(&format!("s{number:02}")).unwrap(),
            revision: 1,
            name: None,
            enabled: true,
            events: vec![EventSelector {
                event_type: TypeSelector::Any,
                filter: filter.as_object().cloned().unwrap_or_default().into(),
            }]
            .into(),
            destinations: vec![DestinationId::new("hook").unwrap()].into(),
        };
        Arc::new(Rule::compile(Arc::new(subscription), &Catalog::default()).unwrap())
    };
    let rules: Vec<_> = filters.into_iter().enumerate().map(rule).collect();
    (Index::of(rules.iter().cloned()), rules)
}

/// Any datum of a shape, of values that the filters ask for and of others.
fn write(shape: &Shape, chance: &mut Chance, out: &mut Vec<u8>) {
    match shape {
        Shape::Null => {}
        Shape::Boolean => out.push(chance.one_in(2).into()),
        Shape::Int | Shape::Date => put_long(out, chance.below(5) as i64 - 2),
        Shape::Long | Shape::TimestampMillis | Shape::TimestampMicros | Shape::TimestampNanos => {
            let long = [0, 1, -1, 1_000, i64::MAX, i64::MIN][chance.below(6) as usize];
            put_long(out, long);
        }
        Shape::Float => {
            let float = [0.0, 0.1, 0.5, f32::NAN, f32::INFINITY, -1e30][chance.below(6) as usize];
            out.extend_from_slice(&float.to_le_bytes());
        }
        Shape::Double => {
            let double = [0.0, 0.1, 0.5, f64::NAN, 1e300][chance.below(5) as usize];
            out.extend_from_slice(&double.to_le_bytes());
        }
        Shape::Bytes => put_bytes(out, &[0; 3][..chance.below(4) as usize]),
        Shape::Fixed(size) => out.extend((0..*size).map(|_| chance.below(2) as u8)),
        Shape::String => put_bytes(out, ["", "x", "y", "é", "another one"][chance.below(5) as usize].as_bytes()),
        Shape::Enum(symbols) => put_long(out, chance.below(symbols.len() as u64) as i64),
        Shape::Union(branches) => {
            let branch = chance.below(branches.len() as u64);
            put_long(out, branch as i64);
            write(&branches[branch as usize], chance, out);
        }
        Shape::Record(fields) => fields.iter().for_each(|field| write(&field.shape, chance, out)),
        Shape::Array(items) => blocks(chance, out, |chance, out| write(items, chance, out)),
        Shape::Map(values) => blocks(chance, out, |chance, out| {
            put_bytes(out, ["x", "y", "z", "long name"][chance.below(4) as usize].as_bytes());
            write(values, chance, out);
        }),
    }
}

/// Some items in some blocks.
fn blocks(chance: &mut Chance, out: &mut Vec<u8>, mut item: impl FnMut(&mut Chance, &mut Vec<u8>)) {
    while chance.one_in(2) {
        let count = 1 + chance.below(2) as i64;
        if chance.one_in(4) {
            put_long(out, -count);
            // The size in bytes, which nobody needs.
            put_long(out, 7);
        } else {
            put_long(out, count);
        }
        (0..count).for_each(|_| item(chance, out));
    }
    put_long(out, 0);
}

fn datum(seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write(&shape(), &mut Chance::new(seed), &mut out);
    out
}

/// The one door: what the program reads is valid, and matches what plain evaluation of the whole matches.
/// Whether it was read.
fn agree(datum: &[u8]) -> Result<bool, String> {
    let ((index, rules), shape) = (index(), shape());
    let program = index.avro_program(&shape).ok_or("no program")?;
    let mut found = Vec::new();
    if index.matching_avro(("acme", "t"), &program, datum, &mut Scanner::new(), &mut found).is_err() {
        return Ok(false);
    }
    let data = decode(&shape, datum).map_err(|malformed| format!("refused: {malformed}"))?;
    let event = Event {
        team: TeamId::new("acme").unwrap(),
        id: "1".into(),
        source: "test".into(),
        event_type: "t".into(),
        time: None,
        subject: None,
        data,
    };
    let id = |rule: &Arc<Rule>| rule.subscription.id.to_string();
    let expected: Vec<_> = rules.iter().filter(|rule| rule.matches(&event)).map(id).collect();
    let found: Vec<_> = found.into_iter().map(id).collect();
    if found == expected { Ok(true) } else { Err(format!("{found:?} instead of {expected:?}: {}", event.data)) }
}

#[test]
fn most_data_are_read_and_match_each_rule_now_and_then() {
    let ((index, rules), shape) = (index(), shape());
    let program = index.avro_program(&shape).unwrap();
    let (mut scanner, mut read, mut matched) = (Scanner::new(), 0, vec![0; rules.len()]);
    for seed in 0..2_000 {
        let mut found = Vec::new();
        if index.matching_avro(("acme", "t"), &program, &datum(seed), &mut scanner, &mut found).is_ok() {
            read += 1;
            found.iter().for_each(|rule| matched[rules.iter().position(|r| Arc::ptr_eq(r, rule)).unwrap()] += 1);
        }
    }
    // Half have objects on the way or a key twice.
    assert!((500..2_000).contains(&read), "{read}");
    // The data has no array on the way where it is read, so that nothing is there.
    let never: Vec<_> = (0..rules.len()).filter(|rule| matched[*rule] == 0).collect();
    assert_eq!(never, [18], "{matched:?}");
}

#[test]
fn a_program_is_for_the_fields_of_its_time() {
    let (mut index, rules) = index();
    let program = index.avro_program(&shape()).unwrap();
    let seed = (0..).find(|seed| agree(&datum(*seed)) == Ok(true)).unwrap();
    // So many that what asked for their fields is built anew.
    rules[..rules.len() / 2].iter().for_each(|rule| index.remove(rule));
    index.settle();
    let mut found = Vec::new();
    let mut ask = |program: &AvroProgram| {
        index.matching_avro(("acme", "t"), program, &datum(seed), &mut Scanner::new(), &mut found)
    };
    assert_eq!(ask(&program), Err(Unusual));
    assert_eq!(ask(&index.avro_program(&shape()).unwrap()), Ok(()));
}

/// One that is asked by turns for two indexes, and one that changes.
#[test]
fn programs_are_those_of_the_index_that_is_asked() {
    let (mut first, rules) = index();
    let second = Index::of(rules[3..].iter().cloned());
    let (shape, mut programs) = (Arc::new(shape()), AvroPrograms::new());
    let mut check = |index: &Index, seed: u64| {
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        let program = index.avro_program(&shape).unwrap();
        let datum = datum(seed);
        let answer = index.matching_avro(("acme", "t"), &program, &datum, &mut Scanner::new(), &mut expected);
        assert_eq!(programs.matching(index, ("acme", "t"), &shape, &datum, &mut found), answer);
        assert!(found.iter().map(|rule| Arc::as_ptr(rule)).eq(expected.iter().map(|rule| Arc::as_ptr(rule))));
        answer.is_ok()
    };
    let read = (0..100).filter(|seed| check(&first, *seed) & check(&second, *seed)).count();
    assert!(read > 20, "{read}");
    first.remove(&rules[0]);
    first.settle();
    assert!((0..100).any(|seed| check(&first, seed)));
}

#[test]
fn what_no_program_is_made_for_has_none() {
    let (index, _) = index();
    let of = |schema: &str| index.avro_program(&Shape::of(&Schema::parse_str(schema).unwrap()).unwrap()).is_some();
    assert!(!of(r#""string""#));
    assert!(!of(r#"{"type": "map", "values": "string"}"#));
    assert!(of(r#"{"type": "record", "name": "R", "fields": []}"#));
}

#[test]
fn lengths_and_counts_are_believed_as_far_as_the_input_goes() {
    let (index, _) = index();
    let shape = |field: &str| {
        let schema = format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "list", "type": {field}}}]}}"#);
        Shape::of(&Schema::parse_str(&schema).unwrap()).unwrap()
    };
    let check = |field: &str, datum: &[u8]| {
        let shape = shape(field);
        let program = index.avro_program(&shape).unwrap();
        assert_eq!(program.read(datum, &mut Scanner::new()), Err(Unusual), "{field} {datum:02x?}");
        assert!(decode(&shape, datum).is_err());
    };
    let long = |long: i64| {
        let mut out = Vec::new();
        put_long(&mut out, long);
        out
    };
    let array = r#"{"type": "array", "items": "long"}"#;
    check(r#""string""#, &long(1 << 60));
    check(r#""bytes""#, &long(-1));
    check(r#""string""#, b"\x04\xff\xff");
    check(array, &long(1 << 60));
    check(array, &[long(i64::MIN), long(8)].concat());
    check(array, &[long(0), long(0)].concat());
    check(r#""long""#, &[0xFF; 11]);
    check(r#""int""#, &long(1 << 40));
    check(r#""boolean""#, &[2]);
    check(r#"["null", "long"]"#, &long(2));
    check(r#"["null", "long"]"#, &[]);
    let items = vec![2; MAX_VALUES];
    check(array, &[long(MAX_VALUES as i64), items, long(0)].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn read_or_left_it_is_the_same(seed in any::<u64>()) {
        if let Err(difference) = agree(&datum(seed)) {
            prop_assert!(false, "{}", difference);
        }
    }

    #[test]
    fn a_damaged_datum_is_never_read_as_another(
        seed in any::<u64>(), place in any::<prop::sample::Index>(), byte in any::<Option<u8>>(),
    ) {
        let mut datum = datum(seed);
        let place = place.index(datum.len());
        match byte {
            Some(byte) => datum[place] = byte,
            None => drop(datum.remove(place)),
        }
        if let Err(difference) = agree(&datum) {
            prop_assert!(false, "{}", difference);
        }
    }
}
