//! What Tidings does in a second, with a CPU second, and in how many milliseconds: the program behind `scripts/bench`.
//!
//! Each row of the table in `docs/BENCHMARKS.md` is a module here, with what it is held against measured in the same run:
//! in turn, the median of three after a warm-up of equal size. A figure is never a reason to fail; results that are
//! wrong are, so deliveries and rows are counted everywhere.
//!
//! Reading order: [`economy`] (d, g), [`isolation`] (e), [`latency`] (c), [`matcher`] (a), [`sender`] (b), [`local_log`]
//! (f); then what they stand on: [`installation`], [`receiver`], [`bare`], [`events`], [`processes`], [`environment`],
//! [`report`].

mod bare;
mod economy;
mod environment;
mod events;
mod installation;
mod isolation;
mod latency;
mod local_log;
mod matcher;
mod processes;
mod receiver;
mod report;
mod sender;

use std::path::Path;

use anyhow::bail;

use crate::{
    environment::{Servers, machine},
    receiver::Receiver,
    report::Figure,
};

/// Rows in the order of the table; (g) is measured with (d).
const ROWS: &str = "abcdef";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/BENCHMARKS.md");
const JSON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/measured.json");

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench` to whatever was asked for.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments == [receiver::ARGUMENT] {
        return receiver::serve();
    }
    let mut rows: Vec<char> = Vec::new();
    let mut write = false;
    for argument in &arguments {
        match argument.as_str() {
            "--write" => write = true,
            row if row.len() == 1 && ROWS.contains(row) => rows.extend(row.chars()),
            "g" => rows.push('d'),
            other => bail!("{other:?}; rows are a to g, and --write puts the table into docs/BENCHMARKS.md"),
        }
    }
    if rows.is_empty() {
        rows.extend(ROWS.chars());
    }
    if write && rows.len() < ROWS.len() {
        bail!("--write takes all rows: the document's table is of one run");
    }
    // Its rustls comes without a provider, because the product brings its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let figures = tokio::runtime::Runtime::new()?.block_on(measure(&rows))?;
    let table = report::table(&figures);
    println!("\n{}\n\n{table}", machine());
    report::write_json(Path::new(JSON), &machine(), &figures)?;
    if write {
        report::write_document(Path::new(DOCUMENT), &format!("{}\n\n{table}", machine()))?;
    }
    Ok(())
}

async fn measure(rows: &[char]) -> anyhow::Result<Vec<Figure>> {
    let servers = Servers::found()?;
    let receiver = Receiver::start()?;
    let mut figures = Vec::new();
    for row in ROWS.chars().filter(|row| rows.contains(row)) {
        eprintln!("({row})");
        figures.extend(match row {
            'a' => matcher::measure(&servers, &receiver).await?,
            'b' => sender::measure(&servers, &receiver).await?,
            'c' => latency::measure(&servers, &receiver).await?,
            'd' => economy::measure(&servers, &receiver).await?,
            'e' => isolation::measure(&servers, &receiver).await?,
            'f' => local_log::measure().await?,
            other => unreachable!("{other} is no row"),
        });
    }
    figures.sort_by_key(|figure| figure.row);
    Ok(figures)
}
