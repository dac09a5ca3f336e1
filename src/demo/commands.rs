//! Four commands to try next. They work when pasted into a second terminal in the same folder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What a command shows, and the line to paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub shows: &'static str,
    pub line: String,
}

/// The file that the demo puts into its folder for `explain`.
pub const EXAMPLE: &str = "example-event.json";

/// The commands, for this program, with the demo's configuration.
pub fn commands(program: &Path, configuration: &Path, example: &Path) -> Vec<Command> {
    let tidings = format!("{} --config {}", quoted(program), quoted(configuration));
    let example = quoted(example);
    let command = |shows, rest: &str| Command { shows, line: format!("{tidings} {rest}") };
    vec![
        command("what is being retried", "notifications --status retrying --limit 10"),
        command("a request that was answered 500, as a curl command", "attempts --error server_error --limit 1 --curl"),
        command("why an event does not reach a subscription", &format!("explain {example} acme/paid-customers")),
        command("what could not be read, and why", "deadletters"),
    ]
}

/// This program, as it can be named from the folder it was started in.
pub fn program() -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let short = program.strip_prefix(std::env::current_dir()?).map(|rest| Path::new(".").join(rest));
    Ok(short.unwrap_or(program))
}

/// A customer with seats enough whose license is a trial: one condition holds, the other does not.
pub fn example_event() -> Value {
    json!({
        "team": "acme",
        "type": "replicated.customer.created",
        "id": "example-1",
        "source": "replicated",
        "data": {
            "app_id": "app-gitea-enterprise",
            "app_name": "Gitea Enterprise",
            "customer_id": "cus-42",
            "customer_name": "Northwind Bank",
            "license_type": "trial",
            "license_fields": {"seats": 250, "tier": "Enterprise"},
        },
    })
}

/// A path as a word for the shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word() {
        let check = |path: &str, expected: &str| assert_eq!(quoted(Path::new(path)), expected);
        check("./target/release/tidings", "./target/release/tidings");
        check("/opt/a b/tidings", "'/opt/a b/tidings'");
        check("it's", r"'it'\''s'");
    }
}
