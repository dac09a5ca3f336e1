//! `tidings types`: the catalog of this configuration, and what a folder of schema files would change in it.
//!
//! The catalog is read here, not asked of the API: types are looked up before anything runs.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tidings_core::catalog::{
    Catalog, CatalogFault, EventType, description, evolution,
    page::{Assumed, page},
};

use super::{Global, client::Client, output};
use crate::schemas;

/// Event types: all of them, or one with its fields, filters and example
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Types {
    /// A key, or another name of a type: scalingo.app_deployed, deployment
    pub key: Option<String>,
    /// Only the types of this platform
    #[arg(long, conflicts_with = "key")]
    pub platform: Option<String>,
    /// Print an event of that type as `tidings publish` takes it
    #[arg(long, requires = "key")]
    pub example: bool,
    /// Print the page of a platform: docs/catalog/PLATFORM.md
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["key", "platform"])]
    pub markdown: Option<String>,
    /// Print how many fields of each platform no document names
    #[arg(long, conflicts_with_all = ["key", "platform", "markdown"])]
    pub assumed: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Hold a folder of schema files against the rules, the catalog in force, and the subscriptions
    Check(Check),
}

#[derive(Debug, Args)]
pub struct Check {
    /// The folder, PLATFORM/KEY.avsc in it
    pub folder: PathBuf,
    /// The folder as it was [default: the catalog in force]
    #[arg(long, value_name = "FOLDER")]
    pub before: Option<PathBuf>,
}

pub async fn run(command: Types, global: &Global) -> anyhow::Result<()> {
    if let Some(Command::Check(check)) = &command.command {
        return self::check(check, global).await;
    }
    let catalog = schemas::catalog(&super::settings(global)?)?;
    if let Some(platform) = &command.markdown {
        let page = page(&catalog, platform).with_context(|| {
            format!("no event type is of the platform {platform:?}; there are {}", catalog.platforms().join(", "))
        })?;
        print!("{page}");
    } else if command.assumed {
        for platform in catalog.platforms() {
            let types: Vec<&EventType> = catalog.types().filter(|t| t.platform == platform).collect();
            println!("{platform}: {}", Assumed::of(&types));
        }
    } else if let Some(name) = &command.key {
        let found = catalog.resolve(name);
        let event_type =
            found.with_context(|| format!("no event type is called {name:?}; `tidings types` lists them"))?;
        match (command.example, global.json) {
            // One line: that is what `publish` reads.
            (true, false) => println!("{}", description::example_event(event_type)),
            (true, true) => output::json(&description::example_event(event_type)),
            (false, true) => output::json(&description::detail(event_type)),
            (false, false) => show(&description::detail(event_type)),
        }
    } else {
        let wanted = |t: &&EventType| command.platform.as_ref().is_none_or(|platform| t.platform == *platform);
        let rows: Vec<Value> = catalog.types().filter(wanted).map(description::row).collect();
        if global.json {
            output::json(&json!({"items": rows}));
        } else {
            let columns = [
                ("key", "key"),
                ("name", "display_name"),
                ("category", "category"),
                ("severity", "severity"),
                ("critical", "critical"),
            ];
            output::table(&rows, &columns);
        }
    }
    Ok(())
}

fn show(detail: &Value) {
    let text = |name: &str| output::cell(&detail[name]);
    println!("{}  {}", text("key"), text("display_name"));
    println!("{}", text("description"));
    let critical = if detail["critical"] == true { ", critical" } else { "" };
    println!("category {}, severity {}{critical}", text("category"), text("severity"));
    for (label, name) in
        [("on the wire", "wire_name"), ("also", "aliases"), ("concerns", "subject_field"), ("says", "summary")]
    {
        if !text(name).is_empty() {
            println!("{label}: {}", text(name));
        }
    }
    let rows = |name: &str| detail[name].as_array().cloned().unwrap_or_default();
    println!();
    output::table(
        &rows("fields"),
        &[
            ("field", "path"),
            ("type", "kind"),
            ("title", "title"),
            ("optional", "optional"),
            ("sensitive", "sensitive"),
            ("assumed", "assumed"),
        ],
    );
    if !rows("filters").is_empty() {
        println!();
        output::table(
            &rows("filters"),
            &[
                ("filter", "key"),
                ("on", "field"),
                ("kind", "kind"),
                ("required", "required"),
                ("many", "many"),
                ("allowed", "allowed"),
                ("operators", "operators"),
            ],
        );
    }
    println!("\n{}", detail["example"]);
}

/// What a check found. Empty lists are good news.
#[derive(Debug)]
struct Verdict {
    faults: Vec<String>,
    changes: Vec<String>,
    /// Or why they were not looked at.
    subscriptions: Result<Vec<String>, String>,
}

async fn check(command: &Check, global: &Global) -> anyhow::Result<()> {
    let after = schemas::read(&command.folder)?;
    let before = match &command.before {
        Some(folder) => Catalog::load(&schemas::with_builtin(folder)?)
            .map_err(|faults| anyhow::anyhow!("--before {}: {}", folder.display(), faults[0]))?,
        None => Catalog::clone(&*schemas::catalog(&super::settings(global)?)?),
    };
    let unasked = Err("the files come first".to_owned());
    let mut verdict = Verdict { faults: Vec::new(), changes: Vec::new(), subscriptions: unasked };
    let all = [tidings_core::catalog::builtin_files(), after.clone()].concat();
    match Catalog::load(&all) {
        Err(faults) => verdict.faults = lines(&faults),
        Ok(catalog) => {
            verdict.changes = lines(&evolution::faults(&before, &catalog));
            verdict.subscriptions = broken(&after, global).await.map_err(|error| format!("{error:#}"));
        }
    }
    if global.json {
        output::json(&json!({
            "files": after.len(),
            "faults": verdict.faults,
            "changes": verdict.changes,
            "subscriptions": verdict.subscriptions.as_ref().ok(),
            "subscriptions_unknown": verdict.subscriptions.as_ref().err(),
        }));
    } else {
        [&verdict.faults, &verdict.changes].into_iter().flatten().for_each(|line| println!("{line}"));
        match &verdict.subscriptions {
            Ok(broken) => broken.iter().for_each(|line| println!("{line}")),
            Err(reason) => println!("subscriptions were not looked at: {reason}"),
        }
    }
    let broken = verdict.subscriptions.as_ref().map_or(0, Vec::len);
    match verdict.faults.len() + verdict.changes.len() + broken {
        0 => {
            if !global.json {
                println!("{} file(s) are as they must be", after.len());
            }
            Ok(())
        }
        problems => bail!("{}: {problems} problem(s)", command.folder.display()),
    }
}

fn lines(faults: &[CatalogFault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// The subscriptions that the folder would break, asked of the API, which knows them all.
async fn broken(files: &[(String, String)], global: &Global) -> anyhow::Result<Vec<String>> {
    let files: Map<String, Value> = files.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    let request = json!({"files": files});
    let answer = Client::new(global)?.send(Method::POST, "/v1/event-types/check", Some(&request)).await?;
    let mut lines = Vec::new();
    for broken in answer["subscriptions"].as_array().into_iter().flatten() {
        for fault in broken["faults"].as_array().into_iter().flatten() {
            let part = |name: &str| output::cell(&fault[name]);
            let (team, id) = (output::cell(&broken["team"]), output::cell(&broken["id"]));
            lines.push(format!(
                "subscription {team}/{id}: {}: found {}; allowed: {}",
                part("path"),
                part("found"),
                part("allowed")
            ));
        }
    }
    Ok(lines)
}
