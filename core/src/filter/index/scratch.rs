//! What an event is matched with on the way, and its room, which is used again for the next event.

use std::{mem, sync::Arc};

use super::answer::{Answer, Rows};
use crate::filter::{Rule, literals::Scalar};

/// Room for one event, used again for the next block.
#[derive(Debug, Default)]
pub struct Scratch<'i, 'a> {
    pub(super) many: Vec<Scalar<'a>>,
    /// Rows that a predicate adds or, if true, takes away.
    pub(super) held: Vec<(Rows<'i>, bool)>,
    pub(super) answers: Vec<Answer<'i>>,
    /// Of a partition in layers, what was found, by what orders it.
    pub(super) ordered: Vec<(u64, &'i Arc<Rule>)>,
    /// In a place of its own: a scratch is moved for every event.
    pub(super) sets: Box<Sets>,
}

/// What of a [`Scratch`] is of no event.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub hits: Vec<u32>,
    /// By column, where its answers end.
    pub ends: Vec<usize>,
    pub candidates: Vec<u64>,
    /// Rows that ask for what only plain evaluation can tell. Empty: none do.
    pub unclear: Vec<u64>,
    pub accepted: Vec<u64>,
    pub one: Vec<u64>,
    pub list: Vec<u32>,
}

/// The room of a [`Scratch`] between two events.
#[derive(Debug, Default)]
pub struct Room {
    many: Vec<Scalar<'static>>,
    held: Vec<(Rows<'static>, bool)>,
    answers: Vec<Answer<'static>>,
    ordered: Vec<(u64, &'static Arc<Rule>)>,
    sets: Option<Box<Sets>>,
}

// === impl Room ===

impl Room {
    pub fn lend<'i, 'a>(&mut self) -> Scratch<'i, 'a> {
        let Room { many, held, answers, ordered, sets } = self;
        Scratch {
            many: emptied(many),
            held: emptied(held),
            answers: emptied(answers),
            ordered: emptied(ordered),
            sets: sets.take().unwrap_or_default(),
        }
    }

    pub fn of(scratch: Scratch<'_, '_>) -> Room {
        let Scratch { mut many, mut held, mut answers, mut ordered, sets } = scratch;
        Room {
            many: emptied(&mut many),
            held: emptied(&mut held),
            answers: emptied(&mut answers),
            ordered: emptied(&mut ordered),
            sets: Some(sets),
        }
    }
}

/// The same memory for another lifetime: collecting takes over the source's.
fn emptied<A, B>(full: &mut Vec<A>) -> Vec<B> {
    full.clear();
    if full.capacity() == 0 {
        return Vec::new();
    }
    mem::take(full).into_iter().filter_map(|_| None).collect()
}
