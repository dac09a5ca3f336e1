//! An event in Avro: the fields in use taken straight out of its bytes, by a program made of the writer's schema and the fields.
//!
//! A program only takes and passes over. What is passed over is read as far as its schema says something of it (lengths, integers'
//! bounds, UTF-8, symbols, branches), so that no event is matched that [`avro::decode`](crate::codec::avro::decode) would refuse; for
//! everything that it would refuse, and for what is rare (objects of an array that is on the way to a field, a key twice in a map), the
//! answer is [`Unusual`]: the caller reads the whole, whose verdict counts.

mod programs;
mod read;

#[cfg(test)]
mod tests;

use std::str;

pub use self::programs::AvroPrograms;
use self::read::{Reader, in_order};
use super::{
    found::{Found, Source},
    projection::{Projection, ROOT},
    scan::{Kind, Place, Scanner},
};
use crate::{
    catalog::Shape,
    codec::{
        avro::MAX_VALUES,
        tape::{MAX_BYTES, Unusual},
    },
    filter::{Number, Rule, literals::Scalar},
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
    /// It looks at arrays of more than values. Whoever reads the whole weighs inner arrays and objects too, and may find that a filter
    /// costs too much: see [`MAX_FIELD_WEIGHT`](crate::filter::MAX_FIELD_WEIGHT).
    weighs_less: bool,
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
    /// So many, one after another.
    PassTexts(usize),
    PassBytes,
    /// So many bytes.
    Pass(usize),
    /// So many symbols.
    PassSymbol(usize),
    /// A text that is all of a field, which most fields are.
    TakeText(u32),
    /// Another value that is.
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
    /// By [`in_order`].
    wanted: Box<[Key]>,
    others: Steps,
}

#[derive(Debug)]
struct Key {
    /// The name's first bytes, which tell most names apart.
    head: u64,
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
    weighs_less: bool,
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
        let mut compiler = Compiler { projection, keys: 0, left: MAX_PARTS, weighs_less: false };
        let wanted = Wanted { node: Some(ROOT), ..Wanted::default() };
        let steps = compiler.steps(shape, wanted)?;
        let Compiler { keys, weighs_less, .. } = compiler;
        Some(AvroProgram { steps, bound: projection.bound, keys, version: projection.version, weighs_less })
    }

    /// Reads one datum, which must fill the input.
    pub fn read(&self, datum: &[u8], scanner: &mut Scanner) -> Result<(), Unusual> {
        if datum.len() > MAX_BYTES {
            return Err(Unusual);
        }
        scanner.begin(self.bound, self.keys);
        let mut reader = Reader { datum, at: 0, left: MAX_VALUES, scanner };
        reader.run(&self.steps)?;
        if reader.at < datum.len() { Err(Unusual) } else { Ok(()) }
    }
}

/// Whether there is nothing in it but values that filters compare.
fn is_of_values(shape: &Shape) -> bool {
    match shape {
        Shape::Array(_) | Shape::Map(_) | Shape::Record(_) => false,
        Shape::Union(branches) => branches.iter().all(is_of_values),
        _ => true,
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
        let taken = |leaf: Leaf| match (wanted.field, leaf) {
            (Some(field), Leaf::Text) => Step::TakeText(field),
            (Some(field), leaf) => Step::Take(field, leaf),
            (None, leaf) => Step::Push(leaf),
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
                    let number = self.keys - 1;
                    keys.push(Key {
                        head: read::head(name),
                        name: name.into(),
                        number,
                        steps: self.steps(inner, below)?,
                    });
                }
                keys.sort_by(|a, b| in_order((a.head, &a.name), (b.head, &b.name)));
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
                self.weighs_less |= !is_nothing && !is_of_values(items);
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
            Shape::String if is_nothing => match steps.last_mut() {
                Some(Step::PassTexts(count)) => *count += 1,
                _ => steps.push(Step::PassTexts(1)),
            },
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
