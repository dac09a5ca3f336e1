//! `docker-compose.yml` starts what the program takes: its commands, its settings, one name a process, pinned images.
//!
//! That the file is one that Docker's own tool reads is checked in `.ci/run`.

use std::{collections::BTreeSet, fs, path::Path};

use clap::Parser;
use serde_norway::Value;
use tidings::{
    cli::Cli,
    config::{Mode, Sources, load},
};

/// What a container of ours is run with.
struct Service {
    name: String,
    command: String,
    hostname: Option<String>,
    environment: Vec<(String, String)>,
}

#[test]
fn every_container_of_ours_has_a_command_and_settings_that_are_taken() {
    let services = ours();
    assert_eq!(services.len(), 6, "{:?}", services.iter().map(|service| &service.name).collect::<Vec<_>>());
    for Service { name, command, environment, .. } in services {
        let words = ["tidings"].into_iter().chain(command.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(environment.iter().any(|(key, _)| key.starts_with("TIDINGS__")), "{name} has no settings");
        let settings = load(&Sources { environment, ..Sources::default() });
        let settings = settings.unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        assert_eq!(settings.mode, Mode::Distributed);
        assert_eq!(settings.telemetry.listen.is_empty(), !["match", "send"].contains(&command.as_str()), "{name}");
    }
}

#[test]
fn no_two_processes_have_one_name() {
    let named: Vec<String> = ours().into_iter().filter_map(|service| service.hostname).collect();
    let distinct: BTreeSet<&String> = named.iter().collect();
    assert_eq!((named.len(), distinct.len()), (5, 5), "{named:?}");
}

#[test]
fn images_of_others_are_pinned_to_a_version() {
    let file = file();
    let others = services(&file).filter(|(_, service)| service.get("build").is_none());
    let images: Vec<&str> = others.filter_map(|(_, service)| service.get("image")?.as_str()).collect();
    assert_eq!(images.len(), 2);
    for image in images {
        let tag = image.split(':').nth(1).unwrap_or_default();
        assert!(tag.split('.').count() >= 2 && tag.starts_with(|c: char| c.is_ascii_digit()), "{image}");
    }
}

fn ours() -> Vec<Service> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let file = file();
    let built = services(&file).filter(|(_, service)| service.get("build").is_some());
    built
        .map(|(name, service)| Service {
            name: name.to_owned(),
            command: text(service.get("command")).expect("a command"),
            hostname: text(service.get("hostname")),
            environment: service["environment"]
                .as_mapping()
                .expect("settings")
                .iter()
                .map(|(key, value)| (text(Some(key)).expect("a name"), given(&text(Some(value)).expect("text"))))
                .collect(),
        })
        .collect()
}

/// A value with its variables filled in as a person would.
fn given(value: &str) -> String {
    let mut rest = value.to_owned();
    while let (Some(start), Some(end)) = (rest.find("${"), rest.find('}')) {
        let (variable, refusal) = rest[start + 2..end].split_once(":?").expect("a variable that must be given");
        assert_eq!(refusal, "see the top of docker-compose.yml");
        let filled = match variable {
            "TIDINGS_KEYS" => "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            _ => "0123456789abcdef0123456789abcdef",
        };
        rest = format!("{}{filled}{}", &rest[..start], &rest[end + 1..]);
    }
    rest
}

fn services(file: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let services = file["services"].as_mapping().expect("services");
    services.iter().map(|(name, service)| (name.as_str().expect("a name"), service))
}

fn file() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker-compose.yml");
    let text = fs::read_to_string(path).expect("docker-compose.yml");
    let mut file: Value = serde_norway::from_str(&text).expect("YAML");
    // Once for what is merged, once for what was merged into that.
    file.apply_merge().expect("merges");
    file.apply_merge().expect("merges");
    file
}
