//! `tidings subscription|destination apply|list|show|delete`.

use anyhow::Context;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Global, client::Client, documents, output};

#[derive(Debug, Subcommand)]
pub enum Objects {
    /// Create or change the objects of a file (YAML or JSON, one or several; `-` is stdin)
    Apply {
        /// The file
        file: String,
        /// The team of objects that name none
        #[arg(long)]
        team: Option<String>,
    },
    /// List a team's objects
    List {
        #[arg(long)]
        team: String,
    },
    /// Show one object
    Show {
        id: String,
        #[arg(long)]
        team: String,
    },
    /// Delete objects
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
        #[arg(long)]
        team: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Subscription,
    Destination,
}

/// The most objects asked for at one time.
const PAGE: u32 = 500;

pub async fn run(command: Objects, kind: Kind, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        Objects::Apply { file, team } => apply(&client, kind, &file, team.as_deref(), global.json).await,
        Objects::List { team } => list(&client, kind, &team, global.json).await,
        Objects::Show { id, team } => {
            output::json(&client.get(&path(kind, &team, Some(&id)), &[]).await?);
            Ok(())
        }
        Objects::Delete { ids, team } => {
            for id in &ids {
                client.send(Method::DELETE, &path(kind, &team, Some(id)), None).await.with_context(|| id.clone())?;
                println!("{} {team}/{id} deleted", kind.as_str());
            }
            Ok(())
        }
    }
}

/// Objects are applied one by one in the file's order; the first that is refused ends it, and is named.
async fn apply(client: &Client, kind: Kind, file: &str, team: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let objects = documents::objects(&documents::read(file)?).with_context(|| file.to_owned())?;
    for (index, object) in objects.iter().enumerate() {
        let place = || format!("{file}, object {}", index + 1);
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let team = text("team").or(team).with_context(|| format!("{}: no team; write it or give --team", place()))?;
        let id = text("id").with_context(|| format!("{}: no id", place()))?;
        let answer = client.send(Method::PUT, &path(kind, team, Some(id)), Some(object)).await.with_context(place)?;
        if as_json {
            output::json(&answer);
            continue;
        }
        println!("{} {team}/{id}: revision {}", kind.as_str(), output::cell(&answer["revision"]));
        // A generated secret is shown this once: the API does not give it again.
        if let Some(secret) = answer["generated_secret"].as_str() {
            println!("  signing secret, shown only now: {secret}");
        }
    }
    Ok(())
}

async fn list(client: &Client, kind: Kind, team: &str, as_json: bool) -> anyhow::Result<()> {
    let mut items: Vec<Value> = Vec::new();
    let mut query = vec![("limit", PAGE.to_string())];
    loop {
        let mut page = client.get(&path(kind, team, None), &query).await?;
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
        return Ok(());
    }
    match kind {
        Kind::Subscription => {
            for item in &mut items {
                let types = item["events"].as_array().into_iter().flatten().map(|event| event["type"].clone());
                item["types"] = types.collect();
            }
            let columns = [
                ("id", "id"),
                ("revision", "revision"),
                ("enabled", "enabled"),
                ("events", "types"),
                ("destinations", "destinations"),
            ];
            output::table(&items, &columns);
        }
        Kind::Destination => output::table(
            &items,
            &[("id", "id"), ("revision", "revision"), ("enabled", "enabled"), ("url", "webhook.url"), ("name", "name")],
        ),
    }
    Ok(())
}

fn path(kind: Kind, team: &str, id: Option<&str>) -> String {
    let team = segment(team);
    match id {
        Some(id) => format!("/v1/teams/{team}/{}s/{}", kind.as_str(), segment(id)),
        None => format!("/v1/teams/{team}/{}s", kind.as_str()),
    }
}

/// A name as one segment of a path, whatever a person typed.
pub fn segment(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    let encoded = text.bytes().map(|byte| if keep(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") });
    match text {
        // Clients fold these away before they send.
        "." | ".." => text.replace('.', "%2E"),
        _ => encoded.collect(),
    }
}

// === impl Kind ===

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Subscription => "subscription",
            Kind::Destination => "destination",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(path(Kind::Destination, "acme.eu", Some("d-1")), "/v1/teams/acme.eu/destinations/d-1");
        assert_eq!(path(Kind::Subscription, "a/b", Some("ä?x=1")), "/v1/teams/a%2Fb/subscriptions/%C3%A4%3Fx%3D1");
    }
}
