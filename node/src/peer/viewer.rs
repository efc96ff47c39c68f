//! A viewer: what its session negotiated, and what it is being sent.
//!
//! The session's str0m has no send streams: those that an answer makes are removed at once, and `forward::egress` sends
//! with the SSRCs of the first. A slot is one recvonly m-line of the client; lanes are put into slots and taken out again
//! without renegotiation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::StreamId;
use freshet_cluster::unit::Bitrate;
use freshet_relay_proto::track::{CodecInfo, MediaKind};
use str0m::Rtc;

use super::keys::Keys;
use super::{negotiate, sdp};
use crate::forward::allowance::Allowances;
use crate::forward::blank::Blank;
use crate::forward::egress::{Format, Outlet, Sealer};
use crate::forward::history::Sent;
use crate::forward::pace::Pacer;
use crate::forward::recent::Recent;
use crate::forward::reception::{Losses, Reception};
use crate::forward::spare::Spares;
use crate::forward::srtp::{Profile, SrtcpReceiver, SrtpSender};
use crate::forward::train::Way;
use crate::media::clock::Wall;
use crate::media::codec::CodecName;
use crate::media::packet::CaptureMicros;
use crate::media::rewrite::SourceEpoch;

/// Slots of one viewer at most.
pub const SLOTS_MAX: usize = 8;
/// Time between the sender reports of a viewer, on average: each interval is drawn from half to one and a half of it
/// (RFC 3550 section 6.3.1), or all who began in one flush would be reported to in one turn for ever.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Nothing was sent for so long: a viewer is told that the node is there.
const QUIET: Duration = Duration::from_millis(200);
/// Reports to those who are sent nothing go together at ticks of the clock, so many microseconds long: nothing else wakes
/// the shard then, and one system call takes many.
const REPORT_TICK: u64 = 10_000;
/// So many ticks later the next goes, or one tick sooner, so that those who fell together come apart again: every
/// 300 ms a client sees that the node is there and the publisher is quiet.
const REPORT_IDLE: u64 = 29;

/// Payload types for each codec of a lane; none for a codec that the viewer did not negotiate. Nearly every lane has one
/// codec, whose format stands here and is not fetched from elsewhere for each viewer.
#[derive(Debug, Clone, Default)]
pub struct Formats {
    first: Option<Format>,
    others: Box<[Option<Format>]>,
}

impl Formats {
    /// The format of a codec, by the codec's place in the lane.
    pub fn get(&self, codec: u8) -> Option<Format> {
        match usize::from(codec).checked_sub(1) {
            None => self.first,
            Some(other) => self.others.get(other).copied().flatten(),
        }
    }

    /// The viewer has none of the codecs.
    pub fn is_none(&self) -> bool {
        self.first.is_none() && self.others.iter().all(Option::is_none)
    }
}

impl FromIterator<Option<Format>> for Formats {
    fn from_iter<I: IntoIterator<Item = Option<Format>>>(formats: I) -> Self {
        let mut formats = formats.into_iter();
        Self { first: formats.next().flatten(), others: formats.collect() }
    }
}

/// What a slot carries.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The lane, by its index in the shard.
    pub lane: usize,
    /// Payload types for each codec of the lane.
    pub formats: Formats,
    /// Video: nothing is sent before a keyframe.
    pub waiting: bool,
    /// The packet that goes next, by its arrival number in the lane's ring.
    pub next: u64,
    /// It began at a keyframe of the past and has not come to the present yet.
    pub catching_up: bool,
    /// What was sent last ended a frame, or nothing has been sent.
    pub between: bool,
}

/// A layer of the same track that a slot changes to at its next keyframe.
#[derive(Debug, Clone)]
pub struct Coming {
    /// What the slot carries then; `next` is where its keyframe is looked for.
    pub to: Attached,
    /// Since when the keyframe is there, and the index of its first packet.
    pub ready: Option<(Instant, u64)>,
    /// The index of a keyframe that was there and was not taken, because what it shows is past.
    pub passed: Option<u64>,
}

