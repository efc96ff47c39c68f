//! Memory of viewers who have gone, in the next ones' hands.

use std::time::Duration;

use freshet_cluster::room::EndReason;
use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
use super::world::World;
use crate::service::Direction::{Publish, View};

const MS: Duration = Duration::from_millis(1);

/// A stream, and how far it has come.
struct Stream {
    world: World,
    frame: u64,
}

impl Stream {
    fn new() -> Self {
        let mut world = World::new();
        world.join(Publish, &[Audio, Video]);
        world.claim(0, 1);
        world.pass(MS * 200);
        Self { world, frame: 0 }
    }

    /// A viewer who loses packets and asks for them again, if `lossy`.
    fn join(&mut self, lossy: bool) -> usize {
        let viewer = self.world.join(View, &[Audio, Video]);
        self.world.pass(MS * 200);
        self.world.clients[viewer].lose_every = lossy.then_some(9);
        viewer
    }

    fn play(&mut self, frames: u64) {
        for _ in 0..frames {
            let (first, key) = (1_000 + self.frame * 5, self.frame.is_multiple_of(30));
            self.world.frame(0, Video, first, 5, self.frame as u32 * 3_000, key);
            self.world.pass(MS * 33);
            self.frame += 1;
        }
    }

    fn end(&mut self, viewer: usize) {
        let session = self.world.clients[viewer].session;
        assert!(self.world.sfu.end(self.world.now, session, EndReason::Closed));
    }
}

#[test]
fn who_comes_gets_the_memory_of_who_went_and_nothing_that_was_in_it() {
    let mut stream = Stream::new();
    let old = stream.join(true);
    stream.play(60);
    let rtx = stream.world.sfu.counters().rtx_packets;
    assert!(rtx > 0 && stream.world.clients[old].dropped > 0, "what is left has been written");
    assert_eq!(stream.world.sfu.spares(), (0, 0));
    stream.end(old);
    assert_eq!(stream.world.sfu.spares(), (1, 1));
    let new = stream.world.join(View, &[Audio, Video]);
    assert_eq!(stream.world.sfu.spares(), (0, 0), "they are its own now");
    let path = stream.world.sfu.path(stream.world.now, stream.world.clients[new].session).unwrap();
    assert_eq!((path.second, path.round_trip), (None, None), "it has told nothing");
    assert!(path.slots.iter().all(|slot| (slot.fraction_lost, slot.jitter) == (0, None)));
    stream.world.pass(MS * 200);
    stream.play(60);
    let [was, is] = [old, new].map(|viewer| stream.world.clients[viewer].keys.as_ref().unwrap());
    assert_ne!(was.material, is.material);
    let names = |viewer: usize| {
        let mut all: Vec<u32> =
            stream.world.clients[viewer].got.iter().map(|packet| *packet.header.ssrc).collect();
        all.dedup();
        all
    };
    assert!(names(new).iter().all(|ssrc| !names(old).contains(ssrc)), "the SSRCs are its own");
    let got = stream.world.clients[new].got.iter().map(|packet| packet.payload.to_vec());
    // From the last keyframe of the past on, in frames of five.
    let sent = (30..120).flat_map(|frame| (0..5).map(move |n| (1_000 + frame * 5 + n, frame % 30 + n == 0)));
    assert!(got.eq(sent.map(|(seq, key)| payload(Video, seq, key))), "all of it, once and in order");
    let second = stream.world.sfu.path(stream.world.now, stream.world.clients[new].session).unwrap().second;
    assert!(second.is_some_and(|second| second.lost == 0), "{second:?}");
    assert_eq!(stream.world.sfu.counters().rtx_packets, rtx, "it asks for nothing");
}

#[test]
fn as_many_are_kept_as_are_told_and_none_of_viewers_who_saw_nothing() {
    let mut stream = Stream::new();
    let viewers: Vec<usize> = (0..6).map(|_| stream.join(true)).collect();
    for viewer in &viewers[..2] {
        stream.end(*viewer);
    }
    assert_eq!(stream.world.sfu.spares(), (0, 0));
    let more: Vec<usize> = (0..2).map(|_| stream.join(true)).collect();
    stream.play(60);
    for viewer in viewers[2..].iter().chain(&more) {
        stream.end(*viewer);
    }
    assert_eq!(stream.world.sfu.spares(), (4, 4), "the tests' bound");
}
