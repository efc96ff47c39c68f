//! What the host says of this process: CPU, open files, datagrams dropped at full sockets. Linux; elsewhere unknown.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc`: fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// CPU time of this process since its start.
fn cpu_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command may hold blanks; fields are counted behind its closing bracket, where the third one is first.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// Measures CPU from its making on.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuMeter {
    at: Instant,
    used: Option<f64>,
}

impl CpuMeter {
    pub fn start() -> Self {
        Self { at: Instant::now(), used: cpu_time() }
    }

    /// Cores' worth of CPU used since.
    pub fn cores(&self) -> Option<f64> {
        let elapsed = self.at.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        Some((cpu_time()? - self.used?) / elapsed)
    }
}

/// Files that this process may open.
pub(super) fn open_file_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Datagrams that the kernel dropped at the receive buffers of these local ports.
pub(super) fn socket_drops(ports: &HashSet<u16>) -> Option<u64> {
    let v4 = std::fs::read_to_string("/proc/self/net/udp").ok()?;
    let v6 = std::fs::read_to_string("/proc/self/net/udp6").unwrap_or_default();
    Some(v4.lines().chain(v6.lines()).filter_map(|line| drops_of(line, ports)).sum())
}

fn drops_of(line: &str, ports: &HashSet<u16>) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !ports.contains(&port) {
        return None;
    }
    fields.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_for_the_ports_asked_for() {
        let line = "  462: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22013 2 0000000000000000 17";
        assert_eq!(drops_of(line, &HashSet::from([8_080])), Some(17));
        assert_eq!(drops_of(line, &HashSet::from([8_081])), None);
        assert_eq!(drops_of("  sl  local_address rem_address   st", &HashSet::from([8_080])), None);
    }

    #[test]
    fn a_socket_that_nobody_reads_drops() {
        let reader = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = HashSet::from([reader.local_addr().unwrap().port()]);
        assert_eq!(socket_drops(&ports), Some(0));
        let writer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50_000 {
            writer.send_to(&[0; 1_000], reader.local_addr().unwrap()).unwrap();
        }
        assert!(socket_drops(&ports).unwrap() > 0);
    }

    #[test]
    fn this_process_uses_cpu_and_may_open_files() {
        let meter = CpuMeter::start();
        let end = Instant::now() + Duration::from_millis(150);
        let mut spins = 0u64;
        while Instant::now() < end {
            spins = spins.wrapping_add(1);
        }
        assert!(meter.cores().unwrap() > 0.2, "{spins}");
        assert!(open_file_limit().unwrap() >= 64);
    }
}