/// One m-line that receives. What a visit reads that has nothing to send stands first, in a cache line of its own.
#[repr(C, align(64))]
pub struct Slot {
    /// What it carries.
    pub attached: Option<Attached>,
    /// What it changes to.
    pub coming: Option<Box<Coming>>,
    /// SSRCs, rewriting and reports.
    pub outlet: Outlet,
    /// Packets that its last sender report told of; none before the first, which goes at once.
    pub told: Option<u64>,
    /// The codec of the newest packet, by its place in the lane, where the viewer did not negotiate it.
    pub foreign: Option<u8>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its place in the SDP, from 0.
    pub line: usize,
    /// Its `a=mid`.
    pub mid: Box<str>,
    /// What it carried before the last change of layer, for what is asked for again.
    pub before: Option<Box<(SourceEpoch, Attached)>>,
    /// The name of the layer that its client picked, whatever it carries; none for the best.
    pub picked: Option<Box<str>>,
    /// Losses that the viewer has reported.
    pub losses: Losses,
    codecs: Arc<[sdp::Codec]>,
}

const _: () = assert!(std::mem::offset_of!(Slot, outlet) <= 64, "what stands before fits a cache line");

impl Slot {
    /// Takes out all that it carries; returns the lanes that it was fed from.
    pub fn clear(&mut self) -> impl Iterator<Item = usize> + use<> {
        (self.before, self.foreign) = (None, None);
        let coming = self.coming.take().map(|coming| coming.to.lane);
        self.attached.take().map(|attached| attached.lane).into_iter().chain(coming)
    }

    /// Begins with the next packet at the layer that was to come. Returns the lane that it leaves.
    pub fn change(&mut self) -> Option<usize> {
        let coming = self.coming.take()?;
        let old = self.attached.replace(coming.to)?;
        let lane = old.lane;
        self.before = self.outlet.switch_layer().map(|epoch| Box::new((epoch, old)));
        if let Some((_, first)) = coming.ready {
            self.outlet.begin_at(first);
        }
        Some(lane)
    }

    /// Reads what every visit reads, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        self.attached.as_ref().map_or(0, |attached| attached.next) ^ u64::from(self.coming.is_some())
    }

    /// The same of what is read besides where something is sent, or reported.
    pub fn glance_at_outlet(&self) -> u64 {
        self.outlet.glance() ^ u64::from(self.told.is_some())
    }

    /// Payload types for the codecs of a lane.
    pub fn formats(&self, codecs: &[CodecInfo]) -> Formats {
        let vp8 = |c: &sdp::Codec| CodecName::from_name(&c.name) == CodecName::Vp8;
        let format = |c: &sdp::Codec| Format {
            pt: c.pt,
            rtx: c.rtx,
            nack: c.nack,
            clock_rate: c.clock_rate,
            vp8: vp8(c),
        };
        codecs.iter().map(|wanted| negotiate::pick(&self.codecs, wanted).map(format)).collect()
    }
}

/// Takes the media that an answer promises away from str0m, so that nothing but ICE, DTLS and RTCP intake is left to it.
pub fn silence_str0m(rtc: &mut Rtc, answer: &sdp::Session) {
    for ssrc in answer.media.iter().filter_map(|media| media.ssrc) {
        rtc.direct_api().remove_stream_tx(ssrc.into());
    }
}

