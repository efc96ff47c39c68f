//! What comes from publishers.

use std::sync::Arc;
use std::time::Instant;

use freshet_cluster::{RoomId, StreamId};
use freshet_edge::stream_health::StreamHealth;
use str0m::media::KeyframeRequestKind;
use str0m::rtp::RtpPacket;

use super::feed::lane_in;
use super::machine::Sfu;
use super::session::{Role, Session};
use super::types::{Event, Source};
use crate::agent::Lane as LaneId;
use crate::peer::publisher::Incoming;

impl Sfu {
    pub(super) fn publisher_event(&mut self, now: Instant, at: usize, event: &str0m::Event) {
        match event {
            str0m::Event::Connected => {
                let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) else {
                    return;
                };
                publisher.connected = true;
                self.publisher_live(now, at);
            }
            str0m::Event::RtpPacket(rtp) => self.publisher_packet(now, at, rtp),
            str0m::Event::SenderFeedback(feedback) => {
                // Dated as it came: the next packet of a layer that stands still may be far.
                let wall = self.config.wall.micros(feedback.received_at);
                if let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) {
                    publisher.report(&feedback.sender_info, wall);
                }
            }
            str0m::Event::MediaIngressStats(stats) => {
                if let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) {
                    publisher.note_round_trip(stats.mid, stats.rtt);
                }
            }
            _ => {}
        }
    }

    /// How the media of a publisher here arrives; none for a stream that does not begin here.
    pub fn health(&mut self, now: Instant, room: &RoomId, stream: &StreamId) -> Option<StreamHealth> {
        let known = self.rooms.get(room)?.streams.get(stream)?;
        let (generation, live) = (known.key.generation, known.live);
        let Source::Local(at) = known.source else { return None };
        let wall = self.config.wall.micros(now);
        let Role::Publisher(publisher) = &mut self.sessions.get_mut(at)?.role else { return None };
        let (tracks, warnings) = publisher.health(now, wall);
        Some(StreamHealth { room: room.clone(), stream: stream.clone(), generation, live, tracks, warnings })
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

    /// A packet of a publisher: into its ring. The way there is looked up once and then remembered, for it is the
    /// way of thousands that follow.
    pub(super) fn publisher_packet(&mut self, now: Instant, at: usize, rtp: &RtpPacket) {
        let Self { sessions, lanes, rooms, config, counters, .. } = self;
        let Some(Session { rtc, role: Role::Publisher(publisher), .. }) = sessions.get_mut(at) else {
            return;
        };
        let wall = config.wall.micros(rtp.timestamp);
        // Asking str0m makes it look through all it has at the next poll.
        let named = |repeated: bool| {
            let mut api = rtc.direct_api();
            let stream = api.stream_rx(&rtp.header.ssrc)?;
            if repeated {
                // By itself it asks again only where there is RTX.
                stream.suppress_nack(false);
            }
            Some((stream.mid(), stream.rid()))
        };
        let claimed = publisher.key.is_some();
        let names = (*rtp.header.ssrc, *rtp.header.payload_type);
        let place = publisher.place(names, named).filter(|_| claimed);
        let placed = place.and_then(|place| Some((place, publisher.take(place, wall, rtp)?)));
        let Some((place, Incoming { track, layer, packet, sets })) = placed else {
            counters.unplaced_packets = counters.unplaced_packets.saturating_add(1);
            return;
        };
        let id = (track, layer);
        // A slot of the table may have another lane by now; only this session's are its own.
        let is_ours = |lane: &usize| {
            lanes.get(*lane).is_some_and(|lane| lane.source == Source::Local(at) && lane.id == id)
        };
        let lane = publisher.lane(place).filter(is_ours).or_else(|| {
            let found = lane_in(rooms, publisher.key.as_ref()?, id)?;
            publisher.set_lane(place, found);
            Some(found)
        });
        match lane {
            Some(lane) => {
                for set in sets {
                    self.push(now, lane, Arc::new(set));
                }
                self.push(now, lane, Arc::new(packet));
            }
            None => counters.unplaced_packets = counters.unplaced_packets.saturating_add(1),
        }
    }

    /// Asks a publisher for a keyframe; the gate of the lane has merged the wishes already.
    pub(super) fn publisher_keyframe(&mut self, now: Instant, at: usize, lane: LaneId) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Publisher(publisher) = &mut session.role else { return };
        let Some(ssrc) = publisher.ssrc(lane) else { return };
        publisher.keyframe_asked(lane, now);
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
