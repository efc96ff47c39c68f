//! What the host says of this process: CPU, open files, datagrams dropped at full sockets. Linux; elsewhere unknown.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc`: fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// CPU seconds of a process since its start, from its `/proc/PID/stat`.
pub(super) fn cpu_seconds(stat: &str) -> Option<f64> {
    // The command may hold blanks; fields are counted behind its closing bracket, where the third one is first.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// CPU time of this process since its start.
fn cpu_time() -> Option<f64> {
    cpu_seconds(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// CPU seconds of those threads of this process that have this name, since their start.
pub(super) fn threads_cpu(name: &str) -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let stat = |path: std::path::PathBuf| std::fs::read_to_string(path.join("stat")).ok();
    let ours = |stat: &String| stat.contains(&format!("({name})"));
    let stats = threads.filter_map(Result::ok).filter_map(|thread| stat(thread.path()));
    Some(stats.filter(ours).filter_map(|stat| cpu_seconds(&stat)).sum())
}

/// Measures CPU from its making on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuMeter {
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

/// Datagrams that the kernel dropped at the receive buffers of this process, as far as anybody looked.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// Of sockets that were there at the last look, by their address.
    last: HashMap<String, u64>,
    /// Of those that have gone since.
    gone: u64,
    known: bool,
}

impl Drops {
    /// Looks at the sockets of these addresses.
    pub fn look(&mut self, sockets: &[SocketAddr]) {
        let Ok(v4) = std::fs::read_to_string("/proc/self/net/udp") else { return };
        let v6 = std::fs::read_to_string("/proc/self/net/udp6").unwrap_or_default();
        self.known = true;
        let ours: HashSet<String> = sockets.iter().map(|socket| written(*socket)).collect();
        let dropped = v4.lines().chain(v6.lines()).filter_map(drops_of);
        let now: HashMap<String, u64> = dropped
            .filter(|(socket, _)| ours.contains(*socket))
            .map(|(socket, drops)| (socket.to_owned(), drops))
            .collect();
        for (socket, before) in std::mem::take(&mut self.last) {
            // An address may belong to another socket by now, which begins at 0.
            if now.get(&socket).is_none_or(|drops| *drops < before) {
                self.gone += before;
            }
        }
        self.last = now;
    }

    /// All of them; `None` where the host does not say.
    pub fn count(&self) -> Option<u64> {
        self.known.then(|| self.gone + self.last.values().sum::<u64>())
    }
}

/// An address as `/proc/net/udp` writes it: words of 32 bits in the host's order, and the port.
fn written(socket: SocketAddr) -> String {
    let port = socket.port();
    match socket.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
            let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes);
            let [one, two, three, four] = words;
            format!("{one:08X}{two:08X}{three:08X}{four:08X}:{port:04X}")
        }
    }
}

/// The local address and the dropped datagrams of a line of `/proc/net/udp`.
fn drops_of(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let socket = fields.nth(1)?;
    Some((socket, fields.last()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_with_their_address() {
        let line = "  462: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 22013 2 0000000000000000 17";
        assert_eq!(drops_of(line), Some(("0100007F:1F90", 17)));
        if cfg!(target_endian = "little") {
            assert_eq!(written("127.0.0.1:8080".parse().unwrap()), "0100007F:1F90");
            assert_eq!(written("[::1]:8080".parse().unwrap()), "00000000000000000000000001000000:1F90");
        }
        assert_eq!(drops_of("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn a_socket_that_nobody_reads_drops_and_is_remembered_when_it_goes() {
        let reader = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = [reader.local_addr().unwrap()];
        let mut drops = Drops::default();
        assert_eq!(drops.count(), None);
        drops.look(&sockets);
        assert_eq!(drops.count(), Some(0));
        let writer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50_000 {
            writer.send_to(&[0; 1_000], reader.local_addr().unwrap()).unwrap();
        }
        drops.look(&sockets);
        let count = drops.count().unwrap();
        assert!(count > 0);
        drop(reader);
        drops.look(&[]);
        assert_eq!(drops.count(), Some(count));
        let mut others = Drops::default();
        others.look(&[writer.local_addr().unwrap()]);
        assert_eq!(others.count(), Some(0), "other sockets are not ours");
    }

    #[test]
    fn threads_are_found_by_their_name() {
        let busy = || {
            let end = Instant::now() + Duration::from_millis(150);
            while Instant::now() < end {}
            threads_cpu("by its name")
        };
        let thread = std::thread::Builder::new().name("by its name".into()).spawn(busy).unwrap();
        let used = thread.join().unwrap().unwrap();
        assert!((0.02..0.5).contains(&used), "{used}");
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
        assert_eq!(threads_cpu("no such thread"), Some(0.0));
    }
}
