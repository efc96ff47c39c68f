//! Event streams and their readers by session, and which session is to be looked at when.
//!
//! Whatever happens touches the one session that it happens to: what is counted is counted on, who is due stands in
//! order of time, once each, and a connection that ends says so itself. Nothing goes over all of them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use freshet_cluster::SessionId;
use freshet_edge::sse::{Event, EventSender};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use crate::audience::{Audience, Kind, TooMany};
use crate::session::Viewing;

/// One who has no room for what there is to say is looked at again after this.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// The connection that reads an event stream.
struct Reader {
    events: EventSender,
    /// Names this connection among all that there were.
    nth: u64,
    /// Nobody waits for the connection's end any more.
    over: AbortHandle,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.over.abort();
    }
}

struct Ear {
    audience: Audience,
    /// Who reads which event stream.
    readers: HashMap<u32, Reader>,
    /// Since when what the session shows may have changed.
    stale: Option<Instant>,
    /// A reader has no room: when it is looked whether it has.
    full: Option<Instant>,
    /// For when it stands among those who are due.
    due: Option<Instant>,
}

/// A connection has ended: which, by the event stream that it read.
struct Gone {
    session: SessionId,
    stream: u32,
    nth: u64,
}

/// All event streams of a shard. A session is in here while it has some.
#[derive(Default)]
pub(super) struct Roll {
    sessions: HashMap<SessionId, Ear>,
    /// When which session is to be looked at, each once at most.
    due: BTreeSet<(Instant, SessionId)>,
    /// The ends of connections; only those that have ended are looked at.
    ends: FuturesUnordered<Abortable<BoxFuture<'static, Gone>>>,
    nth: u64,
    streams: usize,
    readers: usize,
    /// Sessions that have been looked at since there is this.
    #[cfg(test)]
    pub looked: u64,
}

impl Roll {
    /// Connections that read event streams now.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// Event streams that there are.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Makes an event stream of a session that shows this.
    pub fn subscribe(
        &mut self,
        now: Instant,
        session: SessionId,
        viewing: &Viewing,
        wants: Vec<Kind>,
    ) -> Result<u32, TooMany> {
        self.sessions.entry(session).or_insert_with(|| Ear::new(viewing));
        self.change(session, |ear| ear.audience.subscribe(now, wants)).unwrap_or(Err(TooMany))
    }

    /// Lets a connection read an event stream, instead of the one that did; says whether the event stream is there.
    pub fn read(&mut self, now: Instant, session: SessionId, stream: u32, events: EventSender) -> bool {
        self.nth = self.nth.wrapping_add(1);
        let (nth, connection) = (self.nth, events.clone());
        let (over, until_over) = AbortHandle::new_pair();
        let is_there = self.change(session, |ear| {
            let is_there = ear.audience.handle_opened(stream);
            if is_there {
                ear.readers.insert(stream, Reader { events, nth, over });
                ear.tell(now);
            }
            is_there
        });
        let is_there = is_there == Some(true);
        if is_there {
            let end = async move {
                connection.closed().await;
                Gone { session, stream, nth }
            };
            self.ends.push(Abortable::new(end.boxed(), until_over));
        }
        self.let_go(now);
        is_there
    }

    /// Whether a session has this event stream.
    pub fn has_stream(&self, session: SessionId, stream: u32) -> bool {
        self.sessions.get(&session).is_some_and(|ear| ear.audience.has(stream))
    }

    /// Ends an event stream; says whether it was there.
    pub fn unsubscribe(&mut self, now: Instant, session: SessionId, stream: u32) -> bool {
        let was_there = self.change(session, |ear| {
            ear.readers.remove(&stream);
            ear.audience.unsubscribe(stream)
        });
        self.let_go(now);
        was_there == Some(true)
    }

