//! What `tidings check` says of the registry, of the event types and of earlier schemas: one line each, with its remedy.

use std::{fs, path::Path, process::Command};

use crate::stub::{Mode, Stub};

/// The lines of a check with this configuration that are about sources, and whether all is well.
fn check(folder: &Path, configuration: &str) -> (bool, Vec<String>) {
    fs::write(folder.join("tidings.toml"), configuration).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    let done = command.arg("check").current_dir(folder).output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let others = ["ok       configuration", "ok       data folder"];
    let lines = said.lines().filter(|line| !others.iter().any(|other| line.starts_with(other)));
    (done.status.success(), lines.map(str::to_owned).collect())
}

#[test]
fn the_registry_is_asked_and_each_trouble_has_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let said = |url: &str, more: &str| check(folder.path(), &format!("[registry]\nurl = '{url}'\n{more}"));
    let problem = |stub: &Stub, more: &str, found: &str, remedy: &str| {
        let (is_well, lines) = said(&stub.url, more);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let is_named = line.starts_with(&format!("problem  registry {}: ", stub.url));
        assert!(!is_well && is_named && line.contains(found) && line.contains(remedy), "{line}");
    };
    let stub = Stub::start();
    stub.admits("Basic dXNlcjpodXNo");
    let as_user = "username = 'user'\nsecret = 'hush'\n";
    assert_eq!(said(&stub.url, as_user), (true, vec![format!("ok       registry {}", stub.url)]));
    problem(&stub, "username = 'user'\nsecret = 'hush-hush'\n", "401", "look at registry.username and registry.secret");
    stub.is(Mode::IsElsewhere);
    problem(&stub, as_user, "404", "put the path of the Confluent API into registry.url");
    stub.is(Mode::Fails);
    problem(&stub, as_user, "500", "look at the log of the registry");
    stub.is(Mode::Hangs);
    problem(&stub, "timeout_ms = 300\n", "nothing within 300 ms", "whether the registry can be reached from here");
    problem(&Stub::absent(), "", "the connection failed", "whether the registry can be reached from here");

    let secured = Stub::start_tls();
    problem(&secured, "", "certificate", "put the authority that signed its certificate into registry.ca_file");
    let authority = concat!("ca_file = '", env!("CARGO_MANIFEST_DIR"), "/tests/tls/authority.pem'\n");
    assert_eq!(said(&secured.url, authority), (true, vec![format!("ok       registry {}", secured.url)]));
    problem(&secured, "ca_file = 'none.pem'\n", "registry.ca_file none.pem", "name files that can be read");
    problem(&secured, "secret_file = 'none'\n", "registry.secret_file none", "name files that can be read");
}

#[test]
fn the_folders_of_schemas_are_read_as_a_start_would() {
    let folder = tempfile::tempdir().unwrap();
    let types = folder.path().join("events/shop");
    fs::create_dir_all(&types).unwrap();
    fs::create_dir(folder.path().join("earlier")).unwrap();
    let schema = |fields: &str| {
        format!(
            r#"{{"type": "record", "namespace": "shop.order", "name": "paid", "doc": "An order was paid.",
                "tidings.displayName": "Order paid", "tidings.category": "order", "tidings.severity": "info",
                "tidings.example": {{"total": 1}}, "fields": [{fields}]}}"#
        )
    };
    let total = r#"{"name": "total", "type": "long"}"#;
    fs::write(types.join("order.paid.avsc"), schema(total)).unwrap();
    fs::write(folder.path().join("earlier/order.paid-1.avsc"), schema("")).unwrap();
    let configuration = "[schemas]\nfolder = 'events'\nearlier = 'earlier'\nids = {7 = 'order.paid-1.avsc'}\n";
    let (is_well, lines) = check(folder.path(), configuration);
    assert!(is_well && lines == ["ok       event types of events"], "{lines:?}");

    let (is_well, lines) = check(folder.path(), &configuration.replace("-1.avsc", "-2.avsc"));
    let expected = "problem  sources: schema id 7 is mapped to \"order.paid-2.avsc\", which schemas.earlier does not have; \
                    remedy: look at schemas.ids, at the files of schemas.earlier, and at `types` of [[source]]";
    assert!(!is_well && lines[1..] == [expected], "{lines:?}");

    fs::write(types.join("order.paid.avsc"), schema("")).unwrap();
    fs::write(types.join("order.due.avsc"), "{").unwrap();
    let (is_well, lines) = check(folder.path(), configuration);
    assert!(!is_well && lines.len() == 2, "{lines:?}");
    for (line, file) in lines.iter().zip(["order.due.avsc", "order.paid.avsc"]) {
        assert!(line.starts_with("problem  event type events/shop/") && line.contains(file), "{line}");
        assert!(line.ends_with("remedy: mend the file until `tidings types check events` is content"), "{line}");
    }
    let (is_well, lines) = check(folder.path(), "[schemas]\nfolder = 'none'\n");
    assert!(!is_well && lines[0].ends_with("remedy: name a folder that can be read"), "{lines:?}");
}
