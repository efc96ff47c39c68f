//! RTP that must not get in, from a client whose keys are right: counted, dropped, and the stream goes on.

use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
use super::world::World;
use crate::service::Direction::{Publish, View};

const VIEWER: usize = 1;
/// An extension id that nobody negotiates.
const STRANGE: u8 = 14;

/// A publisher and a viewer after some seconds of media and reports.
fn running() -> World {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(200));
    for frame in 0..40_u32 {
        world.frame(0, Audio, 500 + u64::from(frame), 1, frame * 960, false);
        world.frame(0, Video, 100 + u64::from(frame) * 3, 3, frame * 9_000, frame == 0);
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(world.sfu.counters().ingress_packets, 160);
    world
}

/// The counts of (rejected RTP, packets taken in, other bad datagrams).
fn counts(world: &World) -> (u64, u64, u64) {
    let counters = world.sfu.counters();
    (counters.rejected_rtp, counters.ingress_packets, counters.bad_datagrams)
}

/// The stream goes on: the next frame comes in and reaches the viewer whole.
fn goes_on(world: &mut World, seq: u64) {
    let (rejected, ingress, _) = counts(world);
    let before = world.clients[VIEWER].got.len();
    world.frame(0, Video, seq, 3, 1_000_000, false);
    world.pass(Duration::from_millis(30));
    let after = counts(world);
    assert_eq!((after.0, after.1), (rejected, ingress + 3));
    let got = &world.clients[VIEWER].got[before..];
    let payloads: Vec<&[u8]> = got.iter().map(|p| &p.payload[..]).collect();
    let sent: Vec<Vec<u8>> = (seq..seq + 3).map(|seq| payload(Video, seq, false)).collect();
    assert_eq!(payloads, sent);
}

/// Seals what a client with these keys might send.
fn sealed(world: &World, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let srtp = world.clients[0].srtp();
    let mut out = vec![0; 2_000];
    out[..header.len()].copy_from_slice(header);
    let (seq, ssrc) = (header[2..4].try_into().unwrap(), header[8..12].try_into().unwrap());
    let (seq, ssrc) = (u16::from_be_bytes(seq), u32::from_be_bytes(ssrc));
    let len = srtp.seal_rtp(&mut out, header.len(), payload, ssrc, 0, seq).unwrap();
    out.truncate(len);
    out
}

fn header(first: u8, pt: u8, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut header = vec![first, pt];
    header.extend(seq.to_be_bytes());
    header.extend(900_000_u32.to_be_bytes());
    header.extend(ssrc.to_be_bytes());
    header
}

#[test]
fn media_reports_and_keyframes_are_not_rejected() {
    let mut world = running();
    world.clients[VIEWER].ask_keyframe();
    world.pass(Duration::from_secs(6));
    assert_eq!(counts(&world), (0, 160, 0));
    let counters = world.sfu.counters();
    assert_eq!((counters.unknown_extensions, counters.rejected_rtcp, counters.strange_feedback), (0, 0, 0));
    assert_eq!((counters.limited_rtcp, counters.limited_nacks, counters.limited_wishes), (0, 0, 0));
}

#[test]
fn a_changed_or_repeated_packet_is_counted_and_dropped() {
    let mut world = running();
    let captured = world.clients[0].last_sent.clone();
    assert_eq!(captured[0], 0x90, "it has extensions");
    assert_eq!(captured[12..14], [0xbe, 0xde], "of one byte");
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 15] = [
        ("a replay", |_| {}),
        ("another SSRC", |p| p[11] ^= 0x55),
        ("the probes' SSRC", |p| p[8..12].fill(0)),
        ("another payload type", |p| p[1] = p[1] & 0x80 | 35),
        ("the next sequence number", |p| p[3] = p[3].wrapping_add(1)),
        ("a sequence number far ahead", |p| p[2] ^= 0x40),
        ("a forged tag", |p| *p.last_mut().unwrap() ^= 1),
        ("a forged payload", |p| p[100] ^= 1),
        ("half of it", |p| p.truncate(p.len() / 2)),
        ("its header alone", |p| p.truncate(12)),
        ("a part of its header", |p| p.truncate(5)),
        ("fifteen sources announced", |p| p[0] |= 0x0f),
        ("an extension longer than the packet", |p| p[14..16].fill(0xff)),
        ("extensions of an unknown form", |p| p[12..14].copy_from_slice(&[0x12, 0x34])),
        ("an unknown extension put in", |p| p[16] = STRANGE << 4 | p[16] & 0x0f),
    ];
    let addr = world.clients[0].addr;
    for (n, (what, change)) in changes.into_iter().enumerate() {
        let mut packet = captured.clone();
        change(&mut packet);
        let before = counts(&world);
        world.sfu.handle_datagram(world.now, addr, &packet);
        world.settle();
        assert_eq!(counts(&world), (before.0 + 1, before.1, before.2), "{what}");
        goes_on(&mut world, 220 + n as u64 * 3);
    }
}

