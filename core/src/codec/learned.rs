//! Schemas learned from a registry, shared by all who decode in a process.
//!
//! Here is only what is known now. Who asks the registry, and for how long "there is none" holds, is decided where there is
//! a clock: [`Learned::forget`] is called from there.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock},
};

use super::{framing::SchemaRef, registered::Writer};

/// What is known of schemas. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Learned(Arc<RwLock<Known>>);

/// What was learned of one schema.
#[derive(Clone, Debug)]
pub enum Lesson {
    Writer(Arc<Writer>),
    /// It is there and cannot be read with; the text says why.
    Unusable(Arc<str>),
    /// The registry has none of this name.
    Absent,
}

#[derive(Debug, Default)]
struct Known {
    lessons: HashMap<SchemaRef, Lesson>,
    /// The oldest in front.
    present: VecDeque<SchemaRef>,
    absent: VecDeque<SchemaRef>,
}

/// The most schemas kept; beyond, the oldest is asked for again when it is needed.
pub const MAX_PRESENT: usize = 2_000;
/// The most names kept that a registry has no schema for. Apart, so that a flood of made-up ids displaces no schema.
pub const MAX_ABSENT: usize = 10_000;

// === impl Learned ===

impl Learned {
    pub fn get(&self, schema: &SchemaRef) -> Option<Lesson> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).lessons.get(schema).cloned()
    }

    pub fn learn(&self, schema: SchemaRef, lesson: Lesson) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.forget(&schema);
        let (order, max) = match lesson {
            Lesson::Absent => (&mut known.absent, MAX_ABSENT),
            _ => (&mut known.present, MAX_PRESENT),
        };
        order.push_back(schema);
        let oldest = if order.len() > max { order.pop_front() } else { None };
        if let Some(oldest) = oldest {
            known.lessons.remove(&oldest);
        }
        known.lessons.insert(schema, lesson);
    }

    pub fn forget(&self, schema: &SchemaRef) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).forget(schema);
    }

    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).lessons.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl Known ===

impl Known {
    fn forget(&mut self, schema: &SchemaRef) {
        if self.lessons.remove(schema).is_some() {
            self.present.retain(|known| known != schema);
            self.absent.retain(|known| known != schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_absent_ones_displace_no_schema() {
        let learned = Learned::default();
        for id in 0..MAX_PRESENT as u32 + 1 {
            learned.learn(SchemaRef::Id(id), Lesson::Unusable("".into()));
        }
        for id in 0..MAX_ABSENT as u32 + 1 {
            learned.learn(SchemaRef::Id(1_000_000 + id), Lesson::Absent);
        }
        assert_eq!(learned.len(), MAX_PRESENT + MAX_ABSENT);
        assert!(learned.get(&SchemaRef::Id(0)).is_none());
        assert!(learned.get(&SchemaRef::Id(1)).is_some());
        assert!(learned.get(&SchemaRef::Id(1_000_000)).is_none());
    }

    #[test]
    fn a_later_lesson_takes_the_place_of_an_earlier_one() {
        let (learned, schema) = (Learned::default(), SchemaRef::Id(1));
        learned.learn(schema, Lesson::Absent);
        learned.learn(schema, Lesson::Unusable("x".into()));
        assert!(matches!(learned.get(&schema), Some(Lesson::Unusable(_))));
        learned.forget(&schema);
        assert!(learned.get(&schema).is_none() && learned.is_empty());
    }
}
