//! Floods at the media port of a whole server, from many addresses: what they cost it, what they are answered, and what those
//! who watch meanwhile notice of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_loadtest::media::Kind;
use freshet_test_support as support;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Output, RtcConfig};
use support::dev::Dev;
use support::stun;
use support::{eventually, metric, request};

const WAIT: Duration = Duration::from_secs(20);
/// Addresses that send what proves nothing, and those that send checks under the password of an answer.
const STRANGERS: usize = 200;
const CHECKERS: usize = 40;
/// Datagrams between one check whose answer is waited for and the next, so that the flood is as fast as the server and no
/// faster: what the kernel drops shows nothing.
const BURST: usize = 60;
const BURSTS: usize = 500;
/// A session that does no DTLS has 30 s: there is a new one in time.
const BURSTS_OF_A_SESSION: usize = 50;
/// What a datagram may cost, many times over what it does where nothing is optimised.
const CPU: Duration = Duration::from_micros(200);
const MEMORY: f64 = 16e6;

/// One address of the flood, and the bytes that it sent and got.
struct Source {
    socket: UdpSocket,
    sent: usize,
    got: usize,
}

impl Source {
    fn new(ip: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, sent: 0, got: 0 }
    }

    fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.sent += self.socket.send_to(datagram, to).unwrap();
    }

    /// Takes what came; how many datagrams.
    fn take(&mut self) -> usize {
        let (mut buffer, mut count) = ([0; 4_096], 0);
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.got += len;
            count += 1;
        }
        count
    }
}

/// A session that waits for its client, what its client knows, and the ClientHello that it would send.
struct Known {
    server: SocketAddr,
    user: String,
    ufrag: String,
    pwd: String,
    hello: Vec<u8>,
    home: Source,
}

