//! Conditions as they are gathered from a filter, and how they are packed.

use std::ops::Bound;

use super::{
    ABSENT, Beside, Choice, DEAR, Dear, GROUP, Group, INNER, LEAF, NO, NULL, OfAttribute, PRESENT, Packed, SAME, YES,
};
use crate::filter::{
    Attribute,
    alternatives::{Accepted, Alternatives},
    coded::Writer,
    literals::FEW,
    pattern::Tests,
};
/// Conditions on the fields of one object, as they are gathered.
#[derive(Debug, Default)]
pub struct Branch {
    pub leaves: Vec<Leaf>,
    /// By field, each field once.
    pub inner: Vec<(Box<str>, Branch)>,
    /// What must hold beside these and is no condition on a single field.
    pub groups: Vec<Group>,
}

/// A condition on one field.
#[derive(Debug)]
pub struct Leaf {
    /// The filter keys that lead here, as the subscription names them: `licenseFields.seats`.
    pub filter: Box<str>,
    pub field: Box<str>,
    pub alternatives: Alternatives,
}

// === impl Branch ===

impl Branch {
    pub fn pack(self) -> Packed {
        let mut dear = Vec::new();
        let text = conditions(self, &mut dear);
        Packed { text: text.into(), dear: (!dear.is_empty()).then(|| Box::new(Beside(dear.into()))) }
    }

    /// The condition, if it is the only one.
    fn alone(&self) -> Option<&Leaf> {
        let Branch { leaves, inner, groups } = self;
        leaves.first().filter(|_| leaves.len() == 1 && inner.is_empty() && groups.is_empty())
    }

    pub fn attribute(&mut self, attribute: Attribute, label: String, tests: Tests) {
        let of_attribute = OfAttribute { filter: label.into(), alternatives: Alternatives::of(tests) };
        self.groups.push(Group::Attribute(attribute, of_attribute));
    }

    /// Adds another's conditions: then those of both must hold.
    pub fn absorb(&mut self, other: Branch) {
        self.leaves.extend(other.leaves);
        for (field, inner) in other.inner {
            self.at(&[field.into()]).absorb(inner);
        }
        self.groups.extend(other.groups);
    }

    /// The branch at a path of fields, made where it is missing.
    pub fn at(&mut self, path: &[String]) -> &mut Branch {
        let Some((field, rest)) = path.split_first() else { return self };
        let place = self.inner.iter().position(|(name, _)| **name == **field);
        let place = place.unwrap_or_else(|| {
            self.inner.push((field.as_str().into(), Branch::default()));
            self.inner.len() - 1
        });
        self.inner[place].1.at(rest)
    }
}

// === impl Choice ===

impl Choice {
    pub fn of(several: Vec<Branch>) -> Choice {
        let mut fields: Vec<(&str, Vec<&Alternatives>)> = Vec::new();
        for leaf in several.iter().filter_map(Branch::alone) {
            match fields.iter_mut().find(|(field, _)| *field == &*leaf.field) {
                Some((_, same)) => same.push(&leaf.alternatives),
                None => fields.push((&leaf.field, vec![&leaf.alternatives])),
            }
        }
        fields.retain(|(_, same)| same.len() > 1);
        let union = |(field, same): (&str, Vec<&Alternatives>)| {
            (field.into(), Alternatives::union(same.into_iter().map(Alternatives::accepted)))
        };
        let together: Box<[(Box<str>, Alternatives)]> = fields.into_iter().map(union).collect();
        let among = |leaf: &Leaf| together.iter().any(|(field, _)| *field == leaf.field);
        let is_apart = |(_, branch): &(usize, &Branch)| !branch.alone().is_some_and(among);
        let apart = several.iter().enumerate().filter(is_apart).map(|(place, _)| place).collect();
        Choice { several: several.into_iter().map(Branch::pack).collect(), together, apart }
    }
}

// === impl Leaf ===

impl Leaf {
    pub fn new(filter: String, field: &str, tests: Tests) -> Leaf {
        Leaf { filter: filter.into(), field: field.into(), alternatives: Alternatives::of(tests) }
    }
}

/// What is dear is put to the rest of it.
fn conditions(branch: Branch, dear: &mut Vec<Dear>) -> String {
    let mut text = Writer::default();
    // Whatever else a branch comes to hold must be written too.
    let Branch { leaves, inner, groups } = branch;
    for of_leaf in leaves {
        leaf(of_leaf, &mut text, dear);
    }
    for (field, branch) in inner {
        text.digits(INNER);
        text.string(&field);
        text.string(&conditions(branch, dear));
    }
    for group in groups {
        text.digits(GROUP);
        beside(Dear::Group(Box::new(group)), &mut text, dear);
    }
    text.0
}

fn beside(one: Dear, text: &mut Writer, dear: &mut Vec<Dear>) {
    text.digits(dear.len() as u32);
    dear.push(one);
}

fn leaf(leaf: Leaf, text: &mut Writer, dear: &mut Vec<Dear>) {
    let Leaf { filter, field, alternatives } = leaf;
    let is_dear = !fits(alternatives.accepted());
    let same = filter == field;
    text.digits(LEAF | if same { SAME } else { 0 } | if is_dear { DEAR } else { 0 });
    text.string(&field);
    if !same {
        text.string(&filter);
    }
    if !is_dear {
        return accepted(alternatives.accepted(), text);
    }
    let one = match alternatives.into_texts() {
        Ok(texts) => Dear::Texts(texts),
        Err(alternatives) => Dear::Alternatives(alternatives),
    };
    beside(one, text, dear);
}

fn accepted(accepted: Accepted<'_>, text: &mut Writer) {
    let [null, yes, no] = accepted.equals.words();
    let flags = [(null, NULL), (yes, YES), (no, NO), (accepted.present, PRESENT), (accepted.absent, ABSENT)];
    text.digits(flags.into_iter().filter(|(there, _)| *there).map(|(_, flag)| flag).sum());
    text.sized(|text| accepted.equals.texts().for_each(|named| text.string(named)));
    text.sized(|text| accepted.equals.numbers().for_each(|named| text.number(named)));
    text.sized(|text| {
        for (low, high) in accepted.ranges.iter() {
            text.bound(low);
            text.bound(high);
        }
    });
}

/// Whether alternatives are so few and so plain that they are packed.
fn fits(accepted: Accepted<'_>) -> bool {
    // Whatever is added to the alternatives and not named here must make them dear.
    let Accepted { equals, present: _, absent: _, ranges, texts, anything_but, composed } = accepted;
    let few = |count: usize| count <= FEW;
    let of_ranges = ranges.iter().flat_map(|(low, high)| [low, high]).filter_map(|bound| match bound {
        Bound::Included(number) | Bound::Excluded(number) => Some(number),
        Bound::Unbounded => None,
    });
    few(equals.texts().count())
        && few(equals.numbers().count())
        && few(ranges.iter().count())
        && equals.numbers().chain(of_ranges).all(Writer::takes)
        && texts.is_empty()
        && anything_but.is_empty()
        && composed.is_none()
}
