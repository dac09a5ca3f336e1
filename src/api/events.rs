//! `POST /v1/events`: one event or many, answered when the log has them.
//!
//! Each is read by the decoder that matchers use, so that what is accepted here does not become a dead letter there. If
//! any is refused, none is written, and the answer names each refused one by its index.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{json, value::RawValue};
use tidings_core::{
    codec::{Poison, Reason},
    domain::{Event, Output, Record},
};

use super::{ApiError, ApiState, MAX_EVENTS_BODY, body, error::fault};
use crate::{log::Log, store::Store, telemetry::facts};

/// The most events of one request.
pub const MAX_EVENTS: usize = 10_000;

const MEDIA_TYPES: &str = "application/json, application/cloudevents+json, application/cloudevents-batch+json \
                           or application/x-ndjson";

pub async fn publish<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let media_type = body::media_type(request.headers());
    let split: fn(&Bytes) -> Result<Vec<Bytes>, ApiError> = match media_type.as_str() {
        "application/json" | "application/cloudevents+json" | "application/cloudevents-batch+json" => split_json,
        "application/x-ndjson" => split_lines,
        _ => return Err(ApiError::UnsupportedMediaType(MEDIA_TYPES)),
    };
    let bytes = body::bytes(request, &state, MAX_EVENTS_BODY).await?;
    let items = split(&bytes)?;
    if items.is_empty() || items.len() > MAX_EVENTS {
        return Err(ApiError::bad_request(format!("{} events; 1 to {MAX_EVENTS} are taken at a time", items.len())));
    }
    let mut outputs = Vec::with_capacity(items.len());
    let mut faults = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match read(&state, &item) {
            Ok(event) => outputs.push(Output {
                topic: state.topics.events[0].clone(),
                partition: None,
                key: key(&event),
                value: Some(item),
                headers: Vec::new(),
            }),
            Err(poison) => faults.push(fault(
                format!("[{index}]"),
                poison.to_string(),
                "a CloudEvent with a team, or {team, type, data}",
            )),
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::Invalid { message: "no event was published".to_owned(), faults });
    }
    let accepted = outputs.len();
    state.log.append(outputs).await?;
    facts::events_published(accepted);
    Ok((StatusCode::ACCEPTED, Json(json!({"accepted": accepted}))).into_response())
}

fn read<L: Log, S: Store>(state: &ApiState<L, S>, item: &Bytes) -> Result<Event, Poison> {
    if item.len() > state.max_event_bytes {
        let detail = format!("{} bytes; log.max_event_bytes is {}", item.len(), state.max_event_bytes);
        return Err(Poison::new(Reason::TooLarge, detail));
    }
    let record = Record {
        topic: state.topics.events[0].clone(),
        partition: 0,
        offset: 0,
        timestamp: super::now(),
        key: None,
        value: Some(item.clone()),
        headers: Vec::new(),
    };
    state.schemas.decoder().decode(&record).map(|decoded| decoded.event).map_err(Poison::from)
}

/// Events of one subject stay in order. Events without one are spread: a team's alone would fill one partition.
fn key(event: &Event) -> Option<Bytes> {
    event.subject.as_ref().map(|subject| Bytes::from(format!("{}/{subject}", event.team)))
}

/// The items of an array, or one object, each byte for byte as it came.
fn split_json(bytes: &Bytes) -> Result<Vec<Bytes>, ApiError> {
    let broken = |error: serde_json::Error| ApiError::bad_request(format!("not JSON: {error}"));
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let item: &RawValue = serde_json::from_slice(bytes).map_err(broken)?;
        return Ok(vec![bytes.slice_ref(item.get().as_bytes())]);
    }
    let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(broken)?;
    Ok(items.iter().map(|item| bytes.slice_ref(item.get().as_bytes())).collect())
}

/// One item a line; the decoder says what is wrong with a line that is no JSON.
fn split_lines(bytes: &Bytes) -> Result<Vec<Bytes>, ApiError> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    Ok(lines.map(|line| bytes.slice_ref(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(split: fn(&Bytes) -> Result<Vec<Bytes>, ApiError>, body: &'static str, expected: Option<&[&str]>) {
        let items = split(&Bytes::from_static(body.as_bytes())).ok();
        let items =
            items.map(|items| items.iter().map(|i| String::from_utf8_lossy(i).into_owned()).collect::<Vec<_>>());
        assert_eq!(items, expected.map(|list| list.iter().map(|item| (*item).to_owned()).collect()), "{body}");
    }

    #[test]
    fn items_stay_as_they_came() {
        check(split_json, " {\"a\": 1.50} ", Some(&["{\"a\": 1.50}"]));
        check(split_json, " [{\"a\" :1},\n{ }, 7]", Some(&["{\"a\" :1}", "{ }", "7"]));
        check(split_json, "[]", Some(&[]));
        check(split_json, "[{}", None);
        check(split_json, "", None);
        check(split_lines, "{\"a\":1}\r\n\n {}\nx", Some(&["{\"a\":1}", "{}", "x"]));
    }
}
