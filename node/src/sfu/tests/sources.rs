//! An encoder that takes another SSRC in the middle of its session: its viewers see one stream.

use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Input, Output};

use super::client::{is_rtp, payload};
use super::world::World;
use crate::service::Direction::{Publish, View};

/// Packets under one SSRC, one a frame.
const RUN: u64 = 60;

#[test]
fn another_ssrc_goes_on_without_a_hole_wherever_its_numbers_begin() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(200));
    // The first numbers wrap, so that the next are far below them, and those after that far above.
    let runs = [65_500, 200, 40_000];
    // So do the timestamps: 20 ms go from frame to frame, and from run to run.
    let bases = [u32::MAX - 50_000, 7, 1 << 31];
    let mut frame = 0;
    for (first, base) in runs.into_iter().zip(bases) {
        for n in 0..RUN {
            let nth = u32::try_from(n).unwrap();
            let (picture, sound) = (base.wrapping_add(nth * 1_800), base.wrapping_add(nth * 960));
            world.frame(0, Video, first + n, 1, picture, frame == 0);
            world.frame(0, Audio, first + n, 1, sound, false);
            world.pass(Duration::from_millis(20));
            frame += 1;
        }
        let client = &mut world.clients[0];
        for (_, mid) in client.mids.clone() {
            let mut api = client.rtc.direct_api();
            let (ssrc, rtx) = (api.new_ssrc(), api.new_ssrc());
            let before = api.stream_tx_by_mid(mid, None).unwrap();
            let (before, rtx) = (before.ssrc(), before.rtx().map(|_| rtx));
            assert!(api.remove_stream_tx(before));
            api.declare_stream_tx(ssrc, rtx, mid, None);
        }
    }
    for kind in [Video, Audio] {
        let got = &world.clients[viewer].got;
        let got: Vec<_> = got.iter().filter(|p| (p.payload.len() > 200) == (kind == Video)).collect();
        let sent = runs.iter().flat_map(|first| *first..first + RUN);
        let sent = sent.enumerate().map(|(n, seq)| payload(kind, seq, kind == Video && n == 0));
        let sent: Vec<Vec<u8>> = sent.collect();
        assert_eq!(got.len(), sent.len(), "{kind:?}");
        for (n, packet) in got.iter().enumerate() {
            assert_eq!(packet.payload[..], sent[n][..], "{kind:?} {n}");
            assert_eq!(*packet.seq_no, *got[0].seq_no + n as u64, "{kind:?}: numbered without a hole");
            let passed = n as u32 * if kind == Video { 1_800 } else { 960 };
            let time = packet.header.timestamp.wrapping_sub(got[0].header.timestamp);
            assert_eq!(time, passed, "{kind:?} {n}: time goes on");
        }
    }
    assert_eq!(world.sfu.counters().late_packets, 0);
}

#[test]
fn what_comes_late_of_the_ssrc_before_is_left_out_and_the_stream_stays_with_the_new_one() {
    let mut world = World::new();
    let host = world.join(Publish, &[Video]);
    world.claim(host, 1);
    world.pass(Duration::from_millis(200));
    let viewer = world.join(View, &[Video]);
    world.pass(Duration::from_millis(200));
    let frame = |n: u32| n * 1_800;
    let send = |world: &mut World, seq: u64, n: u32, key: bool| {
        world.frame(host, Video, seq, 1, frame(n), key);
        world.pass(Duration::from_millis(20));
    };
    (0..10).for_each(|n| send(&mut world, 100 + u64::from(n), n, n == 0));
    // Its last packet takes a longer way.
    let client = &mut world.clients[host];
    let ((pt, old), mid) = (client.tx(Video), client.mids[0].1);
    let write = RtpWrite::new(pt, 110.into(), frame(10), world.now, payload(Video, 110, false)).marker(true);
    client.rtc.direct_api().stream_tx(&old).unwrap().write_rtp(write);
    client.rtc.handle_input(Input::Timeout(world.now)).unwrap();
    let late = std::iter::from_fn(|| match client.rtc.poll_output().unwrap() {
        Output::Transmit(transmit) => Some(transmit.contents.to_vec()),
        _ => None,
    })
    .find(|datagram| is_rtp(datagram))
    .unwrap();
    let from = client.addr;
    let another = |world: &mut World, ssrc: Ssrc| {
        let mut api = world.clients[host].rtc.direct_api();
        let before = api.stream_tx_by_mid(mid, None).unwrap().ssrc();
        let rtx = api.new_ssrc();
        assert!(api.remove_stream_tx(before));
        api.declare_stream_tx(ssrc, Some(rtx), mid, None);
    };
    another(&mut world, 77.into());
    (0..5).for_each(|n| send(&mut world, 7_000 + u64::from(n), 500 + n, n == 0));
    let unplaced = world.sfu.counters().unplaced_packets;
    world.sfu.handle_datagram(world.now, from, &late);
    world.pass(Duration::from_millis(20));
    assert_eq!(world.sfu.counters().unplaced_packets, unplaced + 1);
    (5..10).for_each(|n| send(&mut world, 7_000 + u64::from(n), 501 + n, false));
    // The first encoder is back.
    world.pass(Duration::from_millis(1_200));
    another(&mut world, old);
    (0..3).for_each(|n| send(&mut world, 200 + u64::from(n), 90 + n, n == 0));
    let got = &world.clients[viewer].got;
    assert_eq!(got.len(), 10 + 10 + 3);
    let step = |a: usize, b: usize| got[b].header.timestamp.wrapping_sub(got[a].header.timestamp);
    for n in 1..got.len() {
        assert_eq!(*got[n].seq_no, *got[0].seq_no + n as u64);
        assert!((1..i32::MAX as u32).contains(&step(n - 1, n)), "{n}: time goes on by {}", step(n - 1, n));
    }
    // A frame's time went by while the late one was on its way.
    assert_eq!((step(13, 14), step(14, 15)), (1_800, 3_600));
}
