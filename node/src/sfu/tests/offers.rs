//! Simulcast offers as other clients than Chromium write them: what they are answered, and where their layers come in.

use std::collections::HashMap;
use std::time::Duration;

use freshet_relay_proto::track::MediaKind as TrackKind;
use str0m::IceCreds;
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt, Rid};
use str0m::rtp::{Extension, RtpWrite, Ssrc};

use super::client::Client;
use super::world::World;
use crate::peer::sdp;
use crate::service::Direction::{Publish, View};

/// Of Firefox ESR 153 with `sendEncodings` q, h and f.
const FIREFOX: &str = include_str!("../../../../tests/data/offer-simulcast-firefox.sdp");
/// As OBS 32 writes it with three layers.
const OBS: &str = include_str!("../../../../tests/data/offer-simulcast-obs.sdp");

/// A publisher with somebody else's offer, under its own keys and address.
pub(super) struct Host {
    pub world: World,
    offer: sdp::Session,
    pt: Pt,
    layers: Vec<Ssrc>,
    sound: Option<(Pt, Ssrc)>,
}

impl Host {
    pub fn new(offer: &str, codec: Codec) -> Self {
        let mut world = World::new();
        let read = sdp::read(offer).unwrap();
        let video = read.media.iter().find(|media| media.kind == Some(TrackKind::Video)).unwrap();
        let name = format!("{codec:?}");
        let format = video.codecs.iter().find(|c| c.name.eq_ignore_ascii_case(&name)).unwrap();
        let of_sound = read.media.iter().find(|media| media.kind == Some(TrackKind::Audio)).map(|media| {
            let opus = media.codecs.iter().find(|c| c.name.eq_ignore_ascii_case("opus")).unwrap();
            (
                Mid::from(media.mid.as_deref().unwrap()),
                Pt::from(opus.pt),
                Ssrc::from(media.ssrc.unwrap_or(6_000)),
            )
        });
        let (mut rtc, addr) = world.rtc(|mut config| {
            let mode = format.param("packetization-mode").map(|mode| mode.parse().unwrap());
            let params = FormatParams { packetization_mode: mode, ..FormatParams::default() };
            config = config.enable_raw_packets(true);
            let (rate, rtx) = (Frequency::NINETY_KHZ, format.rtx.map(Pt::from));
            config.codec_config().add_config(format.pt.into(), rtx, codec, rate, None, params);
            if let Some((_, pt, _)) = of_sound {
                let (rate, params) = (Frequency::FORTY_EIGHT_KHZ, FormatParams::default());
                config.codec_config().add_config(pt, None, Codec::Opus, rate, Some(2), params);
            }
            for (id, uri) in &video.extensions {
                for known in [Extension::RtpMid, Extension::RtpStreamId, Extension::RepairedRtpStreamId] {
                    if known.as_uri() == uri {
                        config = config.set_extension(*id, known);
                    }
                }
            }
            config
        });
        let creds = rtc.direct_api().local_ice_credentials();
        let fingerprint = rtc.direct_api().local_dtls_fingerprint().to_string();
        let theirs = sdp::with_credentials(offer, &creds.ufrag, &creds.pass);
        let theirs = theirs.lines().map(|line| {
            let own = line.starts_with("a=fingerprint:").then(|| format!("a=fingerprint:{fingerprint}"));
            format!("{}\r\n", own.as_deref().unwrap_or(line))
        });
        let (session, answer) = world.ask(Publish, theirs.collect());

        let ours = sdp::read(&answer).unwrap();
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let remote: Fingerprint = field("a=fingerprint:").parse().unwrap();
        let passive = field("a=setup:") == "passive";
        let mid: Mid = video.mid.as_deref().unwrap().into();
        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(IceCreds { ufrag: ours.ufrag.unwrap(), pass: ours.pwd.unwrap() });
        api.set_remote_fingerprint(remote);
        api.start_dtls(passive).unwrap();
        api.declare_media(mid, MediaKind::Video);
        let mut names: Vec<Option<Rid>> =
            video.layers_sent.iter().map(|name| Some(name.as_str().into())).collect();
        let mut layers: Vec<Ssrc> = (0..names.len() as u32).map(|n| Ssrc::from(7_000 + n)).collect();
        if names.is_empty() {
            // Some say where it belongs by these lines alone.
            (names, layers) = (vec![None], vec![Ssrc::from(video.ssrc.unwrap_or(7_000))]);
        }
        for (ssrc, name) in layers.iter().zip(names) {
            let of_one = video.rtx_ssrc.filter(|_| video.layers_sent.is_empty());
            let rtx = format.rtx.map(|_| Ssrc::from(of_one.unwrap_or(**ssrc + 100)));
            api.declare_stream_tx(*ssrc, rtx, mid, name);
        }
        if let Some((mid, _, ssrc)) = of_sound {
            api.declare_media(mid, MediaKind::Audio);
            api.declare_stream_tx(ssrc, None, mid, None);
        }
        rtc.add_remote_candidate(
            str0m::Candidate::host(super::client::SERVER.parse().unwrap(), "udp").unwrap(),
        );
        let pt = format.pt.into();
        let client = Client::new(rtc, (addr, world.now), session, vec![(MediaKind::Video, mid)], answer);
        world.clients.push(client);
        world.claim(0, 1);
        world.pass(Duration::from_millis(300));
        assert!(world.clients[0].connected, "{}", world.clients[0].answer);
        Self { world, offer: read, pt, layers, sound: of_sound.map(|(_, pt, ssrc)| (pt, ssrc)) }
    }

