//! Patterns and events that meet: few names and few values, so that about every second pair matches.

use serde_json::{Map, Value, json};
use tidings_core::domain::Chance;

/// A pattern, and events for it.
pub struct Question {
    /// The operator that it is about, or `composed`.
    pub about: &'static str,
    pub pattern: Value,
    pub events: Vec<Value>,
}

/// Makes one alternative of a field and values that it may accept.
type Operator = fn(&mut Chance) -> (Value, Values);
type Values = Box<dyn Fn(&mut Chance) -> Value>;

/// What both languages have. `composed` is made of the others.
pub const OPERATORS: [(&str, Operator); 18] = [
    ("text", text),
    ("number", number),
    ("boolean or null", word),
    ("exactly", exactly),
    ("exists", exists),
    ("prefix", prefix),
    ("prefix in any case", prefix_in_any_case),
    ("suffix", suffix),
    ("suffix in any case", suffix_in_any_case),
    ("equals-ignore-case", in_any_case),
    ("wildcard", wildcard),
    ("numeric", numeric),
    ("cidr", cidr),
    ("anything-but values", anything_but),
    ("anything-but prefix", anything_but_prefix),
    ("anything-but suffix", anything_but_suffix),
    ("anything-but in any case", anything_but_in_any_case),
    ("anything-but wildcard", anything_but_wildcard),
];

/// One operator on one field, at the top or in an object; the value alone or in an array.
pub fn of_operator(chance: &mut Chance, about: &'static str, operator: Operator, events: usize) -> Question {
    let (alternative, values) = operator(chance);
    let nested = chance.one_in(3);
    let mut pattern = json!({"f": [alternative]});
    if nested {
        pattern = json!({"o": pattern});
    }
    let event = |chance: &mut Chance| {
        let mut value = values(chance);
        match chance.below(8) {
            0 => value = json!([value]),
            1 => value = json!([value, values(chance)]),
            2 => value = json!([[value], values(chance)]),
            _ => {}
        }
        let mut event = if value == json!(ABSENT) { json!({}) } else { json!({"f": value}) };
        // What the filter does not name.
        event["g"] = values(chance);
        match nested {
            true => json!({"o": event, "f": 1}),
            false => event,
        }
    };
    let events = (0..events).map(|_| event(chance)).map(without_absent).collect();
    Question { about, pattern, events }
}

/// Several fields, objects, arrays of objects, `$or`.
pub fn composed(chance: &mut Chance, events: usize) -> Question {
    let mut sources = Vec::new();
    let mut pattern = fields(chance, &["a", "b", "c"], 2, &mut sources);
    if chance.one_in(2) {
        let inner = fields(chance, &["x", "y"], 2, &mut sources);
        pattern.insert("d".to_owned(), Value::Object(inner));
    }
    if chance.one_in(3) {
        let mut or = |chance: &mut Chance| Value::Object(fields(chance, &["p", "q", "r"], 2, &mut sources));
        let mut alternatives = vec![or(chance), or(chance)];
        if chance.one_in(3) {
            let inner = json!([or(chance), or(chance)]);
            // One name stands in one place only: see the differences.
            alternatives.push(json!({"s": {"$or": inner}}));
        }
        pattern.insert("$or".to_owned(), Value::Array(alternatives));
    }
    let event = |chance: &mut Chance| {
        let mut event = object(chance, &["a", "b", "c", "p", "q", "r"], &sources);
        event.insert("d".to_owned(), objects(chance, &["x", "y"], &sources));
        event.insert("s".to_owned(), objects(chance, &["p", "q", "r"], &sources));
        Value::Object(event)
    };
    let events = (0..events).map(|_| event(chance)).map(without_absent).collect();
    Question { about: "composed", pattern: Value::Object(pattern), events }
}

type Sources = Vec<(String, Values)>;

fn fields(chance: &mut Chance, names: &[&str], at_most: u64, sources: &mut Sources) -> Map<String, Value> {
    let mut fields = Map::new();
    for _ in 0..=chance.below(at_most) {
        let name = names[chance.below(names.len() as u64) as usize];
        let alternatives = (0..=chance.below(2)).map(|_| {
            let (_, operator) = OPERATORS[chance.below(OPERATORS.len() as u64) as usize];
            let (alternative, values) = operator(chance);
            sources.push((name.to_owned(), values));
            alternative
        });
        fields.insert(name.to_owned(), alternatives.collect());
    }
    fields
}

