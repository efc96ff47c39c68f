//! What a client may ask for: allowances that come back with time.
//!
//! Feedback is authentic, but its sender need not be a browser: a NACK of 12 bytes asks for 17 packets, and a datagram
//! holds a hundred wishes for keyframes. So each viewer has an allowance of messages, of packets sent again and of
//! keyframes, far above what a browser on a bad path needs. What is over it costs a comparison, and is counted.

use std::time::{Duration, Instant};

/// One unit, in the parts that time brings back.
const UNIT: i64 = 1_000_000;

/// So many at once, and so many a second.
#[derive(Debug, Clone)]
pub struct Allowance {
    per_second: i64,
    depth: i64,
    /// In parts of a unit; less than nothing after [`Allowance::charge`].
    left: i64,
    at: Option<Instant>,
}

impl Allowance {
    /// Full.
    pub fn new(per_second: u32, depth: u32) -> Self {
        let depth = i64::from(depth).saturating_mul(UNIT);
        Self { per_second: i64::from(per_second), depth, left: depth, at: None }
    }

    /// Of restarts of ICE: each negotiates the whole offer, on the thread that forwards.
    pub fn of_restarts() -> Self {
        let (per_second, depth) = RESTARTS;
        Self::new(per_second, depth)
    }

    fn refill(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        let micros = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        self.left = self.left.saturating_add(micros.saturating_mul(self.per_second)).min(self.depth);
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let granted = self.left >= UNIT;
        if granted {
            self.left -= UNIT;
        }
        granted
    }

    /// Takes one in any case: what has been done already is paid for later.
    pub fn charge(&mut self, now: Instant) {
        self.charge_for(now, 1);
    }

    /// The same of so many.
    pub fn charge_for(&mut self, now: Instant, units: usize) {
        self.refill(now);
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(units.saturating_mul(UNIT));
    }

    /// Something is left.
    pub fn is_open(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= UNIT
    }
}

/// Restarts of ICE a second, and at once. Networks that come and go cost one every few seconds.
const RESTARTS: (u32, u32) = (1, 8);
/// Messages of RTCP a second, and at once; a datagram counts as one more. Chromium sends a datagram of up to four for each
/// new gap, which at 16 Mbit/s and 10 % of loss are 150 a second.
const MESSAGES: (u32, u32) = (1_000, 2_000);
/// Sequence numbers a second, and at once: every packet of a second and more of 16 Mbit/s, or of all that a ring keeps
/// of an ordinary stream. Requests that are repeated too soon count.
const AGAIN: (u32, u32) = (2_000, 2_000);
/// Wishes for keyframes a second, and at once. A wish that counts is asked of the publisher until a keyframe comes,
/// so a viewer needs one for each time that it loses its picture.
const WISHES: (u32, u32) = (1, 4);

/// Messages of a publisher's RTCP a second, and at once, in the shortest there are (of 8 bytes): 32 kB a second. str0m reads
/// them and does not say how many they were. Browsers send some 300 bytes a second for each encoding.
const REPORTS: (u32, u32) = (4_000, 8_000);
/// Bytes of the shortest message of RTCP.
const SHORTEST: usize = 8;

/// What one publisher may report.
#[derive(Debug, Clone)]
pub struct Reports(Allowance);

impl Default for Reports {
    fn default() -> Self {
        let (per_second, depth) = REPORTS;
        Self(Allowance::new(per_second, depth))
    }
}

impl Reports {
    /// Another datagram is read.
    pub fn is_open(&mut self, now: Instant) -> bool {
        self.0.is_open(now)
    }

    /// An authentic datagram of so many bytes was read.
    pub fn charge(&mut self, now: Instant, bytes: usize) {
        self.0.charge_for(now, bytes.div_ceil(SHORTEST));
    }
}

/// What one viewer may ask for.
#[derive(Debug, Clone)]
pub struct Allowances {
    /// Messages of RTCP that are read.
    pub messages: Allowance,
    /// Packets that are looked for to be sent again.
    pub again: Allowance,
    /// Keyframes that are wished for.
    pub wishes: Allowance,
}

impl Default for Allowances {
    fn default() -> Self {
        let full = |(per_second, depth)| Allowance::new(per_second, depth);
        Self { messages: full(MESSAGES), again: full(AGAIN), wishes: full(WISHES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_asked_for_without_end_is_granted_at_the_rate() {
        let (mut allowance, start) = (Allowance::new(100, 20), Instant::now());
        let mut granted = 0;
        for ms in 0..=2_000 {
            granted += (0..5).filter(|_| allowance.take(start + MS * ms)).count();
        }
        assert_eq!(granted, 20 + 200);
    }

    #[test]
    fn rest_brings_back_no_more_than_was_there_at_first() {
        let (mut allowance, start) = (Allowance::new(100, 20), Instant::now());
        assert!(allowance.take(start));
        let later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..100).filter(|_| allowance.take(later)).count(), 20);
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_granted() {
        let (mut allowance, start) = (Allowance::new(100, 20), Instant::now());
        (0..120).for_each(|_| allowance.charge(start));
        assert!(!allowance.is_open(start + MS * 1_009));
        assert!(allowance.is_open(start + MS * 1_010));
        assert!(allowance.is_open(start), "time that goes backwards takes nothing back");
    }
}
