//! Answers come in, and what follows from each is decided and put into the ledger.

use super::{
    super::{
        Answered, Ticket,
        retry::{self, Decision, MAX_RETRY_AFTER_MS},
    },
    Place, Sender,
};
use crate::{
    directory::Directory,
    domain::{Attempt, Chance, Delivery, Outcome, Timestamp},
};

// === impl Sender ===

impl Sender {
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Answered,
        directory: &Directory,
        now: Timestamp,
        chance: &mut Chance,
    ) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        let (share, heard) = match item.place {
            Place::InFlight(share) => (share, true),
            Place::Abandoned(share) => (share, false),
            _ => return,
        };
        self.rings.ended(share);
        let lane = item.lane;
        if let Some(slot) = lane.and_then(|id| self.lanes.get_mut(&id)) {
            slot.lane.answered(ticket, answer.error, answer.duration_ms);
            if let Some(wait) = answer.retry_after_ms.filter(|ms| *ms > 0) {
                slot.lane.paused_until = slot.lane.paused_until.max(now.plus(wait.min(MAX_RETRY_AFTER_MS)));
            }
        }
        if heard {
            self.decide(ticket, answer, directory, now, chance);
        } else {
            self.items.remove(&ticket);
        }
        if let Some(id) = lane {
            self.file(id, now);
        }
    }

    pub(super) fn decide(
        &mut self,
        ticket: Ticket,
        answer: Answered,
        directory: &Directory,
        now: Timestamp,
        chance: &mut Chance,
    ) {
        let Some(item) = self.items.get_mut(&ticket) else { return };
        let attempt = item.attempts + 1;
        let delivery = item.delivery.clone();
        let result = retry::Result { error: answer.error, retry_after_ms: answer.retry_after_ms };
        let oldest = delivery.begins_at().plus(self.options.max_age_ms);
        let decision = match directory.destination(&delivery.team, &delivery.destination) {
            Some(destination) => match retry::decide(result, attempt, &destination.retry, now, chance) {
                Decision::Retry(due) if due > oldest => Decision::End(Outcome::Expired),
                decision => decision,
            },
            // Deleted while the request was under way.
            None if answer.error.is_some() => Decision::End(Outcome::Discarded),
            None => Decision::End(Outcome::Delivered),
        };
        let (outcome, next) = match decision {
            // Nothing left the house, so there is no attempt to write down.
            Decision::Again(due) => return self.park(ticket, None, due, now),
            Decision::Retry(due) => (None, Some(due)),
            Decision::End(outcome) => (Some(outcome), None),
        };
        item.attempts = attempt;
        let row = row(&delivery, attempt, &answer, outcome, next);
        match next {
            Some(due) => self.park(ticket, Some(row), due, now),
            None => self.end(ticket, row, now),
        }
    }

    pub(super) fn end_without_try(&mut self, ticket: Ticket, outcome: Outcome, now: Timestamp) {
        let Some(item) = self.items.get(&ticket) else { return };
        let none = Answered {
            at: now,
            duration_ms: 0,
            code: None,
            error: None,
            message: None,
            response: None,
            retry_after_ms: None,
        };
        let row = row(&item.delivery, 0, &none, Some(outcome), None);
        self.end(ticket, row, now);
    }
}

fn row(
    delivery: &Delivery,
    attempt: u32,
    answer: &Answered,
    outcome: Option<Outcome>,
    next: Option<Timestamp>,
) -> Attempt {
    Attempt {
        day: delivery.day,
        notification: delivery.id,
        attempt,
        team: delivery.team.clone(),
        subscription: delivery.subscription.clone(),
        destination: delivery.destination.clone(),
        event_type: delivery.event_type.clone(),
        event_id: delivery.event_id.clone(),
        position: delivery.position.clone(),
        content: Some(delivery.content()),
        index_version: delivery.index_version,
        at: answer.at,
        duration_ms: answer.duration_ms,
        code: answer.code,
        error: answer.error,
        message: answer.message.clone(),
        response: answer.response.clone(),
        outcome,
        next_attempt_at: next,
    }
}
