//! Asking addresses that have proven nothing: a check goes for a check that came, and is never longer.

use std::net::SocketAddr;
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

/// The longest check that is kept until its address has answered. Browsers' have 140 bytes at most.
const CHECK_MAX: usize = 512;

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
