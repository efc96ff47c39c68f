//! A client whose DTLS is OpenSSL's and offers nothing but AES-CM: what it exports opens what it is sent.
//!
//! ICE is a stock client's, whose own DTLS is thrown away; OpenSSL's goes in its place, by a socket on loopback.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::Direction as Flow;
use str0m::media::MediaKind::Video;

use super::client::{Client, payload, usual};
use super::world::World;
use crate::forward::rtp::parse;
use crate::forward::srtp::{Profile, SrtpSender};
use crate::forward::train::Way;
use crate::service::Direction::{Publish, View};

const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Makes a certificate; returns its fingerprint as SDP writes it.
fn certificate(dir: &Path) -> String {
    let mut make = openssl(
        dir,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=viewer",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
    );
    assert!(make.status().expect("openssl is installed").success());
    let shown =
        openssl(dir, &["x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    format!("sha-256 {}", shown.trim().split_once('=').unwrap().1)
}

/// A DTLS client that calls this port, and the lines that it prints.
fn dtls_client(dir: &Path, port: u16) -> (Running, Receiver<String>) {
    let server = format!("127.0.0.1:{port}");
    let args = [
        "s_client",
        "-dtls1_2",
        "-connect",
        &server,
        "-cert",
        "cert.pem",
        "-key",
        "key.pem",
        "-use_srtp",
        "SRTP_AES128_CM_SHA1_80",
        "-keymatexport",
        "EXTRACTOR-dtls_srtp",
        "-keymatexportlen",
        "60",
    ];
    let mut child = openssl(dir, &args).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, lines) = channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    (Running(child), lines)
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A viewer whose offer has this fingerprint and whose DTLS is another's.
fn join(world: &mut World, fingerprint: &str) -> usize {
    let (mut rtc, addr) = world.rtc(usual);
    let mut api = rtc.sdp_api();
    let mid = api.add_media(Video, Flow::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let offer = offer.to_sdp_string();
    let lines = offer.lines().map(|line| match line.split_once(':') {
        Some(("a=fingerprint", _)) => format!("a=fingerprint:{fingerprint}\r\n"),
        _ => format!("{line}\r\n"),
    });
    let (session, answer) = world.ask(View, lines.collect());
    assert!(answer.contains("a=setup:passive"), "{answer}");
    rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    let mut client = Client::new(rtc, (addr, world.now), session, vec![(Video, mid)], answer);
    client.others_dtls = Some(VecDeque::new());
    // Keeps what comes.
    client.lose_every = Some(usize::MAX);
    world.clients.push(client);
    world.clients.len() - 1
}

#[test]
fn a_client_that_offers_only_aes_cm_agrees_on_it_and_opens_what_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = certificate(dir.path());
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let viewer = join(&mut world, &fingerprint);
    world.pass(Duration::from_millis(200));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (_running, lines) = dtls_client(dir.path(), socket.local_addr().unwrap().port());
    let (mut said, mut client_at, end) = (Vec::new(), None, Instant::now() + PATIENCE);
    let material = loop {
        assert!(Instant::now() < end, "no keys in time: {said:#?}");
        let mut datagram = [0; 2_000];
        if let Ok((len, from)) = socket.recv_from(&mut datagram) {
            client_at = Some(from);
            let way = Way { peer: world.clients[viewer].addr, local: world.called };
            world.sfu.handle_datagram(world.now, way, &datagram[..len]);
        }
        world.pass(Duration::from_millis(10));
        let out = world.clients[viewer].others_dtls.as_mut().unwrap().drain(..);
        if let Some(to) = client_at {
            out.for_each(|datagram| assert_eq!(socket.send_to(&datagram, to).unwrap(), datagram.len()));
        }
        said.extend(lines.try_iter());
        let exported = said.iter().find_map(|line| line.trim().strip_prefix("Keying material: "));
        if let Some(material) = exported {
            break bytes(material);
        }
    };
    assert!(said.iter().any(|line| line.contains("SRTP_AES128_CM_SHA1_80")), "{said:#?}");

    let sent: Vec<Vec<u8>> = (0..40).map(|n| payload(Video, 100 + n, n == 0)).collect();
    for n in 0..40_u32 {
        world.frame(0, Video, 100 + u64::from(n), 1, n * 3_000, n == 0);
        world.pass(Duration::from_millis(30));
    }
    // Sealed again by what OpenSSL exported, what should have been sent is what was sent, byte by byte. RFC 5764 has two
    // keys of 16 bytes and then two salts of 14, the client's first.
    let server = SrtpSender::from_keying_material(Profile::Aes128CmSha1_80, &material, false).unwrap();
    let came = &world.clients[viewer].came;
    assert_eq!(came.len(), sent.len());
    for (packet, payload) in came.iter().zip(&sent) {
        let parsed = parse(packet).unwrap();
        let header = packet.len() - parsed.payload.len();
        let mut expected = packet[..header].to_vec();
        expected.resize(packet.len(), 0);
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
        let len = server.seal_rtp(&mut expected, header, payload, ssrc, 0, seq).unwrap();
        assert!(len == packet.len() && expected == *packet, "packet {seq} is sealed otherwise");
    }
    let counters = world.sfu.counters();
    assert_eq!((counters.seal_failures, counters.str0m_viewer_rtp), (0, 0), "{counters:?}");
}
