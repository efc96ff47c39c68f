//! Sessions: how they are made, found by a datagram, polled and ended.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Instant;

use freshet_cluster::room::EndReason;
use freshet_cluster::{Identity, SessionId};
use rand::Rng;
use rand::distr::Alphanumeric;
use str0m::net::{Protocol, Receive};
use str0m::{IceCreds, Input, Output, Rtc};

use super::ahead::GROUP;
use super::machine::Sfu;
use super::places::Half;
use super::session::{Role, Session, Timer};
use super::types::{Ask, Datagram, Event};
use super::way_back::WayBack;
use crate::forward::allowance::Allowance;
use crate::forward::train::Way;
use crate::peer::contain::contained;
use crate::peer::negotiate::Negotiated;
use crate::peer::publisher::Publisher;
use crate::peer::stun;
use crate::peer::viewer::Viewer;
use crate::session::{CreateError, Direction, SessionError, SessionInfo};

/// Addresses by which one session is found at most, once for each candidate that is called from them; older ones are
/// forgotten first.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Addresses from which one ICE session is checked at most: str0m remembers each until ICE restarts.
pub(super) const CHECKED_MAX: usize = 128;
/// Longest datagram of RTCP that is read: a path's longest packet. What is longer came in fragments or on loopback, and
/// holds thousands of messages.
const RTCP_MAX: usize = 1_500;
/// Outputs that one poll of a session may yield before others get their turn.
const POLL_MAX: usize = 256;

impl Sfu {
    fn credentials(&mut self) -> IceCreds {
        let mut text =
            |len: usize| (&mut self.rng).sample_iter(Alphanumeric).take(len).map(char::from).collect();
        let (tail, pass): (String, String) = (text(13), text(24));
        IceCreds { ufrag: format!("{:03x}{tail}", self.config.shard & 0xfff), pass }
    }

    /// Makes a session and answers its offer. Returns the answer and the ICE session's entity tag.
    pub fn create(&mut self, now: Instant, ask: Ask) -> Result<(String, String), CreateError> {
        let makes_way = self.take_another(now, &ask.whose)?;
        let creds = self.credentials();
        let ufrag = creds.ufrag.clone();
        let label: String = (&mut self.rng).sample_iter(Alphanumeric).take(16).map(char::from).collect();
        let Self { answers, config, rng, .. } = self;
        let Negotiated { rtc, answer, session, offer } =
            answers.accept(&config.common, ask.direction, &ask.offer, creds, (&label, rng), now)?;
        let mut rtc = rtc;
        let role = match ask.direction {
            Direction::Publish => Role::Publisher(Box::new(Publisher::new(&session))),
            Direction::View => {
                let (random, cap) = (self.rng.random(), self.config.viewer_cap);
                let (spares, rtc) = (&mut self.spares, &mut rtc);
                Role::Viewer(Box::new(Viewer::new(spares, rtc, &session, ask.pinned, label, random, cap)))
            }
        };
        if let Some(at) = makes_way {
            self.displace(now, at);
        }
        self.timers.serial = self.timers.serial.wrapping_add(1);
        let is_viewer = matches!(role, Role::Viewer(_));
        let at = self.sessions.insert(Session {
            id: ask.session,
            room: ask.room.clone(),
            identity: ask.identity,
            rtc,
            role,
            heard: now,
            serial: self.timers.serial,
            closing: None,
            addresses: Vec::new(),
            proven: None,
            way_back: WayBack::new(ask.client),
            ufrag: ufrag.clone(),
            offer,
            undrained: false,
            candidates: Vec::new(),
            checked: Vec::new(),
            restarts: Allowance::of_restarts(),
            open_by: Some(now.checked_add(self.config.opening).unwrap_or(now)),
            due: None,
            engine_due: now,
            wanted: now,
            asked: None,
        });
        let half = Half { at, since: now, whose: ask.whose };
        self.half_open.enter(self.timers.serial, half);
        self.by_id.insert(ask.session, at);
        self.by_ufrag.insert(ufrag.clone(), at);
        if is_viewer {
            self.rooms.entry(ask.room).or_default().viewers.insert(at);
            self.choose_program(now, at);
        }
        self.poll(now, at);
        self.relieve(now);
        Ok((answer, ufrag))
    }

