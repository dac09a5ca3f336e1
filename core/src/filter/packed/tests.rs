//! What is packed is read again as it was.

use proptest::prelude::*;

use std::ops::Bound;

use super::{
    gathered::{Branch, Leaf},
    *,
};
use crate::filter::{
    Literal, Number, Test, TextTest,
    literals::{FEW, Scalar},
};

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        (-3_i128..3).prop_map(Number::Integer),
        any::<i64>().prop_map(|whole| Number::Integer(whole.into())),
        any::<i128>().prop_map(Number::Integer),
        Just(Number::Integer(1 << 64)),
        Just(Number::Integer(-(1 << 64) + 1)),
        any::<i32>().prop_map(|real| Number::Real(f64::from(real) + 0.5)),
        Just(Number::Real(f64::MIN_POSITIVE)),
        Just(Number::Real(f64::MAX)),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Number>> {
    prop_oneof![Just(Bound::Unbounded), number().prop_map(Bound::Included), number().prop_map(Bound::Excluded)]
}

/// Some longer than one digit tells, some of more than one byte a character.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "\\PC{0,9}", "[\u{e9}x]{60,70}", Just("\0@\u{10ffff}".to_owned())]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        1 => Just(Literal::Null),
        1 => any::<bool>().prop_map(Literal::Boolean),
        3 => number().prop_map(Literal::Number),
        5 => text().prop_map(|text| Literal::Text(text.into())),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        8 => literal().prop_map(Test::Equals),
        1 => any::<bool>().prop_map(Test::Exists),
        3 => (bound(), bound()).prop_map(|(low, high)| Test::Numeric(low, high)),
        1 => prop::collection::vec(literal(), 1..6).prop_map(Test::AnythingBut),
        3 => text().prop_map(|text| Test::Text(TextTest::Prefix(text.into()))),
    ]
}

fn alternatives() -> impl Strategy<Value = Alternatives> {
    prop::collection::vec(test(), 0..7).prop_map(Alternatives::new)
}

/// Everything in it, in words, as it is read from where it was packed.
fn unpacked(asked: Asked<'_>, told: &mut Vec<String>) {
    for item in asked.items() {
        match item {
            Item::Leaf(Condition { filter, field, accepted }) => told.push(format!("{filter} {field} {accepted}")),
            Item::Inner(field, inside) => {
                told.push(format!("in {field}"));
                unpacked(inside, told);
                told.push("out".to_owned());
            }
            Item::Group(group) => told.push(group.to_string()),
        }
    }
}

fn as_gathered(branch: &Branch, told: &mut Vec<String>) {
    for Leaf { filter, field, alternatives } in &branch.leaves {
        told.push(format!("{filter} {field} {alternatives}"));
    }
    for (field, inside) in &branch.inner {
        told.push(format!("in {field}"));
        as_gathered(inside, told);
        told.push("out".to_owned());
    }
    told.extend(branch.groups.iter().map(Group::to_string));
}

fn leaves() -> impl Strategy<Value = Vec<Leaf>> {
    let leaf = (text(), text(), any::<bool>(), alternatives()).prop_map(|(filter, field, same, alternatives)| {
        let filter = if same { field.clone() } else { filter };
        Leaf { filter: filter.into(), field: field.into(), alternatives }
    });
    prop::collection::vec(leaf, 0..4)
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let group = (text(), alternatives()).prop_map(|(filter, alternatives)| {
        let leaf = Leaf { filter: filter.clone().into(), field: "field".into(), alternatives };
        Group::Not(filter.into(), Branch { leaves: vec![leaf], ..Branch::default() }.pack())
    });
    prop::collection::vec(group, 0..2)
}

fn branch() -> impl Strategy<Value = Branch> {
    let deepest = (leaves(), groups()).prop_map(|(leaves, groups)| Branch { leaves, groups, inner: Vec::new() });
    deepest.prop_recursive(3, 12, 3, |inside| {
        let inner = prop::collection::vec((text().prop_map(Box::from), inside), 0..3);
        (leaves(), inner, groups()).prop_map(|(leaves, inner, groups)| Branch { leaves, inner, groups })
    })
}

proptest! {
    /// Plain evaluation and the index both read what is packed, so that neither would find what the other lost.
    #[test]
    fn what_is_packed_is_what_was_gathered(branch in branch()) {
        let (mut gathered, mut told) = (Vec::new(), Vec::new());
        as_gathered(&branch, &mut gathered);
        unpacked(branch.pack().asked(), &mut told);
        prop_assert_eq!(gathered, told);
    }

    /// Told in words a number could be rounded.
    #[test]
    fn numbers_and_texts_are_found_again(alternatives in alternatives(), scalar in literal()) {
        let leaf = Leaf { filter: "f".into(), field: "f".into(), alternatives: alternatives.clone() };
        let packed = Branch { leaves: vec![leaf], ..Branch::default() }.pack();
        let Some(Item::Leaf(found)) = packed.asked().items().next() else { panic!("a leaf") };
        let accepted = alternatives.accepted();
        prop_assert!(accepted.equals.numbers().eq(found.accepted.equals.numbers()));
        prop_assert!(accepted.ranges.iter().eq(found.accepted.ranges.iter()));
        let probes = accepted.equals.numbers().map(|number| Scalar::Number(Some(number)));
        let probes = probes.chain(accepted.equals.texts().map(Scalar::Text)).chain([match &scalar {
            Literal::Null => Scalar::Null,
            Literal::Boolean(boolean) => Scalar::Boolean(*boolean),
            Literal::Number(number) => Scalar::Number(Some(*number)),
            Literal::Text(text) => Scalar::Text(text),
        }]);
        for scalar in probes {
            prop_assert_eq!(accepted.accept(scalar), found.accepted.accept(scalar));
        }
    }
}

#[test]
fn what_most_conditions_are_is_not_dear() {
    let leaf =
        |tests: Vec<Test>| Leaf { filter: "f".into(), field: "f".into(), alternatives: Alternatives::new(tests) };
    let is_dear = |tests| Branch { leaves: vec![leaf(tests)], ..Branch::default() }.pack().dear.is_some();
    let text = |text: &str| Test::Equals(Literal::Text(text.into()));
    let range = || Test::Numeric(Bound::Excluded(Number::Integer(9)), Bound::Unbounded);
    assert!(!is_dear(vec![text("paid"), text("trial"), range(), Test::Exists(false)]));
    assert!(!is_dear((0..FEW).map(|n| text(&n.to_string())).collect()));
    assert!(is_dear((0..=FEW).map(|n| text(&n.to_string())).collect()));
    assert!(is_dear(vec![Test::AnythingBut(vec![Literal::Null])]));
}
