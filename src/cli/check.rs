//! `tidings check`: one line per finding with its remedy; exit code 1 if anything is wrong.
//!
//! It looks and changes nothing, but that a store is brought up to date as at any start. In embedded mode the data folder belongs to the running process, so what is in it is
//! asked of its API.

use std::{fmt, sync::Arc};

use anyhow::bail;
use serde_json::json;

use super::{Global, client::Client, output, sources};
#[cfg(feature = "kafka")]
use crate::config::{Topics, topic_specs};
use crate::{
    config::{Mode, Settings, load},
    log::{Log, LogError, TopicSpec, TopicState},
    secrets::KeyRing,
    store::{Store, postgres::Postgres},
};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `configuration`, `topic tidings.events`, `store` …
    pub subject: String,
    /// `None`: as it must be.
    pub trouble: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub found: String,
    pub remedy: String,
}

/// Connections that a check needs.
const CONNECTIONS: u32 = 2;

pub async fn run(global: &Global) -> anyhow::Result<()> {
    let findings = look(global).await;
    if global.json {
        let rows = findings.iter().map(|finding| {
            let trouble = finding.trouble.as_ref();
            json!({
                "subject": finding.subject,
                "ok": trouble.is_none(),
                "found": trouble.map(|trouble| &trouble.found),
                "remedy": trouble.map(|trouble| &trouble.remedy),
            })
        });
        output::json(&rows.collect());
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
    }
    match findings.iter().filter(|finding| finding.trouble.is_some()).count() {
        0 => Ok(()),
        problems => bail!("{problems} problem(s)"),
    }
}

async fn look(global: &Global) -> Vec<Finding> {
    let settings = match load(&sources(global)) {
        Ok(settings) => settings,
        Err(faults) => {
            let bad = |fault: &crate::config::ConfigFault| {
                let subject = format!("configuration {} {}", fault.origin, fault.path);
                Finding::bad(subject.trim_end(), &fault.found, &format!("allowed: {}", fault.allowed))
            };
            return faults.iter().map(bad).collect();
        }
    };
    let mut findings = vec![Finding::good("configuration")];
    match settings.mode {
        Mode::Embedded => findings.extend(running(global, &settings).await),
        Mode::Distributed => {
            findings.push(keys(&settings));
            findings.extend(kafka(&settings).await);
            findings.push(store(&settings).await);
        }
    }
    findings
}

/// In embedded mode the process that owns the data folder knows best.
async fn running(global: &Global, settings: &Settings) -> Vec<Finding> {
    let folder = &settings.data.dir;
    if !folder.join("log.db").exists() {
        return vec![Finding::good(format!("data folder {} (new; `tidings up` fills it)", folder.display()))];
    }
    let answer = match Client::new(global) {
        Ok(client) => client.readiness().await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![keys(settings), Finding::bad("process", &format!("{error:#}"), "`tidings up`")],
    };
    let reasons = answer["reasons"].as_object().cloned().unwrap_or_default();
    let mut findings = vec![keys(settings)];
    match reasons.is_empty() {
        true => findings.push(Finding::good("process")),
        false => findings.extend(reasons.iter().map(|(condition, reason)| {
            Finding::bad(format!("process, {condition}"), &output::cell(reason), "see its log")
        })),
    }
    findings
}

fn keys(settings: &Settings) -> Finding {
    let given = settings.secrets.keys.expose();
    let ring = if given.is_empty() { KeyRing::load(&settings.keys_file()) } else { KeyRing::parse(given) };
    match ring {
        Ok(_) => Finding::good("key ring"),
        Err(error) => Finding::bad(
            "key ring",
            &error.to_string(),
            "give secrets.keys_file or secrets.keys (TIDINGS__SECRETS__KEYS): <key id>:<base64 of 32 bytes>",
        ),
    }
}

#[cfg(feature = "kafka")]
async fn kafka(settings: &Settings) -> Vec<Finding> {
    let unreachable = |error: LogError| {
        vec![Finding::bad("kafka", &error.to_string(), "look at log.kafka.brokers and log.kafka.properties")]
    };
    let log = match super::topics::kafka(settings) {
        Ok(log) => log,
        Err(error) => return unreachable(error),
    };
    let specs = topic_specs(settings);
    let mut findings = match topics(&log, &specs).await {
        Ok(findings) => findings,
        Err(error) => return unreachable(error),
    };
    findings.extend(foreign(&log, &settings.topics(), &specs).await);
    findings
}

#[cfg(not(feature = "kafka"))]
async fn kafka(_: &Settings) -> Vec<Finding> {
    vec![Finding::bad("kafka", "this program was built without Kafka", "build it with the feature `kafka`")]
}

