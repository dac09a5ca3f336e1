//! Calls that may never come back, made on a thread of their own and given up in time.
//!
//! librdkafka 2.12 asks a group's coordinator by a request that has a time limit which nothing looks at (`creq_ts_timeout` in
//! `rdkafka_coord.c`): after some failures it waits for the next broker whose connection comes or goes. When a broker comes back and
//! that was the last such change, `send_offsets_to_transaction` never returns
//! ([issue 5456](https://github.com/confluentinc/librdkafka/issues/5456)). Two matchers stood still like that, without a word, until they
//! were started again.
//!
//! Nobody can end such a call. Who waits for it gives up, and thread and client stay behind until it comes back after all.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A thread that makes calls on one subject, one after the other.
pub(super) struct Caller<S> {
    calls: Option<mpsc::Sender<Call<S>>>,
    thread: Option<JoinHandle<()>>,
    /// A call has not come back: no other is made.
    stuck: AtomicBool,
}

type Call<S> = Box<dyn FnOnce(&S) + Send>;

// === impl Caller ===

impl<S: Send + Sync + 'static> Caller<S> {
    pub(super) fn new(subject: Arc<S>) -> io::Result<Caller<S>> {
        let (calls, received) = mpsc::channel::<Call<S>>();
        let work = move || received.into_iter().for_each(|call| call(&subject));
        let thread = thread::Builder::new().name("kafka calls".to_owned()).spawn(work)?;
        Ok(Caller { calls: Some(calls), thread: Some(thread), stuck: AtomicBool::new(false) })
    }

    /// What the call answers; `None` if it does not within this time, or one before it did not.
    pub(super) fn call<T: Send + 'static>(
        &self,
        within: Duration,
        call: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Option<T> {
        if self.stuck.load(Ordering::Relaxed) {
            return None;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let call = move |subject: &S| drop(answer.send(call(subject)));
        let sent = self.calls.as_ref().is_some_and(|calls| calls.send(Box::new(call)).is_ok());
        let answer = answered.recv_timeout(within).ok().filter(|_| sent);
        if answer.is_none() {
            self.stuck.store(true, Ordering::Relaxed);
        }
        answer
    }
}

impl<S> Drop for Caller<S> {
    /// Waits for the thread to let go of the subject, unless that may take for ever.
    fn drop(&mut self) {
        drop(self.calls.take());
        if !self.stuck.load(Ordering::Relaxed)
            && let Some(thread) = self.thread.take()
        {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn calls_are_made_in_order_and_answered() {
        let caller = Caller::new(Arc::new(std::sync::Mutex::new(0))).unwrap();
        for n in 1..=3 {
            let counted = caller.call(LONG, |count| {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count
            });
            assert_eq!(counted, Some(n));
        }
    }

    #[test]
    fn what_does_not_come_back_is_left_behind_and_nobody_waits_for_it() {
        let subject = Arc::new(());
        let (release, held) = mpsc::channel::<()>();
        let began = Instant::now();
        let caller = Caller::new(subject.clone()).unwrap();
        assert_eq!(caller.call(SHORT, move |()| held.recv().is_ok()), None);
        assert_eq!(caller.call(LONG, |()| ()), None, "not queued behind it");
        drop(caller);
        assert!(began.elapsed() < LONG / 2);

        // Once it comes back, the thread lets go.
        assert_eq!(Arc::strong_count(&subject), 2);
        drop(release);
        while Arc::strong_count(&subject) > 1 {
            assert!(began.elapsed() < LONG, "the subject is still held");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn nothing_is_held_once_it_is_dropped() {
        let subject = Arc::new(());
        let caller = Caller::new(subject.clone()).unwrap();
        assert_eq!(caller.call(LONG, |()| 7), Some(7));
        drop(caller);
        assert_eq!(Arc::strong_count(&subject), 1);
    }

    #[test]
    fn a_call_that_panics_is_one_that_does_not_come_back() {
        let caller = Caller::new(Arc::new(())).unwrap();
        assert_eq!(caller.call(LONG, |()| -> u8 { panic!("as planned") }), None);
    }
}
