//! What processes use: CPU time and memory, from `/proc`, each with the processes below it.

use std::{collections::BTreeMap, fs};

use anyhow::Context;

/// CPU seconds of named processes, each with all below it.
#[derive(Clone, Debug, Default)]
pub struct CpuSeconds(BTreeMap<String, f64>);

/// Resident memory of one process, in MiB: now, and at its highest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now_mib: f64,
    pub highest_mib: f64,
}

/// `sysconf(_SC_CLK_TCK)` on Linux, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

struct Process {
    parent: u32,
    /// Its own, and that of children that have ended and were waited for.
    ticks: u64,
}

// === impl CpuSeconds ===

impl CpuSeconds {
    /// What each of these has used since it was started.
    pub fn of(named: &[(String, u32)]) -> anyhow::Result<CpuSeconds> {
        let processes = processes()?;
        let used = |pid: u32| {
            let below = |candidate: u32| {
                let mut at = Some(candidate);
                while let Some(pid_at) = at.filter(|at| *at != pid) {
                    at = processes.get(&pid_at).map(|process| process.parent);
                }
                at.is_some()
            };
            let ticks = processes.iter().filter(|(candidate, _)| below(**candidate)).map(|(_, process)| process.ticks);
            ticks.sum::<u64>() as f64 / TICKS_PER_SECOND
        };
        Ok(CpuSeconds(named.iter().map(|(name, pid)| (name.clone(), used(*pid))).collect()))
    }

    pub fn since(&self, earlier: &CpuSeconds) -> CpuSeconds {
        let used = self.0.iter().map(|(name, s)| (name.clone(), s - earlier.0.get(name).copied().unwrap_or(0.0)));
        CpuSeconds(used.collect())
    }

    pub fn sum(&self) -> f64 {
        self.0.values().sum()
    }

    pub fn each(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, seconds)| (name.as_str(), *seconds))
    }
}

/// Resident memory of one process alone.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("its memory")?;
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kib: f64 = line.trim_start_matches(':').trim().split(' ').next()?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Ok(Memory {
        now_mib: mib("VmRSS").context("VmRSS is not told")?,
        highest_mib: mib("VmHWM").context("VmHWM is not told")?,
    })
}

fn processes() -> anyhow::Result<BTreeMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("processes are counted by /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // One that ends meanwhile is counted by its parent.
    Ok(pids.filter_map(|pid| Some((pid, process(pid)?))).collect())
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it are numbers, from the third on.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    // utime, stime, cutime, cstime: proc(5).
    let ticks = [14, 15, 16, 17].into_iter().filter_map(number).sum();
    Some(Process { parent: number(4)? as u32, ticks })
}
