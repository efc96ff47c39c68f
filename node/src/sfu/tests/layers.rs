//! Simulcast: which layer a viewer gets, and how it goes over to another.

use std::collections::BTreeSet;
use std::time::Duration;

use str0m::media::MediaKind::Video;

use super::world::World;
use crate::service::Direction::View;
use crate::session::SessionError;
use crate::sfu::{Event, Hop};

/// Frames of three layers, one after the other at 30 frames a second; layers begin at their own timestamps and numbers.
struct Show {
    world: World,
    publisher: usize,
    frame: u32,
    /// Name, packets of a frame, bytes of a packet, whether it is sent.
    layers: [(&'static str, u64, usize, bool); 3],
    /// Which lanes are wanted, by the last word about each.
    wanted: BTreeSet<(u8, u8)>,
}

impl Show {
    /// The best layer stands in the middle: names and places say nothing.
    fn new() -> Self {
        let world = World::with_layers(&["q", "f", "h"]);
        let layers = [("q", 1, 300, true), ("f", 6, 1_000, true), ("h", 3, 800, true)];
        Self { world, publisher: 0, frame: 0, layers, wanted: BTreeSet::new() }
    }

    fn run(&mut self, frames: u32) {
        for _ in 0..frames {
            for (n, (name, packets, size, on)) in self.layers.iter().enumerate() {
                let (first, ts) =
                    (1_000 + u64::from(self.frame) * packets, self.frame * 3_000 + n as u32 * 77_777);
                if *on {
                    self.world.layer_frame(self.publisher, name, first, *packets, ts, *size);
                }
            }
            self.frame += 1;
            self.world.pass(Duration::from_micros(33_333));
            while let Some(event) = self.world.sfu.poll_event() {
                match event {
                    Event::Interest(_, lane, true) => assert!(self.wanted.insert(lane), "said twice"),
                    Event::Interest(_, lane, false) => assert!(self.wanted.remove(&lane), "never said"),
                    _ => {}
                }
            }
        }
    }

    fn pick(&mut self, viewer: usize, name: &str) -> Result<(), SessionError> {
        self.world.pick(viewer, name)
    }

    /// Another publish of the stream takes it over.
    fn publish(&mut self, generation: u64, names: &[&str]) {
        self.publisher = self.world.join_layers(names);
        self.world.claim(self.publisher, generation);
        self.world.pass(Duration::from_millis(200));
        for (name, _, _, on) in &mut self.layers {
            *on = names.contains(name);
        }
        self.wanted.clear();
    }

    /// The layers that a viewer was sent, by frame, in order.
    fn shown(&self, viewer: usize) -> Vec<u8> {
        let ends = self.world.clients[viewer].got.iter().filter(|packet| packet.header.marker);
        ends.map(|packet| packet.payload[1]).collect()
    }
}

/// Numbers without a hole, every frame whole and of one layer, each change at a keyframe, and time that goes on by a frame.
fn assert_seamless(show: &Show, viewer: usize) {
    let got = &show.world.clients[viewer].got;
    for (before, packet) in got.iter().zip(&got[1..]) {
        assert_eq!(*packet.seq_no, *before.seq_no + 1, "numbered without a hole");
        let (changes, ends) = (before.payload[1] != packet.payload[1], before.header.marker);
        assert!(!changes || ends, "a frame of two layers");
        assert!(!changes || packet.payload[0] == 0x65, "a change without a keyframe");
        let step = packet.header.timestamp.wrapping_sub(before.header.timestamp);
        if ends && changes {
            // The layers' frames are captured together; a change may show the same moment twice, and never skips one.
            assert!((1..=4_000).contains(&step), "{step} ticks at a change");
        } else {
            assert_eq!(step, if ends { 3_000 } else { 0 });
        }
    }
}

#[test]
fn a_viewer_is_shown_the_best_layer_whatever_its_place_and_name() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(60);
    let shown = show.shown(viewer);
    assert!(shown.len() > 50, "it begins soon: {}", shown.len());
    assert!(shown.ends_with(&[b'f'; 40]), "{shown:?}");
    assert_eq!(show.wanted, BTreeSet::from([(0, 1)]), "nobody wants the others any more");
    assert_seamless(&show, viewer);
}

#[test]
fn a_viewer_goes_from_low_to_high_and_back_ten_times_without_a_seam() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    for round in 0..10 {
        for name in ["q", "f"] {
            show.pick(viewer, name).unwrap();
            show.run(25);
            let shown = show.shown(viewer);
            assert_eq!(shown.last(), Some(&name.as_bytes()[0]), "round {round}: {shown:?}");
        }
    }
    assert_seamless(&show, viewer);
    assert!(show.world.sfu.counters().layer_switches >= 20);
    let missing = show.pick(viewer, "x").unwrap_err();
    assert!(matches!(&missing, SessionError::NoSuchLayer(text) if text.contains("f, h, q")), "{missing}");
}

