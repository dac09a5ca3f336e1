//! `/v1/deadletters`: records that were set aside, shown shortened, and fed in again.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::{
    codec::original_headers,
    domain::{Output, Position, Record, TopicPartition},
};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
    cursor,
    error::fault,
    history::record_at,
    query::Parameters,
};
use crate::{
    log::{Bounds, Log, Reader, partition_count},
    store::Store,
    telemetry::facts,
};

/// Bytes of a value that a listing shows.
const SHOWN_BYTES: usize = 4_096;
/// The most dead letters looked at for one page.
const MAX_SCANNED: usize = 10_000;
/// The most dead letters named in one request.
const MAX_POSITIONS: usize = 1_000;
/// Dead letters of one append: up to 768 KiB each.
const RETRY_BATCH: usize = 100;
/// How long the log may take to give more of what it has.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const LISTING: &str = "deadletters";

/// Which dead letters to feed in again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryRequest {
    /// `<partition>-<offset>`, as listed.
    positions: Option<Vec<String>>,
    /// All with this reason that are there now.
    reason: Option<String>,
}

pub async fn list<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    mut parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    let limit = parameters.limit()? as usize;
    let reason = parameters.text("reason")?;
    let from = match parameters.text("cursor")? {
        Some(text) => cursor::open(&state.token, LISTING, &text)?,
        None => (0, 0),
    };
    parameters.end()?;
    let mut items = Vec::new();
    let mut scanned = 0;
    let next = scan(&state.log, &state.topics.dead_letters, from, |record| {
        scanned += 1;
        if reason.is_none() || record.header("tidings-reason") == reason.as_deref() {
            items.push(shown(record));
        }
        items.len() < limit && scanned < MAX_SCANNED
    })
    .await?;
    let next = next.map(|place| cursor::seal(&state.token, LISTING, &place));
    Ok(Json(json!({"items": items, "next": next})))
}

/// Puts the original records back where they came from. The dead letters stay: a log forgets by age only.
pub async fn retry<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request: RetryRequest = body::typed("the request", body::object(body, &[])?)?;
    let (retried, skipped) = match request {
        RetryRequest { positions: Some(positions), reason: None } => retry_positions(&state, &positions).await?,
        RetryRequest { positions: None, reason: Some(reason) } => retry_reason(&state, &reason).await?,
        _ => {
            let wrong = fault("", "both or neither of positions and reason", "one of them");
            return Err(ApiError::invalid("the request", vec![wrong]));
        }
    };
    facts::dead_letters_retried(retried);
    Ok(Json(json!({"retried": retried, "skipped": skipped})))
}

async fn retry_positions<L: Log, S: Store>(
    state: &ApiState<L, S>,
    positions: &[String],
) -> Result<(usize, Vec<Value>), ApiError> {
    if positions.is_empty() || positions.len() > MAX_POSITIONS {
        let wrong = fault("positions", format!("{} positions", positions.len()), format!("1 to {MAX_POSITIONS}"));
        return Err(ApiError::invalid("the request", vec![wrong]));
    }
    let mut records = Vec::with_capacity(positions.len());
    for (index, text) in positions.iter().enumerate() {
        let path = || format!("positions[{index}]");
        let (partition, offset) = parse_place(text).ok_or_else(|| {
            let wrong = fault(path(), format!("{text:?}"), "<partition>-<offset>, as listed");
            ApiError::invalid("the request", vec![wrong])
        })?;
        let position = Position { topic: state.topics.dead_letters.clone(), partition, offset };
        let record = record_at(&state.log, &position).await?;
        records.push(record.ok_or_else(|| ApiError::NotFound(format!("{}: there is no dead letter {text}", path())))?);
    }
    feed(state, &records).await
}

/// Goes through the topic as it is now; what becomes a dead letter again meanwhile waits for the next request.
async fn retry_reason<L: Log, S: Store>(state: &ApiState<L, S>, reason: &str) -> Result<(usize, Vec<Value>), ApiError> {
    let topic = &state.topics.dead_letters;
    let mut ends = Vec::new();
    for partition in 0..partition_count(&state.log, topic).await? {
        ends.push(state.log.bounds(TopicPartition { topic: topic.clone(), partition }).await?.end);
    }
    let mut from = Some((0, 0));
    let (mut retried, mut skipped) = (0, Vec::new());
    while let Some(place) = from {
        let mut batch = Vec::new();
        from = scan(&state.log, topic, place, |record| {
            let was_there = ends.get(record.partition as usize).is_some_and(|end| record.offset < *end);
            if was_there && record.header("tidings-reason") == Some(reason) {
                batch.push(record.clone());
            }
            batch.len() < RETRY_BATCH
        })
        .await?;
        let (fed, refused) = feed(state, &batch).await?;
        retried += fed;
        skipped.extend(refused);
    }
    Ok((retried, skipped))
}

