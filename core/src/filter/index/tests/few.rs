//! Large partitions of which one column leaves few rows, and partitions that share a hash.

use super::*;
use crate::filter::index::block::OTHER;

const ROWS: usize = 2_500;

/// Each clause names some ids; half of them ask for nothing else.
fn of_ids(chance: &mut Chance, number: usize) -> Arc<Rule> {
    let count = if chance.one_in(5) { 2 } else { 1 };
    let clauses = (0..count).map(|_| {
        let mut filter = if chance.one_in(2) { Map::new() } else { filter(chance, false) };
        let ids = several(chance, 3, |chance| json!(format!("id-{}", chance.below(RARE_VALUES))));
        put(&mut filter, RARE[0], Value::Array(ids));
        let selector = EventSelector { event_type: TypeSelector::Any, filter: filter.into() };
        let clause = compile(&selector, &Catalog::default(), "").expect("a valid filter");
        Clause { event_type: Some(TYPES[0].into()), ..clause }
    });
    let clauses = clauses.collect();
    Arc::new(Rule::of(rule(chance, number, false, true).subscription.clone(), clauses))
}

fn partition(index: &mut Index) -> &mut Partition {
    let is = |known: &Partition| known.is_of("acme", Some(TYPES[0]));
    index.partitions.get_mut(key_hash("acme", Some(TYPES[0])), is).expect("a partition")
}

#[test]
fn of_few_rows_each_is_looked_at() {
    let chance = &mut Chance(17);
    let mut rules = by_id((0..ROWS).map(|number| of_ids(chance, number)));
    let events: Vec<Event> = (0..300).map(|_| Event { event_type: TYPES[0].into(), ..event(chance) }).collect();
    let mut index = Index::of(rules.values().cloned());
    let block = partition(&mut index).block.as_mut().expect("a block");
    let places = 0..block.body().columns.len();
    assert!(places.into_iter().any(|place| block.body().lists[2 * place + OTHER] == 0), "no column leaves few rows");
    assert_eq!(difference(&index, &rules, &events), None);

    // So few are gone that nothing is built anew.
    for number in (0..ROWS).step_by(7) {
        let gone = rules.remove(&format!("s{number}")).expect("a rule");
        index.remove(&gone);
    }
    index.settle();
    assert_eq!(difference(&index, &rules, &events), None, "after some have gone");
    let rest = Arc::make_mut(partition(&mut index).rest.as_mut().expect("changed"));
    let dead = mem::take(&mut rest.dead);
    assert!(!dead.is_empty(), "nobody is dead");
    assert!(difference(&index, &rules, &events).is_some(), "a row that is gone is there, unnoticed");

    Arc::make_mut(partition(&mut index).rest.as_mut().expect("changed")).dead = dead;
    let block = partition(&mut index).block.as_mut().expect("a block");
    block.spoil_body(|mut body| body.head().verified = body::NONE);
    assert!(difference(&index, &rules, &events).is_some(), "nothing is verified, unnoticed");
}

#[test]
fn partitions_of_one_hash_are_told_apart() {
    let chance = &mut Chance(19);
    let rules = by_id((0..400).map(|number| rule(chance, number, false, false)));
    let events: Vec<Event> = (0..200).map(|_| Event { event_type: TYPES[1].into(), ..event(chance) }).collect();
    let mut index = Index::of(rules.values().cloned());
    let hashes = TYPES.map(|event_type| key_hash("acme", Some(event_type)));
    let [one, two] = hashes.map(|hash| index.partitions.get(hash, |_| true).expect("a partition").clone());
    index.partitions.remove(hashes[1], |_| true);
    index.partitions.insert(hashes[1], one);
    assert!(difference(&index, &rules, &events).is_some(), "the other type has matches of its own");
    // It stands behind the wrong one.
    index.partitions.insert(hashes[1], two);
    assert_eq!(difference(&index, &rules, &events), None);
}
