//! `tidings check`: one line per finding with its remedy; exit code 1 if anything is wrong.
//!
//! It looks and changes nothing. In embedded mode the data folder belongs to the running process, so what is in it is
//! asked of its API.

use std::{fmt, sync::Arc};

use super::Global;
use crate::{
    config::{ConfigFault, Settings, load, topic_specs},
    log::{Log, LogError, TopicSpec, TopicState},
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