/// Events topics of others must exist; how they are set is their owners' business.
#[cfg(feature = "kafka")]
async fn foreign<L: Log>(log: &L, topics: &Topics, own: &[TopicSpec]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in topics.events.iter().filter(|name| own.iter().all(|spec| spec.name != **name)) {
        findings.push(match log.topics(std::slice::from_ref(name)).await {
            Ok(found) if found.is_empty() => Finding::bad(
                format!("topic {name}"),
                "absent",
                "its owner creates it, or log.events_topics names another",
            ),
            Ok(_) => Finding::good(format!("topic {name}")),
            Err(error) => Finding::bad(format!("topic {name}"), &error.to_string(), "look at the brokers"),
        });
    }
    findings
}

async fn store(settings: &Settings) -> Finding {
    let answers = match Postgres::connect(settings.store.url.expose(), CONNECTIONS).await {
        Ok(store) => store.ping().await,
        Err(error) => Err(error),
    };
    match answers {
        Ok(()) => Finding::good("store"),
        Err(error) => Finding::bad("store", &error.to_string(), "look at store.url and at the server"),
    }
}

/// Compares topics as they are with what they must be. Settings that a log does not tell are not compared.
pub async fn topics<L: Log>(log: &L, specs: &[TopicSpec]) -> Result<Vec<Finding>, LogError> {
    let names: Vec<Arc<str>> = specs.iter().map(|spec| spec.name.clone()).collect();
    let states = log.topics(&names).await?;
    Ok(specs.iter().map(|spec| compare(spec, states.iter().find(|state| state.name == spec.name))).collect())
}

fn compare(spec: &TopicSpec, state: Option<&TopicState>) -> Finding {
    let subject = format!("topic {}", spec.name);
    let Some(state) = state else {
        return Finding::bad(subject, "absent", "`tidings topics create`");
    };
    let mut found = Vec::new();
    let mut remedy = Vec::new();
    if state.partitions != spec.partitions {
        found.push(format!("{} partitions instead of {}", state.partitions, spec.partitions));
        remedy.push(format!("set log.partitions = {} or make the topic anew", state.partitions));
    }
    for (name, wanted) in &spec.settings {
        match state.settings.iter().find(|(found, _)| found == name) {
            Some((_, value)) if !is_enough(name, value, wanted) => {
                found.push(format!("{name}={value} instead of {wanted}"));
                remedy.push(format!(
                    "`kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {name}={wanted}`",
                    spec.name
                ));
            }
            _ => {}
        }
    }
    if found.is_empty() { Finding::good(subject) } else { Finding::bad(subject, &found.join(", "), &remedy.join("; ")) }
}

/// More retention, more lag and larger records than asked for do no harm; -1 is without bound.
fn is_enough(name: &str, value: &str, wanted: &str) -> bool {
    let at_least = ["retention.ms", "min.compaction.lag.ms", "delete.retention.ms", "max.message.bytes"];
    match (value.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(value), Ok(wanted)) if at_least.contains(&name) => value == -1 || value >= wanted,
        // How eagerly segments roll and compact is the operator's business.
        _ if ["segment.ms", "max.compaction.lag.ms"].contains(&name) => true,
        _ => value == wanted,
    }
}

// === impl Finding ===

impl Finding {
    pub fn good(subject: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), trouble: None }
    }

    pub fn bad(subject: impl Into<String>, found: &str, remedy: &str) -> Finding {
        let trouble = Trouble { found: found.to_owned(), remedy: remedy.to_owned() };
        Finding { subject: subject.into(), trouble: Some(trouble) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            None => write!(f, "ok       {}", self.subject),
            Some(Trouble { found, remedy }) => write!(f, "problem  {}: {found}; remedy: {remedy}", self.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(partitions: u32, settings: &[(&str, &str)], expected: &str) {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let wanted = [("cleanup.policy", "delete"), ("retention.ms", "1000"), ("segment.ms", "5")];
        let spec = TopicSpec { name: "t".into(), partitions: 3, settings: pairs(&wanted) };
        let state = TopicState { name: "t".into(), partitions, settings: pairs(settings) };
        assert_eq!(compare(&spec, Some(&state)).to_string(), expected);
    }

    #[test]
    fn topics_are_compared_with_what_they_must_be() {
        check(3, &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.ms", "7")], "ok       topic t");
        check(3, &[], "ok       topic t");
        check(
            3,
            &[("retention.ms", "999")],
            "problem  topic t: retention.ms=999 instead of 1000; remedy: \
             `kafka-configs.sh --alter --entity-type topics --entity-name t --add-config retention.ms=1000`",
        );
        check(
            4,
            &[],
            "problem  topic t: 4 partitions instead of 3; remedy: set log.partitions = 4 or make the topic anew",
        );
    }
}
