//! An event in Avro: the fields in use taken straight out of its bytes, by a program made of the writer's schema and the fields.
//!
//! A program only takes and passes over. What is passed over is read as far as its schema says something of it (lengths, integers'
//! bounds, UTF-8, symbols, branches), so that no event is matched that [`avro::decode`](crate::codec::avro::decode) would refuse; for
//! everything that it would refuse, and for what is rare (objects of an array that is on the way to a field, a key twice in a map), the
//! answer is [`Unusual`]: the caller reads the whole, whose verdict counts.

use std::{cmp::Ordering, mem, str};

use serde_json::Value;

use super::{
    found::{Found, Source},
    projection::{Projection, ROOT},
    scan::{Kind, Place, Scanner, Slot},
};
use crate::{
    catalog::Shape,
    codec::{
        avro::{Cursor, MAX_VALUES, leaf},
        tape::{MAX_BYTES, Unusual},
    },
    filter::{Number, Rule, alternatives::Scalar},
};

/// How data of one schema is read for one set of fields. Made once, run for each event.
#[derive(Debug)]
pub struct AvroProgram {
    steps: Steps,
    /// Numbers of fields are below it.
    bound: usize,
    /// Keys of maps that lead to fields, each of which may come once.
    keys: usize,
    /// [`Projection::version`] of the fields it was made for.
    pub(super) version: u64,
}

/// One after the other.
#[derive(Debug, Default)]
struct Steps {
    steps: Box<[Step]>,
    /// Values that they read, but for those inside of arrays, maps and unions: the reader of the whole counts them too.
    values: usize,
}

/// The simplest first.
#[derive(Debug)]
enum Step {
    PassInt,
    PassLong,
    PassBoolean,
    PassText,
    PassBytes,
    /// So many bytes.
    Pass(usize),
    /// So many symbols.
    PassSymbol(usize),
    /// A value that is all of a field.
    Take(u32, Leaf),
    /// A value among those of a field.
    Push(Leaf),
    Branch(Box<[Steps]>),
    /// The items of an array.
    Each(Steps),
    /// The same, which are the values of a field.
    Many(u32, Steps),
    /// The same, in which fields might be: there must be none.
    OnTheWay(Steps),
    Map(Box<Keys>),
}

/// What is in a map.
#[derive(Debug)]
struct Keys {
    /// By name.
    wanted: Box<[Key]>,
    others: Steps,
}

#[derive(Debug)]
struct Key {
    name: Box<[u8]>,
    /// Its number among [`AvroProgram::keys`].
    number: usize,
    steps: Steps,
}

/// What a field may hold.
#[derive(Debug)]
enum Leaf {
    Null,
    Boolean,
    Int,
    Long,
    Text,
    Symbol(Box<[String]>),
    /// One that has another form in JSON.
    Rare(Shape),
    /// An object, which is no value. Its own steps follow.
    Object,
}

/// What is asked for at some place of the data.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    /// The field that is here.
    field: Option<u32>,
    /// The node of the fields below.
    node: Option<u32>,
    /// Inside of an array whose values are a field's.
    among: bool,
}

/// Makes a program.
struct Compiler<'p> {
    projection: &'p Projection,
    keys: usize,
    /// Of [`MAX_PARTS`].
    left: usize,
}

/// What is left to read.
struct Reader<'e, 's> {
    cursor: Cursor<'e>,
    length: usize,
    /// Of [`MAX_VALUES`].
    left: usize,
    scanner: &'s mut Scanner,
}

/// The fields of an event that has been read.
pub struct OfAvro<'e> {
    pub datum: &'e [u8],
    pub scanner: &'e Scanner,
    /// Plain evaluation was asked for, which needs the whole event.
    pub asked: bool,
}

/// The most values of a schema that a program is made for, those of maps counted for each of their keys that is asked for.
const MAX_PARTS: usize = 50_000;

// === impl AvroProgram ===

