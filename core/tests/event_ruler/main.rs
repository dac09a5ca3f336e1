//! Filters held against AWS Event Ruler's released artifact: the same patterns, the same events, the same answers, but for the
//! differences that `docs/FILTERS.md` names.
//!
//! `TIDINGS_TEST_PRODUCERS` is the folder with `event_ruler`, which `scripts/producers-for-tests` fetches; without it the tests
//! are skipped, or fail if `TIDINGS_REQUIRE` names `producers`. `TIDINGS_TEST_PAIRS` is how many pairs of pattern and event
//! are tried, `TIDINGS_TEST_SEED` where chance begins.
//!
//! Reading order: this file, [`generate`], [`named`].

mod generate;
mod named;
#[path = "../../../tests/support/server.rs"]
mod server;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use generate::{OPERATORS, Question};
use serde::Deserialize;
use serde_json::{Map, Value};
use tidings_core::{
    catalog::Catalog,
    codec,
    domain::{Chance, EventSelector, TypeSelector},
    filter::{Budget, Clause, Fault, compile},
};

const PAIRS: usize = 300_000;
const SEED: u64 = 6;
/// Events of one pattern.
const EVENTS: usize = 20;
/// Patterns that are asked at once.
const AT_ONCE: usize = 10_000;
/// What part of the pairs of an operator may be true.
const TRUE: std::ops::RangeInclusive<f64> = 0.2..=0.8;

/// What Event Ruler says of a pattern, and then of each of its events.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Matches(Vec<bool>),
}

fn folder() -> Option<PathBuf> {
    server::found("producers", "TIDINGS_TEST_PRODUCERS").map(|folder| PathBuf::from(folder).join("event_ruler"))
}

fn setting(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Asks Event Ruler. Patterns and events are given as texts, so that nothing but what is written is compared.
fn theirs(folder: &Path, questions: &[(String, Vec<String>)]) -> Vec<Answer> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/event_ruler/Ask.java");
    let mut command = Command::new("java");
    command.arg("-Xmx1g").arg("-cp").arg(folder.join("*")).arg(program);
    let mut java = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java starts");
    let mut lines = String::new();
    for (pattern, events) in questions {
        lines.push_str(&format!("P\t{pattern}\n"));
        events.iter().for_each(|event| lines.push_str(&format!("E\t{event}\n")));
    }
    let mut input = java.stdin.take().expect("piped");
    let writer = thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = java.wait_with_output().expect("java ends");
    writer.join().expect("no panic").expect("java reads to the end");
    assert!(output.status.success(), "{}", output.status);
    let answers = String::from_utf8(output.stdout).expect("text");
    let mut answers = answers.lines();
    let mut next = || answers.next().expect("an answer for each line");
    let mut found = Vec::with_capacity(questions.len());
    for (_, events) in questions {
        let refused = next() == "refused";
        let matches = events.iter().map(|_| next() == "true").collect();
        found.push(if refused { Answer::Refused } else { Answer::Matches(matches) });
    }
    found
}

fn clause(pattern: &Map<String, Value>) -> Result<Clause, Vec<Fault>> {
    let selector = EventSelector { event_type: TypeSelector::Any, filter: pattern.clone().into() };
    compile(&selector, &Catalog::default(), "")
}

fn ours(pattern: &str, events: &[String]) -> Answer {
    let parse = |text: &str| codec::json::parse(text.as_bytes()).expect("JSON");
    let clause = match parse(pattern) {
        Value::Object(pattern) => clause(&pattern),
        _ => return Answer::Refused,
    };
    match clause {
        Ok(clause) => Answer::Matches(events.iter().map(|event| matches(&clause, &parse(event))).collect()),
        Err(_) => Answer::Refused,
    }
}

/// Within its budget the answer is the same.
fn matches(clause: &Clause, event: &Value) -> bool {
    let matches = clause.matches(event);
    assert_eq!(clause.matches_within(event, &mut Budget::new()), Ok(matches), "of {event}");
    matches
}

fn texts(question: &Question) -> (String, Vec<String>) {
    (question.pattern.to_string(), question.events.iter().map(Value::to_string).collect())
}

#[test]
fn the_same_patterns_match_the_same_events() {
    let Some(folder) = folder() else { return };
    let mut chance = Chance::new(setting("TIDINGS_TEST_SEED", SEED));
    let mut left = setting("TIDINGS_TEST_PAIRS", PAIRS as u64) as usize / EVENTS;
    // By operator: pairs, and how many of them match.
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut explained, mut unexplained) = (BTreeMap::<&str, usize>::new(), Vec::<Asked>::new());
    while left > 0 {
        let some = left.min(AT_ONCE);
        left -= some;
        let questions: Vec<Question> = (0..some).map(|i| question(&mut chance, i)).collect();
        let asked: Vec<(String, Vec<String>)> = questions.iter().map(texts).collect();
        for ((question, texts), theirs) in questions.iter().zip(&asked).zip(theirs(&folder, &asked)) {
            let (Answer::Matches(ours), Answer::Matches(theirs)) = (ours(&texts.0, &texts.1), theirs) else {
                panic!("refused by one of them, and should be by none: {}", texts.0);
            };
            let count = counts.entry(question.about).or_default();
            for (i, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
                count.0 += 1;
                count.1 += usize::from(ours);
                if ours != theirs {
                    match named::difference(&question.pattern, &question.events[i]) {
                        Some(name) => *explained.entry(name).or_default() += 1,
                        None => unexplained.push((texts.0.clone(), texts.1[i].clone(), ours)),
                    }
                }
            }
        }
    }
    for (about, (pairs, matching)) in &counts {
        let part = *matching as f64 / *pairs as f64;
        println!("{about}: {pairs} pairs, {:.0} % match", 100.0 * part);
    }
    let agreeing = agreeing(&folder, &unexplained);
    let mut agree = agreeing.iter();
    let before = unexplained.len();
    // They did not agree the first time.
    unexplained.retain(|_| agree.next() == Some(&0));
    explained.insert(VARIES, before - unexplained.len());
    explained.iter().for_each(|(name, count)| println!("{count} differences: {name}"));
    let mut unexplained: Vec<String> =
        unexplained.into_iter().map(|(pattern, event, ours)| format!("{pattern} {event}: ours {ours}")).collect();
    unexplained.sort_by_key(String::len);
    assert!(unexplained.is_empty(), "{}:\n{}", unexplained.len(), unexplained[..unexplained.len().min(20)].join("\n"));
    let one_sided = counts.iter().find(|(_, (pairs, matching))| !TRUE.contains(&(*matching as f64 / *pairs as f64)));
    assert_eq!(one_sided, None);
}

