//! What the documents show works: their commands, files and settings are read by the code they are about, and the symbols that
//! they cite are there. That the files which they name exist is held by `tests/architecture.rs`, for all documents.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tidings::{
    cli::{Cli, documents},
    config::{self, Mode, Sources},
};
use tidings_core::{
    catalog::Catalog,
    codec::Decoder,
    directory::{Directory, destination_key, subscription_key, validate_destination, validate_subscription},
    domain::{Destination, Record, Subscription, Timestamp},
};

/// In blocks of commands, and in what the demo prints.
#[test]
fn every_command_is_one_that_the_program_takes() {
    let mut tried = 0;
    for (name, text) in documents_of_the_repository() {
        for block in blocks(&text, "sh").chain(blocks(&text, "text")) {
            for words in block.lines().filter_map(arguments) {
                tried += 1;
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("{name}: {words:?}: {error}");
                }
            }
        }
    }
    assert!(tried >= 15, "only {tried} commands were found");
}

/// `tidings word` in running text.
#[test]
fn every_subcommand_that_is_named_exists() {
    let program = Cli::command();
    for (name, text) in documents_of_the_repository() {
        for quoted in in_backticks(&text).filter_map(|quoted| quoted.strip_prefix("tidings ")) {
            let mut command = &program;
            // `topics create --print`, `subscription|destination apply`: the plain words at the beginning.
            for word in quoted.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())) {
                if !command.has_subcommands() {
                    break;
                }
                command = command
                    .find_subcommand(word)
                    .unwrap_or_else(|| panic!("{name} names `tidings {quoted}`; there is no {word}"));
            }
        }
    }
}

#[test]
fn the_settings_of_commands_and_files_are_taken() {
    let (name, text) = readme();
    for words in blocks(&text, "sh").flat_map(str::lines).filter_map(arguments) {
        let flags = Cli::try_parse_from(&words).expect("held by another test").global.set;
        check_settings(&name, Sources { flags, ..Sources::default() });
    }
    for block in blocks(&text, "toml") {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tidings.toml");
        fs::write(&file, block).expect("written");
        let settings = check_settings(&name, Sources { file: Some(file), ..Sources::default() });
        assert_eq!(settings.mode, Mode::Distributed);
    }
}

/// The files of the first steps belong together: the event is matched by the subscription, which has the destination.
#[test]
fn the_first_steps_end_in_a_delivery() {
    let (_, text) = readme();
    let catalog = Catalog::builtin();
    let mut directory = Directory::new(catalog.clone());
    let mut destinations = Vec::new();
    for object in blocks(&text, "yaml").flat_map(|block| documents::objects(block).expect("objects")) {
        let (key, value) = if object.get("webhook").is_some() {
            let destination = destination(object);
            assert_eq!(validate_destination(&destination), [], "{:?}", destination.id);
            destinations.push(destination.id.clone());
            (destination_key(&destination.team, &destination.id), json!(destination))
        } else {
            let subscription: Subscription = serde_json::from_value(object).expect("a subscription");
            assert_eq!(validate_subscription(&subscription, &catalog), [], "{:?}", subscription.id);
            (subscription_key(&subscription.team, &subscription.id), json!(subscription))
        };
        directory.apply(&record(Some(key), &value.to_string()));
    }
    assert_eq!(directory.problems().len(), 0);

    let event = blocks(&text, "json").next().expect("an event");
    assert_eq!(event.trim().lines().count(), 1, "`publish` reads an event per line");
    let decoder = Decoder::new(catalog, BTreeMap::new(), None).expect("a decoder");
    let event = decoder.decode(&record(None, event.trim())).expect("readable").event;
    let matched = directory.matching(&event);
    assert_eq!(matched.len(), 1, "the event is matched by the subscription");
    let subscription = &matched[0].subscription;
    assert_eq!(subscription.destinations, destinations.into());

    let explained = format!("{}/{}", subscription.team, subscription.id);
    assert!(text.contains(&format!("tidings explain event.json {explained}")), "{explained}");
    let sent = blocks(&text, "json").nth(1).expect("the body that is sent");
    let sent: Value = serde_json::from_str(sent).expect("JSON");
    assert_eq!((&sent["id"], &sent["data"]), (&json!(&*event.id), &event.data));
}

