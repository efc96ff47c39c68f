//! A run second by second.

use std::time::{Duration, Instant};

use super::crowd::Look;
use crate::measure::Histogram;
use crate::num;
use crate::report::{Percentiles, Second, ServerSecond};

/// Most seconds that are kept: longer runs keep every second one, then every fourth.
const SECONDS_MAX: usize = 7_200;

/// What was true at the last look.
#[derive(Default)]
struct Before {
    at: Duration,
    received: u64,
    bytes: u64,
    joined: u64,
    freezes: u64,
    latency: Histogram,
    first_keyframe: Histogram,
}

/// Collects seconds.
pub(super) struct Timeline {
    start: Instant,
    before: Before,
    seconds: Vec<Second>,
    /// Of so many looks one is kept.
    every: u64,
    looks: u64,
}

impl Timeline {
    pub fn new(start: Instant) -> Self {
        Self { start, before: Before::default(), seconds: Vec::new(), every: 1, looks: 0 }
    }

    /// Adds what a look found.
    pub fn add(&mut self, look: &Look, client_cores: Option<f64>, server: Option<ServerSecond>) -> Second {
        let at = self.start.elapsed();
        let now = Before {
            at,
            received: look.tally.packets.received,
            bytes: look.tally.bytes,
            joined: look.tally.viewers.connected,
            freezes: look.tally.freezes,
            latency: look.tally.latency.clone(),
            first_keyframe: look.tally.first_keyframe.clone(),
        };
        let before = std::mem::replace(&mut self.before, now);
        let now = &self.before;
        let seconds = at.saturating_sub(before.at).as_secs_f64().max(0.001);
        let bits = num::float(now.bytes.saturating_sub(before.bytes)) * 8.0 / seconds;
        let second = Second {
            at_s: at.as_secs_f64(),
            seconds,
            joining: look.joining,
            watching: look.watching,
            failed: look.failed,
            left: look.left,
            joined: now.joined.saturating_sub(before.joined),
            packets: now.received.saturating_sub(before.received),
            missing: look.tally.packets.lost,
            bits_per_second: num::count(bits),
            latency_ms: Percentiles::of(&now.latency.since(&before.latency)),
            first_keyframe_ms: Percentiles::of(&now.first_keyframe.since(&before.first_keyframe)),
            longest_gap_ms: num::millis(look.gap),
            freezes: now.freezes.saturating_sub(before.freezes),
            client_cores,
            server,
        };
        if self.looks.is_multiple_of(self.every) {
            self.seconds.push(second.clone());
        }
        self.looks += 1;
        if self.seconds.len() >= SECONDS_MAX {
            let mut nth = 0_u64;
            self.seconds.retain(|_| {
                nth += 1;
                !nth.is_multiple_of(2)
            });
            self.every = self.every.saturating_mul(2);
        }
        second
    }

    pub fn take(self) -> Vec<Second> {
        self.seconds
    }
}
