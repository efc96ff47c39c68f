//! VP8's temporal layers: a viewer bounds them, and lifts the bound.

use std::time::Duration;

use str0m::format::Codec;
use str0m::media::MediaKind::Video;

use super::world::World;
use crate::media::vp8::Descriptor;
use crate::service::Direction::{Publish, View};
use crate::session::Choice;

/// TID and Y of the pictures of a group: in its second half nothing can begin.
const GROUP: [(u8, bool); 8] =
    [(0, false), (2, true), (1, true), (2, true), (0, false), (2, false), (1, false), (2, false)];
const FRAME: Duration = Duration::from_millis(33);

/// A publisher of three temporal layers with one encoding, and a viewer.
struct Show {
    world: World,
    viewer: usize,
    frame: u32,
    tl0: u8,
}

impl Show {
    fn new() -> Self {
        let mut world = World::new();
        world.join(Publish, &[Video]);
        world.claim(0, 1);
        let viewer = world.join(View, &[Video]);
        world.pass(Duration::from_millis(200));
        // The numbers wrap on the way.
        Self { world, viewer, frame: 0, tl0: 250 }
    }

    fn run(&mut self, frames: u32) {
        for _ in 0..frames {
            let (tid, sync) = GROUP[self.frame as usize % GROUP.len()];
            self.tl0 = self.tl0.wrapping_add(u8::from(tid == 0));
            let [high, low] = ((0x7ff0 + self.frame as u16) & 0x7fff).to_be_bytes();
            let key = self.frame == 0;
            let layer = tid << 6 | u8::from(sync) << 5 | 9;
            let mut payload = vec![0x90, 0xf0, 0x80 | high, low, self.tl0, layer, 0x50 | u8::from(!key)];
            payload.extend([self.frame as u8; 400]);
            let seq = 65_500 + u64::from(self.frame);
            self.world.send(0, Codec::Vp8, seq, self.frame * 3_000, payload);
            self.frame += 1;
            self.world.pass(FRAME);
        }
    }

    fn bound(&mut self, max_temporal: Option<u8>) {
        let session = self.world.clients[self.viewer].session;
        let choice = Choice { rid: None, max_temporal };
        self.world.sfu.choose_layer(self.world.now, session, None, None, choice).unwrap();
    }

    /// The pictures that came since `from`: which frame of the publisher's each is, and its descriptor.
    fn shown(&self, from: usize) -> Vec<(u32, Descriptor)> {
        let got = &self.world.clients[self.viewer].got[from..];
        let first = self.world.clients[self.viewer].got[0].header.timestamp;
        let frame = |timestamp: u32| timestamp.wrapping_sub(first) / 3_000;
        let read = |payload: &[u8]| Descriptor::parse(payload).unwrap();
        got.iter().map(|packet| (frame(packet.header.timestamp), read(&packet.payload))).collect()
    }

    fn seen(&self) -> usize {
        self.world.clients[self.viewer].got.len()
    }
}

#[test]
fn a_viewer_bounds_temporal_layers_of_one_encoding_and_lifts_the_bound_without_a_seam() {
    let mut show = Show::new();
    show.run(24);
    assert_eq!(show.shown(0).len(), 24, "all layers at first");
    let asked = show.world.clients[0].keyframes_asked;

    // Down: with the very next picture, whichever it is.
    for (max, frames) in [(1, 13), (0, 16), (1, 0)] {
        let from = show.seen();
        show.bound(Some(max));
        show.run(frames);
        let shown = show.shown(from);
        assert!(shown.iter().all(|(_, read)| read.tid() <= max), "at most {max}: {shown:?}");
        let wanted = (show.frame - frames..show.frame).filter(|n| GROUP[*n as usize % 8].0 <= max);
        assert_eq!(shown.iter().map(|(n, _)| *n).collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }

    // Up by one, from the second half of a group on: not before the layer can begin.
    assert_eq!(show.frame % 8, 5);
    let from = show.seen();
    show.run(11);
    let shown: Vec<(u32, u8)> = show.shown(from).iter().map(|(n, read)| (n % 8, read.tid())).collect();
    assert_eq!(shown, [(0, 0), (2, 1), (4, 0), (6, 1)], "5, 6 and 7 lean on what was left out");

    // And without a bound.
    show.run(5);
    let from = show.seen();
    show.bound(None);
    show.run(11);
    let shown: Vec<u32> = show.shown(from).iter().map(|(n, _)| n % 8).collect();
    assert_eq!(shown, [6, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(show.world.clients[0].keyframes_asked, asked, "nobody needed a keyframe");

    let got = &show.world.clients[show.viewer].got;
    let all = show.shown(0);
    for (n, two) in all.windows(2).enumerate() {
        let ((before, old), (frame, new)) = (two[0], two[1]);
        assert!(frame > before, "time goes on");
        assert_eq!(*got[n + 1].seq_no, *got[n].seq_no + 1, "numbered without a hole");
        let ids = (old.picture_id.unwrap().value, new.picture_id.unwrap().value);
        assert_eq!(ids.1, (ids.0 + 1) & 0x7fff, "pictures counted without a hole");
        let base = u8::from(new.tid() == 0);
        assert_eq!(new.tl0.unwrap(), old.tl0.unwrap().wrapping_add(base), "base layers too");
    }
    assert_eq!(show.world.sfu.counters().rtx_packets, 0, "nothing was missed");
}

#[test]
fn a_bound_that_is_there_before_the_picture_holds_from_its_keyframe_on() {
    let mut show = Show::new();
    show.bound(Some(0));
    show.run(24);
    let shown: Vec<(u32, u8)> = show.shown(0).iter().map(|(n, read)| (*n, read.tid())).collect();
    assert_eq!(shown, [(0, 0), (4, 0), (8, 0), (12, 0), (16, 0), (20, 0)]);
}