    /// Sends one packet of video and one of sound, and lets them arrive.
    pub fn write(&mut self, seq: u64, ts: u32, payload: Vec<u8>) {
        let now = self.world.now;
        let write = RtpWrite::new(self.pt, seq.into(), ts, now, payload).marker(true).nackable(true);
        let mut api = self.world.clients[0].rtc.direct_api();
        api.stream_tx(&self.layers[0]).unwrap().write_rtp(write);
        if let Some((pt, ssrc)) = self.sound {
            let write = RtpWrite::new(pt, seq.into(), seq as u32 * 1_600, now, vec![0x78; 80]).marker(false);
            api.stream_tx(&ssrc).unwrap().write_rtp(write);
        }
        self.world.pass(Duration::from_millis(33));
    }

    pub fn answer(&self) -> &str {
        &self.world.clients[0].answer
    }

    /// Sends one packet in each layer, which says which one it is.
    fn send(&mut self, seq: u64, start: &[u8]) {
        for (n, ssrc) in self.layers.iter().enumerate() {
            let mut payload = start.to_vec();
            payload.resize(400, n as u8);
            let write = RtpWrite::new(self.pt, seq.into(), seq as u32 * 3_000, self.world.now, payload);
            let mut api = self.world.clients[0].rtc.direct_api();
            api.stream_tx(ssrc).unwrap().write_rtp(write.marker(true));
        }
        self.world.pass(Duration::from_millis(33));
    }

    /// Each layer's packets come into a lane of its own, in the order in which the offer names them.
    fn assert_lanes(&mut self, start: &[u8]) {
        for seq in 100..120 {
            if seq == 117 {
                self.world.clients[0].lose_sent_every = None;
            }
            self.send(seq, start);
        }
        self.world.pass(Duration::from_millis(300));
        let track =
            self.offer.media.iter().position(|media| media.kind == Some(TrackKind::Video)).unwrap() as u8;
        for n in 0..self.layers.len() as u8 {
            let lane = self.world.sfu.lane_of(&World::key(1), (track, n)).expect("a lane for each layer");
            let lane = self.world.sfu.lanes.get(lane).unwrap();
            let came: Vec<u8> = lane.ring.iter_from(0).map(|packet| packet.payload[399]).collect();
            assert_eq!(came, [n; 20], "layer {n}");
            assert!(lane.ring.iter_from(0).all(|packet| packet.keyframe), "and is known for what it is");
        }
        assert_eq!(self.world.sfu.counters().unplaced_packets, 0);
    }
}

/// The answer's lines about layers, in order.
fn layer_lines(answer: &str) -> Vec<&str> {
    let about = |line: &&str| line.starts_with("a=rid:") || line.starts_with("a=simulcast:");
    answer.lines().filter(about).collect()
}

/// The same where Firefox has its H.264 plugin.
fn with_h264(offer: &str) -> String {
    let lines = "a=rtpmap:126 H264/90000\na=rtpmap:127 rtx/90000\na=fmtp:127 apt=126\na=rtcp-fb:126 nack\n\
                 a=rtcp-fb:126 nack pli\na=rtcp-fb:126 ccm fir\na=rtcp-fb:126 transport-cc\n\
                 a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1\n";
    let offer = offer.replace("SAVPF 120 124 ", "SAVPF 120 124 126 127 ");
    offer.replace("a=rtpmap:120 VP8", &format!("{lines}a=rtpmap:120 VP8"))
}

#[test]
fn firefoxs_layers_are_taken_in_by_their_names_in_h264_and_vp8() {
    for (codec, keyframe) in [(Codec::H264, &[0x65, 0x88][..]), (Codec::Vp8, &[0x10, 0x50])] {
        let mut host = Host::new(&with_h264(FIREFOX), codec);
        let mut lines = layer_lines(host.answer());
        lines.sort_unstable();
        assert_eq!(lines, ["a=rid:f recv", "a=rid:h recv", "a=rid:q recv", "a=simulcast:recv q;h;f"]);
        host.assert_lanes(keyframe);
    }
}

#[test]
fn the_layers_of_obs_are_taken_in_and_what_it_loses_is_asked_for_again() {
    let mut host = Host::new(OBS, Codec::H264);
    let mut lines = layer_lines(host.answer());
    lines.sort_unstable();
    assert_eq!(lines, ["a=rid:0 recv", "a=rid:1 recv", "a=rid:2 recv", "a=simulcast:recv 0;1;2"]);
    assert!(host.answer().contains("a=rtcp-fb:96 nack\r\n"), "{}", host.answer());
    // It repeats packets as they were.
    host.world.clients[0].lose_sent_every = Some(7);
    host.world.clients[0].repeats = Some(HashMap::new());
    host.assert_lanes(&[0x65, 0x88]);
    assert!(host.world.clients[0].sent_lost >= 7, "{}", host.world.clients[0].sent_lost);
    let viewer = host.world.join(View, &[MediaKind::Video]);
    for seq in 120..150 {
        host.send(seq, &[0x65, 0x88]);
    }
    assert!(host.world.clients[viewer].got.len() > 20, "it is shown one of them");
}
