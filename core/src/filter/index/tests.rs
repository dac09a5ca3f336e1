//! The index against plain evaluation, on generated filters and events; and that these tests would notice a fault.
//!
//! A pair is one clause and one event. `TIDINGS_FILTER_PAIRS=100000000` makes as many of them; without it there are about two
//! million. Everything comes of one number, which a failure names.

use std::{collections::BTreeMap, env};

use serde_json::{Map, Value, json};

use super::{block::Apart, open::Open, partition::Rest, word::Word, *};
use crate::{
    catalog::Catalog,
    codec::tape::Tape,
    domain::{DestinationId, EventSelector, Subscription, SubscriptionId, TypeSelector},
    filter::{Clause, compile},
};

mod few;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len())]
    }
}

const WORDS: [&str; 14] = [
    "",
    "a",
    "alpha",
    "alpine",
    "Alpha",
    "ALPHA",
    "beta",
    "betamax",
    "gamma-1",
    "gamma-2",
    "x-gamma-1",
    "é",
    "\u{130}stanbul",
    "a text of some length that ends in alpha",
];
const NUMBERS: [&str; 13] =
    ["-3", "-1", "0", "1", "1.0", "2", "2.5", "0.1", "3", "9007199254740993", "2305843009213693953", "1e300", "-1e300"];
/// The whole ones of few digits stand before the others.
const WHOLE: usize = 8;
/// Equals nothing and lies in no range; a filter cannot ask for it.
const BEYOND: &str = "1e400";
/// Plain fields, fields of an object, and fields below what may be an array of objects.
const FIELDS: [&str; 9] =
    ["/text", "/number", "/mixed", "/tags", "/in/text", "/in/number", "/in/deep/mixed", "/many/text", "/many/number"];
/// Fields of many values: what is rare decides here.
const RARE: [&str; 2] = ["/id", "/in/id"];
const RARE_VALUES: usize = 3_000;

fn number(text: &str) -> Value {
    serde_json::from_str(text).expect("a number")
}

fn literal(chance: &mut Chance, field: &str) -> Value {
    match (field.rsplit('/').next(), chance.below(8)) {
        (Some("number"), 0..7) => number(NUMBERS[chance.below(WHOLE)]),
        (Some("mixed"), 0..3) => number(NUMBERS[chance.below(NUMBERS.len())]),
        (Some("mixed"), 3) | (_, 7) => chance.pick(&[json!(null), json!(true), json!(false)]).clone(),
        _ => json!(chance.pick(&WORDS)),
    }
}

fn several<T>(chance: &mut Chance, most: usize, mut make: impl FnMut(&mut Chance) -> T) -> Vec<T> {
    (0..1 + chance.below(most)).map(|_| make(chance)).collect()
}

