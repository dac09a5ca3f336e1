//! `tidings replay`: a range of events matched again, with a bar for a person and lines for a log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Global, client::Client, output};

/// Match a range of one partition's events again, and deliver what was not
///
/// Each event is matched against the subscriptions that were active when it was first matched, even if they have been
/// changed or deleted since. Notifications get the same ids as then, so whatever has ended or waits for a retry is left
/// alone, and only what is missing is delivered. Killed or stopped, the same command goes on where it was.
///
/// With --now, events are matched against the subscriptions as they are now. The ids of pairs that had matched then are the
/// same, so only pairs that are new are delivered: give a new subscription the past this way.
#[derive(Debug, Args)]
pub struct Replay {
    /// The topic of events
    #[arg(long)]
    pub topic: String,
    #[arg(long)]
    pub partition: u32,
    /// The first offset
    #[arg(long, value_name = "OFFSET")]
    pub from: i64,
    /// The first offset that is not meant
    #[arg(long, value_name = "OFFSET")]
    pub to: i64,
    /// Match against the subscriptions as they are now
    #[arg(long)]
    pub now: bool,
    /// Only count what would be delivered
    #[arg(long)]
    pub dry_run: bool,
    /// Start at the beginning, even if an earlier run has come further or finished
    #[arg(long)]
    pub again: bool,
}

/// How often progress is told where nobody watches a bar.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows what the API tells.
struct Screen {
    from: i64,
    to: i64,
    as_json: bool,
    dry_run: bool,
    bar: Option<ProgressBar>,
    told: Instant,
}

pub async fn run(command: Replay, global: &Global) -> anyhow::Result<()> {
    let Replay { topic, partition, from, to, now, dry_run, again } = command;
    let request = json!({"topic": topic, "partition": partition, "from": from, "to": to,
                         "now": now, "dry_run": dry_run, "again": again});
    let mut screen = Screen::new(from, to, dry_run, global.json);
    let mut ended = false;
    let client = Client::new(global)?;
    let done = client.lines("/v1/replays", &request, |line| {
        ended = screen.show(line);
        Ok(())
    });
    done.await?;
    if !ended {
        bail!("the answer broke off before the end; the same command goes on where it was");
    }
    Ok(())
}

// === impl Screen ===

impl Screen {
    fn new(from: i64, to: i64, dry_run: bool, as_json: bool) -> Screen {
        let style = ProgressStyle::with_template("{wide_bar} {percent}% {eta} {msg}").ok();
        let watched = std::io::stderr().is_terminal() && !as_json;
        let bar = style.filter(|_| watched).map(|style| {
            ProgressBar::new(to.saturating_sub(from).max(0) as u64).with_style(style).with_message("reading versions")
        });
        Screen { from, to, as_json, dry_run, bar, told: Instant::now() }
    }

    /// Whether this line was the last.
    fn show(&mut self, line: &Value) -> bool {
        if let Some(old) = line.get("forgotten") {
            self.say(&format!(
                "warning: these events begin on {}; the store has forgotten days before {} (retention.days), so what \
                 was delivered of them is taken for new",
                output::cell(&old["first"]),
                output::cell(&old["kept_from"])
            ));
        }
        if let Some(place) = line.get("resumed") {
            self.say(&format!("goes on at offset {}, where an earlier run was", place["next"]));
        }
        if let Some(place) = line.get("progress") {
            self.progress(place);
        }
        let Some((word, place)) = ["finished", "complete"].iter().find_map(|word| Some((*word, line.get(word)?)))
        else {
            return false;
        };
        self.bar.take().inspect(ProgressBar::finish_and_clear);
        if self.as_json {
            output::json(line);
        } else {
            print!("{}", summary(word, place, self.dry_run));
        }
        true
    }

    fn progress(&mut self, place: &Value) {
        let next = place["next"].as_i64().unwrap_or(self.from);
        let words = format!("{} new, {} known", place["new"], place["known"]);
        match &self.bar {
            Some(bar) => {
                bar.set_position(next.saturating_sub(self.from).max(0) as u64);
                bar.set_message(words);
            }
            None if self.told.elapsed() >= LINE_EVERY => {
                self.told = Instant::now();
                eprintln!("at offset {next} of {}: {words}", self.to);
            }
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

fn summary(word: &str, place: &Value, dry_run: bool) -> String {
    if word == "complete" {
        let (then, newest) = (&place["index_version"], &place["newest_index_version"]);
        return format!(
            "An earlier run has finished this replay, the last event against index version {then}; the directory is at \
             {newest}.\nNothing was done. --again starts at the beginning.\n"
        );
    }
    let new = if dry_run { "would be delivered" } else { "handed over for delivery" };
    let mut text = format!(
        "{} event(s) matched again: {} notification(s) {new}, {} known and left alone\n",
        place["events"], place["new"], place["known"]
    );
    if place["poison"] != 0 {
        text.push_str(&format!("{} record(s) cannot be matched; see `tidings deadletters`\n", place["poison"]));
    }
    if place["forgotten"] != 0 {
        text.push_str(&format!(
            "{} of the new ones are of days that the store has forgotten (retention.days): of these, what was delivered \
             then comes a second time\n",
            place["forgotten"]
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_a_dry_run_would_do_and_what_is_uncertain() {
        let place =
            json!({"next": 9, "index_version": 4, "events": 9, "poison": 1, "new": 3, "known": 5, "forgotten": 2});
        let text = summary("finished", &place, true);
        assert!(text.contains("3 notification(s) would be delivered, 5 known"), "{text}");
        assert!(text.contains("1 record(s) cannot") && text.contains("2 of the new ones"), "{text}");
        let clean = json!({"events": 9, "poison": 0, "new": 0, "known": 5, "forgotten": 0});
        assert_eq!(summary("finished", &clean, false).lines().count(), 1);
    }
}
