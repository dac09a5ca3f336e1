//! Ways to take the fields in use out of an event's JSON: ours, and what the fastest parsers of Rust make of the same.
//!
//! Each gets what filters ask for, with the team and the type, and refuses what is no JSON. simd-json writes into what it reads, so
//! it reads a copy, which is part of its time.

use std::{collections::BTreeSet, hint::black_box};

use simd_json::prelude::*;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, LazyValue, PointerTree};
use tidings_core::filter::{Index, Scanner};

use crate::workload::Workload;

/// What is used again from event to event stays in it.
pub enum Parser {
    Scanner(Scanner),
    /// A document, in which fields are looked up.
    SonicDocument,
    /// Only the paths in use.
    SonicPaths(Box<PointerTree>),
    /// A tape, in which fields are looked up.
    SimdJson {
        copy: Vec<u8>,
        buffers: Box<simd_json::Buffers>,
        tape: Option<simd_json::Tape<'static>>,
    },
}

/// The paths below `data` that any filter asks for.
pub struct Paths(Vec<Vec<String>>);

// === impl Parser ===

impl Parser {
    pub fn all(paths: &Paths) -> Vec<Parser> {
        let mut tree = PointerTree::new();
        tree.add_path(["team"]);
        tree.add_path(["type"]);
        for path in &paths.0 {
            tree.add_path(std::iter::once("data").chain(path.iter().map(String::as_str)));
        }
        let simd_json =
            Parser::SimdJson { copy: Vec::new(), buffers: Box::default(), tape: Some(simd_json::Tape::null()) };
        vec![Parser::Scanner(Scanner::new()), Parser::SonicDocument, Parser::SonicPaths(Box::new(tree)), simd_json]
    }

    pub fn name(&self) -> &'static str {
        match self {
            Parser::Scanner(_) => "ours",
            Parser::SonicDocument => "sonic-rs, document",
            Parser::SonicPaths(_) => "sonic-rs, paths",
            Parser::SimdJson { .. } => "simd-json, tape",
        }
    }

    /// A number of the event's team and type.
    pub fn read(&mut self, text: &[u8], index: &Index, paths: &Paths) -> u64 {
        match self {
            Parser::Scanner(scanner) => {
                let (team, event_type) = index.read_json(text, scanner).expect("usual JSON");
                key(team, event_type)
            }
            Parser::SonicDocument => {
                let event: sonic_rs::Value = sonic_rs::from_slice(text).expect("JSON");
                let data = &event["data"];
                for path in &paths.0 {
                    let value = path.iter().try_fold(data, |object, name| object.get(name));
                    black_box(value.map(|value| match value.as_array() {
                        Some(values) => values.iter().filter_map(|value| value.as_str()).map(str::len).sum(),
                        None => value.as_str().map_or_else(|| usize::from(value.is_number()), str::len),
                    }));
                }
                let text = |name: &str| event.get(name).and_then(|value| value.as_str()).expect("a text");
                key(text("team"), text("type"))
            }
            Parser::SonicPaths(tree) => {
                let found = sonic_rs::get_many(text, tree).expect("JSON");
                let text = |value: &Option<LazyValue<'_>>| {
                    let raw = value.as_ref().expect("a text").as_raw_str();
                    // Without its quotes.
                    raw[1..raw.len() - 1].to_owned()
                };
                black_box(&found);
                key(&text(&found[0]), &text(&found[1]))
            }
            Parser::SimdJson { copy, buffers, tape } => {
                copy.clear();
                copy.extend_from_slice(text);
                let mut read = tape.take().unwrap_or_else(simd_json::Tape::null).reset();
                simd_json::fill_tape(copy, buffers, &mut read).expect("JSON");
                let event = read.as_value();
                let data = event.get("data").expect("data");
                for path in &paths.0 {
                    let value = path.iter().try_fold(data, |object, name| object.get(name.as_str()));
                    black_box(value.map(|value| match value.as_array() {
                        Some(values) => values.iter().filter_map(|value| value.into_string()).map(str::len).sum(),
                        None => value.as_str().map_or_else(|| usize::from(value.is_number()), str::len),
                    }));
                }
                let text = |name: &str| event.get(name).and_then(|value| value.into_string()).expect("a text");
                let key = key(text("team"), text("type"));
                *tape = Some(read.reset());
                key
            }
        }
    }
}

// === impl Paths ===

impl Paths {
    pub fn of(workload: &Workload) -> Paths {
        let clauses = workload.subscriptions.iter().flat_map(|subscription| &subscription.clauses);
        let paths: BTreeSet<&str> =
            clauses.flat_map(|(_, conditions)| conditions.iter().map(|(path, _)| *path)).collect();
        Paths(paths.into_iter().map(|path| path.split('.').map(str::to_owned).collect()).collect())
    }
}

fn key(team: &str, event_type: &str) -> u64 {
    let hash = |text: &str| {
        text.bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
    };
    hash(team) ^ hash(event_type).rotate_left(32)
}
