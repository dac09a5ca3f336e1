//! What matching may cost: counted in units of work, never in time, so that the answer is the same on every machine.
//!
//! A unit is about a nanosecond of one core at its worst. What is counted is what grows with the event or with the filter: values that
//! are looked at, names that are compared, bytes that are gone through. [`metered`](super::metered) spends; each amount below is
//! an upper bound, known before the work is done. `core/tests/filter_cost.rs` holds the units against a clock.
//!
//! A filter beyond its budget has neither matched nor not: [`TooCostly`] says so, and the event is set aside.

use std::{fmt, ptr};

use super::{Datum, Rule};
use crate::domain::SubscriptionId;

/// The most that one filter may cost on one event, in units: a millisecond.
pub const MAX_COST: u32 = 1_000_000;
/// The most that all filters together may cost on one event, as far as the index leaves them to be tried one by one, in units.
pub const MAX_EVENT_COST: u32 = 50 * MAX_COST;
/// The most that the values of one field may weigh for the index to look them up for all filters at once, in bytes: a value counts
/// [`VALUE_WEIGHT`], and a text its own length too. What weighs more is left to be tried filter by filter, each on its budget.
pub const MAX_FIELD_WEIGHT: usize = 64 * 1024;
/// What any value weighs, in bytes.
pub const VALUE_WEIGHT: usize = 8;

/// To go on to a condition, and to a value.
pub(super) const STEP: usize = 10;
/// To read a condition from where it is packed.
pub(super) const ITEM: usize = 16;
/// To read a number, beside its digits.
pub(super) const NUMBER: usize = 18;
/// To look a literal up in a set, beside its length.
pub(super) const LOOK_UP: usize = 42;
/// One comparison of short things.
pub(super) const COMPARISON: usize = 6;
/// What a comparison in any case costs more than one in its own.
pub(super) const ANY_CASE: usize = 10;
/// To begin a search in a text.
pub(super) const SEARCH: usize = 60;
/// To search one byte of a text: where the text nearly has what is looked for everywhere, 1.6 ns were measured.
pub(super) const SEARCHED: usize = 2;
/// To read a text as a version, an address or a time.
pub(super) const READING: usize = 200;
/// Bytes that are compared, hashed or lowered in a unit.
pub(super) const COMPARED: usize = 8;
/// To lower a text that is not all ASCII: of each byte of a character beyond it, and of each character within.
pub(super) const LOWERED: usize = 20;
pub(super) const LOWERED_ASCII: usize = 6;
/// A version longer than this may be one of many parts, each of which is read and compared by itself.
pub(super) const PLAIN_VERSION: usize = 32;

/// What one filter may still cost on one event.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u32,
    of: u32,
}

/// A filter, or all filters together, cost more than they may: nothing can be said of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TooCostly {
    /// Whose filter it is, where that is known.
    pub subscription: Option<SubscriptionId>,
    /// [`MAX_COST`], or [`MAX_EVENT_COST`] if it was this filter's turn when that was spent.
    pub bound: u32,
}

/// What the filters of one event have cost together, and which of them was the first to cost too much.
#[derive(Clone, Debug)]
pub struct Bill {
    left: u32,
    too_costly: Option<TooCostly>,
    /// The rule tried last and its answer: its rows stand side by side, and it is the same for all of them.
    last: Option<(*const Rule, bool)>,
}

// === impl Budget ===

impl Budget {
    /// [`MAX_COST`].
    pub fn new() -> Budget {
        Budget::of(MAX_COST)
    }

    fn of(units: u32) -> Budget {
        Budget { left: units, of: units }
    }

    /// Units spent so far.
    pub fn spent(&self) -> u32 {
        self.of - self.left
    }

    pub(super) fn spend(&mut self, units: usize) -> Result<(), TooCostly> {
        match u32::try_from(units).ok().and_then(|units| self.left.checked_sub(units)) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(TooCostly { subscription: None, bound: MAX_COST })
            }
        }
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

// === impl Bill ===

impl Bill {
    pub(super) fn new() -> Bill {
        Bill { left: MAX_EVENT_COST, too_costly: None, last: None }
    }

    /// Whether a rule holds of an event of its team; false, and written down, where that costs too much. After that nothing is tried.
    pub(super) fn holds<'a>(&mut self, rule: &Rule, event_type: &str, data: impl Datum<'a>) -> bool {
        if self.too_costly.is_some() {
            return false;
        }
        if let Some((_, answer)) = self.last.filter(|(last, _)| ptr::eq(*last, rule)) {
            return answer;
        }
        let answer = rule.holds_within(event_type, data, &mut self.left).unwrap_or_else(|too_costly| {
            self.too_costly = Some(too_costly);
            false
        });
        self.last = Some((rule, answer));
        answer
    }

    /// `found`, unless something was too costly to be found.
    pub(super) fn or<T>(self, found: T) -> Result<T, TooCostly> {
        self.too_costly.map_or(Ok(found), Err)
    }
}

// === impl TooCostly ===

impl fmt::Display for TooCostly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subscription {
            Some(id) => write!(f, "the filter of subscription {id}")?,
            None => f.write_str("the filter")?,
        }
        match self.bound {
            MAX_EVENT_COST => {
                write!(f, " and those before it cost more than {MAX_EVENT_COST} units on this event, the most of all")
            }
            bound => write!(f, " costs more than {bound} units on this event, the most of one filter"),
        }
    }
}
