//! `tidings filter test`: its exit codes and answers, which pipelines rely on; and that a pipeline may end before its command.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// The exit code, what was printed and what was said of faults.
fn asked(folder: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(["filter", "test"]).args(arguments).current_dir(folder);
    let mut running =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tidings starts");
    // What is refused early does not read its input.
    let _ = running.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = running.wait_with_output().expect("tidings ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_filter_and_an_event_are_answered_by_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("paid.json", r#"{"licenseType": ["paid"]}"#);
    write("plain.json", r#"{"license_type": ["paid"]}"#);
    write("faulty.json", r#"{"a": [{"regex": "x"}]}"#);
    write(
        "soon.json",
        r#"{"expires_at": [{"before": {"event-time": "+30d"}}], "$cloudevents": [{"exact": {"type": "t"}}]}"#,
    );
    write("event.json", r#"{"license_type": "paid", "type": "of the data"}"#);
    write(
        "envelope.json",
        r#"{"specversion": "1.0", "type": "t", "time": "2026-11-23T00:00:00Z", "data": {"expires_at": "2026-12-01"}}"#,
    );
    let check = |arguments: &[&str], input: &str, code: i32, said: &str| {
        let (found, printed, faults) = asked(folder.path(), arguments, input);
        assert_eq!(found, Some(code), "{arguments:?}: {printed}{faults}");
        assert!(format!("{printed}{faults}").contains(said), "{arguments:?}: {printed}{faults}");
    };
    check(&["--filter", "plain.json", "--event", "event.json"], "", 0, "yes  the event matches");
    let many = format!(r#"{{"license_type": [{}"x"]}}"#, "7,".repeat(100_000));
    check(&["--filter", "plain.json", "--event", "-"], &many, 2, "filter_too_costly: the filter costs more than");
    check(
        &["--filter", "plain.json", "--event", "-"],
        r#"{"license_type": "dev"}"#,
        1,
        r#"license_type  is "paid"; found "dev""#,
    );
    check(&["--filter", "-", "--event", "event.json"], r#"{"type": ["of the data"]}"#, 0, "yes");
    check(&["--filter", "soon.json", "--event", "envelope.json"], "", 0, "is before the event's time + 30 d");
    check(&["--filter", "soon.json", "--event", "event.json"], "", 1, "found nothing");
    let of_type = ["--filter", "paid.json", "--event", "event.json", "--type", "replicated.customer.created"];
    check(&of_type, "", 0, "license_type");
    check(&["--filter", "paid.json", "--event", "event.json"], "", 1, "licenseType");
    check(&["--filter", "plain.json", "--event", "event.json", "--json"], "", 0, r#""matches": true"#);
    check(
        &["--filter", "faulty.json", "--event", "event.json"],
        "",
        2,
        r#"filter.a[0]: found operator "regex"; allowed: "#,
    );
    check(&["--filter", "plain.json", "--event", "-"], "5", 2, "event: found 5; allowed: an object");
    check(&["--filter", "plain.json", "--event", "-"], "{", 2, "EOF");
    check(&["--filter", "absent.json", "--event", "event.json"], "", 2, "absent.json");
    check(&["--filter", "plain.json", "--event", "event.json", "--type", "no.such"], "", 2, r#"type: found "no.such""#);
}

#[test]
fn cases_are_answered_a_line_each_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        r#"{"filter": {"a": ["x"]}, "event": {"a": "x"}}"#,
        r#"{"filter": {"a": ["x"]}, "event": {"a": "y"}, "name": "what it is for"}"#,
        r#"{"filter": {"a": "x"}, "event": {"a": "x"}}"#,
        r#"{"filter": {"a": ["x"]}}"#,
        "no case",
        r#"{"filter": {"a": [9007199254740993]}, "event": {"a": 9007199254740993}}"#,
    ];
    let (code, printed, faults) = asked(folder.path(), &["--cases", "-"], &cases.join("\n"));
    assert_eq!((code, faults.as_str()), (Some(0), ""));
    let answers: Vec<&str> = printed.lines().collect();
    assert_eq!(answers.len(), cases.len(), "{printed}");
    assert_eq!([answers[0], answers[1], answers[5]], ["true", "false", "true"]);
    assert_eq!(answers[2], r#"error: filter.a: found "x"; allowed: an array of alternatives: ["x"]"#);
    assert_eq!(answers[3], "error: found no event on this line");
    assert!(answers[4].starts_with("error: "), "{printed}");
}

/// As `tidings types | head -1` does: who has read enough gets no word of a panic.
#[test]
fn a_pipe_that_is_closed_ends_it_without_a_word() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    let mut child = command.arg("types").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
}
