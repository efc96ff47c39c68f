//! Clients of a shard: str0m as a browser would be, without a socket of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use freshet_node::forward::srtp::{Profile, SrtpSender};
use freshet_node::peer::crypto;
use freshet_node::peer::keys::Keys;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::crypto::CryptoProvider;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::stage::SERVER;
use super::trace::Sample;

pub struct Client {
    rtc: Rtc,
    address: SocketAddr,
    server: SocketAddr,
    mids: [(MediaKind, Mid); 2],
    pending: Option<SdpPendingOffer>,
    pub connected: bool,
    /// What DTLS agreed on; the node's provider lets it be seen.
    pub keys: Option<Keys>,
    out: Vec<Vec<u8>>,
}

impl Client {
    /// A client and its offer.
    pub fn new(now: Instant, address: SocketAddr, flow: Direction) -> (Self, String) {
        Self::with(crypto::provider(), SERVER.parse().unwrap(), now, address, flow)
    }

    /// The same with cryptography and a server of the caller's choice.
    pub fn with(
        provider: Arc<CryptoProvider>,
        server: SocketAddr,
        now: Instant,
        address: SocketAddr,
        flow: Direction,
    ) -> (Self, String) {
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(provider)
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_h264(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let mut api = rtc.sdp_api();
        let mids = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| (kind, api.add_media(kind, flow, None, None, None)));
        let (offer, pending) = api.apply().unwrap();
        let (pending, out) = (Some(pending), Vec::new());
        let client = Self { rtc, address, server, mids, pending, connected: false, keys: None, out };
        (client, offer.to_sdp_string())
    }

    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    /// Its server is here, not where the stage's is.
    pub fn faces(&mut self, server: SocketAddr) {
        self.server = server;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn receive(&mut self, now: Instant, contents: &[u8]) {
        let Ok(parsed) = contents.try_into() else { return };
        let receive = Receive {
            proto: Protocol::Udp,
            source: self.server,
            destination: self.address,
            contents: parsed,
        };
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        self.poll();
    }

    /// Lets time pass; what it sends since the last call.
    pub fn pass(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.poll();
        std::mem::take(&mut self.out)
    }

    /// Publishes a packet; `seq` counts the packets of its kind.
    pub fn publish(&mut self, now: Instant, sample: &Sample, seq: u64, timestamp: u32) {
        let kind = if sample.video { MediaKind::Video } else { MediaKind::Audio };
        let mid = self.mids.iter().find(|(of, _)| *of == kind).unwrap().1;
        let pt = self.rtc.media(mid).unwrap().remote_pts()[0];
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        let write = RtpWrite::new(pt, seq.into(), timestamp, now, sample.payload.to_vec());
        stream.write_rtp(write.marker(sample.marker));
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => self.out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(_) => {}
            }
        }
        // They would be taken for those of the server's session that is polled next on this thread.
        self.keys = crypto::take_keys().or(self.keys.take());
    }
}

/// What seals what a client says.
pub fn sealer(keys: &Keys) -> SrtpSender {
    let profile = Profile::try_from(keys.profile).unwrap();
    SrtpSender::from_keying_material(profile, &keys.material, keys.client).unwrap()
}