    /// What is known of a session that belongs to `who`; without `who` its unguessable id is the credential.
    pub fn look(&self, id: SessionId, who: Option<&Identity>) -> Result<SessionInfo, SessionError> {
        let session = self.find(id, who)?;
        let (direction, unplayable) = match &session.role {
            Role::Publisher(_) => (Direction::Publish, Vec::new()),
            Role::Viewer(viewer) => (Direction::View, self.unplayable_lines(&session.room, viewer)),
        };
        Ok(SessionInfo { direction, room: session.room.clone(), etag: session.ufrag.clone(), unplayable })
    }

    pub(super) fn find(&self, id: SessionId, who: Option<&Identity>) -> Result<&Session, SessionError> {
        let at = self.find_at(id)?;
        let session = self.sessions.get(at).ok_or_else(|| self.missing(id))?;
        if session.closing.is_some() {
            return Err(SessionError::NotFound { reason: session.closing });
        }
        if who.is_none_or(|who| session.identity == *who) { Ok(session) } else { Err(SessionError::NotYours) }
    }

    /// Where a session stands.
    pub(super) fn find_at(&self, id: SessionId) -> Result<usize, SessionError> {
        self.by_id.get(&id).copied().ok_or_else(|| self.missing(id))
    }

    fn missing(&self, id: SessionId) -> SessionError {
        SessionError::NotFound { reason: self.ended.reason(id) }
    }

    /// Ends a session; its client is told by a DTLS close.
    pub fn end(&mut self, now: Instant, id: SessionId, reason: EndReason) -> bool {
        let Some(at) = self.by_id.get(&id).copied() else { return false };
        let Some(session) = self.sessions.get_mut(at) else { return false };
        session.closing = Some(reason);
        if session.rtc.close().is_err() {
            session.rtc.disconnect();
        }
        self.poll(now, at);
        self.remove(now, at, reason);
        true
    }

    /// Ends a session that belongs to `who`.
    pub fn end_by(
        &mut self,
        now: Instant,
        id: SessionId,
        who: Option<&Identity>,
    ) -> Result<(), SessionError> {
        self.find(id, who)?;
        self.end(now, id, EndReason::Closed);
        Ok(())
    }

    /// Ends every session.
    pub fn end_all(&mut self, now: Instant, reason: EndReason) {
        let ids: Vec<SessionId> = self.by_id.keys().copied().collect();
        for id in ids {
            self.end(now, id, reason);
        }
    }

    pub(super) fn remove(&mut self, now: Instant, at: usize, reason: EndReason) {
        if let Some(Session { role: Role::Viewer(_), .. }) = self.sessions.get(at) {
            self.detach_all(now, at);
        }
        let Some(mut session) = self.sessions.remove(at) else { return };
        session.opened(&mut self.half_open);
        self.by_id.remove(&session.id);
        self.by_ufrag.remove(&session.ufrag);
        for way in &session.addresses {
            if self.by_addr.get(&way.peer) == Some(at) {
                self.by_addr.remove(&way.peer);
            }
        }
        self.ended.note(now, session.id, reason);
        let mut published = None;
        match session.role {
            Role::Publisher(publisher) => {
                if let Some(key) = publisher.key {
                    self.local_down(now, &key, at);
                    published = Some(key);
                }
            }
            Role::Viewer(viewer) => {
                viewer.retire(&mut self.spares);
                if let Some(room) = self.rooms.get_mut(&session.room) {
                    room.viewers.remove(&at);
                    room.listeners.remove(&at);
                }
                self.drop_empty_room(&session.room);
            }
        }
        self.events.push_back(Event::Ended { session: session.id, room: session.room, published, reason });
    }

