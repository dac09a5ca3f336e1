//! `tidings publish [FILE|-]`: events as lines of JSON, sent in batches; answered when the log has them.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Global, client::Client, output};

#[derive(Debug, Args)]
pub struct Publish {
    /// A file of one JSON event per line; `-` is stdin
    #[arg(default_value = "-")]
    pub file: String,
}

/// A batch is sent at this many bytes; well below what the API takes, so that one more line always fits …
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// … or at this many events, so that an error names a place near by.
const BATCH_EVENTS: usize = 2_000;

pub async fn run(command: Publish, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let input: Box<dyn BufRead> = match command.file.as_str() {
        "-" => Box::new(std::io::stdin().lock()),
        path => Box::new(BufReader::new(File::open(path).with_context(|| path.to_owned())?)),
    };
    let progress = progress();
    let mut batch = Batch::default();
    let mut published = 0;
    for (index, line) in input.lines().enumerate() {
        let line = line.with_context(|| format!("{}, line {}", command.file, index + 1))?;
        if line.trim().is_empty() {
            continue;
        }
        batch.push(index + 1, &line);
        if batch.is_full() {
            published += batch.send(&client, &command.file).await?;
            progress.set_position(published);
        }
    }
    published += batch.send(&client, &command.file).await?;
    progress.finish_and_clear();
    if global.json {
        output::json(&json!({"published": published}));
    } else {
        println!("{published} event(s) published");
    }
    Ok(())
}

/// Events on their way, and the line of the first.
#[derive(Debug, Default)]
struct Batch {
    body: Vec<u8>,
    events: usize,
    first_line: usize,
}

/// Seen only on a terminal: a pipe gets the result alone.
fn progress() -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner();
    let style = indicatif::ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}");
    bar.set_style(style.expect("the template is valid"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

// === impl Batch ===

impl Batch {
    fn push(&mut self, line_number: usize, line: &str) {
        if self.events == 0 {
            self.first_line = line_number;
        }
        self.body.extend_from_slice(line.as_bytes());
        self.body.push(b'\n');
        self.events += 1;
    }

    fn is_full(&self) -> bool {
        self.body.len() >= BATCH_BYTES || self.events >= BATCH_EVENTS
    }

    async fn send(&mut self, client: &Client, file: &str) -> anyhow::Result<u64> {
        if self.events == 0 {
            return Ok(0);
        }
        let first_line = self.first_line;
        let batch = std::mem::take(self);
        let answer = client.send_bytes("/v1/events", "application/x-ndjson", batch.body).await;
        let answer = answer.with_context(|| {
            format!("{file}: none of the {} event(s) from line {first_line} on was published", batch.events)
        })?;
        answer["accepted"].as_u64().context("the API did not say how many events it accepted")
    }
}
