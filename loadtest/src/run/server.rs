//! What the server's processes use, as this host tells it. Linux; elsewhere unknown.

use std::time::Instant;

use super::host::cpu_seconds;
use crate::num;
use crate::report::{ServerReport, ServerSecond};

/// A process of the server. One that ends is not looked for again.
struct Process {
    pid: u32,
    /// CPU seconds and context switches when it was seen first, and last.
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

/// Measures processes from its making on.
pub(super) struct ServerMeter {
    processes: Vec<Process>,
    began: Instant,
    looked: Instant,
    cores_max: f64,
    resident_max: u64,
}

impl ServerMeter {
    /// Of these processes; says which of them is not there.
    pub fn start(pids: &[u32]) -> Result<Self, String> {
        let process = |pid: &u32| {
            let used = used(*pid).ok_or_else(|| format!("there is no process {pid} on this machine"))?;
            Ok(Process { pid: *pid, first: used, last: used, ended: false })
        };
        let processes = pids.iter().map(process).collect::<Result<Vec<_>, String>>()?;
        let now = Instant::now();
        Ok(Self { processes, began: now, looked: now, cores_max: 0.0, resident_max: 0 })
    }

    /// What they use since the last look; nothing where none was named.
    pub fn look(&mut self) -> Option<ServerSecond> {
        if self.processes.is_empty() {
            return None;
        }
        let now = Instant::now();
        let seconds = now.saturating_duration_since(self.looked).as_secs_f64().max(0.001);
        self.looked = now;
        let (mut cpu, mut resident_bytes) = (0.0, 0);
        for process in self.processes.iter_mut().filter(|process| !process.ended) {
            match used(process.pid) {
                Some(used) => {
                    cpu += (used.cpu - process.last.cpu).max(0.0);
                    resident_bytes += used.resident;
                    process.last = used;
                }
                None => process.ended = true,
            }
        }
        let cores = cpu / seconds;
        self.cores_max = self.cores_max.max(cores);
        self.resident_max = self.resident_max.max(resident_bytes);
        Some(ServerSecond { cores, resident_bytes })
    }

    /// Over the whole run, in which viewers received so many packets.
    pub fn report(&self, received: u64) -> Option<ServerReport> {
        if self.processes.is_empty() {
            return None;
        }
        let seconds = self.looked.saturating_duration_since(self.began).as_secs_f64().max(0.001);
        let cpu: f64 = self.processes.iter().map(|process| process.last.cpu - process.first.cpu).sum();
        let switches = |process: &Process| process.last.switches.saturating_sub(process.first.switches);
        let switches: u64 = self.processes.iter().map(switches).sum();
        Some(ServerReport {
            pids: self.processes.iter().map(|process| process.pid).collect(),
            cores: cpu / seconds,
            cores_max: self.cores_max,
            resident_bytes_max: self.resident_max,
            switches_per_second: num::float(switches) / seconds,
            cpu_us_per_packet: (received > 0).then(|| cpu * 1e6 / num::float(received)),
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_process_that_computes_is_seen_to() {
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut meter = ServerMeter::start(&[busy.id()]).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let second = meter.look().unwrap();
        assert!((0.1..1.5).contains(&second.cores) && second.resident_bytes > 100_000, "{second:?}");
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert_eq!(meter.look().unwrap(), ServerSecond::default(), "it has gone");
        let report = meter.report(1_000).unwrap();
        assert!(report.cores > 0.05 && report.cores_max >= report.cores && report.resident_bytes_max > 0);
        let per_packet = report.cpu_us_per_packet.unwrap();
        assert!((30.0..500.0).contains(&per_packet), "{per_packet} us, of some 300 ms for 1,000");
        assert!(report.switches_per_second >= 0.0);
        assert_eq!(meter.report(0).unwrap().cpu_us_per_packet, None);
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert!(ServerMeter::start(&[u32::MAX]).err().unwrap().contains("4294967295"));
        let mut none = ServerMeter::start(&[]).unwrap();
        assert!(none.look().is_none() && none.report(1).is_none());
    }
}
