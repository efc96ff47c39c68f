//! The address book of a shard: which of its candidates a local address is to clients.
//!
//! What clients are told and what a packet carries differ behind NAT, behind mapped ports and on machines with several
//! addresses. str0m drops STUN that was not sent to one of its candidates, so each packet's local address is looked up
//! here first. Answers leave from the local address, by the socket that covers it.

pub mod reach;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

/// An address that clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// What they call.
    pub ip: IpAddr,
    /// The port of the first shard, where it is not the socket's own; shard n has port + n.
    pub port: Option<u16>,
    /// The local address that their packets come to; none: the same, or any of its family.
    pub local: Option<IpAddr>,
}

impl From<IpAddr> for Advertised {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None, local: None }
    }
}

/// What a node is told of its media's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// What each shard binds to.
    pub binds: Vec<IpAddr>,
    /// The first shard's port; shard n has port + n, and 0 takes any.
    pub port: u16,
    /// What clients are told.
    pub advertised: Vec<Advertised>,
}

impl Addresses {
    /// One address, bound and advertised.
    pub fn one(ip: IpAddr, port: u16) -> Self {
        Self { binds: vec![ip], port, advertised: vec![ip.into()] }
    }

    /// What the sockets of a shard bind to.
    pub fn sockets(&self, shard: u16) -> Vec<SocketAddr> {
        let port = if self.port == 0 { 0 } else { self.port.saturating_add(shard) };
        self.binds.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }
}

/// Where in the list the address stands that packets to `local` come in by. `::` is for both families where no IPv4
/// address is bound beside it.
pub fn covering(bound: impl Iterator<Item = IpAddr> + Clone, local: IpAddr) -> Option<usize> {
    let any = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4();
    let mut all = bound.clone();
    let both = || local.is_ipv4() && !bound.clone().any(|ip| ip.is_ipv4());
    bound
        .clone()
        .position(|ip| ip == local)
        .or_else(|| bound.clone().position(any))
        .or_else(|| if both() { all.position(|ip| ip.is_unspecified()) } else { None })
}

/// The book.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    candidates: Vec<SocketAddr>,
    /// Local addresses, and what each is to clients.
    known: Vec<(IpAddr, SocketAddr)>,
    /// What other local addresses are, by family.
    v4: Option<SocketAddr>,
    v6: Option<SocketAddr>,
}

impl Book {
    /// The book of a shard whose sockets are bound to these addresses.
    pub fn new(shard: u16, bound: &[SocketAddr], advertised: &[Advertised]) -> Self {
        let mut book = Self::default();
        let ips = bound.iter().map(SocketAddr::ip);
        for Advertised { ip, port, local } in advertised {
            let local = local.unwrap_or(*ip);
            let family = || ips.clone().position(|ip| ip.is_ipv4() == local.is_ipv4());
            let socket = covering(ips.clone(), local).or_else(family).unwrap_or(0);
            let own = bound.get(socket).map_or(0, SocketAddr::port);
            let port = port.map_or(own, |port| port.saturating_add(shard));
            book.add(local, SocketAddr::new(*ip, port));
        }
        // A packet to none of them: what is advertised without a local address of its own stands for all others.
        let any = |v4: bool| {
            let of_family = |(_, candidate): &&(IpAddr, SocketAddr)| candidate.is_ipv4() == v4;
            let mut loose = advertised.iter().zip(&book.candidates).filter(|(said, _)| said.local.is_none());
            let candidate = loose.find(|(said, _)| said.ip.is_ipv4() == v4).map(|(_, candidate)| *candidate);
            candidate
                .or_else(|| book.known.iter().find(|(local, _)| local.is_ipv4() == v4).map(|(_, at)| *at))
                .or_else(|| book.known.iter().find(of_family).map(|(_, at)| *at))
                .or_else(|| book.candidates.first().copied())
        };
        let (v4, v6) = (any(true), any(false));
        Self { v4, v6, ..book }
    }

    /// Candidates that are local addresses themselves.
    pub fn plain(candidates: Vec<SocketAddr>) -> Self {
        let advertised: Vec<Advertised> = candidates.iter().map(|at| at.ip().into()).collect();
        Self::new(0, &candidates, &advertised)
    }

    fn add(&mut self, local: IpAddr, candidate: SocketAddr) {
        self.candidates.push(candidate);
        // The first that is said of a local address holds: all of them name the same socket.
        if !self.known.iter().any(|(known, _)| *known == local) {
            self.known.push((local, candidate));
        }
    }

    /// What clients are told, in order.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// What clients know the local address as that a packet came to; none where the system does not tell it.
    pub fn candidate(&self, local: Option<IpAddr>) -> Option<SocketAddr> {
        if let [only] = *self.candidates {
            return Some(only);
        }
        let Some(local) = local else { return self.candidates.first().copied() };
        let known = self.known.iter().find(|(known, _)| *known == local);
        known.map(|(_, candidate)| *candidate).or(if local.is_ipv4() { self.v4 } else { self.v6 })
    }

    /// Whether two local addresses are the same to clients.
    pub fn same(&self, one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
        one == other || self.candidate(one) == self.candidate(other)
    }
}
