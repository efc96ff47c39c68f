//! What a viewer costs before and beside its packets: joining, memory, idling.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_node::peer::crypto;
use str0m::config::{DtlsCert, DtlsVersion};
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use super::READER_CORE;
use super::common::measure::{Meter, Samples};
use super::common::report::{Row, Target};
use super::common::sinks::{Reading, Sinks};
use super::common::stage::{SERVER, Stage};
use super::common::trace::Trace;
use super::common::{Settings, allocations};

fn addresses(count: usize) -> Vec<SocketAddr> {
    (0..count).map(|nth| SocketAddr::from(([127, 0, (nth >> 8) as u8, nth as u8], 20_000))).collect()
}

/// CPU of the server from the offer to the connected viewer, against bare ICE and DTLS.
pub async fn join(settings: &Settings) -> Vec<Row> {
    let (viewers, repetitions) = (settings.size(100, 5), settings.size(9, 1));
    let (mut ours, mut reference) = (Samples::default(), Samples::default());
    let (mut answers, mut handshakes, mut dtls) =
        (Samples::default(), Samples::default(), Samples::default());
    for turn in 0..=repetitions {
        let mut bare = Meter::default();
        (0..viewers).for_each(|_| drop(handshake(&mut bare)));
        let mut alone = Meter::default();
        (0..viewers).for_each(|_| drop(dtls_alone(&mut alone)));
        let mut full = Meter::default();
        let mut stage = Stage::new(1, Duration::ZERO).await;
        stage.mute();
        let answering = stage.join(&addresses(viewers), &mut full);
        if turn > 0 {
            answers.push(answering / viewers as f64);
            handshakes.push((full.micros() - answering) / viewers as f64);
            reference.push(bare.micros() / viewers as f64);
            dtls.push(alone.micros() / viewers as f64);
            ours.push(full.micros() / viewers as f64);
        }
    }
    let unit = "µs of CPU a join";
    let row = |name: &str, ours, reference, target, note: &str| Row {
        name: name.to_owned(),
        unit,
        ours,
        reference,
        target,
        note: note.to_owned(),
    };
    let bare = "bare: str0m's ICE and DTLS by its direct API, without SDP, tracks and socket";
    let ([recycled, new], note) = lives(viewers, repetitions).await;
    vec![
        row("join of a viewer", ours, Some(reference.clone()), Target::Ratio(2.0), bare),
        row("join, the answer to the offer", answers, None, Target::None, "SDP, and the session made"),
        row("join, from the answer to connected", handshakes, Some(reference.clone()), Target::None, bare),
        row(
            "of the bare handshake, DTLS alone",
            dtls,
            Some(reference),
            Target::None,
            "dimpl's server without ICE",
        ),
        Row {
            unit: "µs of CPU a viewer",
            ..row("who comes, watches a keyframe and goes", recycled, Some(new), Target::None, &note)
        },
    ]
}

/// Viewers who come, are sent a keyframe, ask for a packet of it again and go: in memory that those before them have
/// left, and in new memory.
async fn lives(viewers: usize, repetitions: usize) -> ([Samples; 2], String) {
    let mut trace = Trace::new(1);
    trace.moments.retain(|moment| moment.at.is_zero());
    let sinks = [(); 2].map(|()| Sinks::new(viewers, Reading::Read, READER_CORE));
    let mut stages = [Stage::sparing(viewers).await, Stage::sparing(0).await];
    let (mut cost, mut allocated) =
        ([Samples::default(), Samples::default()], [Samples::default(), Samples::default()]);
    for turn in 0..=repetitions {
        for (nth, (stage, sinks)) in stages.iter_mut().zip(&sinks).enumerate() {
            let (mut meter, before) = (Meter::default(), stage.allocated);
            let asked = stage.media().1;
            stage.join(&sinks.addresses(), &mut meter);
            stage.forget_sent(sinks);
            stage.listen(sinks, true, |keys| keys);
            stage.play(&trace, sinks, &mut meter);
            stage.end_all(&mut meter);
            assert!(stage.media().1 >= asked + viewers as u64, "each asks for a packet again");
            let spares = if nth == 0 { (viewers, viewers) } else { (0, 0) };
            assert_eq!(stage.sfu.spares(), spares, "each leaves its memory");
            if turn > 0 {
                cost[nth].push(meter.micros() / viewers as f64);
                allocated[nth].push((stage.allocated - before) as f64 / viewers as f64);
            }
        }
    }
    let [recycled, new] = allocated.map(|samples| samples.median());
    let note = format!(
        "in memory of those before, with {recycled:.0} allocations; reference: in new memory, with {new:.0}"
    );
    (cost, note)
}

