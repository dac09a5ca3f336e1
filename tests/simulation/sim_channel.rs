//! Receivers of every temper, and a channel to them that may lose requests and answers.

use std::time::Duration;

use tidings::channels::{Answer, Channel, Failure, Job};
use tidings_core::domain::{ErrorClass, Timestamp};

use crate::{
    faults::Fault,
    world::{Process, Request, World},
};

/// One process's way to the receivers.
pub struct SimChannel {
    pub world: World,
    pub process: Process,
}

/// How a receiver answers. Told by the destination's name, so that the world needs no second table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    Healthy,
    /// 500 for the first two tries of each notification.
    FailsTwice,
    /// Takes the request and never answers; well again once the storm is over.
    Hanging,
    /// Refuses the connection.
    Dead,
    /// 429 with `Retry-After` now and then.
    Busy,
    /// Healthy, with a rate limit on our side.
    Limited,
}

pub const TEMPERS: [(&str, Temper); 6] = [
    ("healthy", Temper::Healthy),
    ("fails-twice", Temper::FailsTwice),
    ("hanging", Temper::Hanging),
    ("dead", Temper::Dead),
    ("busy", Temper::Busy),
    ("limited", Temper::Limited),
];

pub fn temper(destination: &str) -> Temper {
    let found = TEMPERS.iter().find(|(name, _)| destination.starts_with(name));
    found.map(|(_, temper)| *temper).expect("every destination's name begins with its temper")
}

// === impl SimChannel ===

impl SimChannel {
    /// Writes down what the receiver sees, and checks that it should see it.
    fn received(&self, job: &Job, accepted: bool, heard: bool) {
        let at = self.world.now();
        let destination = job.destination.id.to_string();
        self.world.note(format!(
            "p{} request {} to {destination} attempt {} accepted {accepted} heard {heard}",
            self.process.0, job.notification, job.attempt
        ));
        crate::checkers::may_be_sent(&self.world, self.process, job.notification);
        let (process, notification, team) = (self.process, job.notification, job.destination.team.to_string());
        let request = Request { at, process, notification, team, destination, accepted, heard };
        let mut state = self.world.state();
        *state.seen.entry(job.notification).or_default() += 1;
        state.requests.push(request);
    }
}

impl Channel for SimChannel {
    async fn deliver(&self, job: Job) -> Answer {
        let at = self.world.now();
        let timeout = u64::from(job.destination.webhook.timeout_ms);
        self.world.thaw(self.process).await;
        let (request_lost, answer_lost, travel, service) = {
            let mut state = self.world.state();
            let request_lost = state.strikes(Fault::RequestLost);
            let answer_lost = state.strikes(Fault::AnswerLost);
            (request_lost, answer_lost, 1 + state.chance.below(10), state.chance.below(20))
        };
        if request_lost {
            tokio::time::sleep(Duration::from_millis(timeout)).await;
            return failed(at, self.world.now(), None, ErrorClass::Timeout, None);
        }
        tokio::time::sleep(Duration::from_millis(travel)).await;
        let seen_before = self.world.state().seen.get(&job.notification).copied().unwrap_or(0);
        let code = match temper(job.destination.id.as_str()) {
            Temper::Hanging if !self.world.state().calm => {
                self.received(&job, false, false);
                tokio::time::sleep(Duration::from_millis(timeout - travel)).await;
                return failed(at, self.world.now(), None, ErrorClass::Timeout, None);
            }
            Temper::Dead => return failed(at, self.world.now(), None, ErrorClass::Connect, None),
            Temper::FailsTwice if seen_before < 2 => 500,
            Temper::Busy if self.world.state().chance.one_in(10) => 429,
            _ => 200,
        };
        let accepted = code == 200;
        self.received(&job, accepted, !answer_lost);
        tokio::time::sleep(Duration::from_millis(service)).await;
        if answer_lost {
            tokio::time::sleep(Duration::from_millis(timeout - travel - service)).await;
            return failed(at, self.world.now(), None, ErrorClass::Timeout, None);
        }
        match code {
            200 => {
                let duration_ms = self.world.now().since(at) as u32;
                Answer { at, duration_ms, code: Some(200), failure: None, response: None }
            }
            429 => failed(at, self.world.now(), Some(429), ErrorClass::RateLimited, Some(3_000)),
            _ => failed(at, self.world.now(), Some(500), ErrorClass::ServerError, None),
        }
    }
}

fn failed(at: Timestamp, now: Timestamp, code: Option<u16>, class: ErrorClass, retry_after_ms: Option<i64>) -> Answer {
    let failure = Some(Failure { class, message: class.to_string(), retry_after_ms });
    Answer { at, duration_ms: now.since(at) as u32, code, failure, response: None }
}
