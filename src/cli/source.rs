//! `tidings source test`: record by record, the event that it is read as, or why it is none.
//!
//! The work is done in `src/process/source_test.rs`, which may open a log.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Command, output};

#[derive(Debug, Subcommand)]
pub enum Source {
    /// Show how the last records of a topic would be read, and why one would not
    Test(SourceTest),
}

#[derive(Clone, Debug, Args)]
pub struct SourceTest {
    /// The topic [default: the first that events are read from]
    #[arg(long)]
    pub topic: Option<String>,
    /// How many records, 1 to 1,000
    #[arg(long, default_value_t = 20, value_parser = last)]
    pub last: usize,
}

fn last(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(last) if (1..=crate::sources::look::MAX_LAST).contains(&last) => Ok(last),
        _ => Err(format!("1 to {}", crate::sources::look::MAX_LAST)),
    }
}

/// The test that a command line asks for.
pub fn asked(command: &Command) -> Option<SourceTest> {
    match command {
        Command::Source(Source::Test(test)) => Some(test.clone()),
        _ => None,
    }
}

/// One paragraph a record.
pub fn print(answer: &Value, as_json: bool) {
    if as_json { output::json(answer) } else { print!("{}", text(answer)) }
}

fn text(answer: &Value) -> String {
    let rows = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{}  {}", output::cell(&row["position"]), output::cell(&row["at"])));
        if let Some(why) = row["skipped"].as_str() {
            text.push_str(&format!("  skipped: {why}\n"));
        } else if row["problem"].is_object() {
            let (reason, detail) = (&row["problem"]["reason"], &row["problem"]["detail"]);
            text.push_str(&format!("  {} bytes\n  would be set aside: ", output::cell(&row["bytes"])));
            text.push_str(&format!("{}: {}\n", output::cell(reason), output::line(&output::cell(detail))));
        } else {
            text.push_str(&format!("  {} bytes, {}\n", output::cell(&row["bytes"]), output::cell(&row["format"])));
            let unknown = if row["known_type"] == Value::Bool(true) { "" } else { " (not in the catalog)" };
            text.push_str(&format!("  type     {}{unknown}\n", output::line(&output::cell(&row["event"]["type"]))));
            for (title, value) in [
                ("team", &row["event"]["team"]),
                ("id", &row["event"]["id"]),
                ("source", &row["event"]["source"]),
                ("time", &row["event"]["timestamp"]),
                ("subject", &row["subject"]),
                ("data", &row["event"]["data"]),
            ] {
                if !value.is_null() {
                    text.push_str(&format!("  {title:<7}  {}\n", output::line(&output::cell(value))));
                }
            }
        }
    }
    let unread = rows.iter().filter(|row| row["problem"].is_object()).count();
    let topic = output::cell(&answer["topic"]);
    text.push_str(&format!("{} record(s) of {topic}, {unread} would be set aside\n", rows.len()));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_record_is_an_event_or_says_why_not() {
        let answer = json!({"topic": "t", "items": [
            {"position": "t-0-1", "at": "2026-11-23T00:00:00.000Z", "bytes": 12, "format": "json", "known_type": false,
             "subject": null, "event": {"type": "a.b", "team": "acme", "id": "1", "data": {"x": "\u{1b}[2J"}}},
            {"position": "t-0-2", "at": "2026-11-23T00:00:00.000Z", "bytes": 3,
             "problem": {"reason": "decode", "detail": "no JSON"}},
            {"position": "t-0-3", "at": "2026-11-23T00:00:00.000Z", "bytes": null, "skipped": "a tombstone"}]});
        let expected = "\
t-0-1  2026-11-23T00:00:00.000Z  12 bytes, json
  type     a.b (not in the catalog)
  team     acme
  id       1
  data     {\"x\":\"\\u001b[2J\"}
t-0-2  2026-11-23T00:00:00.000Z  3 bytes
  would be set aside: decode: no JSON
t-0-3  2026-11-23T00:00:00.000Z  skipped: a tombstone
3 record(s) of t, 1 would be set aside
";
        assert_eq!(text(&answer), expected);
    }
}
