//! Times of three kinds, and RTP ticks.

use std::time::{Duration, Instant};

use crate::media::packet::CaptureMicros;

/// Seconds from the NTP era (1900) to the Unix epoch.
const NTP_UNIX_SECONDS: u64 = 2_208_988_800;

/// NTP timestamp, 32.32 fixed point seconds (RFC 5905).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// From a wall clock. Era 1 follows in 2036 as RFC 5905 has it: the seconds wrap.
    pub fn from_wall(wall: CaptureMicros) -> Self {
        let seconds = (wall.0 / 1_000_000).wrapping_add(NTP_UNIX_SECONDS) & 0xffff_ffff;
        let fraction = ((wall.0 % 1_000_000) << 32) / 1_000_000;
        Self(seconds << 32 | fraction)
    }

    /// Microseconds since the start of the era; senders whose clock is not the wall's give any value.
    pub fn micros(self) -> i64 {
        let seconds = i64::try_from(self.0 >> 32).unwrap_or(i64::MAX);
        let fraction = i64::try_from(((self.0 & 0xffff_ffff) * 1_000_000) >> 32).unwrap_or(0);
        seconds.saturating_mul(1_000_000).saturating_add(fraction)
    }

    /// The middle 32 bits, as reports quote them (RFC 3550 section 4).
    pub fn middle(self) -> u32 {
        let [_, _, a, b, c, d, _, _] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// A node's wall clock, read once: from then on it runs with the monotonic clock, so that a step of the system's
/// clock moves no media.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    start: Instant,
    unix: CaptureMicros,
}

impl Wall {
    /// `unix` is the time since the Unix epoch at `now`.
    pub fn new(now: Instant, unix: Duration) -> Self {
        Self { start: now, unix: CaptureMicros(0).later(unix) }
    }

    /// Wall time of a moment.
    pub fn micros(&self, at: Instant) -> CaptureMicros {
        if at >= self.start {
            self.unix.later(at.duration_since(self.start))
        } else {
            let before = i64::try_from(self.start.duration_since(at).as_micros()).unwrap_or(i64::MAX);
            self.unix.shifted(-before)
        }
    }

    /// The moment of a wall time. A time before the node's start by more than the system can tell is the start.
    pub fn instant(&self, wall: CaptureMicros) -> Instant {
        let micros = wall.micros_since(self.unix);
        let distance = Duration::from_micros(micros.unsigned_abs());
        let moment =
            if micros >= 0 { self.start.checked_add(distance) } else { self.start.checked_sub(distance) };
        moment.unwrap_or(self.start)
    }
}

/// Microseconds as RTP ticks, rounded down, signed.
pub(super) fn micros_to_ticks(micros: i64, clock_rate: u32) -> i64 {
    let ticks = i128::from(micros) * i128::from(clock_rate);
    i64::try_from(ticks.div_euclid(1_000_000)).unwrap_or(0)
}

/// RTP ticks as microseconds, rounded down, signed.
pub(in crate::media) fn ticks_to_micros(ticks: i64, clock_rate: u32) -> i64 {
    let rate = i64::from(clock_rate.max(1));
    // What RTP counts in its 32 bits fits; a division of 128 bits for each packet would not be cheap.
    if let Some(micros) = ticks.checked_mul(1_000_000) {
        return micros.div_euclid(rate);
    }
    i64::try_from((i128::from(ticks) * 1_000_000).div_euclid(i128::from(rate))).unwrap_or(0)
}

/// Signed distance on the 32-bit circle of RTP timestamps.
pub(super) fn ticks_between(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from).cast_signed())
}
