//! A run second by second.

use std::time::{Duration, Instant};

use super::crowd::Look;
use crate::measure::Histogram;
use crate::num;
use crate::report::{ChatSecond, HlsSecond, Percentiles, Second, ServerSecond, merge};

/// Most seconds that are kept: in longer runs two become one, then four.
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
    /// So many looks become one second.
    every: u64,
    /// Those that are not enough for one yet, and how many they are.
    begun: Option<Second>,
    looks: u64,
}

impl Timeline {
    pub fn new(start: Instant) -> Self {
        Self { start, before: Before::default(), seconds: Vec::new(), every: 1, begun: None, looks: 0 }
    }

    /// Adds what a look found.
    pub fn add(
        &mut self,
        look: &Look,
        client_cores: Option<f64>,
        server: Option<ServerSecond>,
        (hls, chat): (Option<HlsSecond>, Option<ChatSecond>),
    ) -> Second {
        let at = self.start.elapsed();
        let now = Before {
            at,
            received: look.tally.packets.received,
            bytes: look.tally.bytes,
            joined: look.tally.viewers.sessions,
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
            hls,
            chat,
        };
        self.keep(&second);
        second
    }

    /// What was counted stays counted, however long the run is.
    fn keep(&mut self, second: &Second) {
        let begun = self.begun.take();
        let sum = begun.map_or_else(|| second.clone(), |begun| merge(&begun, second));
        self.looks += 1;
        if self.looks < self.every {
            self.begun = Some(sum);
            return;
        }
        self.looks = 0;
        self.seconds.push(sum);
        if self.seconds.len() >= SECONDS_MAX {
            let pair = |pair: &[Second]| pair.iter().cloned().reduce(|one, next| merge(&one, &next));
            self.seconds = self.seconds.chunks(2).filter_map(pair).collect();
            self.every = self.every.saturating_mul(2);
        }
    }

    pub fn take(mut self) -> Vec<Second> {
        self.seconds.extend(self.begun);
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_loses_no_count() {
        let mut timeline = Timeline::new(Instant::now());
        let looks = u32::try_from(SECONDS_MAX).unwrap() * 5 + 3;
        for at in 1..=looks {
            let server = ServerSecond { packets_per_second: Some(200.0), ..ServerSecond::default() };
            timeline.keep(&Second {
                at_s: f64::from(at),
                seconds: 1.0,
                joined: 2,
                packets: 100,
                freezes: u64::from(at.is_multiple_of(1_000)),
                longest_gap_ms: if at == 9_999 { 1_400.0 } else { 20.0 },
                server: Some(server),
                ..Second::default()
            });
        }
        let seconds = timeline.take();
        assert!((SECONDS_MAX / 2..=SECONDS_MAX).contains(&seconds.len()), "{}", seconds.len());
        let sum = |pick: fn(&Second) -> u64| seconds.iter().map(pick).sum::<u64>();
        assert_eq!(sum(|second| second.joined), u64::from(looks) * 2);
        assert_eq!(sum(|second| second.packets), u64::from(looks) * 100);
        assert_eq!(sum(|second| second.freezes), 36);
        let length: f64 = seconds.iter().map(|second| second.seconds).sum();
        assert_eq!((length, seconds.last().unwrap().at_s), (f64::from(looks), f64::from(looks)));
        assert_eq!(seconds.iter().filter(|second| second.longest_gap_ms > 1_000.0).count(), 1);
        let told = seconds.iter().filter_map(|second| second.server?.packets_per_second);
        assert!(told.clone().count() == seconds.len() && told.clone().all(|packets| packets == 200.0));
    }
}
