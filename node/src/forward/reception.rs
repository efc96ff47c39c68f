//! What a viewer's receiver reports say of its path (RFC 3550 section 6.4).

use std::time::Duration;

use crate::media::clock::NtpTime;

/// A report block, as far as it counts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Packets lost since the report before, in 256ths.
    pub fraction: u8,
    /// Packets lost since the beginning; duplicates make it negative.
    pub lost: i32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of our last sender report that came, 0 before one has.
    pub last_report: u32,
    /// How long ago that was there, in 1/65536 seconds.
    pub delay: u32,
}

/// Round trips remembered: some seconds of a browser's reports.
const RECENT: usize = 8;

/// The path to one viewer, as it is seen by the other end.
#[derive(Debug, Clone, Default)]
pub struct Reception {
    /// What reports told last, the newest first.
    recent: [Option<Duration>; RECENT],
}

/// Two milliseconds in 1/65536 seconds.
const ROUNDED_UP: i32 = -131;
/// Longer is a clock that jumped, or a forged report.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);

impl Reception {
    /// Takes a report that came when our reports' clock stood at `now`. Returns the round trip that it tells.
    pub fn report(&mut self, block: Block, now: NtpTime) -> Option<Duration> {
        if block.last_report == 0 {
            return None;
        }
        let passed = now.middle().wrapping_sub(block.last_report).wrapping_sub(block.delay);
        // A delay that is rounded up makes a round trip of nothing at all negative, by a millisecond or two: what is more so
        // is no round trip, and would be the shortest for eight reports.
        let passed = match passed.cast_signed() {
            ..ROUNDED_UP => return None,
            ROUNDED_UP..0 => 0,
            _ => passed,
        };
        let told = Duration::from_micros(u64::from(passed).saturating_mul(1_000_000) / 65_536);
        if told > ROUND_TRIP_MAX {
            return None;
        }
        self.recent.rotate_right(1);
        if let Some(newest) = self.recent.first_mut() {
            *newest = Some(told);
        }
        Some(told)
    }

    /// The shortest round trip that was told lately; none before a report has told one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.recent.iter().flatten().min().copied()
    }
}

/// What reports tell of one SSRC: losses, counted from what they add up, and jitter.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    most: i32,
    fraction: u8,
    jitter: Option<Duration>,
}

impl Losses {
    /// Packets lost since the report with the most so far. More than `sent` is forged, and nothing.
    pub fn newly(&mut self, block: Block, sent: u64) -> u64 {
        self.fraction = block.fraction;
        if u64::try_from(block.lost).is_ok_and(|lost| lost > sent) || block.lost <= self.most {
            return 0;
        }
        let newly = block.lost.saturating_sub(self.most);
        self.most = block.lost;
        u64::try_from(newly).unwrap_or_default()
    }

    /// Takes the jitter of a report. Returns it; none for what no path has.
    pub fn jitter(&mut self, block: Block, clock_rate: u32) -> Option<Duration> {
        let micros = u64::from(block.jitter).saturating_mul(1_000_000) / u64::from(clock_rate.max(1));
        let jitter = Some(Duration::from_micros(micros)).filter(|jitter| *jitter <= ROUND_TRIP_MAX)?;
        self.jitter = Some(jitter);
        Some(jitter)
    }

    /// The share that was lost between the last two reports, in 256ths, and the jitter that the last one told.
    pub fn latest(&self) -> (u8, Option<Duration>) {
        (self.fraction, self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::clock::NtpTime;

    fn ntp(millis: u64) -> NtpTime {
        NtpTime((millis << 32) / 1_000)
    }

    fn block(sent_at: u64, held: u64) -> Block {
        let delay = u32::try_from(held * 65_536 / 1_000).unwrap();
        Block { fraction: 0, lost: 0, jitter: 0, last_report: ntp(sent_at).middle(), delay }
    }

    #[test]
    fn a_round_trip_is_what_passed_less_what_the_other_end_waited() {
        let mut path = Reception::default();
        let told = path.report(block(1_000, 300), ntp(1_380)).unwrap();
        assert!((79_000..81_000).contains(&told.as_micros()), "{told:?}");
    }

    #[test]
    fn the_shortest_round_trip_counts_until_the_path_has_been_longer_for_a_while() {
        let mut path = Reception::default();
        let mut seen = Vec::new();
        for trip in [80, 90, 20, 85, 95, 99, 88, 93, 87, 91, 82] {
            path.report(block(2_000, 300), ntp(2_300 + trip)).unwrap();
            seen.push((path.round_trip().unwrap().as_micros() + 500) / 1_000);
        }
        assert_eq!(seen, [80, 80, 20, 20, 20, 20, 20, 20, 20, 20, 82]);
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let mut path = Reception::default();
        assert_eq!(
            path.report(Block { last_report: 0, ..block(0, 0) }, ntp(5)),
            None,
            "no report has come there"
        );
        assert_eq!(path.report(block(1_000, 0), ntp(20_000)), None, "longer than any path");
        assert_eq!(path.report(block(1_000, 450), ntp(1_400)), None, "it waited longer than it took");
        assert_eq!(path.round_trip(), None);
        assert_eq!(path.report(block(1_000, 401), ntp(1_400)), Some(Duration::ZERO), "rounded up there");
        assert_eq!(path.round_trip(), Some(Duration::ZERO));
    }

    #[test]
    fn losses_are_counted_once_and_never_beyond_what_was_sent() {
        let mut losses = Losses::default();
        let lost = |lost| Block { lost, ..block(0, 0) };
        let told: Vec<u64> = [3, 3, -1, 5, 1_000, 7].map(|n| losses.newly(lost(n), 100)).to_vec();
        assert_eq!(told, [3, 0, 0, 2, 0, 2]);
    }

    #[test]
    fn jitter_is_told_in_ticks_of_the_media_clock() {
        let mut losses = Losses::default();
        let jitter = |jitter| Block { jitter, fraction: 64, ..block(0, 0) };
        losses.newly(jitter(0), 1);
        assert_eq!(losses.jitter(jitter(900), 90_000), Some(Duration::from_millis(10)));
        assert_eq!(losses.jitter(jitter(u32::MAX), 90_000), None, "forged");
        assert_eq!(losses.latest(), (64, Some(Duration::from_millis(10))));
    }
}
