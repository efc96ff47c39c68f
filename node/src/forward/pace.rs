//! How fast a viewer is sent what waits for it.
//!
//! A frame of an ordinary stream goes at once, as one train. What is larger than a burst, a keyframe or what a joiner
//! catches up with, is spread: at two and a half times the stream's rate, or so fast that what waits is gone within
//! 50 ms, whichever is faster, and a burst of 16 packets at most in each tick of 5 ms. A stream of more than about
//! 25 Mbit/s would fall behind so; its burst is what it brings in a tick and a quarter. A cap goes before all of it; then
//! the viewer lags, and that is counted. What is asked for again goes by the same bucket, before what waits. Sound waits
//! for nothing, and the picture pays for it.

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;

/// Packets that go in a tick at most, unless the stream alone brings more.
pub const BURST: u64 = 16;
/// Bytes that go at once at most, unless the stream alone brings more.
const DEPTH: i64 = 19_200;
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

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Until so many bytes have gone: the last packet may go beyond, and is paid for later.
    pub bytes: u64,
    /// So many packets.
    pub packets: u64,
}

impl Allowed {
    /// What is not paced.
    pub const ALL: Self = Self { bytes: u64::MAX, packets: u64::MAX };

    /// Nothing more may go after so much.
    pub fn is_used_up(&self, packets: u64, bytes: u64) -> bool {
        packets >= self.packets || bytes >= self.bytes
    }
}

/// One viewer's allowance: a bucket as deep as a burst.
#[derive(Debug, Clone)]
pub struct Pacer {
    /// Bytes that may go; less than nothing after what did not wait.
    tokens: i64,
    at: Option<Instant>,
    /// When the tick began, and the packets that went in it.
    tick: Option<Instant>,
    went: u64,
    /// Bytes a second by which what waits is gone in time, since something waits.
    drain: u64,
    /// Bytes a second at most; none without a cap.
    cap: Option<u64>,
}

impl Pacer {
    /// A full bucket.
    pub fn new(cap: Option<Bitrate>) -> Self {
        let cap = cap.map(|cap| cap.bps() / 8);
        Self { tokens: DEPTH, at: None, tick: None, went: 0, drain: 0, cap }
    }

    /// What may go now, of `waiting` packets of a lane with this rate: nothing when it is better to wait for more.
    pub fn allow(&mut self, now: Instant, rate: u64, waiting: u64) -> Allowed {
        let (backlog, allowed) = (waiting.saturating_mul(PACKET), self.refill(now, rate, waiting));
        if allowed.bytes >= backlog {
            self.drain = 0;
        }
        let enough = allowed.bytes >= backlog.min(GROUP * PACKET);
        Allowed { bytes: if enough { allowed.bytes } else { 0 }, ..allowed }
    }

    /// What may go now, of `waiting` packets that were asked for again. Somebody stands still without them: they do not
    /// wait for more.
    pub fn allow_again(&mut self, now: Instant, rate: u64, waiting: u64) -> Allowed {
        self.refill(now, rate, waiting)
    }

    fn refill(&mut self, now: Instant, rate: u64, waiting: u64) -> Allowed {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let backlog = waiting.saturating_mul(PACKET);
        // A viewer of a faster stream would fall ever further behind, with its bucket full.
        let burst = BURST.max(per_tick(rate.saturating_mul(5) / 4) / PACKET);
        self.drain = self.drain.max(per_second(backlog, CATCH_UP));
        let fast = (rate.saturating_mul(5) / 2).max(self.drain);
        let rate = self.cap.map_or(fast, |cap| fast.min(cap));
        let earned = u128::from(rate).saturating_mul(passed.as_micros()) / 1_000_000;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        let depth = DEPTH.max(i64::try_from(burst.saturating_mul(PACKET)).unwrap_or(i64::MAX));
        self.tokens = self.tokens.saturating_add(earned).min(depth);
        if self.tick.is_none_or(|tick| now.saturating_duration_since(tick) >= TICK) {
            (self.tick, self.went) = (Some(now), 0);
        }
        let bytes = u64::try_from(self.tokens).unwrap_or_default();
        Allowed { bytes, packets: burst.saturating_sub(self.went) }
    }

    /// Reads what sending will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        self.tokens.cast_unsigned()
            ^ self.went
            ^ u64::from(self.tick.is_some())
            ^ u64::from(self.cap.is_some())
    }

    /// So many packets and bytes went.
    pub fn spend(&mut self, packets: u64, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_sub(bytes).max(-DEPTH);
        self.went = self.went.saturating_add(packets);
    }
}

fn per_tick(bytes_per_second: u64) -> u64 {
    u64::try_from(u128::from(bytes_per_second).saturating_mul(TICK.as_micros()) / 1_000_000)
        .unwrap_or(u64::MAX)
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
            let allowed = pacer.allow(now, rate, packets);
            let going = (0..packets).take_while(|n| !allowed.is_used_up(*n, n * PACKET)).count() as u64;
            pacer.spend(going, going * PACKET);
            packets -= going;
            went.push(going);
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

    /// What does not fit into the bursts of 50 ms takes longer: a burst a tick is the most.
    #[test]
    fn more_than_the_bursts_of_50_ms_goes_at_a_burst_a_tick() {
        let went = run(&mut Pacer::new(None), Instant::now(), 250_000, 300);
        assert_eq!(went.iter().max(), Some(&BURST));
        assert_eq!(went.len(), 300_usize.div_ceil(BURST as usize), "{went:?}");
    }

    /// Of a stream so fast that its rate tells more than what waits.
    #[test]
    fn what_waits_goes_at_two_and_a_half_times_the_rate() {
        let (mut pacer, start) = (Pacer::new(None), Instant::now());
        pacer.spend(1, 19_200);
        let moments = [0, 1, 2, 4].map(|ms| pacer.allow_again(start + MS * ms, 1_000_000, 1).bytes);
        assert_eq!(moments, [0, 2_500, 5_000, 10_000], "2.5 MB a second");
        // 16 at once, then 12,500 bytes a tick: all behind the burst is there within 2.5 ticks at the stream's speed.
        assert_eq!(run(&mut Pacer::new(None), start, 1_000_000, 40), [BURST, 11, 10, 3]);
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
    fn small_packets_go_no_more_at_once_and_what_goes_beyond_the_cap_is_paid_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None);
        let mut moments = [0, 1, 4, 5, 9, 10].map(|ms| {
            let packets = pacer.allow(start + MS * ms, 250_000, 100).packets.min(10);
            pacer.spend(packets, packets * 100);
            packets
        });
        assert_eq!(moments, [10, 6, 0, 10, 6, 10]);
        let mut pacer = Pacer::new(Some(Bitrate::from_kbps(80)));
        pacer.spend(1, 29_200);
        moments = [0, 500, 1_000, 1_100, 1_200, 3_500]
            .map(|ms| pacer.allow_again(start + MS * ms, 250_000, 100).bytes);
        assert_eq!(moments, [0, 0, 0, 1_000, 2_000, 19_200], "10 kB a second");
    }

    #[test]
    fn a_fast_stream_does_not_fall_behind() {
        // 40 Mbit/s in frames of 139 packets, thirty a second.
        let (mut pacer, start) = (Pacer::new(None), Instant::now());
        for frame in 0..30 {
            let went = run(&mut pacer, start + MS * 33 * frame, 5_000_000, 139);
            assert!(TICK * u32::try_from(went.len()).unwrap() <= MS * 35, "frame {frame}: {went:?}");
        }
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
