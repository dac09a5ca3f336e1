//! The last records of a topic, and how each would be read: what `tidings source test` shows.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidings_core::{
    catalog::Catalog,
    codec::{Decoded, Poison},
    domain::{Record, TopicPartition},
    message,
};
use tokio::time::Instant;

use super::Schemas;
use crate::log::{Log, LogError, Reader, partition_count};

/// The most records that are looked at.
pub const MAX_LAST: usize = 1_000;
/// How long the log may take to give the end of one partition.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Offsets looked back at for each record wanted: transactions leave holes.
const OFFSETS_PER_RECORD: i64 = 3;

/// Reads the last records as a matcher would, the newest last. Nothing is committed and no group is joined.
pub async fn look<L: Log>(
    log: &L,
    schemas: &Schemas,
    catalog: &Catalog,
    topic: &Arc<str>,
    last: usize,
) -> Result<Vec<Value>, LogError> {
    let mut rows = Vec::new();
    for record in records(log, topic, last.min(MAX_LAST)).await? {
        let mut row = json!({
            "position": record.position().to_string(),
            "at": record.timestamp,
            "bytes": record.value.as_ref().map(|value| value.len()),
        });
        match &record.value {
            None => row["skipped"] = json!("a tombstone"),
            Some(_) => match schemas.decode(&record).await {
                Ok(decoded) => read(&mut row, &decoded, &record, catalog),
                Err(Poison { reason, detail }) => {
                    row["problem"] = json!({"reason": reason.as_str(), "detail": detail});
                }
            },
        }
        rows.push(row);
    }
    Ok(rows)
}

fn read(row: &mut Value, decoded: &Decoded, record: &Record, catalog: &Catalog) {
    row["format"] = json!(&*decoded.codec);
    row["known_type"] = json!(catalog.get(&decoded.event.event_type).is_some());
    row["subject"] = json!(decoded.event.subject.as_deref());
    // As a receiver would get it, so that what is sensitive is shown to nobody.
    match message::body(&decoded.event, record.timestamp, catalog).map(|body| serde_json::from_slice::<Value>(&body)) {
        Ok(Ok(event)) => row["event"] = event,
        Ok(Err(error)) => row["problem"] = json!({"reason": "render", "detail": error.to_string()}),
        Err(error) => row["problem"] = json!({"reason": "render", "detail": error.to_string()}),
    }
}

async fn records<L: Log>(log: &L, topic: &Arc<str>, last: usize) -> Result<Vec<Record>, LogError> {
    let mut found = Vec::new();
    for partition in 0..partition_count(log, topic).await? {
        let place = TopicPartition { topic: topic.clone(), partition };
        let bounds = log.bounds(place.clone()).await?;
        let from = bounds.start.max(bounds.end - last as i64 * OFFSETS_PER_RECORD);
        let mut reader = log.reader(place, from).await?;
        let began = Instant::now();
        let mut here = Vec::new();
        while reader.position() < bounds.end && began.elapsed() < READ_TIMEOUT {
            here.extend(reader.next(Duration::from_millis(200)).await?);
        }
        here.drain(..here.len().saturating_sub(last));
        found.extend(here);
    }
    found.sort_by_key(|record: &Record| (record.timestamp, record.partition, record.offset));
    found.drain(..found.len().saturating_sub(last));
    Ok(found)
}
