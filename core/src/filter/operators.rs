//! What stands in an array of alternatives: values, and operators with their arguments.

use std::ops::Bound;

use serde_json::{Map, Value};

use super::{
    Literal, MAX_GAPS, MAX_OFFSET_DAYS, MAX_OPERATORS, MAX_SEARCHES, MAX_VALUES, Network, Number, Path, Test, TextTest,
    TimeTest, VersionRange, Wildcard,
    moment::{Moment, Side, read_offset, read_time},
    pattern::Tests,
    read::Reader,
    shown,
    text::lowered,
};

const OPERATORS: &str = "exactly, anything-but, prefix, suffix, contains, equals-ignore-case, wildcard, numeric, cidr, \
                         semver, before, after, exists, all, not";
const TEXT_OPERATORS: &str = "prefix, suffix, contains, equals-ignore-case, wildcard";
const NUMERIC_FORM: &str = "[operator, number] or a lower and an upper bound, operators = < <= > >=";
const NETWORK_FORM: &str = r#""<address>/<bits>": an IPv4 address and 0 to 32, or an IPv6 address and 0 to 128"#;
const VERSION_FORM: &str =
    r#"comparators = > >= < <= ^ ~ with versions in which something lies: ">=1.2.0 <2.0.0-0", "^1.2""#;
const EVENT_TIME: &str = "event-time";

// === impl Reader ===

