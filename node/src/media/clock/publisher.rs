//! The origin's side: from a publisher's RTP timestamps and sender reports to capture times.

use super::filter::{OffsetFilter, Patience, Verdict};
use super::time::{NtpTime, ticks_between, ticks_to_micros};
use crate::media::packet::CaptureMicros;

/// Two reports that agree say that the publisher's clock jumped back; one may have been stuck on its way.
const REPORT_PATIENCE: Patience = Patience { samples: 2, micros: 500_000 };
/// As late as their clock says, and no jump of it seen: the way there has become longer, or the publisher slept.
const LATE_PATIENCE: Patience = Patience { samples: 8, micros: 10_000_000 };
/// A publisher's NTP time that has moved against its RTP time by more than this has jumped.
const STEP_MICROS: u64 = 500_000;
/// A report whose mapping says that a packet took longer is nonsense.
const SANE_MICROS: i64 = 10_000_000;
/// So much later than its arrival a packet may seem captured: the offset is that of the report that was delayed least,
/// and packets overtake it by less.
const AHEAD_MICROS: i64 = 500_000;
/// How long a packet had taken says as much of another that comes so soon behind it.
const RECENT_MICROS: u64 = 1_000_000;
/// References are moved along before the 32-bit circle comes to its half.
const REFRESH_SECONDS: i64 = 60;

/// The one offset between a publisher's NTP clock and the origin's wall, for all its tracks.
#[derive(Debug, Clone)]
pub struct PublisherClock {
    filter: OffsetFilter,
    /// Counts jumps of the publisher's clock, so that a track's report from before a jump keeps the offset that it was
    /// made with.
    epoch: u32,
    /// Offset in force when the newest jump was found.
    before: i64,
}

impl Default for PublisherClock {
    fn default() -> Self {
        Self::new()
    }
}

impl PublisherClock {
    /// For a new publisher session.
    pub fn new() -> Self {
        Self { filter: OffsetFilter::new(), epoch: 0, before: 0 }
    }

    /// A sender report of a track came in at `arrival` on the origin's wall.
    ///
    /// What is late by its own clock alone is not believed soon: every other track would be dated anew, too.
    pub fn report(
        &mut self,
        track: &mut TrackClock,
        ntp: NtpTime,
        rtp: u32,
        arrival: CaptureMicros,
    ) -> Verdict {
        let (before, micros) = (self.filter.offset(), ntp.micros());
        let sample = arrival.micros_since(CaptureMicros(0)).saturating_sub(micros);
        let known = track.report.filter(|(_, epoch)| *epoch == self.epoch);
        let moved = |known: Reference| micros.abs_diff(known.at(rtp, track.clock_rate)) > STEP_MICROS;
        let stepped = known.is_some_and(|(known, _)| moved(known));
        let patience = if known.is_none() || stepped { REPORT_PATIENCE } else { LATE_PATIENCE };
        let verdict = self.filter.observe(sample, arrival.0, patience);
        if verdict == Verdict::Anchored && stepped {
            self.before = before.unwrap_or(sample);
            self.epoch = self.epoch.wrapping_add(1);
        }
        // A late report says as well as another which RTP time meets which NTP time.
        if verdict != Verdict::Suspect || !stepped {
            track.report = Some((Reference { rtp, micros }, self.epoch));
        }
        verdict
    }

    /// The capture time of an NTP time that was read in `epoch`.
    fn capture(&self, ntp_micros: i64, epoch: u32) -> Option<CaptureMicros> {
        let offset = match self.epoch.wrapping_sub(epoch) {
            0 => self.filter.offset()?,
            1 => self.before,
            _ => return None,
        };
        Some(CaptureMicros(0).shifted(ntp_micros.saturating_add(offset)))
    }
}

/// A point where an RTP timestamp and a time in microseconds meet.
#[derive(Debug, Clone, Copy)]
struct Reference {
    rtp: u32,
    micros: i64,
}

