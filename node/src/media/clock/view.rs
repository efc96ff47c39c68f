//! The viewing node's side: from capture times to sender reports.

use super::filter::{OffsetFilter, Patience, Verdict};
use super::time::{NtpTime, micros_to_ticks};
use crate::media::packet::CaptureMicros;

/// A link that stood still brings a burst of late packets; a clock that jumped stays where it is.
const PACKET_PATIENCE: Patience = Patience { samples: 20, micros: 3_000_000 };

/// An error put into sender reports on purpose, in microseconds: what lip-sync tests fail with. Zero in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skew(pub i64);

/// What a sender report speaks about: the newest packet sent on the SSRC.
#[derive(Debug, Clone, Copy)]
pub struct ReportPoint {
    /// Its RTP timestamp as the viewer saw it.
    pub timestamp: u32,
    /// When its media was captured.
    pub capture: CaptureMicros,
    /// Ticks of the RTP clock in a second.
    pub clock_rate: u32,
    /// An error put in by a test.
    pub skew: Skew,
}

/// Maps the origin's capture times onto this node's wall: one for each stream generation, all its tracks together.
#[derive(Debug, Clone)]
pub struct ViewClock {
    filter: OffsetFilter,
}

impl Default for ViewClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ViewClock {
    /// For a new generation of a stream.
    pub fn new() -> Self {
        Self { filter: OffsetFilter::new() }
    }

    /// A packet of any track came in at `arrival` on this node's wall.
    pub fn observe(&mut self, capture: CaptureMicros, arrival: CaptureMicros) -> Verdict {
        self.filter.observe(arrival.micros_since(capture), arrival.0, PACKET_PATIENCE)
    }

    /// A capture time on this node's wall. Before the first packet both walls are taken to be the same.
    pub fn local(&self, capture: CaptureMicros) -> CaptureMicros {
        capture.shifted(self.filter.offset().unwrap_or(0))
    }

    /// NTP and RTP time of a sender report sent at `now`, this node's wall: RTP time `R` meets the NTP time at which
    /// the media of `R` was captured (RFC 3550 section 6.4.1).
    pub fn sender_report(&self, now: CaptureMicros, point: ReportPoint) -> (NtpTime, u32) {
        let since = now.micros_since(self.local(point.capture)).saturating_add(point.skew.0);
        let [_, _, _, _, a, b, c, d] = micros_to_ticks(since, point.clock_rate).to_be_bytes();
        let rtp = point.timestamp.wrapping_add(u32::from_be_bytes([a, b, c, d]));
        (NtpTime::from_wall(now), rtp)
    }
}
