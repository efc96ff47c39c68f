//! What comes from publishers.

use std::sync::Arc;
use std::time::Instant;

use str0m::media::KeyframeRequestKind;

use super::machine::Sfu;
use super::session::Role;
use super::types::Event;
use crate::agent::Lane as LaneId;

impl Sfu {
    pub(super) fn publisher_event(&mut self, now: Instant, at: usize, event: str0m::Event) {
        match event {
            str0m::Event::Connected => {
                let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) else {
                    return;
                };
                publisher.connected = true;
                self.publisher_live(now, at);
            }
            str0m::Event::RtpPacket(rtp) => self.publisher_packet(now, at, rtp),
            _ => {}
        }
    }

    /// The stream counts as live when it is claimed and its publisher is connected, in either order.
    pub(super) fn publisher_live(&mut self, now: Instant, at: usize) {
        let Some(Role::Publisher(publisher)) = self.sessions.get(at).map(|s| &s.role) else { return };
        let (Some(key), true) = (publisher.key.clone(), publisher.connected) else { return };
        let tracks = publisher.tracks();
        let stream = self.rooms.get_mut(&key.room).and_then(|r| r.streams.get_mut(&key.stream));
        if let Some(stream) = stream.filter(|s| s.key == key) {
            stream.live = true;
        }
        // The stream is told of before anybody's interest in it.
        self.events.push_back(Event::Live(key.clone(), tracks));
        self.choose_programs(now, &key.room);
    }

    fn publisher_packet(&mut self, now: Instant, at: usize, rtp: str0m::rtp::RtpPacket) {
        let wall = self.config.wall.micros(rtp.timestamp);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Publisher(publisher) = &mut session.role else { return };
        let mid = session.rtc.direct_api().stream_rx(&rtp.header.ssrc).map(|s| (s.mid(), s.rid()));
        let arrived = rtp.timestamp;
        let placed = match (mid, publisher.key.clone()) {
            (Some((mid, rid)), Some(key)) => {
                let named = (&*mid, rid.as_deref());
                publisher.take(named, arrived, wall, rtp).map(|incoming| (key, incoming))
            }
            _ => None,
        };
        let lane =
            placed.as_ref().and_then(|(key, incoming)| self.lane_of(key, (incoming.track, incoming.layer)));
        match (lane, placed) {
            (Some(lane), Some((_, incoming))) => self.push(now, lane, Arc::new(incoming.packet)),
            _ => self.counters.unplaced_packets = self.counters.unplaced_packets.saturating_add(1),
        }
    }

    /// Asks a publisher for a keyframe; the gate of the lane has merged the wishes already.
    pub(super) fn publisher_keyframe(&mut self, now: Instant, at: usize, lane: LaneId) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Publisher(publisher) = &session.role else { return };
        let Some(ssrc) = publisher.ssrc(lane) else { return };
        if let Some(stream) = session.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        // str0m sends feedback when time passes.
        self.schedule(at, now);
    }

    /// Tells how fast a publisher sends its layers, when that has changed.
    pub(super) fn publisher_tick(&mut self, now: Instant, at: usize) {
        let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        if publisher.due().is_none_or(|due| due > now) {
            return;
        }
        let rates = publisher.rates(now);
        let Some(key) = publisher.key.clone().filter(|_| !rates.is_empty()) else { return };
        self.handle_layers(now, &key, &rates);
        self.events.push_back(Event::Layers(key, rates));
    }
}
