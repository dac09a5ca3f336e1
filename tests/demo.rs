//! `tidings up --demo`, as a stranger meets it: the real program, what it prints, and the commands it suggests.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

const TIDINGS: &str = env!("CARGO_BIN_EXE_tidings");
/// The first start of a busy machine included.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// What must come, comes within this.
const COMES_WITHIN: Duration = Duration::from_secs(20);

/// A demo in a folder of its own, killed if the test ends before it does.
struct Demo {
    process: Child,
    stdout: BufReader<ChildStdout>,
    printed: String,
}

// === impl Demo ===

impl Demo {
    fn start(folder: &Path, arguments: &[&str]) -> Demo {
        let mut command = Command::new(TIDINGS);
        command.args(["up", "--demo", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = command.current_dir(folder).stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        Demo { process, stdout, printed: String::new() }
    }

    /// Reads until a line that contains this.
    fn read_until(&mut self, text: &str) {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            let start = self.printed.len();
            let bytes = self.stdout.read_line(&mut self.printed).expect("it prints text");
            assert!(bytes > 0, "it ended before it printed {text:?}:\n{}", self.printed);
            assert!(Instant::now() < deadline, "{text:?} was not printed in time:\n{}", self.printed);
            if self.printed[start..].contains(text) {
                return;
            }
        }
    }

    /// The commands that it suggests: each is the line after one that begins with `#`.
    fn commands(&self) -> Vec<String> {
        let lines: Vec<&str> = self.printed.lines().map(str::trim).collect();
        lines.windows(2).filter(|pair| pair[0].starts_with('#')).map(|pair| pair[1].to_owned()).collect()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for a good end, and returns all that was printed.
    fn end(mut self) -> String {
        self.stdout.read_to_string(&mut self.printed).expect("it prints text");
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "{status}:\n{}", self.printed);
        std::mem::take(&mut self.printed)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a good end there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a suggested command until it shows what it is to show: in its first moments a demo has not much to tell.
fn paste(folder: &Path, command: &str, expected: &str) {
    let deadline = Instant::now() + COMES_WITHIN;
    loop {
        let output = Command::new("sh").args(["-c", command]).current_dir(folder).output().expect("sh runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{command}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        if text.contains(expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{command}\ndoes not show {expected:?}:\n{text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The figures of the last line that begins with `name`.
fn figures(printed: &str, name: &str) -> Vec<u64> {
    let line = printed.lines().rev().find(|line| line.trim().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line begins with {name}:\n{printed}"));
    line.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).collect()
}

#[test]
fn it_delivers_verifies_and_suggests_commands_that_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path(), &[]);
    demo.read_until("deadletters");
    let commands = demo.commands();
    assert_eq!(commands.len(), 4, "{}", demo.printed);
    let expected = ["STATUS", "curl", "license_fields.seats", "no_team"];
    for (command, expected) in commands.iter().zip(expected) {
        paste(folder.path(), command, expected);
    }
    demo.read_until("00:05");
    demo.signal("-TERM");
    let printed = demo.end();
    let [events, matched, delivered, _waiting, _retrying, _failed, unreadable] = figures(&printed, "00:")[..] else {
        panic!("no figures:\n{printed}")
    };
    assert!(events >= 100, "{printed}");
    assert!(matched > 50, "{printed}");
    assert!(delivered > 50, "{printed}");
    assert_eq!(unreadable, 4, "{printed}");
    for receiver in ["healthy", "limited", "flaky"] {
        let [received, verified, forged, ..] = figures(&printed, receiver)[..] else { panic!("{printed}") };
        assert!(received > 0 && verified == received && forged == 0, "{receiver}:\n{printed}");
    }
    for receiver in ["dead", "silent"] {
        assert!(figures(&printed, receiver)[0] > 0, "{receiver} was not tried:\n{printed}");
    }
    assert!(printed.contains("requests was verified"), "{printed}");
}

#[test]
fn it_ends_by_itself_where_nobody_watches() {
    let folder = tempfile::tempdir().unwrap();
    let printed = Demo::start(folder.path(), &["--for", "2", "--data-dir", "else/where"]).end();
    assert!(printed.contains("Stopped after 00:0"), "{printed}");
    assert!(folder.path().join("else/where/.tidings-demo").exists());
}

#[test]
fn control_c_ends_it_soon_and_it_can_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut demo = Demo::start(folder.path(), &[]);
        demo.read_until("deadletters");
        std::thread::sleep(Duration::from_secs(1));
        let ordered = Instant::now();
        demo.signal("-INT");
        assert!(demo.end().contains("Stopped after"));
        assert!(ordered.elapsed() < Duration::from_secs(20), "{:?}", ordered.elapsed());
    }
    assert!(folder.path().join("data/demo/.tidings-demo").exists(), "its default folder");
}

#[test]
fn what_it_cannot_have_it_names() {
    let check = |folder: &Path, arguments: &[&str], expected: &[&str]| {
        let output = Command::new(TIDINGS).args(["up", "--demo"]).args(arguments).current_dir(folder).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(folder.path(), &["--listen", &address], &[&address, "--listen", "in use"]);
    assert!(!folder.path().join("data").exists(), "it made a folder before it knew that it can start");
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    check(folder.path(), &["--listen", "127.0.0.1:0", "--data-dir", "."], &["nothing was touched", "--data-dir"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("thesis.txt")).unwrap(), "mine");
}
