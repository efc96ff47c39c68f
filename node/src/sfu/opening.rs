//! Sessions that are half open: made by a POST, and not through with ICE and DTLS.
//!
//! Whoever may POST can leave many of them behind and keep them by STUN alone, so they are bounded in number and in time, and
//! one client's make way for others' ([`places`](super::places)).

use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;

use super::machine::Sfu;
use super::places::Places;
use super::session::Session;
use crate::session::{CreateError, Whose};

impl Session {
    /// Why it is over now, if it is.
    pub fn overdue(&self, now: Instant, silence: Duration) -> Option<EndReason> {
        if now.saturating_duration_since(self.heard) >= silence {
            return Some(EndReason::IceTimeout);
        }
        self.open_by.is_some_and(|by| now >= by).then_some(EndReason::DtlsTimeout)
    }

    /// Its DTLS is done, or it is over: it is not counted any more.
    pub fn opened(&mut self, half_open: &mut Places) {
        if self.open_by.take().is_some() {
            half_open.leave(self.serial);
        }
    }
}

impl Sfu {
    /// Which session makes way for another one of this client, if one must; refuses where none does.
    pub(super) fn take_another(&mut self, now: Instant, whose: &Whose) -> Result<Option<usize>, CreateError> {
        let limit = self.half_open.limit();
        self.half_open.way_for(now, whose).map_err(|()| CreateError::HalfOpen { limit })
    }

    /// Ends a session that makes way.
    pub(super) fn displace(&mut self, now: Instant, at: usize) {
        let Some(session) = self.sessions.get(at) else { return };
        let (id, room) = (session.id, session.room.as_str());
        tracing::debug!(session = id.short(), room, "a session that is half open makes way");
        self.counters.displaced_sessions = self.counters.displaced_sessions.saturating_add(1);
        self.end(now, id, EndReason::DtlsTimeout);
    }

    /// Ends what clients hold too much of.
    pub(super) fn relieve(&mut self, now: Instant) {
        while let Some(at) = self.half_open.surplus(now, self.free()) {
            self.displace(now, at);
        }
    }

    pub(super) fn relief_due(&self) -> Option<Instant> {
        self.half_open.due(self.free())
    }

    /// Places that those do not have who are through.
    fn free(&self) -> usize {
        let whole = self.sessions.len().saturating_sub(self.half_open.len());
        self.config.places.saturating_sub(whole)
    }

    /// Sessions that have not done ICE and DTLS yet.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }
}