impl Reference {
    fn at(&self, rtp: u32, clock_rate: u32) -> i64 {
        self.micros.saturating_add(ticks_to_micros(ticks_between(self.rtp, rtp), clock_rate))
    }

    /// Moves the point by whole seconds near to `rtp`: no rounding, and far from the circle's other side.
    fn follow(&mut self, rtp: u32, clock_rate: u32) {
        let (passed, rate) = (ticks_between(self.rtp, rtp), i64::from(clock_rate.max(1)));
        // Packets come much more often than this is due, and a division costs more than they should.
        if passed < rate * REFRESH_SECONDS {
            return;
        }
        let seconds = passed / rate;
        let ticks = u32::try_from(seconds).unwrap_or(0).wrapping_mul(clock_rate);
        self.rtp = self.rtp.wrapping_add(ticks);
        self.micros = self.micros.saturating_add(seconds * 1_000_000);
    }
}

/// One track's (or layer's) RTP clock, read through its publisher's offset.
///
/// Before the track's first sender report its packets are dated by arrival: the one that was delayed least so far
/// says where RTP time stands.
#[derive(Debug, Clone)]
pub struct TrackClock {
    clock_rate: u32,
    arrival: Option<Reference>,
    report: Option<(Reference, u32)>,
    /// When the newest packet came, and how long it had taken.
    newest: Option<(CaptureMicros, i64)>,
}

impl TrackClock {
    /// `clock_rate` is in ticks a second.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), arrival: None, report: None, newest: None }
    }

    /// How long the newest packet had taken, unless that is old at `now`.
    pub fn delay(&self, now: CaptureMicros) -> Option<i64> {
        let (at, delay) = self.newest?;
        (now.0.abs_diff(at.0) <= RECENT_MICROS).then_some(delay)
    }

    /// Whether no packet has come yet.
    pub fn is_new(&self) -> bool {
        self.newest.is_none()
    }

    /// When the media of an RTP timestamp was captured; `arrival` is when its packet came, on the origin's wall.
    pub fn capture(&mut self, session: &PublisherClock, rtp: u32, arrival: CaptureMicros) -> CaptureMicros {
        self.capture_behind(session, rtp, arrival, None)
    }

    /// The same, where the first packet is taken to have come with this delay: that of the other layers of its track,
    /// as long as nothing else is known.
    pub fn capture_behind(
        &mut self,
        session: &PublisherClock,
        rtp: u32,
        arrival: CaptureMicros,
        delay: Option<i64>,
    ) -> CaptureMicros {
        let by_arrival = self.by_arrival(rtp, arrival, delay);
        let capture = self.by_report(session, rtp, arrival).unwrap_or(by_arrival);
        self.newest = Some((arrival, arrival.micros_since(capture)));
        capture
    }

    fn by_report(
        &mut self,
        session: &PublisherClock,
        rtp: u32,
        arrival: CaptureMicros,
    ) -> Option<CaptureMicros> {
        let (reference, epoch) = self.report.as_mut()?;
        reference.follow(rtp, self.clock_rate);
        let capture = session.capture(reference.at(rtp, self.clock_rate), *epoch)?;
        (-AHEAD_MICROS..=SANE_MICROS).contains(&arrival.micros_since(capture)).then_some(capture)
    }

    fn by_arrival(&mut self, rtp: u32, arrival: CaptureMicros, delay: Option<i64>) -> CaptureMicros {
        let micros = arrival.micros_since(CaptureMicros(0));
        let fresh = Reference { rtp, micros };
        let first =
            Reference { micros: micros.saturating_sub(delay.unwrap_or(0).clamp(0, SANE_MICROS)), ..fresh };
        let reference = self.arrival.get_or_insert(first);
        reference.follow(rtp, self.clock_rate);
        let capture = reference.at(rtp, self.clock_rate);
        // Earlier than said: the reference itself had been delayed. Much later: the timestamps have jumped.
        if micros < capture || micros.saturating_sub(capture) > SANE_MICROS {
            *reference = fresh;
            return arrival;
        }
        CaptureMicros(0).shifted(capture)
    }
}
