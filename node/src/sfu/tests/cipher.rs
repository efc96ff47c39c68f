//! A client without an AEAD profile: what it is sent and what it says goes by AES-CM and HMAC-SHA1.
//!
//! The DTLS of these tests always has AEAD to agree on, so both ends are handed keys as they would have exported them
//! had the client offered nothing but AES-CM. From there on everything is the real thing, and the client is stock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::KeyingMaterial;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::media::MediaKind::{Audio, Video};

use super::client::{World, payload, usual};
use crate::forward::rtp::parse;
use crate::peer::crypto;
use crate::peer::keys::Keys;
use crate::service::Direction::{Publish, View};

const PROFILE: SrtpProfile = SrtpProfile::AES128_CM_SHA1_80;
/// Two keys of 16 bytes and two salts of 14.
const MATERIAL: usize = 60;
/// Ten bytes of HMAC.
const TAG: usize = 10;
const FRAMES: u64 = 60;

/// What a shard gets.
fn take_keys() -> Option<Keys> {
    let keys = crypto::take_keys()?;
    Some(Keys { material: keys.material[..MATERIAL].to_vec(), profile: PROFILE, ..keys })
}

/// What the client gets.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&crypto::provider());
    provider.dtls_provider = &WithoutAead;
    Arc::new(provider)
}

#[derive(Debug)]
struct WithoutAead;

#[derive(Debug)]
struct Session(Box<dyn DtlsInstance>);

impl DtlsProvider for WithoutAead {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        crypto::certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(Session(crypto::provider().dtls_provider.new_dtls(cert, now, version, mtu)?)))
    }
}

impl DtlsInstance for Session {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.0.poll_output(buf) {
            DtlsOutput::KeyingMaterial(material, _) => {
                DtlsOutput::KeyingMaterial(KeyingMaterial::new(&material.as_ref()[..MATERIAL]), PROFILE)
            }
            output => output,
        }
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.0.is_active()
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[test]
fn a_client_without_aead_is_shown_everything_sent_again_what_it_lost_and_heard() {
    let mut world = World::with(|config| config.common.take_keys = take_keys);
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let own = |config| usual(config).set_crypto_provider(provider());
    let viewer = world.join_with(View, &[Audio, Video], own);
    world.pass(Duration::from_millis(200));
    world.clients[viewer].lose_every = Some(20);
    for frame in 0..FRAMES {
        let ts = u32::try_from(frame).unwrap();
        world.frame(0, Audio, 500 + frame, 1, ts * 960, false);
        world.frame(0, Video, 100 + frame * 4, 4, ts * 3_000, frame == 0);
        world.pass(Duration::from_millis(30));
    }
    world.clients[viewer].lose_every = None;
    world.frame(0, Video, 100 + FRAMES * 4, 1, 180_000, false);
    let last = parse(&world.clients[viewer].last_got).expect("it is RTP").payload.len();
    assert_eq!(last, payload(Video, 0, false).len() + TAG, "sealed with the short tag, so without AEAD");
    world.pass(Duration::from_millis(500));
    assert!(world.clients[viewer].dropped > 5);

    let mut got: Vec<_> = world.clients[viewer].got.iter().filter(|p| p.payload.len() > 200).collect();
    got.sort_by_key(|packet| packet.seq_no);
    got.dedup_by_key(|packet| packet.seq_no);
    let got: Vec<&[u8]> = got.iter().map(|packet| &packet.payload[..]).collect();
    let sent: Vec<Vec<u8>> = (100..=100 + FRAMES * 4).map(|seq| payload(Video, seq, seq == 100)).collect();
    assert_eq!(got, sent, "all of it, once what was lost has come again");

    world.clients[viewer].ask_keyframe();
    // Its reports come seconds apart, and tell the round trip once ours have been opened.
    world.pass(Duration::from_secs(6));
    let counters = world.sfu.counters();
    assert!(counters.rtx_packets > 0 && counters.round_trips > 0, "{counters:?}");
    assert_eq!((counters.keyframe_wishes, counters.rejected_rtcp), (1, 0), "{counters:?}");
}
