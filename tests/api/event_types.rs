//! `/v1/event-types` and `tidings types`: the same content, from the catalog in force.

use std::{path::Path, process::Command};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tidings_core::catalog::Catalog;

use crate::harness::{Api, TOKEN};

/// The command, its success, and what it printed.
async fn tidings(api: &Api, folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).current_dir(folder).env("TIDINGS_SERVER", api.url()).env("TIDINGS_TOKEN", TOKEN);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_api_and_the_command_line_show_the_same() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let all = api.get("/v1/event-types").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), Catalog::builtin().types().count());
    let (ok, printed) = tidings(&api, folder.path(), &["types", "--json"]).await;
    assert!(ok, "{printed}");
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), all);

    let addons = api.get("/v1/event-types?platform=scalingo&category=addon").await.expect(200);
    assert_eq!(addons["items"].as_array().unwrap().len(), 7);

    for name in ["scalingo.app_deployed", "deployment"] {
        let detail = api.get(&format!("/v1/event-types/{name}")).await.expect(200);
        assert_eq!(detail["key"], "scalingo.app_deployed");
        let (ok, printed) = tidings(&api, folder.path(), &["types", name, "--json"]).await;
        assert!(ok, "{printed}");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), detail);
    }
    assert_eq!(api.get("/v1/event-types/scalingo.app_exploded").await.status, StatusCode::NOT_FOUND);
    let (ok, printed) = tidings(&api, folder.path(), &["types", "scalingo.app_exploded"]).await;
    assert!(!ok && printed.contains("no event type is called"), "{printed}");
    let (ok, printed) = tidings(&api, folder.path(), &["types", "crash"]).await;
    assert!(ok && printed.contains("type_data.crash_logs") && printed.contains("critical"), "{printed}");
}

#[tokio::test]
async fn every_example_is_an_event_that_publish_accepts() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ok, example) = tidings(&api, folder.path(), &["types", "tyk.key_request_event.submitted", "--example"]).await;
    assert!(ok, "{example}");
    std::fs::write(folder.path().join("event.json"), example).unwrap();
    let (ok, printed) = tidings(&api, folder.path(), &["publish", "event.json"]).await;
    assert!(ok, "{printed}");

    let catalog = Catalog::builtin();
    let events: Vec<Value> = catalog.types().map(tidings_core::catalog::description::example_event).collect();
    let accepted = api.post("/v1/events", &json!(events)).await.expect(202);
    assert_eq!(accepted, json!({"accepted": events.len()}));
}

const PAID: &str = r#"{"type": "record", "namespace": "shop", "name": "paid", "doc": "An order was paid.",
    "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
    "fields": [{"name": "total", "type": "long", "tidings.title": "Total"}],
    "tidings.filters": [{"key": "total", "label": "Total", "field": "total", "kind": "number"}],
    "tidings.example": {"total": 5}}"#;

#[tokio::test]
async fn a_folder_is_checked_before_it_is_used() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |place: &str, text: &str| {
        let file = folder.path().join(place);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let check = async |arguments: &[&str], good: bool, expected: &str| {
        let (ok, printed) = tidings(&api, folder.path(), &[&["types", "check"], arguments].concat()).await;
        assert!(ok == good && printed.contains(expected), "{arguments:?}: {printed}");
    };
    write("old/shop/paid.avsc", PAID);
    check(&["old"], true, "1 file(s) are as they must be").await;

    write("faulty/shop/paid.avsc", &PAID.replace("\"kind\": \"number\"", "\"kind\": \"text\""));
    check(&["faulty"], false, "paid.avsc: tidings.filters[0].kind: text does not suit a field of type long").await;

    write("wider/shop/paid.avsc", &PAID.replace("\"long\"", "\"double\""));
    check(&["wider", "--before", "old"], true, "as they must be").await;
    check(&["old", "--before", "wider"], false, "shop.paid: total: double became long, which does not read it").await;

    write(
        "more/shop/paid.avsc",
        &PAID
            .replace("{\"name\": \"total\"", "{\"name\": \"buyer\", \"type\": \"string\"}, {\"name\": \"total\"")
            .replace("{\"total\": 5}", "{\"total\": 5, \"buyer\": \"Ann\"}"),
    );
    check(&["more", "--before", "old"], false, "shop.paid: buyer: was added without a default").await;

    // Of a compiled-in type there is one only.
    let (name, text) = tidings_core::catalog::builtin_files().remove(0);
    write(&format!("twice/{name}"), &text);
    check(&["twice"], false, "is defined already, by built-in/").await;
}
