//! The origin's side: from a publisher's RTP timestamps and sender reports to capture times.

use super::filter::{OffsetFilter, Patience, Verdict};
use super::time::{NtpTime, ticks_between, ticks_to_micros};
use crate::media::packet::CaptureMicros;

/// Two reports that agree say that the publisher's clock jumped back; one may have been stuck on its way.
const REPORT_PATIENCE: Patience = Patience { samples: 2, micros: 500_000 };
/// A report whose mapping puts a packet this far from its arrival is nonsense.
const SANE_MICROS: u64 = 10_000_000;
/// References are moved along before the 32-bit circle comes to its half.
const REFRESH_SECONDS: i64 = 60;

/// The one offset between a publisher's NTP clock and the origin's wall, for all its tracks.
#[derive(Debug, Clone)]
pub struct PublisherClock {
    filter: OffsetFilter,
    /// Counts anchors, so that a track's report from before a jump keeps the offset that it was made with.
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
        Self { filter: OffsetFilter::new(REPORT_PATIENCE), epoch: 0, before: 0 }
    }

    /// A sender report of any track came in at `arrival` on the origin's wall.
    ///
    /// Call it once for each report, then give its verdict to the track's [`TrackClock::report`].
    pub fn report(&mut self, ntp: NtpTime, arrival: CaptureMicros) -> Verdict {
        let before = self.filter.offset();
        let sample = CaptureMicros(arrival.0).micros_since(CaptureMicros(0)).saturating_sub(ntp.micros());
        let verdict = self.filter.observe(sample, arrival.0);
        if verdict == Verdict::Anchored {
            self.before = before.unwrap_or(sample);
            self.epoch = self.epoch.wrapping_add(1);
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
        let seconds = ticks_between(self.rtp, rtp) / i64::from(clock_rate.max(1));
        if seconds < REFRESH_SECONDS {
            return;
        }
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
}

impl TrackClock {
    /// `clock_rate` is in ticks a second.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), arrival: None, report: None }
    }

    /// A sender report of this track, with what the session's clock made of it. Suspect ones are left alone.
    pub fn report(&mut self, session: &PublisherClock, verdict: Verdict, ntp: NtpTime, rtp: u32) {
        if verdict != Verdict::Suspect {
            self.report = Some((Reference { rtp, micros: ntp.micros() }, session.epoch));
        }
    }

    /// When the media of an RTP timestamp was captured; `arrival` is when its packet came, on the origin's wall.
    pub fn capture(&mut self, session: &PublisherClock, rtp: u32, arrival: CaptureMicros) -> CaptureMicros {
        let by_arrival = self.by_arrival(rtp, arrival);
        let Some((reference, epoch)) = &mut self.report else { return by_arrival };
        reference.follow(rtp, self.clock_rate);
        match session.capture(reference.at(rtp, self.clock_rate), *epoch) {
            Some(capture) if capture.0.abs_diff(arrival.0) <= SANE_MICROS => capture,
            _ => by_arrival,
        }
    }

    fn by_arrival(&mut self, rtp: u32, arrival: CaptureMicros) -> CaptureMicros {
        let micros = arrival.micros_since(CaptureMicros(0));
        let fresh = Reference { rtp, micros };
        let reference = self.arrival.get_or_insert(fresh);
        reference.follow(rtp, self.clock_rate);
        let capture = reference.at(rtp, self.clock_rate);
        // Earlier than said: the reference itself had been delayed. Much later: the timestamps have jumped.
        if micros < capture || micros.abs_diff(capture) > SANE_MICROS {
            *reference = fresh;
            return arrival;
        }
        CaptureMicros(0).shifted(capture)
    }
}
