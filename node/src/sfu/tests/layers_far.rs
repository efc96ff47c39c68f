//! Changes of layer behind a link, where packets of a layer come again that was left a moment ago.

use std::time::Duration;

use str0m::format::Codec;
use str0m::media::MediaKind::Video;

use super::nodes::Nodes;
use super::world::World;
use crate::service::Direction::View;

/// Time between two pictures, and RTP's ticks in it.
const FRAME: Duration = Duration::from_millis(30);
const TICKS: u32 = 2_700;

/// Both layers show the same picture, 33 times a second; each says which.
fn run(nodes: &mut Nodes, frame: &mut u32, frames: u32) {
    for _ in 0..frames {
        for (name, base) in [("q", 77), ("f", 3_000_000_000)] {
            let (nth, ts) = (*frame, base + *frame * TICKS);
            let make = |n: u64, key: bool| {
                let mut payload = vec![name.as_bytes()[0]; 300];
                payload[0] = if key && n == 0 { 0x65 } else { 0x41 };
                payload[2..6].copy_from_slice(&nth.to_be_bytes());
                payload
            };
            nodes.home.layer_frame_of(0, (Codec::H264, name), (1_000 + u64::from(nth) * 2, 2), ts, make);
        }
        *frame += 1;
        nodes.pass(FRAME);
    }
}

/// The picture of a packet.
fn nth(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[2..6].try_into().unwrap())
}

#[test]
fn nothing_is_shown_again_and_time_goes_on_by_what_passed() {
    let mut nodes = Nodes::new(World::with_layers(&["q", "f"]));
    let mut frame = 0;
    run(&mut nodes, &mut frame, 30);
    let viewer = nodes.child.join(View, &[Video]);
    run(&mut nodes, &mut frame, 60);
    // So quickly that the keyframe of the time before is still fresh enough for who joins.
    for change in 0..20 {
        let name = ["q", "f"][change % 2];
        nodes.child.pick(viewer, name).unwrap();
        run(&mut nodes, &mut frame, 14);
        let got = &nodes.child.clients[viewer].got;
        assert_eq!(got.last().unwrap().payload[1], name.as_bytes()[0], "change {change}");
    }
    let got = &nodes.child.clients[viewer].got;
    let mut changes = 0;
    for (before, packet) in got.iter().zip(&got[1..]) {
        assert_eq!(*packet.seq_no, *before.seq_no + 1, "numbered without a hole");
        let shown = nth(&packet.payload).wrapping_sub(nth(&before.payload)).cast_signed();
        let step = packet.header.timestamp.wrapping_sub(before.header.timestamp).cast_signed();
        let changed = packet.payload[1] != before.payload[1];
        changes += u32::from(changed);
        assert!((0..=3).contains(&shown), "{shown} pictures on, change {changed}");
        // A tick where both layers show the same moment.
        let passed = shown * TICKS.cast_signed();
        let expected = if changed { passed.max(1) } else { passed };
        assert!((step - expected).abs() <= if changed { 900 } else { 0 }, "{step} ticks in {shown} pictures");
    }
    assert!(changes >= 20, "{changes} changes");
}
