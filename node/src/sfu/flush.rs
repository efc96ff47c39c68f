//! From rings to viewers.
//!
//! A lane is ripe at the end of a video frame, or when its oldest packet has waited for the batch time. Its viewers are
//! visited once each: one train with all that waits for the viewer, sound behind picture. What pacing holds back is
//! looked at again a tick later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_relay_proto::track::MediaKind;

use super::ahead::GROUP;
use super::counters::Counters;
use super::lane::Lane;
use super::machine::Sfu;
use super::session::Role;
use super::table::Table;
use crate::forward::egress::{Again, Request, Road, Sealer, Unsent};
use crate::forward::pace::{Allowed, Pacer, TICK};
use crate::forward::stamp::SentAt;
use crate::forward::train::Trains;
use crate::media::packet::{CaptureMicros, Packet};
use crate::peer::viewer::{Coming, Slot};

/// What is sent later than this after it came has lagged.
const LAG: Duration = Duration::from_millis(50);
/// A frame of the layer that is left is not waited for longer.
const FRAME_MAX: Duration = Duration::from_millis(100);
/// A keyframe of the layer to come may have been captured so much before what was sent last, in microseconds: encoders of
/// one camera are not equally fast.
const BEHIND_MAX: i64 = 150_000;
/// Packets that one viewer has asked for again and that wait for their turn; more are not sent, and are asked for again.
const AGAIN_MAX: usize = 128;

/// What became of the packets that waited in one slot.
#[derive(Default)]
struct Served {
    packets: u64,
    bytes: u64,
    /// Packets that fell out of the ring before they could go.
    overrun: u64,
    /// Something is left.
    left: bool,
    /// The lane that the slot has left for another layer.
    changed: Option<usize>,
    /// The lane whose keyframe was past.
    passed: Option<usize>,
    /// What comes is in a codec that the viewer did not negotiate, or is no more.
    turned: bool,
}

impl Sfu {
    /// A packet came into a lane.
    pub(super) fn mark_dirty(&mut self, now: Instant, at: usize, ends_frame: bool) {
        let batch = self.config.batch;
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.viewers.is_empty() || lane.ripe {
            return;
        }
        if ends_frame || batch.is_zero() {
            (lane.ripe, lane.due) = (true, None);
            self.ripe.push(at);
        } else if lane.due.is_none()
            && let Some(due) = now.checked_add(batch)
        {
            lane.due = Some(due);
            self.batches.push_back((due, at));
        }
    }

    /// A viewer has something to get that no new packet brings.
    pub(super) fn hold_back(&mut self, now: Instant, session: usize) {
        self.behind.push(session);
        self.behind_due = Some(self.behind_due.map_or(now, |due| due.min(now)));
    }

    /// When [`Sfu::flush`] has something to do.
    pub(super) fn flush_due(&self) -> Option<Instant> {
        [self.batches.front().map(|(due, _)| *due), self.behind_due].into_iter().flatten().min()
    }

