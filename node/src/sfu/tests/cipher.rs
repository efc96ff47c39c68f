//! A client without an AEAD profile: what it is sent and what it says goes by AES-CM and HMAC-SHA1.
//!
//! The DTLS of these tests always has AEAD to agree on, so both ends are handed keys as they would have exported them
//! had the client offered nothing but AES-CM. From there on everything is the real thing, and the client is stock.

use std::time::Duration;

use str0m::config::KeyingMaterial;
use str0m::crypto::dtls::{DtlsOutput, SrtpProfile};
use str0m::media::MediaKind::{Audio, Video};

use super::client::{payload, usual};
use super::world::World;
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
fn without_aead(output: &mut DtlsOutput<'_>, _client: bool) {
    if let DtlsOutput::KeyingMaterial(material, _) = output {
        *output = DtlsOutput::KeyingMaterial(KeyingMaterial::new(&material.as_ref()[..MATERIAL]), PROFILE);
    }
}

#[test]
fn a_client_without_aead_is_shown_everything_sent_again_what_it_lost_and_heard() {
    let mut world = World::with(|config| config.common.take_keys = take_keys);
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let own = |config| usual(config).set_crypto_provider(crypto::provider_seen(without_aead));
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