/// A viewer's session beside str0m. What every visit reads stands first and together.
#[repr(C, align(64))]
pub struct Viewer {
    /// The flush that visited it last.
    pub round: u64,
    /// Its m-lines, video before audio.
    pub slots: Vec<Slot>,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// Nothing was sent between its last two reports.
    pub idle: bool,
    /// Where media goes.
    pub to: Option<Way>,
    /// How fast it is sent what waits.
    pub pacer: Pacer,
    /// The keys, once DTLS is done.
    pub sealer: Option<Sealer>,
    /// When the sender reports of all slots are due: one wake-up for all of them.
    pub report_due: Option<Instant>,
    /// Opens what it reports, from then on too.
    pub receiver: Option<SrtcpReceiver>,
    /// The path to it.
    pub reception: Reception,
    /// What came of what it was sent lately, once it has told. It stands apart, so that what sending reads stands together.
    pub recent: Option<Box<Recent>>,
    /// What it may still ask for.
    pub allowed: Allowances,
    /// How many requests were kept for later in which flush.
    pub kept: (u64, usize),
    /// The stream that the client asked for; none for the room's program.
    pub pinned: Option<StreamId>,
    /// What it is watching.
    pub watching: Option<StreamId>,
    /// For its sealer to come.
    memory: Blank<Sent>,
    /// Media stream id and CNAME.
    pub label: String,
    /// Somebody wants to know what it is shown.
    pub listened: bool,
    /// It waits to be taken that what it is shown has changed.
    pub said: bool,
}

