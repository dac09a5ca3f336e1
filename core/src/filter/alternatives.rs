//! The alternatives of one field, ready to be tried on a value. [`naive`](super::naive) tries them.

use std::{
    fmt, iter,
    ops::{Bound, RangeBounds},
};

use super::{
    Test, TextTest, TimeTest,
    budget::COMPARISON,
    coded,
    literals::{Gathered, Literals, Named, Scalar},
    number::{Number, Range},
    pattern::Tests,
};
use crate::domain::Timestamp;

/// A field holds if one of these accepts one of its values, or if one of those that are [`Composed`] holds. Values asked for
/// exactly are hashed, whatever their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Alternatives {
    equals: Literals,
    /// `{"exists": true}` is among them.
    present: bool,
    /// `{"exists": false}` is among them.
    absent: bool,
    ranges: Box<[Range]>,
    texts: Box<[TextTest]>,
    anything_but: Box<[Excluded]>,
    composed: Option<Box<Composed>>,
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

/// [`Alternatives`], whether they stand by themselves or are [`packed`](super::packed).
#[derive(Clone, Copy)]
pub(super) struct Accepted<'a> {
    pub equals: Named<'a>,
    pub present: bool,
    pub absent: bool,
    pub ranges: Ranges<'a>,
    pub texts: &'a [TextTest],
    pub anything_but: &'a [Excluded],
    pub composed: Option<&'a Composed>,
}

/// In no order.
#[derive(Clone, Copy)]
pub(super) enum Ranges<'a> {
    Several(&'a [Range]),
    Coded(coded::Ranges<'a>),
}

// === impl Alternatives ===

impl Alternatives {
    pub fn new(tests: impl IntoIterator<Item = Test>) -> Alternatives {
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

    pub fn of(tests: Tests) -> Alternatives {
        Alternatives::new(tests.into_iter().map(|(_, test)| test))
    }

    /// The tests on texts, if there is nothing else.
    pub fn into_texts(self) -> Result<Box<[TextTest]>, Box<Alternatives>> {
        let Alternatives { equals, present, absent, ranges, texts: _, anything_but, composed } = &self;
        let none = !(*present || *absent) && Named::Set(equals).is_empty();
        if none && ranges.is_empty() && anything_but.is_empty() && composed.is_none() {
            Ok(self.texts)
        } else {
            Err(Box::new(self))
        }
    }

    pub fn accepted(&self) -> Accepted<'_> {
        let Alternatives { equals, present, absent, ranges, texts, anything_but, composed } = self;
        Accepted {
            equals: Named::Set(equals),
            present: *present,
            absent: *absent,
            ranges: Ranges::Several(ranges),
            texts,
            anything_but,
            composed: composed.as_deref(),
        }
    }

    /// One of the alternatives of one of several.
    pub fn union<'a>(several: impl Iterator<Item = Accepted<'a>>) -> Alternatives {
        let (mut union, mut named) = (Alternatives::default(), Gathered::default());
        let (mut ranges, mut texts, mut anything_but) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut all, mut not) = (Vec::new(), Vec::new(), Vec::new());
        for accepted in several {
            // Whatever is added to the alternatives must be named here.
            let Accepted { equals, present, absent, ranges: of, texts: tests, anything_but: excluded, composed } =
                accepted;
            named.absorb(equals);
            union.present |= present;
            union.absent |= absent;
            ranges.extend(of.iter());
            texts.extend_from_slice(tests);
            anything_but.extend_from_slice(excluded);
            if let Some(composed) = composed {
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

// === impl Accepted ===

impl<'a> Accepted<'a> {
    /// No alternative at all.
    pub const NOTHING: Accepted<'static> = Accepted {
        equals: Named::NOTHING,
        present: false,
        absent: false,
        ranges: Ranges::Several(&[]),
        texts: &[],
        anything_but: &[],
        composed: None,
    };

    /// The conditions of which all must hold, if that is all there is to say.
    pub fn all_of(self) -> Option<&'a [Alternatives]> {
        let Accepted { equals, present, absent, ranges, texts, anything_but, composed } = self;
        let Composed { times, all, not } = composed?;
        let more = present || absent || !(ranges.is_empty() && texts.is_empty() && anything_but.is_empty());
        match &all[..] {
            [all] if times.is_empty() && not.is_empty() && !more && equals.is_empty() => Some(all),
            _ => None,
        }
    }

    /// The alternatives as the index files them; `None` for what only plain evaluation can tell.
    ///
    /// Whatever is added to the alternatives and not named here must make this `None`.
    pub fn parts(self) -> Option<Parts<'a>> {
        let Accepted { equals, present, absent, ranges, texts, anything_but, composed } = self;
        if composed.is_some() {
            return None;
        }
        let refused = match anything_but {
            [Excluded::Texts(tests)] => Some(&tests[..]),
            several if several.iter().all(|excluded| matches!(excluded, Excluded::Literals(_))) => None,
            _ => return None,
        };
        let parts = Parts { equals, present, absent, ranges, texts, anything_but, refused };
        // What is refused here may be accepted by another alternative.
        let alone = !present && ranges.is_empty() && texts.is_empty() && equals.is_empty();
        Some(parts).filter(|_| refused.is_none() || alone)
    }

    /// Whether one of them, of those that need no more than a value, accepts this one.
    pub fn accept(self, scalar: Scalar<'_>) -> bool {
        self.present
            || self.equals.contain(scalar)
            || matches!(scalar, Scalar::Number(Some(number)) if self.ranges.contain(&number))
            || self.texts.iter().any(|test| matches!(scalar, Scalar::Text(text) if test.matches(text)))
            || self.anything_but.iter().any(|excluded| !excluded.names(scalar))
    }
}

