//! The program: reads the command line, then either runs roles or one command.

use std::process::ExitCode;

use clap::Parser;
use tidings::{
    cli::{self, Cli, run::Roles},
    config::Settings,
    demo, telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(options) = cli::run::demo(&cli.command, &cli.global)? {
        return demo::run(options).await;
    }
    match cli::run::roles(&cli.command, &cli.global)? {
        Some((roles, settings)) => start(roles, settings).await,
        None => cli::run(cli).await,
    }
}

async fn start(roles: Roles, settings: Settings) -> anyhow::Result<()> {
    let _metrics = telemetry::start(&settings.telemetry)?;
    anyhow::bail!("the composition of {roles:?} is not joined yet")
}
