//! The way back: whether who sends from an address is there.
//!
//! A check of ICE proves that its sender knows the answer's password, not that the address which it comes from is theirs.
//! A full agent would find out by a check of its own (RFC 8445 section 7.3.1.4); a lite one sends none. Here nothing but such
//! a check goes to an address before its client has answered one from there, unless a session begins at the host that its
//! offer came from by TCP, which no forged address brings about. A check goes for a check that came, and is never longer.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::Rng;
use str0m::Input;
use str0m::net::{Protocol, Receive};

use super::machine::Sfu;
use super::types::Datagram;
use crate::forward::train::Way;
use crate::peer::contain::contained;
use crate::peer::sdp;
use crate::peer::stun::{self, Id};

/// Addresses of one session that are asked at once; the oldest makes way.
const ASKED_MAX: usize = 8;
/// Addresses of one session that have answered; the oldest is asked again.
const PROVEN_MAX: usize = 16;
/// The longest check that is kept until its address has answered. Browsers' have 140 bytes at most.
const CHECK_MAX: usize = 512;

/// What a session knows of the ways back to its client.
pub(super) struct WayBack {
    /// The host that the offer came from.
    client: Option<IpAddr>,
    proven: Vec<SocketAddr>,
    asked: Vec<Asked>,
}

struct Asked {
    way: Way,
    id: Id,
    /// What came from there, for when it has answered.
    check: Box<[u8]>,
}

impl WayBack {
    pub fn new(client: Option<IpAddr>) -> Self {
        let client = client.map(|client| client.to_canonical());
        Self { client, proven: Vec::new(), asked: Vec::new() }
    }

    /// The client is there. The host that the offer came from is taken for it while the session begins, and no longer: it
    /// may be a proxy of the client's, to which nobody is to have a stream moved.
    pub fn leads_to(&mut self, peer: SocketAddr, begins: bool) -> bool {
        if self.proven.contains(&peer) {
            return true;
        }
        let known = begins && self.client == Some(peer.ip().to_canonical());
        if known {
            self.note(peer);
        }
        known
    }

    /// ICE begins anew: what came under the old password is void.
    pub fn forget_checks(&mut self) {
        self.asked.clear();
    }

    /// Keeps a check, the newest of its address. The same request goes for all of them, so that any answer will do.
    fn keep(&mut self, way: Way, check: &[u8], id: Id) -> Id {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.way.peer == way.peer) {
            (asked.way, asked.check) = (way, check.into());
            return asked.id;
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.remove(0);
        }
        self.asked.push(Asked { way, id, check: check.into() });
        id
    }

    fn find(&self, peer: SocketAddr, id: Id) -> Option<usize> {
        self.asked.iter().position(|asked| asked.way.peer == peer && asked.id == id)
    }

    /// Somebody answered from there. Returns the check that had come.
    fn prove(&mut self, asked: usize) -> (Way, Box<[u8]>) {
        let Asked { way, check, .. } = self.asked.remove(asked);
        self.note(way.peer);
        (way, check)
    }

    fn note(&mut self, peer: SocketAddr) {
        if self.proven.len() >= PROVEN_MAX {
            self.proven.remove(0);
        }
        self.proven.push(peer);
    }
}

impl Sfu {
    /// A check came from an address that has proven nothing: it is kept, and answered with one of ours.
    pub(super) fn ask_back(&mut self, now: Instant, at: usize, way: Way, check: &[u8]) {
        let Some(local) = self.config.common.book.candidate(way.local) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let accepted = contained(|| {
            let contents = check.try_into().ok()?;
            let receive = Receive { proto: Protocol::Udp, source: way.peer, destination: local, contents };
            Some(session.rtc.accepts(&Input::Receive(now, receive)))
        });
        if accepted.flatten() != Some(true) || check.len() > CHECK_MAX {
            self.counters.bad_datagrams = self.counters.bad_datagrams.saturating_add(1);
            return;
        }
        let Some((user, pwd)) = sdp::credentials(&session.offer) else { return };
        let user = format!("{user}:{}", session.ufrag);
        let hmac = self.config.common.provider.sha1_hmac_provider;
        // Whose session it is stands in the request's id, so that its answer is found; what cannot be guessed is the rest.
        let [a, b, c, d] = u32::try_from(at).unwrap_or(u32::MAX).to_be_bytes();
        let [e, f, g, h, i, j, k, l] = self.rng.random::<[u8; 8]>();
        let id = session.way_back.keep(way, check, [a, b, c, d, e, f, g, h, i, j, k, l]);
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        let Some(contents) = stun::check(&user, pwd, id, check.len(), &sign) else { return };
        self.counters.unproven_checks = self.counters.unproven_checks.saturating_add(1);
        self.datagrams.push_back(Datagram { to: way.peer, from: way.local, contents });
    }

    /// An answer came to a check of ours: what its client asked from there is taken in now.
    pub(super) fn came_back(&mut self, now: Instant, peer: SocketAddr, id: Id, answer: &[u8]) {
        let [a, b, c, d, ..] = id;
        let hmac = self.config.common.provider.sha1_hmac_provider;
        let sign = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
        let at = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let asked = self.sessions.get_mut(at).and_then(|session| {
            let asked = session.way_back.find(peer, id)?;
            let (_, pwd) = sdp::credentials(&session.offer)?;
            stun::is_authentic(answer, pwd, &sign).then(|| session.way_back.prove(asked))
        });
        match asked {
            Some((way, check)) => self.handle_datagram(now, way, &check),
            None => self.counters.unknown_datagrams = self.counters.unknown_datagrams.saturating_add(1),
        }
    }
}
