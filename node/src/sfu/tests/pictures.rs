//! Changes of layer as a VP8 decoder sees them: picture ids, TL0PICIDX, KEYIDX, numbers and times go on without a seam.

use std::time::Duration;

use str0m::format::Codec::Vp8;
use str0m::media::MediaKind::Video;

use super::world::World;
use crate::service::Direction::View;

/// Of a period of four frames, the temporal layer of each, as libwebrtc's three temporal layers have them.
const TEMPORAL: [u8; 4] = [0, 2, 1, 2];

/// One encoder: where its counters stand, and what a frame of it is.
struct Encoder {
    name: &'static str,
    packets: u64,
    id: u16,
    tl0: u8,
    keyidx: u8,
    /// Frames since its last keyframe.
    since: usize,
}

impl Encoder {
    /// A packet of the next frame: descriptor (RFC 7741 section 4.2), frame header, and the encoder's letter.
    fn packet(&self, n: u64, key: bool) -> Vec<u8> {
        let (tid, tl0, keyidx) = self.numbers(key);
        let [high, low] = (self.id & 0x7fff).to_be_bytes();
        let start = if n == 0 { 0x90 } else { 0x80 };
        let mut bytes = vec![start, 0xf0, 0x80 | high, low, tl0, tid << 6 | keyidx];
        bytes.push(if key { 0x50 } else { 0x51 });
        bytes.resize(700, self.name.as_bytes()[0]);
        bytes
    }

    fn numbers(&self, key: bool) -> (u8, u8, u8) {
        let tid = if key { 0 } else { TEMPORAL[self.since % TEMPORAL.len()] };
        let tl0 = if tid == 0 { self.tl0.wrapping_add(1) } else { self.tl0 };
        (tid, tl0, if key { (self.keyidx + 1) & 0x1f } else { self.keyidx })
    }

    fn sent(&mut self, key: bool) {
        let (_, tl0, keyidx) = self.numbers(key);
        (self.id, self.tl0, self.keyidx) = (self.id.wrapping_add(1), tl0, keyidx);
        self.since = if key { 1 } else { self.since + 1 };
    }
}

struct Show {
    world: World,
    frame: u32,
    encoders: [Encoder; 3],
}

impl Show {
    fn new() -> Self {
        let world = World::with_layers(&["q", "f", "h"]);
        let encoder = |name, packets, id, tl0, keyidx| Encoder { name, packets, id, tl0, keyidx, since: 0 };
        // One of them wraps in each of its counters soon.
        let encoders =
            [encoder("q", 1, 100, 5, 3), encoder("f", 4, 0x7fe0, 240, 30), encoder("h", 2, 20_000, 130, 9)];
        Self { world, frame: 0, encoders }
    }

    fn run(&mut self, frames: u32) {
        for _ in 0..frames {
            for (n, encoder) in self.encoders.iter_mut().enumerate() {
                let first = 1_000 + u64::from(self.frame) * encoder.packets;
                let ts = self.frame * 3_000 + n as u32 * 77_777;
                let of = (Vp8, encoder.name);
                let make = |n: u64, key: bool| encoder.packet(n, key);
                let key = self.world.layer_frame_of(0, of, (first, encoder.packets), ts, make);
                encoder.sent(key);
            }
            self.frame += 1;
            self.world.pass(Duration::from_micros(33_333));
        }
    }
}

/// What the descriptor and the header of a frame's packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    id: u16,
    tl0: u8,
    tid: u8,
    keyidx: u8,
    key: bool,
    layer: u8,
}

fn seen(payload: &[u8]) -> Seen {
    assert_eq!((payload[0] & 0xef, payload[1]), (0x80, 0xf0), "the descriptor's shape stays");
    Seen {
        id: u16::from_be_bytes([payload[2] & 0x7f, payload[3]]),
        tl0: payload[4],
        tid: payload[5] >> 6,
        keyidx: payload[5] & 0x1f,
        key: payload[6] & 1 == 0,
        layer: payload[7],
    }
}

#[test]
fn a_vp8_decoder_sees_one_stream_through_twenty_changes_of_layer() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    for round in 0..10 {
        for name in ["q", "f"] {
            show.world.pick(viewer, name).unwrap();
            show.run(25);
            let last = show.world.clients[viewer].got.last().unwrap();
            assert_eq!(seen(&last.payload).layer, name.as_bytes()[0], "round {round}");
        }
    }
    let got = &show.world.clients[viewer].got;
    let mut changes = 0;
    for (before, packet) in got.iter().zip(&got[1..]) {
        assert_eq!(*packet.seq_no, *before.seq_no + 1, "numbered without a hole");
        let (old, new) = (seen(&before.payload), seen(&packet.payload));
        let step = packet.header.timestamp.wrapping_sub(before.header.timestamp);
        if !before.header.marker {
            assert_eq!((old, step), (new, 0), "one frame, of one layer");
            assert_eq!(packet.payload[0], 0x80, "a frame begins once");
            continue;
        }
        assert_eq!(packet.payload[0], 0x90, "a frame begins at its beginning");
        assert_eq!(new.id, (old.id + 1) & 0x7fff, "PictureID: {old:?}, {new:?}");
        let (tl0, keyidx) = (u8::from(new.tid == 0), u8::from(new.key));
        assert_eq!(new.tl0, old.tl0.wrapping_add(tl0), "TL0PICIDX: {old:?}, {new:?}");
        assert_eq!(new.keyidx, (old.keyidx + keyidx) & 0x1f, "KEYIDX: {old:?}, {new:?}");
        if old.layer == new.layer {
            assert_eq!(step, 3_000);
        } else {
            changes += 1;
            assert!(new.key && new.tid == 0, "a change at a keyframe: {new:?}");
            // The layers' frames are captured together; a change may show the same moment twice, and never skips one.
            assert!((1..=4_000).contains(&step), "{step} ticks at a change");
        }
    }
    assert!(changes >= 20, "{changes}");
    let ids: Vec<u16> = got.iter().map(|packet| seen(&packet.payload).id).collect();
    assert!(ids.iter().max() > Some(&0x7fd0) && ids.contains(&0), "its counter came round");
}
