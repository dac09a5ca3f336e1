//! The alternatives of one field, ready to be tried on a value. [`naive`](super::naive) tries them.

use std::{
    collections::HashSet,
    fmt,
    ops::{Bound, RangeBounds},
};

use super::{FixedState, Literal, Look, Number, Test, TextTest, TimeTest, pattern::Tests};
use crate::domain::Timestamp;

/// A field holds if one of these accepts one of its values, or if one of those that are [`Composed`] holds. Values asked for
/// exactly are hashed, whatever their number.
#[derive(Clone, Debug, Default)]
pub struct Alternatives {
    pub(super) equals: Literals,
    /// `{"exists": true}` is among them.
    pub(super) present: bool,
    /// `{"exists": false}` is among them.
    pub(super) absent: bool,
    pub(super) ranges: Box<[(Bound<Number>, Bound<Number>)]>,
    pub(super) texts: Box<[TextTest]>,
    pub(super) anything_but: Box<[Excluded]>,
    /// In a place of its own, because few fields have any.
    pub(super) composed: Option<Box<Composed>>,
}

/// Alternatives that need more than a value: the event's time, or what else holds of the field.
#[derive(Clone, Debug, Default)]
pub(super) struct Composed {
    pub times: Box<[TimeTest]>,
    /// `{"all": […]}`: one of these, all of whose members hold.
    pub all: Box<[Box<[Alternatives]>]>,
    /// `{"not": …}`: one of these, which does not hold.
    pub not: Box<[Alternatives]>,
}

/// What an `anything-but` names.
#[derive(Clone, Debug)]
pub(super) enum Excluded {
    Literals(Literals),
    Texts(Box<[TextTest]>),
}

/// A set of literals. Every condition of every subscription has one, so it is small.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    null: bool,
    yes: bool,
    no: bool,
    /// In order, each once.
    numbers: Box<[Number]>,
    texts: Texts,
    /// The longest of the texts, in bytes: what is longer need not be hashed.
    pub(super) longest: usize,
}

/// Each once.
#[derive(Clone, Debug)]
enum Texts {
    /// Up to [`FEW`].
    Few(Box<[Box<str>]>),
    /// In a place of its own, because few fields have so many.
    Many(Box<ManyTexts>),
}

/// The hasher has fixed keys: nothing here may depend on chance.
#[derive(Clone, Debug)]
struct ManyTexts(HashSet<Box<str>, FixedState>);

/// Literals as they are gathered.
#[derive(Default)]
struct Gathered {
    set: Literals,
    numbers: Vec<Number>,
    texts: Vec<Box<str>>,
}

/// A value of the event, its number read once for all comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Boolean(bool),
    /// `None`: not finite. It equals nothing and lies in no range.
    Number(Option<Number>),
    Text(&'a str),
}

/// So many texts are compared one by one in less time than one is hashed.
const FEW: usize = 4;
/// How many literals of a set are shown.
const MAX_SHOWN: usize = 10;

// === impl Alternatives ===

