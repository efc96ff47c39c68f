//! Who listens to the sessions of a shard: event streams and the connections that read them.

mod roll;
#[cfg(test)]
mod tests;

use std::time::Instant;

use freshet_cluster::{Identity, SessionId};
use freshet_edge::sse::EventSender;

use self::roll::Roll;
use crate::audience::Kind;
use crate::service::SessionError;
use crate::sfu::Sfu;

/// Sessions that one turn looks at: when all are due at once, packets do not wait for all of them.
const LOOKS: usize = 64;

/// All listeners of a shard.
#[derive(Default)]
pub(super) struct Ears {
    roll: Roll,
}

impl Ears {
    /// Connections that read event streams now.
    pub fn readers(&self) -> usize {
        self.roll.readers()
    }

    /// Event streams that there are.
    pub fn streams(&self) -> usize {
        self.roll.streams()
    }

    /// Makes an event stream.
    pub fn subscribe(
        &mut self,
        now: Instant,
        machine: &mut Sfu,
        session: SessionId,
        who: Option<&Identity>,
        wants: Vec<Kind>,
    ) -> Result<u32, SessionError> {
        machine.look(session, who)?;
        let viewing = machine.viewing(session).ok_or(SessionError::NotAViewer)?;
        let stream = self.roll.subscribe(now, session, &viewing, wants);
        machine.listen(session, true);
        stream.map_err(|_| SessionError::TooManyStreams)
    }

    /// Lets a connection read an event stream, instead of the one that did.
    pub fn read(
        &mut self,
        now: Instant,
        machine: &Sfu,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
        reader: EventSender,
    ) -> Result<(), SessionError> {
        machine.look(session, who)?;
        let is_there = self.roll.read(now, session, stream, reader);
        is_there.then_some(()).ok_or(SessionError::NoSuchStream)
    }

    /// Whether there is an event stream; whoever reads it goes on.
    pub fn has_stream(
        &mut self,
        now: Instant,
        machine: &Sfu,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        machine.look(session, who)?;
        self.roll.let_go(now);
        self.roll.has_stream(session, stream).then_some(()).ok_or(SessionError::NoSuchStream)
    }

    /// Ends an event stream.
    pub fn unsubscribe(
        &mut self,
        now: Instant,
        machine: &mut Sfu,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        machine.look(session, who)?;
        let was_there = self.roll.unsubscribe(now, session, stream);
        if was_there && !self.roll.has(session) {
            machine.listen(session, false);
        }
        was_there.then_some(()).ok_or(SessionError::NoSuchStream)
    }

    /// What a session shows has changed: its readers are told in one of the next turns how it is then.
    pub fn changed(&mut self, now: Instant, session: SessionId) {
        self.roll.changed(now, session);
    }

    /// A session is over, and with it its event streams: who reads one sees its end.
    pub fn ended(&mut self, session: SessionId) {
        self.roll.ended(session);
    }

    /// When [`Self::turn`] has something to do, but for connections that end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.roll.poll_timeout()
    }

    /// Lets those go who have left, and looks at sessions that are due.
    pub fn turn(&mut self, now: Instant, machine: &mut Sfu) {
        self.roll.let_go(now);
        for _ in 0..LOOKS {
            let Some(session) = self.roll.due(now) else { return };
            if !self.roll.look(now, session, || machine.viewing(session)) {
                machine.listen(session, false);
            }
        }
    }
}
