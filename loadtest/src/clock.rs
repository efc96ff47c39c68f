//! One clock for stamps: microseconds since the Unix epoch that never jump.
//!
//! Publisher and viewer often run in different processes of one host, so a stamp must mean the same in both; and a step
//! of the wall clock in the middle of a run must not show as latency. So the wall clock is read once per process and the
//! monotonic clock counts from there.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::num;

fn anchor() -> (Instant, u64) {
    static ANCHOR: OnceLock<(Instant, u64)> = OnceLock::new();
    *ANCHOR.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        (Instant::now(), num::micros(wall))
    })
}

/// Microseconds since the Unix epoch of a wall clock that may be anybody's; 0 for one before it.
pub fn micros_of(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, num::micros)
}

/// What is added to this clock, so that it agrees with another host's.
static CORRECTION: AtomicI64 = AtomicI64::new(0);
/// By how much this clock pretends to be wrong.
static PRETENCE: AtomicI64 = AtomicI64::new(0);

/// Microseconds since the Unix epoch at `at`, by the clock that this process is set to.
pub fn unix_micros(at: Instant) -> u64 {
    own_micros(at).saturating_add_signed(CORRECTION.load(Ordering::Relaxed))
}

/// The same by this host's own clock.
pub fn own_micros(at: Instant) -> u64 {
    let (instant, wall) = anchor();
    let wall = wall.saturating_add_signed(PRETENCE.load(Ordering::Relaxed));
    match at.checked_duration_since(instant) {
        Some(after) => wall.saturating_add(num::micros(after)),
        None => wall.saturating_sub(num::micros(instant.saturating_duration_since(at))),
    }
}

/// When it is so many microseconds after the Unix epoch, by the clock that this process is set to. What this host
/// cannot express becomes now.
pub fn at_unix_micros(micros: u64) -> Instant {
    let now = Instant::now();
    let is = unix_micros(now);
    let at = match micros.checked_sub(is) {
        Some(ahead) => now.checked_add(Duration::from_micros(ahead)),
        None => now.checked_sub(Duration::from_micros(is.saturating_sub(micros))),
    };
    at.unwrap_or(now)
}

/// Sets this process's clock to another host's: so many microseconds are added to its own.
pub fn correct(micros: i64) {
    CORRECTION.store(micros, Ordering::Relaxed);
}

/// Makes this host's clock wrong by so many microseconds, to show that being corrected makes it right.
pub fn pretend(micros: i64) {
    PRETENCE.store(micros, Ordering::Relaxed);
}