    /// Sends what is ripe to viewers. `depart` is called when the arena is full; what is pending at the end is the
    /// caller's.
    pub fn flush(&mut self, now: Instant, trains: &mut Trains, depart: &mut dyn FnMut(&mut Trains)) {
        self.round = self.round.wrapping_add(1);
        let moment = (now, SentAt::new(self.config.wall.micros(now)));
        self.send_again(moment, trains, depart);
        while let Some((due, at)) = self.batches.front().copied()
            && due <= now
        {
            self.batches.pop_front();
            if let Some(lane) = self.lanes.get_mut(at).filter(|lane| lane.due == Some(due)) {
                (lane.ripe, lane.due) = (true, None);
                self.ripe.push(at);
            }
        }
        // What is held back from here on, in either loop, is for a later flush.
        let due = self.behind_due.is_some_and(|due| due <= now);
        let mut behind = std::mem::take(&mut self.served);
        if due {
            std::mem::swap(&mut behind, &mut self.behind);
        }
        let mut ripe = std::mem::take(&mut self.ripe);
        for at in ripe.drain(..) {
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            lane.ripe = false;
            let viewers = lane.viewers.lend();
            for group in viewers.chunks(GROUP) {
                self.look_ahead(group.iter().map(|(session, _)| *session));
                for (session, _) in group {
                    self.visit(moment, *session, trains, depart);
                }
            }
            // Nobody joins or leaves during a flush.
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.viewers.give_back(viewers);
            }
        }
        self.ripe = ripe;
        for group in behind.chunks(GROUP) {
            self.look_ahead(group.iter().copied());
            for session in group {
                self.visit(moment, *session, trains, depart);
            }
        }
        behind.clear();
        self.served = behind;
        if due || self.behind_due.is_none() {
            let none = self.behind.is_empty() && self.repeats.is_empty();
            self.behind_due = if none { None } else { now.checked_add(TICK) };
        }
        while let Some(session) = self.reports.pop() {
            self.schedule(session, now);
        }
        while let Some(lane) = self.overrun.pop() {
            self.want_keyframe(now, lane);
        }
        while let Some(session) = self.turned.pop() {
            self.viewing_changed(session);
        }
        while let Some((session, slot, lane)) = self.changed.pop() {
            self.layer_changed(session, slot, lane);
        }
    }

    /// Sends one viewer what waits for it, in one train as far as sizes allow.
    fn visit(
        &mut self,
        (now, sent_at): (Instant, SentAt),
        at: usize,
        trains: &mut Trains,
        depart: &mut dyn FnMut(&mut Trains),
    ) {
        let Self { sessions, lanes, counters, reports, behind, overrun, changed, turned, round, .. } = self;
        let Some(Role::Viewer(viewer)) = sessions.get_mut(at).map(|session| &mut session.role) else {
            return;
        };
        if viewer.round == *round {
            return;
        }
        viewer.round = *round;
        let (Some(to), Some(sealer), true) = (&viewer.to, viewer.sealer.as_mut(), viewer.connected) else {
            return;
        };
        trains.begin_way(to);
        let mut road = Road { trains, depart, to, at: sent_at };
        let (mut left, mut unreported) = (false, false);
        for (n, slot) in viewer.slots.iter_mut().enumerate() {
            let Some(lane) = slot.attached.as_ref().map(|attached| attached.lane) else { continue };
            let served = serve(now, lanes, slot, sealer, &mut viewer.pacer, &mut road, counters);
            counters.egress_packets = counters.egress_packets.saturating_add(served.packets);
            counters.egress_bytes = counters.egress_bytes.saturating_add(served.bytes);
            left |= served.left;
            if let Some(lane) = served.changed {
                changed.push((at, n, lane));
            }
            if let Some(lane) = served.passed {
                overrun.push(lane);
            }
            if served.turned {
                turned.push(at);
            }
            if served.overrun > 0 {
                counters.overrun_packets = counters.overrun_packets.saturating_add(served.overrun);
                overrun.push(lane);
            }
            unreported |= served.packets > 0 && (viewer.idle || slot.told.is_none());
        }
        road.trains.end();
        if left {
            behind.push(at);
        }
        if unreported && viewer.reports_now(now) {
            reports.push(at);
        }
    }

    /// Sends again what was asked for, as far as pacing allows; the rest stays for the next tick.
    fn send_again(
        &mut self,
        (now, at): (Instant, SentAt),
        trains: &mut Trains,
        depart: &mut dyn FnMut(&mut Trains),
    ) {
        let mut repeats = std::mem::take(&mut self.repeats);
        let mut later = std::mem::take(&mut self.later);
        let round = self.round;
        for of_one in repeats.chunk_by(|a, b| a.serial == b.serial) {
            let Self { sessions, lanes, counters, .. } = self;
            let Some(first) = of_one.first() else { continue };
            // Who asked may be gone, and another one stand in its place.
            let session = sessions.get_mut(first.session).filter(|session| session.serial == first.serial);
            let Some(session) = session else { continue };
            let Role::Viewer(viewer) = &mut session.role else { continue };
            let (Some(to), Some(sealer)) = (&viewer.to, viewer.sealer.as_mut()) else { continue };
            trains.begin_way(to);
            let mut road = Road { trains, depart, to, at };
            let round_trip = viewer.reception.round_trip();
            let of_slots = viewer.slots.iter().filter_map(|slot| lanes.get(slot.attached.as_ref()?.lane));
            let rate = of_slots.map(|lane| lane.meter.rate()).max().unwrap_or_default();
            let waiting = u64::try_from(of_one.len()).unwrap_or(u64::MAX);
            let allowed = viewer.pacer.allow_again(now, rate, waiting);
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            for (n, repeat) in of_one.iter().enumerate() {
                if allowed.is_used_up(packets, bytes) {
                    let rest = of_one.get(n..).unwrap_or_default();
                    // A viewer's requests may stand in several runs.
                    let kept_before = if viewer.kept.0 == round { viewer.kept.1 } else { 0 };
                    let (kept, dropped) =
                        rest.split_at(rest.len().min(AGAIN_MAX.saturating_sub(kept_before)));
                    viewer.kept = (round, kept_before.saturating_add(kept.len()));
                    later.extend_from_slice(kept);
                    let dropped = u64::try_from(dropped.len()).unwrap_or(u64::MAX);
                    counters.limited_nacks = counters.limited_nacks.saturating_add(dropped);
                    break;
                }
                let Some(slot) = viewer.slots.get_mut(repeat.slot) else { continue };
                let left = allowed.packets.saturating_sub(packets);
                let asked = (repeat.seq, now, round_trip, left);
                let again = again(lanes, slot, sealer, asked, &mut road);
                let (counter, n) = match again {
                    None => (&mut counters.rtx_missed, 1),
                    Some(Again::Sent { copies, bytes: len }) => {
                        packets = packets.saturating_add(copies);
                        bytes = bytes.saturating_add(len);
                        (&mut counters.rtx_packets, copies)
                    }
                    Some(Again::TooSoon) => (&mut counters.rtx_suppressed, 1),
                    Some(Again::Failed) => (&mut counters.seal_failures, 1),
                };
                *counter = counter.saturating_add(n);
            }
            viewer.pacer.spend(packets, bytes);
            road.trains.end();
        }
        repeats.clear();
        (self.repeats, self.later) = (later, repeats);
    }
}

