//! What str0m still has to say when a packet has been taken from it.
//!
//! A datagram of RTP holds one packet at most, and str0m hands it out when it is polled next. Polling on until it has
//! nothing more makes it look through all of its parts and compute its next timer, which costs an eighth of taking the
//! packet in; a publisher's frame comes as many packets at one moment. So a session that has handed out its packet is left
//! there, and goes on with its next datagram, or is drained at the end of the turn: str0m allows what is done between two
//! of its outputs, and asks for all of them before time passes. Whatever else polls the session drains it too.

use std::time::Instant;

use super::machine::Sfu;

impl Sfu {
    /// A session has handed out its packet, and is drained later in this turn.
    pub(super) fn rest_later(&mut self, now: Instant, at: usize) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        if !std::mem::replace(&mut session.undrained, true) {
            self.rest.sessions.push(at);
            self.rest.since.get_or_insert(now);
        }
    }

    /// Drains all that were left. Who was drained meanwhile, or ended, is passed over.
    pub(super) fn drain_rest(&mut self, now: Instant) {
        self.rest.since = None;
        let mut sessions = std::mem::take(&mut self.rest.sessions);
        for at in sessions.drain(..) {
            if self.sessions.get(at).is_some_and(|session| session.undrained) {
                self.poll(now, at);
            }
        }
        // Room that has been made is used again.
        self.rest.sessions = sessions;
    }
}