impl Known {
    async fn new(url: &str) -> Self {
        let mut home = Source::new(Ipv4Addr::LOCALHOST);
        let destination = home.socket.local_addr().unwrap();
        let provider = Arc::new(str0m_aws_lc_rs::default_provider());
        let config = RtcConfig::new().set_crypto_provider(provider).set_rtp_mode(true).clear_codecs();
        let mut rtc = config.enable_h264(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(destination, "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let offer = offer.to_sdp_string();
        let sdp = [("content-type", "application/sdp")];
        let made = request("POST", &format!("{url}/whep/flooded?wait=1"), None, &sdp, offer.clone()).await;
        let made = made.expect("an answer");
        assert_eq!(made.status, 201);
        let answer = String::from_utf8(made.body.to_vec()).unwrap();
        let of = |sdp: &str, name: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            line.trim().to_owned()
        };
        let candidate = of(&answer, "a=candidate:");
        let words: Vec<&str> = candidate.split_whitespace().collect();
        let server: SocketAddr = format!("{}:{}", words[4], words[5]).parse().unwrap();
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        let (began, mut hello) = (Instant::now(), None);
        while hello.is_none() {
            assert!(began.elapsed() < WAIT, "it begins no DTLS");
            let mut buffer = [0; 2_048];
            while let Ok(len) = home.socket.recv(&mut buffer) {
                let contents = buffer[..len].try_into().unwrap();
                let receive = Receive { proto: Protocol::Udp, source: server, destination, contents };
                rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            }
            rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            loop {
                match rtc.poll_output().unwrap() {
                    Output::Timeout(_) => break,
                    Output::Transmit(transmit) if transmit.contents[0] == 22 => {
                        hello = Some(transmit.contents.to_vec());
                    }
                    Output::Transmit(transmit) => home.send(server, &transmit.contents),
                    Output::Event(_) => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (ufrag, pwd) = (of(&answer, "a=ice-ufrag:"), of(&answer, "a=ice-pwd:"));
        let user = format!("{ufrag}:{}", of(&offer, "a=ice-ufrag:"));
        Self { server, user, ufrag, pwd, hello: hello.unwrap(), home }
    }

    /// What proves nothing, of every kind.
    fn hostile(&self, nth: u64) -> Vec<u8> {
        match nth % 5 {
            0 => stun::request("000nobodynobody1:them", Some("a password of somebody's"), nth, &[]),
            1 => stun::request(&self.user, None, nth, &[]),
            2 => stun::request(&self.user, Some("not the password of this"), nth, &[]),
            3 => stun::request(&format!("{}:else", self.ufrag), Some(&self.pwd), nth, &[]),
            _ => self.hello.clone(),
        }
    }

    fn check(&self, nth: u64) -> Vec<u8> {
        stun::request(&self.user, Some(&self.pwd), nth, &[])
    }

    /// A check from the client's own address, and its answer: all that was sent before has been taken in.
    async fn clock(&mut self, nth: u64) {
        let (server, check) = (self.server, self.check(nth));
        self.home.send(server, &check);
        let began = Instant::now();
        while self.home.take() == 0 {
            assert!(began.elapsed() < WAIT, "a good check is not answered in the flood");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Time of all cores that a process has had. The kernel counts in hundredths of a second here, whatever its own.
fn cpu(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_little_and_is_answered_with_less_than_it_sent_and_nobody_who_watches_loses_a_packet() {
    let dev = Dev::start("floods", 1, 200).await;
    let (url, node, pid) = (dev.url().to_owned(), dev.node_url(), dev.pid());
    let mut config = PublisherConfig::new(format!("{url}/whip/watched"));
    config.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
    let publisher = Publisher::connect(config).await.unwrap();
    let mut config = ViewerConfig::new(format!("{url}/whep/watched"));
    config.retry_for = WAIT;
    let viewer = Viewer::connect(config).await.unwrap();
    assert!(viewer.wait_for_media(WAIT).await);

    let ip = |n: usize| Ipv4Addr::new(127, 1 + (n % 100) as u8, (n / 100) as u8, 7);
    let mut strangers: Vec<Source> = (0..STRANGERS).map(|n| Source::new(ip(n))).collect();
    let mut checkers: Vec<Source> = (0..CHECKERS).map(|n| Source::new(ip(STRANGERS + n))).collect();
    let mut known = Known::new(&url).await;
    // What is a flood from elsewhere is answered from the client's own address.
    let (server, hello) = (known.server, known.hello.clone());
    known.home.take();
    known.home.send(server, &hello);
    eventually(WAIT, "DTLS answers its client", || {
        let came = known.home.take();
        async move { (came > 0).then_some(()) }
    })
    .await;

    let counted = async || {
        let unknown = metric(&node, "freshet_node_unknown_datagrams_total").await.unwrap();
        unknown + metric(&node, "freshet_node_bad_datagrams_total").await.unwrap()
    };
    let (idle, began) = (cpu(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let streaming = (cpu(pid) - idle).div_f64(began.elapsed().as_secs_f64());
    let (mut nth, mut hostile, mut checks) = (0_u64, 0_usize, 0_usize);
    let (dropped, mut begin) = (counted().await, None);
    for burst in 0..BURSTS {
        if burst % BURSTS_OF_A_SESSION == 0 {
            known = Known::new(&url).await;
        }
        if burst == BURSTS / 10 {
            // What is kept for the first of them is there now.
            begin = Some((cpu(pid), dev.resident_bytes(), Instant::now(), hostile + checks));
        }
        for _ in 0..BURST {
            nth += 1;
            if nth.is_multiple_of(6) {
                checkers[nth as usize / 6 % CHECKERS].send(known.server, &known.check(nth));
                checks += 1;
            } else {
                strangers[nth as usize % STRANGERS].send(known.server, &known.hostile(nth));
                hostile += 1;
            }
        }
        known.clock(nth).await;
        for source in &mut checkers {
            source.take();
        }
    }
    let (cpu_before, memory, since, before) = begin.unwrap();
    let (spent, grown) = (cpu(pid) - cpu_before, dev.resident_bytes() - memory);
    let all = (hostile + checks - before) as u32;
    let each = spent.saturating_sub(streaming.mul_f64(since.elapsed().as_secs_f64())) / all;
    println!("{each:?} of CPU a datagram, {:.1} MB more memory after {all} of them", grown / 1e6);
    let reached = eventually(WAIT, "every hostile datagram is counted", || async {
        let reached = counted().await - dropped;
        (reached >= hostile as f64).then_some(reached)
    })
    .await;
    assert!(reached < hostile as f64 * 1.01, "{reached} of {hostile}: who is honest is not counted");
    assert!(each < CPU, "{each:?} for each datagram");
    assert!(grown < MEMORY, "{grown} bytes more");
    for source in &mut strangers {
        assert_eq!((source.take(), source.got), (0, 0), "who proves nothing gets no answer");
    }
    for source in &mut checkers {
        source.take();
        assert!(source.got > 0 && source.got <= source.sent, "{} for {} bytes", source.got, source.sent);
    }

    let report = viewer.close().await;
    for kind in [Kind::Video, Kind::Audio] {
        let track = report.track(kind).unwrap();
        assert!(track.received > 60, "{kind:?}: {track:?}");
        assert_eq!(track.missing_after_keyframe + track.payload_mismatch, 0, "{kind:?}: {track:?}");
    }
    publisher.stop().await.unwrap();
    dev.stop();
}
