//! Keeps a panic of the WebRTC library inside the session that caused it.
//!
//! str0m asserts some things about what servers send instead of refusing them (0.25: `assert_claim_once` in an answer whose
//! payload types contradict each other). A run has thousands of sessions; one that panics has failed, as a whole.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::rtc;

/// What is said of a session that was ended so: the same of each, however different what its server sent.
pub(super) const PANICKED: &str = "what the server sent broke the WebRTC library";

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Does something with a session; `None` when it panicked, and then the session must go.
pub(super) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        // A thousand viewers of one server would write a thousand times the same over the dashboard.
        set_hook(Box::new(move |panic| match WITHIN.try_with(Cell::get) {
            Ok(true) => tracing::info!(%panic, "a session is ended"),
            Ok(false) | Err(_) => usual(panic),
        }));
    });
    let outer = WITHIN.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    WITHIN.set(outer);
    if done.is_none() {
        // Keys that it left behind on this thread are not the next session's.
        drop(rtc::take_keys());
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_what_was_done_and_nothing_else() {
        assert_eq!(contained(|| 7), Some(7));
        assert_eq!(contained(|| contained(|| panic!("inner")).unwrap_or(8)), Some(8));
        assert_eq!(contained::<u8>(|| panic!("of the library")), None);
        assert!(!WITHIN.get(), "other panics of this thread are said as ever");
    }
}
