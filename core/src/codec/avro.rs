//! Avro binary → [`Value`], and the primitives for our own records.
//!
//! Why not apache-avro's reader, which parses the schemas: it takes the end of the input for an empty value inside
//! strings, booleans and unions (so that a truncated event passes), allocates what a length prefix says before it looks
//! at the input, and gives maps in an order that differs from process to process. Here nothing is allocated that the
//! input has not paid for byte by byte, the datum must end where the input ends, and the order is that of the bytes.
//! Tests hold it against apache-avro as the reference.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::{
    catalog::Shape,
    domain::{Day, Timestamp},
};

/// The most values (leaves, arrays, objects) of one datum: an item may take one byte of input and a hundred of memory.
pub const MAX_VALUES: usize = 200_000;

/// Why bytes are not Avro of their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the input ends inside a value")]
    End,
    #[error("{0} bytes follow the datum")]
    Trailing(usize),
    #[error("an integer of more than 64 bits")]
    Integer,
    #[error("{0} does not fit into 32 bits")]
    Int(i64),
    #[error("a length of {length} with {left} bytes left")]
    Length { length: i64, left: usize },
    #[error("a block of {0} items")]
    Count(i64),
    #[error("{0} for a boolean")]
    Boolean(u8),
    #[error("text that is not UTF-8")]
    Utf8,
    #[error("symbol {index} of {symbols}")]
    Symbol { index: i64, symbols: usize },
    #[error("branch {index} of {branches}")]
    Branch { index: i64, branches: usize },
    #[error("more than {MAX_VALUES} values")]
    TooMany,
}

/// Reads one datum, which must fill the input.
pub fn decode(shape: &Shape, datum: &[u8]) -> Result<Value, Malformed> {
    let mut cursor = Cursor::new(datum);
    let mut left = MAX_VALUES;
    let value = value(shape, &mut cursor, &mut left)?;
    cursor.end()?;
    Ok(value)
}

/// `left` is what remains of [`MAX_VALUES`]. Recursion is bounded by the shape's depth.
fn value(shape: &Shape, cursor: &mut Cursor<'_>, left: &mut usize) -> Result<Value, Malformed> {
    *left = left.checked_sub(1).ok_or(Malformed::TooMany)?;
    Ok(match shape {
        Shape::Union(branches) => {
            let index = cursor.long()?;
            let branch = usize::try_from(index).ok().and_then(|i| branches.get(i));
            value(branch.ok_or(Malformed::Branch { index, branches: branches.len() })?, cursor, left)?
        }
        Shape::Record(fields) => {
            let mut object = Map::with_capacity(fields.len());
            for field in fields {
                object.insert(field.name.clone(), value(&field.shape, cursor, left)?);
            }
            Value::Object(object)
        }
        Shape::Array(items) => {
            let mut array = Vec::new();
            while let Some(count) = cursor.block()? {
                for _ in 0..count {
                    array.push(value(items, cursor, left)?);
                }
            }
            Value::Array(array)
        }
        Shape::Map(values) => {
            let mut object = Map::new();
            while let Some(count) = cursor.block()? {
                for _ in 0..count {
                    let key = cursor.string()?.to_owned();
                    object.insert(key, value(values, cursor, left)?);
                }
            }
            Value::Object(object)
        }
        leaf_shape => leaf(leaf_shape, cursor)?,
    })
}

/// A value that holds no others; `null` for those that do, which the callers see to themselves.
pub(crate) fn leaf(shape: &Shape, cursor: &mut Cursor<'_>) -> Result<Value, Malformed> {
    Ok(match shape {
        Shape::Null | Shape::Union(_) | Shape::Record(_) | Shape::Array(_) | Shape::Map(_) => Value::Null,
        Shape::Boolean => Value::Bool(cursor.boolean()?),
        Shape::Int => Value::from(cursor.int()?),
        Shape::Long => Value::from(cursor.long()?),
        Shape::Float => float(cursor.float()?),
        Shape::Double => float(cursor.double()?),
        Shape::Bytes => Value::String(BASE64_STANDARD.encode(cursor.bytes()?)),
        Shape::Fixed(size) => Value::String(BASE64_STANDARD.encode(cursor.take(*size)?)),
        Shape::String => Value::String(cursor.string()?.to_owned()),
        Shape::Enum(symbols) => {
            let index = cursor.long()?;
            let symbol = usize::try_from(index).ok().and_then(|i| symbols.get(i));
            Value::String(symbol.ok_or(Malformed::Symbol { index, symbols: symbols.len() })?.clone())
        }
        Shape::Date => Value::String(Day(cursor.int()?).to_string()),
        Shape::TimestampMillis => Value::String(Timestamp(cursor.long()?).to_string()),
        Shape::TimestampMicros => {
            let micros = cursor.long()?;
            instant(jiff::Timestamp::from_microsecond(micros).ok(), 6, micros.div_euclid(1_000))
        }
        Shape::TimestampNanos => {
            let nanos = cursor.long()?;
            instant(jiff::Timestamp::from_nanosecond(nanos.into()).ok(), 9, nanos.div_euclid(1_000_000))
        }
    })
}

