//! `tidings index stats`: the filter index of a running process, part by part, and its widest partitions.

use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::{Global, client::Client, output};

#[derive(Debug, Subcommand)]
pub enum Index {
    /// Counts, bytes by part, and the partitions with the most clauses
    Stats,
}

pub async fn run(command: Index, global: &Global) -> anyhow::Result<()> {
    match command {
        Index::Stats => {
            let answer = Client::new(global)?.send(Method::GET, "/v1/index", None).await?;
            if global.json {
                output::json(&answer);
            } else {
                print!("{}", text(&answer));
            }
            Ok(())
        }
    }
}

fn text(answer: &Value) -> String {
    let index = &answer["index"];
    let mut text = format!(
        "index version {}: {} subscriptions, {} clauses in {} partitions, {} fields in use\n",
        answer["version"], answer["subscriptions"], index["clauses"], index["partitions"], index["fields"]
    );
    for part in ["values", "bounds", "predicates", "verified", "fresh", "dead"] {
        text.push_str(&format!("  {part:<12}{:>12}\n", index[part].to_string()));
    }
    text.push_str("bytes\n");
    for (part, bytes) in index["bytes"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {part:<12}{:>12}\n", bytes.to_string()));
    }
    text.push_str("widest partitions: clauses, fields, values, predicates, bytes\n");
    for partition in index["widest"].as_array().into_iter().flatten() {
        let numbers = ["clauses", "fields", "values", "predicates", "bytes"];
        let numbers = numbers.map(|name| format!("{:>10}", partition[name].to_string()));
        let of = |name: &str| output::cell(&partition[name]);
        text.push_str(&format!("  {}  {} {}\n", numbers.join(""), of("team"), of("type")));
    }
    text
}
