//! `tidings secret put|list|delete`: secrets under a name, for destinations that refer to them.

use std::io::Read;

use anyhow::{Context, bail};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Global, client::Client, objects::segment, output};

#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Store a secret under a name; it is never shown again
    Put {
        name: String,
        #[arg(long)]
        team: String,
        /// The file that holds it (`-` is stdin); never an argument, which others on this machine could read
        #[arg(long, value_name = "FILE", default_value = "-")]
        from: String,
    },
    /// List the names, with a fingerprint each
    List {
        #[arg(long)]
        team: String,
    },
    /// Delete secrets; destinations that refer to them wait for another of that name
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
        #[arg(long)]
        team: String,
    },
}

/// The most names asked for at one time.
const PAGE: u32 = 500;

pub async fn run(command: Secrets, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        Secrets::Put { name, team, from } => {
            let body = json!({"value": read(&from)?});
            let answer = client.send(Method::PUT, &path(&team, Some(&name)), Some(&body)).await?;
            if global.json {
                output::json(&answer);
            } else {
                println!("secret {team}/{name}: revision {}", output::cell(&answer["revision"]));
            }
        }
        Secrets::List { team } => list(&client, &team, global.json).await?,
        Secrets::Delete { names, team } => {
            for name in &names {
                client.send(Method::DELETE, &path(&team, Some(name)), None).await.with_context(|| name.clone())?;
                println!("secret {team}/{name} deleted");
            }
        }
    }
    Ok(())
}

async fn list(client: &Client, team: &str, as_json: bool) -> anyhow::Result<()> {
    let mut items: Vec<Value> = Vec::new();
    let mut query = vec![("limit", PAGE.to_string())];
    loop {
        let mut page = client.get(&path(team, None), &query).await?;
        if let Value::Array(rows) = page["items"].take() {
            items.extend(rows);
        }
        match page["next"].as_str() {
            Some(cursor) => query = vec![("limit", PAGE.to_string()), ("cursor", cursor.to_owned())],
            None => break,
        }
    }
    if as_json {
        output::json(&json!(items));
    } else {
        output::table(&items, &[("name", "id"), ("revision", "revision"), ("fingerprint", "fingerprint")]);
    }
    Ok(())
}

/// The text without the end of line that editors and `echo` put behind it.
fn read(from: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    match from {
        "-" => std::io::stdin().read_to_string(&mut text).context("stdin")?,
        file => {
            std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)).context(from.to_owned())?
        }
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        bail!("{}: nothing in it; a secret is expected", if from == "-" { "stdin" } else { from });
    }
    Ok(text.to_owned())
}

fn path(team: &str, name: Option<&str>) -> String {
    let team = segment(team);
    match name {
        Some(name) => format!("/v1/teams/{team}/secrets/{}", segment(name)),
        None => format!("/v1/teams/{team}/secrets"),
    }
}