/// A number with the shortest digits that mean it. JSON cannot write the three that are none: they become text.
fn float<F: Into<Value> + std::fmt::Display + Copy>(float: F) -> Value {
    match float.into() {
        Value::Null => Value::String(float.to_string().replace("inf", "Infinity")),
        number => number,
    }
}

/// Beyond the calendar a time is shown clamped, as [`Timestamp`] does: "for ever" is written so by many producers.
fn instant(time: Option<jiff::Timestamp>, digits: usize, ms: i64) -> Value {
    match time {
        Some(time) => Value::String(format!("{time:.digits$}")),
        None => Value::String(Timestamp(ms).to_string()),
    }
}

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub fn new(input: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: input }
    }

    pub fn end(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::Trailing(left)),
        }
    }

    /// How many bytes there are still.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    pub fn take(&mut self, size: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(Malformed::End)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::End)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, Malformed> {
        // Most are lengths and branches, and these are of one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.long_of_several()
    }

    fn long_of_several(&mut self) -> Result<i64, Malformed> {
        let mut bits = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                return Err(Malformed::Integer);
            }
            bits |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(Malformed::Integer)
    }

    pub fn int(&mut self) -> Result<i32, Malformed> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| Malformed::Int(long))
    }

    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Malformed::Boolean(other)),
        }
    }

    fn float(&mut self) -> Result<f32, Malformed> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    fn double(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.long()?;
        let wrong = Malformed::Length { length, left: self.rest.len() };
        let size = usize::try_from(length).map_err(|_| wrong)?;
        self.take(size).map_err(|_| wrong)
    }

    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Utf8)
    }

    /// The number of items in the next block of an array or map; `None` at its end.
    ///
    /// An item takes at least one byte, so a block cannot have more items than there are bytes.
    pub(crate) fn block(&mut self) -> Result<Option<usize>, Malformed> {
        let mut count = self.long()?;
        if count < 0 {
            // The block's size in bytes follows, for readers that skip it.
            self.long()?;
            count = count.checked_neg().ok_or(Malformed::Count(count))?;
        }
        match usize::try_from(count) {
            Ok(0) => Ok(None),
            Ok(items) if items <= self.rest.len() => Ok(Some(items)),
            _ => Err(Malformed::Count(count)),
        }
    }
}