#[test]
fn rtp_of_a_viewer_is_counted_and_dropped() {
    let mut world = running();
    let (packet, addr) = (world.clients[0].last_sent.clone(), world.clients[VIEWER].addr);
    let before = counts(&world);
    world.sfu.handle_datagram(world.now, addr, &packet);
    assert_eq!(counts(&world), (before.0 + 1, before.1, before.2));
    goes_on(&mut world, 220);
}

/// RFC 8285 section 4.1: what is not negotiated is ignored, not a reason to refuse the media.
#[test]
fn an_unknown_extension_under_the_right_keys_is_counted_and_goes_no_further() {
    let mut world = running();
    assert!(!world.clients[VIEWER].answer.contains(&format!("a=extmap:{STRANGE} ")));
    let (pt, ssrc) = world.clients[0].tx(Video);
    let mut header = header(0x90, *pt, 220, *ssrc);
    header.extend([0xbe, 0xde, 0, 1, STRANGE << 4 | 2, 7, 7, 7]);
    let packet = sealed(&world, &header, &payload(Video, 220, false));
    let (before, addr) = (counts(&world), world.clients[0].addr);
    world.sfu.handle_datagram(world.now, addr, &packet);
    world.settle();
    assert_eq!(counts(&world), (before.0, before.1 + 1, before.2));
    assert_eq!(world.sfu.counters().unknown_extensions, 1);
    let viewer = &world.clients[VIEWER];
    assert_eq!(viewer.got.last().unwrap().payload[..], payload(Video, 220, false)[..]);
    let raw = &viewer.last_got;
    let mut ids = Vec::new();
    if raw[0] & 0x10 != 0 {
        let end = 16 + usize::from(u16::from_be_bytes([raw[14], raw[15]])) * 4;
        let mut at = 16;
        while at < end {
            ids.push(raw[at] >> 4);
            at += if raw[at] == 0 { 1 } else { 2 + usize::from(raw[at] & 0x0f) };
        }
    }
    assert!(!ids.contains(&STRANGE), "{ids:?}");
    goes_on(&mut world, 221);
}

#[test]
fn padding_and_needless_retransmissions_are_neither_taken_in_nor_rejected() {
    let mut world = running();
    let (pt, ssrc) = world.clients[0].tx(Video);
    let client = &mut world.clients[0];
    let rtx = client.rtc.direct_api().stream_tx(&ssrc).unwrap().rtx().expect("it has RTX");
    let resend = client.rtc.codec_config().find(|p| p.pt() == pt).unwrap().resend().unwrap();
    let mut again = 219_u16.to_be_bytes().to_vec();
    again.extend(payload(Video, 219, false));
    let packets = [
        sealed(&world, &header(0x80, *resend, 1, *rtx), &again),
        sealed(&world, &header(0xa0, *resend, 2, *rtx), &[0, 0, 0, 4]),
    ];
    let (before, addr) = (counts(&world), world.clients[0].addr);
    for packet in &packets {
        world.sfu.handle_datagram(world.now, addr, packet);
        assert_eq!(counts(&world), before);
    }
    world.sfu.handle_datagram(world.now, addr, &packets[0]);
    assert_eq!(counts(&world).0, before.0 + 1, "the same retransmission twice is a replay");
    goes_on(&mut world, 220);
}
