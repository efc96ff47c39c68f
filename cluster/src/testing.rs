//! Real etcd and NATS servers for tests: started on free loopback ports in a folder of their own, stopped and started
//! again on the same data, wiped, and killed by process id when dropped.
//!
//! A test helper fails loudly: what is missing is said in the panic, so that no test is skipped in silence.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server that does not listen after this time has failed.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Ports that are handed out: below those that the system gives to outgoing connections, any of which could take a
/// port in the moment between its choice and its use.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// TCP ports on loopback that nobody listens to now, all different, and different from those of every call before in
/// this process.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin at different places.
    let begin = std::process::id().wrapping_mul(499);
    let all = PORTS.end - PORTS.start;
    std::array::from_fn(|_| {
        let next = || {
            let offset = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % all;
            u16::try_from(PORTS.start + offset).expect("a port")
        };
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        (0..all).map(|_| next()).find(free).expect("a free TCP port on 127.0.0.1")
    })
}

/// A process that is killed, by its id, when it is dropped.
#[derive(Debug)]
struct Server {
    name: &'static str,
    child: Option<Child>,
    port: u16,
    log: PathBuf,
}

impl Server {
    fn start(&mut self, mut command: Command, port: u16, ready: fn(TcpStream) -> bool) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let copy = log.try_clone().expect("a second handle of the log file");
        let spawned = command.stdin(Stdio::null()).stdout(log).stderr(copy).spawn();
        self.child = Some(spawned.unwrap_or_else(|e| {
            panic!(
                "cannot start {:?}: {e}. Install it (Debian: apt-get install etcd-server nats-server) or name the \
                 binaries in FRESHET_TEST_ETCD and FRESHET_TEST_NATS",
                command.get_program()
            )
        }));
        let begun = Instant::now();
        // An open port is not enough: etcd listens before it knows its data, and one that is killed then is broken.
        while !TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(ready) {
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > START_LIMIT {
                self.stop();
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!(
                    "{} does not listen on port {} (ended: {ended:?}); its log:\n{log}",
                    self.name, self.port
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only when the process has ended by itself.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(named) = std::env::var_os(variable) {
        return named.into();
    }
    // Debian keeps nats-server in /usr/sbin, which is not in everybody's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/bin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| name.into())
}

/// An etcd of one member.
#[derive(Debug)]
pub struct EtcdServer {
    server: Server,
    peer_port: u16,
    health_port: u16,
    tls: Option<TlsFiles>,
    dir: TempDir,
}

/// PEM files of a server that speaks TLS and wants a certificate of its clients.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The authority behind the certificates of server and clients.
    pub ca: PathBuf,
    /// The server's certificate, for 127.0.0.1.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl EtcdServer {
    /// Starts an empty etcd (`$FRESHET_TEST_ETCD`, or `etcd` in the path) and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same with TLS towards clients.
    pub fn start_with(tls: Option<TlsFiles>) -> Self {
        let dir = tempfile::tempdir().expect("a folder for etcd");
        let [port, peer_port, health_port] = free_ports();
        let log = dir.path().join("log");
        let server = Server { name: "etcd", child: None, port, log };
        let mut this = Self { server, peer_port, health_port, tls, dir };
        this.restart();
        this
    }

    /// `http://127.0.0.1:PORT` (`https` with TLS), the same over restarts.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.server.port)
    }

    /// Its port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Kills it. What it has acknowledged stays on disk.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it (again) on the same data and ports.
    pub fn restart(&mut self) {
        self.server.stop();
        let mut command = Command::new(binary("FRESHET_TEST_ETCD", "etcd"));
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        command
            .env_clear()
            .arg("--name=test")
            .arg(format!("--data-dir={}", self.data().display()))
            .arg(format!("--listen-client-urls={}", self.url()))
            .arg(format!("--advertise-client-urls={}", self.url()))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=test={peer}"))
            .arg(format!("--listen-metrics-urls=http://127.0.0.1:{}", self.health_port))
            .args(["--heartbeat-interval=50", "--election-timeout=500"]);
        if let Some(tls) = &self.tls {
            command
                .arg("--client-cert-auth")
                .arg(format!("--trusted-ca-file={}", tls.ca.display()))
                .arg(format!("--cert-file={}", tls.cert.display()))
                .arg(format!("--key-file={}", tls.key.display()));
        }
        self.server.start(command, self.health_port, |stream| {
            answer(stream, "GET /health HTTP/1.0\r\n\r\n").contains("\"health\":\"true\"")
        });
    }

    /// Kills it and removes its data.
    pub fn wipe(&mut self) {
        self.server.stop();
        remove(&self.data());
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.child.as_ref().map(Child::id)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// A nats-server with JetStream.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    more: Vec<String>,
    dir: TempDir,
}

impl NatsServer {
    /// Starts an empty NATS (`$FRESHET_TEST_NATS`, or `nats-server` in the path) and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments, for TLS and users.
    pub fn start_with(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for NATS");
        let [port] = free_ports();
        let log = dir.path().join("log");
        let more = more.iter().map(|text| (*text).to_owned()).collect();
        let mut this = Self { server: Server { name: "nats-server", child: None, port, log }, more, dir };
        this.restart();
        this
    }

    /// `nats://127.0.0.1:PORT`, the same over restarts.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.server.port)
    }

    /// Its port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Kills it. What it has acknowledged stays on disk.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it (again) on the same data and port.
    pub fn restart(&mut self) {
        self.server.stop();
        let mut command = Command::new(binary("FRESHET_TEST_NATS", "nats-server"));
        command
            .env_clear()
            .args(["--addr", "127.0.0.1", "--port", &self.server.port.to_string(), "--jetstream"])
            .args(&self.more)
            .arg("--store_dir")
            .arg(self.data());
        // It sends INFO unasked, JetStream being ready by then.
        let port = self.server.port;
        self.server.start(command, port, |stream| answer(stream, "").contains("\"jetstream\":true"));
    }

    /// Kills it and removes its data.
    pub fn wipe(&mut self) {
        self.server.stop();
        remove(&self.data());
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.child.as_ref().map(Child::id)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// A TCP forwarder on loopback that a test can cut and mend, to part a client from a server that goes on.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    open: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Begins to forward to a port of this machine.
    pub async fn start(to: u16) -> Self {
        let bound = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = bound.expect("a free TCP port on 127.0.0.1");
        let port = listener.local_addr().expect("the address of a bound socket").port();
        let (open, state) = tokio::sync::watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    let Ok(mut server) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await
                    else {
                        return;
                    };
                    tokio::select! {
                        _ = state.wait_for(|open| !open) => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        Self { port, open, task }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes every connection, and new ones at once.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

/// What a server says first, or to a request; empty when it says nothing in time.
fn answer(mut stream: TcpStream, request: &str) -> String {
    let mut text = vec![0; 4096];
    let read = stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| {
            let mut len = 0;
            while let Some(rest) = text.get_mut(len..).filter(|r| !r.is_empty()) {
                let n = stream.read(rest)?;
                len += n;
                if n == 0 || request.is_empty() {
                    break;
                }
            }
            Ok(len)
        });
    text.truncate(read.unwrap_or_default());
    String::from_utf8_lossy(&text).into_owned()
}

fn remove(dir: &Path) {
    if dir.exists() {
        std::fs::remove_dir_all(dir).expect("removing a server's data");
    }
}
