//! What str0m still has to say when a packet has been taken from it.
//!
//! A datagram of RTP holds one packet at most, and str0m hands it out when it is polled next. Polling on until it has
//! nothing more makes it look through all of its parts and compute its next timer, which costs an eighth of taking the
//! packet in; a publisher's frame comes as many packets at one moment. So a session that has handed out its packet is left
//! there, goes on with datagrams of the same moment, and is drained before those of another, at the end of the turn at the
//! latest. Whatever else polls the session drains it too.
//!
//! str0m's word is that a session is drained before each input. What it may not be is asked to take a packet while it
//! holds another that it has not handed out, which it has here; all else that it has to say waits in it, in order
//! (0.25: `Session::pending_packet`). `tests::rest` holds a session that is drained late against one that is drained at once.

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