impl Alternatives {
    pub(super) fn new(tests: impl IntoIterator<Item = Test>) -> Alternatives {
        let (mut alternatives, mut equals) = (Alternatives::default(), Gathered::default());
        let (mut ranges, mut texts, mut anything_but) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut all, mut not) = (Vec::new(), Vec::new(), Vec::new());
        for test in tests {
            match test {
                Test::Equals(literal) => equals.insert(literal),
                Test::Exists(true) => alternatives.present = true,
                Test::Exists(false) => alternatives.absent = true,
                Test::Numeric(low, high) => ranges.push((low, high)),
                Test::Text(test) => texts.push(test),
                Test::Time(test) => times.push(test),
                Test::AnythingBut(literals) => anything_but.push(Excluded::Literals(literals.into_iter().collect())),
                Test::AnythingButText(tests) => anything_but.push(Excluded::Texts(tests.into())),
                Test::All(conditions) => all.push(conditions.into_iter().map(Alternatives::of).collect()),
                Test::Not(tests) => not.push(Alternatives::of(tests)),
            }
        }
        if !(times.is_empty() && all.is_empty() && not.is_empty()) {
            alternatives.composed = Some(Box::new(Composed { times: times.into(), all: all.into(), not: not.into() }));
        }
        alternatives.equals = equals.into_set();
        Alternatives { ranges: ranges.into(), texts: texts.into(), anything_but: anything_but.into(), ..alternatives }
    }

    pub(super) fn of(tests: Tests) -> Alternatives {
        Alternatives::new(tests.into_iter().map(|(_, test)| test))
    }

    /// The conditions of which all must hold, if that is all there is to say.
    pub(super) fn all_of(&self) -> Option<&[Alternatives]> {
        let Alternatives { equals, present, absent, ranges, texts, anything_but, composed } = self;
        let more = *present || *absent || !ranges.is_empty() || !texts.is_empty() || !anything_but.is_empty();
        match composed.as_deref()? {
            Composed { times, all, not } if times.is_empty() && not.is_empty() && !more && equals.is_empty() => {
                match &all[..] {
                    [all] => Some(all),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The alternatives as the index files them; `None` for what only plain evaluation can tell.
    ///
    /// Whatever is added to the alternatives and not named here must make this `None`.
    pub(super) fn parts(&self) -> Option<Parts<'_>> {
        let Alternatives { equals, present, absent, ranges, texts, anything_but, composed } = self;
        if composed.is_some() {
            return None;
        }
        let refused = match &anything_but[..] {
            [Excluded::Texts(tests)] => Some(&tests[..]),
            several if several.iter().all(|excluded| matches!(excluded, Excluded::Literals(_))) => None,
            _ => return None,
        };
        let parts = Parts { equals, present: *present, absent: *absent, ranges, texts, anything_but, refused };
        // What is refused here may be accepted by another alternative.
        let alone = !present && ranges.is_empty() && texts.is_empty() && equals.is_empty();
        Some(parts).filter(|_| refused.is_none() || alone)
    }

    /// Whether one of them, of those that need no more than a value, accepts this one.
    pub(super) fn accept(&self, scalar: Scalar<'_>) -> bool {
        self.present
            || self.equals.contain(scalar)
            || matches!(scalar, Scalar::Number(Some(number)) if self.in_some_range(&number))
            || self.texts.iter().any(|test| matches!(scalar, Scalar::Text(text) if test.matches(text)))
            || self.anything_but.iter().any(|excluded| !excluded.names(scalar))
    }

    pub(super) fn in_some_range(&self, number: &Number) -> bool {
        self.ranges.iter().any(|range| range.contains(number))
    }

    /// One of the alternatives of one of several.
    pub(super) fn union<'a>(several: impl Iterator<Item = &'a Alternatives>) -> Alternatives {
        let (mut union, mut named) = (Alternatives::default(), Gathered::default());
        let (mut ranges, mut texts, mut anything_but) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut all, mut not) = (Vec::new(), Vec::new(), Vec::new());
        for alternatives in several {
            // Whatever is added to the alternatives must be named here.
            let Alternatives { equals, present, absent, ranges: of, texts: tests, anything_but: excluded, composed } =
                alternatives;
            named.absorb(equals);
            union.present |= *present;
            union.absent |= *absent;
            ranges.extend_from_slice(of);
            texts.extend_from_slice(tests);
            anything_but.extend_from_slice(excluded);
            if let Some(composed) = composed.as_deref() {
                times.extend_from_slice(&composed.times);
                all.extend_from_slice(&composed.all);
                not.extend_from_slice(&composed.not);
            }
        }
        if !(times.is_empty() && all.is_empty() && not.is_empty()) {
            union.composed = Some(Box::new(Composed { times: times.into(), all: all.into(), not: not.into() }));
        }
        union.equals = named.into_set();
        Alternatives { ranges: ranges.into(), texts: texts.into(), anything_but: anything_but.into(), ..union }
    }
}