pub fn put_long(out: &mut Vec<u8>, long: i64) {
    let mut bits = ((long << 1) ^ (long >> 63)) as u64;
    while bits > 0x7F {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use apache_avro::{Schema, reader::datum::GenericDatumReader, types, writer::datum::GenericDatumWriter};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{catalog::Catalog, codec::tape::Tape};

    /// The one door: what the matcher sees on a tape is what is decoded.
    fn decode(shape: &Shape, datum: &[u8]) -> Result<Value, Malformed> {
        let decoded = super::decode(shape, datum);
        match Tape::new().read_avro(shape, datum) {
            Ok(view) => {
                assert_eq!(Ok(&view.to_value()), decoded.as_ref());
                assert_eq!(view.to_value().to_string(), decoded.as_ref().unwrap().to_string());
            }
            // No test has a wide object.
            Err(_) => assert!(decoded.is_err(), "{decoded:?} is left to the slow way"),
        }
        decoded
    }

    /// Every kind of value there is, and nesting.
    const EVERYTHING: &str = r#"{"type": "record", "name": "Everything", "fields": [
        {"name": "nothing", "type": "null"}, {"name": "yes", "type": "boolean"},
        {"name": "int", "type": "int"}, {"name": "long", "type": "long"},
        {"name": "float", "type": "float"}, {"name": "double", "type": "double"},
        {"name": "bytes", "type": "bytes"}, {"name": "text", "type": "string"},
        {"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 3}},
        {"name": "enum", "type": {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}},
        {"name": "longs", "type": {"type": "array", "items": "long"}},
        {"name": "texts", "type": {"type": "map", "values": "string"}},
        {"name": "union", "type": ["null", "long", "string", "E"]},
        {"name": "records", "type": {"type": "array", "items": {"type": "record", "name": "R", "fields": [
            {"name": "a", "type": ["null", "F"]}, {"name": "b", "type": "boolean"}]}}},
        {"name": "date", "type": {"type": "int", "logicalType": "date"}},
        {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "micros", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "nanos", "type": {"type": "long", "logicalType": "timestamp-nanos"}}
    ]}"#;

    fn everything() -> (Schema, Shape) {
        let schema = Schema::parse_str(EVERYTHING).unwrap();
        let shape = Shape::of(&schema).unwrap();
        (schema, shape)
    }

    fn any_everything() -> impl Strategy<Value = types::Value> {
        use types::Value as V;
        let union = prop_oneof![
            Just(V::Union(0, Box::new(V::Null))),
            any::<i64>().prop_map(|n| V::Union(1, Box::new(V::Long(n)))),
            any::<String>().prop_map(|s| V::Union(2, Box::new(V::String(s)))),
            Just(V::Union(3, Box::new(V::Enum(1, "B".into())))),
        ];
        let numbers = (any::<bool>(), any::<i32>(), any::<i64>(), any::<f32>(), any::<f64>());
        let texts = (any::<Vec<u8>>(), any::<String>(), any::<[u8; 3]>(), 0..3u32);
        // One entry at most: apache-avro does not keep the order of a map.
        let many = (any::<Vec<i64>>(), prop::option::of(any::<(String, String)>()), union, any::<Vec<bool>>());
        let times = (any::<i32>(), any::<i64>(), any::<i64>(), any::<i64>());
        (numbers, texts, many, times).prop_map(|((yes, int, long, float, double), texts, many, times)| {
            let (bytes, text, fixed, symbol) = texts;
            let (longs, entry, union, flags) = many;
            let fixed =
                |on: bool| V::Union(on.into(), Box::new(if on { V::Fixed(3, fixed.to_vec()) } else { V::Null }));
            let record = |b: bool| V::Record(vec![("a".into(), fixed(b)), ("b".into(), V::Boolean(b))]);
            let Value::String(letter) = json!(["A", "B", "C"][symbol as usize]) else { unreachable!() };
            let V::Union(_, plain_fixed) = fixed(true) else { unreachable!() };
            V::Record(vec![
                ("nothing".into(), V::Null),
                ("yes".into(), V::Boolean(yes)),
                ("int".into(), V::Int(int)),
                ("long".into(), V::Long(long)),
                ("float".into(), V::Float(float)),
                ("double".into(), V::Double(double)),
                ("bytes".into(), V::Bytes(bytes)),
                ("text".into(), V::String(text)),
                ("fixed".into(), *plain_fixed),
                ("enum".into(), V::Enum(symbol, letter)),
                ("longs".into(), V::Array(longs.into_iter().map(V::Long).collect())),
                ("texts".into(), V::Map(entry.into_iter().map(|(k, v)| (k, V::String(v))).collect())),
                ("union".into(), union),
                ("records".into(), V::Array(flags.into_iter().map(record).collect())),
                ("date".into(), V::Date(times.0)),
                ("millis".into(), V::TimestampMillis(times.1)),
                ("micros".into(), V::TimestampMicros(times.2)),
                ("nanos".into(), V::TimestampNanos(times.3)),
            ])
        })
    }

    /// The JSON form of what apache-avro has read: the reference for ours.
    fn project(value: types::Value) -> Value {
        use types::Value as V;
        match value {
            V::Null => Value::Null,
            V::Boolean(b) => json!(b),
            V::Int(n) => json!(n),
            V::Long(n) => json!(n),
            V::Float(f) => float(f),
            V::Double(f) => float(f),
            V::Bytes(bytes) | V::Fixed(_, bytes) => json!(BASE64_STANDARD.encode(bytes)),
            V::String(text) | V::Enum(_, text) => json!(text),
            V::Union(_, inner) => project(*inner),
            V::Array(items) => items.into_iter().map(project).collect(),
            V::Map(entries) => entries.into_iter().map(|(key, value)| (key, project(value))).collect(),
            V::Record(fields) => fields.into_iter().map(|(key, value)| (key, project(value))).collect(),
            V::Date(days) => json!(Day(days)),
            V::TimestampMillis(ms) => json!(Timestamp(ms)),
            V::TimestampMicros(us) => instant(jiff::Timestamp::from_microsecond(us).ok(), 6, us.div_euclid(1_000)),
            V::TimestampNanos(ns) => instant(jiff::Timestamp::from_nanosecond(ns.into()).ok(), 9, 0),
            other => panic!("{other:?}"),
        }
    }

    fn encode(schema: &Schema, value: types::Value) -> Vec<u8> {
        GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
    }

    proptest! {
        #[test]
        fn what_apache_avro_writes_is_read_the_same(value in any_everything()) {
            let (schema, shape) = everything();
            let datum = encode(&schema, value.clone());
            prop_assert_eq!(decode(&shape, &datum), Ok(project(value)));
        }

        #[test]
        fn no_part_of_a_datum_is_a_datum(value in any_everything(), cut in any::<prop::sample::Index>()) {
            let (schema, shape) = everything();
            let datum = encode(&schema, value);
            prop_assert!(decode(&shape, &datum[..cut.index(datum.len())]).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_as_apache_avro_reads_them(bytes in any::<Vec<u8>>()) {
            for event_type in Catalog::builtin().types() {
                if let Ok(value) = decode(&event_type.shape, &bytes) {
                    let reader = GenericDatumReader::builder(&event_type.schema).build().unwrap();
                    let reference = reader.read_value(&mut bytes.as_slice()).unwrap();
                    prop_assert_eq!(value, project(reference));
                }
            }
        }

        #[test]
        fn damaged_bytes_do_no_harm(
            value in any_everything(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let (schema, shape) = everything();
            let mut datum = encode(&schema, value);
            let at = at.index(datum.len());
            datum[at] = byte;
            let _ = decode(&shape, &datum);
        }

        #[test]
        fn longs_round_trip(long in any::<i64>()) {
            let mut out = Vec::new();
            put_long(&mut out, long);
            prop_assert_eq!(Cursor::new(&out).long(), Ok(long));
        }
    }

    #[test]
    fn every_example_of_the_catalog_comes_back_from_avro() {
        for event_type in Catalog::builtin().types() {
            let value = types::Value::try_from(event_type.example.clone()).unwrap();
            let datum = encode(&event_type.schema, value.resolve(&event_type.schema).unwrap());
            let decoded = decode(&event_type.shape, &datum).unwrap();
            event_type.shape.check(&decoded).unwrap();
            for (name, value) in event_type.example.as_object().unwrap() {
                assert_eq!(decoded.get(name), Some(value), "{} {name}", event_type.key);
            }
        }
    }

    #[test]
    fn lengths_are_believed_only_as_far_as_the_input_goes() {
        let shape = |schema: &str| Shape::of(&Schema::parse_str(schema).unwrap()).unwrap();
        let long = |n: i64| {
            let mut out = Vec::new();
            put_long(&mut out, n);
            out
        };
        let check = |schema: &str, datum: &[u8], expected: Malformed| {
            assert_eq!(decode(&shape(schema), datum), Err(expected), "{schema} {datum:02x?}");
        };
        let array = r#"{"type": "array", "items": "long"}"#;
        check(r#""string""#, &long(1 << 60), Malformed::Length { length: 1 << 60, left: 0 });
        check(r#""bytes""#, &long(-1), Malformed::Length { length: -1, left: 0 });
        check(r#""string""#, b"\x04\xff\xff", Malformed::Utf8);
        check(array, &long(1 << 60), Malformed::Count(1 << 60));
        check(array, &[long(i64::MIN), long(8)].concat(), Malformed::Count(i64::MIN));
        check(array, &[long(1), long(5)].concat(), Malformed::End);
        check(array, &[long(0), long(0)].concat(), Malformed::Trailing(1));
        check(r#""long""#, &[0xFF; 11], Malformed::Integer);
        check(r#""int""#, &long(1 << 40), Malformed::Int(1 << 40));
        check(r#""boolean""#, &[2], Malformed::Boolean(2));
        check(r#"["null", "long"]"#, &long(2), Malformed::Branch { index: 2, branches: 2 });
        check(r#"["null", "long"]"#, &[], Malformed::End);
        let items = vec![2; MAX_VALUES];
        check(array, &[long(MAX_VALUES as i64), items, long(0)].concat(), Malformed::TooMany);
    }

    #[test]
    fn a_block_may_say_its_size_in_bytes() {
        let shape = Shape::of(&Schema::parse_str(r#"{"type": "array", "items": "long"}"#).unwrap()).unwrap();
        assert_eq!(decode(&shape, &[0x03, 0x04, 0x02, 0x04, 0x02, 0x06, 0x00]), Ok(json!([1, 2, 3])));
    }

    #[test]
    fn numbers_and_times_that_json_cannot_say_become_text() {
        let check = |schema: &str, datum: &[u8], expected: &str| {
            let shape = Shape::of(&Schema::parse_str(schema).unwrap()).unwrap();
            assert_eq!(decode(&shape, datum).unwrap().to_string(), expected);
        };
        check(r#""double""#, &f64::NAN.to_le_bytes(), r#""NaN""#);
        check(r#""float""#, &f32::NEG_INFINITY.to_le_bytes(), r#""-Infinity""#);
        check(r#""float""#, &0.1f32.to_le_bytes(), "0.1");
        check(r#""double""#, &1e300f64.to_le_bytes(), "1e+300");
        let mut forever = Vec::new();
        put_long(&mut forever, i64::MAX);
        check(r#"{"type": "long", "logicalType": "timestamp-micros"}"#, &forever, r#""9999-12-30T22:00:00.000Z""#);
    }
}
