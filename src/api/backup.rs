//! `GET /v1/backup`: the whole installation as one file, while it goes on working.

use std::{io, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::sync::mpsc;

use super::{ApiError, ApiState, now};
use crate::{backup::BackupError, log::Log, store::Store, telemetry::facts};

/// Bytes of one piece of the stream.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that may wait for a slow reader; then the copying waits.
const MAX_WAITING: usize = 8;

/// Gives what is written to whoever reads the answer.
struct Pieces {
    send: mpsc::Sender<io::Result<Bytes>>,
}

pub async fn make<L: Log, S: Store>(State(state): State<Arc<ApiState<L, S>>>) -> Result<Response, ApiError> {
    let Some(backups) = &state.backups else {
        let message = "a backup is of the embedded mode; in distributed mode the store, the topics and the key ring \
                       have backups of their own: see docs/OPERATIONS.md";
        return Err(ApiError::Conflict(message.to_owned()));
    };
    let moment = backups.moment(now()).await?;
    facts::backup_begun(moment.held());
    let (send, mut pieces) = mpsc::channel(MAX_WAITING);
    let broken = send.clone();
    tokio::task::spawn_blocking(move || {
        match moment.write(io::BufWriter::with_capacity(PIECE_BYTES, Pieces { send })) {
            Ok(()) => facts::backed_up(),
            Err(error) => {
                facts::backup_failed(&error.to_string());
                // Breaks the answer off, so that nobody takes the part for the whole.
                let _ = broken.blocking_send(Err(io::Error::other(error.to_string())));
            }
        }
    });
    let stream = stream::poll_fn(move |context| pieces.poll_recv(context));
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(stream)).into_response())
}

// === impl Pieces ===

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the backup any longer");
        self.send.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> ApiError {
        match error {
            BackupError::Busy => ApiError::Conflict("another backup is under way".to_owned()),
            BackupError::Log(error) => error.into(),
            BackupError::Database(..) | BackupError::Io(..) => ApiError::Unavailable(error.to_string()),
            BackupError::Unsound(_) | BackupError::Occupied(_) => ApiError::Internal(error.to_string()),
        }
    }
}