impl Reader<'_> {
    /// An array of alternatives.
    pub(super) fn leaf(&mut self, alternatives: &[Value], path: &Path<'_>, depth: usize) -> Tests {
        let operators = alternatives.iter().filter(|value| value.is_object()).count();
        if !self.count(alternatives, path) {
            return Vec::new();
        }
        if operators > MAX_OPERATORS {
            self.faults.add(path, format!("{operators} operators"), format!("at most {MAX_OPERATORS}"));
            return Vec::new();
        }
        self.operators = 0;
        self.tests(alternatives, path, depth)
    }

    fn tests(&mut self, alternatives: &[Value], path: &Path<'_>, depth: usize) -> Tests {
        let mut tests = Vec::with_capacity(alternatives.len());
        for (i, alternative) in alternatives.iter().enumerate() {
            let test = self.test(alternative, &Path::Index(path, i), depth);
            tests.extend(test.map(|test| (i, test)));
        }
        tests
    }

    /// Values alone, without operators.
    pub(super) fn values(&mut self, values: &[Value], path: &Path<'_>) -> Option<Tests> {
        if !self.count(values, path) {
            return None;
        }
        let read = |(i, value)| Some((i, Test::Equals(self.literal(value, &Path::Index(path, i))?)));
        let tests: Tests = values.iter().enumerate().filter_map(read).collect();
        (tests.len() == values.len()).then_some(tests)
    }

    fn test(&mut self, alternative: &Value, path: &Path<'_>, depth: usize) -> Option<Test> {
        match alternative {
            Value::Object(operator) if self.enter(path, depth) => self.operator(operator, path, depth),
            Value::Object(_) => None,
            other => self.literal(other, path).map(Test::Equals),
        }
    }

    fn count(&mut self, values: &[Value], path: &Path<'_>) -> bool {
        let allowed = (1..=MAX_VALUES).contains(&values.len());
        if !allowed {
            self.faults.add(path, format!("{} values", values.len()), format!("1 to {MAX_VALUES}"));
        }
        allowed
    }

    /// Counts operators that are tried on each value; false, once, where there are too many.
    fn spend(&mut self, operators: usize, path: &Path<'_>) -> bool {
        let before = self.operators;
        self.operators += operators;
        if before <= MAX_OPERATORS && self.operators > MAX_OPERATORS {
            let found = format!("{} operators on one field, those inside others counted", self.operators);
            self.faults.add(path, found, format!("at most {MAX_OPERATORS}"));
        }
        self.operators <= MAX_OPERATORS
    }

    pub(super) fn literal(&mut self, value: &Value, path: &Path<'_>) -> Option<Literal> {
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

    pub(super) fn number(&mut self, value: &Value, path: &Path<'_>) -> Option<Number> {
        let number = value.as_number().and_then(Number::read);
        if number.is_none() {
            self.faults.add(path, shown(value), "a number of at most 1.7976931348623157e308");
        }
        number
    }

    fn operator(&mut self, object: &Map<String, Value>, path: &Path<'_>, depth: usize) -> Option<Test> {
        let Some((name, argument)) = object.iter().next().filter(|_| object.len() == 1) else {
            self.faults.add(path, format!("an object of {} keys", object.len()), format!("one of {OPERATORS}"));
            return None;
        };
        let place = Path::Key(path, name);
        match name.as_str() {
            "anything-but" => self.anything_but(argument, &place),
            "all" => self.all(argument, &place, depth + 1),
            "not" => self.not(argument, &place, depth + 1),
            _ if !self.spend(1, path) => None,
            "exactly" => self.string(argument, &place).map(|text| Test::Equals(Literal::Text(text.into()))),
            "exists" => match argument {
                Value::Bool(present) => Some(Test::Exists(*present)),
                other => {
                    self.faults.add(&place, shown(other), "true, false");
                    None
                }
            },
            "numeric" => self.numeric(argument, &place),
            "before" => self.time(Side::Before, argument, &place),
            "after" => self.time(Side::After, argument, &place),
            "prefix" | "suffix" | "contains" | "equals-ignore-case" | "wildcard" | "cidr" | "semver" => {
                self.text(name, argument, &place).map(Test::Text)
            }
            _ => {
                self.faults.add(path, format!("operator {}", shown(&format_args!("{name:?}"))), OPERATORS);
                None
            }
        }
    }

    /// Conditions that all must hold: values, operators, and arrays of alternatives.
    fn all(&mut self, argument: &Value, path: &Path<'_>, depth: usize) -> Option<Test> {
        let Some(conditions) = argument.as_array() else {
            self.faults.add(path, shown(argument), "an array of values and operators");
            return None;
        };
        // Those that are no operator too: each is a set of its own.
        let sets = conditions.iter().filter(|condition| !condition.is_object()).count();
        if !self.count(conditions, path) || !self.spend(sets, path) {
            return None;
        }
        let mut all = Vec::with_capacity(conditions.len());
        for (i, condition) in conditions.iter().enumerate() {
            let path = Path::Index(path, i);
            match condition {
                Value::Array(alternatives) if self.count(alternatives, &path) => {
                    let tests = self.tests(alternatives, &path, depth);
                    all.extend(Some(tests).filter(|tests| tests.len() == alternatives.len()));
                }
                Value::Array(_) => {}
                condition => all.extend(self.test(condition, &path, depth).map(|test| vec![(0, test)])),
            }
        }
        (all.len() == conditions.len()).then_some(Test::All(all))
    }

    /// A value or operator, or an array of them, none of which may hold.
    fn not(&mut self, argument: &Value, path: &Path<'_>, depth: usize) -> Option<Test> {
        let Value::Array(alternatives) = argument else {
            return self.test(argument, path, depth).map(|test| Test::Not(vec![(0, test)]));
        };
        if !self.count(alternatives, path) {
            return None;
        }
        let tests = self.tests(alternatives, path, depth);
        (tests.len() == alternatives.len()).then_some(Test::Not(tests))
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

    fn time(&mut self, side: Side, argument: &Value, path: &Path<'_>) -> Option<Test> {
        let offset = argument.as_object().filter(|object| object.len() == 1);
        let offset = offset.and_then(|object| read_offset(object.get(EVENT_TIME)?.as_str()?));
        let time = argument.as_str().and_then(read_time);
        let than = time.map(Moment::At).or(offset.map(Moment::FromEvent));
        if than.is_none() {
            let allowed = format!(
                r#"an RFC 3339 time, a date, or {{"{EVENT_TIME}": "+30d"}}: + or -, a number, and s, m, h, d or w, at most {MAX_OFFSET_DAYS} days"#
            );
            self.faults.add(path, shown(argument), allowed);
        }
        than.map(|than| Test::Time(TimeTest { side, than }))
    }

    fn anything_but(&mut self, argument: &Value, path: &Path<'_>) -> Option<Test> {
        match argument {
            Value::Object(operator) => self.anything_but_text(operator, path).map(Test::AnythingButText),
            _ if !self.spend(1, path) => None,
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
        if !matches!(name.as_str(), "prefix" | "suffix" | "contains" | "equals-ignore-case" | "wildcard") {
            let found = format!("operator {}", shown(&format_args!("{name:?}")));
            self.faults.add(path, found, TEXT_OPERATORS);
            return None;
        }
        let place = Path::Key(path, name);
        let Value::Array(texts) = argument else {
            return self.excluded(name, argument, &place).filter(|_| self.spend(1, path)).map(|test| vec![test]);
        };
        if !(1..=MAX_OPERATORS).contains(&texts.len()) {
            self.faults.add(&place, format!("{} values", texts.len()), format!("1 to {MAX_OPERATORS}"));
            return None;
        }
        if !self.spend(texts.len(), path) {
            return None;
        }
        let read = |(i, text)| self.excluded(name, text, &Path::Index(&place, i));
        let tests: Vec<TextTest> = texts.iter().enumerate().filter_map(read).collect();
        (tests.len() == texts.len()).then_some(tests)
    }

    /// Every text begins with the empty one: to exclude that can only be a mistake.
    fn excluded(&mut self, name: &str, argument: &Value, path: &Path<'_>) -> Option<TextTest> {
        if argument.as_str() == Some("") && matches!(name, "prefix" | "suffix" | "contains") {
            self.faults.add(path, r#""""#, "a text, which is not empty here");
            return None;
        }
        self.text(name, argument, path)
    }

    pub(super) fn text(&mut self, name: &str, argument: &Value, path: &Path<'_>) -> Option<TextTest> {
        let ignoring = argument.as_object().filter(|object| object.len() == 1);
        let ignoring = ignoring.and_then(|object| object.get("equals-ignore-case")?.as_str());
        let test = match (name, argument.as_str(), ignoring) {
            ("prefix", Some(text), _) => TextTest::Prefix(text.into()),
            ("suffix", Some(text), _) => TextTest::Suffix(text.into()),
            ("contains", Some(text), _) => TextTest::Contains(text.into()),
            ("equals-ignore-case", Some(text), _) => TextTest::EqualsIgnoreCase(lowered(text)),
            ("prefix", _, Some(text)) => TextTest::PrefixIgnoreCase(lowered(text)),
            ("suffix", _, Some(text)) => TextTest::SuffixIgnoreCase(lowered(text)),
            ("contains", _, Some(text)) => TextTest::ContainsIgnoreCase(lowered(text)),
            ("wildcard", Some(text), _) => TextTest::Wildcard(self.wildcard(text, path)?),
            ("cidr", Some(text), _) => {
                TextTest::Cidr(self.read_as(Network::read(text), argument, path, NETWORK_FORM)?)
            }
            ("semver", Some(text), _) => {
                TextTest::Semver(self.read_as(VersionRange::read(text), argument, path, VERSION_FORM)?)
            }
            ("prefix" | "suffix" | "contains", ..) => {
                self.faults.add(path, shown(argument), r#"a string or {"equals-ignore-case": string}"#);
                return None;
            }
            _ => {
                self.faults.add(path, shown(argument), "a string");
                return None;
            }
        };
        if test.searches() {
            self.searches += 1;
            if self.searches == MAX_SEARCHES + 1 {
                let found = format!("{} wildcard and contains in one filter", self.searches);
                self.faults.add(path, found, format!("at most {MAX_SEARCHES}"));
            }
        }
        Some(test)
    }

    fn wildcard(&mut self, text: &str, path: &Path<'_>) -> Option<Wildcard> {
        let read = Wildcard::read(text);
        if let Err(malformed) = read {
            self.faults.add(
                path,
                malformed.to_string(),
                format!(r"at most {MAX_GAPS} *, none beside another; \* and \\"),
            );
        }
        read.ok()
    }

    fn read_as<T>(&mut self, read: Option<T>, argument: &Value, path: &Path<'_>, allowed: &str) -> Option<T> {
        if read.is_none() {
            self.faults.add(path, shown(argument), allowed);
        }
        read
    }

    fn string<'v>(&mut self, argument: &'v Value, path: &Path<'_>) -> Option<&'v str> {
        if !argument.is_string() {
            self.faults.add(path, shown(argument), "a string");
        }
        argument.as_str()
    }
}

fn holds_nothing(low: Bound<Number>, high: Bound<Number>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}
