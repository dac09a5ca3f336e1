//! A Kafka to test against: the one at `TIDINGS_TEST_KAFKA` (`scripts/kafka-for-tests start` prints such an address).
//!
//! Without it a test is skipped, or fails if `TIDINGS_REQUIRE` names `kafka`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    io::Write,
    process::{self, Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use tidings::log::{
    Log, TopicSpec,
    kafka::{KafkaLog, KafkaSettings},
};

mod server;

/// A log on the test broker, or `None` after having said why not.
pub fn log() -> Option<KafkaLog> {
    log_with(&[])
}

/// The same with librdkafka properties.
pub fn log_with(properties: &[(&str, &str)]) -> Option<KafkaLog> {
    let mut settings = KafkaSettings::new(brokers()?);
    settings.properties = properties.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Some(KafkaLog::new(settings).expect("the properties are known"))
}

/// How many brokers there are.
pub fn count() -> usize {
    brokers().map_or(0, |brokers| brokers.split(',').count())
}

pub fn brokers() -> Option<String> {
    server::found("kafka", "TIDINGS_TEST_KAFKA")
}

/// Kafka's own console producer, with the class path that `scripts/kafka-for-tests` has made: where there is a broker
/// of that script there is a Java.
pub fn console_producer(topic: &str, arguments: &[&str], lines: &str) {
    let jars = concat!(env!("CARGO_MANIFEST_DIR"), "/target/kafka-lib/tools/*");
    let mut console = Command::new("java")
        .args(["-cp", jars, "org.apache.kafka.tools.ConsoleProducer", "--topic", topic])
        .args(["--bootstrap-server", &brokers().expect("a broker")])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("java runs");
    console.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
    assert!(console.wait().expect("ended").success());
}

/// `halt` kills a broker, or all, `down` stops all in good order, `resume` starts those again over their data. `false` if
/// that cannot be done here.
pub fn control(action: &str, broker: Option<usize>) -> bool {
    let Some(brokers) = brokers() else { return false };
    let first = brokers.split(',').next().unwrap_or_default();
    let Some((_, port)) = first.rsplit_once(':') else { return false };
    let broker = broker.map(|number| number.to_string());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka-for-tests");
    let status = process::Command::new(script).args([action, port]).args(broker).status().expect("the script runs");
    assert!(status.success(), "{action} of the broker at {brokers}: {status}");
    true
}

/// A name that no other test, and no earlier run, has used.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    format!("test.{name}.{now}.{}.{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub async fn topic(log: &KafkaLog, name: &str, partitions: u32, settings: &[(&str, &str)]) -> Arc<str> {
    let name: Arc<str> = unique(name).into();
    let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let made = log.create_topic(TopicSpec { name: name.clone(), partitions, settings }).await;
    assert!(made.expect("the broker answers"), "{name} is new");
    name
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}
