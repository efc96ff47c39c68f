//! The one hallway: packets into rings, and from rings to viewers and links.

use std::sync::Arc;
use std::time::Instant;

use freshet_relay_proto::track::MediaKind;

use super::machine::Sfu;
use super::session::Role;
use super::types::{Event, LinkPacket, Source};
use crate::agent::{Lane as LaneId, Link, StreamKey};
use crate::forward::egress::Road;
use crate::forward::train::Trains;
use crate::media::keyframe::Fresh;
use crate::media::packet::Packet;
use crate::media::ring::Push;

impl Sfu {
    /// The one hallway: a packet of a publisher or of a link goes into its ring.
    pub(super) fn push(&mut self, now: Instant, at: usize, packet: Packet) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let packet = Arc::new(packet);
        lane.ring.expire(now);
        match lane.ring.push(packet.clone()) {
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
        self.counters.ingress_packets = self.counters.ingress_packets.saturating_add(1);
        let len = u64::try_from(packet.payload.len()).unwrap_or_default();
        self.counters.ingress_bytes = self.counters.ingress_bytes.saturating_add(len);
        if packet.keyframe {
            lane.gate.keyframe_seen(now);
        }
        lane.fresh.push(packet);
        self.mark_dirty(at);
    }

    fn mark_dirty(&mut self, at: usize) {
        if let Some(lane) = self.lanes.get_mut(at)
            && !lane.dirty
        {
            lane.dirty = true;
            self.dirty.push(at);
        }
    }