/// Made so that each operator is true of a fair part of the values that [`event`] makes.
fn alternative(chance: &mut Chance, field: &str) -> Vec<Value> {
    let part = |chance: &mut Chance| ["a", "alp", "al", "gamma", "b", "x-g", "be"][chance.below(7)];
    let end = |chance: &mut Chance| ["a", "-1", "pha", "max", "ne", "2", "ha"][chance.below(7)];
    let like = |chance: &mut Chance| ["a*", "*a", "*alp*", "*-*", "g*-1", "*a*a*", "be*x"][chance.below(7)];
    let limit = |chance: &mut Chance| {
        number(["-1", "0", "1", "2", "3", "2.5", "0.1"][chance.below(if field == "/number" { 5 } else { 7 })])
    };
    let is_number = field.ends_with("number");
    match chance.below(if is_number { 9 } else { 22 }) {
        0..4 => several(chance, 9, |chance| literal(chance, field)),
        4 => vec![json!({"anything-but": several(chance, 5, |chance| literal(chance, field))})],
        5 => vec![json!({"exists": chance.one_in(2)})],
        6 => vec![json!({"numeric": [*chance.pick(&["<", "<=", ">", ">="]), limit(chance)]})],
        7 => vec![json!({"numeric": [">=", -1, "<", 3]})],
        8 => vec![json!({"numeric": ["<", limit(chance)]}), json!({"numeric": [">", 2]}), literal(chance, field)],
        9 => several(chance, 14, |chance| json!({"prefix": part(chance)})),
        10 => several(chance, 14, |chance| json!({"suffix": end(chance)})),
        11 => several(chance, 5, |chance| json!({"contains": part(chance)})),
        12 => several(chance, 14, |chance| json!({"prefix": {"equals-ignore-case": part(chance)}})),
        13 => several(chance, 12, |chance| json!({"equals-ignore-case": *chance.pick(&WORDS)})),
        14 => vec![json!({"anything-but": {"prefix": several(chance, 2, part)}})],
        15 => vec![json!({"anything-but": {"suffix": several(chance, 2, end)}}), literal(chance, field)],
        16 => vec![
            json!({"anything-but": several(chance, 3, |chance| literal(chance, field))}),
            json!({"prefix": part(chance)}),
        ],
        17 => vec![json!({"suffix": {"equals-ignore-case": end(chance)}}), json!({"exists": false})],
        18 => several(chance, 5, |chance| json!({"wildcard": like(chance)})),
        19 => vec![json!({"anything-but": {"wildcard": like(chance)}})],
        20 => {
            vec![json!({"all": [several(chance, 14, |chance| literal(chance, field)), {"anything-but": part(chance)}]})]
        }
        _ => vec![json!({"not": several(chance, 9, |chance| literal(chance, field))})],
    }
}

/// A tree of the fields, which are written as pointers.
fn put(object: &mut Map<String, Value>, pointer: &str, value: Value) {
    match pointer[1..].split_once('/') {
        None => drop(object.insert(pointer[1..].to_owned(), value)),
        Some((name, _)) => {
            let inner = object.entry(name).or_insert_with(|| json!({}));
            if let Value::Object(inner) = inner {
                put(inner, &pointer[1 + name.len()..], value);
            }
        }
    }
}

fn filter(chance: &mut Chance, rare: bool) -> Map<String, Value> {
    let mut filter = Map::new();
    for _ in 0..chance.below(4) {
        let field = *chance.pick(&FIELDS);
        put(&mut filter, field, Value::Array(alternative(chance, field)));
    }
    if chance.one_in(12) {
        let field = *chance.pick(&FIELDS);
        let one = |chance: &mut Chance| {
            let mut filter = Map::new();
            put(&mut filter, field, Value::Array(vec![literal(chance, field)]));
            Value::Object(filter)
        };
        filter.insert("$or".to_owned(), json!([one(chance), one(chance)]));
    }
    if rare && !chance.one_in(4) {
        let values = several(chance, 3, |chance| json!(format!("id-{}", chance.below(RARE_VALUES))));
        put(&mut filter, RARE[usize::from(chance.one_in(4))], Value::Array(values));
    }
    filter
}

fn scalar(chance: &mut Chance, field: &str) -> Value {
    match chance.below(24) {
        0 => number(BEYOND),
        1 => json!({"an": "object"}),
        2 => json!(format!("unheard of {}", chance.below(5))),
        _ => literal(chance, field),
    }
}

fn data(chance: &mut Chance) -> Value {
    let mut data = Map::new();
    for field in FIELDS.iter().filter(|field| !field.starts_with("/many")) {
        let value = match chance.below(10) {
            0 => continue,
            1 => Value::Array((0..chance.below(4)).map(|_| scalar(chance, field)).collect()),
            2 => json!([scalar(chance, field), [scalar(chance, field)]]),
            _ if *field == "/tags" => Value::Array((0..chance.below(3)).map(|_| scalar(chance, field)).collect()),
            _ => scalar(chance, field),
        };
        put(&mut data, field, value);
    }
    for field in RARE {
        put(&mut data, field, json!(format!("id-{}", chance.below(RARE_VALUES))));
    }
    let object = |chance: &mut Chance| {
        let mut object = Map::new();
        for field in ["text", "number"].iter().filter(|_| true) {
            if !chance.one_in(4) {
                object.insert((*field).to_owned(), scalar(chance, field));
            }
        }
        Value::Object(object)
    };
    let many = match chance.below(6) {
        0 => json!([object(chance), object(chance)]),
        1 => json!([[object(chance)], "a word"]),
        2 => json!(["no", "object"]),
        3 => json!("a word"),
        _ => object(chance),
    };
    data.insert("many".to_owned(), many);
    Value::Object(data)
}