/// Appends the originals, and tells which cannot be had.
async fn feed<L: Log, S: Store>(state: &ApiState<L, S>, records: &[Record]) -> Result<(usize, Vec<Value>), ApiError> {
    let topics = state.replays.events.now();
    let mut retried = 0;
    let mut skipped = Vec::new();
    for batch in records.chunks(RETRY_BATCH) {
        let mut outputs = Vec::with_capacity(batch.len());
        for record in batch {
            match original(record, &topics) {
                Ok(output) => outputs.push(output),
                Err(reason) => skipped.push(json!({"position": place_text(record), "reason": reason})),
            }
        }
        retried += outputs.len();
        if !outputs.is_empty() {
            state.log.append(outputs).await?;
        }
    }
    Ok((retried, skipped))
}

/// The source record of a dead letter: same topic, partition, key, value and headers.
fn original(record: &Record, events_topics: &[Arc<str>]) -> Result<Output, &'static str> {
    if record.header("tidings-value-bytes").is_some() {
        return Err("its value was cut because it was too large");
    }
    let source = record.header("tidings-source-topic").unwrap_or_default();
    // Whoever can write dead letters must not be able to make the API write anywhere else.
    let topic =
        events_topics.iter().find(|topic| topic.as_ref() == source).ok_or("its source is no events topic now")?;
    let partition = record.header("tidings-source-partition").and_then(|text| text.parse().ok());
    Ok(Output {
        topic: topic.clone(),
        partition: Some(partition.ok_or("its source partition is not told")?),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: original_headers(&record.headers),
    })
}

/// Shows records in the order of partition and offset to `see`, which says whether to go on. Returns where the next scan
/// goes on; `None` at the end of the topic.
async fn scan<L: Log>(
    log: &L,
    topic: &Arc<str>,
    from: (u32, i64),
    mut see: impl FnMut(&Record) -> bool,
) -> Result<Option<(u32, i64)>, ApiError> {
    for partition in from.0..partition_count(log, topic).await? {
        let place = TopicPartition { topic: topic.clone(), partition };
        let Bounds { start, end } = log.bounds(place.clone()).await?;
        let first = if partition == from.0 { from.1.max(start) } else { start };
        if first >= end {
            continue;
        }
        let mut reader = log.reader(place, first).await?;
        while reader.position() < end {
            let before = reader.position();
            let records = reader.next(READ_TIMEOUT).await?;
            for record in records.iter().filter(|record| record.offset < end) {
                if !see(record) {
                    return Ok(Some((partition, record.offset + 1)));
                }
            }
            if records.is_empty() && reader.position() == before {
                return Err(ApiError::Unavailable("the log does not answer now; try again".to_owned()));
            }
        }
    }
    Ok(None)
}

fn shown(record: &Record) -> Value {
    let value = record.value.as_deref().unwrap_or_default();
    let source = ["topic", "partition", "offset"]
        .map(|part| record.header(&format!("tidings-source-{part}")).unwrap_or("?").to_owned())
        .join("-");
    let mut shown = json!({
        "position": place_text(record),
        "at": record.timestamp,
        "reason": record.header("tidings-reason"),
        "detail": record.header("tidings-detail"),
        "source": source,
        "key": record.key.as_deref().map(|key| beginning(key).0),
        "bytes": record.header("tidings-value-bytes").and_then(|t| t.parse().ok()).unwrap_or(value.len()),
        "shortened": value.len() > SHOWN_BYTES,
    });
    let (text, is_text) = beginning(value);
    shown[if is_text { "value" } else { "value_base64" }] = json!(text);
    shown
}

/// The beginning of some bytes as text, or as base64 if they are none.
fn beginning(bytes: &[u8]) -> (String, bool) {
    let start = &bytes[..bytes.len().min(SHOWN_BYTES)];
    match std::str::from_utf8(start) {
        Ok(text) => (text.to_owned(), true),
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() && bytes.len() > SHOWN_BYTES => {
            (String::from_utf8_lossy(&start[..error.valid_up_to()]).into_owned(), true)
        }
        Err(_) => (BASE64_STANDARD.encode(start), false),
    }
}

fn place_text(record: &Record) -> String {
    format!("{}-{}", record.partition, record.offset)
}

fn parse_place(text: &str) -> Option<(u32, i64)> {
    let (partition, offset) = text.split_once('-')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_text_where_they_are_text() {
        assert_eq!(beginning(b"{oops"), ("{oops".to_owned(), true));
        assert_eq!(beginning(&[0, 0xff]), ("AP8=".to_owned(), false));
        let (text, is_text) = beginning("ä".repeat(SHOWN_BYTES).as_bytes());
        assert!(is_text && text.len() == SHOWN_BYTES);
        let odd = format!("x{}", "ä".repeat(SHOWN_BYTES));
        assert_eq!(beginning(odd.as_bytes()).0.len(), SHOWN_BYTES - 1);
    }

    #[test]
    fn positions_are_read_as_they_are_listed() {
        assert_eq!(parse_place("0-17"), Some((0, 17)));
        assert_eq!(parse_place("17"), None);
        assert_eq!(parse_place("0--1"), Some((0, -1)), "found to be outside the topic later");
    }
}