impl AvroProgram {
    /// `None` if data of that shape has no fields or two of the same name, or the program would be too large.
    pub fn of(shape: &Shape, projection: &Projection) -> Option<AvroProgram> {
        let Shape::Record(_) = shape else { return None };
        let mut compiler = Compiler { projection, keys: 0, left: MAX_PARTS };
        let wanted = Wanted { node: Some(ROOT), ..Wanted::default() };
        let steps = compiler.steps(shape, wanted)?;
        Some(AvroProgram { steps, bound: projection.bound, keys: compiler.keys, version: projection.version })
    }

    /// Reads one datum, which must fill the input.
    pub fn read(&self, datum: &[u8], scanner: &mut Scanner) -> Result<(), Unusual> {
        if datum.len() > MAX_BYTES {
            return Err(Unusual);
        }
        scanner.begin(self.bound, self.keys);
        let mut reader = Reader { cursor: Cursor::new(datum), length: datum.len(), left: MAX_VALUES, scanner };
        reader.run(&self.steps)?;
        Ok(reader.cursor.end()?)
    }
}

// === impl Compiler ===

impl Compiler<'_> {
    fn steps(&mut self, shape: &Shape, wanted: Wanted) -> Option<Steps> {
        let mut steps = Vec::new();
        let mut values = 0;
        self.add(shape, wanted, &mut steps, &mut values)?;
        Some(Steps { steps: steps.into(), values })
    }

    fn add(&mut self, shape: &Shape, wanted: Wanted, steps: &mut Vec<Step>, values: &mut usize) -> Option<()> {
        *values += 1;
        self.left = self.left.checked_sub(1)?;
        let is_nothing = wanted.field.is_none() && !wanted.among;
        let taken = |leaf: Leaf| match wanted.field {
            Some(field) => Step::Take(field, leaf),
            None => Step::Push(leaf),
        };
        match shape {
            Shape::Record(fields) => {
                steps.extend(wanted.field.map(|field| Step::Take(field, Leaf::Object)));
                for (place, field) in fields.iter().enumerate() {
                    if fields[..place].iter().any(|other| other.name == field.name) {
                        return None;
                    }
                    let below = self.below(wanted, field.name.as_bytes());
                    self.add(&field.shape, below, steps, values)?;
                }
            }
            Shape::Map(inner) => {
                steps.extend(wanted.field.map(|field| Step::Take(field, Leaf::Object)));
                let others = self.steps(inner, Wanted::default())?;
                let mut keys = Vec::new();
                for name in wanted.node.into_iter().flat_map(|node| self.projection.nodes[node as usize].names()) {
                    let below = self.below(wanted, name);
                    self.keys += 1;
                    keys.push(Key { name: name.into(), number: self.keys - 1, steps: self.steps(inner, below)? });
                }
                keys.sort_by(|a, b| in_order(&a.name, &b.name));
                steps.push(Step::Map(Box::new(Keys { wanted: keys.into(), others })));
            }
            Shape::Union(branches) => {
                let branches = branches.iter().map(|branch| self.steps(branch, wanted)).collect::<Option<_>>()?;
                steps.push(Step::Branch(branches));
            }
            Shape::Array(items) if wanted.node.is_some() => {
                steps.push(Step::OnTheWay(self.steps(items, Wanted::default())?));
            }
            Shape::Array(items) => {
                let items = self.steps(items, Wanted { among: !is_nothing, ..Wanted::default() })?;
                steps.push(match wanted.field {
                    Some(field) => Step::Many(field, items),
                    None => Step::Each(items),
                });
            }
            Shape::Null if is_nothing => {}
            Shape::Boolean if is_nothing => steps.push(Step::PassBoolean),
            Shape::Int | Shape::Date if is_nothing => steps.push(Step::PassInt),
            Shape::Long | Shape::TimestampMillis | Shape::TimestampMicros | Shape::TimestampNanos if is_nothing => {
                steps.push(Step::PassLong);
            }
            Shape::Float if is_nothing => steps.push(Step::Pass(4)),
            Shape::Double if is_nothing => steps.push(Step::Pass(8)),
            Shape::Fixed(size) if is_nothing => steps.push(Step::Pass(*size)),
            Shape::String if is_nothing => steps.push(Step::PassText),
            Shape::Bytes if is_nothing => steps.push(Step::PassBytes),
            Shape::Enum(symbols) if is_nothing => steps.push(Step::PassSymbol(symbols.len())),
            Shape::Null => steps.push(taken(Leaf::Null)),
            Shape::Boolean => steps.push(taken(Leaf::Boolean)),
            Shape::Int => steps.push(taken(Leaf::Int)),
            Shape::Long => steps.push(taken(Leaf::Long)),
            Shape::String => steps.push(taken(Leaf::Text)),
            Shape::Enum(symbols) => steps.push(taken(Leaf::Symbol(symbols.as_slice().into()))),
            rare => steps.push(taken(Leaf::Rare(rare.clone()))),
        }
        Some(())
    }

    fn below(&self, wanted: Wanted, name: &[u8]) -> Wanted {
        let child = wanted.node.and_then(|node| self.projection.nodes[node as usize].find(name));
        child.map_or_else(Wanted::default, |child| Wanted { field: child.field, node: child.node, among: false })
    }
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn run(&mut self, of: &Steps) -> Result<(), Unusual> {
        self.left = self.left.checked_sub(of.values).ok_or(Unusual)?;
        for step in &of.steps {
            match step {
                Step::PassInt => drop(self.cursor.int()?),
                Step::PassLong => drop(self.cursor.long()?),
                Step::PassBoolean => drop(self.cursor.boolean()?),
                Step::PassText => drop(self.cursor.string()?),
                Step::PassBytes => drop(self.cursor.bytes()?),
                Step::Pass(size) => drop(self.cursor.take(*size)?),
                Step::PassSymbol(count) => drop(self.index(*count)?),
                Step::Take(field, leaf) => {
                    let place = self.leaf(leaf)?;
                    self.put(*field, false, place);
                }
                Step::Push(leaf) => {
                    let place = self.leaf(leaf)?;
                    self.scanner.many.push(place);
                }
                Step::Branch(branches) => {
                    let index = self.index(branches.len())?;
                    self.run(&branches[index])?;
                }
                Step::Each(items) => self.each(items)?,
                Step::Many(field, items) => {
                    let start = self.scanner.many.len() as u32;
                    self.each(items)?;
                    let end = self.scanner.many.len() as u32;
                    self.put(*field, true, Place { kind: Kind::Missing, start, end });
                }
                Step::OnTheWay(items) => {
                    let before = self.left;
                    self.each(items)?;
                    if self.left < before {
                        return Err(Unusual);
                    }
                }
                Step::Map(keys) => self.map(keys)?,
            }
        }
        Ok(())
    }

    fn each(&mut self, items: &Steps) -> Result<(), Unusual> {
        while let Some(count) = self.cursor.block()? {
            for _ in 0..count {
                self.run(items)?;
            }
        }
        Ok(())
    }

    fn map(&mut self, keys: &Keys) -> Result<(), Unusual> {
        while let Some(count) = self.cursor.block()? {
            for _ in 0..count {
                let name = self.cursor.string()?.as_bytes();
                let Some(key) = keys.find(name) else {
                    self.run(&keys.others)?;
                    continue;
                };
                // Of two equal keys the last counts, whatever the first has left.
                let generation = self.scanner.generation;
                if mem::replace(&mut self.scanner.met[key.number], generation) == generation {
                    return Err(Unusual);
                }
                self.run(&key.steps)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, of: &Leaf) -> Result<Place, Unusual> {
        Ok(match of {
            Leaf::Null => Place { kind: Kind::Null, start: 0, end: 0 },
            Leaf::Object => Place { kind: Kind::Missing, start: 0, end: 0 },
            Leaf::Boolean => {
                let kind = if self.cursor.boolean()? { Kind::True } else { Kind::False };
                Place { kind, start: 0, end: 0 }
            }
            Leaf::Int => Place::integer(self.cursor.int()?.into()),
            Leaf::Long => Place::integer(self.cursor.long()?),
            Leaf::Text => {
                let text = self.cursor.string()?;
                let end = self.length - self.cursor.left();
                Place { kind: Kind::Text, start: (end - text.len()) as u32, end: end as u32 }
            }
            Leaf::Symbol(symbols) => {
                let index = self.index(symbols.len())?;
                self.written(Kind::Written, &symbols[index])
            }
            Leaf::Rare(shape) => match leaf(shape, &mut self.cursor)? {
                Value::String(text) => self.written(Kind::Written, &text),
                Value::Number(number) => self.written(Kind::Number, number.as_str()),
                _ => return Err(Unusual),
            },
        })
    }

    fn written(&mut self, kind: Kind, text: &str) -> Place {
        let start = self.scanner.written.len() as u32;
        self.scanner.written.push_str(text);
        Place { kind, start, end: self.scanner.written.len() as u32 }
    }

    fn put(&mut self, field: u32, is_many: bool, place: Place) {
        let generation = self.scanner.generation;
        self.scanner.slots[field as usize] = Slot { generation, is_many, place };
    }

    /// One of so many.
    fn index(&mut self, count: usize) -> Result<usize, Unusual> {
        let index = self.cursor.long()?;
        usize::try_from(index).ok().filter(|index| *index < count).ok_or(Unusual)
    }
}

// === impl Keys ===

impl Keys {
    fn find(&self, name: &[u8]) -> Option<&Key> {
        self.wanted.binary_search_by(|key| in_order(&key.name, name)).ok().map(|at| &self.wanted[at])
    }
}

/// Lengths tell most names apart.
fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

// === impl OfAvro ===

impl<'e> OfAvro<'e> {
    fn scalar(&self, place: Place) -> Option<Scalar<'e>> {
        let (start, end) = (place.start as usize, place.end as usize);
        let written = || &self.scanner.written[start..end];
        Some(match place.kind {
            Kind::Missing => return None,
            Kind::Null => Scalar::Null,
            Kind::False => Scalar::Boolean(false),
            Kind::True => Scalar::Boolean(true),
            Kind::Integer => Scalar::Number(Some(Number::Integer(place.as_integer().into()))),
            // Known to be UTF-8: it was read as text.
            Kind::Text => Scalar::Text(str::from_utf8(&self.datum[start..end]).unwrap_or_default()),
            Kind::Written => Scalar::Text(written()),
            Kind::Number => Scalar::Number(Number::read_digits(written())),
        })
    }
}

impl<'e> Source<'e> for OfAvro<'e> {
    fn find(&mut self, field: u32, many: &mut Vec<Scalar<'e>>) -> Found<'e> {
        self.scanner.found(field, many, |place| self.scalar(place))
    }

    fn holds(&mut self, _: &Rule) -> bool {
        self.asked = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apache_avro::Schema;
    use proptest::prelude::*;
    use serde_json::json;

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
                    filter: filter.as_object().cloned().unwrap_or_default(),
                }],
                destinations: vec![DestinationId::new("hook").unwrap()],
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
        index.remove(&rules[0]);
        index.remove(&rules[1]);
        index.settle();
        let mut found = Vec::new();
        let mut ask = |program: &AvroProgram| {
            index.matching_avro(("acme", "t"), program, &datum(seed), &mut Scanner::new(), &mut found)
        };
        assert_eq!(ask(&program), Err(Unusual));
        assert_eq!(ask(&index.avro_program(&shape()).unwrap()), Ok(()));
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
            let schema =
                format!(r#"{{"type": "record", "name": "R", "fields": [{{"name": "list", "type": {field}}}]}}"#);
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
}
