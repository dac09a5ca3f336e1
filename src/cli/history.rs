//! `tidings notifications` and `tidings attempts`: what became of events, newest first.

use anyhow::bail;
use clap::Args;
use serde_json::Value;
use tidings_core::domain::{Timestamp, attempt::OUTCOMES};

use super::{Global, client::Client, objects::segment, output};

/// What narrows a listing.
#[derive(Debug, Args)]
pub struct Narrowing {
    /// Only this team [default: every team]
    #[arg(long)]
    pub team: Option<String>,
    #[arg(long)]
    pub subscription: Option<String>,
    #[arg(long)]
    pub destination: Option<String>,
    /// Only of the event with this id
    #[arg(long, value_name = "ID")]
    pub event: Option<String>,
    /// retrying, delivered, exhausted, expired, discarded or suppressed
    #[arg(long, value_parser = status)]
    pub status: Option<String>,
    /// Only with this error class, for example timeout or server_error
    #[arg(long, value_name = "CLASS")]
    pub error: Option<String>,
    /// Not before: RFC 3339, or an age such as 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before: RFC 3339, or an age
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The most rows, 1 to 1,000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Go on where the last page ended
    #[arg(long)]
    pub cursor: Option<String>,
    /// Show each notification's request as a curl command
    #[arg(long)]
    pub curl: bool,
}

#[derive(Debug, Args)]
pub struct Notifications {
    /// One notification, with all its attempts and its request
    pub id: Option<String>,
    #[command(flatten)]
    pub narrowing: Narrowing,
}

#[derive(Debug, Args)]
pub struct Attempts {
    /// Only of this notification
    #[arg(long, value_name = "ID")]
    pub notification: Option<String>,
    #[command(flatten)]
    pub narrowing: Narrowing,
}

pub async fn notifications(command: Notifications, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let Some(id) = &command.id else {
        return list(&client, "notifications", &[], &command.narrowing, global.json).await;
    };
    let notification = client.get(&one(command.narrowing.team.as_deref(), id), &[]).await?;
    if global.json {
        output::json(&notification);
        return Ok(());
    }
    let rows = [
        "status", "team", "subscription", "destination", "event_type", "event_id", "position", "index_version",
        "next_attempt_at",
    ];
    for key in rows.iter().filter(|key| !notification[**key].is_null()) {
        println!("{key:<16}{}", output::cell(&notification[*key]));
    }
    println!();
    output::table(notification["attempts"].as_array().map_or(&[], Vec::as_slice), &ATTEMPT_COLUMNS[1..]);
    println!("\n{}", output::cell(&notification["curl"]));
    Ok(())
}

pub async fn attempts(command: Attempts, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let notification = command.notification.into_iter().map(|id| ("notification", id)).collect::<Vec<_>>();
    list(&client, "attempts", &notification, &command.narrowing, global.json).await
}

const ATTEMPT_COLUMNS: [(&str, &str); 10] = [
    ("notification", "notification"),
    ("at", "at"),
    ("attempt", "attempt"),
    ("outcome", "outcome"),
    ("code", "code"),
    ("error", "error"),
    ("ms", "duration_ms"),
    ("destination", "destination"),
    ("message", "message"),
    ("response", "response"),
];

const NOTIFICATION_COLUMNS: [(&str, &str); 9] = [
    ("notification", "notification"),
    ("at", "at"),
    ("status", "status"),
    ("attempts", "attempt"),
    ("code", "code"),
    ("error", "error"),
    ("event type", "event_type"),
    ("subscription", "subscription"),
    ("destination", "destination"),
];

async fn list(
    client: &Client,
    what: &str,
    more: &[(&str, String)],
    narrowing: &Narrowing,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut query = narrowing.query()?;
    query.extend_from_slice(more);
    let path = match &narrowing.team {
        Some(team) => format!("/v1/teams/{}/{what}", segment(team)),
        None => format!("/v1/{what}"),
    };
    let page = client.get(&path, &query).await?;
    if as_json {
        output::json(&page);
        return Ok(());
    }
    let rows = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    if narrowing.curl {
        return curls(client, rows).await;
    }
    output::table(rows, if what == "attempts" { &ATTEMPT_COLUMNS[..] } else { &NOTIFICATION_COLUMNS[..] });
    if let Some(cursor) = page["next"].as_str() {
        eprintln!("more: --cursor {cursor}");
    }
    Ok(())
}

/// The request of each row's notification, each notification once.
async fn curls(client: &Client, rows: &[Value]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let id = output::cell(&row["notification"]);
        if seen.insert(id.clone()) {
            let notification = client.get(&one(row["team"].as_str(), &id), &[]).await?;
            println!("# {id}\n{}\n", output::cell(&notification["curl"]));
        }
    }
    Ok(())
}

fn one(team: Option<&str>, id: &str) -> String {
    match team {
        Some(team) => format!("/v1/teams/{}/notifications/{}", segment(team), segment(id)),
        None => format!("/v1/notifications/{}", segment(id)),
    }
}

fn status(text: &str) -> Result<String, String> {
    let known = || OUTCOMES.iter().map(|outcome| outcome.as_str()).chain(["retrying"]);
    if known().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(format!("allowed: {}", known().collect::<Vec<_>>().join(", ")))
}

/// An age such as `2h`, or an RFC 3339 time, as an RFC 3339 time.
fn time(text: &str, now: Timestamp) -> anyhow::Result<String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time.to_string());
    }
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => bail!("{text:?} is neither an RFC 3339 time nor an age such as 30m, 2h, 7d"),
    };
    let count: i64 = text[..text.len() - 1].parse().map_err(|_| anyhow::anyhow!("{text:?} is no age such as 30m"))?;
    Ok(now.plus(-count.saturating_mul(unit_ms)).to_string())
}

// === impl Narrowing ===

impl Narrowing {
    fn query(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let now = crate::api::now();
        let since = self.since.as_deref().map(|text| time(text, now)).transpose()?;
        let until = self.until.as_deref().map(|text| time(text, now)).transpose()?;
        let given = [
            ("subscription", self.subscription.clone()),
            ("destination", self.destination.clone()),
            ("event", self.event.clone()),
            ("status", self.status.clone()),
            ("error", self.error.clone()),
            ("since", since),
            ("until", until),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_back_from_now() {
        let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
        let check = |text: &str, expected: &str| assert_eq!(time(text, now).unwrap(), expected);
        check("30m", "2026-11-23T11:30:00.000Z");
        check("7d", "2026-11-16T12:00:00.000Z");
        check("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z");
        for wrong in ["", "h", "soon", "1w", "ä"] {
            assert!(time(wrong, now).is_err(), "{wrong}");
        }
    }
}
