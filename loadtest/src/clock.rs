//! One clock for stamps: microseconds since the Unix epoch that never jump.
//!
//! Publisher and viewer often run in different processes of one host, so a stamp must mean the same in both; and a step
//! of the wall clock in the middle of a run must not show as latency. So the wall clock is read once per process and the
//! monotonic clock counts from there.

use std::sync::OnceLock;
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

/// Microseconds since the Unix epoch at `at`.
pub fn unix_micros(at: Instant) -> u64 {
    let (instant, wall) = anchor();
    match at.checked_duration_since(instant) {
        Some(after) => wall.saturating_add(num::micros(after)),
        None => wall.saturating_sub(num::micros(instant.saturating_duration_since(at))),
    }
}
