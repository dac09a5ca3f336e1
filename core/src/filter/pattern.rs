//! An EventBridge pattern read from JSON: its form is right, and it is within its bounds.

use std::{fmt, ops::Bound};

use serde_json::{Map, Value};

use super::{
    Fault, Faults, MAX_FILTER_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_OPERATORS, MAX_VALUES, Number, Path, shown,
};

/// The keys of a filter and what must hold for each, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern {
    pub nodes: Vec<(String, Node)>,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// An array: one of these must hold. Each with its place in the array, for the faults that a later check may find.
    Leaf(Vec<(usize, Test)>),
    /// An object: all of these must hold.
    Branch(Vec<(String, Node)>),
}

/// One alternative of a field. Cheapest first.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `"paid"`, `99`, `true`, `null`
    Equals(Literal),
    /// `{"exists": true}`
    Exists(bool),
    /// `{"numeric": [">", 0, "<=", 5]}`
    Numeric(Bound<Number>, Bound<Number>),
    /// `{"prefix": "eu-"}`, `{"suffix": ".com"}`, `{"contains": "gold"}`, `{"equals-ignore-case": "paid"}`
    Text(TextTest),
    /// `{"anything-but": ["paid", "trial"]}`
    AnythingBut(Vec<Literal>),
    /// `{"anything-but": {"prefix": "eu-"}}`
    AnythingButText(Vec<TextTest>),
}

/// A JSON value that is neither object nor array.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(Number),
    Text(Box<str>),
}

/// A part of a text that every value has which passes a test: where the index begins to look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needle<'a> {
    Begins(&'a str),
    Ends(&'a str),
    Contains(&'a str),
    /// Nothing can be said.
    Nothing,
}

/// A comparison of strings. Where case is ignored, the text is held in lower case already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextTest {
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// Beyond EventBridge.
    Contains(Box<str>),
    PrefixIgnoreCase(Box<str>),
    SuffixIgnoreCase(Box<str>),
    ContainsIgnoreCase(Box<str>),
    EqualsIgnoreCase(Box<str>),
}

const OPERATORS: &str = "anything-but, prefix, suffix, contains, equals-ignore-case, numeric, exists";
const TEXT_OPERATORS: &str = "prefix, suffix, contains, equals-ignore-case";
const NUMERIC_FORM: &str = "[operator, number] or a lower and an upper bound, operators = < <= > >=";

// === impl Pattern ===

impl Pattern {
    pub fn read(filter: &Map<String, Value>, path: &Path<'_>) -> Result<Pattern, Vec<Fault>> {
        let mut faults = Faults::default();
        let pattern = Pattern::read_into(filter, path, &mut faults);
        faults.or(pattern)
    }

    /// What could be read, so that later checks can report their faults together with these.
    pub(super) fn read_into(filter: &Map<String, Value>, path: &Path<'_>, faults: &mut Faults) -> Pattern {
        let bytes = if filter.is_empty() { 0 } else { written_bytes(filter) };
        if bytes > MAX_FILTER_BYTES {
            faults.add(path, format!("{bytes} bytes"), format!("at most {MAX_FILTER_BYTES} bytes"));
            return Pattern::default();
        }
        let mut reader = Reader { faults, nodes: 0 };
        Pattern { nodes: reader.branch(filter, path, 1) }
    }
}

/// The length of the JSON without spaces, without building it.
fn written_bytes(filter: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, filter) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

struct Reader<'a> {
    faults: &'a mut Faults,
    nodes: usize,
}

// === impl Reader ===