const TYPES: [&str; 2] = ["t.one", "t.two"];

fn rule(chance: &mut Chance, number: usize, rare: bool, one_type: bool) -> Arc<Rule> {
    let count = if chance.one_in(5) { 2 } else { 1 };
    let clauses = (0..count).map(|_| {
        let selector = EventSelector { event_type: TypeSelector::Any, filter: filter(chance, rare).into() };
        let clause = compile(&selector, &Catalog::default(), "").expect("a valid filter");
        let event_type = match chance.below(8) {
            0 if !one_type => None,
            1 if !one_type => Some(TYPES[1].into()),
            _ => Some(TYPES[0].into()),
        };
        Clause { event_type, ..clause }
    });
    let clauses = clauses.collect();
    let subscription = Subscription {
        team: TeamId::new("acme").expect("a name"),
        id: SubscriptionId::new(&format!("s{number}")).expect("a name"),
        revision: 1,
        name: None,
        enabled: true,
        events: Vec::new().into(),
        destinations: vec![DestinationId::new("hook").expect("a name")].into(),
    };
    Arc::new(Rule::of(Arc::new(subscription), clauses))
}

fn event(chance: &mut Chance) -> Event {
    Event {
        team: TeamId::new("acme").expect("a name"),
        id: "1".into(),
        source: "test".into(),
        event_type: TYPES[usize::from(chance.one_in(5))].into(),
        time: None,
        subject: None,
        data: data(chance),
    }
}

fn ids(rules: &[&Arc<Rule>]) -> Vec<String> {
    rules.iter().map(|rule| rule.subscription.id.to_string()).collect()
}

/// The first event of which the index says something else than plain evaluation of every rule, of a value and of a text.
fn difference(index: &Index, rules: &BTreeMap<String, Arc<Rule>>, events: &[Event]) -> Option<String> {
    events.iter().find_map(|event| {
        let expected: Vec<&Arc<Rule>> = rules.values().filter(|rule| rule.matches(event)).collect();
        let found = index.matching(event);
        let (text, mut tape) = (event.data.to_string(), Tape::new());
        let read =
            tape.read_json(text.as_bytes()).ok().map(|view| index.matching_data(&event.team, &event.event_type, view));
        (ids(&found) != ids(&expected) || read.is_some_and(|read| ids(&read) != ids(&expected))).then(|| {
            format!("{}: found {:?}, expected {:?}, of {}", event.event_type, ids(&found), ids(&expected), event.data)
        })
    })
}

fn by_id(rules: impl IntoIterator<Item = Arc<Rule>>) -> BTreeMap<String, Arc<Rule>> {
    rules.into_iter().map(|rule| (rule.subscription.id.to_string(), rule)).collect()
}

/// An index of `count` rules, half of them after changes, and the rules that are in it.
fn changed(chance: &mut Chance, count: usize, rare: bool, one_type: bool) -> (Index, BTreeMap<String, Arc<Rule>>) {
    let mut rules = by_id((0..count).map(|number| rule(chance, number, rare, one_type)));
    let mut index = Index::of(rules.values().cloned());
    for change in 0..count.div_ceil(2) {
        let number = chance.below(count + count / 10 + 1);
        let new = rule(chance, number, rare, one_type);
        let id = new.subscription.id.to_string();
        if let Some(old) = rules.remove(&id) {
            index.remove(&old);
        }
        if !chance.one_in(4) {
            index.insert(&new);
            rules.insert(id, new);
        }
        if chance.one_in(20) || change == count / 4 {
            index.settle();
        }
    }
    (index, rules)
}

