//! What a run is to do: how much traffic, and which blows in which order.

use std::{ops::Range, time::Duration};

use tidings::crash::Point;
use tidings_core::domain::Chance;

use crate::installation::Role;

/// A run, but for what the mode decides.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// At least so many; traffic goes on until the last blow.
    pub events: u64,
    pub subscriptions: usize,
    /// Events a second beside which the blows fall.
    pub per_second: u64,
    /// Changes of the directory a second.
    pub changes_per_second: u64,
    /// Of the events, in percent, how many come as fast as they are taken, after the paced ones.
    pub saturated_percent: u64,
    /// How often each crash point of each role.
    pub crashes: usize,
    /// SIGKILLs of each role at no particular moment.
    pub kills: usize,
    /// The same at saturation.
    pub saturated_kills: usize,
    /// The most notifications repeated for each kill beside paced traffic. The promise is of a machine that has nothing
    /// else to do.
    pub repeats_per_kill: usize,
    pub zombies: bool,
    /// How often the broker is killed, and the database.
    pub server_faults: usize,
}

/// Something that happens to an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL, whatever it is doing.
    Kill(Role),
    /// SIGKILL, and then its successor dies at this point, when it passes it for the nth time.
    Crash(Role, Point, u64),
    /// SIGSTOP for longer than the session; other members take its partitions meanwhile. Then SIGCONT.
    Overtaken(Role),
    /// SIGSTOP for longer than the session; another process takes its name meanwhile. Then SIGCONT.
    Replaced(Role),
    /// Killed and started again at once.
    Restart(Server),
    /// Killed, and away for this long.
    Away(Server, Duration),
    /// No room on the device for this long.
    DiskFull(Duration),
    /// The device takes no writes when the process is started again.
    DiskReadOnly,
    /// The device fails under the running process: no write for this long, then it is killed, the disk checked and mounted again.
    DiskFails(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Broker,
    Database,
    /// It is only ever away: it has nothing to recover from.
    Registry,
}

const DISK_FULL_FOR: Duration = Duration::from_secs(5);
const DISK_FAILS_FOR: Duration = Duration::from_secs(5);
const KILLS_BESIDE_THE_DISK: usize = 8;

// === impl Plan ===

impl Plan {
    /// What every change is tested with.
    pub fn short(seed: u64) -> Plan {
        Plan {
            seed,
            events: 20_000,
            subscriptions: 1_000,
            per_second: 300,
            changes_per_second: 10,
            saturated_percent: 40,
            crashes: 1,
            kills: 0,
            saturated_kills: 1,
            repeats_per_kill: 10,
            zombies: false,
            server_faults: 0,
        }
    }

    pub fn full(seed: u64, events: u64) -> Plan {
        Plan {
            events,
            saturated_percent: 20,
            crashes: 3,
            kills: 20,
            saturated_kills: 3,
            repeats_per_kill: 3,
            zombies: true,
            server_faults: 3,
            ..Plan::short(seed)
        }
    }

    /// The blows beside paced traffic to an installation of these roles, in an order that the seed decides.
    pub fn blows(&self, roles: &[Role]) -> Vec<Blow> {
        let mut chance = Chance::new(self.seed ^ 0xB10);
        let mut blows = Vec::new();
        for role in roles {
            for point in role.points() {
                let passes = passes(*point);
                let mut pass = || passes.start + chance.below(passes.end - passes.start);
                blows.extend((0..self.crashes).map(|_| Blow::Crash(*role, *point, pass())));
            }
            // A crash begins with a kill.
            let kills = self.kills.saturating_sub(self.crashes * role.points().len());
            blows.extend((0..kills).map(|_| Blow::Kill(*role)));
            if self.zombies && matches!(role, Role::Match | Role::Send) {
                blows.extend([Blow::Overtaken(*role), Blow::Replaced(*role)]);
            }
        }
        if !roles.contains(&Role::Up) {
            blows.extend((0..self.server_faults).flat_map(|_| [Server::Broker, Server::Database].map(Blow::Restart)));
        }
        shuffle(&mut blows, &mut chance);
        blows
    }

    pub fn saturated_blows(&self, roles: &[Role]) -> Vec<Blow> {
        let work = roles.iter().filter(|role| **role != Role::Api);
        (0..self.saturated_kills).flat_map(|_| work.clone().map(|role| Blow::Kill(*role))).collect()
    }

    /// No blows but servers that are away.
    pub fn outages(seed: u64, events: u64) -> Plan {
        Plan { events, per_second: 100, crashes: 0, saturated_kills: 0, ..Plan::short(seed) }
    }

    /// Those of a disk that a run has to itself.
    pub fn disk_blows() -> Vec<Blow> {
        // Kills enough that a mean over them says something.
        let kills = [Blow::Kill(Role::Up); KILLS_BESIDE_THE_DISK];
        [Blow::DiskFull(DISK_FULL_FOR), Blow::DiskReadOnly, Blow::DiskFails(DISK_FAILS_FOR)]
            .into_iter()
            .chain(kills)
            .collect()
    }
}

/// How often a point is passed before the crash: for a few seconds, so that what piled up during the start is done, and
/// the process is at its ordinary work.
fn passes(point: Point) -> Range<u64> {
    match point {
        // Once a notification.
        Point::Answered => 1_000..1_500,
        // Once a batch, of a few notifications each.
        Point::Stored => 200..300,
        Point::TransactionBegun | Point::Produced | Point::OffsetsSent | Point::Committed => 100..200,
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], chance: &mut Chance) {
    for last in (1..items.len()).rev() {
        items.swap(last, chance.below(last as u64 + 1) as usize);
    }
}
