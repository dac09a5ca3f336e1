//! Values that are asked for by name: `"paid"`, `99`, `true`, `null`.

use std::{collections::HashSet, fmt};

use super::{
    FixedState, Literal, Look, Number,
    budget::{COMPARED, COMPARISON, LOOK_UP},
    coded,
};

/// A set of literals.
#[derive(Clone, Debug, Default)]
pub(super) struct Literals {
    null: bool,
    yes: bool,
    no: bool,
    /// In order, each once.
    numbers: Box<[Number]>,
    texts: Texts,
    /// The longest of the texts, in bytes: what is longer need not be hashed.
    longest: usize,
}

/// Each once.
#[derive(Clone, Debug)]
enum Texts {
    /// Up to [`FEW`].
    Few(Box<[Box<str>]>),
    Many(ManyTexts),
}

/// The hasher has fixed keys: nothing here may depend on chance.
#[derive(Clone, Debug)]
struct ManyTexts(HashSet<Box<str>, FixedState>);

/// Literals as they are gathered.
#[derive(Default)]
pub(super) struct Gathered {
    set: Literals,
    numbers: Vec<Number>,
    texts: Vec<Box<str>>,
}

/// A set of literals, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named<'a> {
    Set(&'a Literals),
    Few(Few<'a>),
}

/// Literals that are [`coded`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Few<'a> {
    /// `null`, `true`, `false`.
    pub words: [bool; 3],
    pub texts: coded::Texts<'a>,
    pub numbers: coded::Numbers<'a>,
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

/// So many are compared one by one in less time than one is hashed.
pub(super) const FEW: usize = 4;
/// A few coded texts of more bytes than this take no longer to be told apart than so many, but for the comparing.
const SHORT: usize = 12;
/// How many literals of a set are shown.
const MAX_SHOWN: usize = 10;

// === impl Named ===

impl<'a> Named<'a> {
    pub const NOTHING: Named<'static> = Named::Few(Few {
        words: [false; 3],
        texts: coded::Texts(coded::Reader("")),
        numbers: coded::Numbers(coded::Reader("")),
    });

    /// `null`, `true`, `false`.
    pub fn words(self) -> [bool; 3] {
        match self {
            Named::Set(set) => [set.null, set.yes, set.no],
            Named::Few(few) => few.words,
        }
    }

    /// In order, each once.
    pub fn numbers(self) -> impl Iterator<Item = Number> + 'a {
        let (set, coded) = match self {
            Named::Set(set) => (Some(&set.numbers), None),
            Named::Few(few) => (None, Some(few.numbers)),
        };
        set.into_iter().flatten().copied().chain(coded.into_iter().flatten())
    }

    /// In no order, each once.
    pub fn texts(self) -> impl Iterator<Item = &'a str> {
        let (few, many, coded) = match self {
            Named::Set(Literals { texts: Texts::Few(few), .. }) => (Some(few), None, None),
            Named::Set(Literals { texts: Texts::Many(many), .. }) => (None, Some(many), None),
            Named::Few(few) => (None, None, Some(few.texts)),
        };
        let (few, many) = (few.into_iter().flatten(), many.into_iter().flat_map(|many| many.0.iter()));
        few.chain(many).map(|text| &**text).chain(coded.into_iter().flatten())
    }

    /// The same as [`Named::texts`], in less time.
    pub fn each_text(self, show: impl FnMut(&'a str)) {
        match self {
            Named::Set(Literals { texts: Texts::Few(few), .. }) => few.iter().map(|text| &**text).for_each(show),
            Named::Set(Literals { texts: Texts::Many(many), .. }) => many.0.iter().map(|text| &**text).for_each(show),
            Named::Few(few) => few.texts.for_each(show),
        }
    }

    pub fn is_empty(self) -> bool {
        self.words() == [false; 3] && !self.has_numbers() && self.texts().next().is_none()
    }

    pub fn has_numbers(self) -> bool {
        match self {
            Named::Set(set) => !set.numbers.is_empty(),
            Named::Few(few) => !few.numbers.is_empty(),
        }
    }

    /// What [`Named::contain`] costs at most, in units.
    pub fn units(self, scalar: Scalar<'_>) -> usize {
        match (scalar, self) {
            (Scalar::Number(Some(_)), Named::Set(set)) if !set.numbers.is_empty() => LOOK_UP,
            (Scalar::Number(Some(_)), Named::Few(few)) if !few.numbers.is_empty() => LOOK_UP + few.numbers.size(),
            (Scalar::Text(text), Named::Set(set)) if text.len() <= set.longest => {
                let rounds = match &set.texts {
                    Texts::Few(few) => few.len(),
                    Texts::Many(_) => 1,
                };
                LOOK_UP + text.len() / COMPARED * rounds
            }
            // A size is read for each text; of those of the same size the bytes are compared, which are not more than all bytes.
            (Scalar::Text(_), Named::Few(few)) => {
                let size = few.texts.size();
                COMPARISON + 2 * size.min(SHORT) + size / COMPARED
            }
            _ => COMPARISON,
        }
    }

    pub fn contain(self, scalar: Scalar<'_>) -> bool {
        let [null, yes, no] = self.words();
        match (scalar, self) {
            (Scalar::Null, _) => null,
            (Scalar::Boolean(true), _) => yes,
            (Scalar::Boolean(false), _) => no,
            (Scalar::Number(None), _) => false,
            (Scalar::Number(Some(number)), Named::Set(set)) => set.numbers.binary_search(&number).is_ok(),
            (Scalar::Number(Some(number)), Named::Few(mut few)) => few.numbers.any(|known| known == number),
            (Scalar::Text(text), Named::Set(Literals { texts: Texts::Many(many), longest, .. })) => {
                text.len() <= *longest && many.0.contains(text)
            }
            (Scalar::Text(text), Named::Set(Literals { texts: Texts::Few(few), .. })) => {
                few.iter().any(|known| **known == *text)
            }
            (Scalar::Text(text), Named::Few(mut few)) => few.texts.any(|known| known == text),
        }
    }

    /// In a fixed order, for people.
    fn shown(self) -> Vec<String> {
        let mut texts: Vec<&str> = self.texts().collect();
        texts.sort_unstable();
        let words = self.words().into_iter().zip(["null", "true", "false"]);
        let words = words.filter(|(there, _)| *there).map(|(_, word)| word.to_owned());
        let numbers = self.numbers().map(|number| number.to_string());
        words.chain(numbers).chain(texts.into_iter().map(|text| format!("{text:?}"))).collect()
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        match shown.len() {
            1 => f.write_str(&shown[0]),
            count if count <= MAX_SHOWN => write!(f, "one of {}", shown.join(", ")),
            count => write!(f, "one of {} and {} more", shown[..MAX_SHOWN].join(", "), count - MAX_SHOWN),
        }
    }
}