impl Viewer {
    /// From an answer, in memory of others who have gone. `random` seeds first sequence numbers and timestamps, `cap`
    /// bounds what it is sent.
    pub fn new(
        spares: &mut Spares,
        rtc: &mut Rtc,
        answer: &sdp::Session,
        pinned: Option<StreamId>,
        label: String,
        random: [u32; 16],
        cap: Option<Bitrate>,
    ) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        let mut random = random.into_iter();
        for (line, media) in answer.media.iter().enumerate() {
            let sends = matches!(media.flow, sdp::Flow::SendOnly | sdp::Flow::SendRecv);
            let (Some(kind), Some(mid), Some(ssrc), true) = (media.kind, &media.mid, media.ssrc, sends)
            else {
                continue;
            };
            if media.codecs.is_empty() || slots.len() >= SLOTS_MAX {
                continue;
            }
            let seeds = (random.next().unwrap_or(1), random.next().unwrap_or(1));
            let outlet = Outlet::new(ssrc, media.rtx_ssrc, mid, &media.extensions, seeds);
            // Sound is hardly ever asked for again.
            let memory = if kind == MediaKind::Video { spares.repeated() } else { Blank::default() };
            slots.push(Slot {
                kind,
                line,
                mid: mid.as_str().into(),
                outlet: outlet.within(memory),
                attached: None,
                coming: None,
                before: None,
                foreign: None,
                picked: None,
                told: None,
                losses: Losses::default(),
                codecs: media.codecs.clone(),
            });
        }
        // Sound goes behind picture.
        slots.sort_by_key(|slot| slot.kind != MediaKind::Video);
        let viewer = Self {
            pinned,
            watching: None,
            slots,
            memory: spares.history(),
            sealer: None,
            receiver: None,
            connected: false,
            to: None,
            label,
            pacer: Pacer::new(cap),
            reception: Reception::default(),
            recent: None,
            allowed: Allowances::default(),
            round: 0,
            kept: (0, 0),
            report_due: None,
            idle: false,
            listened: false,
            said: false,
        };
        silence_str0m(rtc, answer);
        viewer
    }

    /// It has gone: its keys with it, and its memory is for others.
    pub fn retire(self, spares: &mut Spares) {
        let Self { slots, memory, sealer, .. } = self;
        let history = sealer.map_or(memory, Sealer::into_memory);
        spares.keep(history, slots.into_iter().map(|slot| slot.outlet.into_memory()));
    }

    /// DTLS has agreed on keys.
    pub fn keyed(&mut self, keys: Keys) {
        let Keys { material, profile, client } = &keys;
        let contexts = Profile::try_from(*profile).and_then(|profile| {
            let sender = SrtpSender::from_keying_material(profile, material, *client)?;
            Ok((sender, SrtcpReceiver::from_keying_material(profile, material, *client)?))
        });
        match contexts {
            Ok((sender, receiver)) => {
                (self.sealer, self.receiver) =
                    (Some(Sealer::new(sender, std::mem::take(&mut self.memory))), Some(receiver));
            }
            Err(error) => tracing::warn!(%error, "SRTP keys of a viewer cannot be used"),
        }
    }

    /// Looks at what str0m sends: learns where the peer is from DTLS. Returns whether it was RTP or RTCP, which must
    /// never be: under one key there is one sender, so that no nonce is used twice.
    pub fn note_transmit(&mut self, to: Way, contents: &[u8]) -> bool {
        match contents.first() {
            Some(20..=63) => {
                self.to.get_or_insert(to);
                false
            }
            first => matches!(first, Some(128..=191)),
        }
    }

    /// Reads what sending will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        let flags = u64::from(self.connected) ^ u64::from(self.to.is_some()) ^ u64::from(self.idle);
        let sealer = self.sealer.as_ref().map_or(0, Sealer::glance);
        self.round ^ flags ^ sealer ^ self.pacer.glance()
    }

    /// Media that goes there goes this way from now on.
    pub fn moved(&mut self, way: Way) {
        if let Some(to) = self.to.as_mut().filter(|to| to.peer == way.peer) {
            *to = way;
        }
    }

    /// The slot with this SSRC, main or retransmission.
    pub fn slot_of(&self, ssrc: u32) -> Option<usize> {
        self.slots.iter().position(|s| s.outlet.ssrc() == ssrc || s.outlet.rtx_ssrc() == Some(ssrc))
    }

    /// What was sent makes a report due at once: the first of a slot, so that a player can line up sound and picture,
    /// or the first after nothing was sent for a while.
    pub fn reports_now(&mut self, now: Instant) -> bool {
        if self.report_due.is_some_and(|due| due <= now) {
            return false;
        }
        self.report_due = Some(now);
        true
    }

    /// Nothing was sent to it of late. By when something was sent, not by when it came: what waited long at a full door is no
    /// silence.
    pub fn is_quiet(&self, now: Instant) -> bool {
        let silent = |at: Instant| now.saturating_duration_since(at) >= QUIET;
        self.slots.iter().filter_map(|slot| slot.outlet.newest_at()).all(silent)
    }

    /// What it watches has fallen silent: its report is due at a tick that comes soon, `later` ticks behind the next, if it is
    /// not due sooner. When that is.
    pub fn hushed(&mut self, now: Instant, wall: &Wall, later: u64) -> Instant {
        let at = wall.instant(tick_in(wall.micros(now), later.saturating_add(1)));
        let due = self.report_due.map_or(at, |due| due.min(at));
        self.report_due = Some(due);
        due
    }

    /// Reports have been sent, with `news` of at least one slot that goes on. `random` lies between 0 and 1.
    pub fn reported(&mut self, now: Instant, wall: &Wall, news: bool, random: f64) {
        self.idle = !news;
        self.report_due = if news {
            now.checked_add(REPORT_EVERY.mul_f64(0.5 + random.clamp(0.0, 1.0)))
        } else {
            Some(wall.instant(idle_tick(wall.micros(now), random)))
        };
    }
}

/// The tick at which a viewer who is sent nothing is reported to again.
fn idle_tick(now: CaptureMicros, random: f64) -> CaptureMicros {
    let after = if random < 0.25 { REPORT_IDLE - 1 } else { REPORT_IDLE };
    tick_in(now, after)
}

/// So many ticks on from the one that has begun.
fn tick_in(now: CaptureMicros, ticks: u64) -> CaptureMicros {
    CaptureMicros((now.0 / REPORT_TICK).saturating_add(ticks).saturating_mul(REPORT_TICK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_is_sent_nothing_is_reported_to_at_a_tick_within_290_ms(now: u32, random in 0.0..=1.0) {
            let tick = idle_tick(CaptureMicros(now.into()), random).0;
            prop_assert_eq!(tick % REPORT_TICK, 0);
            prop_assert!((270_000..=290_000).contains(&(tick - u64::from(now))), "{tick}");
        }
    }
}