    /// A datagram came: find its session by address, or the first time by the STUN user name. What is answered goes
    /// the same way back.
    pub fn handle_datagram(&mut self, now: Instant, way: impl Into<Way>, contents: &[u8]) {
        // Before time passes for str0m, it has said all.
        if self.rest.since.is_some_and(|since| since != now) {
            self.drain_rest(now);
        }
        let way: Way = way.into();
        let from = way.peer;
        let known = self.whose(from);
        let check = stun::is_stun(contents);
        if let (true, Some(id)) = (check, stun::answered(contents)) {
            return self.came_back(now, from, id, contents);
        }
        let named = if check { stun::local_ufrag(contents).and_then(|u| self.by_ufrag.get(u)) } else { None };
        // A named session wins over an address: an address is used again by another client's socket.
        let Some(at) = named.or(known) else {
            self.counters.unknown_datagrams = self.counters.unknown_datagrams.saturating_add(1);
            return;
        };
        let Some(local) = self.config.common.book.candidate(way.local) else {
            // It came to an address that is none of ours.
            self.counters.unknown_datagrams = self.counters.unknown_datagrams.saturating_add(1);
            return;
        };
        let Some(session) = self.sessions.get_mut(at) else { return };
        if check && session.checked.len() >= CHECKED_MAX && !session.checked.contains(&from) {
            self.counters.refused_checks = self.counters.refused_checks.saturating_add(1);
            return;
        }
        if check && !session.way_back.leads_to(from, session.open_by.is_some()) {
            return self.ask_back(now, at, way, contents);
        }
        let rtcp = is_rtcp(contents);
        if rtcp && contents.len() > RTCP_MAX {
            self.counters.rejected_rtcp = self.counters.rejected_rtcp.saturating_add(1);
            return;
        }
        if let (true, Role::Viewer(viewer)) = (rtcp, &mut session.role) {
            if viewer.allowed.messages.is_open(now) {
                return self.viewer_rtcp(now, at, way, contents);
            }
            self.counters.limited_rtcp = self.counters.limited_rtcp.saturating_add(1);
            return;
        }
        if let (true, Role::Publisher(publisher)) = (rtcp, &mut session.role)
            && !publisher.reports.is_open(now)
        {
            self.counters.limited_rtcp = self.counters.limited_rtcp.saturating_add(1);
            return;
        }
        let opened = (self.config.common.opened)();
        // Read and taken in at one place: what is read is large, and would be moved from each to the next.
        let heard = contained(|| {
            let contents = contents.try_into().ok()?;
            let receive = Receive { proto: Protocol::Udp, source: from, destination: local, contents };
            let input = Input::Receive(now, receive);
            if session.rtc.accepts(&input) { Some(session.rtc.handle_input(input).is_ok()) } else { None }
        });
        let fine = match heard {
            Some(Some(fine)) => fine,
            Some(None) => {
                self.counters.bad_datagrams = self.counters.bad_datagrams.saturating_add(1);
                return;
            }
            None => {
                session.rtc.disconnect();
                false
            }
        };
        // Anybody may send from a client's address: what it has signed is heard. A check is signed where str0m answers it.
        let authentic = (self.config.common.opened)() != opened;
        if authentic {
            session.heard = now;
            if let (true, Role::Publisher(publisher)) = (rtcp, &mut session.role) {
                publisher.reports.charge(now, contents.len());
            }
        }
        if fine && rtcp && !authentic {
            self.counters.rejected_rtcp = self.counters.rejected_rtcp.saturating_add(1);
        }
        // An RTP packet that a publisher's session takes in is opened, and viewers have none to send.
        let wanted = matches!(session.role, Role::Publisher(_)) && authentic;
        if fine && !wanted && is_rtp(contents) {
            self.counters.rejected_rtp = self.counters.rejected_rtp.saturating_add(1);
        }
        if wanted {
            session.proven = Some(way);
        }
        if wanted && let Role::Publisher(publisher) = &session.role {
            let strange = u64::from(publisher.unknown_extensions(contents));
            self.counters.unknown_extensions = self.counters.unknown_extensions.saturating_add(strange);
        }
        let signed = check && self.is_signed(at, way, contents);
        self.learn(at, way, signed);
        if fine {
            self.poll_for(now, at, wanted && !rtcp);
        } else {
            self.counters.bad_datagrams = self.counters.bad_datagrams.saturating_add(1);
            self.finish_if_dead(now, at);
        }
    }

    /// Whether a check that came by a way which is not known was made by the session's client. By one that is known it
    /// changes nothing, and str0m looks.
    fn is_signed(&mut self, at: usize, way: Way, check: &[u8]) -> bool {
        let hmac = self.config.common.provider.sha1_hmac_provider;
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        self.sessions.get_mut(at).is_some_and(|session| {
            session.addresses.contains(&way)
                || stun::is_authentic(check, &session.rtc.direct_api().local_ice_credentials().pass, &sign)
        })
    }

    /// Whether a session has this address.
    pub fn knows(&self, addr: SocketAddr) -> bool {
        self.by_addr.get(&addr).is_some()
    }

