//! What a subscription's filter means, and which subscriptions an event matches.
//!
//! The language is that of Amazon EventBridge patterns: fields are AND-ed, the alternatives of one field are OR-ed.
//! `{"licenseType": ["paid", "community"], "licenseFields": {"seats": [{"numeric": [">", 99]}]}}`
//!
//! The room knows no clock and no limits on deliveries, and does *not* decide what is done with a match.
//!
//! A filter becomes an answer through four types, each in its own file:
//!
//! - JSON → [`Pattern`]: one walk over the text ([`read`], [`operators`], [`dialects`]). Afterwards the form is right and within its
//!   bounds (below); nothing is known about the event type.
//! - [`Pattern`] → [`Clause`]: one look-up per filter key in the catalog entry. Afterwards every key leads to a field of
//!   the data, and every value and operator is one that the event type offers. [`naive`] is plain evaluation: the
//!   reference that every faster engine must agree with. [`metered`] is the same within a [`Budget`]: no filter takes an event's time
//!   from the others.
//!   A clause is kept [`packed`], in one piece of memory.
//! - [`Clause`]s → [`Rule`]: a subscription and its clauses, any of which may match. A selector of several types (a category,
//!   everything critical) makes a clause for each.
//! - [`Rule`]s → [`Index`]: by team and event type, and there field by field. Afterwards one look at each field tells all the rules that match.
//!
//! [`Clause::explain`] tells condition by condition why a clause matched or did not; [`Fault`] says what is wrong with a
//! filter; [`Number`] is how numbers compare, [`TextTest`], [`Wildcard`], [`Network`], [`Version`] and [`TimeTest`] how texts do.
//!
//! What each operator means, with examples that are run as tests, is in `docs/FILTERS.md`: of absent fields, types, case, arrays, equal
//! keys and the precision of numbers too. [`naive`] is the same in code.

use std::hash::{BuildHasherDefault, DefaultHasher};

mod alternatives;
mod budget;
mod clause;
mod coded;
mod datum;
mod dialects;
mod explain;
mod fault;
mod index;
mod literals;
mod metered;
mod moment;
mod naive;
mod network;
mod number;
mod operators;
mod packed;
mod pattern;
mod read;
mod rule;
mod selection;
mod text;
mod version;
mod wildcard;

pub use budget::{Budget, MAX_COST, MAX_EVENT_COST, MAX_FIELD_WEIGHT, TooCostly, VALUE_WEIGHT};
pub use clause::{Clause, NEEDS_CONDITIONS, compile};
pub use datum::{Datum, Look, Of};
pub use explain::{Condition, SelectorExplanation};
pub use fault::{Fault, MAX_FAULTS, Path, shown};
pub use index::{Addressed, AvroProgram, AvroPrograms, Head, Index, PartitionStats, Room, Scanner, Stats};
pub use moment::{MAX_OFFSET_DAYS, Moment, Side, TimeTest};
pub use network::Network;
pub use number::Number;
pub use pattern::{Attribute, Literal, Node, Nodes, Pattern, Test, Tests};
pub use rule::{MAX_CLAUSES, Rule};
pub use selection::compile_all;
pub use text::TextTest;
pub use version::{MAX_VERSION, Version, VersionRange};
pub use wildcard::{MAX_GAPS, Wildcard};

pub(crate) use fault::Faults;

/// A hasher with fixed keys: the same directory is the same structure everywhere.
pub(crate) type FixedState = BuildHasherDefault<DefaultHasher>;

/// The most JSON of one filter, in bytes, written without spaces.
pub const MAX_FILTER_BYTES: usize = 64 * 1024;
/// How deep objects and arrays of a filter may nest.
pub const MAX_FILTER_DEPTH: usize = 32;
/// The most keys and operators of one filter together.
pub const MAX_FILTER_NODES: usize = 1_000;
/// The most values of one array of alternatives, and of one `anything-but`. They are hashed: any number costs one look-up.
pub const MAX_VALUES: usize = 10_000;
/// The most operators of one array of alternatives, those inside others counted. Each is tried on each value, so this bounds
/// the time of a match.
pub const MAX_OPERATORS: usize = 64;
/// The most `wildcard` and `contains` of one filter: each may go through a whole text.
pub const MAX_SEARCHES: usize = 16;
/// The most objects of all `$or` of one filter, and filters of all arrays of CloudEvents: each may ask for the same field again.
pub const MAX_OR: usize = 64;