/// Its words, not its figures: what stands on the demo's screen is in its code.
#[test]
fn the_screen_is_that_of_the_demo() {
    let demo = fs::read_dir(root().join("src/demo")).expect("a folder");
    let code: String = demo.map(|file| fs::read_to_string(file.expect("a file").path()).expect("text")).collect();
    let (_, text) = readme();
    let screen = blocks(&text, "text").find(|block| block.starts_with("Tidings demo")).expect("a screen");
    // The picture alone; what stands around it is put together from parts.
    let picture = screen.lines().skip_while(|line| !line.contains("time   events"));
    let lines: Vec<&str> = picture.take_while(|line| !line.contains("Stopped")).collect();
    assert!(lines.len() > 8, "the picture has {} lines", lines.len());
    let words = lines.iter().flat_map(|line| line.split(|c: char| c.is_ascii_digit()));
    let phrases: Vec<&str> = words.flat_map(|words| words.split("  ")).map(str::trim).collect();
    // Shorter ones are everywhere.
    let phrases = phrases.into_iter().filter(|phrase| phrase.len() > 3);
    let unknown: Vec<&str> = phrases.filter(|phrase| !code.contains(phrase)).collect();
    assert!(unknown.is_empty(), "the demo does not say {unknown:?}");
}

/// `path/file.rs::name`, and `path/file.rs::Type::name`.
#[test]
fn symbols_that_are_cited_are_there() {
    let (mut faults, mut cited) = (Vec::new(), 0);
    for (name, text) in documents_of_the_repository() {
        for quoted in in_backticks(&text) {
            let Some((file, symbols)) = quoted.split_once(".rs::") else { continue };
            if !file.contains('/') {
                continue;
            }
            cited += 1;
            let code = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            let absent = symbols.split("::").filter(|symbol| !defines(&code, symbol));
            faults.extend(absent.map(|symbol| format!("{name} cites {quoted}; {symbol} is not defined there")));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert!(cited > 50, "only {cited} symbols were found");
}

#[test]
fn the_version_of_rust_is_that_of_the_manifest() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).expect("text").parse().expect("TOML");
    let version = manifest["workspace"]["package"]["rust-version"].as_str().expect("text");
    assert!(readme().1.contains(&format!("Rust {version} or newer")), "README does not name Rust {version}");
}

#[test]
fn definitions_are_told_from_uses() {
    let check = |code: &str, expected: bool| assert_eq!(defines(code, "one"), expected, "{code}");
    check("pub(super) async fn one(", true);
    check("    one,", true);
    check("    one(u32),", true);
    check("const one: u32 = 1;", true);
    check("self.one();", false);
    check("fn one_more()", false);
    check("    one::two(),", false);
}

// --- what is read ---

fn check_settings(name: &str, sources: Sources) -> config::Settings {
    // A `tidings.toml` of whoever runs the tests must not count.
    let file = sources.file.or_else(|| Some(root().join("src/config/default.toml")));
    config::load(&Sources { file, ..sources }).unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
}

/// What a person writes, as the directory holds it: with a sealed secret.
fn destination(mut object: Value) -> Destination {
    object["webhook"]["secrets"] = json!([format!("v1.k1.{}", "A".repeat(64))]);
    serde_json::from_value(object).expect("a destination")
}

fn record(key: Option<String>, value: &str) -> Record {
    Record {
        topic: Arc::from("documents"),
        partition: 0,
        offset: 0,
        timestamp: Timestamp(0),
        key: key.map(Bytes::from),
        value: Some(Bytes::from(value.to_owned())),
        headers: Vec::new(),
    }
}

/// The words of a line that calls Tidings, by its name, by its path or by cargo.
fn arguments(line: &str) -> Option<Vec<String>> {
    let command = line.split(" #").next().unwrap_or_default().trim();
    let command = match command.strip_prefix("cargo run ") {
        Some(rest) => format!("tidings {}", rest.split_once("-- ")?.1),
        None => command.to_owned(),
    };
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let program = words.first()?;
    (program == "tidings" || program.ends_with("/tidings")).then_some(words)
}

/// Whether a name is defined: as an item, or as a variant on a line of its own.
fn defines(code: &str, name: &str) -> bool {
    const ITEMS: [&str; 7] = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "static "];
    let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    code.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| {
        let variant = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([',', '(']) && line.ends_with(','));
        let item = ITEMS
            .iter()
            .any(|item| line.split_once(item).and_then(|(_, rest)| rest.strip_prefix(name)).is_some_and(is_whole));
        variant || item
    })
}

// --- documents ---

fn readme() -> (String, String) {
    ("README.md".to_owned(), fs::read_to_string(root().join("README.md")).expect("text"))
}

/// README and all of `docs`, with their names.
fn documents_of_the_repository() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        paths.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    paths.retain(|path: &PathBuf| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        (name, fs::read_to_string(&path).expect("text"))
    };
    std::iter::once(readme()).chain(paths.into_iter().map(read)).collect()
}

/// The blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    // Between two fences: what is outside a block, and its inside, in turn.
    let starts = text.match_indices(&fence).map(|(at, fence)| at + fence.len()).collect::<Vec<_>>();
    starts.into_iter().map(|start| text[start..].split("\n```").next().unwrap_or_default())
}

/// Spans of code in running text.
fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
