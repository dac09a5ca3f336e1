//! What goes wrong in a run, how often, and what a sabotaged run spoils on purpose.

use tidings_core::domain::Chance;

/// Kinds of faults. Each is counted where it strikes; over all seeds, each must have struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call takes twenty times as long.
    Delay,
    /// A process is killed.
    Crash,
    /// A process is stopped in order and started again.
    Restart,
    /// A process stands still for longer than the group waits: SIGSTOP.
    Freeze,
    /// A process loses the log but neither the store nor the receivers.
    Cut,
    /// A partition changes hands.
    Rebalance,
    /// A transaction comes to nothing.
    Abort,
    /// A transaction is committed, but its producer never learns it.
    AbortAfterCommit,
    /// A transaction is committed, which is learnt by going back to the committed offsets: what was read ahead comes again.
    CommitLearntLate,
    /// The store writes, but the answer is lost.
    StoreAnswerLost,
    /// The store is out of reach for a while.
    StoreDown,
    /// A request never reaches its receiver.
    RequestLost,
    /// The receiver acts, but its answer is lost.
    AnswerLost,
    /// A producer writes an event twice.
    Duplicate,
    /// A record that cannot be read.
    Poison,
}

pub const FAULTS: [Fault; 15] = [
    Fault::Delay,
    Fault::Crash,
    Fault::Restart,
    Fault::Freeze,
    Fault::Cut,
    Fault::Rebalance,
    Fault::Abort,
    Fault::AbortAfterCommit,
    Fault::CommitLearntLate,
    Fault::StoreAnswerLost,
    Fault::StoreDown,
    Fault::RequestLost,
    Fault::AnswerLost,
    Fault::Duplicate,
    Fault::Poison,
];

/// One in how many chances each fault strikes, drawn anew for each seed so that runs differ in kind.
#[derive(Clone, Debug)]
pub struct Plan {
    odds: Vec<(Fault, u64)>,
    pub sabotage: Option<Sabotage>,
}

/// A fault in Tidings itself. A checker that catches none of these proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The sender commits offsets of deliveries that are not settled.
    CommitBeforeStore,
    /// After an aborted transaction the matcher goes on where it was.
    NoRewindAfterAbort,
    /// The matcher writes down an older index version than it used.
    StaleIndexVersion,
    /// A failed attempt is stored without its parked row.
    ReleaseBeforeParked,
    /// The store takes writes from a former owner.
    WriteAfterLosingPartition,
    /// The sender does not ask what is known.
    NoLookUp,
    /// The matcher drops dead letters.
    DropDeadLetter,
    /// The matcher drops a delivery now and then.
    DropDelivery,
    /// The matcher writes a delivery twice.
    RepeatDelivery,
    /// A notification's id depends on chance.
    UnstableId,
    /// A process matches before its directory is folded.
    MatchBeforeFold,
    /// Parked rows are not loaded again.
    ForgetParked,
}

pub const SABOTAGES: [Sabotage; 12] = [
    Sabotage::CommitBeforeStore,
    Sabotage::NoRewindAfterAbort,
    Sabotage::StaleIndexVersion,
    Sabotage::ReleaseBeforeParked,
    Sabotage::WriteAfterLosingPartition,
    Sabotage::NoLookUp,
    Sabotage::DropDeadLetter,
    Sabotage::DropDelivery,
    Sabotage::RepeatDelivery,
    Sabotage::UnstableId,
    Sabotage::MatchBeforeFold,
    Sabotage::ForgetParked,
];

// === impl Plan ===

impl Plan {
    pub fn drawn(seed: u64, sabotage: Option<Sabotage>) -> Plan {
        let mut chance = Chance::new(seed ^ 0x5EED);
        let usual = |fault| match fault {
            Fault::Delay => 50,
            Fault::Abort => 12,
            Fault::AbortAfterCommit => 25,
            Fault::CommitLearntLate => 25,
            Fault::StoreAnswerLost => 25,
            Fault::RequestLost => 60,
            Fault::AnswerLost => 60,
            Fault::Duplicate => 40,
            Fault::Poison => 60,
            // Struck by the driver's schedule instead.
            _ => 0,
        };
        let mut odds = Vec::new();
        for fault in FAULTS {
            let factor = [1, 1, 1, 2, 5][chance.below(5) as usize];
            odds.push((fault, usual(fault) * factor));
        }
        Plan { odds, sabotage }
    }

    pub fn one_in(&self, fault: Fault) -> u64 {
        self.odds.iter().find(|(f, _)| *f == fault).map_or(0, |(_, n)| *n)
    }
}
