//! Keyframes asked for by many, requested once.
//!
//! A keyframe costs the publisher a burst and every viewer some quality, so a thousand viewers that join or lose a
//! packet together must cost one. Every hop keeps one gate for each track and layer: requests go through at most once
//! in an interval, what comes in between is remembered as one, and a keyframe that arrives answers all of them.

use std::time::{Duration, Instant};

use super::ring::Ring;

/// Shortest time between two requests upstream.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// A request or its keyframe may be lost: without an answer it is sent again after this time.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Requests in a row that stay without an answer before the gate waits for a new one.
const MAX_UNANSWERED: u8 = 5;

/// Merges the requests for one layer of one track.
#[derive(Debug, Clone)]
pub struct KeyframeGate {
    min_interval: Duration,
    last_sent: Option<Instant>,
    /// A request came after the keyframe that answered the last one, and too soon to be sent.
    pending: bool,
    /// Requests sent since the last keyframe.
    unanswered: u8,
}

impl Default for KeyframeGate {
    fn default() -> Self {
        Self::new(MIN_INTERVAL)
    }
}

impl KeyframeGate {
    /// A gate that lets one request through in `min_interval`.
    pub fn new(min_interval: Duration) -> Self {
        Self { min_interval, last_sent: None, pending: false, unanswered: 0 }
    }

    /// Someone needs a keyframe. True: send one request upstream now.
    pub fn request(&mut self, now: Instant) -> bool {
        if self.last_sent.is_some_and(|sent| now < sent + self.min_interval) {
            // The keyframe that is on its way answers this one, too; were it lost, it is asked for again anyway.
            self.pending = self.unanswered == 0;
            return false;
        }
        self.unanswered = 0;
        self.send(now)
    }

    /// True: send one request upstream now, for what was remembered or stayed without an answer.
    pub fn poll(&mut self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|due| due <= now) && self.send(now)
    }

    /// When [`Self::poll`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sent = self.last_sent?;
        if self.pending {
            return Some(sent + self.min_interval);
        }
        let retry = self.unanswered > 0 && self.unanswered < MAX_UNANSWERED;
        retry.then(|| sent + RETRY_AFTER.max(self.min_interval))
    }

    /// A keyframe arrived: it answers every request made so far.
    pub fn keyframe_seen(&mut self, _now: Instant) {
        self.pending = false;
        self.unanswered = 0;
    }

    fn send(&mut self, now: Instant) -> bool {
        self.last_sent = Some(now);
        self.pending = false;
        self.unanswered = self.unanswered.saturating_add(1);
        true
    }
}

/// When a joiner is served from the ring's keyframe instead of waiting for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// Oldest keyframe that is served; it is the lag that the joiner starts with until it has caught up.
    pub max_age: Duration,
    /// Most bytes of catching up that a joiner is sent: of a stream of 16 Mbit/s, for which the ring has room, those of a
    /// second, so that all who join within a second cost two keyframes.
    pub max_bytes: usize,
}

impl Default for Fresh {
    fn default() -> Self {
        Self { max_age: Duration::from_millis(1_000), max_bytes: 2 << 20 }
    }
}

impl Fresh {
    /// The index to start from, when the ring's keyframe is young and near enough.
    ///
    /// Packets that are missing behind it stay gaps, which the viewer asks for as for any other.
    pub fn start(&self, ring: &Ring, now: Instant) -> Option<u64> {
        let (start, arrived) = ring.last_keyframe()?;
        let young = now.saturating_duration_since(arrived) <= self.max_age;
        let near = ring.bytes_since_keyframe() <= self.max_bytes;
        (young && near).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thousand_requests_in_a_second_cost_two() {
        let (mut gate, start) = (KeyframeGate::default(), Instant::now());
        let mut sent = 0;
        for ms in 0..1_000 {
            let now = start + MS * ms;
            sent += u32::from(gate.poll(now)) + u32::from(gate.request(now));
            if ms % 300 == 60 {
                gate.keyframe_seen(now);
            }
        }
        assert_eq!(sent, 2);
    }

    #[test]
    fn who_asks_within_a_second_costs_two_however_late_the_keyframe_comes() {
        for answers in [&[][..], &[999], &[50, 1_050], &[499, 999]] {
            let (mut gate, start) = (KeyframeGate::default(), Instant::now());
            let mut sent = 0;
            for ms in 0..1_500 {
                let now = start + MS * ms;
                // Every one of them in the first second; from then on only what is left of it.
                sent +=
                    u32::from(gate.poll(now)) + u32::from(ms < 1_000 && ms % 100 < 50 && gate.request(now));
                if answers.contains(&ms) {
                    gate.keyframe_seen(now);
                }
            }
            assert!(sent <= 2, "{sent} with keyframes at {answers:?} ms");
        }
    }

    #[test]
    fn a_request_inside_the_interval_waits_and_is_sent_once() {
        let (mut gate, start) = (KeyframeGate::default(), Instant::now());
        assert!(gate.request(start));
        gate.keyframe_seen(start + MS * 50);
        assert!(!gate.request(start + MS * 100));
        assert!(!gate.request(start + MS * 200));
        assert_eq!(gate.poll_timeout(), Some(start + MS * 500));
        assert!(!gate.poll(start + MS * 499));
        assert!(gate.poll(start + MS * 500));
        assert!(!gate.poll(start + MS * 501));
    }

    #[test]
    fn a_keyframe_after_the_request_answers_it() {
        let (mut gate, start) = (KeyframeGate::default(), Instant::now());
        assert!(gate.request(start));
        assert!(!gate.request(start + MS * 100));
        gate.keyframe_seen(start + MS * 150);
        assert_eq!(gate.poll_timeout(), None);
        assert!(!gate.poll(start + MS * 2_000));
        assert!(gate.request(start + MS * 2_000), "a later request is a new one");
    }

    #[test]
    fn a_lost_request_is_sent_again_but_not_for_ever() {
        let (mut gate, start) = (KeyframeGate::default(), Instant::now());
        assert!(gate.request(start));
        let mut sent = vec![0];
        for ms in 1..20_000 {
            if gate.poll(start + MS * ms) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 1_000, 2_000, 3_000, 4_000]);
        assert!(gate.request(start + MS * 20_000), "the next one who asks is heard");
        assert_eq!(gate.poll_timeout(), Some(start + MS * 21_000));
    }
}
