//! What comes from viewers: RTCP. What they get beside packets: retransmissions and sender reports.

use std::time::Instant;

use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::{Nack, Rtcp};

use super::machine::Sfu;
use super::session::Role;
use super::types::{Datagram, Repeat};
use crate::forward::reception::Block;
use crate::media::clock::{NtpTime, Skew};
use crate::peer::viewer::REPORT_EVERY;

/// Packets that wait to be sent again on a shard; more are not, and are asked for again.
const REPEATS: usize = 65_536;

impl Sfu {
    pub(super) fn viewer_event(&mut self, now: Instant, at: usize, event: &str0m::Event) {
        match event {
            str0m::Event::Connected => {
                let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else {
                    return;
                };
                viewer.connected = true;
                self.begin_all(now, at);
            }
            str0m::Event::RawPacket(raw) => {
                if let RawPacket::RtcpRx(rtcp) = &**raw {
                    self.viewer_rtcp(now, at, rtcp);
                }
            }
            _ => {}
        }
    }

    fn viewer_rtcp(&mut self, now: Instant, at: usize, rtcp: &Rtcp) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        viewer.proven();
        viewer.allowed.messages.charge(now);
        let wish = match rtcp {
            Rtcp::Nack(nack) => {
                self.nack(now, at, nack);
                None
            }
            Rtcp::ReceiverReport(report) => {
                self.reception(now, at, report.reports.iter());
                None
            }
            // Report blocks stand in either kind of report.
            Rtcp::SenderReport(report) => {
                self.reception(now, at, report.reports.iter());
                None
            }
            Rtcp::Pli(pli) => Some(*pli.ssrc),
            Rtcp::Fir(fir) => fir.reports.iter().next().map(|f| *f.ssrc),
            _ => None,
        };
        if let Some(ssrc) = wish {
            self.counters.keyframe_wishes = self.counters.keyframe_wishes.saturating_add(1);
            let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
            let Some(slot) = viewer.slot_of(ssrc).and_then(|n| viewer.slots.get(n)) else {
                self.counters.strange_feedback = self.counters.strange_feedback.saturating_add(1);
                return;
            };
            let Some(lane) = slot.attached.as_ref().map(|a| a.lane) else { return };
            if viewer.allowed.wishes.take(now) {
                self.want_keyframe(now, lane);
            } else {
                self.counters.limited_wishes = self.counters.limited_wishes.saturating_add(1);
            }
        }
    }

    /// Notes what a viewer asks for again, as far as its allowance goes.
    fn nack(&mut self, now: Instant, at: usize, nack: &Nack) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let Some(slot) = viewer.slot_of(*nack.ssrc) else {
            self.counters.strange_feedback = self.counters.strange_feedback.saturating_add(1);
            return;
        };
        let again = &mut viewer.allowed.again;
        // The whole message is gone through, so that what is over the allowance is counted: str0m reads 31 entries of 17
        // numbers at most.
        for seq in nack.reports.iter().flat_map(|entry| nacked(entry.pid, entry.blp)) {
            if again.take(now) && self.repeats.len() < REPEATS {
                self.repeats.push(Repeat { session: at, slot, seq });
            } else {
                self.counters.limited_nacks = self.counters.limited_nacks.saturating_add(1);
            }
        }
    }

    /// Notes what a viewer says of its path.
    fn reception<'a>(
        &mut self,
        now: Instant,
        at: usize,
        blocks: impl Iterator<Item = &'a str0m::rtp::rtcp::ReceptionReport>,
    ) {
        let ntp = NtpTime::from_wall(self.config.wall.micros(now));
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        for block in blocks {
            let Some(slot) = viewer.slot_of(*block.ssrc).and_then(|n| viewer.slots.get_mut(n)) else {
                self.counters.strange_feedback = self.counters.strange_feedback.saturating_add(1);
                continue;
            };
            let block = Block {
                lost: block.packets_lost,
                jitter: block.jitter,
                last_report: block.last_sr_time,
                delay: block.last_sr_delay,
            };
            let counters = &mut self.counters;
            let lost = slot.losses.newly(block, slot.outlet.packets());
            counters.viewer_lost_packets = counters.viewer_lost_packets.saturating_add(lost);
            if let Some(trip) = viewer.reception.report(block, ntp) {
                let micros = u64::try_from(trip.as_micros()).unwrap_or(u64::MAX);
                counters.round_trips = counters.round_trips.saturating_add(1);
                counters.round_trip_micros = counters.round_trip_micros.saturating_add(micros);
            }
        }
    }

    /// Sends the sender reports that are due.
    pub(super) fn viewer_tick(&mut self, now: Instant, at: usize) {
        let wall = self.config.wall.micros(now);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Viewer(viewer) = &mut session.role else { return };
        let (Some(to), Some(sealer)) = (viewer.to, viewer.sealer.as_mut()) else { return };
        let watching = viewer.watching.as_ref();
        let stream = watching.and_then(|w| self.rooms.get(&session.room).and_then(|r| r.streams.get(w)));
        for slot in &mut viewer.slots {
            if slot.report_due.is_none_or(|due| due > now) {
                continue;
            }
            slot.report_due = None;
            let Some(stream) = stream else { continue };
            let video = slot.kind == freshet_relay_proto::track::MediaKind::Video;
            let skew = if video { self.config.report_skew } else { Skew::default() };
            let report = slot.outlet.report(sealer, &viewer.label, &stream.clock, wall, skew);
            if let Some(contents) = report {
                self.datagrams.push_back(Datagram { to, contents });
            }
            slot.report_due = now.checked_add(REPORT_EVERY);
        }
    }
}

/// The sequence numbers of one NACK entry (RFC 4585 section 6.2.1).
fn nacked(pid: u16, blp: u16) -> impl Iterator<Item = u16> {
    let others = (0..16_u16).filter(move |bit| blp & (1 << bit) != 0);
    std::iter::once(pid).chain(others.map(move |bit| pid.wrapping_add(bit).wrapping_add(1)))
}
