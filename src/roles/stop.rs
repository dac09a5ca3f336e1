//! The order to stop, given once and heard by every loop.

use tokio::sync::watch;

/// Tells loops to end in good order.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Hears of the order to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

pub fn stop_pair() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

// === impl Stopper ===

impl Stopper {
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    pub fn listener(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

// === impl Stop ===

impl Stop {
    /// Waits for the order. Cancel safe. If the stopper is gone without a word, that is an order too.
    pub async fn ordered(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    pub fn is_ordered(&self) -> bool {
        *self.0.borrow()
    }
}