/// How many pairs of each size are tried; the environment may ask for more.
fn rounds() -> u64 {
    let pairs = env::var("TIDINGS_FILTER_PAIRS").ok().and_then(|pairs| pairs.parse::<u64>().ok());
    pairs.map_or(1, |pairs| pairs.div_ceil(PAIRS_PER_ROUND))
}

/// Two indexes of each of 1, 60, 600 and 10,000 rules of 1.2 clauses each.
const PAIRS_PER_ROUND: u64 = 2_000_000;

#[test]
fn the_index_is_plain_evaluation() {
    let mut pairs = 0;
    for round in 0..rounds() {
        // Rules, indexes, events for each.
        for (count, indexes, events) in [(1, 2_000, 10), (60, 60, 60), (600, 6, 100), (10_000, 1, 50)] {
            for number in 0..indexes {
                let seed = round << 32 | (count as u64) << 16 | number;
                let chance = &mut Chance(seed);
                let rare = count >= 600;
                let events: Vec<Event> = (0..events).map(|_| event(chance)).collect();
                let rules = by_id((0..count).map(|number| rule(chance, number, rare, number % 2 == 0)));
                let built = (Index::of(rules.values().cloned()), rules);
                for (mut index, rules) in [built, changed(chance, count, rare, number % 2 == 0)] {
                    assert_eq!(difference(&index, &rules, &events), None, "seed {seed}, {count} rules");
                    let before = format!("{index:?}");
                    index.settle();
                    assert_eq!(format!("{index:?}").split(", ").next(), before.split(", ").next());
                    assert_eq!(
                        difference(&index, &rules, &events[..events.len().min(20)]),
                        None,
                        "seed {seed}, settled"
                    );
                    pairs += (events.len() * rules.values().map(|rule| rule.clauses().len()).sum::<usize>()) as u64;
                    if count <= 60 {
                        rules.values().for_each(|rule| index.remove(rule));
                        assert_eq!(format!("{index:?}"), format!("{:?}", Index::new()), "seed {seed}");
                    }
                }
            }
        }
    }
    assert!(pairs >= rounds() * 1_500_000, "only {pairs} pairs");
}

/// Pairs that are nearly always true, or never, would prove little.
#[test]
fn every_operator_is_true_of_some_values_and_false_of_others() {
    let chance = &mut Chance(7);
    let mut of_operator: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for _ in 0..60_000 {
        let field = *chance.pick(&FIELDS[..3]);
        let tests = alternative(chance, field);
        let name = match &tests[0] {
            Value::Object(test) => {
                let (name, value) = test.iter().next().expect("an operator");
                match value {
                    Value::Object(inner) => format!("{name} {}", inner.keys().next().expect("an operator")),
                    _ => name.clone(),
                }
            }
            _ => "equals".to_owned(),
        };
        let mut filter = Map::new();
        put(&mut filter, field, Value::Array(tests));
        let selector = EventSelector { event_type: TypeSelector::Any, filter: filter.into() };
        let clause = compile(&selector, &Catalog::default(), "").expect("a valid filter");
        let counts = of_operator.entry(name).or_default();
        counts.0 += u32::from(clause.matches(&data(chance)));
        counts.1 += 1;
    }
    assert!(of_operator.len() >= 10, "{of_operator:?}");
    let shares = of_operator.iter().map(|(name, (held, tried))| (name, f64::from(*held) / f64::from(*tried), tried));
    let one_sided = shares.filter(|(_, share, _)| !(0.2..=0.8).contains(share)).collect::<Vec<_>>();
    assert!(one_sided.is_empty(), "operators, the part of their pairs that is true, and their pairs: {one_sided:?}");
}

