//! How many bytes of a link may be in flight: by delay, not by loss.
//!
//! Media links carry a rate that does not adapt to the link, over paths whose loss is often not congestion. So the
//! window is a multiple of what the path was seen to deliver in its smallest round trip; it shrinks when the round
//! trip shows a standing queue, or when more is lost than random loss explains. Random loss up to a tenth does not
//! shrink it.

use std::time::{Duration, Instant};

/// The window that a link begins with, in bytes: 100 ms of 20 Mbit/s.
pub const INITIAL: u64 = 256 * 1024;
/// The smallest window, in bytes: a keyframe must not wait for many round trips.
pub const MINIMUM: u64 = 96 * 1024;
/// The largest window, in bytes: 1 Gbit/s over 250 ms.
pub const MAXIMUM: u64 = 32 * 1024 * 1024;
/// A share of loss above this is congestion, in thousandths of what was sent in a round.
const LOSS_PERMILLE: u64 = 150;
/// A queue is standing when round trips exceed the smallest by a half of it and by this much.
const QUEUE: Duration = Duration::from_millis(20);
/// The smallest round trip is forgotten after this time: routes change.
const MIN_RTT_AGE: Duration = Duration::from_secs(30);

/// The machine.
#[derive(Debug, Clone)]
pub struct Window {
    window: u64,
    min_rtt: Duration,
    min_rtt_at: Instant,
    round_start: Instant,
    acked: u64,
    lost: u64,
    limited: bool,
    rtt: Duration,
    best_rate: u64,
}

impl Window {
    /// A window of [`INITIAL`] bytes.
    pub fn new(now: Instant) -> Self {
        Self {
            window: INITIAL,
            min_rtt: Duration::MAX,
            min_rtt_at: now,
            round_start: now,
            acked: 0,
            lost: 0,
            limited: false,
            rtt: Duration::ZERO,
            best_rate: 0,
        }
    }

    /// Bytes that may be in flight.
    pub fn bytes(&self) -> u64 {
        self.window
    }

    /// Bytes were acknowledged; `rtt` is the newest smoothed round trip, `app_limited` says that the window was not
    /// what held the sender back.
    pub fn handle_ack(&mut self, now: Instant, bytes: u64, app_limited: bool, rtt: Duration) {
        self.acked = self.acked.saturating_add(bytes);
        self.limited |= !app_limited;
        self.rtt = rtt;
        if rtt <= self.min_rtt || now.saturating_duration_since(self.min_rtt_at) > MIN_RTT_AGE {
            self.min_rtt = rtt;
            self.min_rtt_at = now;
        }
        if now.saturating_duration_since(self.round_start) >= self.rtt.max(Duration::from_millis(10)) {
            self.end_round(now);
        }
    }

    /// Bytes were lost.
    pub fn handle_loss(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_add(bytes);
    }

    fn end_round(&mut self, now: Instant) {
        let micros = u64::try_from(now.saturating_duration_since(self.round_start).as_micros()).unwrap_or(u64::MAX);
        let rate = self.acked.saturating_mul(1_000_000) / micros.max(1);
        // What the path delivered lately; it fades, so that a path that became slower is believed.
        self.best_rate = rate.max(self.best_rate.saturating_sub(self.best_rate / 16));
        let floor_rtt = u64::try_from(self.min_rtt.as_micros()).unwrap_or(0).max(1_000);
        let pipe = self.best_rate.saturating_mul(floor_rtt) / 1_000_000;
        let queue = self.rtt > self.min_rtt.saturating_add(self.min_rtt / 2).saturating_add(QUEUE);
        let total = self.acked.saturating_add(self.lost).max(1);
        let lossy = self.lost.saturating_mul(1_000) / total > LOSS_PERMILLE && self.lost > 16 * 1_200;
        if queue || lossy {
            let target = pipe.max(self.window.saturating_mul(7) / 10);
            self.window = self.window.min(target);
        } else if self.limited {
            self.window = self.window.saturating_add(self.window / 4);
        }
        self.window = self.window.max(pipe.saturating_mul(2)).clamp(MINIMUM, MAXIMUM);
        if queue || lossy {
            self.window = self.window.min(pipe.saturating_add(pipe / 4).max(MINIMUM));
        }
        (self.acked, self.lost, self.limited, self.round_start) = (0, 0, false, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives a window over a path of a rate and a round trip, with random loss; returns the rate reached.
    fn run(rate_bps: u64, base: Duration, loss_permille: u64, offered_bps: u64) -> (u64, Duration) {
        let mut now = Instant::now();
        let mut window = Window::new(now);
        let mut delivered = 0_u64;
        let mut rtt = base;
        let rounds = 200;
        for round in 0..rounds {
            let secs = rtt.as_secs_f64();
            let offered = (offered_bps as f64 / 8.0 * secs) as u64;
            let sent = offered.min(window.bytes());
            let capacity = (rate_bps as f64 / 8.0 * secs) as u64;
            let queued = sent.saturating_sub((rate_bps as f64 / 8.0 * base.as_secs_f64()) as u64);
            rtt = base + Duration::from_secs_f64(queued as f64 * 8.0 / rate_bps as f64);
            let lost = sent * loss_permille / 1_000;
            let through = (sent - lost).min(capacity.max(1));
            now += rtt;
            window.handle_loss(lost);
            window.handle_ack(now, through, window.bytes() > offered, rtt);
            if round >= rounds / 2 {
                delivered += (through as f64 * 8.0 / rtt.as_secs_f64()) as u64;
            }
        }
        (delivered / (rounds / 2), rtt)
    }

    #[test]
    fn random_loss_does_not_shrink_it() {
        for loss in [0, 10, 50, 100] {
            let (rate, _) = run(100_000_000, Duration::from_millis(60), loss, 20_000_000);
            assert!(rate > 20_000_000 * (1_000 - loss) / 1_000 * 97 / 100, "{rate} at {loss} per thousand");
        }
    }

    #[test]
    fn a_bottleneck_is_filled_without_a_long_queue() {
        let (rate, rtt) = run(10_000_000, Duration::from_millis(40), 0, 50_000_000);
        assert!(rate > 8_000_000, "{rate}");
        assert!(rtt < Duration::from_millis(160), "{rtt:?}");
    }
}