impl Reader<'_> {
    fn branch(&mut self, object: &Map<String, Value>, path: &Path<'_>, depth: usize) -> Vec<(String, Node)> {
        let mut nodes = Vec::with_capacity(object.len());
        for (key, value) in object {
            let path = Path::Key(path, key);
            if !self.enter(&path, depth) {
                break;
            }
            let node = match value {
                Value::Object(inner) if inner.is_empty() => {
                    self.faults.add(&path, "an empty object", "at least one key");
                    continue;
                }
                Value::Object(inner) => Node::Branch(self.branch(inner, &path, depth + 1)),
                Value::Array(alternatives) => Node::Leaf(self.leaf(alternatives, &path, depth + 1)),
                other => {
                    self.faults.add(&path, shown(other), format!("an array of alternatives: [{}]", shown(other)));
                    continue;
                }
            };
            nodes.push((key.clone(), node));
        }
        nodes
    }

    /// Counts a node; false, once, where a bound is passed.
    fn enter(&mut self, path: &Path<'_>, depth: usize) -> bool {
        self.nodes += 1;
        if depth > MAX_FILTER_DEPTH {
            self.faults.add(path, format!("depth {depth}"), format!("at most {MAX_FILTER_DEPTH}"));
        } else if self.nodes > MAX_FILTER_NODES {
            self.faults.add(path, format!("{} keys and operators", self.nodes), format!("at most {MAX_FILTER_NODES}"));
        }
        depth <= MAX_FILTER_DEPTH && self.nodes <= MAX_FILTER_NODES
    }

    fn leaf(&mut self, alternatives: &[Value], path: &Path<'_>, depth: usize) -> Vec<(usize, Test)> {
        if !self.count(alternatives, path) {
            return Vec::new();
        }
        let operators = alternatives.iter().filter(|value| value.is_object()).count();
        if operators > MAX_OPERATORS {
            self.faults.add(path, format!("{operators} operators"), format!("at most {MAX_OPERATORS}"));
            return Vec::new();
        }
        let mut tests = Vec::with_capacity(alternatives.len());
        for (i, alternative) in alternatives.iter().enumerate() {
            let path = Path::Index(path, i);
            let test = match alternative {
                Value::Object(operator) => self.enter(&path, depth).then(|| self.operator(operator, &path)).flatten(),
                other => self.literal(other, &path).map(Test::Equals),
            };
            tests.extend(test.map(|test| (i, test)));
        }
        tests
    }

    fn count(&mut self, values: &[Value], path: &Path<'_>) -> bool {
        let allowed = (1..=MAX_VALUES).contains(&values.len());
        if !allowed {
            self.faults.add(path, format!("{} values", values.len()), format!("1 to {MAX_VALUES}"));
        }
        allowed
    }

    fn literal(&mut self, value: &Value, path: &Path<'_>) -> Option<Literal> {
        match value {
            Value::Null => Some(Literal::Null),
            Value::Bool(boolean) => Some(Literal::Boolean(*boolean)),
            Value::String(text) => Some(Literal::Text(text.as_str().into())),
            Value::Number(_) => self.number(value, path).map(Literal::Number),
            other => {
                self.faults.add(path, shown(other), "a string, a number, true, false or null");
                None
            }
        }
    }

    fn number(&mut self, value: &Value, path: &Path<'_>) -> Option<Number> {
        let number = value.as_number().and_then(Number::read);
        if number.is_none() {
            self.faults.add(path, shown(value), "a number of at most 1.7976931348623157e308");
        }
        number
    }

    fn operator(&mut self, object: &Map<String, Value>, path: &Path<'_>) -> Option<Test> {
        let Some((name, argument)) = object.iter().next().filter(|_| object.len() == 1) else {
            self.faults.add(path, format!("an object of {} keys", object.len()), format!("one of {OPERATORS}"));
            return None;
        };
        let place = Path::Key(path, name);
        match name.as_str() {
            "exists" => match argument {
                Value::Bool(present) => Some(Test::Exists(*present)),
                other => {
                    self.faults.add(&place, shown(other), "true, false");
                    None
                }
            },
            "numeric" => self.numeric(argument, &place),
            "anything-but" => self.anything_but(argument, &place),
            "prefix" | "suffix" | "contains" | "equals-ignore-case" => {
                self.text(name, argument, &place).map(Test::Text)
            }
            _ => {
                self.faults.add(path, format!("operator {}", shown(&format_args!("{name:?}"))), OPERATORS);
                None
            }
        }
    }

    fn numeric(&mut self, argument: &Value, path: &Path<'_>) -> Option<Test> {
        let parts = argument.as_array().filter(|parts| matches!(parts.len(), 2 | 4));
        let Some(parts) = parts else {
            self.faults.add(path, shown(argument), NUMERIC_FORM);
            return None;
        };
        let (mut low, mut high) = (Bound::Unbounded, Bound::Unbounded);
        for (i, pair) in parts.chunks(2).enumerate() {
            let number = self.number(&pair[1], &Path::Index(path, 2 * i + 1))?;
            let (bound, value) = match pair[0].as_str() {
                Some("=") if parts.len() == 2 => {
                    return Some(Test::Numeric(Bound::Included(number), Bound::Included(number)));
                }
                Some(">") => (&mut low, Bound::Excluded(number)),
                Some(">=") => (&mut low, Bound::Included(number)),
                Some("<") => (&mut high, Bound::Excluded(number)),
                Some("<=") => (&mut high, Bound::Included(number)),
                _ => {
                    self.faults.add(&Path::Index(path, 2 * i), shown(&pair[0]), NUMERIC_FORM);
                    return None;
                }
            };
            if *bound != Bound::Unbounded {
                self.faults.add(path, "two bounds of one side", NUMERIC_FORM);
                return None;
            }
            *bound = value;
        }
        if holds_nothing(low, high) {
            self.faults.add(path, shown(argument), "a range in which a number can lie");
            return None;
        }
        Some(Test::Numeric(low, high))
    }

    fn anything_but(&mut self, argument: &Value, path: &Path<'_>) -> Option<Test> {
        match argument {
            Value::Object(operator) => self.anything_but_text(operator, path).map(Test::AnythingButText),
            Value::Array(values) => {
                if !self.count(values, path) {
                    return None;
                }
                let literals: Vec<Literal> = values
                    .iter()
                    .enumerate()
                    .filter_map(|(i, value)| self.literal(value, &Path::Index(path, i)))
                    .collect();
                (literals.len() == values.len()).then_some(Test::AnythingBut(literals))
            }
            value => self.literal(value, path).map(|literal| Test::AnythingBut(vec![literal])),
        }
    }

    /// One text operator with one text or, as EventBridge allows here, several.
    fn anything_but_text(&mut self, object: &Map<String, Value>, path: &Path<'_>) -> Option<Vec<TextTest>> {
        let Some((name, argument)) = object.iter().next().filter(|_| object.len() == 1) else {
            self.faults.add(path, format!("an object of {} keys", object.len()), format!("one of {TEXT_OPERATORS}"));
            return None;
        };
        if !matches!(name.as_str(), "prefix" | "suffix" | "contains" | "equals-ignore-case") {
            let found = format!("operator {}", shown(&format_args!("{name:?}")));
            self.faults.add(path, found, TEXT_OPERATORS);
            return None;
        }
        let place = Path::Key(path, name);
        let Value::Array(texts) = argument else {
            return self.text(name, argument, &place).map(|test| vec![test]);
        };
        if !(1..=MAX_OPERATORS).contains(&texts.len()) {
            self.faults.add(&place, format!("{} values", texts.len()), format!("1 to {MAX_OPERATORS}"));
            return None;
        }
        let tests: Vec<TextTest> =
            texts.iter().enumerate().filter_map(|(i, text)| self.text(name, text, &Path::Index(&place, i))).collect();
        (tests.len() == texts.len()).then_some(tests)
    }

    fn text(&mut self, name: &str, argument: &Value, path: &Path<'_>) -> Option<TextTest> {
        let ignoring = argument.as_object().filter(|object| object.len() == 1);
        let ignoring = ignoring.and_then(|object| object.get("equals-ignore-case")?.as_str());
        match (name, argument.as_str(), ignoring) {
            ("prefix", Some(text), _) => Some(TextTest::Prefix(text.into())),
            ("suffix", Some(text), _) => Some(TextTest::Suffix(text.into())),
            ("contains", Some(text), _) => Some(TextTest::Contains(text.into())),
            ("equals-ignore-case", Some(text), _) => Some(TextTest::EqualsIgnoreCase(lowered(text))),
            ("prefix", _, Some(text)) => Some(TextTest::PrefixIgnoreCase(lowered(text))),
            ("suffix", _, Some(text)) => Some(TextTest::SuffixIgnoreCase(lowered(text))),
            ("contains", _, Some(text)) => Some(TextTest::ContainsIgnoreCase(lowered(text))),
            ("equals-ignore-case", ..) => {
                self.faults.add(path, shown(argument), "a string");
                None
            }
            _ => {
                self.faults.add(path, shown(argument), r#"a string or {"equals-ignore-case": string}"#);
                None
            }
        }
    }
}