// === impl Scalar ===

impl<'a> Scalar<'a> {
    /// A value, or what an array or an object is.
    pub fn of<Elements>(look: Look<'a, Elements>) -> Result<Scalar<'a>, Look<'a, Elements>> {
        match look {
            Look::Null => Ok(Scalar::Null),
            Look::Boolean(boolean) => Ok(Scalar::Boolean(boolean)),
            Look::Number(number) => Ok(Scalar::Number(number)),
            Look::Text(text) => Ok(Scalar::Text(text)),
            several => Err(several),
        }
    }
}

// === impl Texts ===

impl Default for Texts {
    fn default() -> Texts {
        Texts::Few(Box::default())
    }
}

// === impl Gathered ===

impl Gathered {
    pub fn insert(&mut self, literal: Literal) {
        match literal {
            Literal::Null => self.set.null = true,
            Literal::Boolean(true) => self.set.yes = true,
            Literal::Boolean(false) => self.set.no = true,
            Literal::Number(number) => self.numbers.push(number),
            Literal::Text(text) => self.texts.push(text),
        }
    }

    pub fn absorb(&mut self, other: Named<'_>) {
        let [null, yes, no] = other.words();
        self.set.null |= null;
        self.set.yes |= yes;
        self.set.no |= no;
        self.numbers.extend(other.numbers());
        self.texts.extend(other.texts().map(Box::from));
    }

    pub fn into_set(self) -> Literals {
        let Gathered { set, mut numbers, mut texts } = self;
        numbers.sort_unstable();
        numbers.dedup();
        texts.sort_unstable();
        texts.dedup();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
        let texts = if texts.len() <= FEW {
            Texts::Few(texts.into())
        } else {
            Texts::Many(ManyTexts(texts.into_iter().collect()))
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
