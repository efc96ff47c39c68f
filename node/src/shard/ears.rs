//! Who listens to the sessions of a shard: event streams and the connections that read them.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use freshet_cluster::{Identity, SessionId};
use freshet_edge::sse::{Event, EventSender};

use crate::audience::{Audience, Kind};
use crate::service::SessionError;
use crate::sfu::Sfu;

/// How often it is looked who has gone, who has room again and what is due.
const LOOK: Duration = Duration::from_secs(1);

struct Ear {
    audience: Audience,
    /// Who reads which event stream.
    readers: HashMap<u32, EventSender>,
}

/// All listeners of a shard. A session is in here while it has event streams.
pub(super) struct Ears {
    sessions: HashMap<SessionId, Ear>,
    looked: Instant,
}

impl Ears {
    pub fn new(now: Instant) -> Self {
        Self { sessions: HashMap::new(), looked: now }
    }

    /// Connections that read event streams now.
    pub fn readers(&self) -> usize {
        self.sessions.values().map(|ear| ear.readers.len()).sum()
    }

    /// Event streams that there are.
    pub fn streams(&self) -> usize {
        self.sessions.values().map(|ear| ear.audience.len()).sum()
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
        let fresh = || Ear { audience: Audience::new(&viewing), readers: HashMap::new() };
        let ear = self.sessions.entry(session).or_insert_with(fresh);
        let stream = ear.audience.subscribe(now, wants);
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
        let ear = self.sessions.get_mut(&session).ok_or(SessionError::NoSuchStream)?;
        if !ear.audience.handle_opened(stream) {
            return Err(SessionError::NoSuchStream);
        }
        ear.readers.insert(stream, reader);
        ear.tell(now);
        Ok(())
    }

    /// Ends an event stream.
    pub fn unsubscribe(
        &mut self,
        machine: &mut Sfu,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        machine.look(session, who)?;
        let ear = self.sessions.get_mut(&session).ok_or(SessionError::NoSuchStream)?;
        if !ear.audience.unsubscribe(stream) {
            return Err(SessionError::NoSuchStream);
        }
        ear.readers.remove(&stream);
        if ear.audience.is_empty() {
            self.sessions.remove(&session);
            machine.listen(session, false);
        }
        Ok(())
    }

    /// What a session shows has changed.
    pub fn changed(&mut self, now: Instant, machine: &Sfu, session: SessionId) {
        let Some(ear) = self.sessions.get_mut(&session) else { return };
        if let Some(viewing) = machine.viewing(session) {
            ear.audience.handle_viewing(&viewing);
            ear.tell(now);
        }
    }

    /// A session is over, and with it its event streams: who reads one sees its end.
    pub fn ended(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Lets time pass.
    pub fn turn(&mut self, now: Instant, machine: &mut Sfu) {
        if self.sessions.is_empty() || now.saturating_duration_since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        self.sessions.retain(|session, ear| {
            ear.tell(now);
            ear.audience.handle_timeout(now);
            let stays = !ear.audience.is_empty();
            if !stays {
                machine.listen(*session, false);
            }
            stays
        });
    }
}

impl Ear {
    /// Tells every reader what is new to it, as far as there is room, and lets those go who have left.
    fn tell(&mut self, now: Instant) {
        let Self { audience, readers } = self;
        readers.retain(|stream, reader| {
            while !reader.is_closed() && reader.room() > 0 {
                let Some(said) = audience.poll(now, *stream) else { return true };
                // There is room and nobody else puts anything in: it fails only for who has just left.
                let _gone = reader.try_send(Event::text(said.kind.name(), None, &said.data));
            }
            let stays = !reader.is_closed();
            if !stays {
                audience.handle_closed(now, *stream);
            }
            stays
        });
    }
}