// === impl Ranges ===

impl<'a> Ranges<'a> {
    pub fn iter(self) -> impl Iterator<Item = Range> + Clone + 'a {
        let (several, coded) = match self {
            Ranges::Several(several) => (Some(several), None),
            Ranges::Coded(coded) => (None, Some(coded)),
        };
        several.into_iter().flatten().copied().chain(coded.into_iter().flatten())
    }

    pub fn is_empty(self) -> bool {
        match self {
            Ranges::Several(several) => several.is_empty(),
            Ranges::Coded(coded) => coded.size() == 0,
        }
    }

    /// What [`Ranges::contain`] costs at most, in units: of coded ones each byte is gone through.
    pub fn units(self) -> usize {
        match self {
            Ranges::Several(several) => COMPARISON * several.len(),
            Ranges::Coded(coded) => 2 * coded.size(),
        }
    }

    pub fn contain(self, number: &Number) -> bool {
        self.iter().any(|range| range.contains(number))
    }
}

/// What a field must be, in the terms of the index.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    equals: Named<'a>,
    pub present: bool,
    pub absent: bool,
    pub ranges: Ranges<'a>,
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

    /// The same of a text that is [named](Parts::each_text), in less time.
    pub fn accept_named_text(&self, text: &str) -> bool {
        debug_assert!(self.any_named(|named| named.contain(Scalar::Text(text))), "{text:?} is not named");
        self.anything_but.is_empty() || self.accept_named(Scalar::Text(text))
    }

    /// Whether `null`, `true` or `false` is named, accepted or not.
    pub fn name_words(&self) -> bool {
        self.any_named(|named| named.words() != [false; 3])
    }

    /// Whether a number is named, accepted or not.
    pub fn name_numbers(&self) -> bool {
        self.any_named(Named::has_numbers)
    }

    /// Shows the texts that are named, accepted or not; some perhaps twice.
    pub fn each_text(&self, mut show: impl FnMut(&'a str)) {
        self.equals.each_text(&mut show);
        self.excluded().for_each(|named| named.each_text(&mut show));
    }

    /// The numbers that are named, accepted or not; some perhaps twice.
    pub fn named_numbers(&self) -> impl Iterator<Item = Number> {
        iter::once(self.equals).chain(self.excluded()).flat_map(Named::numbers)
    }

    fn any_named(&self, is: impl Fn(Named<'a>) -> bool) -> bool {
        is(self.equals) || self.excluded().any(is)
    }

    fn excluded(&self) -> impl Iterator<Item = Named<'a>> {
        self.anything_but.iter().filter_map(|excluded| match excluded {
            Excluded::Literals(literals) => Some(Named::Set(literals)),
            Excluded::Texts(_) => None,
        })
    }
}

// === impl Composed ===

impl Composed {
    /// Whether one of those that need the event's time accepts this value.
    pub fn accept(&self, scalar: Scalar<'_>, event_time: Option<Timestamp>) -> bool {
        self.times.iter().any(|test| matches!(scalar, Scalar::Text(text) if test.matches(text, event_time)))
    }
}

// === impl Excluded ===

impl Excluded {
    fn names(&self, scalar: Scalar<'_>) -> bool {
        match (self, scalar) {
            (Excluded::Literals(literals), scalar) => Named::Set(literals).contain(scalar),
            (Excluded::Texts(tests), Scalar::Text(text)) => tests.iter().any(|test| test.matches(text)),
            (Excluded::Texts(_), _) => false,
        }
    }
}

// === Display of Accepted ===

impl fmt::Display for Accepted<'_> {
    /// `is one of "community", "paid" or starts with "x"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.equals.is_empty() {
            parts.push(format!("is {}", self.equals));
        }
        parts.extend(self.ranges.iter().map(|(low, high)| range_text(low, high)));
        parts.extend(self.texts.iter().map(TextTest::to_string));
        parts.extend(self.anything_but.iter().map(Excluded::to_string));
        if let Some(Composed { times, all, not }) = self.composed {
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

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.accepted().fmt(f)
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excluded::Literals(literals) => write!(f, "is anything but {}", Named::Set(literals)),
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
