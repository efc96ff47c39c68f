//! Two nodes and the link between them.

use std::time::Duration;

use freshet_cluster::unit::UnixMillis;

use super::world::World;
use crate::agent::Link;
use crate::sfu::{Event, Hop, Incoming};

/// A node with a publisher, and one that takes the stream by a link from it.
pub struct Nodes {
    pub home: World,
    pub child: World,
}

const UP: Hop = Hop::Link(Link(1));
const DOWN: Hop = Hop::Link(Link(2));
const ALIAS: u32 = 3;

impl Nodes {
    /// `home` has a publisher that is connected.
    pub fn new(mut home: World) -> Self {
        let mut child = World::new();
        child.now = home.now;
        while let Some(event) = home.sfu.poll_event() {
            if let Event::Live(key, tracks) = event {
                let started_at = UnixMillis(1);
                let stream = Incoming { key, started_at, tracks, hop: UP, alias: ALIAS };
                child.sfu.handle_incoming_up(child.now, stream);
            }
        }
        Self { home, child }
    }

    pub fn pass(&mut self, time: Duration) {
        let (end, step) = (self.home.now + time, Duration::from_millis(10));
        while self.home.now < end {
            self.home.pass(step);
            let (now, home) = (self.home.now, &mut self.home.sfu);
            while let Some(event) = self.child.sfu.poll_event() {
                match event {
                    Event::Interest(key, lane, true) => {
                        home.handle_forward(now, &key, lane, DOWN, ALIAS, None)
                    }
                    Event::Interest(key, lane, false) => home.handle_unforward(&key, lane, DOWN),
                    Event::KeyframeWanted(key, lane) => home.handle_keyframe_request(now, &key, lane),
                    _ => {}
                }
            }
            while let Some(event) = home.poll_event() {
                if let Event::Layers(key, rates) = event {
                    self.child.sfu.handle_layers(self.child.now, &key, &rates);
                }
            }
            for packet in home.drain_hop_packets() {
                self.child.sfu.handle_hop_packet(self.child.now, UP, ALIAS, packet.lane, packet.packet);
            }
            self.child.pass(step);
        }
    }
}