/// What a field must be, in the terms of the index.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    equals: &'a Literals,
    pub present: bool,
    pub absent: bool,
    pub ranges: &'a [(Bound<Number>, Bound<Number>)],
    /// A text that passes one of these is accepted.
    pub texts: &'a [TextTest],
    anything_but: &'a [Excluded],
    /// The only alternative: a value is accepted unless it is a text that passes one of these.
    pub refused: Option<&'a [TextTest]>,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// Whether a value is accepted that is neither named nor in a range, nor passes a test.
    pub fn accept_other(&self) -> bool {
        self.present || !self.anything_but.is_empty()
    }

    /// Whether a value is accepted, tests and ranges aside.
    pub fn accept_named(&self, scalar: Scalar<'_>) -> bool {
        self.present
            || self.refused.is_some()
            || self.equals.contain(scalar)
            || self.anything_but.iter().any(|excluded| !excluded.names(scalar))
    }

    /// The texts that are named, accepted or not; some perhaps twice.
    pub fn named_texts(&self) -> impl Iterator<Item = &'a str> {
        self.literals().flat_map(|literals| literals.texts.iter())
    }

    /// The numbers that are named, accepted or not; some perhaps twice.
    pub fn named_numbers(&self) -> impl Iterator<Item = Number> {
        self.literals().flat_map(|literals| literals.numbers.iter().copied())
    }

    fn literals(&self) -> impl Iterator<Item = &'a Literals> {
        let excluded = self.anything_but.iter().filter_map(|excluded| match excluded {
            Excluded::Literals(literals) => Some(literals),
            Excluded::Texts(_) => None,
        });
        std::iter::once(self.equals).chain(excluded)
    }
}

// === impl Scalar ===

impl<'a> Scalar<'a> {
    /// A value, or what an array or an object is.
    pub(super) fn of<Elements>(look: Look<'a, Elements>) -> Result<Scalar<'a>, Look<'a, Elements>> {
        match look {
            Look::Null => Ok(Scalar::Null),
            Look::Boolean(boolean) => Ok(Scalar::Boolean(boolean)),
            Look::Number(number) => Ok(Scalar::Number(number)),
            Look::Text(text) => Ok(Scalar::Text(text)),
            several => Err(several),
        }
    }
}

// === impl Composed ===

impl Composed {
    /// Whether one of those that need the event's time accepts this value.
    pub(super) fn accept(&self, scalar: Scalar<'_>, event_time: Option<Timestamp>) -> bool {
        self.times.iter().any(|test| matches!(scalar, Scalar::Text(text) if test.matches(text, event_time)))
    }
}

// === impl Excluded ===

impl Excluded {
    fn names(&self, scalar: Scalar<'_>) -> bool {
        match (self, scalar) {
            (Excluded::Literals(literals), scalar) => literals.contain(scalar),
            (Excluded::Texts(tests), Scalar::Text(text)) => tests.iter().any(|test| test.matches(text)),
            (Excluded::Texts(_), _) => false,
        }
    }
}

// === impl Literals ===

impl Literals {
    pub(super) fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// How often a text is gone through at most.
    pub(super) fn rounds(&self) -> usize {
        if self.texts.len() <= FEW { self.texts.len() } else { 1 }
    }

    fn is_empty(&self) -> bool {
        let Literals { null, yes, no, numbers, texts, longest: _ } = self;
        !(*null || *yes || *no) && numbers.is_empty() && texts.is_empty()
    }

    pub(super) fn contain(&self, scalar: Scalar<'_>) -> bool {
        match scalar {
            Scalar::Null => self.null,
            Scalar::Boolean(true) => self.yes,
            Scalar::Boolean(false) => self.no,
            Scalar::Number(number) => number.is_some_and(|number| self.numbers.binary_search(&number).is_ok()),
            Scalar::Text(text) => match &self.texts {
                Texts::Few(few) => few.iter().any(|known| **known == *text),
                Texts::Many(many) => text.len() <= self.longest && many.0.contains(text),
            },
        }
    }

    /// In a fixed order, for people.
    fn shown(&self) -> Vec<String> {
        let mut texts: Vec<&str> = self.texts.iter().collect();
        texts.sort_unstable();
        let words = [(self.null, "null"), (self.yes, "true"), (self.no, "false")];
        let words = words.into_iter().filter(|(there, _)| *there).map(|(_, word)| word.to_owned());
        let numbers = self.numbers.iter().map(Number::to_string);
        words.chain(numbers).chain(texts.into_iter().map(|text| format!("{text:?}"))).collect()
    }
}

// === impl Texts ===

