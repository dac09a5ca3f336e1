//! `tidings directory problems`: which keys of the directory are inactive, and why.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Global, client::Client, output};

#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// List keys whose record is refused, and references to secrets that are not stored: key, field, reason
    Problems(Problems),
}

#[derive(Debug, Args)]
pub struct Problems {
    /// Only this team's
    #[arg(long)]
    pub team: Option<String>,
}

/// The most rows asked for at one time.
const PAGE: u32 = 500;

pub async fn run(command: DirectoryCommand, global: &Global) -> anyhow::Result<()> {
    let DirectoryCommand::Problems(Problems { team }) = command;
    let client = Client::new(global)?;
    let mut items: Vec<Value> = Vec::new();
    let mut cursor = None;
    loop {
        let query = [("limit", Some(PAGE.to_string())), ("team", team.clone()), ("cursor", cursor)];
        let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let mut page = client.get("/v1/directory/problems", &query).await?;
        if let Value::Array(rows) = page["items"].take() {
            items.extend(rows);
        }
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    if global.json {
        output::json(&json!(items));
    } else {
        output::table(&items, &[("key", "key"), ("field", "field"), ("reason", "reason"), ("detail", "detail")]);
    }
    Ok(())
}