/// One fault in each structure of a block, as a wrong build would make it: the comparison above finds every one.
#[test]
fn a_fault_in_any_structure_is_found() {
    let check = |name: &str, count: usize, spoil: &dyn Fn(&mut Block) -> bool| {
        let chance = &mut Chance(count as u64);
        let rules = by_id((0..count).map(|number| rule(chance, number, count >= 600, true)));
        let events: Vec<Event> = (0..3_000_000 / count).take(5_000).map(|_| event(chance)).collect();
        let mut index = Index::of(rules.values().cloned());
        assert_eq!(difference(&index, &rules, &events[..50]), None, "{name}: sound before");
        let hash = key_hash("acme", Some(TYPES[0]));
        let partition =
            index.partitions.get_mut(hash, |known| known.is_of("acme", Some(TYPES[0]))).expect("a partition");
        let block = partition.block.as_mut().expect("a block");
        assert!(spoil(block), "{name}: nothing to spoil among {count} rules");
        assert!(difference(&index, &rules, &events).is_some(), "{name}: unnoticed among {count} rules");
    };
    for count in [60, 600, 1_500] {
        check("a row lost in a column's other rows", count, &|block| {
            let places = sets(block);
            block.spoil_body(|mut body| places.iter().map(|place| body.words()[*place] &= !0xFF).count() > 0)
        });
        check("a row too many in a column's absent rows", count, &|block| {
            let (width, places) = (block.width(), sets(block));
            block.spoil_body(|mut body| places.iter().map(|place| body.words()[*place + width] |= 0xFF).count() > 0)
        });
        check("a value looked up by its hash alone", count, &|block| {
            // What stands under each hash is another text of the same length.
            let long: Vec<bool> =
                block.body().tags.iter().map(|tag| Word { tag: *tag, bytes: [0; 3] }.is_long()).collect();
            block.spoil_body(|mut body| {
                let short = body.values().iter_mut().zip(long).filter(|(_, long)| !long);
                short.map(|(value, _)| value.bytes[0] ^= 1).count() > 0
            })
        });
        check("a long value looked up by its hash alone", count, &|block| {
            block.spoil_body(|mut body| body.texts().iter_mut().map(|byte| *byte ^= 1).count() > 0)
        });
        check("values out of order", count, &|block| {
            let of_column = |column: &body::Column| column.values as usize..(column.values + column.count) as usize;
            let places: Vec<_> = block.body().columns.iter().map(of_column).collect();
            block.spoil_body(|mut body| {
                for places in places {
                    let values = &mut body.values()[places];
                    let rows: Vec<[u32; 2]> = values.iter().rev().map(|value| value.rows).collect();
                    values.iter_mut().zip(rows).for_each(|(value, rows)| value.rows = rows);
                }
                body.values().len() > 2
            })
        });
        check("hashes that stand at other values", count, &|block| {
            block.spoil_body(|mut body| body.tags().rotate_left(1));
            block.body().tags.len() > 1
        });
        check("exact bounds off by one", count, &|block| {
            block.spoil_apart(|apart| {
                let wide = apart.dear.iter_mut().filter_map(|dear| dear.wide.as_mut());
                wide.filter_map(|wide| wide.bounds.as_mut()).map(|bounds| bounds.reverse()).count() > 0
            })
        });
        check("booleans and null like any value", count, &|block| {
            let none = |extra: &mut body::Extra| extra.literals = [body::NONE; 3];
            block.spoil_body(|mut body| body.extras().iter_mut().map(none).count() > 0)
        });
        check("no text is tried in part", count, &|block| {
            block.spoil_apart(|apart| apart.dear.iter_mut().filter_map(|dear| dear.predicates.take()).count() > 0)
        });
        check("nothing is verified", count, &|block| {
            block.spoil_body(|mut body| mem::replace(&mut body.head().verified, body::NONE) != body::NONE)
        });
        check("two rules in each other's place", count, &|block| {
            // Rows side by side may be of one rule.
            block.spoil_apart(|Apart { rules, .. }| {
                let other = rules.iter().position(|rule| !Arc::ptr_eq(rule, &rules[0]));
                other.inspect(|other| rules.swap(0, *other)).is_some()
            })
        });
        check("nobody asks for a field", count, &|block| {
            let words = block.body().columns.len() * block.width();
            let asking = block.body().head.asking as usize;
            block.spoil_body(|mut body| body.words()[asking..][..words].fill(0));
            true
        });
    }
    // Of more than 64 rows, sets are always written.
    check("every column accepts the same with another value as with none", 30, &|block| {
        block.spoil_body(|mut body| {
            let sets = body.columns().iter_mut().map(|column| mem::replace(&mut column.sets, body::NONE));
            sets.filter(|sets| *sets != body::NONE).count() > 0
        })
    });
    // Many bounds are kept in another form.
    check("a bound of numbers inclusive instead of exclusive", 50, &|block| {
        let whole =
            block.body().extras.iter().filter(|extra| Open::of(block).wide(extra).is_none() && extra.bounds > 0);
        let keys: Vec<usize> =
            whole.flat_map(|extra| extra.keys as usize..(extra.keys + extra.bounds) as usize).collect();
        block.spoil_body(|mut body| {
            keys.iter().for_each(|key| body.words()[*key] = body.words()[*key].wrapping_sub(1));
            !keys.is_empty()
        })
    });
    check("a list of rows lost", 600, &|block| {
        let first = 2 * block.body().columns.len();
        block.spoil_body(|mut body| body.lists()[first..].iter_mut().map(|row| *row = (*row).min(1)).count() > 0)
    });
    check("sizes of sets unknown", 1_500, &|block| {
        // Where a column seems to accept nobody, only its listed rows are looked at.
        let sets = 2 * block.body().columns.len();
        block.spoil_body(|mut body| body.lists()[..sets].fill(0));
        true
    });
}

