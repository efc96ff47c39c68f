//! How much may be in flight on a link: by how fast packets arrive and how long they queue, not by single losses.
//!
//! Media on a link is many streams at a rate of their own; it comes in bursts and is mostly below what the path
//! carries. Controllers that halve at each loss (Cubic, NewReno) carry 1 Mbit/s at 5 % loss and 60 ms. This one keeps
//! two estimates: the base round trip time, which is the shortest of the last ten seconds, and the rate at which the
//! path delivered, which is the highest of the last rounds in which the window was the limit. The window is the rate
//! times (base + a bounded queue). So the queue that it makes at a bottleneck is bounded by construction, and it
//! probes at every round, because the window is always somewhat more than what the path carries.
//!
//! - A round in which the application had less to send teaches only that the path carries *at least* so much.
//! - A queue that grows beyond its bound means that the path became slower: older rates are forgotten.
//! - Loss up to 15 %, averaged over rounds, is taken as random. More is taken as a bottleneck with a short queue, and
//!   the window shrinks until it is less.
//! - When nothing arrived for a while, the path was away: it is learned anew from a small window.
//! - When the base has not been seen for ten seconds in spite of a full window, the queue is drained once to see it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Window before anything is known: 20 Mbit/s over 100 ms.
pub const INITIAL_WINDOW: u64 = 256 * 1024;
/// Smallest window on a path without heavy loss: what a burst of some packets takes.
pub const WINDOW_MIN: u64 = 32 * 1024;
/// Largest window: 1 Gbit/s over 500 ms.
pub const WINDOW_MAX: u64 = 64 * 1024 * 1024;

/// Longest queue that the window makes on a short path.
const QUEUE: Duration = Duration::from_millis(30);
/// Shortest round: shorter ones measure bursts.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// How long the base stands without being seen again.
const BASE_AGE: Duration = Duration::from_secs(10);
/// How long a drain lasts at least.
const DRAIN: Duration = Duration::from_millis(150);
/// How long a rate stands: in rounds, and at least in time.
const RATE_ROUNDS: u32 = 10;
const RATE_AGE_MIN: Duration = Duration::from_secs(1);
/// When nothing is acknowledged for so long, the path is away.
const OUTAGE: Duration = Duration::from_millis(400);
/// So many rounds without growth end the start.
const FLAT_MAX: u8 = 3;
/// What is shorter may be nothing but an acknowledgement, which is never acknowledged itself; media never is.
const BARE_MAX: u64 = 80;
/// Averaged loss that is taken as random, in thousandths.
const LOSS_RANDOM: u64 = 150;
/// The window is trimmed at most to so many thousandths.
const TRIM_MIN: u64 = 200;

/// The machine.
#[derive(Debug, Clone)]
pub struct Congestion {
    window: u64,
    mtu: u64,
    base: Option<(Duration, Instant)>,
    /// Highest first, each newer than the one before.
    rates: VecDeque<(Instant, u64)>,
    /// The window was the limit at least once.
    proven: bool,
    /// No limit of the path has been met: the window doubles.
    startup: bool,
    /// Rounds in which the window was the limit and the rate did not grow.
    flat: u8,
    /// Averaged loss, in thousandths of a thousandth.
    loss: u64,
    trim: u64,
    drain_until: Option<Instant>,
    in_flight: u64,
    /// Since when something is in flight and nothing was acknowledged.
    waiting: Option<Instant>,
    /// Bytes that an outage left in flight, sent before its end: QUIC will count them as lost much later.
    forgiven: u64,
    forgiven_before: Option<Instant>,
    round: Option<Round>,
    /// When the newest packet that was acknowledged had been sent.
    newest_sent: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Round {
    start: Instant,
    start_sent: Option<Instant>,
    acked: u64,
    lost: u64,
    peak: u64,
    shortest: Option<Duration>,
}

impl Congestion {
    /// For a path of which nothing is known. `mtu`: bytes of a packet.
    pub fn new(mtu: u16) -> Self {
        Self {
            window: INITIAL_WINDOW,
            mtu: u64::from(mtu),
            base: None,
            rates: VecDeque::new(),
            proven: false,
            startup: true,
            flat: 0,
            loss: 0,
            trim: 1_000,
            drain_until: None,
            in_flight: 0,
            waiting: None,
            forgiven: 0,
            forgiven_before: None,
            round: None,
            newest_sent: None,
        }
    }

