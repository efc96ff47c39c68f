//! The wall clock, for shells. Machines are given the time.

use crate::unit::UnixMillis;

impl UnixMillis {
    /// Reads the system clock. For shells; machines are given the time.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