    /// The session that has this address. Datagrams come in runs from one client, so the last one's is looked at
    /// first: an address stands in `by_addr` exactly when its session has it.
    fn whose(&mut self, addr: SocketAddr) -> Option<usize> {
        let last = self.sessions.get(self.last_heard);
        if last.is_some_and(|session| session.addresses.iter().any(|way| way.peer == addr)) {
            return Some(self.last_heard);
        }
        let at = self.by_addr.get(&addr)?;
        self.last_heard = at;
        Some(at)
    }

    /// Notes where a session's client is. Of an address that is known only what is authentic tells that it calls
    /// another of ours now.
    fn learn(&mut self, at: usize, way: Way, authentic: bool) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        if authentic && !session.checked.contains(&way.peer) {
            session.checked.push(way.peer);
        }
        let book = &self.config.common.book;
        let same = |known: &&mut Way| known.peer == way.peer && book.same(known.local, way.local);
        if let Some(known) = session.addresses.iter_mut().find(same) {
            if authentic && *known != way {
                *known = way;
                if let Role::Viewer(viewer) = &mut session.role
                    && viewer.to.is_some_and(|to| book.same(to.local, way.local))
                {
                    viewer.moved(way);
                }
            }
            return;
        }
        if session.addresses.len() >= ADDRESSES_MAX {
            let old = session.addresses.remove(0);
            if !session.addresses.iter().any(|known| known.peer == old.peer) {
                self.by_addr.remove(&old.peer);
            }
        }
        session.addresses.push(way);
        if let Some(other) = self.by_addr.insert(way.peer, at)
            && other != at
            && let Some(other) = self.sessions.get_mut(other)
        {
            other.addresses.retain(|known| known.peer != way.peer);
        }
    }

    /// Drains str0m and sets the session's next timer.
    pub(super) fn poll(&mut self, now: Instant, at: usize) {
        self.poll_for(now, at, false);
    }

    /// The same; with `packet`, the rest is left for later once a packet has come out.
    fn poll_for(&mut self, now: Instant, at: usize, packet: bool) {
        for _ in 0..POLL_MAX {
            let Some(session) = self.sessions.get_mut(at) else { return };
            // An output is large, so it is put here and not handed through; every other one is a time and small.
            let (mut output, mut next) = (None, None);
            contained(|| match session.rtc.poll_output() {
                Ok(Output::Timeout(due)) => next = Some(due),
                other => output = Some(other),
            });
            if let Some(keys) = (self.config.common.take_keys)() {
                session.opened(&mut self.half_open);
                session.heard = now;
                if let Role::Viewer(viewer) = &mut session.role {
                    viewer.keyed(keys);
                }
            }
            if let Some(due) = next {
                session.undrained = false;
                session.engine_due = due;
                self.settle(at, due);
                self.finish_if_dead(now, at);
                return;
            }
            match output {
                Some(Ok(Output::Transmit(transmit))) => {
                    let (from, to, stun) =
                        (transmit.source, transmit.destination, stun::is_stun(&transmit.contents));
                    if stun && stun::answered(&transmit.contents).is_some() {
                        session.heard = now;
                    }
                    let way = session.way(&self.config.common.book, from, to, stun);
                    if let Role::Viewer(viewer) = &mut session.role
                        && viewer.note_transmit(way, &transmit.contents)
                    {
                        self.counters.str0m_viewer_rtp = self.counters.str0m_viewer_rtp.saturating_add(1);
                    }
                    let contents = transmit.contents.to_vec();
                    self.datagrams.push_back(Datagram { to: way.peer, from: way.local, contents });
                }
                Some(Ok(Output::Event(ref event))) => {
                    self.str0m_event(now, at, event);
                    if packet && matches!(event, str0m::Event::RtpPacket(_)) {
                        return self.rest_later(now, at);
                    }
                }
                failed => {
                    let error = failed.and_then(Result::err).map(|e| e.to_string());
                    tracing::debug!(session = session.id.short(), ?error, "session failed");
                    session.rtc.disconnect();
                    self.finish_if_dead(now, at);
                    return;
                }
            }
        }
        self.schedule(at, now);
    }

    fn str0m_event(&mut self, now: Instant, at: usize, event: &str0m::Event) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        match event {
            str0m::Event::Closed => {
                session.closing.get_or_insert(EndReason::DtlsClosed);
            }
            event => match session.role {
                Role::Publisher(_) => self.publisher_event(now, at, event),
                Role::Viewer(_) => self.viewer_event(now, at, event),
            },
        }
    }

    pub(super) fn finish_if_dead(&mut self, now: Instant, at: usize) {
        let Some(session) = self.sessions.get(at) else { return };
        if !session.rtc.is_alive() {
            let reason = session.closing.unwrap_or(EndReason::DtlsClosed);
            self.remove(now, at, reason);
        }
    }

    /// Asks for a session to be looked at.
    pub(super) fn schedule(&mut self, at: usize, due: Instant) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        session.asked = Some(session.asked.map_or(due, |asked| asked.min(due)));
        let wanted = session.wanted;
        self.settle(at, wanted);
    }

    /// Sets a session's timer by what str0m said last.
    fn settle(&mut self, at: usize, due: Instant) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let silent = session.heard.checked_add(self.config.silence).unwrap_or(due);
        let mut due = session.asked.map_or(due, |asked| asked.min(due)).min(silent);
        let own = match &session.role {
            Role::Publisher(publisher) => publisher.due(),
            Role::Viewer(viewer) => viewer.report_due,
        };
        due = [own, session.open_by].into_iter().flatten().fold(due, Instant::min);
        session.wanted = due;
        if session.due.is_none_or(|d| due < d) {
            session.due = Some(due);
            self.timers.heap.push(Reverse((due, at, session.serial)));
        }
    }

    /// When [`Sfu::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.timers.heap.peek().map(|Reverse((due, ..))| *due);
        let gates = self.timers.gates.peek().map(|Reverse((due, _))| *due);
        let hushes = self.timers.hushes.peek().map(|Reverse((due, _))| *due);
        [self.rest.since, sessions, gates, hushes, self.relief_due(), self.flush_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.drain_rest(now);
        let mut due = std::mem::take(&mut self.timers.due);
        loop {
            self.timers.take_due(now, &mut due);
            if due.is_empty() {
                break;
            }
            for group in due.chunks(GROUP) {
                self.look_ahead_to_reports(group.iter().map(|(_, at, _)| *at));
                for timer in group {
                    self.session_timeout(now, *timer);
                }
            }
            due.clear();
        }
        self.timers.due = due;
        self.relieve(now);
        self.gates_timeout(now);
        self.hush_timeout(now);
    }

    fn session_timeout(&mut self, now: Instant, (due, at, serial): Timer) {
        let Some(session) = self.sessions.get_mut(at).filter(|s| s.serial == serial) else { return };
        if session.due != Some(due) {
            return;
        }
        session.due = None;
        // Every packet that comes moves what was due: the timer is moved once, here, and not each time.
        let wanted = session.wanted;
        if wanted > now {
            return self.settle(at, wanted);
        }
        let asked = session.asked.take().is_some();
        if let Some(reason) = session.overdue(now, self.config.silence) {
            let (id, room, reason_word) = (session.id, session.room.as_str(), reason.as_str());
            tracing::info!(session = id.short(), room, reason = reason_word, "session ends");
            self.end(now, id, reason);
            return;
        }
        let engine_due = session.engine_due;
        let viewer = matches!(session.role, Role::Viewer(_));
        if viewer && engine_due > now && !asked && !session.undrained {
            // Its reports are not str0m's, which would look through all of its parts to find that nothing is due.
            self.viewer_tick(now, at);
            return self.settle(at, engine_due);
        }
        if !input_taken(&mut session.rtc, Input::Timeout(now)) {
            session.rtc.disconnect();
        }
        self.viewer_tick(now, at);
        self.publisher_tick(now, at);
        self.poll(now, at);
    }
}

/// Gives a session an input; false for one that it refuses. One that panics is over.
fn input_taken(rtc: &mut Rtc, input: Input<'_>) -> bool {
    match contained(|| rtc.handle_input(input)) {
        Some(taken) => taken.is_ok(),
        None => {
            rtc.disconnect();
            false
        }
    }
}

/// Shaped like RTP and not like RTCP (RFC 7983 section 7, RFC 5761 section 4).
fn is_rtp(contents: &[u8]) -> bool {
    matches!(contents, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// Shaped like RTCP (RFC 5761 section 4).
fn is_rtcp(contents: &[u8]) -> bool {
    matches!(contents, [128..=191, 192..=223, ..])
}