/// Sends what waits in one slot, and goes over to the layer that is to come between two frames.
fn serve(
    now: Instant,
    lanes: &Table<Lane>,
    slot: &mut Slot,
    sealer: &mut Sealer,
    pacer: &mut Pacer,
    road: &mut Road<'_>,
    counters: &mut Counters,
) -> Served {
    let Slot { coming, outlet, .. } = slot;
    let look = |coming| look_for_keyframe(now, lanes, coming, outlet.newest_capture());
    let passed = coming.as_deref_mut().and_then(look);
    let mut served = Served { passed, ..Served::default() };
    send_waiting(now, lanes, slot, sealer, pacer, road, counters, &mut served);
    let ready = slot.coming.as_ref().and_then(|coming| coming.ready);
    let between = slot.attached.as_ref().is_none_or(|attached| attached.between);
    if ready.is_some_and(|(ready, _)| between || now.saturating_duration_since(ready) >= FRAME_MAX) {
        served.changed = slot.change();
        send_waiting(now, lanes, slot, sealer, pacer, road, counters, &mut served);
    }
    served
}

/// Looks for the keyframe at which a slot changes to another layer.
///
/// A hop begins with the newest keyframe at hand, which is right for a joiner. A viewer who has been `shown` what came
/// after it would see that time again, as one burst, and be behind by as much from then on: it waits for the next one.
/// Returns the lane that has to be asked for it.
fn look_for_keyframe(
    now: Instant,
    lanes: &Table<Lane>,
    coming: &mut Coming,
    shown: Option<CaptureMicros>,
) -> Option<usize> {
    let ring = &lanes.get(coming.to.lane)?.ring;
    let start = ring.keyframe_since(coming.to.next).filter(|_| coming.ready.is_none())?;
    let behind = |first: &Arc<Packet>| shown.is_some_and(|s| s.micros_since(first.capture) > BEHIND_MAX);
    // One alone, whatever clocks say.
    let first = coming.passed.is_none_or(|passed| passed == start.index);
    if first && ring.arrived(start.arrival).is_some_and(behind) {
        return coming.passed.replace(start.index).is_none().then_some(coming.to.lane);
    }
    coming.to.next = start.arrival;
    coming.ready = Some((now, start.index));
    None
}

