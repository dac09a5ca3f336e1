//! `tidings check`: one line per finding with its remedy; exit code 1 if anything is wrong.
//!
//! It looks and changes nothing, but that a store is brought up to date as at any start. In embedded mode the data folder
//! belongs to the running process, so what is in it is asked of its API. What is asked of Kafka is in `check_kafka`.

use std::{fmt, fs, path::Path, sync::Arc};

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tidings_core::catalog::{Catalog, CatalogFault};

use super::{Global, client::Client, output, rights::Role, sources};
use crate::{
    config::{Mode, Settings, load},
    schemas::{self, CatalogError},
    secrets::{KeyRing, KeyRingError},
    sources::{
        RegistryTrouble,
        configured::{decoder, registry as configured_registry},
    },
    store::{Store, postgres::Postgres},
};

#[derive(Debug, Args)]
pub struct Check {
    /// Only the rights of these roles, for principals that have one each [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLE")]
    pub role: Vec<Role>,
}

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

pub async fn run(command: Check, global: &Global) -> anyhow::Result<()> {
    let findings = look(&command, global).await;
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

async fn look(command: &Check, global: &Global) -> Vec<Finding> {
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
    findings.extend(files(&settings));
    let catalog = catalog(&settings, &mut findings);
    findings.extend(registry(&settings).await);
    match settings.mode {
        Mode::Embedded => findings.extend(running(global, &settings).await),
        Mode::Distributed => {
            findings.push(keys(&settings));
            findings.extend(kafka(&settings, command, catalog).await);
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
    let gone =
        |error: anyhow::Error| vec![keys(settings), Finding::bad("process", &format!("{error:#}"), "`tidings up`")];
    let client = match Client::new(global) {
        Ok(client) => client,
        Err(error) => return gone(error),
    };
    let answer = match client.readiness().await {
        Ok(answer) => answer,
        Err(error) => return gone(error),
    };
    let reasons = answer["reasons"].as_object().cloned().unwrap_or_default();
    let mut findings = vec![keys(settings)];
    match reasons.is_empty() {
        true => findings.push(Finding::good("process")),
        false => findings.extend(reasons.iter().map(|(condition, reason)| {
            Finding::bad(format!("process, {condition}"), &output::cell(reason), "see its log")
        })),
    }
    findings.push(problems(&client).await);
    findings
}

/// What in the directory is inactive, as the running process sees it.
async fn problems(client: &Client) -> Finding {
    let items = match client.get("/v1/directory/problems", &[("limit", "1".to_owned())]).await {
        Ok(page) => page["items"].as_array().cloned().unwrap_or_default(),
        Err(error) => return Finding::bad("directory", &format!("{error:#}"), "see the log of the process"),
    };
    match items.first() {
        None => Finding::good("directory"),
        Some(first) => {
            let found = format!("{}: {}", output::cell(&first["key"]), output::cell(&first["reason"]));
            Finding::bad("directory", &found, "`tidings directory problems` lists all")
        }
    }
}

/// Files that settings name.
fn files(settings: &Settings) -> Vec<Finding> {
    let mut named = vec![("delivery.extra_ca_file", &settings.delivery.extra_ca_file)];
    named.extend(settings.log.kafka.property_files.values().map(|file| ("log.kafka.property_files", file)));
    let unreadable = |(key, file): (&str, &Path)| {
        let error = fs::read(file).err()?;
        Some(Finding::bad(format!("{key} {}", file.display()), &error.to_string(), "name a file that can be read"))
    };
    let set = named.into_iter().filter(|(_, file)| !file.as_os_str().is_empty());
    set.filter_map(|(key, file)| unreadable((key, file))).collect()
}

/// The event types as a start would have them, and what is read with them; `None` if there would be no start.
fn catalog(settings: &Settings, findings: &mut Vec<Finding>) -> Option<Arc<Catalog>> {
    let catalog = match schemas::catalog(settings) {
        Ok(catalog) => catalog,
        Err(CatalogError::Unreadable(folder, error)) => {
            let subject = format!("schemas.folder {}", folder.display());
            findings.push(Finding::bad(subject, &format!("{error:#}"), "name a folder that can be read"));
            return None;
        }
        Err(CatalogError::Faulty(folder, faults)) => {
            let remedy = format!("mend the file until `tidings types check {}` is content", folder.display());
            let fault = |CatalogFault { file, field, reason }: CatalogFault| {
                let subject = format!("event type {file} {field}");
                Finding::bad(subject.trim_end(), &reason, &remedy)
            };
            findings.extend(faults.into_iter().map(fault));
            return None;
        }
    };
    let folder = &settings.schemas.folder;
    if !folder.as_os_str().is_empty() {
        findings.push(Finding::good(format!("event types of {}", folder.display())));
    }
    match decoder(settings, &catalog) {
        Ok(Ok(_)) => {}
        Ok(Err(faults)) => {
            let remedy = "look at schemas.ids, at the files of schemas.earlier, and at `types` of [[source]]";
            findings.extend(faults.iter().map(|fault| Finding::bad("sources", fault, remedy)));
        }
        Err(error) => findings.push(Finding::bad("sources", &format!("{error:#}"), "name a folder that can be read")),
    }
    Some(catalog)
}

async fn registry(settings: &Settings) -> Option<Finding> {
    let url = &settings.registry.url;
    if url.is_empty() {
        return None;
    }
    let subject = format!("registry {url}");
    let answer = match configured_registry(settings) {
        Ok(registry) => registry?.answers().await,
        Err(error) => {
            let remedy = "name files that can be read: a password or token, and certificates in PEM";
            return Some(Finding::bad(subject, &format!("{error:#}"), remedy));
        }
    };
    let Err(error) = answer else { return Some(Finding::good(subject)) };
    let remedy = match error.kind {
        RegistryTrouble::Connection => "look at registry.url, and whether the registry can be reached from here",
        RegistryTrouble::Certificate => "put the authority that signed its certificate into registry.ca_file",
        RegistryTrouble::Credentials => {
            "look at registry.username and registry.secret, or at the rights of that user: it must be able to read schemas"
        }
        RegistryTrouble::Path => "put the path of the Confluent API into registry.url; Apicurio's is /apis/ccompat/v7",
        RegistryTrouble::Answer => "look at the log of the registry",
    };
    Some(Finding::bad(subject, &error.text, remedy))
}

fn keys(settings: &Settings) -> Finding {
    match key_ring(settings) {
        Ok(_) => Finding::good("key ring"),
        Err(error) => Finding::bad(
            "key ring",
            &error.to_string(),
            "give secrets.keys_file or secrets.keys (TIDINGS__SECRETS__KEYS): <key id>:<base64 of 32 bytes>",
        ),
    }
}

pub(super) fn key_ring(settings: &Settings) -> Result<KeyRing, KeyRingError> {
    let given = settings.secrets.keys.expose();
    if given.is_empty() { KeyRing::load(&settings.keys_file()) } else { KeyRing::parse(given) }
}

#[cfg(feature = "kafka")]
async fn kafka(settings: &Settings, command: &Check, catalog: Option<Arc<Catalog>>) -> Vec<Finding> {
    super::check_kafka::look(settings, &command.role, catalog).await
}

#[cfg(not(feature = "kafka"))]
async fn kafka(_: &Settings, _: &Check, _: Option<Arc<Catalog>>) -> Vec<Finding> {
    vec![Finding::bad("kafka", "this program was built without Kafka", "build it with the feature `kafka`")]
}

async fn store(settings: &Settings) -> Finding {
    let answers = match Postgres::connect(settings.store.url.expose(), CONNECTIONS).await {
        Ok(store) => match store.ping().await {
            Ok(()) => store.writable().await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match answers {
        Ok(()) => Finding::good("store"),
        Err(error) => Finding::bad(
            "store",
            &error.to_string(),
            "look at store.url and at the server: it must be the primary, and the user one that may create tables and write them",
        ),
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
