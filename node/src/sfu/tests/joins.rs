//! Many join at once: what it costs the publisher, and what the joiners are sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::media::MediaKind::Video;

use super::client::payload;
use super::world::World;
use crate::forward::pace::BURST;
use crate::service::Direction::{Publish, View};

const MS: Duration = Duration::from_millis(1);
const FRAME: Duration = Duration::from_millis(33);
/// Packets of a frame.
const PACKETS: u64 = 3;

/// A publisher that sends a keyframe when it is asked for one, and its frames.
struct Stream {
    world: World,
    frame: u64,
    answered: usize,
    keyframes: Vec<u64>,
}

impl Stream {
    fn new(edit: impl FnOnce(&mut crate::sfu::Config)) -> Self {
        let mut world = World::with(edit);
        world.join(Publish, &[Video]);
        world.claim(0, 1);
        world.pass(MS * 200);
        let mut stream = Self { world, frame: 0, answered: 0, keyframes: Vec::new() };
        stream.send(true);
        stream
    }

    fn asked(&self) -> usize {
        self.world.clients[0].keyframes_asked
    }

    fn send(&mut self, key: bool) {
        let asked = self.asked();
        let key = key || asked > self.answered;
        self.answered = asked;
        if key {
            self.keyframes.push(self.frame);
        }
        let seq = 100 + self.frame * PACKETS;
        self.world.frame(0, Video, seq, PACKETS, self.frame as u32 * 3_000, key);
        self.frame += 1;
    }

    fn play(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.send(false);
            self.world.pass(FRAME);
        }
    }
}

#[test]
fn a_thousand_joins_within_a_second_cost_the_publisher_two_keyframes_at_most() {
    const JOINERS: usize = 1_000;
    let mut stream = Stream::new(|config| config.batch = MS * 5);
    stream.play(MS * 2_500);
    assert_eq!(stream.asked(), 0);
    let (begin, mut viewers) = (stream.world.now, Vec::new());
    for step in 0..100 {
        viewers.extend((0..JOINERS / 100).map(|_| stream.world.join(View, &[Video])));
        if step % 3 == 0 {
            stream.send(false);
        }
        stream.world.pass(MS * 10);
    }
    assert!(stream.world.now - begin <= MS * 1_001, "within a second");
    let asked = stream.asked();
    stream.play(MS * 2_000);
    assert!((1..=2).contains(&stream.asked()), "{} keyframes asked for", stream.asked());
    assert_eq!(asked, stream.asked(), "and none when all are there");
    assert_eq!(viewers.len(), JOINERS);
    let bursts = bursts(&stream.world.sent);
    for viewer in viewers {
        let client = &stream.world.clients[viewer];
        assert!(client.connected);
        let (first, last) = (client.got.first().expect("it sees something"), client.got.last().unwrap());
        let frames = last.header.timestamp.wrapping_sub(first.header.timestamp) / 3_000;
        let start = stream.frame - 1 - u64::from(frames);
        assert!(
            stream.keyframes.contains(&start),
            "it begins at a keyframe: {start} of {:?}",
            stream.keyframes
        );
        let sent = (start..stream.frame).flat_map(|frame| {
            let key = stream.keyframes.contains(&frame);
            (0..PACKETS).map(move |n| payload(Video, 100 + frame * PACKETS + n, key && n == 0))
        });
        assert!(client.got.iter().map(|packet| packet.payload.to_vec()).eq(sent), "all since then, once");
        let largest = bursts[&client.addr];
        assert!(largest <= BURST as usize, "{largest} packets at once");
    }
    // The last joiners catch up with most of a second: no keyframe of their own, and not in one burst.
    assert_eq!(stream.world.sfu.counters().lagging_packets, 0);
}

/// 16 Mbit/s: what has come since the keyframe is soon more than a megabyte.
#[test]
fn who_joins_a_large_stream_within_a_second_costs_two_keyframes_too() {
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let (mut frame, mut seq, mut answered, mut joined) = (0_u32, 100, 0, 0);
    let mut play = |world: &mut World, time: Duration| {
        let end = world.now + time;
        while world.now < end {
            let asked = world.clients[0].keyframes_asked;
            let key = frame == 0 || asked > answered;
            // Of 900 bytes each.
            let packets = if key { 150 } else { 73 };
            world.frame(0, Video, seq, packets, frame * 3_000, key);
            (frame, seq, answered) = (frame + 1, seq + packets, asked);
            world.pass(FRAME);
        }
    };
    play(&mut world, MS * 1_500);
    let begin = world.now;
    while world.now < begin + MS * 990 {
        world.join(View, &[Video]);
        joined += 1;
        play(&mut world, FRAME);
    }
    play(&mut world, MS * 1_500);
    let asked = world.clients[0].keyframes_asked;
    assert!((1..=2).contains(&asked), "{joined} joins, {asked} keyframes asked for");
    assert!(world.clients.iter().skip(1).all(|client| client.got.len() > 1_000), "all of them watch");
}

/// The most packets that went to each address at one moment.
fn bursts(sent: &[(Instant, SocketAddr, usize)]) -> HashMap<SocketAddr, usize> {
    let mut moments: HashMap<(SocketAddr, Instant), usize> = HashMap::new();
    for (at, to, packets) in sent {
        *moments.entry((*to, *at)).or_default() += packets;
    }
    let mut most: HashMap<SocketAddr, usize> = HashMap::new();
    for ((to, _), packets) in moments {
        let known = most.entry(to).or_default();
        *known = packets.max(*known);
    }
    most
}

#[test]
fn how_old_a_keyframe_joiners_are_served_from_is_configured() {
    for (configured, age, asks) in
        [(300, 200, 0), (300, 400, 1), (1_500, 1_200, 0), (1_500, 1_700, 1), (0, 50, 1)]
    {
        let mut stream = Stream::new(|config| config.fresh_keyframe = MS * configured);
        stream.play(MS * age);
        let frames = stream.frame as usize * PACKETS as usize;
        let viewer = stream.world.join(View, &[Video]);
        stream.world.pass(MS * 30);
        let got = stream.world.clients[viewer].got.len();
        let told = format!("a keyframe of {age} ms, {configured} ms configured");
        assert_eq!(stream.asked(), asks, "{told}");
        // Pacing holds the rest of what it is served.
        assert_eq!(got > 0, asks == 0, "{told}");
        stream.world.pass(MS * 200);
        let got = stream.world.clients[viewer].got.len();
        assert_eq!(got, if asks == 0 { frames } else { 0 }, "{told}");
    }
}
