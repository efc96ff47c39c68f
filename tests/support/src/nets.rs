//! Network namespaces: machines, routers and networks that a test makes, and that go with it. Nothing leaves them.
//!
//! [`alone`] runs a test in a namespace of its own, as root there even where the user is not; [`Net::new`] makes one
//! more machine, [`wire`] a cable between two, [`Net::run`] runs a future whose sockets are that machine's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Process;

/// Says to a test that it runs inside.
const INSIDE: &str = "FRESHET_TEST_NETS";

/// Programs for root stand where a user's path does not look.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Runs a test of this name in a network namespace of its own, in a process of its own.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut command = Command::new("unshare");
    command.arg("--net");
    // Who is not root becomes it inside of the namespace alone.
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    let program = std::env::current_exe().unwrap();
    command.arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").env("PATH", path());
    let out = command.stdin(Stdio::null()).output().expect("unshare runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
}

/// A machine with a network of its own.
pub struct Net {
    name: &'static str,
    /// It holds the namespace, and ends when this process does, however that ends.
    holder: Child,
    runtime: tokio::runtime::Runtime,
}

impl Net {
    /// A machine with nothing but loopback.
    pub fn new(name: &'static str) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo made && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "made\n", "a namespace can be made");
        let space = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        let enter = move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), kind)
                .expect("the namespace is entered");
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().on_thread_start(enter).build().unwrap();
        Self { name, holder, runtime }
    }

    /// A command that runs here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command
    }

    /// Runs lines of a shell here that must succeed.
    pub fn sh(&self, lines: &str) {
        let out = self.command("sh").args(["-ec", lines]).output().expect("nsenter runs");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{}: {lines}: {errors}", self.name);
    }

    /// Gives an interface an address, at once.
    pub fn address(&self, interface: &str, address: &str) {
        let more = if address.contains(':') { " nodad" } else { "" };
        self.sh(&format!("ip address add {address} dev {interface}{more}"));
    }

    /// Loads rules of nftables.
    pub fn nft(&self, rules: &str) {
        let mut nft = self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft runs");
        // A block's end wants a line's end behind it.
        let rules = rules.replace("; }", ";\n}\n");
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{}: {rules}", self.name);
    }

    /// Passes packets on between its interfaces.
    pub fn routes(&self) {
        self.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    }

    /// Lets nothing in but answers, from the very address that was called.
    pub fn guarded(&self) {
        self.nft(
            "table inet guard { chain arriving { type filter hook input priority 0; policy drop; \
             ct state established accept; iif lo accept; meta l4proto { icmp, ipv6-icmp } accept; } }",
        );
    }

    /// Runs a future here: its sockets, and those of the tasks that it spawns, are this machine's.
    pub fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = self.runtime.spawn(future);
        match self.runtime.block_on(task) {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    /// Starts a program here; its output goes to a log.
    pub fn start(
        &self,
        dir: &Path,
        test: &str,
        program: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Process {
        let logs = std::env::var_os("FRESHET_TEST_LOGS").map_or_else(|| dir.to_owned(), Into::into);
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("{test}-{}-{}.log", self.name, program.rsplit('/').next().unwrap()));
        let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(program);
        command.args(args).envs(env.iter().copied()).current_dir(dir).env_remove("FRESHET_CONFIG");
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Process { child: command.spawn().unwrap(), name: program.to_owned(), log }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Lays a cable between two machines; each end is an interface of this name.
pub fn wire(one: (&Net, &str), other: (&Net, &str)) {
    let ((one, here), (other, there)) = (one, other);
    let pid = other.holder.id();
    one.sh(&format!("ip link add {here} type veth peer name {there} netns {pid}; ip link set {here} up"));
    other.sh(&format!("ip link set {there} up"));
}

/// The command of a manual's section that begins with a program's name, as words. Quotes are not read.
pub fn documented(manual: &str, heading: &str, program: &str) -> Vec<String> {
    all_documented(manual, &format!("### {heading}"), program).into_iter().next().expect("the program's line")
}

/// All of them in the section, without the program.
pub fn all_documented(manual: &str, heading: &str, program: &str) -> Vec<Vec<String>> {
    let blocks = blocks(manual, heading);
    let lines = blocks.iter().flat_map(|block| block.lines());
    let lines = lines.filter(|line| line.split(' ').next() == Some(program));
    lines.map(|line| line.split_whitespace().skip(1).map(str::to_owned).collect()).collect()
}

/// A section's blocks of commands. Lines that go on below are one.
pub fn blocks(manual: &str, heading: &str) -> Vec<String> {
    let (_, section) = manual.split_once(&format!("\n{heading}\n")).expect("the manual has the section");
    let section = section.split("\n##").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().replace("\\\n", " ")).collect()
}
