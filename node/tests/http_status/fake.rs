//! A session service that does as it is told: the second line of an offer names what comes of it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity, RoomId, SessionId, StreamId};
use freshet_edge::roster::Filter;
use freshet_edge::sse::{self, EventSender, EventStream};
use freshet_edge::stream_health::StreamHealth;
use freshet_node::service::{
    Choice, CreateError, CreateSession, Created, Direction, Fragment, IfMatch, Kind, Listed, Patched,
    SessionError, SessionInfo, SessionService,
};

pub const ANSWER: &str = "v=0\r\no=answer\r\n";
pub const FRESH: &str = "a=ice-ufrag:newu\r\na=ice-pwd:newnewnewnewnewnewnewn\r\n";

#[derive(Debug, Clone)]
pub struct Held {
    pub owner: Identity,
    pub etag: String,
    pub direction: Direction,
}

#[derive(Default)]
pub struct Fake {
    pub sessions: Mutex<HashMap<SessionId, Held>>,
    pub asked: Mutex<Vec<CreateSession>>,
    pub patched: Mutex<Vec<(IfMatch, Fragment)>>,
    pub listening: Mutex<Vec<Vec<Kind>>>,
    /// Event streams go on while this holds their other ends; else each ends after its first event.
    pub going_on: Mutex<Option<Vec<EventSender>>>,
    pub dismissed: Mutex<Vec<(SessionId, EndReason)>>,
    pub chosen: Mutex<Vec<(Option<String>, Choice)>>,
}

impl Fake {
    pub fn last(&self) -> CreateSession {
        self.asked.lock().unwrap().last().expect("the service was asked").clone()
    }

    pub fn untouched(&self) -> bool {
        self.asked.lock().unwrap().is_empty()
    }

    fn all(&self) -> Vec<Listed> {
        let held = |held: &Held| freshet_node::session::Held {
            room: "r1".parse().unwrap(),
            identity: held.owner.clone(),
            direction: held.direction,
            stream: None,
            since: UnixMillis(7),
        };
        let sessions = self.sessions.lock().unwrap();
        sessions.iter().map(|(session, one)| Listed { session: *session, held: held(one) }).collect()
    }

    fn owned(&self, session: SessionId, who: Option<&Identity>) -> Result<Held, SessionError> {
        // A session that ended a moment ago leaves its reason: these ids stand for some.
        let reason = match session.bits() {
            1 => Some(EndReason::TakenOver),
            2 => Some(EndReason::IceTimeout),
            _ => None,
        };
        let held = self.sessions.lock().unwrap().get(&session).cloned();
        let held = held.ok_or(SessionError::NotFound { reason })?;
        if who.is_none_or(|who| *who == held.owner) { Ok(held) } else { Err(SessionError::NotYours) }
    }
}

#[async_trait]
impl SessionService for Fake {
    async fn create(&self, ask: CreateSession) -> Result<Created, CreateError> {
        self.asked.lock().unwrap().push(ask.clone());
        match ask.offer.lines().nth(1).unwrap_or_default() {
            "full" => return Err(CreateError::OverCapacity { limit: 7 }),
            "opening" => return Err(CreateError::HalfOpen { limit: 9 }),
            "busy" => return Err(CreateError::Busy { busy: 97, limit: 90 }),
            "draining" => return Err(CreateError::Draining),
            "lost" => return Err(CreateError::LeaseLost),
            "dismissed" => return Err(CreateError::Dismissed),
            "replaced" => return Err(CreateError::Replaced),
            "nobody" if !ask.wait => {
                return Err(CreateError::NoPublisher { retry_after: Duration::from_millis(2500) });
            }
            "live" if ask.only_if_absent => return Err(CreateError::StreamLive),
            "garbage" => return Err(CreateError::BadOffer("line 2".into())),
            "refused" => return Err(CreateError::Unprocessable("no ICE".into())),
            "codecs" => {
                let (offered, served) = (vec!["H265".into()], vec!["H264".into(), "VP8".into()]);
                return Err(CreateError::NoCommonCodec { offered, served });
            }
            "store" => return Err(CreateError::StoreAway),
            "broken" => return Err(CreateError::Internal),
            "panic" => panic!("as the offer asked"),
            "slow" => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => {}
        }
        let session = SessionId::from_bits(rand::random());
        let held = Held { owner: ask.identity, etag: "e1".into(), direction: ask.direction };
        self.sessions.lock().unwrap().insert(session, held);
        Ok(Created { session, answer: ANSWER.into(), etag: "e1".into() })
    }

