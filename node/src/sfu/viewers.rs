//! What comes from viewers: RTCP. What they get beside packets: retransmissions and sender reports.

use std::time::{Duration, Instant};

use freshet_cluster::SessionId;
use freshet_relay_proto::track::MediaKind;
use rand::Rng;

use super::machine::Sfu;
use super::session::Role;
use super::types::{Datagram, Repeat};
use crate::forward::history::EstimateInput;
use crate::forward::recent::LastSecond;
use crate::forward::reception::Block;
use crate::forward::rtcp::{self, Compound, Feedback, Twcc};
use crate::forward::train::Way;
use crate::media::clock::{NtpTime, Skew};
use crate::peer::viewer::Slot;

/// Packets that wait to be sent again; more are not, and are asked for again.
const REPEATS: usize = 65_536;

/// What reports told of one m-line of a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Sound or picture.
    pub kind: MediaKind,
    /// The share of packets that was lost between its last two reports, in 256ths.
    pub fraction_lost: u8,
    /// How unevenly packets came.
    pub jitter: Option<Duration>,
}

/// What a viewer told of its path: what an estimate of its bandwidth begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// By receiver reports.
    pub slots: Vec<Told>,
    /// The shortest of late, by receiver reports.
    pub round_trip: Option<Duration>,
    /// By transport-wide feedback.
    pub second: Option<LastSecond>,
}

