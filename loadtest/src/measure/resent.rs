//! Retransmissions that are sent like first transmissions: under their own source and number, where RTX (RFC 4588) was
//! not agreed on.
//!
//! Nothing in such a packet says what it is. But it fills a hole, and it comes after the hole was asked for (RFC 4585
//! section 6.2.1); a packet that was only overtaken comes before.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The WebRTC library asks each 33 ms for all that is missing, so a hole that is older was asked for.
const ASKED: Duration = Duration::from_millis(33);
/// Holes remembered, the newest: older ones are further behind than anybody asks.
const HOLES: usize = 128;

/// Tells retransmissions from what was overtaken, on one track.
#[derive(Debug, Clone, Default)]
pub struct Resent {
    next: Option<u64>,
    holes: VecDeque<(Range<u64>, Instant)>,
}

impl Resent {
    /// A packet with this RTP number came; true if it is one that was asked for.
    pub fn on_packet(&mut self, sequence: u64, at: Instant) -> bool {
        let next = self.next.unwrap_or(sequence);
        if sequence < next {
            let asked = |since: &Instant| at.saturating_duration_since(*since) > ASKED;
            return self.holes.iter().any(|(hole, since)| hole.contains(&sequence) && asked(since));
        }
        if sequence > next {
            if self.holes.len() >= HOLES {
                self.holes.pop_front();
            }
            self.holes.push_back((next..sequence, at));
        }
        self.next = Some(sequence.saturating_add(1));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_hole_that_was_asked_for_is_a_retransmission() {
        let begin = Instant::now();
        let mut resent = Resent::default();
        let mut came = |sequence, ms| resent.on_packet(sequence, begin + Duration::from_millis(ms));
        assert!(!came(100, 0) && !came(101, 1) && !came(105, 2), "102 to 104 are missing");
        assert!(!came(103, 5), "it was only overtaken");
        assert!(!came(110, 6));
        assert!(came(102, 36) && came(104, 500), "somebody asked for them");
        assert!(!came(109, 39), "this hole is newer");
        assert!(!came(99, 600) && !came(105, 600), "these were no holes");
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut resent = Resent::default();
        for number in 0..10_000 {
            assert!(!resent.on_packet(number * 2, now));
        }
        assert_eq!(resent.holes.len(), HOLES);
    }
}
