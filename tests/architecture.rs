//! The arrows of the house, as tests: which room may use which, what the core never touches, and that what the documents
//! name exists. The two tables are the documentation; an arrow that is missing there is a decision to be made.
//!
//! The arrow from the shell to the core needs no test: the core's manifest does not name the shell.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rooms of the package `tidings` and the rooms each may use, from what carries out up to what composes.
///
/// `process` alone joins a log, a store, channels, roles and the API; `demo` starts one and looks at it from outside.
const SHELL: &[(&str, &[&str])] = &[
    ("crash", &[]),
    ("log", &["crash"]),
    ("store", &[]),
    ("secrets", &[]),
    ("channels", &["secrets"]),
    ("config", &["log"]),
    ("schemas", &["config"]),
    ("telemetry", &["config", "log", "store"]),
    ("sources", &["config", "log", "schemas", "telemetry"]),
    ("roles", &["crash", "log", "sources", "store", "channels", "secrets", "telemetry"]),
    // Of the log it uses the local one: a backup is of the embedded mode.
    ("backup", &["log"]),
    ("api", &["backup", "log", "sources", "store", "secrets", "roles", "config", "telemetry"]),
    ("cli", &["backup", "log", "sources", "store", "secrets", "config", "schemas", "telemetry", "api"]),
    (
        "process",
        &[
            "backup",
            "crash",
            "log",
            "sources",
            "store",
            "channels",
            "secrets",
            "roles",
            "config",
            "schemas",
            "telemetry",
            "api",
            "cli",
        ],
    ),
    ("demo", &["log", "roles", "config", "cli", "process"]),
];

/// Rooms of `tidings-core` and the rooms each may use, along the way of an event.
const CORE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("catalog", &["domain"]),
    ("codec", &["domain", "catalog"]),
    ("filter", &["domain", "catalog", "codec"]),
    ("message", &["domain", "catalog"]),
    // A destination is checked against what a message can carry: header names, signatures.
    ("directory", &["domain", "catalog", "codec", "filter", "message"]),
    ("matcher", &["domain", "catalog", "codec", "filter", "directory"]),
    ("replay", &["domain", "codec", "filter", "directory", "matcher"]),
    ("sender", &["domain", "catalog", "codec", "directory", "message"]),
];

/// Who may name what of the outside world: the mode is known where a log or a store is made, and nowhere else.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("rdkafka::", &["src/log/kafka/"]),
    ("rusqlite::", &["src/log/local/", "src/backup/"]),
    ("sqlx::", &["src/store/"]),
    ("log::kafka", &["src/log/", "src/process/open.rs", "src/cli/"]),
    ("log::local", &["src/log/", "src/backup/", "src/process/open.rs"]),
    ("store::postgres", &["src/store/", "src/process/open.rs", "src/cli/check.rs"]),
    ("store::sqlite", &["src/store/", "src/process/open.rs"]),
    ("reqwest::", &["src/channels/", "src/cli/", "src/demo/api.rs", "src/sources/registry.rs"]),
];

/// Crates that wait, listen, store, or know the time: none of them is the core's.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "futures",
    "async-trait",
    "rdkafka",
    "sqlx",
    "rusqlite",
    "reqwest",
    "hyper",
    "axum",
    "rand",
    "getrandom",
    "fastrand",
    "chrono",
    "time",
    "tracing",
    "metrics",
    "tidings",
];

/// The same in `std`, and in the language.
const NOT_SAID_IN_CORE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "ToSocketAddrs",
    "async fn",
    ".await",
    "println!",
    "eprintln!",
];

#[test]
fn rooms_of_the_shell_use_only_what_the_table_allows() {
    check_arrows("src", SHELL);
}

#[test]
fn rooms_of_the_core_use_only_what_the_table_allows() {
    check_arrows("core/src", CORE);
}

