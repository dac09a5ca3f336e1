//! A filter as it was written: its form is right, and it is within its bounds. [`Reader`](super::read) makes it.

use std::{fmt, ops::Bound};

use serde_json::{Map, Value};

use super::{Fault, Faults, Number, Path, TextTest, TimeTest, read};

/// The keys of a filter and what must hold for each, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    pub nodes: Nodes,
}

/// Keys and what stands under each; all must hold.
pub type Nodes = Vec<(String, Node)>;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// An array: one of these must hold.
    Leaf(Tests),
    /// An object: all of these must hold.
    Branch(Nodes),
    /// `$or`, or `any` of CloudEvents: one of these must hold.
    Any(Vec<Nodes>),
    /// The filters of another dialect, under `$cloudevents` or `$simple`: all of these must hold.
    All(Vec<Nodes>),
    /// `not` of CloudEvents: these must not hold all.
    Not(Nodes),
    /// A condition on the event itself, not on its data.
    Attribute(Attribute, Tests),
}

/// Alternatives, each with its place in the array: for the faults that a later check may find.
pub type Tests = Vec<(usize, Test)>;

/// One alternative of a field. Cheapest first.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `"paid"`, `99`, `true`, `null`, `{"exactly": "paid"}`
    Equals(Literal),
    /// `{"exists": true}`
    Exists(bool),
    /// `{"numeric": [">", 0, "<=", 5]}`
    Numeric(Bound<Number>, Bound<Number>),
    /// `{"prefix": "eu-"}`, `{"wildcard": "a*b"}`, `{"cidr": "10.0.0.0/8"}`, `{"semver": "^1.2"}` and their like
    Text(TextTest),
    /// `{"before": "2026-12-31"}`, `{"after": {"event-time": "-1h"}}`
    Time(TimeTest),
    /// `{"anything-but": ["paid", "trial"]}`
    AnythingBut(Vec<Literal>),
    /// `{"anything-but": {"prefix": "eu-"}}`
    AnythingButText(Vec<TextTest>),
    /// `{"all": [{"numeric": [">", 9]}, {"anything-but": 50}]}`: each must hold of the field.
    All(Vec<Tests>),
    /// `{"not": ["paid", {"prefix": "x"}]}`: none may hold of the field.
    Not(Tests),
}

/// A JSON value that is neither object nor array.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(Number),
    Text(Box<str>),
}

/// What CloudEvents says of an event beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    Id,
    Source,
    Type,
    Subject,
    Time,
}

// === impl Pattern ===

impl Pattern {
    pub fn read(filter: &Map<String, Value>, path: &Path<'_>) -> Result<Pattern, Vec<Fault>> {
        let mut faults = Faults::default();
        let pattern = Pattern::read_into(filter, path, &mut faults);
        faults.or(pattern)
    }

    /// What could be read, so that later checks can report their faults together with these.
    pub(super) fn read_into(filter: &Map<String, Value>, path: &Path<'_>, faults: &mut Faults) -> Pattern {
        read::pattern(filter, path, faults)
    }
}

// === impl Test ===

impl Test {
    /// The operator's name as catalog entries list it; a bare value is `equals`.
    pub fn operator(&self) -> &'static str {
        match self {
            Test::Equals(_) => "equals",
            Test::Exists(_) => "exists",
            Test::Numeric(..) => "numeric",
            Test::Text(test) => test.operator(),
            Test::Time(test) => test.operator(),
            Test::AnythingBut(_) | Test::AnythingButText(_) => "anything-but",
            Test::All(_) => "all",
            Test::Not(_) => "not",
        }
    }
}

// === impl Attribute ===

impl Attribute {
    pub fn of(name: &str) -> Option<Attribute> {
        let known = [Attribute::Id, Attribute::Source, Attribute::Type, Attribute::Subject, Attribute::Time];
        known.into_iter().find(|attribute| attribute.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Attribute::Id => "id",
            Attribute::Source => "source",
            Attribute::Type => "type",
            Attribute::Subject => "subject",
            Attribute::Time => "time",
        }
    }
}

// === impl Literal ===

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Boolean(boolean) => write!(f, "{boolean}"),
            Literal::Number(number) => write!(f, "{number}"),
            Literal::Text(text) => write!(f, "{text:?}"),
        }
    }
}