/// Layers are found by changes only, so their faults are sought after some.
#[test]
fn a_fault_in_any_layer_is_found() {
    type Spoil = fn(&mut Rest);
    let faults: [(&str, Spoil); 3] = [
        ("layers in any order", |rest| rest.layers.iter_mut().for_each(|layer| layer.ranks = Arc::default())),
        ("a row that is gone is there", |rest| rest.dead = Box::default()),
        ("a layer lost", |rest| drop(rest.layers.pop())),
    ];
    for (name, spoil) in faults {
        let chance = &mut Chance(13);
        // Of one type: where rules for any type match too, all are put in order by their ids.
        let (mut index, rules) = changed(chance, 600, true, true);
        index.settle();
        let events: Vec<Event> = (0..2_000).map(|_| event(chance)).collect();
        assert_eq!(difference(&index, &rules, &events[..50]), None, "{name}: sound before");
        let hash = key_hash("acme", Some(TYPES[0]));
        let partition =
            index.partitions.get_mut(hash, |known| known.is_of("acme", Some(TYPES[0]))).expect("a partition");
        let rest = Arc::make_mut(partition.rest.as_mut().expect("changed"));
        assert!(!rest.layers.is_empty() && !rest.dead.is_empty(), "{name}: nothing to spoil");
        spoil(rest);
        assert!(difference(&index, &rules, &events).is_some(), "{name}: unnoticed");
    }
}

/// Where the written sets of columns begin.
fn sets(block: &Block) -> Vec<usize> {
    let columns = block.body().columns.iter().filter(|column| column.sets != body::NONE);
    columns.map(|column| column.sets as usize).collect()
}

/// Rows of one rule are known beforehand: whoever forgets them gives it out again and again.
#[test]
fn a_rule_of_several_clauses_is_given_out_once() {
    let chance = &mut Chance(11);
    for count in [20, 200, 2_000] {
        let selector = EventSelector { event_type: TypeSelector::Any, filter: Map::new().into() };
        let clause = compile(&selector, &Catalog::default(), "").expect("a valid filter");
        let rules = by_id((0..count).map(|number| {
            let plain = rule(chance, number, false, true);
            Arc::new(Rule::of(plain.subscription.clone(), vec![clause.clone(); 2]))
        }));
        let mut index = Index::of(rules.values().cloned());
        let events = [event(chance)];
        assert_eq!(difference(&index, &rules, &events), None, "{count} rules");
        let partition = index.partitions.get_mut(key_hash("acme", None), |known| known.is_of("acme", None));
        let block = partition.and_then(|partition| partition.block.as_mut()).expect("a block");
        block.spoil_body(|mut body| body.head().repeats = body::NONE);
        assert!(difference(&index, &rules, &events).is_some(), "{count} rules");
    }
}

