//! `tidings topics create [--print]`: what Kafka must have, made or told.

use std::sync::Arc;

use clap::Subcommand;

use super::rights::rights;
use crate::{
    config::{Mode, Settings, topic_specs},
    log::{Log, LogError, TopicSpec},
};

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Create the topics that are missing; those that exist are left as they are
    Create {
        /// Print Kafka's own commands, and the least rights that Tidings needs, instead
        #[arg(long)]
        print: bool,
    },
}

pub async fn run(command: Topics, settings: &Settings) -> anyhow::Result<()> {
    let Topics::Create { print } = command;
    if print {
        print!("{}", commands(settings));
        return Ok(());
    }
    match settings.mode {
        Mode::Embedded => println!("in embedded mode, `tidings up` creates its own topics"),
        #[cfg(feature = "kafka")]
        Mode::Distributed => {
            let log = kafka(settings)?;
            for name in create(&log, topic_specs(settings)).await? {
                println!("{name} created");
            }
        }
        #[cfg(not(feature = "kafka"))]
        Mode::Distributed => anyhow::bail!("this program was built without Kafka"),
    }
    Ok(())
}

/// The log of the distributed mode.
#[cfg(feature = "kafka")]
pub fn kafka(settings: &Settings) -> Result<crate::log::kafka::KafkaLog, LogError> {
    let kafka = &settings.log.kafka;
    let mut properties = kafka.properties.0.clone();
    for (name, file) in &kafka.property_files {
        let value = std::fs::read_to_string(file).map_err(|error| {
            LogError::Refused(format!("log.kafka.property_files: {name}: {}: {error}", file.display()))
        })?;
        if properties.insert(name.clone(), value.trim_end_matches(['\n', '\r']).to_owned()).is_some() {
            let twice = "is in log.kafka.properties and in log.kafka.property_files";
            return Err(LogError::Refused(format!("kafka property {name} {twice}; give it once")));
        }
    }
    crate::log::kafka::KafkaLog::new(crate::log::kafka::KafkaSettings {
        brokers: kafka.brokers.clone(),
        properties,
        client_id: format!("tidings-{}", settings.process_name()),
    })
}

/// Creates what is missing and returns the names of what was created.
pub async fn create<L: Log>(log: &L, specs: Vec<TopicSpec>) -> Result<Vec<Arc<str>>, LogError> {
    let mut created = Vec::new();
    for spec in specs {
        let name = spec.name.clone();
        if log.create_topic(spec).await? {
            created.push(name);
        }
    }
    Ok(created)
}

/// Kafka's own commands for the topics and the least rights of each role, to be pasted into a shell.
fn commands(settings: &Settings) -> String {
    let kafka = "--bootstrap-server \"$BROKERS\"";
    let mut text = format!(
        "# Topics and least rights of Tidings. Set BROKERS, and the principals of each role, for example\n\
         # MATCH=User:tidings-match SEND=User:tidings-send API=User:tidings-api\n\
         BROKERS=${{BROKERS:-{}}}\n\n",
        if settings.log.kafka.brokers.is_empty() { "localhost:9092" } else { &settings.log.kafka.brokers }
    );
    for spec in topic_specs(settings) {
        text.push_str(&format!(
            "kafka-topics.sh {kafka} --create --if-not-exists --topic {} --partitions {} --replication-factor {}",
            spec.name, spec.partitions, settings.log.replication
        ));
        spec.settings.iter().for_each(|(name, value)| text.push_str(&format!(" \\\n  --config {name}={value}")));
        text.push('\n');
    }
    rights(settings).iter().for_each(|right| text.push_str(&format!("{right}\n")));
    text
}
