//! `tidings deadletters [list]|retry`: records that were set aside, and feeding them in again.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Global, client::Client, output};

#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    pub action: Option<Action>,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// List them, oldest first, each with the beginning of its value (this is the default)
    List(List),
    /// Feed them in again: the original record goes back to its topic
    Retry(Retry),
}

#[derive(Debug, Default, Args)]
pub struct List {
    /// Only with this reason, for example decode or no_team
    #[arg(long)]
    pub reason: Option<String>,
    /// The most rows, 1 to 1,000
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Go on where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Retry {
    /// Their positions in the dead-letter topic: PARTITION-OFFSET, as listed
    #[arg(conflicts_with = "reason")]
    pub positions: Vec<String>,
    /// All with this reason that are there now
    #[arg(long)]
    pub reason: Option<String>,
}

pub async fn run(command: DeadLetters, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command.action.unwrap_or_else(|| Action::List(List::default())) {
        Action::List(list) => show(&client, list, global.json).await,
        Action::Retry(retry) => {
            let request = match retry.reason {
                Some(reason) => json!({"reason": reason}),
                None => json!({"positions": retry.positions}),
            };
            let answer = client.send(Method::POST, "/v1/deadletters/retry", Some(&request)).await?;
            if global.json {
                output::json(&answer);
            } else {
                println!("{} record(s) fed in again", output::cell(&answer["retried"]));
            }
            Ok(())
        }
    }
}

async fn show(client: &Client, list: List, as_json: bool) -> anyhow::Result<()> {
    let query = [("reason", list.reason), ("limit", list.limit.map(|l| l.to_string())), ("cursor", list.cursor)];
    let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let page = client.get("/v1/deadletters", &query).await?;
    if as_json {
        output::json(&page);
        return Ok(());
    }
    let rows: Vec<Value> = page["items"].as_array().cloned().unwrap_or_default();
    let columns = [
        ("position", "position"),
        ("at", "at"),
        ("reason", "reason"),
        ("source", "source"),
        ("bytes", "bytes"),
        ("detail", "detail"),
        ("value", "value"),
    ];
    output::table(&rows, &columns);
    if let Some(cursor) = page["next"].as_str() {
        eprintln!("more: --cursor {cursor}");
    }
    Ok(())
}
