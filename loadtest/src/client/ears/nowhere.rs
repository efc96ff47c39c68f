//! Other kernels have no epoll: their sockets are told of at once.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Tap;

#[derive(Debug)]
pub struct Ear(UdpSocket);

impl Ear {
    pub const CAN_BE: bool = false;

    pub fn new(_socket: UdpSocket) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn tap(&self, _from: SocketAddr, _tap: Arc<dyn Tap>) {}

    pub fn untap(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer)
    }

    pub fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send_to(datagram, to)
    }

    pub fn into_socket(self) -> io::Result<UdpSocket> {
        Ok(self.0)
    }

    pub fn poll(&self, _context: &Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
