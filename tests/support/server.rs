//! Servers that tests need and cannot do without: where they are, and what a test does when they are not there.

use std::{collections::BTreeSet, env, io::Write, sync::Mutex};

/// What `variable` says about where a server is. Without it the calling test is to be skipped, which fails if
/// `TIDINGS_REQUIRE` names the server.
pub fn found(server: &str, variable: &str) -> Option<String> {
    if let Ok(place) = env::var(variable) {
        return Some(place);
    }
    assert!(!listed("TIDINGS_REQUIRE", server), "TIDINGS_REQUIRE names {server}, but {variable} is not set");
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    // `scripts/test` says for the whole run what it skips and why.
    if !listed("TIDINGS_SKIPPED", server) && SAID.lock().is_ok_and(|mut said| said.insert(server.to_owned())) {
        // Past the macros, whose output a passing test swallows.
        writeln!(std::io::stderr(), "skipped: {server}: {variable} is not set").expect("standard error is open");
    }
    None
}

fn listed(variable: &str, server: &str) -> bool {
    env::var(variable).is_ok_and(|names| names.split(',').any(|name| name.trim() == server))
}