/// Somebody who knows the hash can make as many texts of one as they like.
#[test]
fn texts_of_one_hash_are_told_apart() {
    let chance = &mut Chance(3);
    // A few are compared one by one, many are searched.
    for (begin, count) in [("value", 40), ("a value of some length", 40), ("value", 5), ("a value of some length", 5)] {
        let texts: Vec<String> = (0..count).map(|i| format!("{begin} {i:02}")).collect();
        let rules: Vec<Arc<Rule>> = (0..count)
            .map(|number| {
                let filter = Map::from_iter([("text".to_owned(), json!([texts[number]]))]);
                let selector = EventSelector { event_type: TypeSelector::Any, filter: filter.into() };
                let clause = compile(&selector, &Catalog::default(), "").expect("a valid filter");
                let plain = rule(chance, number, false, true);
                Arc::new(Rule::of(plain.subscription.clone(), vec![clause]))
            })
            .collect();
        let mut index = Index::of(rules.iter().cloned());
        let partition = index.partitions.get_mut(key_hash("acme", None), |known| known.is_of("acme", None));
        let block = partition.and_then(|partition| partition.block.as_mut()).expect("a block");
        for text in &texts {
            // As if all had the hash of the one that is asked for.
            let tag = Word::of(text.as_bytes()).tag;
            let texts = block.body().texts.to_vec();
            let words = block.body().tags.iter().zip(block.body().values);
            let mut values: Vec<(Word, [u32; 2])> =
                words.map(|(tag, value)| (Word { tag: *tag, bytes: value.bytes }, value.rows)).collect();
            values.sort_by_key(|(word, _)| word.text(&texts));
            block.spoil_body(|mut body| {
                for (value, (word, rows)) in body.values().iter_mut().zip(values) {
                    (value.bytes, value.rows) = (word.bytes, rows);
                }
                body.tags().fill(tag);
            });
            let mut found = Vec::new();
            let fields = index.fields.clone();
            let data = json!({"text": text});
            let mut source =
                OfDatum { fields: &fields, event_type: "any", data: &data, bill: None, ways: MAX_WAYS_WEIGHT };
            Open::of(block).matching(&[], &mut source, &mut Scratch::default(), &mut found);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].matches(&Event { data: data.clone(), ..event(chance) }), "{text}");
        }
    }
}

#[test]
fn a_large_partition_has_few_layers_while_it_changes() {
    let chance = &mut Chance(5);
    let mut index = Index::new();
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    for number in 0..3_000 {
        let rule = rule(chance, number, true, true);
        index.insert(&rule);
        rules.push(rule);
        if number % 50 == 0 {
            index.settle();
        }
        let rests = index.partitions.values().filter_map(|partition| partition.rest.as_deref());
        let layers = rests.map(|rest| rest.layers.len()).max().unwrap_or(0);
        assert!(layers <= 5, "{layers} layers of {number} rules");
    }
    while let Some(rule) = rules.pop() {
        index.remove(&rule);
        index.settle();
        let there: usize = index.partitions.values().map(Partition::rows).sum();
        let blocks = index.partitions.values().flat_map(|partition| {
            let layers = partition.rest.iter().flat_map(|rest| rest.layers.iter().map(|layer| &layer.block));
            partition.block.iter().chain(layers)
        });
        let held: usize = blocks.map(|block| block.rules().len()).sum();
        assert!(held <= 2 * there, "{held} rows are held for {there} clauses");
    }
    assert_eq!(format!("{index:?}"), format!("{:?}", Index::new()));
}
