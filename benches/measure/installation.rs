//! Tidings as it is measured: the release build, as processes, in either mode, with the API to set it up.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tidings::log::{
    Log,
    kafka::{KafkaLog, KafkaSettings},
};
use tokio::time::{Instant, sleep};

use crate::{environment::Servers, receiver::now_us};

/// One installation with topics, database and data folder of its own.
pub struct Installation {
    mode: Mode,
    /// Settings of every process of it.
    settings: Vec<String>,
    folder: tempfile::TempDir,
    processes: Vec<Process>,
    pub prefix: String,
    api: Option<Api>,
}

enum Mode {
    Embedded,
    Distributed { kafka: String, database: String },
}

/// One process, killed if the measurement ends before it does.
pub struct Process {
    pub name: String,
    child: Child,
    log: PathBuf,
}

#[derive(Clone)]
struct Api {
    http: Client,
    base: String,
}

const TOKEN: &str = "measure-measure-measure-measure-measure-token";
const KEYS: &str = "measure:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Changes of the directory under way at one time.
const EDITS: usize = 500;
/// Events in one request to the API.
pub const EVENTS_PER_REQUEST: usize = 500;

// === impl Installation ===

impl Installation {
    /// Everything in one process, on SQLite. `settings` are over those that every measurement has.
    pub async fn embedded(settings: &[&str]) -> anyhow::Result<Installation> {
        let mut installation = Installation::new(Mode::Embedded, settings)?;
        installation.start("up", &["up"])?;
        installation.api = Some(installation.process("up")?.api().await?);
        Ok(installation)
    }

    /// Topics, tables and an API; matcher and sender are started by [`Installation::start`].
    pub async fn distributed(servers: &Servers, settings: &[&str]) -> anyhow::Result<Installation> {
        let database = servers.database().await?;
        let mode = Mode::Distributed { kafka: servers.kafka.clone(), database: database.clone() };
        let mut installation = Installation::new(mode, settings)?;
        installation.settings.extend([
            "mode=distributed".to_owned(),
            format!("log.kafka.brokers={}", servers.kafka),
            format!("log.topic_prefix={}", installation.prefix),
            "log.replication=1".to_owned(),
            format!("store.url={database}"),
            format!("secrets.keys={KEYS}"),
        ]);
        let mut create = installation.spawn("topics", &["topics", "create"])?;
        create.ended(STARTS_WITHIN).await?;
        installation.start("api", &["api"])?;
        installation.api = Some(installation.process("api")?.api().await?);
        Ok(installation)
    }

