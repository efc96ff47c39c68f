//! Keeps a panic of the WebRTC library inside the session that caused it.
//!
//! str0m asserts some things about what peers send instead of refusing them (0.25: `assert_claim_once` in an offer). A
//! shard holds thousands of sessions; one that panics is dropped as a whole, so nothing half-changed is seen again.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does something with a session; `None` when it panicked, and then the session must go.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
