//! What comes from viewers: RTCP. What they get beside packets: retransmissions and sender reports.

use std::time::Instant;

use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::Rtcp;

use super::machine::Sfu;
use super::session::Role;
use super::types::{Datagram, Repeat};
use crate::forward::reception::Block;
use crate::media::clock::{NtpTime, Skew};
use crate::peer::viewer::REPORT_EVERY;

/// Sequence numbers of one NACK message that are looked at; a message that asks for more is forged or hopeless.
const NACK_MAX: usize = 256;

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
        let wish = match rtcp {
            Rtcp::Nack(nack) => {
                if let Some(slot) = viewer.slot_of(*nack.ssrc) {
                    let seqs = nack.reports.iter().flat_map(|e| nacked(e.pid, e.blp)).take(NACK_MAX);
                    seqs.for_each(|seq| self.repeat(Repeat { session: at, slot, seq }));
                }
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
            let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return };
            let slot = viewer.slot_of(ssrc).and_then(|n| viewer.slots.get(n));
            if let Some(lane) = slot.and_then(|s| s.attached.as_ref()).map(|a| a.lane) {
                self.want_keyframe(now, lane);
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
