//! The command line: each command one file.
//!
//! `up`, `match`, `send` and `api` run roles in this process. `topics`, `check` and, in distributed mode, `source test` look at
//! the log and the store themselves, `types` reads the catalog and `filter` two files, because they are needed before anything
//! runs, and `restore` makes a data folder that nobody uses yet. All other commands speak HTTP to the API, so that they
//! work the same from any machine and never open the data folder of a running process.
//!
//! Answers go to stdout, as tables for people or as JSON with `--json`; errors go to stderr with exit code 1.
//!
//! Reading order: this file, [`client`], [`output`], [`documents`], [`rights`], then the commands.

pub mod backup;
pub mod check;
#[cfg(feature = "kafka")]
mod check_kafka;
pub mod client;
pub mod config;
pub mod dead_letters;
pub mod directory;
pub mod documents;
pub mod explain;
pub mod filter;
pub mod filter_bench;
pub mod filter_test;
pub mod health;
pub mod history;
pub mod index;
pub mod objects;
pub mod output;
pub mod publish;
pub mod replay;
pub mod rights;
pub mod run;
pub mod secret;
pub mod source;
pub mod topics;
pub mod types;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};

use crate::config::{Settings, Sources, load};

/// Turns a platform's events into notifications.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: tidings.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, over file and environment; repeatable
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// The API to speak to [default: http:// and api.listen of the configuration]
    #[arg(long, global = true, env = "TIDINGS_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The operator token [default: read from the data folder]
    #[arg(long, global = true, env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all roles in this process
    Up(run::Up),
    /// Run a matcher
    Match,
    /// Run a sender
    Send,
    /// Run the HTTP API
    Api,
    /// Create topics, or print the commands that do
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Where events come from
    #[command(subcommand)]
    Source(source::Source),
    /// Look whether configuration, topics, rights, store and secrets are as they must be
    Check(check::Check),
    /// Ask the process of this configuration whether it is ready: exit code 0 or 1
    Health,
    Types(types::Types),
    /// Publish events: one JSON object per line
    Publish(publish::Publish),
    /// What teams want to hear
    #[command(subcommand)]
    Subscription(objects::Objects),
    /// Where notifications go
    #[command(subcommand)]
    Destination(objects::Objects),
    /// Secrets that destinations refer to by name
    #[command(subcommand)]
    Secret(secret::Secrets),
    /// What is wrong in the directory
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Why an event matches a subscription or not, condition by condition
    Explain(explain::Explain),
    /// What a filter answers, without an installation
    #[command(subcommand)]
    Filter(filter::Filter),
    /// The filter index of a running process
    #[command(subcommand)]
    Index(index::Index),
    /// Notifications, newest first
    Notifications(history::Notifications),
    /// Attempts to deliver, newest first
    Attempts(history::Attempts),
    /// Records that were set aside
    Deadletters(dead_letters::DeadLetters),
    Replay(replay::Replay),
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// The configuration in force, and its manual
    #[command(subcommand)]
    Config(config::Config),
}

/// Runs one command that is not a role. Roles are started by `main`, from [`run::roles`].
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let global = &cli.global;
    match cli.command {
        Command::Up(_) | Command::Match | Command::Send | Command::Api => {
            bail!("roles are started by the program itself")
        }
        Command::Source(_) => bail!("sources are tested by the program itself"),
        Command::Filter(_) => bail!("filters are tested by the program itself"),
        Command::Topics(command) => topics::run(command, &settings(global)?).await,
        Command::Check(command) => check::run(command, global).await,
        Command::Health => health::run(global).await,
        Command::Types(command) => types::run(command, global).await,
        Command::Publish(command) => publish::run(command, global).await,
        Command::Subscription(command) => objects::run(command, objects::Kind::Subscription, global).await,
        Command::Destination(command) => objects::run(command, objects::Kind::Destination, global).await,
        Command::Secret(command) => secret::run(command, global).await,
        Command::Directory(command) => directory::run(command, global).await,
        Command::Explain(command) => explain::run(command, global).await,
        Command::Index(command) => index::run(command, global).await,
        Command::Notifications(command) => history::notifications(command, global).await,
        Command::Attempts(command) => history::attempts(command, global).await,
        Command::Deadletters(command) => dead_letters::run(command, global).await,
        Command::Backup(command) => backup::back_up(command, global).await,
        Command::Restore(command) => backup::restore(command, global),
        Command::Replay(command) => replay::run(command, global).await,
        Command::Config(command) => config::run(command, global),
    }
}

/// The settings in force, or one error that names every mistake.
pub fn settings(global: &Global) -> anyhow::Result<Settings> {
    load(&sources(global)).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
        anyhow::anyhow!("the configuration has {} mistake(s):\n{}", lines.len(), lines.join("\n"))
    })
}

/// Where the settings of this command come from.
pub fn sources(global: &Global) -> Sources {
    // Variables that are not text cannot be ours.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Sources { file: global.config.clone(), environment: environment.collect(), flags: global.set.clone() }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read() {
        let check = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| format!("{:?}", cli.command));
        assert_eq!(check("tidings match --set log.partitions=3").unwrap(), "Match");
        assert!(check("tidings explain event.json acme/s-1").unwrap().contains("acme/s-1"));
        assert!(check("tidings deadletters").unwrap().contains("None"));
        assert!(check("tidings attempts --team acme --since 2h --curl --json").is_ok());
        assert!(check("tidings types deployment --example").is_ok());
        assert!(check("tidings types check schemas --before old").unwrap().contains("old"));
        assert!(check("tidings types --example").is_err());
        assert!(check("tidings filter test --filter f.json --event -").is_ok());
        assert!(check("tidings filter test --cases cases.ndjson").is_ok());
        assert!(check("tidings filter bench folder").is_ok());
        assert!(check("tidings index stats").is_ok());
        assert!(check("tidings filter test --filter f.json").is_err());
        assert!(check("tidings filter test --filter f.json --cases cases.ndjson").is_err());
        assert!(check("tidings attempts --status lost").is_err());
        assert!(check("tidings destination show --team acme").is_err());
    }
}
