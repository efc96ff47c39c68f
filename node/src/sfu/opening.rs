//! Sessions that are half open: made by a POST, and not through with ICE and DTLS.
//!
//! Whoever may POST can leave many of them behind and keep them by STUN alone, so they are bounded in number and in time.

use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;

use super::machine::Sfu;
use super::session::Session;
use crate::session::CreateError;

impl Session {
    /// Why it is over now, if it is.
    pub fn overdue(&self, now: Instant, silence: Duration) -> Option<EndReason> {
        if now.saturating_duration_since(self.heard) >= silence {
            return Some(EndReason::IceTimeout);
        }
        self.open_by.is_some_and(|by| now >= by).then_some(EndReason::DtlsTimeout)
    }

    /// Its DTLS is done, or it is over: it is not counted any more.
    pub fn opened(&mut self, half_open: &mut usize) {
        if self.open_by.take().is_some() {
            *half_open = half_open.saturating_sub(1);
        }
    }
}

impl Sfu {
    /// Refuses while as many are half open as may be.
    pub(super) fn take_another(&self) -> Result<(), CreateError> {
        let limit = self.config.half_open;
        if self.half_open < limit { Ok(()) } else { Err(CreateError::HalfOpen { limit }) }
    }

    /// Sessions that have not done ICE and DTLS yet.
    pub fn half_open(&self) -> usize {
        self.half_open
    }
}