/// One end of a bare connection.
struct End {
    rtc: Rtc,
    address: SocketAddr,
    connected: bool,
}

impl End {
    fn new(now: Instant, address: SocketAddr, lite: bool, creds: IceCreds, cert: Option<DtlsCert>) -> Self {
        let provider = if lite { crypto::provider() } else { Arc::new(str0m_aws_lc_rs::default_provider()) };
        let mut config = RtcConfig::new()
            .set_crypto_provider(provider)
            .set_ice_lite(lite)
            .set_dtls_version(DtlsVersion::Dtls12)
            .set_stats_interval(None)
            .set_local_ice_credentials(creds)
            .clear_codecs();
        if let Some(cert) = cert {
            config = config.set_dtls_cert(cert);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self { rtc, address, connected: false }
    }

    fn meet(&mut self, other: (SocketAddr, IceCreds, str0m::crypto::Fingerprint), server: bool) {
        let mut api = self.rtc.direct_api();
        api.set_ice_controlling(!server);
        api.set_remote_ice_credentials(other.1);
        api.set_remote_fingerprint(other.2);
        api.start_dtls(!server).unwrap();
        self.rtc.add_remote_candidate(Candidate::host(other.0, "udp").unwrap());
    }

    fn step(&mut self, now: Instant, from: SocketAddr, wire: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for contents in wire {
            let receive = Receive {
                proto: Protocol::Udp,
                source: from,
                destination: self.address,
                contents: contents.as_slice().try_into().unwrap(),
            };
            self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            self.poll(&mut out);
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.poll(&mut out);
        out
    }

    fn poll(&mut self, out: &mut Vec<Vec<u8>>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
            }
        }
    }
}

thread_local! {
    static CERT: DtlsCert = crypto::certificate().unwrap();
}

/// A bare handshake; the server's side is on the clock. Returns that side.
fn handshake(meter: &mut Meter) -> Rtc {
    let mut now = Instant::now();
    let server_at: SocketAddr = SERVER.parse().unwrap();
    let client_at: SocketAddr = "127.0.0.1:20000".parse().unwrap();
    let (mine, theirs) = (IceCreds::new(), IceCreds::new());
    let cert = CERT.with(Clone::clone);
    let mut client = End::new(now, client_at, false, theirs.clone(), None);
    let of_client = client.rtc.direct_api().local_dtls_fingerprint().clone();
    let mut server = meter.time(|| {
        let mut server = End::new(now, server_at, true, mine.clone(), Some(cert));
        server.meet((client_at, theirs, of_client), true);
        server
    });
    let of_server = server.rtc.direct_api().local_dtls_fingerprint().clone();
    client.meet((server_at, mine, of_server), false);
    let mut to_client = Vec::new();
    for _ in 0..1_000 {
        let to_server = client.step(now, server_at, &to_client);
        to_client = meter.time(|| server.step(now, client_at, &to_server));
        if client.connected && server.connected {
            return server.rtc;
        }
        if to_client.is_empty() {
            now += Duration::from_millis(10);
        }
    }
    panic!("the bare handshake never ends");
}

/// What one end of a DTLS handshake says, put into `wire`; true when it is through.
fn say(end: &mut dyn DtlsInstance, buffer: &mut [u8], wire: &mut Vec<Vec<u8>>) -> bool {
    let mut connected = false;
    loop {
        match end.poll_output(buffer) {
            DtlsOutput::Packet(packet) => wire.push(packet.to_vec()),
            DtlsOutput::Connected => connected = true,
            DtlsOutput::Timeout(_) => return connected,
            _ => {}
        }
    }
}

/// DTLS alone; the server's side is on the clock. Returns that side.
fn dtls_alone(meter: &mut Meter) -> Box<dyn DtlsInstance> {
    let (mut now, mut buffer) = (Instant::now(), vec![0; 4_096]);
    let (mine, theirs) = (crypto::provider(), str0m_aws_lc_rs::default_provider());
    let cert = CERT.with(Clone::clone);
    let new = |provider: &CryptoProvider| {
        provider.dtls_provider.new_dtls(&cert, now, DtlsVersion::Dtls12, None).unwrap()
    };
    let mut client = new(&theirs);
    client.set_active(true);
    client.handle_timeout(now).unwrap();
    let mut server = meter.time(|| {
        let mut server = new(&mine);
        server.set_active(false);
        server.handle_timeout(now).unwrap();
        server
    });
    let (mut to_client, mut connected) = (Vec::new(), (false, false));
    for _ in 0..1_000 {
        let mut to_server = Vec::new();
        to_client.drain(..).for_each(|packet: Vec<u8>| client.handle_packet(&packet).unwrap());
        connected.0 |= say(&mut *client, &mut buffer, &mut to_server);
        connected.1 |= meter.time(|| {
            to_server.iter().for_each(|packet| server.handle_packet(packet).unwrap());
            say(&mut *server, &mut buffer, &mut to_client)
        });
        if connected == (true, true) {
            crypto::take_keys();
            return server;
        }
        if to_client.is_empty() {
            now += Duration::from_millis(10);
            client.handle_timeout(now).unwrap();
            meter.time(|| server.handle_timeout(now).unwrap());
        }
    }
    panic!("DTLS never ends");
}

