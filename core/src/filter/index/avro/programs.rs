//! The programs of the schemas that events come in, each made when it is first met.

use std::{collections::HashMap, sync::Arc};

use super::{super::Index, AvroProgram};
use crate::{
    catalog::Shape,
    codec::tape::Unusual,
    filter::{Rule, Scanner},
};

/// For one thread. The programs are those of the index that was asked last: with other fields in use they are made anew.
#[derive(Debug, Default)]
pub struct AvroPrograms {
    /// Which projection they are made of.
    of: Option<Arc<()>>,
    /// By the address of the shape, which is kept so that it stays where it is.
    made: HashMap<usize, (Arc<Shape>, Option<AvroProgram>)>,
    scanner: Scanner,
}

/// More schemas than that are forgotten.
const MAX_SCHEMAS: usize = 10_000;

// === impl AvroPrograms ===

impl AvroPrograms {
    pub fn new() -> AvroPrograms {
        AvroPrograms::default()
    }

    /// What [`Index::matching_within`] finds for the same event, in which there is nothing to be paid for: as [`AvroPrograms::matching`],
    /// but [`Unusual`] also for data whose inner arrays and objects the reader of the whole would weigh.
    pub fn matching_within<'i>(
        &mut self,
        index: &'i Index,
        of: (&str, &str),
        shape: &Arc<Shape>,
        datum: &[u8],
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Result<(), Unusual> {
        self.matching_by(index, of, shape, datum, found, |program| !program.weighs_less)
    }

    /// What [`Index::matching`] finds for the same event, whatever it would cost to read it whole: as soon as one filter would
    /// have to be tried by itself, and for data that are not of that shape, the answer is [`Unusual`]. Then nothing is added to
    /// `found`, and the whole event must be read, whose verdict counts.
    pub fn matching<'i>(
        &mut self,
        index: &'i Index,
        of: (&str, &str),
        shape: &Arc<Shape>,
        datum: &[u8],
        found: &mut Vec<&'i Arc<Rule>>,
    ) -> Result<(), Unusual> {
        self.matching_by(index, of, shape, datum, found, |_| true)
    }

    fn matching_by<'i>(
        &mut self,
        index: &'i Index,
        (team, event_type): (&str, &str),
        shape: &Arc<Shape>,
        datum: &[u8],
        found: &mut Vec<&'i Arc<Rule>>,
        is_good: impl Fn(&AvroProgram) -> bool,
    ) -> Result<(), Unusual> {
        let projection = index.projection().ok_or(Unusual)?;
        if self.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &projection.identity)) || self.made.len() > MAX_SCHEMAS {
            self.of = Some(projection.identity.clone());
            self.made.clear();
        }
        let address = Arc::as_ptr(shape) as usize;
        let make = || (shape.clone(), AvroProgram::of(shape, projection));
        let (_, program) = self.made.entry(address).or_insert_with(make);
        let program = program.as_ref().filter(|program| is_good(program)).ok_or(Unusual)?;
        index.matching_avro((team, event_type), program, datum, &mut self.scanner, found)
    }
}
