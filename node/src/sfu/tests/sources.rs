//! An encoder that takes another SSRC in the middle of its session: its viewers see one stream.

use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
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
