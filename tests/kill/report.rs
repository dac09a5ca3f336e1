//! What a run has counted, in the words of the ledger in `docs/RELIABILITY.md`.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use tidings::crash::Point;

use crate::installation::Role;

/// How long it took until it worked again, of each start.
#[derive(Default)]
pub struct Recovery(Vec<Duration>);

/// What has been done to the installation, and what came of it.
pub struct Ledger {
    pub mode: &'static str,
    pub began: Instant,
    pub saturated: bool,
    kills: BTreeMap<(Role, &'static str), usize>,
    zombies: BTreeMap<Role, usize>,
    /// Processes that ended fenced though nobody had their name, and were started again.
    pub fenced: usize,
    blows: Vec<Struck>,
    repeats_before: usize,
    /// Found by the checkers, once the run has drained.
    pub found: Found,
}

struct Struck {
    label: String,
    saturated: bool,
    repeats: usize,
    recovery: Recovery,
}

#[derive(Default)]
pub struct Found {
    pub events: usize,
    pub changes: u64,
    pub notifications: usize,
    pub requests: u64,
    pub outcomes: BTreeMap<String, usize>,
    pub parked: usize,
    /// Transactions, and records in them, that no reader of committed records saw.
    pub aborted: Option<(usize, usize)>,
    pub signatures: u64,
    pub finals_seen_early: usize,
}

/// Not at a crash point.
const ANY_MOMENT: &str = "any moment";

// === impl Recovery ===

impl Recovery {
    pub fn of(took: Duration) -> Recovery {
        Recovery(vec![took])
    }

    pub fn and(mut self, other: Recovery) -> Recovery {
        self.0.extend(other.0);
        self
    }
}

// === impl Ledger ===

impl Ledger {
    pub fn new(mode: &'static str) -> Ledger {
        Ledger {
            mode,
            began: Instant::now(),
            saturated: false,
            kills: BTreeMap::new(),
            zombies: BTreeMap::new(),
            fenced: 0,
            blows: Vec::new(),
            repeats_before: 0,
            found: Found::default(),
        }
    }

    pub fn killed(&mut self, role: Role, point: Option<Point>) {
        *self.kills.entry((role, point.map_or(ANY_MOMENT, Point::as_str))).or_default() += 1;
    }

    pub fn zombie(&mut self, role: Role) {
        *self.zombies.entry(role).or_default() += 1;
    }

    /// A blow is over, and so many notifications have been repeated since the run began.
    pub fn struck(&mut self, label: String, recovery: Recovery, repeats: usize) {
        println!("{label}: worked again after {recovery}, {} repeated", repeats - self.repeats_before);
        self.blows.push(Struck { label, saturated: self.saturated, repeats: 0, recovery });
    }

    /// What has been repeated since the last blow began is put down to it.
    pub fn settle(&mut self, repeats: usize) {
        if let Some(last) = self.blows.last_mut() {
            last.repeats += repeats - self.repeats_before;
        }
        self.repeats_before = repeats;
    }

    pub fn kills_of(&self, role: Role) -> usize {
        self.kills.iter().filter(|((of, _), _)| *of == role).map(|(_, n)| n).sum()
    }

    pub fn kills_at(&self, role: Role, point: Point) -> usize {
        self.kills.get(&(role, point.as_str())).copied().unwrap_or(0)
    }

    pub fn zombies(&self) -> usize {
        self.zombies.values().sum()
    }

    /// Kills of a phase and what was repeated after them. The API is not counted: it delivers nothing.
    pub fn repeats(&self, saturated: bool) -> (usize, usize) {
        let kills_of = |blow: &&Struck| {
            let kill = blow.label.contains(" killed") && !blow.label.starts_with(Role::Api.command());
            blow.saturated == saturated && kill
        };
        let kills = || self.blows.iter().filter(kills_of);
        // A blow at a crash point is two kills.
        let count = kills().map(|blow| if blow.label.contains(", then at") { 2 } else { 1 }).sum();
        (count, kills().map(|blow| blow.repeats).sum())
    }

    /// By any blow, at any time.
    pub fn most_repeats(&self) -> usize {
        self.blows.iter().map(|blow| blow.repeats).max().unwrap_or(0)
    }

    /// By processes that had slept, and that woke up with what they held in memory.
    fn repeats_of_sleepers(&self) -> usize {
        self.blows.iter().filter(|blow| blow.label.contains("asleep")).map(|blow| blow.repeats).sum()
    }

    fn recoveries(&self) -> Recovery {
        Recovery(self.blows.iter().flat_map(|blow| blow.recovery.0.clone()).collect())
    }
}

// === Display ===

impl fmt::Display for Recovery {
    /// Half of them took at most this; all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        match (sorted.get(sorted.len() / 2), sorted.last()) {
            (Some(half), Some(all)) if sorted.len() > 2 => {
                write!(f, "p50 {:.1} s, max {:.1} s of {}", half.as_secs_f64(), all.as_secs_f64(), sorted.len())
            }
            (Some(_), Some(_)) => {
                let each: Vec<String> = self.0.iter().map(|took| format!("{:.1} s", took.as_secs_f64())).collect();
                f.write_str(&each.join(" and "))
            }
            _ => f.write_str("-"),
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger { found, .. } = self;
        let outcomes: Vec<String> = found.outcomes.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        writeln!(f, "mode            {}, {} s", self.mode, self.began.elapsed().as_secs())?;
        writeln!(f, "events          {}, beside {} changes of the directory", found.events, found.changes)?;
        writeln!(f, "notifications   {}: {}", found.notifications, outcomes.join(", "))?;
        writeln!(f, "requests        {}, {} signatures verified", found.requests, found.signatures)?;
        for ((role, place), n) in &self.kills {
            writeln!(f, "killed          {} x {} at {place}", n, role.command())?;
        }
        for (role, n) in &self.zombies {
            writeln!(f, "asleep          {} x {}", n, role.command())?;
        }
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for blow in self.blows.iter().filter(|blow| !blow.label.contains(" killed") && !blow.label.contains("asleep")) {
            *others.entry(&blow.label).or_default() += 1;
        }
        for (what, n) in others {
            writeln!(f, "                {n} x {what}")?;
        }
        if self.fenced > 0 {
            writeln!(
                f,
                "                {} x ended fenced, though nobody had the name, and started again",
                self.fenced
            )?;
        }
        if let Some((transactions, records)) = found.aborted {
            writeln!(f, "aborted         {transactions} transactions with {records} deliveries")?;
        }
        writeln!(f, "parked          {} attempts", found.parked)?;
        let (kills, repeats) = self.repeats(false);
        writeln!(f, "repeats         {repeats} after {kills} kills beside paced traffic")?;
        let (kills, repeats) = self.repeats(true);
        writeln!(f, "                {repeats} after {kills} kills at saturation")?;
        if self.zombies() > 0 {
            writeln!(f, "                {} by {} that had slept", self.repeats_of_sleepers(), self.zombies())?;
        }
        writeln!(f, "                at most {} after one blow", self.most_repeats())?;
        writeln!(f, "first delivery  {}", self.recoveries())?;
        write!(f, "looked at early {} outcomes, unchanged at the end", found.finals_seen_early)
    }
}
