//! `tidings filter test`: whether events pass filters. For people, for pipelines, and for other engines to be compared with.
//!
//! An event is plain data, of any type: the filter's keys are its fields, unless `--type` names an event type, whose
//! filters the keys are then. An event that has a `specversion` is an envelope as CloudEvents has it: then the filter is of
//! its `data`, and its attributes are known to conditions that ask for them.

use std::{
    io::{self, BufRead, BufReader, BufWriter, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{self, Reason},
    domain::{Event, EventSelector, TeamId, Timestamp, TypeSelector},
    filter::{Budget, Clause, Condition, Fault, Of, compile, shown},
};

use super::{Global, documents, output};
use crate::schemas;

/// Whether an event passes a filter: exit code 0 if it does, 1 if not, 2 if either is refused, with the reason
#[derive(Args, Clone, Debug)]
pub struct Test {
    /// A file with the filter, one JSON object (`-` is stdin)
    #[arg(long, required_unless_present = "cases", value_name = "FILE")]
    pub filter: Option<String>,
    /// A file with the event, one JSON object (`-` is stdin): data, or an envelope that has a specversion
    #[arg(long, required_unless_present = "cases", value_name = "FILE")]
    pub event: Option<String>,
    /// A file with {"filter": …, "event": …} on each line; answers true, false or error: …, a line each
    #[arg(long, conflicts_with_all = ["filter", "event"], value_name = "FILE")]
    pub cases: Option<String>,
    /// The event type whose filters the keys are [default: the keys are the data's own fields]
    #[arg(long = "type", default_value = "*", hide_default_value = true, value_name = "KEY")]
    pub event_type: String,
}

const REFUSED: u8 = 2;

pub fn run(test: &Test, global: &Global) -> ExitCode {
    let answer = match &test.cases {
        Some(path) => cases(path, test, global).map(|()| ExitCode::SUCCESS),
        None => one(test, global),
    };
    answer.unwrap_or_else(|error| {
        eprintln!("tidings: {error:#}");
        ExitCode::from(REFUSED)
    })
}

fn one(test: &Test, global: &Global) -> anyhow::Result<ExitCode> {
    let (filter, event) = (test.filter.as_deref().unwrap_or_default(), test.event.as_deref().unwrap_or_default());
    if (filter, event) == ("-", "-") {
        bail!("only one of filter and event can be read from stdin");
    }
    let read = |path: &str| json_of(documents::read(path)?.as_bytes()).with_context(|| path.to_owned());
    let clause = Question::of(test, global)?.clause(read(filter)?)?;
    let event = event_of(read(event)?, &test.event_type)?;
    let matches = matches(&clause, &event)?;
    let conditions = clause.explain(&event.data, Some(&event));
    if global.json {
        output::json(&json!({"matches": matches, "conditions": conditions}));
    } else {
        print!("{}", text(matches, &conditions));
    }
    Ok(if matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cases(path: &str, test: &Test, global: &Global) -> anyhow::Result<()> {
    let question = Question::of(test, global)?;
    let lines: Box<dyn BufRead> = match path {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(BufReader::new(std::fs::File::open(path).with_context(|| path.to_owned())?)),
    };
    let mut answers = BufWriter::new(io::stdout().lock());
    for line in lines.lines() {
        let line = line.with_context(|| path.to_owned())?;
        match question.answer(&line) {
            Ok(matches) => writeln!(answers, "{matches}")?,
            Err(error) => writeln!(answers, "error: {}", output::line(&format!("{error:#}")))?,
        }
    }
    answers.flush()?;
    Ok(())
}

/// What filters are held against.
struct Question {
    catalog: std::sync::Arc<Catalog>,
    event_type: String,
}

// === impl Question ===

impl Question {
    fn of(test: &Test, global: &Global) -> anyhow::Result<Question> {
        let catalog = match test.event_type.as_str() {
            "*" => Catalog::builtin(),
            _ => schemas::catalog(&super::settings(global)?)?,
        };
        Ok(Question { catalog, event_type: test.event_type.clone() })
    }

    fn clause(&self, filter: Value) -> anyhow::Result<Clause> {
        let Value::Object(filter) = filter else {
            bail!("filter: found {}; allowed: an object", shown(&filter));
        };
        let selector = EventSelector { event_type: TypeSelector::from(self.event_type.clone()), filter: filter.into() };
        compile(&selector, &self.catalog, "")
            .map_err(|faults| anyhow!("{}", faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")))
    }

    /// One line of a file of cases. Keys beside `filter` and `event` may say what the case is for.
    fn answer(&self, line: &str) -> anyhow::Result<bool> {
        let Value::Object(mut case) = json_of(line.as_bytes())? else { bail!("found no object on this line") };
        let mut part = |name: &str| case.shift_remove(name).with_context(|| format!("found no {name} on this line"));
        let clause = self.clause(part("filter")?)?;
        let event = event_of(part("event")?, &self.event_type)?;
        matches(&clause, &event)
    }
}

/// Of a filter that costs too much on the event nothing is known: a matcher would set the event aside.
fn matches(clause: &Clause, event: &Event) -> anyhow::Result<bool> {
    clause
        .matches_within(Of { datum: &event.data, event }, &mut Budget::new())
        .map_err(|costly| anyhow!("{}: {costly}", Reason::FilterTooCostly))
}

fn json_of(text: &[u8]) -> anyhow::Result<Value> {
    codec::json::parse(text).map_err(|poison| anyhow!("{poison}"))
}

/// The event with its data: all there is, or the envelope's.
fn event_of(value: Value, asked: &str) -> anyhow::Result<Event> {
    let Value::Object(mut object) = value else { bail!("event: found {}; allowed: an object", shown(&value)) };
    let mut event = Event {
        team: TeamId::new("test").context("a team")?,
        id: "".into(),
        source: "".into(),
        event_type: asked.into(),
        time: None,
        subject: None,
        data: Value::Null,
    };
    if !object.contains_key("specversion") {
        event.data = Value::Object(object);
        return Ok(event);
    }
    event.data = object.shift_remove("data").unwrap_or_else(|| Value::Object(Map::new()));
    if !event.data.is_object() {
        bail!("event.data: found {}; allowed: an object", shown(&event.data));
    }
    let attribute = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(anyhow!("event.{name}: found {}; allowed: a string", shown(other))),
    };
    event.id = attribute("id")?.unwrap_or_default().into();
    event.source = attribute("source")?.unwrap_or_default().into();
    event.event_type = attribute("type")?.unwrap_or(asked).into();
    event.subject = attribute("subject")?.map(Into::into);
    if let Some(text) = attribute("time")? {
        let time = Timestamp::parse(text);
        event.time = Some(time.with_context(|| format!("event.time: found {text:?}; allowed: an RFC 3339 time"))?);
    }
    Ok(event)
}

fn text(matches: bool, conditions: &[Condition]) -> String {
    let mark = |held: bool| if held { "yes" } else { "no " };
    let mut text = format!("{}  the event {}\n", mark(matches), if matches { "matches" } else { "does not match" });
    for Condition { path, condition, found, held, .. } in conditions {
        let found = found.as_ref().map_or_else(|| "nothing".to_owned(), shown);
        let line = output::line(&format!("{path}  {condition}; found {found}"));
        text.push_str(&format!("  {}  {line}\n", mark(*held)));
    }
    text
}
