//! Who reads the sockets of many sessions in steps of some milliseconds.
//!
//! A thread that sleeps is woken for each datagram, and a task for each of its own; both cost more than counting a
//! datagram by its header does. Media that is counted so comes to many sessions at nearly the same time: at each step all
//! that has come is read, with one question to the kernel (a level-triggered epoll), and given to whoever counts it (a
//! [`Tap`]), in the reader's own turn. A session is told of the rest: of what it has to be shown itself. Sessions that
//! connect, that decrypt everything or whose network is made bad here read their sockets themselves.
//!
//! When something came the kernel says (`SO_TIMESTAMPNS`), so steps may be long where there is much to read; what is late by
//! a step is what the session says of it. What a server sent as one train (UDP GSO) and the network kept together is read
//! as one (UDP GRO).

use std::slice::Chunks;
use std::time::Instant;

#[cfg(any(test, not(target_os = "linux")))]
#[cfg_attr(target_os = "linux", allow(dead_code))]
mod nowhere;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod steps;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(target_os = "linux")]
mod train;

#[cfg(not(target_os = "linux"))]
pub(super) use nowhere::Ear;
#[cfg(target_os = "linux")]
pub(super) use steps::Ear;

/// Counts what comes to a session, and sees to what is due for it, outside the session's task.
pub(super) trait Tap: Send + Sync {
    /// These came then, from where the session's media comes from. What the session has to be shown is put `aside`.
    fn take(&self, datagrams: Chunks<'_, u8>, at: Instant, aside: &mut dyn FnMut(&[u8]));
    /// What is to be done by now.
    fn due(&self, now: Instant) -> Due;
    /// From now on the session's task does all that itself.
    fn let_go(&self);
}

/// What is to be done for a session.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// To be sent to where its media comes from.
    pub send: Vec<Vec<u8>>,
    /// When there is something to do again.
    pub next: Option<Instant>,
}