fn holds_nothing(low: Bound<Number>, high: Bound<Number>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
        _ => false,
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
            Test::AnythingBut(_) | Test::AnythingButText(_) => "anything-but",
        }
    }
}

// === impl TextTest ===

impl TextTest {
    pub fn operator(&self) -> &'static str {
        match self {
            TextTest::Prefix(_) | TextTest::PrefixIgnoreCase(_) => "prefix",
            TextTest::Suffix(_) | TextTest::SuffixIgnoreCase(_) => "suffix",
            TextTest::Contains(_) | TextTest::ContainsIgnoreCase(_) => "contains",
            TextTest::EqualsIgnoreCase(_) => "equals-ignore-case",
        }
    }

    /// What can be looked for instead of trying the test.
    pub(super) fn needle(&self) -> Needle<'_> {
        match self {
            TextTest::Prefix(text) => Needle::Begins(text),
            TextTest::Suffix(text) => Needle::Ends(text),
            TextTest::Contains(text) => Needle::Contains(text),
            _ => Needle::Nothing,
        }
    }

    /// Looks at no more of `value` than the test's own text is long, but for `contains`, which goes through it once.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            TextTest::Prefix(text) => value.starts_with(&**text),
            TextTest::Suffix(text) => value.ends_with(&**text),
            TextTest::Contains(text) => value.contains(&**text),
            TextTest::ContainsIgnoreCase(text) => lowered(value).contains(&**text),
            TextTest::PrefixIgnoreCase(text) => begins(value.chars().map(lower), text.chars()),
            TextTest::SuffixIgnoreCase(text) => begins(value.chars().rev().map(lower), text.chars().rev()),
            TextTest::EqualsIgnoreCase(text) => value.chars().map(lower).eq(text.chars()),
        }
    }
}

fn begins(mut value: impl Iterator<Item = char>, mut text: impl Iterator<Item = char>) -> bool {
    text.all(|c| value.next() == Some(c))
}

/// Unicode's simple lower-case mapping: the first character of the full one, which differs for `İ` alone.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn lowered(text: &str) -> Box<str> {
    text.chars().map(lower).collect::<String>().into()
}

impl fmt::Display for TextTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextTest::Prefix(text) => write!(f, "starts with {text:?}"),
            TextTest::Suffix(text) => write!(f, "ends with {text:?}"),
            TextTest::Contains(text) => write!(f, "contains {text:?}"),
            TextTest::ContainsIgnoreCase(text) => write!(f, "contains {text:?} in any case"),
            TextTest::PrefixIgnoreCase(text) => write!(f, "starts with {text:?} in any case"),
            TextTest::SuffixIgnoreCase(text) => write!(f, "ends with {text:?} in any case"),
            TextTest::EqualsIgnoreCase(text) => write!(f, "is {text:?} in any case"),
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
