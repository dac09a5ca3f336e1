//! The program: reads the command line, then either runs roles or one command.

use std::{panic, process::ExitCode, time::Duration};

use clap::Parser;
use tidings::{
    cli::{self, Cli},
    demo, process,
};

/// Of librdkafka and SQLite too. How it is set is in `.cargo/config.toml`, why in `docs/decisions/0010-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What still runs on blocking threads at the end, such as a name being looked up, is not waited for longer.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// What a shell says of a program that a closed pipe has ended: 128 and the signal's number.
const CLOSED_PIPE: i32 = 128 + 13;

fn main() -> ExitCode {
    end_where_nobody_reads_on();
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

/// `tidings types | head`: whoever has read enough closes the pipe, which is no fault of ours and needs no words.
fn end_where_nobody_reads_on() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(CLOSED_PIPE);
        }
        usual(panic);
    }));
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
