//! The processes of a run, under their names: started, told where to crash, killed, started again.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tidings::crash::Point;
use tokio::time::sleep;

use crate::{
    program::{Api, Program, client, common},
    receiver::{Divided, Receiver, SECRET},
    workload::{Change, Changes, DESTINATIONS, destination_request},
};

/// What a process does, and so how one sees that it works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Match,
    Send,
    Api,
    /// All of them in one process.
    Up,
}

pub struct Installation {
    pub folder: PathBuf,
    pub api: Api,
    settings: Vec<String>,
    /// Put before the program's name: enters a namespace with a disk of its own.
    wrapper: Vec<String>,
    processes: BTreeMap<String, (Role, Program)>,
    starts: usize,
}

/// The signal by which [`std::process::abort`] ends a process.
const SIGABRT: i32 = 6;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Requests at one time while the directory is filled.
const EDITORS: usize = 32;

// === impl Role ===

impl Role {
    /// The command that runs it.
    pub fn command(self) -> &'static str {
        match self {
            Role::Match => "match",
            Role::Send => "send",
            Role::Api => "api",
            Role::Up => "up",
        }
    }

    /// Where its crash points are.
    pub fn points(self) -> &'static [Point] {
        const OF_LOG: &[Point] = &[Point::TransactionBegun, Point::Produced, Point::OffsetsSent, Point::Committed];
        const OF_SENDER: &[Point] = &[Point::Answered, Point::Stored];
        match self {
            Role::Match => OF_LOG,
            Role::Send => OF_SENDER,
            Role::Api => &[],
            Role::Up => &tidings::crash::POINTS,
        }
    }

    /// What flows again when it works again. `None`: events do not pass through it.
    pub fn divides(self) -> Option<Divided> {
        match self {
            Role::Match => Some(Divided::Events),
            Role::Send | Role::Up => Some(Divided::Deliveries),
            Role::Api => None,
        }
    }
}

// === impl Installation ===

impl Installation {
    pub fn new(folder: &Path, settings: Vec<String>, wrapper: Vec<String>) -> Installation {
        let address = format!("127.0.0.1:{}", free_port());
        let mut all = common();
        all.extend(settings);
        all.extend([format!("api.listen={address}"), "telemetry.listen=127.0.0.1:0".to_owned()]);
        Installation {
            folder: folder.to_owned(),
            api: Api::new(&address),
            settings: all,
            wrapper,
            processes: BTreeMap::new(),
            starts: 0,
        }
    }

    /// Runs a command to its good end.
    pub async fn run(&self, arguments: &[&str]) {
        let mut program = Program::start_under(&self.wrapper, &self.folder, "command", arguments, &self.settings, None);
        let (status, _) = program.ended(Duration::from_secs(60)).await;
        assert!(status.success(), "{arguments:?}: {}", program.log());
    }

    /// Starts a process under a name, and does not wait for it.
    pub fn start(&mut self, name: &str, role: Role, crash_at: Option<(Point, u64)>) {
        let program = self.spawn(name, role, crash_at);
        self.processes.insert(name.to_owned(), (role, program));
    }

    /// A process that the installation does not count as its own.
    pub fn spawn(&mut self, name: &str, role: Role, crash_at: Option<(Point, u64)>) -> Program {
        self.starts += 1;
        let mut settings = self.settings.clone();
        settings.push(format!("process.name={name}"));
        let crash_at = crash_at.map(|(point, pass)| format!("{}:{pass}", point.as_str()));
        let log = format!("{name}.{}", self.starts);
        let arguments = [role.command()];
        Program::start_under(&self.wrapper, &self.folder, &log, &arguments, &settings, crash_at.as_deref())
    }

    pub fn names(&self, role: Role) -> Vec<String> {
        self.processes.iter().filter(|(_, (of, _))| *of == role).map(|(name, _)| name.clone()).collect()
    }

    pub fn role(&self, name: &str) -> Role {
        self.processes[name].0
    }

    pub fn program(&mut self, name: &str) -> &mut Program {
        &mut self.processes.get_mut(name).expect("a process of this name").1
    }

    /// Takes the process out, for somebody who wants to look at it apart.
    pub fn take(&mut self, name: &str) -> Program {
        self.processes.remove(name).expect("a process of this name").1
    }

    pub async fn kill(&mut self, name: &str) {
        let program = self.program(name);
        if program.end().is_none() {
            program.signal("-KILL");
        }
        program.ended(Duration::from_secs(10)).await;
    }

    /// Whether it has died where it was told to; an error if it ended in any other way.
    pub fn crashed(&mut self, name: &str) -> Result<bool, String> {
        use std::os::unix::process::ExitStatusExt;

        let program = self.program(name);
        match program.end() {
            None => Ok(false),
            Some(status) if status.signal() == Some(SIGABRT) => Ok(true),
            Some(status) => Err(format!("{name} ended by itself with {status}: {}", last_lines(&program.log()))),
        }
    }

    /// Waits until the process is ready.
    pub async fn ready(&mut self, name: &str, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let program = self.program(name);
            if let Some(status) = program.end() {
                return Err(format!("{name} ended with {status}: {}", last_lines(&program.log())));
            }
            if self.is_ready(name).await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("{name} is not ready: {}", last_lines(&self.program(name).log())));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    pub async fn is_ready(&mut self, name: &str) -> bool {
        let Some(base) = self.program(name).log().lines().find_map(address) else { return false };
        client().get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    }

    /// What it has in memory (`VmRSS`).
    pub fn memory_kib(&mut self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program(name).pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Asks all to stop, which they must do in good order.
    pub async fn stop(&mut self) {
        for (_, program) in self.processes.values_mut() {
            program.stopped().await;
        }
        self.processes.clear();
    }

    /// Destinations and the subscriptions of the beginning.
    pub async fn fill(&self, receiver: &Receiver, changes: &Changes) {
        for n in 0..DESTINATIONS {
            let (path, body) = destination_request(n, &receiver.url(n), SECRET);
            self.api.request(Method::PUT, &path, &body).await;
        }
        let requests: Vec<Change> = changes.beginning().collect();
        for some in requests.chunks(EDITORS) {
            let edits = some.iter().map(|change| async {
                assert!(edit(&self.api, change).await, "the beginning of the directory was refused");
            });
            futures_util::future::join_all(edits).await;
        }
    }
}

/// Whether the change has been made.
pub async fn edit(api: &Api, change: &Change) -> bool {
    let (answer, absent_is_done) = match change {
        Change::Put(path, body) => (api.ask(Method::PUT, path, body).await, false),
        // An earlier try may have been carried out and not answered.
        Change::Delete(path) => (api.ask(Method::DELETE, path, &Value::Null).await, true),
    };
    answer.is_ok_and(|(status, _)| status.is_success() || (absent_is_done && status == 404))
}

/// Publishes over HTTP. Whether it was accepted.
pub async fn publish(api: &Api, events: &[Value]) -> bool {
    api.ask(Method::POST, "/v1/events", &json!(events)).await.is_ok_and(|(status, _)| status.is_success())
}

/// Where a process serves its health, if this line of its log says so.
fn address(line: &str) -> Option<String> {
    if !line.contains("the API listens") && !line.contains("metrics and health are served") {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    Some(format!("http://{}", line["address"].as_str()?))
}

pub fn last_lines(log: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A port that was free a moment ago: the API keeps it over restarts.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