#[test]
fn a_change_at_a_keyframe_whose_first_packet_comes_last_has_no_hole() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    show.world.first_comes_last = true;
    for name in ["h", "f", "h"] {
        show.pick(viewer, name).unwrap();
        show.run(25);
        assert_eq!(show.shown(viewer).last(), Some(&name.as_bytes()[0]));
    }
    let got = &mut show.world.clients[viewer].got;
    assert!(got.windows(2).any(|two| two[1].seq_no < two[0].seq_no), "it came last here, too");
    got.sort_by_key(|packet| packet.seq_no);
    assert_eq!(show.world.sfu.counters().rtx_packets, 0, "nothing had to be asked for");
    assert_seamless(&show, viewer);
}

#[test]
fn a_joiner_is_shown_what_is_at_hand_until_its_layer_has_a_keyframe() {
    let mut show = Show::new();
    show.run(30);
    let first = show.world.join(View, &[Video]);
    show.run(60);
    show.pick(first, "h").unwrap();
    show.run(10);
    let joiner = show.world.join(View, &[Video]);
    show.run(33);
    let shown = show.shown(joiner);
    assert_eq!((shown.first(), shown.last()), (Some(&b'h'), Some(&b'f')), "{shown:?}");
    // What it had not caught up with is not shown any more.
    let got = &show.world.clients[joiner].got;
    assert!(got.windows(2).all(|two| *two[1].seq_no == *two[0].seq_no + 1), "numbered without a hole");
    let connected = show.world.clients[joiner].connected_at.unwrap();
    let ends = got.iter().filter(|packet| packet.header.marker);
    let mut moments: Vec<Duration> = ends.map(|packet| packet.timestamp - connected).collect();
    moments.retain(|moment| *moment <= Duration::from_secs(1));
    assert!(moments[0] <= Duration::from_millis(100), "the first picture is soon there: {moments:?}");
    moments.push(Duration::from_secs(1));
    let stands = moments.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(stands <= Duration::from_millis(70), "no picture stands for {stands:?}: {moments:?}");
}

#[test]
fn a_layer_is_picked_by_its_name_whatever_is_published_later() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    show.pick(viewer, "q").unwrap();
    show.run(30);
    assert_eq!(show.shown(viewer).last(), Some(&b'q'));
    for (generation, names, expected) in
        [(2, &["f", "h", "q"][..], b'q'), (3, &["f", "h"][..], b'f'), (4, &["h", "q", "f"][..], b'q')]
    {
        show.publish(generation, names);
        show.run(60);
        assert_eq!(show.shown(viewer).last().copied(), Some(expected), "{names:?}");
    }
}

#[test]
fn a_layer_that_stops_is_replaced_and_one_that_begins_is_gone_over_to() {
    let mut show = Show::new();
    show.layers[1].3 = false;
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    assert_eq!(show.shown(viewer).last(), Some(&b'h'), "the best that is sent");
    show.layers[1].3 = true;
    show.run(45);
    assert_eq!(show.shown(viewer).last(), Some(&b'f'), "a better one began");
    let before = show.shown(viewer).len();
    show.layers[1].3 = false;
    show.run(60);
    let shown = show.shown(viewer);
    assert_eq!(shown.last(), Some(&b'h'));
    assert!(shown.len() >= before + 60 - 40, "it stood still for a second at most: {}", shown.len() - before);
    assert_eq!(show.wanted, BTreeSet::from([(0, 2)]));
}

#[test]
fn a_hop_gets_the_layers_that_it_asks_for_once_each_and_no_others() {
    let mut show = Show::new();
    show.run(30);
    show.world.sfu.drain_hop_packets();
    let (now, key) = (show.world.now, World::key(1));
    for _ in 0..2 {
        show.world.sfu.handle_forward(now, &key, (0, 2), Hop::Shard(1), 7, None);
    }
    show.run(30);
    let mut indices = Vec::new();
    for packet in show.world.sfu.drain_hop_packets() {
        assert_eq!((packet.lane, packet.alias), ((0, 2), 7));
        indices.push(packet.packet.index);
    }
    assert!(indices.len() >= 90, "{}", indices.len());
    assert!(indices.iter().zip(&indices[1..]).all(|(a, b)| a + 1 == *b), "each once, in order");
}

#[test]
fn what_was_lost_before_a_change_of_layer_is_sent_again_after_it() {
    let mut show = Show::new();
    show.run(30);
    let viewer = show.world.join(View, &[Video]);
    show.run(30);
    show.world.clients[viewer].lose_every = Some(9);
    for name in ["q", "f", "h", "f"] {
        show.pick(viewer, name).unwrap();
        show.run(30);
    }
    show.world.clients[viewer].lose_every = None;
    show.run(15);
    let client = &show.world.clients[viewer];
    assert!(client.dropped > 20, "{}", client.dropped);
    let mut numbers: Vec<u64> = client.got.iter().map(|packet| *packet.seq_no).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let span = numbers[numbers.len() - 1] - numbers[0] + 1;
    assert_eq!(numbers.len() as u64, span, "nothing stays missing");
}
