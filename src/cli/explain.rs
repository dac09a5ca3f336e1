//! `tidings explain EVENT SUBSCRIPTION`: condition by condition, the value found and whether it held.

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Global, client::Client, documents, output};

#[derive(Debug, Args)]
pub struct Explain {
    /// A file with one event (`-` is stdin), or the position of one in the log: TOPIC-PARTITION-OFFSET
    pub event: String,
    /// TEAM/ID of a subscription, or a file with one
    pub subscription: String,
}

pub async fn run(command: Explain, global: &Global) -> anyhow::Result<()> {
    let mut request = json!({});
    match is_file(&command.event) {
        true => request["event"] = one_object(&command.event)?,
        false => request["position"] = json!(command.event),
    }
    request["subscription"] = match command.subscription.split_once('/') {
        Some((team, id)) if !is_file(&command.subscription) => json!({"team": team, "id": id}),
        _ => one_object(&command.subscription)?,
    };
    let answer = Client::new(global)?.send(Method::POST, "/v1/explain", Some(&request)).await?;
    if global.json {
        output::json(&answer);
    } else {
        print!("{}", text(&answer));
    }
    Ok(())
}

fn is_file(text: &str) -> bool {
    text == "-" || std::path::Path::new(text).is_file()
}

fn one_object(path: &str) -> anyhow::Result<Value> {
    let mut objects = documents::objects(&documents::read(path)?).with_context(|| path.to_owned())?;
    anyhow::ensure!(objects.len() == 1, "{path}: {} objects; one is needed", objects.len());
    Ok(objects.remove(0))
}

fn text(answer: &Value) -> String {
    let mark = |held: &Value| match held.as_bool() {
        Some(true) => "yes",
        Some(false) => "no ",
        // It would cost too much to tell.
        None => "?  ",
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut text = format!("{}  {}\n", mark(&answer["matches"]), output::cell(&answer["verdict"]));
    for (index, selector) in list(&answer["selectors"]).iter().enumerate() {
        let wanted = output::cell(&selector["type"]);
        let of_type = output::cell(&answer["type"]);
        text.push_str(&format!("  {}  events[{index}]\n", mark(&selector["matched"])));
        text.push_str(&format!("    {}  type  {wanted}; found {of_type}\n", mark(&selector["type_matches"])));
        for condition in list(&selector["conditions"]) {
            let found =
                if condition["found"].is_null() { "nothing".to_owned() } else { condition["found"].to_string() };
            let path = output::cell(&condition["path"]);
            let wanted = output::cell(&condition["condition"]);
            text.push_str(&format!("    {}  {path}  {wanted}; found {found}\n", mark(&condition["held"])));
        }
    }
    text
}
