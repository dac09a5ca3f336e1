//! `tidings filter bench FOLDER`: what the filter index takes for somebody's own subscriptions and events.
//!
//! The folder holds `subscriptions.ndjson` and `events.ndjson`, as `tidings subscription apply` and `tidings publish` take them, one a
//! line. Events are matched one after another on one thread, from their JSON to the subscriptions that they match.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use serde_json::json;
use tidings_core::{
    catalog::Catalog,
    codec::json as safely,
    domain::{Event, Subscription, TeamId, Timestamp},
    filter::{Index, Rule, Scanner},
};

use super::{Global, output};
use crate::schemas;

/// Measure the filter index with subscriptions and events of your own
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// A folder with subscriptions.ndjson and events.ndjson
    pub folder: PathBuf,
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
}

/// What an event matched before it is timed.
#[derive(Default)]
struct Matches {
    count: u64,
    /// Of the ids, whatever their order.
    checksum: u64,
    /// Events that the scanner leaves to the whole reader.
    unusual: u64,
}

pub fn run(bench: &Bench, global: &Global) -> ExitCode {
    match measure(bench, global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(bench: &Bench, global: &Global) -> anyhow::Result<()> {
    let catalog = schemas::catalog(&super::settings(global)?)?;
    let start = Instant::now();
    let rules = rules(&bench.folder.join("subscriptions.ndjson"), &catalog)?;
    let compiled = start.elapsed();
    let events = lines(&bench.folder.join("events.ndjson"))?;
    ensure!(!events.is_empty(), "events.ndjson holds no event");
    let start = Instant::now();
    let index = Index::of(rules.iter().cloned());
    let built = start.elapsed();
    let stats = index.stats();
    let matches = matches(&index, &events)?;
    let mut times = times(&index, &events, Duration::from_secs(bench.seconds));
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100];
    let per_subscription = stats.bytes.total / rules.len().max(1);
    if global.json {
        output::json(&json!({
            "subscriptions": rules.len(), "events": events.len(), "compile_s": compiled.as_secs_f64(),
            "build_s": built.as_secs_f64(), "bytes_per_subscription": per_subscription, "matches": matches.count,
            "checksum": format!("{:016x}", matches.checksum), "unusual": matches.unusual, "p50_ns": percentile(50), "p99_ns": percentile(99),
            "index": stats,
        }));
        return Ok(());
    }
    println!("subscriptions  {}, read and compiled in {:.2} s", rules.len(), compiled.as_secs_f64());
    println!("index          built in {:.3} s, {per_subscription} bytes a subscription", built.as_secs_f64());
    println!("events         {}, of which {} are read whole", events.len(), matches.unusual);
    println!("matches        {}, checksum {:016x}", matches.count, matches.checksum);
    println!("an event       {} ns p50, {} ns p99, over {} events", percentile(50), percentile(99), times.len());
    Ok(())
}

fn rules(path: &Path, catalog: &Catalog) -> anyhow::Result<Vec<Arc<Rule>>> {
    let rule = |(number, line): (usize, &String)| {
        let of_line = || format!("{}, line {}", path.display(), number + 1);
        let value = safely::parse(line.as_bytes()).map_err(|poison| anyhow!("{}: {}", of_line(), poison.detail))?;
        let subscription: Subscription = serde_json::from_value(value).with_context(of_line)?;
        let rule = Rule::compile(Arc::new(subscription), catalog);
        rule.map(Arc::new).map_err(|faults| anyhow!("{}: {}", of_line(), faults[0]))
    };
    lines(path)?.iter().enumerate().map(rule).collect()
}

fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

fn matches(index: &Index, events: &[String]) -> anyhow::Result<Matches> {
    let (mut matches, mut scanner) = (Matches::default(), Scanner::new());
    for (number, text) in events.iter().enumerate() {
        let mut found = Vec::new();
        if index.matching_json(text.as_bytes(), &mut scanner, &mut found).is_err() {
            matches.unusual += 1;
            let event = whole(text).with_context(|| format!("events.ndjson, line {}", number + 1))?;
            matches.add(&index.matching(&event));
        } else {
            matches.add(&found);
        }
    }
    Ok(matches)
}

/// Of each event that was timed, in nanoseconds.
fn times(index: &Index, events: &[String], span: Duration) -> Vec<u64> {
    let (mut times, mut scanner) = (Vec::new(), Scanner::new());
    let begin = Instant::now();
    for text in events.iter().cycle() {
        let start = Instant::now();
        if start - begin >= span {
            break;
        }
        let mut found = Vec::new();
        if index.matching_json(text.as_bytes(), &mut scanner, &mut found).is_err()
            && let Ok(event) = whole(text)
        {
            black_box(index.matching(&event).len());
        }
        black_box(&found);
        times.push(start.elapsed().as_nanos() as u64);
    }
    times
}

/// An event with what filters may ask for.
fn whole(text: &str) -> anyhow::Result<Event> {
    let envelope = safely::parse(text.as_bytes()).map_err(|poison| anyhow!("{}", poison.detail))?;
    let word = |name: &str| envelope[name].as_str().unwrap_or_default();
    Ok(Event {
        team: TeamId::new(word("team")).context("team")?,
        id: word("id").into(),
        source: word("source").into(),
        event_type: word("type").into(),
        time: Timestamp::parse(word("time")),
        subject: envelope["subject"].as_str().map(Arc::from),
        data: envelope["data"].clone(),
    })
}

// === impl Matches ===

impl Matches {
    fn add(&mut self, found: &[&Arc<Rule>]) {
        self.count += found.len() as u64;
        for rule in found {
            let id = blake3::hash(rule.subscription.id.as_str().as_bytes());
            let first = id.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
            self.checksum = self.checksum.wrapping_add(first);
        }
    }
}
