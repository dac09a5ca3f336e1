//! The program: reads the command line, then either runs roles or one command.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tidings::{
    cli::{self, Cli},
    demo, process,
};

/// What still runs on blocking threads at the end, such as a name being looked up, is not waited for longer.
const LAST_WAIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let done = runtime.block_on(run(Cli::parse()));
    runtime.shutdown_timeout(LAST_WAIT);
    match done {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(filter) = cli::filter::asked(&cli.command) {
        return Ok(cli::filter::run(filter, &cli.global));
    }
    carry_out(cli).await.map(|()| ExitCode::SUCCESS)
}

async fn carry_out(cli: Cli) -> anyhow::Result<()> {
    if let Some(options) = cli::run::demo(&cli.command, &cli.global)? {
        return demo::run(options).await;
    }
    if let Some(test) = cli::source::asked(&cli.command) {
        return process::source_test::run(test, &cli.global).await;
    }
    match cli::run::roles(&cli.command, &cli.global)? {
        Some((roles, settings)) => process::run(roles, settings).await,
        None => cli::run(cli).await,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("tidings: {error:#}");
    ExitCode::FAILURE
}