/// Heap that each of some things keeps, in kB.
fn kept<T>(count: usize, make: impl Fn() -> T) -> Samples {
    // Caches of the process are not theirs.
    drop(make());
    let mut kept = Vec::with_capacity(count);
    let before = allocations::live();
    (0..count).for_each(|_| kept.push(make()));
    let mut samples = Samples::default();
    samples.push((allocations::live() - before) as f64 / 1e3 / count as f64);
    samples
}

/// Heap of a connected viewer.
pub async fn memory(settings: &Settings) -> Vec<Row> {
    let viewers = settings.size(1_000, 20);
    let trace = Trace::new(settings.size(2, 1));
    let mut stage = Stage::new(1, Duration::ZERO).await;
    let sinks = Sinks::new(viewers + 1, Reading::Read, READER_CORE);
    let (first, others) = {
        let all = sinks.addresses();
        (vec![all[0]], all[1..].to_vec())
    };
    // The stream's ring and the growth of shared lists and caches of the process are not the viewers'.
    stage.join(&first, &mut Meter::default());
    stage.forget_sent(&sinks);
    (0..2).for_each(|_| stage.play(&trace, &sinks, &mut Meter::default()));
    let before = allocations::live();
    stage.join(&others, &mut Meter::default());
    stage.forget_sent(&sinks);
    stage.listen(&sinks, true, |keys| keys);
    (0..3).for_each(|_| stage.play(&trace, &sinks, &mut Meter::default()));
    assert_eq!(stage.sfu.kept().0, viewers + 1);
    assert!(stage.media().1 > viewers as u64, "packets are asked for again");
    stage.drop_clients();
    let mut ours = Samples::default();
    ours.push((allocations::live() - before) as f64 / 1e3 / viewers as f64);
    let (name, target) = (format!("heap of a viewer, over {viewers}"), Target::Most(96.0));
    let row = |name: String, ours, target, note: &str| Row {
        name,
        unit: "kB",
        ours,
        reference: None,
        target,
        note: note.to_owned(),
    };
    let bare = kept(viewers, || Box::new(handshake(&mut Meter::default())));
    let dtls = kept(viewers, || dtls_alone(&mut Meter::default()));
    vec![
        row(
            name,
            ours,
            target,
            "they watch sound and picture, ask for packets again and tell of transport-wide numbers",
        ),
        row("of a bare handshake".to_owned(), bare, Target::None, "str0m's ICE and DTLS by its direct API"),
        row("of DTLS alone".to_owned(), dtls, Target::None, "dimpl's server, connected"),
    ]
}

/// CPU of viewers to whom nothing is sent.
pub async fn idle(settings: &Settings) -> Vec<Row> {
    let (viewers, repetitions) = (settings.size(1_000, 20), settings.size(5, 1));
    const SECONDS: u64 = 10;
    let mut stage = Stage::new(1, Duration::ZERO).await;
    let sinks = Sinks::new(viewers, Reading::Unread, READER_CORE);
    stage.join(&sinks.addresses(), &mut Meter::default());
    // They have watched, so reports go on.
    stage.play(&Trace::new(1), &sinks, &mut Meter::default());
    let mut ours = Samples::default();
    for turn in 0..=repetitions {
        let (mut meter, end) = (Meter::default(), stage.now + Duration::from_secs(SECONDS));
        stage.run_until(end, &mut meter);
        if turn > 0 {
            ours.push(meter.micros() / 1e6 / SECONDS as f64 * 100.0);
        }
    }
    assert_eq!(stage.sfu.kept().0, viewers, "all stay connected");
    let (name, target) = (format!("{viewers} viewers of a paused stream"), Target::Most(3.0));
    let note = "timers, STUN, reports and their sending; receiving system calls are not in it".to_owned();
    vec![Row { name, unit: "% of a core", ours, reference: None, target, note }]
}