    async fn look(&self, session: SessionId, who: Option<&Identity>) -> Result<SessionInfo, SessionError> {
        let held = self.owned(session, who)?;
        let unplayable = if held.owner.as_str() == "bob" { vec![(1, "VP9".to_owned())] } else { Vec::new() };
        let room = "r1".parse().unwrap();
        Ok(SessionInfo { direction: held.direction, room, etag: held.etag, unplayable })
    }

    async fn patch(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        if_match: IfMatch,
        fragment: Fragment,
    ) -> Result<Patched, SessionError> {
        let held = self.owned(session, who)?;
        match &if_match {
            IfMatch::Tag(tag) if *tag != held.etag => {
                return Err(SessionError::TagMismatch { current: held.etag });
            }
            _ => {}
        }
        if fragment.ufrag.as_deref() == Some("unfit") {
            return Err(SessionError::Unprocessable("unknown ufrag".into()));
        }
        self.patched.lock().unwrap().push((if_match.clone(), fragment));
        if if_match == IfMatch::Any {
            let etag = "e2".to_owned();
            self.sessions.lock().unwrap().get_mut(&session).unwrap().etag.clone_from(&etag);
            return Ok(Patched::Restarted { fragment: FRESH.into(), etag });
        }
        Ok(Patched::Trickled)
    }

    async fn subscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        wants: &[Kind],
    ) -> Result<u32, SessionError> {
        if self.owned(session, who)?.direction == Direction::Publish {
            return Err(SessionError::NotAViewer);
        }
        let mut listening = self.listening.lock().unwrap();
        if listening.len() >= 2 {
            return Err(SessionError::TooManyStreams);
        }
        listening.push(wants.to_vec());
        Ok(u32::try_from(listening.len()).unwrap())
    }

    async fn read(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<EventStream, SessionError> {
        self.owned(session, who)?;
        if stream == 0 || usize::try_from(stream).unwrap() > self.listening.lock().unwrap().len() {
            return Err(SessionError::NoSuchStream);
        }
        let (sender, events) = sse::channel(4, sse::KEEP_ALIVE);
        sender.try_send(sse::Event::text("active", None, "{}")).unwrap();
        if let Some(kept) = self.going_on.lock().unwrap().as_mut() {
            kept.push(sender);
        }
        Ok(events)
    }

    async fn has_stream(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        self.owned(session, who)?;
        let there = usize::try_from(stream).unwrap() <= self.listening.lock().unwrap().len() && stream > 0;
        there.then_some(()).ok_or(SessionError::NoSuchStream)
    }

    async fn unsubscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        _stream: u32,
    ) -> Result<(), SessionError> {
        self.owned(session, who)?;
        self.listening.lock().unwrap().pop().map(drop).ok_or(SessionError::NoSuchStream)
    }

    async fn choose_layer(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        media_id: Option<&str>,
        choice: Choice,
    ) -> Result<(), SessionError> {
        self.owned(session, who)?;
        if choice.rid.as_deref() == Some("none") {
            return Err(SessionError::NoSuchLayer("the track has h, l".into()));
        }
        self.chosen.lock().unwrap().push((media_id.map(str::to_owned), choice));
        Ok(())
    }

    fn list(&self, room: &RoomId, filter: &Filter) -> Vec<Listed> {
        let mut all = self.all();
        all.retain(|one| {
            let held = &one.held;
            held.room == *room && filter.takes(one.session, &held.identity, held.direction.as_str())
        });
        all.sort_by_key(|one| one.session);
        all.truncate(filter.limit + 1);
        all
    }

    fn find(&self, session: SessionId) -> Option<Listed> {
        self.all().into_iter().find(|one| one.session == session)
    }

    async fn dismiss(&self, session: SessionId, reason: EndReason) {
        self.sessions.lock().unwrap().remove(&session);
        self.dismissed.lock().unwrap().push((session, reason));
    }

    async fn health(&self, room: &RoomId, stream: &StreamId) -> Option<StreamHealth> {
        let (room, stream) = (room.clone(), stream.clone());
        let live = stream.as_str() == "live";
        let (tracks, warnings) = (Vec::new(), Vec::new());
        live.then_some(StreamHealth { room, stream, generation: Generation(7), live, tracks, warnings })
    }

    async fn end(&self, session: SessionId, who: Option<&Identity>) -> Result<(), SessionError> {
        self.owned(session, who)?;
        self.sessions.lock().unwrap().remove(&session);
        Ok(())
    }
}