    /// Whether a session has event streams.
    pub fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// What a session shows may have changed: it is due. However often that is said before it is looked at, it is
    /// looked at once.
    pub fn changed(&mut self, now: Instant, session: SessionId) {
        self.change(session, |ear| *ear.stale.get_or_insert(now));
    }

    /// A session is over, and with it its event streams: who reads one sees its end.
    pub fn ended(&mut self, session: SessionId) {
        self.change(session, |ear| {
            ear.readers.clear();
            ear.audience.clear();
        });
    }

    /// Lets those go whose connections have ended.
    pub fn let_go(&mut self, now: Instant) {
        while let Some(Some(end)) = self.ends.next().now_or_never() {
            // Of one that has been replaced, or whose event stream is no more, there is nothing left to let go.
            let Ok(Gone { session, stream, nth }) = end else { continue };
            self.change(session, |ear| {
                if ear.readers.get(&stream).is_some_and(|reader| reader.nth == nth) {
                    ear.readers.remove(&stream);
                    ear.audience.handle_closed(now, stream);
                }
            });
        }
    }

    /// When the first session is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The session that has been due for longest.
    pub fn due(&self, now: Instant) -> Option<SessionId> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, session)| *session)
    }

    /// Looks at a session that is due; `viewing` is what it shows, asked for where that may have changed. Says whether
    /// it still has event streams.
    pub fn look(
        &mut self,
        now: Instant,
        session: SessionId,
        viewing: impl FnOnce() -> Option<Viewing>,
    ) -> bool {
        self.change(session, |ear| {
            if ear.stale.take().is_some()
                && let Some(viewing) = viewing()
            {
                ear.audience.handle_viewing(&viewing);
            }
            ear.tell(now);
            ear.audience.handle_timeout(now);
        });
        self.has(session)
    }

    /// The one way to a session's event streams: what there is of them stays counted, when it is due stays noted, and
    /// of one that has none left nothing stays.
    fn change<T>(&mut self, session: SessionId, act: impl FnOnce(&mut Ear) -> T) -> Option<T> {
        let ear = self.sessions.get_mut(&session)?;
        #[cfg(test)]
        {
            self.looked += 1;
        }
        let before = (ear.audience.len(), ear.readers.len());
        let done = act(ear);
        let (streams, readers) = (ear.audience.len(), ear.readers.len());
        self.streams = self.streams.saturating_sub(before.0).saturating_add(streams);
        self.readers = self.readers.saturating_sub(before.1).saturating_add(readers);
        let due = ear.wanted().filter(|_| streams > 0);
        if due != ear.due {
            if let Some(old) = ear.due {
                self.due.remove(&(old, session));
            }
            self.due.extend(due.map(|due| (due, session)));
            ear.due = due;
        }
        if streams == 0 {
            self.sessions.remove(&session);
        }
        Some(done)
    }
}

impl Ear {
    fn new(viewing: &Viewing) -> Self {
        Self { audience: Audience::new(viewing), readers: HashMap::new(), stale: None, full: None, due: None }
    }

    /// When it wants to be looked at.
    fn wanted(&self) -> Option<Instant> {
        // What one without room is to be told is due all the time, so it is waited until there may be room.
        self.stale.or(self.full).or_else(|| self.audience.poll_timeout())
    }

    /// Tells every reader what is new to it, as far as there is room, and lets those go who have left.
    fn tell(&mut self, now: Instant) {
        let Self { audience, readers, full, .. } = self;
        *full = None;
        readers.retain(|stream, Reader { events, .. }| {
            while !events.is_closed() && events.room() > 0 {
                let Some(said) = audience.poll(now, *stream) else { return true };
                // There is room and nobody else puts anything in: it fails only for who has just left.
                let _gone = events.try_send(Event::text(said.kind.name(), None, &said.data));
            }
            let stays = !events.is_closed();
            if stays {
                *full = now.checked_add(LOOK);
            } else {
                audience.handle_closed(now, *stream);
            }
            stays
        });
    }
}
