//! A record and a directory → the event, and the rules that it matches.
//!
//! Of the usual envelope of JSON, and of Avro of the catalog's own schemas, only the fields that filters ask for are taken out. Where
//! that does not do, be it that a filter is to be tried by itself or that something is unusual or wrong, the whole is read, whose verdict
//! counts.

use std::{borrow::Cow, hash::BuildHasher, sync::Arc};

use crate::{
    codec::{Attributes, Decoded, Decoder, Poison, Read, Reason, Undecoded, Unread, tape::Tape},
    directory::Directory,
    domain::{Record, Timestamp},
    filter::{Addressed, AvroPrograms, FixedState, Of, Room, Rule, Scanner},
};

/// How events are read and matched, one after another.
#[derive(Default)]
pub(super) struct Reading {
    tape: Tape,
    scanner: Scanner,
    habits: Habits,
    programs: AvroPrograms,
    room: Room,
}

/// An event and the rules that it matches; its data may be empty.
pub(super) type Found<'d> = (Decoded, Vec<&'d Arc<Rule>>);

/// Which teams' events of which types had to be read whole the last time: mostly all of them have to, and need not be begun twice.
#[derive(Default)]
struct Habits {
    /// Empty until there is one. Each in the place of its hash, and how many more events are not even begun.
    last: Vec<(u64, u8)>,
}

/// Rules whose subscriptions are on their way while the event's attributes are read.
const FETCHED_RULES: usize = 8;
/// Habits that are known at a time.
const MAX_HABITS: usize = 1024;
/// After so many events it is tried again.
const AGAIN_AFTER: u8 = 100;

// === impl Reading ===

impl Reading {
    pub fn matching<'d>(
        &mut self,
        record: &Record,
        directory: &'d Directory,
        decoder: &Decoder,
    ) -> Result<Found<'d>, Unread> {
        let in_part = self.json(record, directory, decoder).or_else(|| self.avro(record, directory, decoder));
        in_part.map_or_else(|| self.whole(record, directory, decoder), Ok)
    }

    /// `None`: the rest is for others, of which [`Habits`] may have told before.
    pub fn json<'d>(&mut self, record: &Record, directory: &'d Directory, decoder: &Decoder) -> Option<Found<'d>> {
        let Reading { scanner, habits, .. } = self;
        let (source, text) = decoder.enveloped(record)?;
        let mut rules = Vec::new();
        // Of whom something new is learnt, should it come to nothing.
        let mut begun = None;
        let named = |addressed| {
            if habits.say_whole(addressed) {
                return None;
            }
            begun = Some(addressed);
            decoder.named(source, addressed.event_type)
        };
        let Some((head, event_type)) = directory.matching_json(text, named, scanner, &mut rules) else {
            begun.into_iter().for_each(|addressed| habits.learn(addressed));
            return None;
        };
        rules.iter().take(FETCHED_RULES).for_each(|rule| rule.fetch());
        let time = match head.time {
            Some(text) => Some(Timestamp::parse(text)?),
            None => None,
        };
        let attributes = Attributes {
            event_type: None,
            team: Some(head.team.into()),
            id: head.id.map(Cow::from),
            source: head.source.map(Cow::from),
            subject: head.subject.map(Cow::from),
            time,
        };
        Some((decoder.attributed(record, source, attributes, event_type)?, rules))
    }

    pub fn avro<'d>(&mut self, record: &Record, directory: &'d Directory, decoder: &Decoder) -> Option<Found<'d>> {
        let Undecoded { decoded, shape, datum } = decoder.undecoded(record)?;
        let rules = directory.matching_avro(&decoded.event, shape, datum, &mut self.programs)?;
        Some((decoded, rules))
    }

    pub fn whole<'d>(
        &mut self,
        record: &Record,
        directory: &'d Directory,
        decoder: &Decoder,
    ) -> Result<Found<'d>, Unread> {
        let Reading { tape, room, .. } = self;
        let Read { decoded, data } = decoder.read(record, tape)?;
        let event = &decoded.event;
        let rules = match data {
            Some(datum) => directory.matching_within(&event.team, &event.event_type, Of { datum, event }, room),
            None => directory.matching_within(&event.team, &event.event_type, Of { datum: &event.data, event }, room),
        };
        let rules = rules.map_err(|costly| Poison::new(Reason::FilterTooCostly, costly.to_string()))?;
        Ok((decoded, rules))
    }
}

#[cfg(test)]
impl Reading {
    pub fn without_habits(&mut self) -> &mut Reading {
        self.habits = Habits::default();
        self
    }
}

// === impl Habits ===

impl Habits {
    fn say_whole(&mut self, addressed: Addressed<'_>) -> bool {
        if self.last.is_empty() {
            return false;
        }
        let hash = hash(addressed);
        let (known, left) = &mut self.last[hash as usize % MAX_HABITS];
        let says = *known == hash && *left > 0;
        *left -= u8::from(says);
        says
    }

    fn learn(&mut self, addressed: Addressed<'_>) {
        self.last.resize(MAX_HABITS, (0, 0));
        let hash = hash(addressed);
        self.last[hash as usize % MAX_HABITS] = (hash, AGAIN_AFTER);
    }
}

fn hash(Addressed { team, event_type }: Addressed<'_>) -> u64 {
    FixedState::default().hash_one((team, event_type))
}
