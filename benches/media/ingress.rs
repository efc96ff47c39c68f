//! What a publisher's packet costs on its way into the ring, against str0m's receiving alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::{SessionId, unit::UnixMillis};
use freshet_node::peer::crypto;
use freshet_node::session::Direction;
use freshet_node::sfu::Sfu;
use str0m::change::SdpOffer;
use str0m::config::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::common::Settings;
use super::common::client::Client;
use super::common::measure::{Meter, Samples};
use super::common::report::{Row, Target};
use super::common::stage::{SERVER, Stage};
use super::common::trace::Trace;

const CLIENT: &str = "127.0.0.1:20000";

/// Who takes the publisher's datagrams.
trait Taker {
    fn take(&mut self, now: Instant, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>>;
    fn packets(&self) -> u64;
}

struct Ours {
    sfu: Sfu,
    from: SocketAddr,
}

impl Taker for Ours {
    fn take(&mut self, now: Instant, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for contents in datagrams {
            self.sfu.handle_datagram(now, self.from, contents);
        }
        if self.sfu.poll_timeout().is_some_and(|due| due <= now) {
            self.sfu.handle_timeout(now);
        }
        let mut out = Vec::new();
        while let Some(datagram) = self.sfu.poll_datagram() {
            out.push(datagram.contents);
        }
        out
    }

    fn packets(&self) -> u64 {
        self.sfu.counters().ingress_packets
    }
}

struct Bare {
    rtc: Rtc,
    from: SocketAddr,
    to: SocketAddr,
    due: Instant,
    packets: u64,
}

impl Bare {
    fn poll(&mut self, out: &mut Vec<Vec<u8>>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(due) => {
                    self.due = due;
                    return;
                }
                Output::Transmit(transmit) => out.push(transmit.contents.to_vec()),
                Output::Event(Event::RtpPacket(_)) => self.packets += 1,
                Output::Event(_) => {}
            }
        }
    }
}

impl Taker for Bare {
    fn take(&mut self, now: Instant, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for contents in datagrams {
            let receive = Receive {
                proto: Protocol::Udp,
                source: self.from,
                destination: self.to,
                contents: contents.as_slice().try_into().unwrap(),
            };
            self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            self.poll(&mut out);
        }
        if self.due <= now {
            self.rtc.handle_input(Input::Timeout(now)).unwrap();
            self.poll(&mut out);
        }
        out
    }

    fn packets(&self) -> u64 {
        self.packets
    }
}

/// A publisher and its taker.
struct Flow<T> {
    client: Client,
    taker: T,
    now: Instant,
    played: u32,
    seqs: (u64, u64),
}

impl<T: Taker> Flow<T> {
    fn connect(client: Client, taker: T, now: Instant) -> Self {
        let mut flow = Self { client, taker, now, played: 0, seqs: (100, 100) };
        for _ in 0..200 {
            flow.exchange(&mut Meter::default());
            flow.now += Duration::from_millis(10);
        }
        assert!(flow.client.connected, "the publisher connects");
        flow
    }

    fn exchange(&mut self, meter: &mut Meter) {
        loop {
            let said = self.client.pass(self.now);
            let Self { taker, now, .. } = self;
            let heard = meter.time(|| taker.take(*now, &said));
            heard.iter().for_each(|contents| self.client.receive(self.now, contents));
            if heard.is_empty() {
                return;
            }
        }
    }

    /// Publishes the trace; the taker's CPU time in microseconds a packet.
    fn play(&mut self, trace: &Trace) -> f64 {
        let (begin, before) = (self.now, self.taker.packets());
        let mut meter = Meter::default();
        for moment in &trace.moments {
            self.now = begin + moment.at;
            for sample in &moment.packets {
                let (seq, rate) =
                    if sample.video { (&mut self.seqs.0, 90_000) } else { (&mut self.seqs.1, 48_000) };
                *seq += 1;
                let timestamp = sample.timestamp.wrapping_add(self.played.wrapping_mul(rate));
                self.client.publish(self.now, sample, *seq, timestamp);
            }
            self.exchange(&mut meter);
        }
        self.now = begin + trace.length;
        self.exchange(&mut meter);
        self.played += trace.length.as_secs() as u32;
        assert_eq!(self.taker.packets() - before, trace.packets() as u64, "every packet is taken");
        meter.micros() / trace.packets() as f64
    }
}

async fn ours() -> Flow<Ours> {
    let mut stage = Stage::new(0, Duration::ZERO).await;
    let (mut client, offer) =
        Client::new(stage.now, CLIENT.parse().unwrap(), str0m::media::Direction::SendOnly);
    client.accept(&stage.create(Direction::Publish, 0, offer, &mut Meter::default()));
    let now = stage.now;
    stage.sfu.handle_claimed(now, SessionId::from_bits(1), super::common::stage::key(0), UnixMillis(1));
    Flow::connect(client, Ours { sfu: stage.sfu, from: CLIENT.parse().unwrap() }, now)
}

fn bare() -> Flow<Bare> {
    let now = Instant::now();
    let (mut client, offer) = Client::new(now, CLIENT.parse().unwrap(), str0m::media::Direction::SendOnly);
    let mut rtc = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m_aws_lc_rs::default_provider()))
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_dtls_version(DtlsVersion::Dtls12)
        .set_dtls_cert(crypto::certificate().unwrap())
        .set_stats_interval(None)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_h264(true)
        .build(now);
    rtc.add_local_candidate(Candidate::host(SERVER.parse().unwrap(), "udp").unwrap());
    let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&offer).unwrap()).unwrap();
    client.accept(&answer.to_sdp_string());
    Flow::connect(
        client,
        Bare { rtc, from: CLIENT.parse().unwrap(), to: SERVER.parse().unwrap(), due: now, packets: 0 },
        now,
    )
}

/// Interleaved repetitions of a trace.
async fn compare(settings: &Settings, trace: &Trace) -> (Samples, Samples) {
    let (mut ours_of, mut bare_of) = (ours().await, bare());
    let (mut ours, mut reference) = (Samples::default(), Samples::default());
    for turn in 0..=settings.size(15, 1) {
        let (one, other) = (bare_of.play(trace), ours_of.play(trace));
        if turn > 0 {
            reference.push(one);
            ours.push(other);
        }
    }
    (ours, reference)
}

/// From the datagram to the ring, against from the datagram to the packet.
pub async fn ingress(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(10, 1));
    let spread = trace.spread(Duration::from_millis(1));
    let mut rows = Vec::new();
    for (name, trace, target, note) in [
        (
            "ingress, one publisher",
            &trace,
            Target::Ratio(1.2),
            "reference: str0m in RTP mode, packets dropped as they come",
        ),
        (
            "ingress, packets 1 ms apart",
            &spread,
            Target::None,
            "the same from a publisher that spreads its frames: each packet is a moment of its own",
        ),
    ] {
        let (ours, reference) = compare(settings, trace).await;
        let (name, note) = (name.to_owned(), note.to_owned());
        rows.push(Row { name, unit: "µs of CPU a packet", ours, reference: Some(reference), target, note });
    }
    rows
}
