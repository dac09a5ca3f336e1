//! Clients of other languages, and the schema registry they use: `scripts/producers-for-tests` fetches and starts them.
//!
//! `TIDINGS_TEST_PRODUCERS` is the folder that they are in, `TIDINGS_TEST_REGISTRY` the registry's address. Without them
//! a test is skipped, or fails if `TIDINGS_REQUIRE` names `producers`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

mod server;

/// The folder with `python`, `node` and `java`.
pub fn folder() -> Option<PathBuf> {
    server::found("producers", "TIDINGS_TEST_PRODUCERS").map(PathBuf::from)
}

/// The registry's address.
pub fn registry() -> Option<String> {
    server::found("producers", "TIDINGS_TEST_REGISTRY")
}

/// A Python program with the clients installed.
pub async fn python(folder: &Path, program: &Path, arguments: &[&str]) {
    let mut command = Command::new(folder.join("python/bin/python"));
    command.arg(program).args(arguments);
    succeeds(command).await;
}

pub async fn node(folder: &Path, program: &Path, arguments: &[&str]) {
    let mut command = Command::new("node");
    command.arg(program).args(arguments).env("NODE_PATH", folder.join("node/node_modules"));
    succeeds(command).await;
}

/// Compiled from its source as it is started.
pub async fn java(folder: &Path, program: &Path, arguments: &[&str]) {
    let mut command = Command::new("java");
    command.arg("-cp").arg(folder.join("java/*")).arg(program).args(arguments);
    succeeds(command).await;
}

async fn succeeds(mut command: Command) {
    // The registry is on this machine, whatever proxy the environment names.
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1").stdin(Stdio::null());
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("not aborted");
    let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{shown}: {status}\n{}\n{}", text(&stdout), text(&stderr));
}
