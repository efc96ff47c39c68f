//! What tasks and those who ask them share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever a panicking test thread did to the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
