//! `POST /v1/replays`: matches a range of events again, answered line by line while it goes on.
//!
//! The answer is one JSON object a line, the last one `finished`, `complete` or `error`. Whoever breaks the connection off
//! ends the replay; asked for again, it goes on where it was.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::{
    domain::TopicPartition,
    replay::{Basis, Marker, Range},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    ApiError, ApiState,
    body::{self, JsonBody},
};
use crate::{
    log::Log,
    roles::replay::{ReplayError, Request, Told},
    store::Store,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    topic: Arc<str>,
    partition: u32,
    /// The first offset.
    from: i64,
    /// The first offset that is not meant.
    to: i64,
    /// Against the directory as it is now.
    #[serde(default)]
    now: bool,
    #[serde(default)]
    dry_run: bool,
    /// From the beginning, whatever an earlier run has done.
    #[serde(default)]
    again: bool,
}

/// Lines that may wait for a slow reader; then the replay waits.
const MAX_WAITING: usize = 16;

pub async fn start<L: Log, S: Store>(
    State(state): State<Arc<ApiState<L, S>>>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let asked: ReplayRequest = body::typed("the request", body::object(body, &[])?)?;
    let partition = TopicPartition { topic: asked.topic, partition: asked.partition };
    let request = Request {
        range: Range { partition, from: asked.from, to: asked.to },
        basis: if asked.now { Basis::Now } else { Basis::Recorded },
        dry_run: asked.dry_run,
        again: asked.again,
    };
    state.replays.check(&request.range).await?;
    let (tell, told) = mpsc::channel(MAX_WAITING);
    let replays = state.replays.clone();
    let job = tokio::spawn(async move { replays.run(&request, &tell).await });
    let lines = stream::unfold((told, Some(job)), next_line);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

type Lines = (mpsc::Receiver<Told>, Option<JoinHandle<Result<(), ReplayError>>>);

async fn next_line((mut told, mut job): Lines) -> Option<(Result<Bytes, Infallible>, Lines)> {
    let line = match told.recv().await {
        Some(told) => shown(told),
        // Nothing more is told: it has finished, and said so, or broken off.
        None => match job.take()?.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => ApiError::from(error).body().1,
            Err(error) => ApiError::Internal(format!("a replay broke off: {error}")).body().1,
        },
    };
    Some((Ok(Bytes::from(format!("{line}\n"))), (told, job)))
}

fn shown(told: Told) -> Value {
    let place = |Marker { next, index_version, counts }: Marker| {
        let mut place = json!({"next": next, "index_version": index_version});
        let counts = json!(counts);
        counts.as_object().into_iter().flatten().for_each(|(name, count)| place[name] = count.clone());
        place
    };
    match told {
        Told::Preparing => json!({"preparing": true}),
        Told::Forgotten { first, kept_from } => json!({"forgotten": {"first": first, "kept_from": kept_from}}),
        Told::Resumed(marker) => json!({"resumed": place(marker)}),
        Told::Progress(marker) => json!({"progress": place(marker)}),
        Told::Finished(marker) => json!({"finished": place(marker)}),
        Told::Complete(marker, newest) => {
            let mut complete = place(marker);
            complete["newest_index_version"] = json!(newest);
            json!({"complete": complete})
        }
    }
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> ApiError {
        match error {
            ReplayError::NoSuchTopic(topic) => ApiError::NotFound(format!("{topic} is no topic of events here")),
            ReplayError::Refused(faults) => {
                ApiError::Invalid { message: "this range cannot be replayed".to_owned(), faults }
            }
            ReplayError::Log(crate::log::LogError::Fenced(_)) => {
                ApiError::Conflict("another replay of this partition has taken over".to_owned())
            }
            ReplayError::Log(error) => error.into(),
            ReplayError::Store(error) => error.into(),
            ReplayError::NoDirectory => ApiError::Unavailable("the directory is not read yet".to_owned()),
            ReplayError::Unheard => ApiError::Internal("a replay went on for nobody".to_owned()),
        }
    }
}
