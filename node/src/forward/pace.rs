//! How fast a viewer is sent what waits for it.
//!
//! A frame of an ordinary stream goes at once, as one train. What is larger than a burst, a keyframe or what a joiner
//! catches up with, is spread: at two and a half times the stream's rate, or so fast that what waits is gone within
//! 50 ms, whichever is faster. A cap goes before both; then the viewer lags, and that is counted.

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;

/// Packets that go at once at most.
pub const BURST: u64 = 16;
/// What a packet counts for when it is not known: most video packets are nearly so large.
const PACKET: u64 = 1_200;
/// What waits is gone within this time, unless a cap forbids it.
const CATCH_UP: Duration = Duration::from_millis(50);
/// What is held back is looked at again so often.
pub const TICK: Duration = Duration::from_millis(5);
/// What was held back goes on in groups of so many packets, so that trains stay long.
const GROUP: u64 = 4;
/// The rate that counts while a stream is too young to have one, in bytes a second.
const YOUNG: u64 = 250_000;
/// A stream's rate is measured over this time.
const WINDOW: Duration = Duration::from_millis(500);

/// The rate of a lane, measured once for all its viewers.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    since: Option<Instant>,
    bytes: u64,
    rate: Option<u64>,
}

impl Meter {
    /// A packet of `bytes` came.
    pub fn note(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let passed = now.saturating_duration_since(since);
        if passed >= WINDOW * 2 {
            // There was a pause, and a pause is no rate.
            (self.since, self.bytes) = (Some(now), 0);
        } else if passed >= WINDOW {
            let seen = per_second(self.bytes, passed);
            // Half of the past stays, so that a single keyframe does not count for the stream.
            self.rate = Some(self.rate.map_or(seen, |rate| rate.midpoint(seen)));
            (self.since, self.bytes) = (Some(now), 0);
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate.unwrap_or(YOUNG)
    }
}

/// One viewer's allowance: a bucket as deep as a burst.
#[derive(Debug, Clone)]
pub struct Pacer {
    tokens: u64,
    at: Option<Instant>,
    /// Bytes a second by which what waits is gone in time, since something waits.
    drain: u64,
    /// Bytes a second at most; none without a cap.
    cap: Option<u64>,
}

impl Pacer {
    /// A full bucket.
    pub fn new(cap: Option<Bitrate>) -> Self {
        Self { tokens: BURST * PACKET, at: None, drain: 0, cap: cap.map(|cap| cap.bps() / 8) }
    }

    /// Bytes that may go now, of `waiting` packets of a lane with this rate: 0 when it is better to wait for more.
    pub fn allow(&mut self, now: Instant, rate: u64, waiting: u64) -> u64 {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let backlog = waiting.saturating_mul(PACKET);
        self.drain = self.drain.max(per_second(backlog, CATCH_UP));
        let fast = (rate.saturating_mul(5) / 2).max(self.drain);
        let rate = self.cap.map_or(fast, |cap| fast.min(cap));
        let earned = u128::from(rate).saturating_mul(passed.as_micros()) / 1_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(earned).min(BURST * PACKET);
        if self.tokens >= backlog {
            self.drain = 0;
        }
        if self.tokens < backlog.min(GROUP * PACKET) { 0 } else { self.tokens }
    }

    /// So many bytes went.
    pub fn spend(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_sub(bytes);
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes).saturating_mul(1_000_000) / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends `packets` of 1,200 bytes as fast as the pacer allows; returns what went at each tick.
    fn run(pacer: &mut Pacer, mut now: Instant, rate: u64, mut packets: u64) -> Vec<u64> {
        let mut went = Vec::new();
        while packets > 0 {
            let allowed = (pacer.allow(now, rate, packets) / PACKET).min(packets).min(BURST);
            pacer.spend(allowed * PACKET);
            packets -= allowed;
            went.push(allowed);
            now += TICK;
            assert!(went.len() < 10_000, "it never ends");
        }
        went
    }

    #[test]
    fn a_frame_of_an_ordinary_stream_goes_at_once() {
        let mut pacer = Pacer::new(None);
        let start = Instant::now();
        for frame in 0..100 {
            assert_eq!(run(&mut pacer, start + MS * 33 * frame, 250_000, 7), [7], "frame {frame}");
        }
    }

    #[test]
    fn a_keyframe_goes_in_a_burst_and_groups_within_50_ms() {
        let went = run(&mut Pacer::new(None), Instant::now(), 250_000, 60);
        assert_eq!(went[0], BURST);
        assert!(went.len() <= 1 + 10, "{went:?}");
        let groups = went.iter().filter(|n| **n > 0).count();
        assert!(60 / groups >= 4, "trains stay long: {went:?}");
    }

    #[test]
    fn a_cap_goes_first() {
        let cap = Bitrate::from_kbps(960);
        let went = run(&mut Pacer::new(Some(cap)), Instant::now(), 250_000, 116);
        // 16 at once, then 100 packets of 9,600 bit at 960 kbit/s: a second.
        let time = TICK * u32::try_from(went.len()).unwrap();
        assert!((MS * 950..MS * 1_100).contains(&time), "{time:?}");
    }

    #[test]
    fn a_rate_is_learned_within_a_second_or_two() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(), YOUNG);
        for n in 0..4_000_u32 {
            meter.note(start + MS * n, 1_000);
        }
        assert!((950_000..1_050_000).contains(&meter.rate()), "{}", meter.rate());
    }

    #[test]
    fn a_pause_is_no_rate() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.note(start, 32_000);
        meter.note(start + MS * 10_000, 1_000);
        assert_eq!(meter.rate(), YOUNG, "still too young");
        for n in 10_001..14_000_u32 {
            meter.note(start + MS * n, 1_000);
        }
        let before = meter.rate();
        meter.note(start + MS * 30_000, 1_000);
        assert_eq!(meter.rate(), before);
    }
}
