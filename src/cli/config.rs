//! `tidings config show|doc|metrics`: what is in force, and the generated pages of `docs/`.

use clap::Subcommand;
use serde_json::json;

use super::{Global, output};
use crate::{config, telemetry::metrics_list};

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the settings in force and where each that is not a default comes from; secrets stay hidden
    Show,
    /// Print the manual of all settings: docs/configuration.md
    Doc,
    /// Print the list of all metrics: docs/metrics.md
    Metrics,
}

pub fn run(command: Config, global: &Global) -> anyhow::Result<()> {
    match command {
        Config::Doc => print!("{}", config::manual::page()),
        Config::Metrics => print!("{}", metrics_list::page()),
        Config::Show => {
            // Every mistake is reported first: what cannot be in force is not shown as if it were.
            super::settings(global)?;
            let (values, origins) = config::layers::show(&super::sources(global));
            if global.json {
                output::json(&json!({"settings": values, "origins": origins}));
            } else {
                print!("{values}");
                origins.iter().for_each(|(path, origin)| println!("# {path} comes from {origin}"));
            }
        }
    }
    Ok(())
}
