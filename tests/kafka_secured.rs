//! Kafka as it is run in earnest: passwords, certificates, rights. `scripts/kafka-for-tests secure` starts such a broker.
#![allow(clippy::duplicate_mod, reason = "the servers' modules bring what they share")]

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tidings::log::{
    LogError,
    kafka::{KafkaLog, KafkaSettings},
};

#[path = "support/kafka.rs"]
mod kafka;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/program.rs"]
mod program;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "end_to_end/receiver.rs"]
mod receiver;
#[cfg(feature = "kafka-oidc")]
#[path = "support/token_endpoint.rs"]
mod token_endpoint;

use program::{Program, common, event};
use receiver::Receiver;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka-for-tests");
const KEYS: &str = "test:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// A refusal is not found out by waiting.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

/// A broker of its own, stopped with the test.
struct Secured {
    port: u16,
    folder: PathBuf,
    password: String,
}

#[tokio::test]
async fn a_secured_broker_is_connected_to_checked_and_worked_with() {
    // It is started from the same jars as the broker of all other tests.
    let (Some(_), Some(store)) = (kafka::brokers(), postgres::database("secured").await) else { return };
    let broker = Secured::start();
    connections(&broker).await;
    #[cfg(feature = "kafka-oidc")]
    tokens_of_a_server(&broker).await;
    rights_and_work(&broker, &store).await;
}

/// Every way to say who we are, and every way to get it wrong.
async fn connections(broker: &Secured) {
    let tls = |name: &str| broker.folder.join("tls").join(name).display().to_string();
    let (ca, other_ca) = (tls("ca.pem"), tls("other-ca.pem"));
    let (certificate, key) = (tls("client.crt"), tls("client.key"));
    let sasl = |mechanism: &'static str, password: &str, ca: &str| {
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("ssl.ca.location", ca.to_owned()),
            ("sasl.mechanism", mechanism.to_owned()),
            ("sasl.username", "tidings".to_owned()),
            ("sasl.password", password.to_owned()),
        ]
    };
    let token = vec![
        ("security.protocol", "SASL_SSL".to_owned()),
        ("ssl.ca.location", ca.clone()),
        ("sasl.mechanism", "OAUTHBEARER".to_owned()),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true".to_owned()),
        ("sasl.oauthbearer.config", "principal=tidings".to_owned()),
    ];
    let nobody = vec![("security.protocol", "SSL".to_owned()), ("ssl.ca.location", ca.clone())];
    let mut certified = nobody.clone();
    certified.extend([("ssl.certificate.location", certificate), ("ssl.key.location", key)]);
    let password = &*broker.password;
    let sasl_port = broker.port + 2000;
    let tls_port = broker.port + 3000;
    for (port, properties, expected) in [
        (sasl_port, sasl("PLAIN", password, &ca), Ok(())),
        (sasl_port, sasl("SCRAM-SHA-256", password, &ca), Ok(())),
        (sasl_port, sasl("SCRAM-SHA-512", password, &ca), Ok(())),
        (sasl_port, token, Ok(())),
        (tls_port, certified, Ok(())),
        (sasl_port, sasl("PLAIN", "hush-hush", &ca), Err("sasl.password")),
        (sasl_port, sasl("SCRAM-SHA-256", "hush-hush", &ca), Err("sasl.password")),
        (sasl_port, sasl("SCRAM-SHA-512", password, &other_ca), Err("ssl.ca.location")),
        (tls_port, nobody, Err("ssl.certificate.location")),
    ] {
        let shown: Vec<_> = properties.iter().filter(|(name, _)| *name != "sasl.password").collect();
        let mut settings = KafkaSettings::new(format!("127.0.0.1:{port}"));
        settings.properties = properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let began = Instant::now();
        let found = KafkaLog::new(settings).expect("a client can be made").connect().await;
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(LogError::Refused(text)), Err(expected)) => {
                assert!(text.contains(expected) && !text.contains("hush-hush"), "{text}");
                assert!(began.elapsed() < REFUSED_WITHIN, "{text}: after {:?}", began.elapsed());
            }
            (found, expected) => panic!("{shown:?}: {found:?} instead of {expected:?}"),
        }
    }
}