/// Sends what waits in one slot, as far as pacing allows; up to the end of a frame when another layer is ready.
#[allow(clippy::too_many_arguments, reason = "in groups they are copied, and the core waits for their parts")]
fn send_waiting(
    now: Instant,
    lanes: &Table<Lane>,
    slot: &mut Slot,
    sealer: &mut Sealer,
    pacer: &mut Pacer,
    road: &mut Road<'_>,
    counters: &mut Counters,
    served: &mut Served,
) {
    served.left = false;
    let Slot { outlet, attached: Some(attached), coming, foreign, .. } = slot else { return };
    let leaves = coming.as_ref().is_some_and(|coming| coming.ready.is_some());
    let Some(lane) = lanes.get(attached.lane) else { return };
    let end = lane.ring.next_arrival();
    let first = lane.ring.first_arrival();
    if !attached.waiting && attached.next < first {
        served.overrun = served.overrun.saturating_add(first.saturating_sub(attached.next));
        attached.next = first;
        attached.waiting = lane.kind == MediaKind::Video;
    }
    if attached.waiting {
        // The keyframe's first packet may be the last of it to come: all of them go, and each has its place.
        let Some(start) = lane.ring.keyframe_since(attached.next) else { return };
        (attached.waiting, attached.next) = (false, start.arrival);
        outlet.begin_at(start.index);
    }
    let Some(waiting) = end.checked_sub(attached.next).filter(|waiting| *waiting > 0) else { return };
    // Sound is little, and late sound is worse than a late picture.
    let paced = lane.kind == MediaKind::Video;
    let allowed = if paced { pacer.allow(now, lane.meter.rate(), waiting) } else { Allowed::ALL };
    // Who came first has waited longest: mostly nobody has to be asked.
    let lags = |packet: &Packet| now.saturating_duration_since(packet.arrived) > LAG;
    let some_lag = !attached.catching_up && lane.ring.arrived(attached.next).is_none_or(|first| lags(first));
    let (mut packets, mut bytes) = (0_u64, 0_u64);
    while attached.next < end && !allowed.is_used_up(packets, bytes) {
        if leaves && attached.between {
            break;
        }
        let packet = lane.ring.arrived(attached.next);
        attached.next = attached.next.saturating_add(1);
        let Some(packet) = packet else { continue };
        let format = attached.formats.get(packet.codec);
        let strange = format.is_none().then_some(packet.codec);
        if *foreign != strange {
            (*foreign, served.turned) = (strange, true);
        }
        let sent = match format {
            Some(format) => outlet.send(sealer, format, packet, now, road),
            None => Err(Unsent::NoPlace),
        };
        let counter = match sent {
            Ok(len) => {
                attached.between = packet.marker;
                packets = packets.saturating_add(1);
                bytes = bytes.saturating_add(len);
                if !(some_lag && lags(packet)) {
                    continue;
                }
                &mut counters.lagging_packets
            }
            Err(Unsent::NoPlace) => &mut counters.unplaced_at_viewers,
            Err(Unsent::Failed) => &mut counters.seal_failures,
        };
        *counter = counter.saturating_add(1);
    }
    pacer.spend(if paced { packets } else { 0 }, bytes);
    served.packets = served.packets.saturating_add(packets);
    served.bytes = served.bytes.saturating_add(bytes);
    served.left = attached.next < end;
    attached.catching_up &= served.left;
}

/// Sends one packet again; none when the ring does not have it any more.
fn again(
    lanes: &Table<Lane>,
    slot: &mut Slot,
    sealer: &mut Sealer,
    (seq, now, round_trip, copies): (u16, Instant, Option<Duration>, u64),
    road: &mut Road<'_>,
) -> Option<Again> {
    let (source, index) = slot.outlet.find(seq)?;
    let of_before =
        slot.before.as_deref().filter(|(epoch, _)| *epoch == source).map(|(_, attached)| attached);
    let attached = if slot.outlet.source() == Some(source) { slot.attached.as_ref()? } else { of_before? };
    let packet = lanes.get(attached.lane)?.ring.get(index)?;
    let format = attached.formats.get(packet.codec)?;
    let request = Request { seq, source, now, round_trip, copies };
    Some(slot.outlet.again(sealer, format, packet, request, road))
}