    /// Packets went out. QUIC tells of those too that only acknowledge: they are not in flight, and what waits for them
    /// to be acknowledged would take the next frame of a quiet link for the end of an outage.
    pub fn handle_sent(&mut self, now: Instant, bytes: u64) {
        if bytes < BARE_MAX {
            return;
        }
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.waiting.get_or_insert(now);
        let round = self.round.get_or_insert_with(|| Round::new(now, self.newest_sent));
        round.peak = round.peak.max(self.in_flight.saturating_sub(self.forgiven));
    }

    /// A packet that was sent at `sent` has arrived.
    pub fn handle_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        let rtt = now.saturating_duration_since(sent);
        self.newest_sent = self.newest_sent.max(Some(sent));
        if self.forgiven_before.is_some_and(|before| sent < before) {
            self.forgiven = self.forgiven.saturating_sub(bytes);
            // It waited out the outage: its time says nothing.
            return;
        }
        let round = self.round.get_or_insert_with(|| Round::new(now, Some(sent)));
        round.acked = round.acked.saturating_add(bytes);
        round.shortest = Some(round.shortest.map_or(rtt, |s| s.min(rtt)));
        match self.base {
            // Seen again, or nearly so.
            Some((base, _)) if rtt <= base + near(base) => self.base = Some((base.min(rtt), now)),
            Some(_) => {}
            None => self.base = Some((rtt, now)),
        }
    }

    /// All acknowledgements of one datagram have been told; `in_flight` is what is left.
    pub fn handle_acks_end(&mut self, now: Instant, in_flight: u64) {
        let waiting = std::mem::replace(&mut self.waiting, (in_flight > 0).then_some(now));
        self.in_flight = in_flight;
        let Some((base, seen)) = self.base else { return };
        if waiting.is_some_and(|since| now.saturating_duration_since(since) > OUTAGE.max(base * 4)) {
            self.end_outage(now, in_flight);
            return;
        }
        let Some(round) = &self.round else { return };
        let elapsed = now.saturating_duration_since(round.start);
        if elapsed < base.max(ROUND_MIN) || round.acked == 0 {
            return;
        }
        let round =
            self.round.replace(Round::new(now, self.newest_sent)).unwrap_or_else(|| Round::new(now, None));
        self.end_round(now, round, base, seen);
    }

    /// Packets of so many bytes did not arrive.
    pub fn handle_loss(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if self.forgiven > 0 {
            self.forgiven = self.forgiven.saturating_sub(bytes);
            return;
        }
        if let Some(round) = &mut self.round {
            round.lost = round.lost.saturating_add(bytes);
        }
    }

    /// Packets have another size now.
    pub fn handle_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> u64 {
        self.window.saturating_add(self.forgiven)
    }

    /// What the path carries, in bytes a second, as far as is known; while that is not known, what is tried.
    pub fn rate(&self) -> u64 {
        let known = self.rates.front().map_or(0, |(_, rate)| *rate);
        let base = self.base.map_or(Duration::from_millis(100), |(base, _)| base);
        let tried = per_second(self.window, base + queue(base));
        if self.proven && !self.startup && known > 0 { known } else { known.max(tried) }
    }

    /// The shortest round trip seen of late.
    pub fn base(&self) -> Option<Duration> {
        self.base.map(|(base, _)| base)
    }

    /// Averaged loss, in thousandths.
    pub fn loss(&self) -> u64 {
        self.loss / 1_000
    }

    /// Something arrives again. What the path carries now is learned anew, and what the outage left in flight does not
    /// stand in the way.
    fn end_outage(&mut self, now: Instant, in_flight: u64) {
        self.rates.clear();
        self.proven = true;
        self.startup = true;
        self.flat = 0;
        self.window = WINDOW_MIN;
        self.forgiven = in_flight;
        self.forgiven_before = Some(now);
        self.round = None;
        self.drain_until = None;
    }