/// A token that librdkafka fetches by itself from an OIDC server, and one that it is refused.
#[cfg(feature = "kafka-oidc")]
async fn tokens_of_a_server(broker: &Secured) {
    let endpoint = token_endpoint::TokenEndpoint::start("tidings");
    let log = |secret: &str| {
        let mut settings = KafkaSettings::new(format!("127.0.0.1:{}", broker.port + 2000));
        let ca = broker.folder.join("tls/ca.pem").display().to_string();
        settings.properties = [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", &ca),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.token.endpoint.url", &endpoint.url),
            ("sasl.oauthbearer.client.id", "tidings-client"),
            ("sasl.oauthbearer.client.secret", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        KafkaLog::new(settings).expect("a client can be made")
    };
    log("s3cret").connect().await.expect("the token is fetched and taken");
    assert!(endpoint.given() > 0);
    let refused = log("hush-hush").connect().await.expect_err("no token").to_string();
    assert!(refused.contains("sasl.oauthbearer.client.secret") && !refused.contains("hush-hush"), "{refused}");
}

/// With the least rights that are printed everything works; each that is missing is named with the command that grants it.
async fn rights_and_work(broker: &Secured, store: &str) {
    let folder = tempfile::tempdir().unwrap();
    let prefix = format!("{}.", kafka::unique("secured"));
    let mut installation = common();
    installation.extend([
        "mode=distributed".to_owned(),
        format!("log.topic_prefix={prefix}"),
        "log.replication=1".to_owned(),
        "log.partitions=2".to_owned(),
        format!("store.url={store}"),
        format!("secrets.keys={KEYS}"),
        "process.name=secured".to_owned(),
        "api.listen=127.0.0.1:0".to_owned(),
    ]);
    let administrator = with(&installation, &[format!("log.kafka.brokers=127.0.0.1:{}", broker.port)]);
    let password_file = folder.path().join("password");
    fs::write(&password_file, format!("{}\n", broker.password)).unwrap();
    let wrong_file = folder.path().join("wrong");
    fs::write(&wrong_file, "hush-hush").unwrap();
    let user = |password: &PathBuf| {
        with(
            &installation,
            &[
                format!("log.kafka.brokers=127.0.0.1:{}", broker.port + 2000),
                "log.kafka.properties.security.protocol=SASL_SSL".to_owned(),
                format!("log.kafka.properties.ssl.ca.location={}", broker.folder.join("tls/ca.pem").display()),
                "log.kafka.properties.sasl.mechanism=SCRAM-SHA-512".to_owned(),
                "log.kafka.properties.sasl.username=tidings".to_owned(),
                format!("log.kafka.property_files.sasl.password={}", password.display()),
            ],
        )
    };

    // A wrong password ends a start, and a check, in words.
    let mut refused = Program::start(folder.path(), "refused", &["match"], &user(&wrong_file));
    let (status, took) = refused.ended(Duration::from_secs(20)).await;
    assert!(!status.success() && took < REFUSED_WITHIN * 2, "{took:?}");
    assert!(refused.log().contains("sasl.password") && !refused.log().contains("hush-hush"), "{}", refused.log());
    let (fine, said) = run(&["check"], &user(&wrong_file));
    assert!(!fine && said.contains("problem  kafka: ") && said.contains("sasl.password"), "{said}");

    let mut made = Program::start(folder.path(), "topics", &["topics", "create"], &administrator);
    assert!(made.ended(Duration::from_secs(60)).await.0.success(), "{}", made.log());
    let (fine, said) = run(&["check"], &user(&password_file));
    assert!(!fine && said.contains(&format!("problem  topic {prefix}events: ")), "{said}");
    assert!(said.contains("`tidings topics create --print`"), "{said}");

    // All rights but those to one topic and one group.
    let (_, printed) = run(&["topics", "create", "--print"], &administrator);
    let granted: Vec<&str> = printed.lines().filter(|line| line.starts_with("kafka-acls.sh")).collect();
    let withheld = |line: &&str| {
        line.contains("--group") && line.ends_with(&format!("{prefix}send"))
            || line.contains("Write") && line.contains(&format!("--topic {prefix}index_versions"))
    };
    let (late, at_once): (Vec<&str>, Vec<&str>) = granted.iter().copied().partition(withheld);
    assert_eq!((late.len(), granted.len() > 20), (4, true), "{granted:#?}");
    broker.grant(&at_once);
    let (fine, said) = run(&["check"], &user(&password_file));
    let problems: Vec<&str> = said.lines().filter(|line| line.starts_with("problem")).collect();
    assert!(!fine && problems.len() == late.len(), "{said}");
    for (place, subject) in [
        (0, format!("right of match to write topic {prefix}index_versions")),
        (1, format!("right of send to use group {prefix}send")),
        (2, format!("right of api to write topic {prefix}index_versions")),
        (3, format!("right of api to use group {prefix}send")),
    ] {
        assert!(problems[place].contains(&subject), "{}", problems[place]);
        assert!(problems[place].ends_with(&format!("remedy: `{}`", late[place])), "{}", problems[place]);
    }
    let (fine, said) = run(&["check", "--role", "send"], &user(&password_file));
    assert!(!fine && said.contains("right of send") && !said.contains("of match"), "{said}");

    broker.grant(&late);
    let (fine, said) = run(&["check"], &user(&password_file));
    assert!(fine, "{said}");
    for subject in ["kafka", "rights of match", "rights of send", "rights of api", "directory", "secrets", "store"] {
        assert!(said.lines().any(|line| line == format!("ok       {subject}")), "{subject}: {said}");
    }
    assert!(!said.contains(&broker.password), "{said}");

    let receiver = Receiver::start().await;
    let mut process = Program::start(folder.path(), "up", &["up"], &user(&password_file));
    let api = process.api().await;
    process.logs("partitions assigned").await;
    api.destination("hook", &receiver.url("ok", "hook"), json!({})).await;
    api.subscription("all", &["hook"], &["hook"]).await;
    api.publish(&[event("e-1", "hook")]).await;
    receiver.wait_for(1, Duration::from_secs(30)).await;
    process.stopped().await;
    assert!(!process.log().contains(&broker.password), "{}", process.log());
}

fn with(settings: &[String], more: &[String]) -> Vec<String> {
    settings.iter().chain(more).cloned().collect()
}

/// A command that ends by itself: whether it succeeded, and what it said.
fn run(arguments: &[&str], settings: &[String]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(arguments).stdin(Stdio::null());
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

// === impl Secured ===

impl Secured {
    fn start() -> Secured {
        let free = |port: u16| (0..4).all(|n| TcpStream::connect(("127.0.0.1", port + 1000 * n)).is_err());
        let first = 22_000 + (std::process::id() % 900) as u16;
        let port = (first..first + 20).find(|port| free(*port)).expect("a free port");
        let output = Command::new(SCRIPT).args(["secure", &port.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let password = fs::read_to_string(folder.join("password")).unwrap().trim().to_owned();
        Secured { port, folder, password }
    }

    /// Carries out commands as they are printed, for the one user that there is.
    fn grant(&self, commands: &[&str]) {
        let mut lines = String::new();
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            let after = |name: &str| words.iter().position(|word| *word == name).map(|place| words[place + 1]);
            let (kind, name) = [("topic", "--topic"), ("group", "--group"), ("transactional_id", "--transactional-id")]
                .into_iter()
                .find_map(|(kind, option)| Some((kind, after(option)?)))
                .expect("a resource");
            let pattern = after("--resource-pattern-type").unwrap_or("literal");
            for pair in words.windows(2).filter(|pair| pair[0] == "--operation") {
                let operation = if pair[1] == "DescribeConfigs" { "describe_configs" } else { pair[1] };
                lines.push_str(&format!("User:tidings {operation} {kind} {name} {pattern}\n"));
            }
        }
        let mut acls = Command::new("java")
            .args(["-cp", concat!(env!("CARGO_MANIFEST_DIR"), "/target/kafka-lib/broker/*")])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/Acls.java"))
            .arg(format!("127.0.0.1:{}", self.port))
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("java runs");
        acls.stdin.take().expect("piped").write_all(lines.as_bytes()).unwrap();
        assert!(acls.wait().unwrap().success(), "{lines}");
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // Whatever has failed, the broker ends with the test.
        let _ = Command::new(SCRIPT).args(["stop", &self.port.to_string()]).status();
    }
}
