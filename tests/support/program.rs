//! `tidings` as a process of its own, and its API as a caller meets it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

/// The token of every installation here.
const TOKEN: &str = "end-to-end-end-to-end-end-to-end-token";
/// The first start of a busy machine included.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Events in one request.
const CHUNK: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One process, killed if the test ends before it does.
pub struct Program {
    pub name: String,
    child: Child,
    log: std::path::PathBuf,
}

/// An API to speak to.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

// === impl Program ===

impl Program {
    /// Starts with these arguments and settings, in this folder. Logs go to `<name>.log` there.
    pub fn start(folder: &Path, name: &str, arguments: &[&str], settings: &[String]) -> Program {
        Program::start_under(&[], folder, name, arguments, settings, None)
    }

    /// The same, under another program that becomes this one (`nsenter …`), and told where to crash.
    pub fn start_under(
        wrapper: &[String],
        folder: &Path,
        name: &str,
        arguments: &[&str],
        settings: &[String],
        crash_at: Option<&str>,
    ) -> Program {
        let log = folder.join(format!("{name}.log"));
        let mut words = wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_tidings")]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        for setting in settings {
            command.args(["--set", setting]);
        }
        if let Some(place) = crash_at {
            command.env("TIDINGS_CRASH_AT", place);
        }
        command.stderr(File::create(&log).unwrap());
        Program { name: name.to_owned(), child: command.spawn().unwrap(), log }
    }

    /// Everything in one process, with receivers on this machine allowed; ready when this returns.
    pub async fn up(folder: &Path, settings: &[&str]) -> (Program, Api) {
        let mut all = vec!["api.listen=127.0.0.1:0".to_owned()];
        all.extend(common());
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let program = Program::start(folder, "up", &["up"], &all);
        let api = program.api().await;
        (program, api)
    }

    /// The API of this process, once the process is ready.
    pub async fn api(&self) -> Api {
        let deadline = Instant::now() + STARTS_WITHIN;
        let listening = || {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("the API listens"))?.to_owned();
            Some(serde_json::from_str::<Value>(&line).unwrap()["address"].as_str()?.to_owned())
        };
        let address = loop {
            if let Some(address) = listening() {
                break address;
            }
            assert!(Instant::now() < deadline, "no API:\n{}", self.log());
            sleep(LOOK_EVERY).await;
        };
        let api = Api::new(&address);
        while api.http.get(format!("{}/readyz", api.base)).send().await.is_ok_and(|answer| answer.status() != 200) {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            sleep(LOOK_EVERY).await;
        }
        api
    }

    /// Where a process without the API tells how it is, once it is ready.
    pub async fn health(&self) -> String {
        self.logs("metrics and health are served").await;
        let log = self.log();
        let line = log.lines().find(|line| line.contains("metrics and health are served")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let base = format!("http://{}", line["address"].as_str().unwrap());
        let deadline = Instant::now() + STARTS_WITHIN;
        while client().get(format!("{base}/readyz")).send().await.unwrap().status() != 200 {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            sleep(LOOK_EVERY).await;
        }
        base
    }

    /// Waits until the log has this text.
    pub async fn logs(&self, text: &str) {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "{} never logged {text:?}:\n{}", self.name, self.log());
            sleep(LOOK_EVERY).await;
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `-TERM`, `-INT`, `-KILL`, `-STOP`, `-CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end and tells how long it took.
    pub async fn ended(&mut self, within: Duration) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, began.elapsed());
            }
            assert!(began.elapsed() < within, "{} did not end within {within:?}:\n{}", self.name, self.log());
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks to stop, and asserts that it does, in good order and in the time promised.
    pub async fn stopped(&mut self) {
        self.signal("-TERM");
        let (status, _) = self.ended(Duration::from_secs(20)).await;
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After a good end there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks loopback, whatever proxy the environment names.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Settings of every installation here: receivers are on this machine.
pub fn common() -> Vec<String> {
    [
        "telemetry.format=json",
        "delivery.allow_http=true",
        "delivery.allow_networks=127.0.0.0/8",
        &format!("api.token={TOKEN}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

// === impl Api ===

impl Api {
    pub fn new(address: &str) -> Api {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = client();
        Api { http, base: format!("http://{address}") }
    }

    pub async fn request(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method.clone(), path, body).await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// What was answered; an error if nothing was, or not as a whole.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> reqwest::Result<(StatusCode, Value)> {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(TOKEN);
        let answer = if body.is_null() { request.send().await } else { request.json(body).send().await }?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.request(Method::GET, path, &Value::Null).await
    }

    /// Makes a destination and returns its signing secret.
    pub async fn destination(&self, id: &str, url: &str, limits: Value) -> String {
        let body = json!({"webhook": {"url": url}, "limits": limits});
        let made = self.request(Method::PUT, &format!("/v1/teams/acme/destinations/{id}"), &body).await;
        made["generated_secret"].as_str().unwrap().to_owned()
    }

    /// A subscription to every event whose `to` is one of these.
    pub async fn subscription(&self, id: &str, to: &[&str], destinations: &[&str]) {
        let events = json!([{"type": "*", "filter": {"to": to}}]);
        let body = json!({"events": events, "destinations": destinations});
        self.request(Method::PUT, &format!("/v1/teams/acme/subscriptions/{id}"), &body).await;
    }

    /// Runs a command of the program against this API: whether it succeeded, its answer, its complaints.
    pub async fn command(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(arguments).args(["--server", &self.base, "--token", TOKEN]).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Reads an answer that comes line by line, up to the first line with this key.
    pub async fn until_line(&self, path: &str, body: &Value, key: &str) -> Value {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(TOKEN).json(body);
        let mut answer = request.send().await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            text.extend_from_slice(&chunk);
            let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
            let mut lines = whole.map(|line| serde_json::from_slice::<Value>(line).unwrap());
            if let Some(line) = lines.find(|line| line.get(key).is_some()) {
                return line;
            }
        }
        panic!("no line with {key}: {}", String::from_utf8_lossy(&text))
    }

    pub async fn publish(&self, events: &[Value]) {
        for chunk in events.chunks(CHUNK) {
            self.request(Method::POST, "/v1/events", &json!(chunk)).await;
        }
    }
}

/// An event to `to`.
pub fn event(id: &str, to: &str) -> Value {
    json!({"team": "acme", "type": "test.thing.happened", "id": id, "data": {"to": to}})
}