    fn new(mode: Mode, settings: &[&str]) -> anyhow::Result<Installation> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let common = [
            "telemetry.format=json",
            "delivery.allow_http=true",
            "delivery.allow_networks=127.0.0.0/8",
            "api.listen=127.0.0.1:0",
        ];
        let mut all: Vec<String> = common.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        all.push(format!("api.token={TOKEN}"));
        Ok(Installation {
            mode,
            settings: all,
            folder: tempfile::tempdir()?,
            processes: Vec::new(),
            prefix: format!("measure.{}.{}.", now_us(), COUNT.fetch_add(1, Ordering::Relaxed)),
            api: None,
        })
    }

    fn spawn(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let log = self.folder.path().join(format!("{name}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.args(["--set", &format!("process.name={name}")]);
        command.stderr(File::create(&log)?);
        Ok(Process { name: name.to_owned(), child: command.spawn()?, log })
    }

    /// Starts one more process of this installation.
    pub fn start(&mut self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let process = self.spawn(name, arguments)?;
        self.processes.push(process);
        Ok(())
    }

    /// Starts matcher and sender, and waits until they have their partitions.
    pub async fn start_roles(&mut self) -> anyhow::Result<()> {
        self.start("match", &["match"])?;
        self.start("send", &["send"])?;
        for name in ["match", "send"] {
            self.process(name)?.logs("partitions assigned").await?;
        }
        Ok(())
    }

    pub fn process(&self, name: &str) -> anyhow::Result<&Process> {
        self.processes.iter().find(|process| process.name == name).with_context(|| format!("no process {name}"))
    }

    /// Stops one process in good order.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let place = self.processes.iter().position(|process| process.name == name).context("it runs")?;
        self.processes.remove(place).stopped().await
    }

    /// Stops everything in good order.
    pub async fn end(mut self) -> anyhow::Result<()> {
        // The roles first: the API can do without them.
        for mut process in self.processes.drain(..).rev() {
            process.stopped().await?;
        }
        Ok(())
    }

    /// Processes of this installation, with the servers' if there are any.
    pub fn pids(&self, servers: &Servers) -> Vec<(String, u32)> {
        let mut pids: Vec<(String, u32)> = self.processes.iter().map(|p| (p.name.clone(), p.child.id())).collect();
        if let Mode::Distributed { .. } = self.mode {
            pids.push(("Kafka".to_owned(), servers.kafka_pid));
            pids.push(("PostgreSQL".to_owned(), servers.postgres_pid));
        }
        pids
    }

    // --- the directory ---

    fn api(&self) -> anyhow::Result<&Api> {
        self.api.as_ref().context("this installation has no API")
    }

    pub async fn destination(&self, team: &str, id: &str, url: &str, in_flight: u32) -> anyhow::Result<()> {
        self.destinations(vec![(team.to_owned(), id.to_owned(), url.to_owned())], in_flight).await
    }

    /// Writes many destinations: team, id, and where each is.
    pub async fn destinations(&self, all: Vec<(String, String, String)>, in_flight: u32) -> anyhow::Result<()> {
        let api = self.api()?;
        let put = |(team, id, url): (String, String, String)| async move {
            let body = json!({"webhook": {"url": url}, "limits": {"in_flight": in_flight}});
            api.put(&format!("/v1/teams/{team}/destinations/{id}"), &body).await
        };
        stream::iter(all).map(put).buffer_unordered(EDITS).try_collect().await
    }

    /// Writes many subscriptions: team, id, and what they say.
    pub async fn subscriptions(&self, all: Vec<(String, String, Value)>) -> anyhow::Result<()> {
        let api = self.api()?;
        let put = |(team, id, body): (String, String, Value)| async move {
            api.put(&format!("/v1/teams/{team}/subscriptions/{id}"), &body).await
        };
        stream::iter(all).map(put).buffer_unordered(EDITS).try_collect().await
    }

    /// Events by the API, some requests at a time.
    pub async fn publish(&self, events: &[Value], requests: usize) -> anyhow::Result<()> {
        let api = self.api()?;
        let post = |chunk: &[Value]| {
            let body = json!(chunk);
            async move { api.request(Method::POST, "/v1/events", &body).await }
        };
        stream::iter(events.chunks(EVENTS_PER_REQUEST)).map(post).buffer_unordered(requests).try_collect::<()>().await
    }

    /// Waits until every process sees the directory as it is now.
    pub async fn settled(&self) {
        // The promise is a second.
        sleep(Duration::from_secs(1)).await;
    }

    // --- what came of it ---

    /// Notifications that the store holds as delivered.
    pub async fn delivered(&self) -> anyhow::Result<u64> {
        const COUNT: &str = "SELECT count(*) FROM attempts WHERE outcome = 'delivered'";
        let count: i64 = match &self.mode {
            Mode::Distributed { database, .. } => {
                let mut connection = PgConnection::connect(database).await?;
                sqlx::query_scalar(COUNT).fetch_one(&mut connection).await?
            }
            Mode::Embedded => {
                let file = self.folder.path().join("data/main/store.db");
                let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
                rusqlite::Connection::open_with_flags(file, flags)?.query_row(COUNT, [], |row| row.get(0))?
            }
        };
        Ok(count as u64)
    }

    /// Waits until the store holds this many as delivered; more is an error.
    pub async fn wait_for_rows(&self, rows: u64, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let found = self.delivered().await?;
            ensure!(found <= rows, "{found} rows for {rows} notifications");
            if found == rows {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{found} of {rows} rows within {within:?}");
            sleep(10 * LOOK_EVERY).await;
        }
    }

    /// Notifications put off into the store since the tables were made; `None` where nobody counts them.
    pub async fn parked(&self) -> anyhow::Result<Option<u64>> {
        let Mode::Distributed { database, .. } = &self.mode else { return Ok(None) };
        let mut connection = PgConnection::connect(database).await?;
        let count = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'parked'";
        Ok(Some(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await? as u64))
    }

    /// A client of the installation's Kafka.
    pub fn log(&self) -> anyhow::Result<KafkaLog> {
        match &self.mode {
            Mode::Distributed { kafka, .. } => Ok(KafkaLog::new(KafkaSettings::new(kafka.clone()))?),
            Mode::Embedded => bail!("the embedded log is its process's alone"),
        }
    }

    /// How many events the matcher has committed.
    pub async fn matched(&self, log: &KafkaLog) -> anyhow::Result<i64> {
        let offsets = log.committed(&format!("{}match", self.prefix), &format!("{}events", self.prefix)).await?;
        Ok(offsets.iter().map(|(_, next)| next).sum())
    }

    pub fn events_topic(&self) -> String {
        format!("{}events", self.prefix)
    }
}

// === impl Process ===

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log has this text.
    pub async fn logs(&self, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.log().contains(text) {
            ensure!(Instant::now() < deadline, "{} never logged {text:?}:\n{}", self.name, self.log());
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn api(&self) -> anyhow::Result<Api> {
        self.logs("the API listens").await?;
        let log = self.log();
        let line = log.lines().find(|line| line.contains("the API listens")).context("a line")?;
        let line: Value = serde_json::from_str(line)?;
        let api = Api {
            http: Client::builder().no_proxy().build()?,
            base: format!("http://{}", line["address"].as_str().context("an address")?),
        };
        let deadline = Instant::now() + STARTS_WITHIN;
        while api.http.get(format!("{}/readyz", api.base)).send().await?.status() != 200 {
            ensure!(Instant::now() < deadline, "not ready:\n{}", self.log());
            sleep(LOOK_EVERY).await;
        }
        Ok(api)
    }

    async fn ended(&mut self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} did not end within {within:?}:\n{}", self.name, self.log());
            sleep(LOOK_EVERY).await;
        }
    }

    async fn stopped(&mut self) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "{} had ended by itself:\n{}", self.name, self.log());
        self.ended(STOPS_WITHIN).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After a good end there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Api ===

impl Api {
    async fn put(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        self.request(Method::PUT, path, body).await
    }

    async fn request(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<()> {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(TOKEN).json(body);
        let answer = request.send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{method} {path}: {status} {}", answer.text().await?);
        answer.bytes().await?;
        Ok(())
    }
}
