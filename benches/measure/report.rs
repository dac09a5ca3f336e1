//! What was measured: a table on the screen, a JSON file, and the table of `docs/BENCHMARKS.md`.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// `a` to `g`, as in the table of promises.
    pub row: char,
    pub what: String,
    pub unit: &'static str,
    /// The median.
    pub measured: f64,
    /// What it is the median of, in the order of the runs.
    pub runs: Vec<f64>,
    /// The same of what it is held against, in the same run.
    pub beside: Option<f64>,
    pub must: Option<f64>,
    pub stretch: Option<f64>,
    pub bound: Bound,
    /// What a reader of the figure should know, such as its parts.
    pub note: String,
}

/// What `must` and `stretch` are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The measured value is to be at least that.
    AtLeast,
    AtMost,
    /// The measured value is to be at least that many times the one beside it.
    RatioAtLeast,
    RatioAtMost,
    /// Nothing is promised.
    None,
}

/// Between these lines of `docs/BENCHMARKS.md` stands the table of the last `scripts/bench --write`.
const BEGIN: &str = "<!-- begin: written by scripts/bench --write -->";
const END: &str = "<!-- end -->";

/// The middle one; of an even number, the higher of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

// === impl Figure ===

impl Figure {
    pub fn new(row: char, what: impl Into<String>, unit: &'static str, runs: Vec<f64>) -> Figure {
        Figure {
            row,
            what: what.into(),
            unit,
            measured: median(&runs),
            runs,
            beside: None,
            must: None,
            stretch: None,
            bound: Bound::None,
            note: String::new(),
        }
    }

    pub fn beside(self, runs: &[f64]) -> Figure {
        Figure { beside: Some(median(runs)), ..self }
    }

    pub fn promised(self, bound: Bound, must: f64, stretch: Option<f64>) -> Figure {
        Figure { bound, must: Some(must), stretch, ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Figure {
        Figure { note: note.into(), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.beside.map(|beside| self.measured / beside)
    }

    /// `must`, `stretch`, or what is missing.
    fn verdict(&self) -> &'static str {
        let holds = |bound: Option<f64>| {
            let found = match self.bound {
                Bound::AtLeast | Bound::AtMost => Some(self.measured),
                Bound::RatioAtLeast | Bound::RatioAtMost => self.ratio(),
                Bound::None => None,
            };
            match (self.bound, found, bound) {
                (Bound::AtLeast | Bound::RatioAtLeast, Some(found), Some(bound)) => found >= bound,
                (Bound::AtMost | Bound::RatioAtMost, Some(found), Some(bound)) => found <= bound,
                _ => false,
            }
        };
        match (self.bound, holds(self.must), holds(self.stretch)) {
            (Bound::None, ..) => "–",
            (_, _, true) => "stretch",
            (_, true, false) => "must",
            (_, false, false) => "**missed**",
        }
    }
}

/// The table, as Markdown: it reads well on a screen, too.
pub fn table(figures: &[Figure]) -> String {
    let mut table = String::from(
        "| | what | unit | measured | beside it | ratio | must | stretch | reached |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for figure in figures {
        let optional = |value: Option<f64>| value.map(shown).unwrap_or_default();
        let note = if figure.note.is_empty() { String::new() } else { format!(" ({})", figure.note) };
        let _ = writeln!(
            table,
            "| {} | {}{note} | {} | {} | {} | {} | {} | {} | {} |",
            figure.row,
            figure.what,
            figure.unit,
            shown(figure.measured),
            optional(figure.beside),
            figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            optional(figure.must),
            optional(figure.stretch),
            figure.verdict(),
        );
    }
    table
}

/// Three digits, thousands apart.
fn shown(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 10.0 { 2 } else { 1 };
        return format!("{value:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Every run of every figure, for machines.
pub fn write_json(file: &Path, machine: &str, figures: &[Figure]) -> anyhow::Result<()> {
    let folder = file.parent().context("a folder")?;
    fs::create_dir_all(folder)?;
    let all = serde_json::json!({"machine": machine, "figures": figures});
    fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}

/// Puts the table where the document says.
pub fn write_document(file: &Path, text: &str) -> anyhow::Result<()> {
    let document = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let missing = || format!("{} has no line {BEGIN:?} before {END:?}", file.display());
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    fs::write(file, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?;
    Ok(())
}