    fn end_round(&mut self, now: Instant, round: Round, base: Duration, seen: Instant) {
        self.average_loss(&round);
        // Bursts that a queue cannot hold show a limit too, though the window never was the one.
        let full = round.peak.saturating_add(self.mtu.saturating_mul(2)) >= self.window;
        let limited = full || self.loss() > LOSS_RANDOM;
        let shortest = round.shortest.unwrap_or(base);

        let sent = match (self.newest_sent, round.start_sent) {
            (Some(last), Some(first)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        };
        let elapsed = now.saturating_duration_since(round.start).max(sent);
        let rate = per_second(round.acked, elapsed);
        let allowed = queue(base);
        let known = self.rates.front().map_or(0, |(_, rate)| *rate);
        if limited && self.startup {
            self.flat = if rate > known + known / 4 { 0 } else { self.flat.saturating_add(1) };
            let met = shortest.saturating_sub(base) > allowed / 2;
            self.startup = !met && self.flat < FLAT_MAX && self.loss() <= LOSS_RANDOM;
        }
        if limited && self.drain_until.is_none() && shortest.saturating_sub(base) > allowed + allowed / 2 {
            self.rates.clear();
        }
        let known = self.rates.front().map_or(0, |(_, rate)| *rate);
        if limited || rate >= known {
            self.learn(now, rate, base, limited);
        }
        self.proven |= limited;
        let base = self.look_at_base(now, limited, shortest, base, seen);
        self.set_window(base, shortest);
    }

    fn average_loss(&mut self, round: &Round) {
        let all = round.acked.saturating_add(round.lost);
        if all < self.mtu.saturating_mul(10) {
            return;
        }
        let now = round.lost.saturating_mul(1_000_000) / all.max(1);
        self.loss = (self.loss.saturating_mul(7).saturating_add(now)) / 8;
        if self.loss() > LOSS_RANDOM {
            self.trim = (self.trim.saturating_mul(85) / 100).max(TRIM_MIN);
        } else {
            self.trim = self.trim.saturating_add(50).min(1_000);
        }
    }

    fn learn(&mut self, now: Instant, rate: u64, base: Duration, limited: bool) {
        let age = (base.max(ROUND_MIN) * RATE_ROUNDS).max(RATE_AGE_MIN);
        if limited && self.drain_until.is_none() {
            while self.rates.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > age) {
                self.rates.pop_front();
            }
        }
        while self.rates.back().is_some_and(|(_, older)| *older <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((now, rate));
        // A falling series keeps each of its rates until it is too old: so many rounds are in that time at most.
        while self.rates.len() > 64 {
            self.rates.pop_front();
        }
    }

    /// Looks after the base: drains the queue when it was not seen for long, and believes what came of it.
    fn look_at_base(
        &mut self,
        now: Instant,
        limited: bool,
        shortest: Duration,
        base: Duration,
        seen: Instant,
    ) -> Duration {
        let old = now.saturating_duration_since(seen) > BASE_AGE;
        match self.drain_until {
            Some(until) if now >= until => {
                self.drain_until = None;
                self.base = Some((shortest, now));
                shortest
            }
            None if old && !limited => {
                // There was no queue of ours: the path has become longer.
                self.base = Some((shortest, now));
                shortest
            }
            None if old => {
                self.drain_until = Some(now + DRAIN.max(shortest * 2));
                base
            }
            _ => base,
        }
    }

    fn set_window(&mut self, base: Duration, shortest: Duration) {
        let Some((_, rate)) = self.rates.front() else { return };
        let least = if self.proven { WINDOW_MIN.saturating_mul(self.trim) / 1_000 } else { INITIAL_WINDOW };
        let window = if self.drain_until.is_some() {
            carried(*rate, base) / 4 * 3
        } else {
            // Twice what is in flight now bounds the pace on short paths, whose queue may be long in comparison.
            let more = if self.startup { base.max(queue(base)) } else { queue(base) };
            let time = (base + more).min(shortest * 2);
            carried(*rate, time).saturating_mul(self.trim) / 1_000
        };
        self.window = window.clamp(least.max(self.mtu.saturating_mul(4)), WINDOW_MAX);
    }
}

impl Round {
    fn new(start: Instant, start_sent: Option<Instant>) -> Self {
        Self { start, start_sent, acked: 0, lost: 0, peak: 0, shortest: None }
    }
}

/// The queue that the window may make.
fn queue(base: Duration) -> Duration {
    QUEUE.max(base / 4)
}

/// So near to the base counts as the base.
fn near(base: Duration) -> Duration {
    (base / 16).max(Duration::from_millis(1))
}

fn carried(rate: u64, time: Duration) -> u64 {
    let bytes = u128::from(rate).saturating_mul(time.as_micros()) / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let rate = u128::from(bytes).saturating_mul(1_000_000) / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