/// The one difference that no form tells: of the states that several alternatives lead to, any one is taken up where `$or` adds
/// what follows a second time.
const VARIES: &str = "several alternatives of a field beside `$or`";
/// Machines of one pattern that are asked whether they agree.
const MACHINES: usize = 60;

/// A pattern, an event, and what we answer.
type Asked = (String, String, bool);

/// How many of [`MACHINES`] made of one and the same pattern give our answer, for each that is asked.
fn agreeing(folder: &Path, asked: &[Asked]) -> Vec<usize> {
    let question = |(pattern, event, _): &Asked| (pattern.clone(), vec![event.clone()]);
    let questions: Vec<_> = asked.iter().flat_map(|asked| vec![question(asked); MACHINES]).collect();
    let answers = theirs(folder, &questions);
    let same = |((_, _, ours), answers): (&Asked, &[Answer])| {
        answers.iter().filter(|answer| **answer == Answer::Matches(vec![*ours])).count()
    };
    asked.iter().zip(answers.chunks(MACHINES)).map(same).collect()
}

/// Every operator in turn, and as many composed of several.
fn question(chance: &mut Chance, i: usize) -> Question {
    match OPERATORS.get(i % (2 * OPERATORS.len())) {
        Some((about, operator)) => generate::of_operator(chance, about, *operator, EVENTS),
        None => generate::composed(chance, EVENTS),
    }
}

#[test]
fn the_same_patterns_are_refused() {
    let Some(folder) = folder() else { return };
    let mut chance = Chance::new(setting("TIDINGS_TEST_SEED", SEED));
    let patterns = setting("TIDINGS_TEST_PAIRS", PAIRS as u64) as usize / EVENTS;
    let asked: Vec<(String, Vec<String>)> = (0..patterns)
        .map(|i| {
            let pattern = question(&mut chance, i).pattern;
            let spoilt = generate::spoilt(&mut chance, &pattern);
            // Some are left as they are: not to refuse is as much to be agreed upon.
            (if chance.one_in(4) { pattern } else { spoilt }.to_string(), Vec::new())
        })
        .collect();
    let (mut refused, mut explained) = (0, BTreeMap::<&str, usize>::new());
    let mut unexplained = Vec::new();
    for ((pattern, _), theirs) in asked.iter().zip(theirs(&folder, &asked)) {
        let ours = ours(pattern, &[]);
        refused += usize::from(ours == Answer::Refused);
        if ours != theirs {
            match named::form(pattern) {
                Some(name) => *explained.entry(name).or_default() += 1,
                None => unexplained.push(format!("{pattern}: ours {ours:?}, theirs {theirs:?}")),
            }
        }
    }
    explained.iter().for_each(|(name, count)| println!("{count} differences: {name}"));
    println!("{refused} of {patterns} patterns are refused");
    assert!(unexplained.is_empty(), "{}", unexplained[..unexplained.len().min(20)].join("\n"));
    assert!(TRUE.contains(&(refused as f64 / patterns as f64)), "{refused} of {patterns}");
}

/// A difference that `docs/FILTERS.md` names, shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    name: String,
    /// As texts: a key may stand in one twice.
    pattern: String,
    event: String,
    ours: Option<bool>,
    /// `null` is refused; `"varies"`: see [`VARIES`].
    theirs: Value,
}

#[test]
fn the_named_differences_are_as_they_are_said_to_be() {
    let Some(folder) = folder() else { return };
    let differences: Vec<Difference> = serde_json::from_str(include_str!("differences.json")).expect("differences");
    let asked: Vec<_> = differences.iter().map(|d| (d.pattern.clone(), vec![d.event.clone()])).collect();
    let answer = |matches: Option<bool>| matches.map_or(Answer::Refused, |matches| Answer::Matches(vec![matches]));
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FILTERS.md");
    let document = std::fs::read_to_string(document).expect("the document");
    for (difference, theirs) in differences.iter().zip(theirs(&folder, &asked)) {
        let name = &difference.name;
        assert_eq!(
            ours(&difference.pattern, std::slice::from_ref(&difference.event)),
            answer(difference.ours),
            "{name}: ours"
        );
        if difference.theirs == "varies" {
            let ours = difference.ours.expect("an answer");
            let asked = [(difference.pattern.clone(), difference.event.clone(), ours)];
            assert!((1..MACHINES).contains(&agreeing(&folder, &asked)[0]), "{name}: theirs");
        } else {
            assert_eq!(theirs, answer(difference.theirs.as_bool()), "{name}: theirs");
            assert_ne!(difference.ours, difference.theirs.as_bool(), "{name} is none");
        }
        assert!(document.contains(name.as_str()), "docs/FILTERS.md does not name {name:?}");
    }
}
