//! A shard's sockets: one for each address that it binds to, and for most nodes one alone.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;

use super::depart::{BUSY_PAUSE, Exit};
use crate::book::covering;
use crate::forward::train::Train;
use crate::socket::{RecvBatch, SendBatch, Sent, Socket, SocketOptions};

/// A shard did not start.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Unbound {
    /// The address that its socket should have been bound to.
    pub address: Option<SocketAddr>,
    /// What the system said.
    pub source: io::Error,
}

/// One or more sockets.
pub(super) struct Sockets {
    sockets: Vec<Socket>,
    batches: Vec<SendBatch>,
    bound: Vec<SocketAddr>,
    /// The one that had no room for what is to go out next.
    blocked: usize,
}

impl Sockets {
    /// Binds to all of them. Call it inside a tokio runtime.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Unbound> {
        let only_v6 = addresses.iter().any(SocketAddr::is_ipv4);
        let options = SocketOptions { only_v6, ..SocketOptions::default() };
        let bind = |address: &SocketAddr| {
            Socket::bind(*address, &options).map_err(|source| Unbound { address: Some(*address), source })
        };
        let sockets = addresses.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        if sockets.is_empty() {
            return Err(Unbound { address: None, source: io::ErrorKind::AddrNotAvailable.into() });
        }
        let bound = sockets.iter().map(Socket::local_addr).collect();
        let batches = sockets.iter().map(|_| SendBatch::default()).collect();
        Ok(Self { sockets, batches, bound, blocked: 0 })
    }

    /// What they are bound to.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// The one address that a socket takes packets to; none where it takes those to any.
    pub fn bound_to(&self, socket: usize) -> Option<IpAddr> {
        self.bound.get(socket).map(SocketAddr::ip).filter(|ip| !ip.is_unspecified())
    }

    /// Packets that the kernel dropped before they were read.
    pub fn overflow(&self) -> u64 {
        self.sockets.iter().map(Socket::overflow).sum()
    }

    /// Memory for what each of them receives.
    pub fn batches(&self) -> Vec<RecvBatch> {
        self.sockets.iter().map(RecvBatch::new).collect()
    }

    /// Waits until one of them may have something.
    pub async fn readable(&self) {
        if let [only] = self.sockets.as_slice() {
            let _ = only.readable().await;
            return;
        }
        poll_fn(|task| {
            // Each is asked, so that each wakes this task.
            let ready = self.sockets.iter().filter(|socket| socket.poll_readable(task).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until what is to go out next may have room.
    pub async fn writable(&self) {
        if let Some(socket) = self.sockets.get(self.blocked) {
            let _ = socket.writable().await;
        }
    }

    /// Receives what one of them has, as much as the batch holds. Returns how much.
    pub fn try_recv(&self, socket: usize, batch: &mut RecvBatch) -> usize {
        self.sockets.get(socket).and_then(|socket| socket.try_recv(batch).ok()).unwrap_or(0)
    }

    /// The socket by which a train leaves: the one that covers the address that it leaves from.
    fn of(&self, train: &Train) -> usize {
        let ips = self.bound.iter().map(SocketAddr::ip);
        let family = || ips.clone().position(|ip| ip.is_ipv4() == train.dst.is_ipv4());
        covering(ips.clone(), train.src.unwrap_or(train.dst.ip())).or_else(family).unwrap_or(0)
    }
}

impl Exit for Sockets {
    fn try_send(&mut self, arena: &[u8], trains: &[Train]) -> Sent {
        if let ([socket], [batch]) = (self.sockets.as_slice(), self.batches.as_mut_slice()) {
            return socket.try_send(batch, arena, trains);
        }
        let (mut total, mut rest) = (Sent::default(), trains);
        // Runs of one socket, so that the order stays and what is left begins with what was blocked.
        while let Some(first) = rest.first() {
            let at = self.of(first);
            let run = rest.iter().position(|train| self.of(train) != at).unwrap_or(rest.len());
            let (now, later) = rest.split_at(run);
            let (Some(socket), Some(batch)) = (self.sockets.get(at), self.batches.get_mut(at)) else { break };
            let sent = socket.try_send(batch, arena, now);
            total.trains += sent.trains;
            total.packets += sent.packets;
            total.refused += sent.refused;
            total.error = sent.error.or(total.error);
            if sent.stop.is_some() {
                self.blocked = at;
                total.stop = sent.stop;
                break;
            }
            rest = later;
        }
        total
    }

    fn give_up(&mut self, left: &[Train]) -> usize {
        let first = left.first().map_or(0, |train| self.of(train));
        self.batches.get_mut(first).map_or(0, |batch| batch.give_up(left))
    }

    fn pause(&mut self) {
        std::thread::sleep(BUSY_PAUSE);
    }
}