fn object(chance: &mut Chance, names: &[&str], sources: &Sources) -> Map<String, Value> {
    let mut object = Map::new();
    for name in names {
        let known: Vec<&Values> = sources.iter().filter(|(known, _)| known == name).map(|(_, values)| values).collect();
        if known.is_empty() {
            continue;
        }
        let value = |chance: &mut Chance| known[chance.below(known.len() as u64) as usize](chance);
        let first = value(chance);
        let value = if chance.one_in(3) { json!([first, value(chance)]) } else { first };
        object.insert((*name).to_owned(), value);
    }
    object
}

/// An object, or several in an array.
fn objects(chance: &mut Chance, names: &[&str], sources: &Sources) -> Value {
    match chance.below(3) {
        0 => Value::Object(object(chance, names, sources)),
        1 => (0..=chance.below(3)).map(|_| Value::Object(object(chance, names, sources))).collect(),
        _ => json!([[object(chance, names, sources)], object(chance, names, sources)]),
    }
}

/// Stands for no value until the event is finished.
const ABSENT: &str = "\u{1}absent";

fn without_absent(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            values.into_iter().filter(|value| *value != json!(ABSENT)).map(without_absent).collect()
        }
        Value::Object(fields) => {
            let there = fields.into_iter().filter(|(_, value)| *value != json!(ABSENT));
            Value::Object(there.map(|(name, value)| (name, without_absent(value))).collect())
        }
        value => value,
    }
}

// === values ===

fn pick<'v>(chance: &mut Chance, values: &[&'v str]) -> &'v str {
    values[chance.below(values.len() as u64) as usize]
}

/// A text of a and b, now and then with letters of other cases and of two bytes.
fn letters(chance: &mut Chance, at_most: u64) -> String {
    (0..chance.below(at_most + 1)).map(|_| pick(chance, &["a", "b", "a", "b", "a", "b", "A", "é"])).collect()
}

fn other(chance: &mut Chance) -> Value {
    let numbers = ["0", "1", "1.0", "-1.5", "2e0"];
    match chance.below(12) {
        0 => Value::Null,
        1 => json!(chance.one_in(2)),
        2 => serde_json::from_str(pick(chance, &numbers)).unwrap(),
        3 => json!(ABSENT),
        4 => json!({"f": "a"}),
        5 => json!([]),
        6 => json!(pick(chance, &numbers)),
        _ => json!(letters(chance, 3)),
    }
}

/// Mostly what `of` gives, now and then something of another kind.
fn mostly(of: impl Fn(&mut Chance) -> Value + 'static) -> Values {
    Box::new(move |chance| if chance.one_in(6) { other(chance) } else { of(chance) })
}

/// With letters of another case.
fn swapped(chance: &mut Chance, text: &str) -> String {
    text.chars().map(|c| if chance.one_in(2) { c.to_uppercase().to_string() } else { c.to_string() }).collect()
}

/// A text that begins, or ends, or is, what is asked for, every second time.
fn near(text: String, place: fn(&str, &str) -> String) -> Values {
    mostly(move |chance| match chance.one_in(2) {
        true => {
            let text = swapped_or_not(chance, &text);
            json!(place(&text, &letters(chance, 2)))
        }
        false => json!(letters(chance, 3)),
    })
}

fn swapped_or_not(chance: &mut Chance, text: &str) -> String {
    if chance.one_in(4) { swapped(chance, text) } else { text.to_owned() }
}

fn before(text: &str, more: &str) -> String {
    format!("{text}{more}")
}

fn after(text: &str, more: &str) -> String {
    format!("{more}{text}")
}

fn alone(text: &str, _: &str) -> String {
    text.to_owned()
}

// === operators ===

fn text(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 3);
    (json!(text), near(text, alone))
}

fn exactly(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 3);
    (json!({"exactly": text}), near(text, alone))
}

const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "1",
    "1.0",
    "1e0",
    "10e-1",
    "-1",
    "-1.50",
    "0.5",
    "5e-1",
    "2",
    "1000",
    "1e3",
    "9007199254740991",
    "1e300",
    "1e-300",
];

fn a_number(chance: &mut Chance) -> Value {
    serde_json::from_str(pick(chance, &NUMBERS)).unwrap()
}

fn number(chance: &mut Chance) -> (Value, Values) {
    let number = a_number(chance);
    let same = number.clone();
    (number, mostly(move |chance| if chance.one_in(2) { same.clone() } else { a_number(chance) }))
}

