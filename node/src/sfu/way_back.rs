//! The way back: whether who sends from an address is there.
//!
//! A check of ICE proves that its sender knows the answer's password, not that the address which it comes from is theirs.
//! A full agent would find out by a check of its own (RFC 8445 section 7.3.1.4); a lite one sends none. Here nothing but such
//! a check goes to an address before its client has answered one from there, unless a session begins at the host that its
//! offer came from by TCP, which no forged address brings about. [`ask_back`](super::ask_back) does the asking.

use std::net::{IpAddr, SocketAddr};

use crate::forward::train::Way;
use crate::peer::stun::Id;

/// Addresses of one session that are asked at once; the oldest makes way.
const ASKED_MAX: usize = 8;
/// Addresses of one session that have answered; the oldest is asked again.
const PROVEN_MAX: usize = 16;

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
    pub fn keep(&mut self, way: Way, check: &[u8], id: Id) -> Id {
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

    pub fn find(&self, peer: SocketAddr, id: Id) -> Option<usize> {
        self.asked.iter().position(|asked| asked.way.peer == peer && asked.id == id)
    }

    /// Somebody answered from there. Returns the check that had come.
    pub fn prove(&mut self, asked: usize) -> (Way, Box<[u8]>) {
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