#[test]
fn only_log_and_store_know_the_mode() {
    let mut faults = Vec::new();
    for file in sources("src") {
        for (word, places) in ONLY_IN {
            let allowed = places.iter().any(|place| file.name.starts_with(place));
            if !allowed && file.code.contains(word) {
                faults.push(format!("{} names {word}, which belongs to {places:?}", file.name));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_core_has_no_clock_no_chance_no_io() {
    let manifest: toml::Table = read("core/Cargo.toml").parse().expect("a manifest");
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    let mut faults: Vec<_> = NOT_IN_CORE
        .iter()
        .filter(|name| dependencies.contains_key(**name))
        .map(|name| format!("core/Cargo.toml depends on {name}"))
        .collect();
    for file in sources("core/src") {
        // Tests may take the time they need.
        let code = file.code.split("#[cfg(test)]").next().unwrap_or_default();
        let said = NOT_SAID_IN_CORE.iter().filter(|word| code.contains(**word));
        faults.extend(said.map(|word| format!("{} says {word}", file.name)));
    }
    assert_none(&faults);
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let folders = ["src", "core/src", "core/tests", "tests", "benches", "core/benches"];
    let silent = folders.iter().flat_map(|folder| sources(folder)).filter(|file| !file.text.starts_with("//! "));
    assert_none(&silent.map(|file| format!("{} does not open with `//! `", file.name)).collect::<Vec<_>>());
}

/// A clone works wherever it is, and so names no place of the machine it was written on.
#[test]
fn no_file_knows_where_it_was_written() {
    let machine = ["root", "home", "work", "Users"].map(|folder| format!("/{folder}/"));
    const HOSTS: &[&str] =
        &["index.crates.", "static.crates.", "repo1.maven.", "repo.maven.", "deb.debian.", "pypi.org"];
    let mut faults = Vec::new();
    for path in files(root(), &|_| true) {
        let name = relative(&path);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if name == "tests/architecture.rs" {
            continue;
        }
        let words = machine.iter().map(String::as_str).chain(HOSTS.iter().copied());
        let said = words.filter(|word| text.contains(word));
        faults.extend(said.map(|word| format!("{name} says {word}")));
    }
    assert_none(&faults);
}

/// Paths in backticks, and targets of links in documents.
#[test]
fn files_that_are_named_exist() {
    let mut faults = Vec::new();
    for path in files(root(), &|name| name.ends_with(".md") || name.ends_with(".rs")) {
        let (name, text) = (relative(&path), fs::read_to_string(&path).expect("text"));
        let folder = path.parent().expect("a folder");
        for named in text.lines().flat_map(paths_in_backticks) {
            // As from the root of the repository, or of the crate that says it.
            let found =
                [root().to_owned(), root().join("core"), folder.to_owned()].iter().any(|at| at.join(named).exists());
            if !found {
                faults.push(format!("{name} names {named}, which does not exist"));
            }
        }
        if name.ends_with(".md") {
            let missing = link_targets(&text).filter(|target| !folder.join(target).exists());
            faults.extend(missing.map(|target| format!("{name} links to {target}, which does not exist")));
        }
    }
    assert_none(&faults);
}

// --- arrows ---

fn check_arrows(folder: &str, table: &[(&str, &[&str])]) {
    let mut faults = BTreeSet::new();
    for file in sources(folder) {
        let inside = file.name.strip_prefix(folder).expect("below it").trim_start_matches('/');
        let room = room_of(inside);
        // The root names all rooms, and the program starts with them.
        if ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let Some((_, allowed)) = table.iter().find(|(name, _)| *name == room) else {
            faults.insert(format!("{} is in room {room}, which the table does not know", file.name));
            continue;
        };
        for used in rooms_used(&file.code, inside, table) {
            if used != room && !allowed.contains(&used.as_str()) {
                faults.insert(format!("{} uses {used}, and {room} may not", file.name));
            }
        }
    }
    assert_none(&faults.into_iter().collect::<Vec<_>>());
}

/// `log/kafka/worker.rs` and `log::kafka::worker` are in `log`.
fn room_of(path: &str) -> String {
    path.split(['/', ':', '.']).next().unwrap_or_default().to_owned()
}

/// The rooms that code names by `crate::room`, `crate::{room, other::Thing}`, or by enough `super::`.
fn rooms_used(code: &str, inside: &str, table: &[(&str, &[&str])]) -> BTreeSet<String> {
    let mut paths = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let own = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        if own {
            paths.extend(first_paths(&code[at + start.len()..]));
        }
    }
    let modules = inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let climb = "super::".repeat(modules);
    for (at, start) in code.match_indices(&climb) {
        paths.extend(first_paths(&code[at + start.len()..]));
    }
    let rooms = paths.iter().map(|path| room_of(path));
    rooms.filter(|room| table.iter().any(|(name, _)| name == room)).collect()
}

/// The paths that stand at the beginning: one, or those of a `{…}` list, each without what is nested in it.
fn first_paths(code: &str) -> Vec<String> {
    let path_of = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect::<String>()
    };
    let Some(list) = code.strip_prefix('{') else { return vec![path_of(code)] };
    let (mut depth, mut items, mut item) = (1, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            items.push(path_of(item.trim()));
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    items
}

#[test]
fn uses_are_read_as_the_compiler_reads_them() {
    let check = |inside: &str, code: &str, expected: &[&str]| {
        let found = rooms_used(code, inside, SHELL);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{code}");
    };
    check("api/mod.rs", "use crate::log::Log;", &["log"]);
    check(
        "api/mod.rs",
        "use crate::{\n    log::{Log, LogError},\n    store::Store,\n};\nuse other::{api};",
        &["log", "store"],
    );
    check("api/mod.rs", "fn f() -> crate::config::Mode", &["config"]);
    check("api/mod.rs", "use tidings_crate::log::Log; use self::store::X;", &[]);
    check("log/kafka/worker.rs", "use super::super::super::store::Store;", &["store"]);
    check("log/kafka/worker.rs", "use super::super::store;", &[]);
}

// --- the repository ---

struct Source {
    /// From the root of the repository.
    name: String,
    text: String,
    /// The text without comments.
    code: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let paths = files(&root().join(folder), &|name| name.ends_with(".rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let code: Vec<&str> = text.lines().map(|line| line.split("// ").next().unwrap_or_default()).collect();
        let code: Vec<&str> = code.into_iter().filter(|line| !line.trim_start().starts_with("//")).collect();
        Source { name: relative(&path), code: code.join("\n"), text }
    };
    paths.into_iter().map(read).collect()
}

/// Files below a folder that are the project's own, in a fixed order.
fn files(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    const NOT_OURS: &[&str] = &["target", "data", ".git", "corpus", "Cargo.lock"];
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, wanted));
        } else if wanted(&name) {
            found.push(path);
        }
    }
    found
}

fn paths_in_backticks(line: &str) -> impl Iterator<Item = &str> {
    const ROOTS: &[&str] =
        &["src/", "core/", "tests/", "docs/", "scripts/", "schemas/", "migrations/", "benches/", ".ci/"];
    let quoted = line.split('`').skip(1).step_by(2);
    // A command has more words than its path; `<…>`, `*` and `{` stand for something.
    let words = quoted.filter_map(|quoted| quoted.split_whitespace().next());
    let words = words.map(|word| word.split(['#', ':']).next().unwrap_or_default());
    words.filter(|word| ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains(['<', '*', '{', '…', '\\']))
}

fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("is there")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
