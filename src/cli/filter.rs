//! `tidings filter`: what a filter answers, without an installation.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Command, Global, filter_bench, filter_test};

#[derive(Clone, Debug, Subcommand)]
pub enum Filter {
    Test(filter_test::Test),
    Bench(filter_bench::Bench),
}

/// The command, if it is one of these: they answer by exit code too, and so are run by `main`.
pub fn asked(command: &Command) -> Option<Filter> {
    match command {
        Command::Filter(filter) => Some(filter.clone()),
        _ => None,
    }
}

pub fn run(filter: Filter, global: &Global) -> ExitCode {
    match filter {
        Filter::Test(test) => filter_test::run(&test, global),
        Filter::Bench(bench) => filter_bench::run(&bench, global),
    }
}