impl Texts {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match self {
            Texts::Few(few) => (Some(few), None),
            Texts::Many(many) => (None, Some(many)),
        };
        let (few, many) = (few.into_iter().flatten(), many.into_iter().flat_map(|many| many.0.iter()));
        few.chain(many).map(|text| &**text)
    }

    fn len(&self) -> usize {
        match self {
            Texts::Few(few) => few.len(),
            Texts::Many(many) => many.0.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Texts {
    fn default() -> Texts {
        Texts::Few(Box::default())
    }
}

// === impl Gathered ===

impl Gathered {
    fn insert(&mut self, literal: Literal) {
        match literal {
            Literal::Null => self.set.null = true,
            Literal::Boolean(true) => self.set.yes = true,
            Literal::Boolean(false) => self.set.no = true,
            Literal::Number(number) => self.numbers.push(number),
            Literal::Text(text) => self.texts.push(text),
        }
    }

    fn absorb(&mut self, other: &Literals) {
        self.set.null |= other.null;
        self.set.yes |= other.yes;
        self.set.no |= other.no;
        self.numbers.extend(&other.numbers);
        self.texts.extend(other.texts.iter().map(Box::from));
    }

    fn into_set(self) -> Literals {
        let Gathered { set, mut numbers, mut texts } = self;
        numbers.sort_unstable();
        numbers.dedup();
        texts.sort_unstable();
        texts.dedup();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
        let texts = if texts.len() <= FEW {
            Texts::Few(texts.into())
        } else {
            Texts::Many(Box::new(ManyTexts(texts.into_iter().collect())))
        };
        Literals { numbers: numbers.into(), texts, longest, ..set }
    }
}

impl FromIterator<Literal> for Literals {
    fn from_iter<I: IntoIterator<Item = Literal>>(literals: I) -> Literals {
        let mut gathered = Gathered::default();
        literals.into_iter().for_each(|literal| gathered.insert(literal));
        gathered.into_set()
    }
}

impl fmt::Display for Literals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        match shown.len() {
            1 => f.write_str(&shown[0]),
            count if count <= MAX_SHOWN => write!(f, "one of {}", shown.join(", ")),
            count => write!(f, "one of {} and {} more", shown[..MAX_SHOWN].join(", "), count - MAX_SHOWN),
        }
    }
}

// === Display of Alternatives ===

impl fmt::Display for Alternatives {
    /// `is one of "community", "paid" or starts with "x"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.equals.shown().is_empty() {
            parts.push(format!("is {}", self.equals));
        }
        parts.extend(self.ranges.iter().map(|(low, high)| range_text(*low, *high)));
        parts.extend(self.texts.iter().map(TextTest::to_string));
        parts.extend(self.anything_but.iter().map(Excluded::to_string));
        if let Some(Composed { times, all, not }) = self.composed.as_deref() {
            parts.extend(times.iter().map(TimeTest::to_string));
            parts.extend(all.iter().map(|all| {
                let all: Vec<String> = all.iter().map(|condition| format!("({condition})")).collect();
                all.join(" and ")
            }));
            parts.extend(not.iter().map(|not| format!("not ({not})")));
        }
        parts.extend(self.present.then(|| "is present".to_owned()));
        parts.extend(self.absent.then(|| "is absent".to_owned()));
        f.write_str(&parts.join(" or "))
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excluded::Literals(literals) => write!(f, "is anything but {literals}"),
            Excluded::Texts(tests) => {
                let tests: Vec<String> = tests.iter().map(TextTest::to_string).collect();
                write!(f, "is anything but what {}", tests.join(" or "))
            }
        }
    }
}

fn range_text(low: Bound<Number>, high: Bound<Number>) -> String {
    let below = match low {
        Bound::Included(low) => Some(format!(">= {low}")),
        Bound::Excluded(low) => Some(format!("> {low}")),
        Bound::Unbounded => None,
    };
    let above = match high {
        Bound::Included(high) => Some(format!("<= {high}")),
        Bound::Excluded(high) => Some(format!("< {high}")),
        Bound::Unbounded => None,
    };
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) if low == high => format!("= {low}"),
        _ => below.into_iter().chain(above).collect::<Vec<_>>().join(" and "),
    }
}
