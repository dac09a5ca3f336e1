//! The commands that speak to the API, as a person calls them.

use std::{
    path::Path,
    process::{self, Command, Stdio},
};

use serde_json::Value;
use tidings::log::Log;
use tidings_core::domain::Output;

use crate::harness::{Api, TOKEN};

const OBJECTS: &str = "
id: s-1
team: acme
events:
  - type: '*'
    filter: {license_type: [paid]}
destinations: [d-1]
---
- {id: s-2, team: acme, events: [{type: '*'}], destinations: [d-1]}
";

async fn tidings(api: &Api, folder: &Path, arguments: &[&str]) -> process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).current_dir(folder).env("TIDINGS_SERVER", api.url()).env("TIDINGS_TOKEN", TOKEN);
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub async fn succeeds(api: &Api, folder: &Path, arguments: &[&str]) -> String {
    let output = tidings(api, folder, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn fails(api: &Api, folder: &Path, arguments: &[&str]) -> String {
    let output = tidings(api, folder, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn objects_events_and_explanations_pass_through_the_commands() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();

    write("d.json", r#"{"id": "d-1", "webhook": {"url": "https://example.com/hook"}}"#);
    let applied = succeeds(&api, folder, &["destination", "apply", "d.json", "--team", "acme"]).await;
    assert!(applied.contains("acme/d-1: revision 1") && applied.contains("whsec_"), "{applied}");
    write("s.yaml", OBJECTS);
    let applied = succeeds(&api, folder, &["subscription", "apply", "s.yaml"]).await;
    assert_eq!(applied, "subscription acme/s-1: revision 1\nsubscription acme/s-2: revision 1\n");
    let listed = succeeds(&api, folder, &["subscription", "list", "--team", "acme"]).await;
    assert_eq!(
        listed,
        "ID   REVISION  ENABLED  EVENTS  DESTINATIONS\ns-1  1         true     *       d-1\ns-2  1         true     *       d-1\n"
    );

    write("event.json", r#"{"team": "acme", "type": "a.b", "data": {"license_type": "trial"}}"#);
    assert_eq!(succeeds(&api, folder, &["publish", "event.json"]).await, "1 event(s) published\n");
    let explained = succeeds(&api, folder, &["explain", "event.json", "acme/s-1"]).await;
    assert!(explained.starts_with("no   the event does not match"), "{explained}");
    assert!(explained.contains("license_type") && explained.contains("found \"trial\""), "{explained}");

    succeeds(&api, folder, &["subscription", "delete", "s-2", "--team", "acme"]).await;
    let shown = succeeds(&api, folder, &["notifications", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["items"], serde_json::json!([]));
    succeeds(&api, folder, &["attempts", "--team", "acme", "--since", "2h", "--curl"]).await;
    assert!(succeeds(&api, folder, &["deadletters"]).await.starts_with("POSITION"));
}

#[tokio::test]
async fn errors_name_the_file_and_the_faulty_key() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("s.yaml"), "{id: s, team: acme, events: [{type: no.such}], destinations: [x]}").unwrap();
    let error = fails(&api, folder, &["subscription", "apply", "s.yaml"]).await;
    for part in ["s.yaml, object 1", "events[0].type: found \"no.such\"", "destinations[0]: found \"x\""] {
        assert!(error.contains(part), "{error} does not say {part}");
    }
    std::fs::write(folder.join("events"), "{\"team\": \"acme\", \"type\": \"a.b\"}\n{}\n").unwrap();
    let error = fails(&api, folder, &["publish", "events"]).await;
    assert!(error.contains("from line 1 on") && error.contains("[1]: found"), "{error}");
    let error = fails(&api, folder, &["destination", "show", "d", "--team", "acme", "--token", "x"]).await;
    assert!(error.contains("operator token"), "{error}");
    let error = fails(&api, folder, &["config", "show", "--set", "match.batch_ms=0"]).await;
    assert!(error.contains("--set: match.batch_ms: found 0; allowed: 1 to 10000"), "{error}");
}

#[tokio::test]
async fn check_says_what_is_wrong_in_the_directory_of_a_running_process() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = format!("data.dir={}", api.settings.data.dir.display());
    let fine = succeeds(&api, folder.path(), &["check", "--set", &data]).await;
    assert_eq!(fine, "ok       configuration\nok       key ring\nok       process\nok       directory\n");

    let bad = Output {
        topic: api.settings.topics().directory,
        partition: Some(0),
        key: Some("sub/acme/s-1".into()),
        value: Some("{}".into()),
        headers: Vec::new(),
    };
    api.log.append(vec![bad]).await.unwrap();
    api.destination("acme", "d-1").await;
    let output = tidings(&api, folder.path(), &["check", "--set", &data]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    let line = "problem  directory: sub/acme/s-1: decode; remedy: `tidings directory problems` lists all";
    assert!(!output.status.success() && said.lines().any(|found| found == line), "{said}");
    let listed = succeeds(&api, folder.path(), &["directory", "problems"]).await;
    assert!(listed.starts_with("KEY") && listed.contains("missing field `team`"), "{listed}");
}
