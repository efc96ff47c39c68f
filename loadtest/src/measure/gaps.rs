//! When a track stood still.

use std::time::{Duration, Instant};

/// A gap that is longer than this is seen or heard.
pub const FREEZE: Duration = Duration::from_millis(200);

/// The gaps between a track's packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gaps {
    last: Option<Instant>,
    longest: Duration,
    /// The longest since somebody looked.
    recent: Duration,
    freezes: u64,
    frozen: Duration,
}

impl Gaps {
    /// A packet has come.
    pub fn on_packet(&mut self, at: Instant) {
        if let Some(last) = self.last {
            let gap = at.saturating_duration_since(last);
            self.longest = self.longest.max(gap);
            self.recent = self.recent.max(gap);
            if gap > FREEZE {
                self.freezes += 1;
                self.frozen += gap;
            }
        }
        self.last = Some(at);
    }

    /// When the last packet came.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Longest time between two packets.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// How often more than [`FREEZE`] lay between two packets.
    pub fn freezes(&self) -> u64 {
        self.freezes
    }

    /// All of these times together.
    pub fn frozen(&self) -> Duration {
        self.frozen
    }

    /// The longest gap that ended since this was asked, or the one that goes on.
    pub fn take_recent(&mut self, now: Instant) -> Duration {
        let silence = self.last.map(|last| now.saturating_duration_since(last));
        std::mem::take(&mut self.recent).max(silence.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_from_packet_to_packet() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut gaps = Gaps::default();
        assert_eq!(gaps.take_recent(at(900)), Duration::ZERO, "nothing has come yet");
        for packet in [1_000, 1_020, 1_220, 1_421, 1_430] {
            gaps.on_packet(at(packet));
        }
        assert_eq!((gaps.longest(), gaps.freezes(), gaps.frozen()), (ms(201), 1, ms(201)));
        assert_eq!(gaps.take_recent(at(1_440)), ms(201));
        assert_eq!(gaps.take_recent(at(1_440)), ms(10), "a gap that has ended is told once");
        assert_eq!(gaps.take_recent(at(2_430)), ms(1_000), "one that goes on is told each time");
        gaps.on_packet(at(3_430));
        assert_eq!((gaps.take_recent(at(3_430)), gaps.frozen()), (ms(2_000), ms(2_201)));
        assert_eq!((gaps.longest(), gaps.last()), (ms(2_000), Some(at(3_430))));
    }
}
