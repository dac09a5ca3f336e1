//! Holding the writer, so that nothing changes while somebody looks at the file and at what else must be of that moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::log::LogError;

/// While this is held, the log takes no writes; they wait. Dropping it lets them go on.
pub struct Held {
    release: mpsc::Sender<()>,
    overdue: Arc<AtomicBool>,
    since: Instant,
}

/// The writer's side.
pub(super) struct Hold {
    pub reply: oneshot::Sender<()>,
    pub released: mpsc::Receiver<()>,
    pub overdue: Arc<AtomicBool>,
}

/// The longest hold. Whoever takes longer has held nothing.
const MAX_HOLD: Duration = Duration::from_secs(5);

// === impl Held ===

impl Held {
    pub(super) fn new(reply: oneshot::Sender<()>) -> (Held, Hold) {
        let (release, released) = mpsc::channel();
        let overdue = Arc::new(AtomicBool::new(false));
        let held = Held { release, overdue: overdue.clone(), since: Instant::now() };
        (held, Hold { reply, released, overdue })
    }

    /// For how long it was held, or that it was not held to this moment.
    pub fn release(self) -> Result<Duration, LogError> {
        let took = self.since.elapsed();
        // Said first: a writer that has gone on does not listen, and has said so before it went on.
        let _ = self.release.send(());
        match self.overdue.load(Ordering::SeqCst) {
            false => Ok(took),
            true => Err(LogError::Unavailable(format!("the log's writer was needed for longer than {MAX_HOLD:?}"))),
        }
    }
}

// === impl Hold ===

impl Hold {
    /// Called by the writer between two commits.
    pub fn wait(self) {
        if self.reply.send(()).is_err() {
            return;
        }
        if self.released.recv_timeout(MAX_HOLD) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.overdue.store(true, Ordering::SeqCst);
        }
    }
}