fn word(chance: &mut Chance) -> (Value, Values) {
    let word = |chance: &mut Chance| serde_json::from_str(pick(chance, &["true", "false", "null"])).unwrap();
    (word(chance), mostly(move |chance| if chance.one_in(8) { json!("true") } else { word(chance) }))
}

fn exists(chance: &mut Chance) -> (Value, Values) {
    (
        json!({"exists": chance.one_in(2)}),
        Box::new(|chance| if chance.one_in(2) { json!(ABSENT) } else { other(chance) }),
    )
}

fn prefix(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 2);
    (json!({"prefix": text}), near(text, before))
}

fn prefix_in_any_case(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 2);
    (json!({"prefix": {"equals-ignore-case": swapped(chance, &text)}}), near(text, before))
}

fn suffix(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 2);
    (json!({"suffix": text}), near(text, after))
}

fn suffix_in_any_case(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 2);
    (json!({"suffix": {"equals-ignore-case": swapped(chance, &text)}}), near(text, after))
}

fn in_any_case(chance: &mut Chance) -> (Value, Values) {
    let text = letters(chance, 3);
    (json!({"equals-ignore-case": swapped(chance, &text)}), near(text, alone))
}

/// Gaps and pieces in turn, and what fills the gaps.
fn with_gaps(chance: &mut Chance) -> (String, String) {
    let (mut wildcard, mut filled) = (String::new(), String::new());
    let mut gap = chance.one_in(2);
    for _ in 0..=chance.below(4) {
        let piece = if gap { "*".to_owned() } else { letters(chance, 2) };
        filled.push_str(&if gap { letters(chance, 2) } else { piece.clone() });
        if !(wildcard.ends_with('*') && piece == "*") {
            wildcard.push_str(&piece);
        }
        gap = !gap;
    }
    if chance.one_in(8) {
        wildcard.push_str(r"\*\\");
        filled.push_str(r"*\");
    }
    (wildcard, filled)
}

fn wildcard(chance: &mut Chance) -> (Value, Values) {
    let (wildcard, filled) = with_gaps(chance);
    (
        json!({"wildcard": wildcard}),
        mostly(move |chance| json!(if chance.one_in(2) { filled.clone() } else { letters(chance, 4) })),
    )
}

fn numeric(chance: &mut Chance) -> (Value, Values) {
    let bound = |chance: &mut Chance| chance.below(5) as i64 - 2;
    let (low, more) = (bound(chance), 1 + chance.below(3) as i64);
    let numeric = match chance.below(6) {
        0 => json!(["=", low]),
        1 => json!([">", low]),
        2 => json!(["<=", low]),
        3 => json!(["<", low]),
        4 => json!([">=", low, "<", low + more]),
        _ => json!([">", low, "<=", low + more]),
    };
    let values = mostly(move |chance| match chance.below(4) {
        0 => json!(low),
        1 => json!(low as f64 + 0.5),
        _ => json!(bound(chance)),
    });
    (json!({"numeric": numeric}), values)
}

fn cidr(chance: &mut Chance) -> (Value, Values) {
    let networks = [
        "10.0.0.0/8",
        "10.0.0.0/31",
        "10.1.2.3/9",
        "192.168.0.0/16",
        "0.0.0.0/1",
        "2001:db8::/32",
        "2001:db8::/127",
        "8000::/1",
    ];
    let addresses = [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.2",
        "10.127.255.255",
        "10.128.0.0",
        "11.0.0.0",
        "192.168.7.7",
        "255.255.255.255",
        "2001:db8::",
        "2001:DB8::1",
        "2001:db8:0:0:0:0:0:2",
        "2001:db9::",
        "fe80::1",
        "10.0.0",
        "::g",
    ];
    let (v4, v6) = addresses.split_at(8);
    let network = pick(chance, &networks);
    let near: Vec<&'static str> = if network.contains(':') { v6.to_vec() } else { v4.to_vec() };
    (json!({"cidr": network}), mostly(move |chance| json!(pick(chance, &near))))
}

fn anything_but(chance: &mut Chance) -> (Value, Values) {
    let texts = chance.one_in(2);
    let value = move |chance: &mut Chance| if texts { json!(letters(chance, 2)) } else { a_number(chance) };
    let named: Vec<Value> = (0..1 + chance.below(4)).map(|_| value(chance)).collect();
    let excluded = if named.len() == 1 && chance.one_in(2) { named[0].clone() } else { json!(named) };
    let values = mostly(move |chance| {
        let known = named[chance.below(named.len() as u64) as usize].clone();
        if chance.one_in(2) { known } else { value(chance) }
    });
    (json!({"anything-but": excluded}), values)
}

/// One text that is not empty, or several.
fn anything_but_of(chance: &mut Chance, operator: &str, place: fn(&str, &str) -> String) -> (Value, Values) {
    let texts: Vec<String> =
        (0..1 + chance.below(3)).map(|_| format!("{}{}", pick(chance, &["a", "b"]), letters(chance, 1))).collect();
    let argument = if texts.len() == 1 && chance.one_in(2) { json!(texts[0]) } else { json!(texts) };
    let values = mostly(move |chance| {
        let text = texts[chance.below(texts.len() as u64) as usize].clone();
        let more = letters(chance, 2);
        json!(if chance.one_in(2) { place(&text, &more) } else { more })
    });
    (json!({"anything-but": {operator: argument}}), values)
}

fn anything_but_prefix(chance: &mut Chance) -> (Value, Values) {
    anything_but_of(chance, "prefix", before)
}

fn anything_but_suffix(chance: &mut Chance) -> (Value, Values) {
    anything_but_of(chance, "suffix", after)
}

fn anything_but_in_any_case(chance: &mut Chance) -> (Value, Values) {
    anything_but_of(chance, "equals-ignore-case", alone)
}

fn anything_but_wildcard(chance: &mut Chance) -> (Value, Values) {
    let several: Vec<(String, String)> = (0..1 + chance.below(2)).map(|_| with_gaps(chance)).collect();
    let wildcards: Vec<&String> = several.iter().map(|(wildcard, _)| wildcard).collect();
    let argument = if wildcards.len() == 1 { json!(wildcards[0]) } else { json!(wildcards) };
    let values = move |chance: &mut Chance| {
        let (_, filled) = &several[chance.below(several.len() as u64) as usize];
        json!(if chance.one_in(3) { filled.clone() } else { letters(chance, 4) })
    };
    (json!({"anything-but": {"wildcard": argument}}), mostly(values))
}

/// The pattern with one thing in it changed: most are to be refused.
pub fn spoilt(chance: &mut Chance, pattern: &Value) -> Value {
    let odd = [
        json!({}),
        json!([]),
        json!(null),
        json!(5),
        json!(""),
        json!("*"),
        json!("a**"),
        json!("\\x"),
        json!([null]),
        json!([[]]),
        json!(["a", 1]),
        json!({"prefix": ""}),
        json!({"prefix": 1}),
        json!({"regex": "a"}),
        json!({"exists": "x"}),
        json!({"numeric": [">", "1"]}),
        json!({"numeric": [">", 2, "<", 1]}),
        json!({"numeric": ["=", 1, "<", 2]}),
        json!({"cidr": "10.0.0.0"}),
        json!({"cidr": "x/8"}),
        json!({"anything-but": [true]}),
        json!({"anything-but": {"numeric": [">", 1]}}),
        json!({"wildcard": "**"}),
        json!({"prefix": "a", "suffix": "b"}),
        json!({"equals-ignore-case": ["a"]}),
        json!([{"a": ["x"]}, {"b": ["y"]}]),
        json!([{"a": ["x"]}]),
        json!(true),
    ];
    let mut places = 0;
    count(pattern, &mut places);
    let mut at = chance.below(places);
    let with = odd[chance.below(odd.len() as u64) as usize].clone();
    let mut spoilt = pattern.clone();
    replace(&mut spoilt, &mut at, &with);
    if chance.one_in(6)
        && let Some(fields) = spoilt.as_object_mut()
    {
        fields.insert("$or".to_owned(), with);
    }
    spoilt
}

fn count(value: &Value, places: &mut u64) {
    *places += 1;
    match value {
        Value::Array(values) => values.iter().for_each(|value| count(value, places)),
        Value::Object(fields) => fields.values().for_each(|value| count(value, places)),
        _ => {}
    }
}

fn replace(value: &mut Value, at: &mut u64, with: &Value) {
    if *at == 0 {
        *value = with.clone();
        *at = u64::MAX;
        return;
    }
    *at -= 1;
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| replace_unless_done(value, at, with)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace_unless_done(value, at, with)),
        _ => {}
    }
}

fn replace_unless_done(value: &mut Value, at: &mut u64, with: &Value) {
    if *at != u64::MAX {
        replace(value, at, with);
    }
}
