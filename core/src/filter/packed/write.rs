//! Conditions → text, and what does not go into it.

use std::{mem, ops::Bound};

use super::{
    ABSENT, BASE, DEAR, Dear, EXCLUDED, GROUP, INCLUDED, INNER, LEAF, NO, NULL, PRESENT, SAME, UNBOUNDED, YES,
};
use crate::filter::{
    Number,
    alternatives::Accepted,
    clause::{Branch, Leaf},
    literals::FEW,
};

struct Writer<'w> {
    text: String,
    dear: &'w mut Vec<Dear>,
}

/// Packs what is gathered; beside it what is dear.
pub fn conditions(branch: Branch) -> (Box<str>, Box<[Dear]>) {
    let mut dear = Vec::new();
    let text = Writer::conditions(branch, &mut dear);
    (text.into(), dear.into())
}

// === impl Writer ===

impl Writer<'_> {
    /// What is dear is put to the rest of it.
    fn conditions(branch: Branch, dear: &mut Vec<Dear>) -> String {
        let mut writer = Writer { text: String::new(), dear };
        // Whatever else a branch comes to hold must be written too.
        let Branch { leaves, inner, groups } = branch;
        for leaf in leaves {
            writer.leaf(leaf);
        }
        for (field, branch) in inner {
            writer.digits(INNER);
            writer.string(&field);
            let inside = Writer::conditions(branch, writer.dear);
            writer.string(&inside);
        }
        for group in groups {
            writer.digits(GROUP);
            writer.dear(Dear::Group(Box::new(group)));
        }
        writer.text
    }

    fn wide(&mut self, mut value: u128) {
        while value >= BASE {
            self.text.push(char::from((value % BASE + BASE) as u8));
            value /= BASE;
        }
        self.text.push(char::from(value as u8));
    }

    fn digits(&mut self, value: u32) {
        self.wide(value.into());
    }

    fn string(&mut self, text: &str) {
        self.wide(text.len() as u128);
        self.text.push_str(text);
    }

    /// What `write` writes, behind its size.
    fn sized(&mut self, write: impl FnOnce(&mut Self)) {
        let before = mem::take(&mut self.text);
        write(self);
        let written = mem::replace(&mut self.text, before);
        self.string(&written);
    }

    fn dear(&mut self, dear: Dear) {
        self.digits(self.dear.len() as u32);
        self.dear.push(dear);
    }

    fn leaf(&mut self, leaf: Leaf) {
        let Leaf { filter, field, alternatives } = leaf;
        let is_dear = !fits(alternatives.accepted());
        let same = filter == field;
        self.digits(LEAF | if same { SAME } else { 0 } | if is_dear { DEAR } else { 0 });
        self.string(&field);
        if !same {
            self.string(&filter);
        }
        if is_dear {
            self.dear(match alternatives.into_texts() {
                Ok(texts) => Dear::Texts(texts),
                Err(alternatives) => Dear::Alternatives(alternatives),
            });
        } else {
            self.alternatives(alternatives.accepted());
        }
    }

    fn alternatives(&mut self, accepted: Accepted<'_>) {
        let [null, yes, no] = accepted.equals.words();
        let flags = [(null, NULL), (yes, YES), (no, NO), (accepted.present, PRESENT), (accepted.absent, ABSENT)];
        self.digits(flags.into_iter().filter(|(there, _)| *there).map(|(_, flag)| flag).sum());
        self.sized(|writer| accepted.equals.texts().for_each(|text| writer.string(text)));
        self.sized(|writer| accepted.equals.numbers().for_each(|number| writer.number(number)));
        self.sized(|writer| {
            for (low, high) in accepted.ranges.iter() {
                writer.bound(low);
                writer.bound(high);
            }
        });
    }

    fn number(&mut self, number: Number) {
        self.wide(match number {
            Number::Integer(whole) if whole >= 0 => (whole as u128) << 2,
            Number::Integer(whole) => (!whole as u128) << 2 | 1,
            Number::Real(real) => u128::from(real.to_bits()) << 2 | 2,
        });
    }

    fn bound(&mut self, bound: Bound<Number>) {
        match bound {
            Bound::Unbounded => self.digits(UNBOUNDED),
            Bound::Included(number) => {
                self.digits(INCLUDED);
                self.number(number);
            }
            Bound::Excluded(number) => {
                self.digits(EXCLUDED);
                self.number(number);
            }
        }
    }
}

/// Whether alternatives are so few and so plain that they are packed.
fn fits(accepted: Accepted<'_>) -> bool {
    // Whatever is added to the alternatives and not named here must make them dear.
    let Accepted { equals, present: _, absent: _, ranges, texts, anything_but, composed } = accepted;
    let few = |count: usize| count <= FEW;
    // The highest bits of a number say what it is.
    let small = |number: Number| match number {
        Number::Integer(whole) => whole.unsigned_abs() < 1 << 64,
        Number::Real(_) => true,
    };
    let of_ranges = ranges.iter().flat_map(|(low, high)| [low, high]).filter_map(|bound| match bound {
        Bound::Included(number) | Bound::Excluded(number) => Some(number),
        Bound::Unbounded => None,
    });
    few(equals.texts().count())
        && few(equals.numbers().count())
        && few(ranges.iter().count())
        && equals.numbers().chain(of_ranges).all(small)
        && texts.is_empty()
        && anything_but.is_empty()
        && composed.is_none()
}