    /// A packet came by a link.
    pub fn handle_link_packet(&mut self, now: Instant, link: Link, alias: u32, lane: LaneId, packet: Packet) {
        let Some(at) = self.by_link.get(&(link, alias, lane)).copied() else {
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

    /// A link wants a lane from `from` on, or from the newest keyframe.
    pub fn handle_forward(
        &mut self,
        now: Instant,
        key: &StreamKey,
        id: LaneId,
        link: Link,
        alias: u32,
        from: Option<u64>,
    ) {
        let Some(at) = self.lane_of(key, id) else { return };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.links.iter().any(|(l, _)| *l == link) {
            return;
        }
        lane.links.push((link, alias));
        let fresh = Fresh { max_age: self.config.fresh_keyframe, ..Fresh::default() };
        let start =
            from.or_else(|| (lane.kind == MediaKind::Video).then(|| fresh.start(&lane.ring, now)).flatten());
        if let Some(start) = start {
            let unsent = lane.fresh.first().map_or(u64::MAX, |p| p.index);
            for packet in lane.ring.iter_from(start).filter(|p| p.index < unsent) {
                let (kind, packet) = (lane.kind, packet.clone());
                self.link_packets.push(LinkPacket { link, alias, lane: id, kind, packet });
            }
        } else if lane.kind == MediaKind::Video {
            self.want_keyframe(now, at);
        }
    }

    /// A link does not want a lane any more.
    pub fn handle_unforward(&mut self, key: &StreamKey, id: LaneId, link: Link) {
        if let Some(at) = self.lane_of(key, id)
            && let Some(lane) = self.lanes.get_mut(at)
        {
            lane.links.retain(|(l, _)| *l != link);
        }
    }

    /// A link is down: nothing goes to it any more.
    pub fn handle_link_down(&mut self, link: Link) {
        for (_, lane) in self.lanes.iter_mut() {
            lane.links.retain(|(l, _)| *l != link);
        }
    }

    /// A link asks for a keyframe.
    pub fn handle_keyframe_request(&mut self, now: Instant, key: &StreamKey, id: LaneId) {
        if let Some(at) = self.lane_of(key, id) {
            self.want_keyframe(now, at);
        }
    }

    pub(super) fn lane_of(&self, key: &StreamKey, id: LaneId) -> Option<usize> {
        let stream = self.rooms.get(&key.room)?.streams.get(&key.stream)?;
        let of_it = stream.lanes.iter().find(|(lane, _)| *lane == id && stream.key == *key);
        of_it.map(|(_, at)| *at)
    }

    /// Merges a wish for a keyframe with the others of its lane.
    pub(super) fn want_keyframe(&mut self, now: Instant, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.kind == MediaKind::Video && lane.gate.request(now) {
            self.ask_keyframe(now, at);
        }
    }

    fn ask_keyframe(&mut self, now: Instant, at: usize) {
        let Some(lane) = self.lanes.get(at) else { return };
        self.counters.keyframe_requests = self.counters.keyframe_requests.saturating_add(1);
        match lane.source {
            Source::Local(session) => {
                let track = lane.id.0;
                self.publisher_keyframe(now, session, track);
            }
            Source::Remote(..) => self.events.push_back(Event::KeyframeWanted(lane.key.clone(), lane.id)),
        }
    }

    pub(super) fn lanes_due(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|(_, lane)| lane.gate.poll_timeout()).min()
    }

    pub(super) fn lanes_timeout(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (at, lane) in self.lanes.iter_mut() {
            if lane.gate.poll(now) {
                due.push(at);
            }
        }
        for at in due {
            self.ask_keyframe(now, at);
        }
    }

    /// Begins to feed a slot of a connected viewer from a lane.
    pub(super) fn join_lane(&mut self, now: Instant, at: usize, session: usize, slot: usize) {
        let fresh = Fresh { max_age: self.config.fresh_keyframe, ..Fresh::default() };
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.kind != MediaKind::Video {
            return;
        }
        match fresh.start(&lane.ring, now) {
            Some(start) => {
                lane.joiners.push((session, slot, start));
                self.mark_dirty(at);
            }
            None => self.want_keyframe(now, at),
        }
    }

    /// Takes a slot off a lane.
    pub(super) fn leave_lane(&mut self, at: usize, session: usize, slot: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.viewers.retain(|v| *v != (session, slot));
        lane.joiners.retain(|(s, n, _)| (*s, *n) != (session, slot));
        if lane.viewers.is_empty() {
            self.events.push_back(Event::Interest(lane.key.clone(), lane.id, false));
        }
    }

    /// One train for each viewer of a lane, one packet for each link.
    pub(super) fn flush_lane(
        &mut self,
        now: Instant,
        at: usize,
        trains: &mut Trains,
        depart: &mut dyn FnMut(&mut Trains),
    ) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.dirty = false;
        let mut fresh = std::mem::take(&mut lane.fresh);
        for (link, alias) in &lane.links {
            for packet in &fresh {
                let (kind, packet) = (lane.kind, packet.clone());
                self.link_packets.push(LinkPacket {
                    link: *link,
                    alias: *alias,
                    lane: lane.id,
                    kind,
                    packet,
                });
            }
        }
        let joiners = std::mem::take(&mut lane.joiners);
        for (session_at, n) in &lane.viewers {
            let Some(session) = self.sessions.get_mut(*session_at) else { continue };
            let Role::Viewer(viewer) = &mut session.role else { continue };
            let (Some(to), Some(sealer), true) = (viewer.to, viewer.sealer.as_mut(), viewer.connected) else {
                continue;
            };
            let Some(slot) = viewer.slots.get_mut(*n) else { continue };
            let Some(attached) = slot.attached.as_mut().filter(|a| a.lane == at) else { continue };
            let join = joiners.iter().find(|(s, m, _)| s == session_at && m == n);
            if attached.waiting && join.is_none() && !fresh.iter().any(|p| p.keyframe) {
                continue;
            }
            trains.begin(to, None);
            let mut road = Road { trains, depart, to };
            let mut sent = 0_u64;
            let mut bytes = 0_u64;
            let mut send = |packet: &Packet, waiting: &mut bool| {
                if *waiting && !packet.keyframe {
                    return;
                }
                *waiting = false;
                let format = attached.formats.get(usize::from(packet.codec)).copied().flatten();
                let Some(format) = format else { return };
                if let Some(len) = slot.outlet.send(sealer, format, packet, now, &mut road) {
                    sent = sent.saturating_add(1);
                    bytes = bytes.saturating_add(len);
                }
            };
            let mut waiting = attached.waiting;
            if let Some((_, _, start)) = join.filter(|_| attached.waiting) {
                for packet in lane.ring.iter_from(*start) {
                    send(packet, &mut waiting);
                }
            } else {
                for packet in &fresh {
                    send(packet, &mut waiting);
                }
            }
            attached.waiting = waiting;
            trains.end();
            self.counters.egress_packets = self.counters.egress_packets.saturating_add(sent);
            self.counters.egress_bytes = self.counters.egress_bytes.saturating_add(bytes);
            if sent > 0 && slot.report_due.is_none() {
                // The first report goes out at once, so that a player can line up sound and picture.
                slot.report_due = Some(now);
                self.reports.push(*session_at);
            }
        }
        fresh.clear();
        lane.fresh = fresh;
        while let Some(session) = self.reports.pop() {
            self.schedule(session, now);
        }
    }
}
