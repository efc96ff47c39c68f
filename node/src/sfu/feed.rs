//! The one hallway: packets into rings, on to links and other shards, and who takes them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use freshet_cluster::RoomId;
use freshet_relay_proto::track::MediaKind;

use super::lane::Lane;
use super::machine::Sfu;
use super::room::Room;
use super::session::Role;
use super::types::{Event, Hop, HopPacket, Source};
use crate::agent::{Lane as LaneId, Link, StreamKey};
use crate::media::keyframe::Fresh;
use crate::media::packet::Packet;
use crate::media::ring::Push;

impl Sfu {
    /// The one hallway: a packet of a publisher or of a link goes into its ring.
    pub(super) fn push(&mut self, now: Instant, at: usize, packet: Arc<Packet>) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.ring.expire(now);
        let (len, keyframe, marker) = (packet.payload.len(), packet.keyframe, packet.marker);
        match lane.ring.push(packet) {
            Push::New => {}
            Push::Duplicate => {
                self.counters.duplicate_packets = self.counters.duplicate_packets.saturating_add(1);
                return;
            }
            _ => {
                self.counters.late_packets = self.counters.late_packets.saturating_add(1);
                return;
            }
        }
        if matches!(lane.source, Source::Remote(Hop::Shard(_), _)) {
            self.counters.crossed_packets = self.counters.crossed_packets.saturating_add(1);
        } else {
            self.counters.ingress_packets = self.counters.ingress_packets.saturating_add(1);
            let bytes = u64::try_from(len).unwrap_or_default();
            self.counters.ingress_bytes = self.counters.ingress_bytes.saturating_add(bytes);
        }
        if keyframe {
            lane.gate.keyframe_seen(now);
        }
        lane.meter.note(now, len);
        // Hops wait for nothing: what is held back at each of them would add up.
        for (hop, alias) in &lane.hops {
            let Some(packet) = lane.ring.latest().cloned() else { break };
            let (id, kind) = (lane.id, lane.kind);
            self.hop_packets.push(HopPacket { hop: *hop, alias: *alias, lane: id, kind, packet });
        }
        let ends_frame = lane.kind == MediaKind::Video && marker;
        self.mark_dirty(now, at, ends_frame);
        self.lane_heard(now, at);
    }

    /// A packet came by a hop.
    pub fn handle_hop_packet(
        &mut self,
        now: Instant,
        hop: Hop,
        alias: u32,
        lane: LaneId,
        packet: Arc<Packet>,
    ) {
        let Some(at) = self.by_hop.get(&(hop, alias, lane)).copied() else {
            self.counters.unwanted_link_packets = self.counters.unwanted_link_packets.saturating_add(1);
            return;
        };
        if let Some(lane) = self.lanes.get(at)
            && let Some(room) = self.rooms.get_mut(&lane.key.room)
            && let Some(stream) = room.streams.get_mut(&lane.key.stream)
        {
            let wall = self.config.wall.micros(now);
            stream.clock.observe(packet.capture, wall);
        }
        self.push(now, at, packet);
    }

    /// A hop wants a lane from `from` on, or from the newest keyframe.
    pub fn handle_forward(
        &mut self,
        now: Instant,
        key: &StreamKey,
        id: LaneId,
        hop: Hop,
        alias: u32,
        from: Option<u64>,
    ) {
        let Some(at) = self.lane_of(key, id) else { return };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.hops.iter().any(|(h, _)| *h == hop) {
            return;
        }
        begin_again(lane);
        lane.hops.push((hop, alias));
        let fresh = Fresh { max_age: self.config.fresh_keyframe, ..Fresh::default() };
        let start =
            from.or_else(|| (lane.kind == MediaKind::Video).then(|| fresh.start(&lane.ring, now)).flatten());
        if let Some(start) = start {
            for packet in lane.ring.iter_from(start) {
                let (kind, packet) = (lane.kind, packet.clone());
                self.hop_packets.push(HopPacket { hop, alias, lane: id, kind, packet });
            }
        } else if lane.kind == MediaKind::Video {
            self.want_keyframe(now, at);
        }
    }

    /// A hop does not want a lane any more.
    pub fn handle_unforward(&mut self, key: &StreamKey, id: LaneId, hop: Hop) {
        if let Some(at) = self.lane_of(key, id)
            && let Some(lane) = self.lanes.get_mut(at)
        {
            lane.hops.retain(|(h, _)| *h != hop);
        }
    }

    /// A link is down: nothing goes to it any more.
    pub fn handle_link_down(&mut self, link: Link) {
        for (_, lane) in self.lanes.iter_mut() {
            lane.hops.retain(|(h, _)| *h != Hop::Link(link));
        }
    }

    /// Somebody behind a hop asks for a keyframe.
    pub fn handle_keyframe_request(&mut self, now: Instant, key: &StreamKey, id: LaneId) {
        if let Some(at) = self.lane_of(key, id) {
            self.want_keyframe(now, at);
        }
    }

    pub(super) fn lane_of(&self, key: &StreamKey, id: LaneId) -> Option<usize> {
        lane_in(&self.rooms, key, id)
    }

    /// Merges a wish for a keyframe with the others of its lane.
    pub(super) fn want_keyframe(&mut self, now: Instant, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.kind != MediaKind::Video {
            return;
        }
        let ask = lane.gate.request(now);
        self.schedule_gate(at);
        if ask {
            self.ask_keyframe(now, at);
        }
    }

    /// Notes when a lane's gate wants to be looked at. What is noted twice or too early costs a look.
    fn schedule_gate(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let due = lane.gate.poll_timeout();
        if due != lane.gate_due {
            lane.gate_due = due;
            self.timers.gates.extend(due.map(|due| Reverse((due, at))));
        }
    }

    fn ask_keyframe(&mut self, now: Instant, at: usize) {
        let Some(lane) = self.lanes.get(at) else { return };
        self.counters.keyframe_requests = self.counters.keyframe_requests.saturating_add(1);
        match lane.source {
            Source::Local(session) => {
                let id = lane.id;
                self.publisher_keyframe(now, session, id);
            }
            Source::Remote(..) => self.events.push_back(Event::KeyframeWanted(lane.key.clone(), lane.id)),
        }
    }

    pub(super) fn gates_timeout(&mut self, now: Instant) {
        while let Some(Reverse((due, at))) = self.timers.gates.peek().copied()
            && due <= now
        {
            self.timers.gates.pop();
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if lane.gate_due == Some(due) {
                lane.gate_due = None;
            }
            let ask = lane.gate.poll(now);
            self.schedule_gate(at);
            if ask {
                self.ask_keyframe(now, at);
            }
        }
    }

    /// Begins to feed a slot of a connected viewer from a lane: from the ring's keyframe when it is fresh.
    pub(super) fn join_lane(&mut self, now: Instant, at: usize, session: usize, slot: usize) {
        let fresh = Fresh { max_age: self.config.fresh_keyframe, ..Fresh::default() };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(session).map(|s| &mut s.role) else { return };
        let Some(slot) = viewer.slots.get_mut(slot) else { return };
        let Some(attached) = slot.attached.as_mut().filter(|attached| attached.lane == at) else { return };
        attached.next = lane.ring.next_arrival();
        if lane.kind != MediaKind::Video {
            return;
        }
        let start = fresh.start(&lane.ring, now).and_then(|_| lane.ring.keyframe_since(0));
        match start {
            Some(start) => {
                attached.next = start.arrival;
                (attached.waiting, attached.catching_up) = (false, true);
                slot.outlet.begin_at(start.index);
                self.hold_back(now, session);
            }
            None => self.want_keyframe(now, at),
        }
    }

    /// Puts a slot on a lane: it is visited when the lane is flushed, and the lane is wanted.
    pub(super) fn enter_lane(&mut self, at: usize, session: usize, slot: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        begin_again(lane);
        lane.viewers.insert((session, slot));
        if lane.viewers.len() == 1 {
            self.events.push_back(Event::Interest(lane.key.clone(), lane.id, true));
        }
    }

    /// Takes a slot off a lane.
    pub(super) fn leave_lane(&mut self, at: usize, session: usize, slot: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.viewers.remove(&(session, slot));
        if lane.viewers.is_empty() {
            self.events.push_back(Event::Interest(lane.key.clone(), lane.id, false));
        }
    }
}

/// Somebody is about to take a lane. When nobody took it and it is of another node or shard, its packets have stopped:
/// nobody is to be served from before the gap. They begin again with a fresh keyframe, which the ring may have had.
fn begin_again(lane: &mut Lane) {
    if !lane.is_wanted() && matches!(lane.source, Source::Remote(..)) {
        lane.ring.clear();
    }
}

/// The lane of a stream, by its index in the shard.
pub(super) fn lane_in(rooms: &HashMap<RoomId, Room>, key: &StreamKey, id: LaneId) -> Option<usize> {
    let stream = rooms.get(&key.room)?.streams.get(&key.stream)?;
    let of_it = stream.lanes.iter().find(|(lane, _)| *lane == id && stream.key == *key);
    of_it.map(|(_, at)| *at)
}
