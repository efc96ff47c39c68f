//! What processes use, as this host tells it. Linux; elsewhere unknown.

use std::time::Instant;

use crate::num;
use crate::run::host::cpu_seconds;

/// A process of the server. One that ends is not looked for again.
struct Process {
    pid: u32,
    /// What it had used when it was seen first, and last.
    first: Used,
    last: Used,
    ended: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    cpu: f64,
    switches: u64,
    resident: u64,
}

/// What all processes used since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Usage {
    pub cores: f64,
    pub resident_bytes: u64,
    pub switches_per_second: f64,
}

/// Processes, measured from when they were named.
pub(super) struct Processes {
    all: Vec<Process>,
    began: Instant,
    looked: Instant,
}

impl Processes {
    /// These; says which of them is not there.
    pub fn start(pids: &[u32]) -> Result<Self, String> {
        let process = |pid: &u32| {
            let used = used(*pid).ok_or_else(|| format!("there is no process {pid} on this machine"))?;
            Ok(Process { pid: *pid, first: used, last: used, ended: false })
        };
        let now = Instant::now();
        Ok(Self {
            all: pids.iter().map(process).collect::<Result<Vec<_>, String>>()?,
            began: now,
            looked: now,
        })
    }

    pub fn pids(&self) -> Vec<u32> {
        self.all.iter().map(|process| process.pid).collect()
    }

    /// What they use since the last look; nothing where none was named.
    pub fn look(&mut self) -> Option<Usage> {
        let now = Instant::now();
        let seconds = now.saturating_duration_since(self.looked).as_secs_f64().max(0.001);
        self.looked = now;
        if self.all.is_empty() {
            return None;
        }
        let (mut cpu, mut switches, mut resident_bytes) = (0.0, 0, 0);
        for process in self.all.iter_mut().filter(|process| !process.ended) {
            match used(process.pid) {
                Some(used) => {
                    cpu += (used.cpu - process.last.cpu).max(0.0);
                    // A thread that has ended takes its count with it.
                    switches += used.switches.saturating_sub(process.last.switches);
                    resident_bytes += used.resident;
                    process.last = used;
                }
                None => process.ended = true,
            }
        }
        let switches_per_second = num::float(switches) / seconds;
        Some(Usage { cores: cpu / seconds, resident_bytes, switches_per_second })
    }

    /// From the beginning to the last look, in seconds.
    pub fn seconds(&self) -> f64 {
        self.looked.saturating_duration_since(self.began).as_secs_f64().max(0.001)
    }

    /// CPU seconds since the beginning; nothing where none was named.
    pub fn cpu(&self) -> Option<f64> {
        let cpu = |process: &Process| process.last.cpu - process.first.cpu;
        (!self.all.is_empty()).then(|| self.all.iter().map(cpu).sum())
    }

    /// Context switches since the beginning.
    pub fn switches(&self) -> u64 {
        let switches = |process: &Process| process.last.switches.saturating_sub(process.first.switches);
        self.all.iter().map(switches).sum()
    }
}

fn used(pid: u32) -> Option<Used> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let stat = read("stat")?;
    // A process that has ended and that nobody has reaped is no process.
    if stat.rsplit_once(')')?.1.trim_start().starts_with(['Z', 'X']) {
        return None;
    }
    let resident = field(&read("status")?, "VmRSS:").unwrap_or(0) * 1024;
    Some(Used { cpu: cpu_seconds(&stat)?, switches: switches(pid), resident })
}

/// Context switches of all threads that are there.
fn switches(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let of = |name| field(&status, name).unwrap_or(0);
        Some(of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:"))
    };
    threads.filter_map(Result::ok).filter_map(|thread| of(thread.path())).sum()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