impl Sfu {
    pub(super) fn viewer_event(&mut self, now: Instant, at: usize, event: &str0m::Event) {
        if matches!(event, str0m::Event::Connected)
            && let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role)
        {
            viewer.connected = true;
            viewer.report_due = Some(now);
            self.begin_all(now, at);
            self.schedule(at, now);
        }
    }

    /// A viewer's RTCP: opened and taken apart here, once. str0m does not see it.
    pub(super) fn viewer_rtcp(&mut self, now: Instant, at: usize, way: Way, sealed: &[u8]) {
        let mut buffer = std::mem::take(&mut self.opened);
        buffer.clear();
        buffer.extend_from_slice(sealed);
        if let Some(session) = self.sessions.get_mut(at)
            && let Role::Viewer(viewer) = &mut session.role
            && let Some(receiver) = &mut viewer.receiver
            && let Ok(compound) = receiver.open(&mut buffer)
        {
            session.heard = now;
            // It is authentic: media goes to where it came from, unless it was overtaken.
            if receiver.was_newest() {
                viewer.to = Some(way);
                session.proven = Some(way);
            }
            viewer.allowed.messages.charge(now);
            for feedback in rtcp::parse(compound) {
                self.viewer_feedback(now, at, feedback);
            }
        } else {
            self.counters.rejected_rtcp = self.counters.rejected_rtcp.saturating_add(1);
        }
        self.opened = buffer;
    }

    fn viewer_feedback(&mut self, now: Instant, at: usize, feedback: Feedback<'_>) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        viewer.allowed.messages.charge(now);
        match feedback {
            Feedback::Nack { ssrc, seqs } => self.nack(now, at, ssrc, seqs),
            Feedback::ReceiverReport { ssrc, fraction_lost, lost, jitter, lsr, dlsr, .. } => {
                let block = Block { fraction: fraction_lost, lost, jitter, last_report: lsr, delay: dlsr };
                self.reception(now, at, ssrc, block);
            }
            Feedback::Twcc { raw, .. } => {
                let sealer = viewer.sealer.as_mut();
                if let Some(input) = sealer.zip(Twcc::read(raw)).map(|(sealer, twcc)| sealer.feedback(twcc)) {
                    viewer.recent.get_or_insert_default().note(now, input);
                    self.estimate(input);
                }
            }
            Feedback::Pli { ssrc } | Feedback::Fir { ssrc, .. } => {
                self.counters.keyframe_wishes = self.counters.keyframe_wishes.saturating_add(1);
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
            _ => {}
        }
    }

    /// Notes what a viewer asks for again, as far as its allowance goes.
    fn nack(&mut self, now: Instant, at: usize, ssrc: u32, seqs: impl Iterator<Item = u16>) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (serial, Role::Viewer(viewer)) = (session.serial, &mut session.role) else { return };
        let Some(slot) = viewer.slot_of(ssrc) else {
            self.counters.strange_feedback = self.counters.strange_feedback.saturating_add(1);
            return;
        };
        let again = &mut viewer.allowed.again;
        // The whole message is gone through, so that what is over the allowance is counted; a datagram bounds it.
        for seq in seqs {
            if again.take(now) && self.repeats.len() < REPEATS {
                self.repeats.push(Repeat { session: at, serial, slot, seq });
            } else {
                self.counters.limited_nacks = self.counters.limited_nacks.saturating_add(1);
            }
        }
    }

    /// Notes what a viewer says of its path in one report block.
    fn reception(&mut self, now: Instant, at: usize, ssrc: u32, block: Block) {
        let ntp = NtpTime::from_wall(self.config.wall.micros(now));
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let Some(slot) = viewer.slot_of(ssrc).and_then(|n| viewer.slots.get_mut(n)) else {
            self.counters.strange_feedback = self.counters.strange_feedback.saturating_add(1);
            return;
        };
        let counters = &mut self.counters;
        let lost = slot.losses.newly(block, slot.outlet.packets());
        counters.viewer_lost_packets = counters.viewer_lost_packets.saturating_add(lost);
        if let Some(jitter) = slot.outlet.clock_rate().and_then(|rate| slot.losses.jitter(block, rate)) {
            counters.jitters = counters.jitters.saturating_add(1);
            counters.jitter_micros = counters.jitter_micros.saturating_add(micros(jitter));
        }
        if let Some(trip) = viewer.reception.report(block, ntp) {
            counters.round_trips = counters.round_trips.saturating_add(1);
            counters.round_trip_micros = counters.round_trip_micros.saturating_add(micros(trip));
        }
    }

    /// What a session's viewer told of its path lately; none for one that is not there or publishes.
    pub fn path(&self, now: Instant, id: SessionId) -> Option<Path> {
        let session = self.by_id.get(&id).and_then(|at| self.sessions.get(*at))?;
        let Role::Viewer(viewer) = &session.role else { return None };
        let slot = |slot: &Slot| {
            let (fraction_lost, jitter) = slot.losses.latest();
            Told { kind: slot.kind, fraction_lost, jitter }
        };
        Some(Path {
            slots: viewer.slots.iter().map(slot).collect(),
            round_trip: viewer.reception.round_trip(),
            second: viewer.recent.as_ref().and_then(|recent| recent.second(now)),
        })
    }

    /// Adds up what one feedback packet tells of viewers' paths.
    fn estimate(&mut self, input: EstimateInput) {
        let told = &mut self.counters.feedback;
        let EstimateInput { arrived, bytes, missing, late, unknown, span, growth } = input;
        for (sum, more) in [
            (&mut told.packets, u64::from(arrived)),
            (&mut told.bytes, bytes.into()),
            (&mut told.missing, missing.into()),
            (&mut told.late, late.into()),
            (&mut told.unknown, unknown.into()),
            (&mut told.micros, micros(span)),
            (&mut told.rise_micros, growth.max(0).unsigned_abs()),
            (&mut told.fall_micros, growth.min(0).unsigned_abs()),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Sends the sender reports that are due.
    pub(super) fn viewer_tick(&mut self, now: Instant, at: usize) {
        let wall = self.config.wall.micros(now);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Viewer(viewer) = &mut session.role else { return };
        if viewer.report_due.is_none_or(|due| due > now) {
            return;
        }
        viewer.report_due = None;
        let quiet = viewer.is_quiet(now);
        let (Some(to), Some(sealer)) = (viewer.to, viewer.sealer.as_mut()) else { return };
        let watching = viewer.watching.as_ref();
        let stream = watching.and_then(|w| self.rooms.get(&session.room).and_then(|r| r.streams.get(w)));
        let (mut news, mut reported, mut compound) = (false, false, Compound::default());
        // Sound first: a quiet stream has one report, and older browsers show those of sound alone.
        for slot in viewer.slots.iter_mut().rev() {
            // Without a stream there are no reports until something is sent again.
            let told = stream.map(|_| slot.outlet.packets()).filter(|sent| *sent > 0);
            let of_slot = told.is_some_and(|told| slot.told != Some(told));
            news |= of_slot;
            slot.told = told;
            let (Some(stream), Some(_)) = (stream, told) else { continue };
            if quiet && reported && !of_slot {
                // One report says that the node is there.
                continue;
            }
            reported = true;
            let video = slot.kind == MediaKind::Video;
            let skew = if video { self.config.report_skew } else { Skew::default() };
            slot.outlet.report(&mut compound, &viewer.label, &stream.clock, wall, skew);
        }
        if stream.is_none() {
            return;
        }
        if let Some(slot) = viewer.slots.last().filter(|_| !reported) {
            slot.outlet.alive(&mut compound, &viewer.label);
        }
        if let Some(contents) = sealer.report(&compound) {
            self.datagrams.push_back(Datagram { to: to.peer, from: to.local, contents });
        }
        viewer.reported(now, &self.config.wall, news && !quiet, self.rng.random_range(0.0..1.0));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
