//! How long a viewer waits before it joins again: longer each time, and by chance, so that those who lost their sessions
//! together do not come back together.

use std::time::Duration;

use crate::scenario::Chance;

/// Longest pause before the first attempt.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause at all.
const MOST: Duration = Duration::from_secs(8);

/// Attempts at an endpoint that a server has named; then it is the user's own again.
const TOLD: u32 = 2;

/// Where a viewer goes that was told to.
pub(super) struct Told {
    url: Option<String>,
    left: u32,
}

impl Told {
    /// By an event, which may name an endpoint.
    pub fn by(url: Option<String>) -> Self {
        Self { url, left: TOLD }
    }

    /// Where the next attempt goes; `None`: to where the user pointed.
    pub fn next(&mut self) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        self.url.clone()
    }

    /// Nothing is to be expected there.
    pub fn forget(&mut self) {
        self.left = 0;
    }
}

/// One viewer at its place.
pub(super) struct Visit {
    /// The place's number.
    pub number: usize,
    /// The same among the viewers of all processes, as plans know it.
    pub seat: u32,
    /// What it watches.
    pub room: u32,
    /// How many sessions there were before.
    pub nth: u64,
    /// Somebody was connected there.
    pub seated: bool,
    pub backoff: Backoff,
}

/// Pauses between attempts.
pub(super) struct Backoff {
    chance: Chance,
    longest: Duration,
}

impl Backoff {
    pub fn new(chance: Chance) -> Self {
        Self { chance, longest: FIRST }
    }

    /// Somebody has lost its session.
    pub fn begin(&mut self) {
        self.longest = FIRST;
    }

    /// The next pause: evenly up to the longest, which doubles; from the second on it is half of that at least.
    pub fn next(&mut self) -> Duration {
        let first = self.longest == FIRST;
        let longest = self.longest;
        self.longest = longest.saturating_mul(2).min(MOST);
        let least = if first { Duration::ZERO } else { longest / 2 };
        least + (longest - least).mul_f64(self.chance.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_does_not_work_is_tried_twice() {
        let mut told = Told::by(Some("/x".to_owned()));
        let tries: Vec<_> = (0..4).map(|_| told.next()).collect();
        assert_eq!(tries, [Some("/x".to_owned()), Some("/x".to_owned()), None, None]);
        let mut told = Told::by(Some("/x".to_owned()));
        told.forget();
        assert_eq!((told.next(), Told::by(None).next()), (None, None));
    }

    #[test]
    fn pauses_grow_within_bounds_and_differ_between_viewers() {
        let pauses = |number| {
            let mut backoff = Backoff::new(Chance::of(3, number));
            (0..8).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let one = pauses(1);
        assert_eq!(one, pauses(1));
        assert_ne!(one, pauses(2));
        for (nth, pause) in one.iter().enumerate() {
            let longest = (FIRST * 2_u32.pow(u32::try_from(nth).unwrap())).min(MOST);
            let least = if nth == 0 { Duration::ZERO } else { longest / 2 };
            assert!((least..=longest).contains(pause), "{nth}: {pause:?}");
        }
        let mut again = Backoff::new(Chance::of(3, 1));
        assert!((0..5).map(|_| again.next()).max().unwrap() > FIRST);
        again.begin();
        assert!(again.next() <= FIRST);
    }
}
