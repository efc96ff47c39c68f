//! The shell of one shard: a thread, a socket, queues, and the machine between them.
//!
//! Each turn takes what has come (datagrams, packets of links, orders, time), then flushes once: so packets that
//! arrive together leave together, and a train is as long as the burst was. Socket buffers that are full make the
//! rest wait in order; nothing is lost silently. Shards share nothing on a packet's way but bounded queues.

mod busy;
mod choice;
mod cores;
mod crossing;
mod depart;
mod ears;
mod handle;
mod intake;
mod later;
mod order;
mod queue;
mod sockets;
mod turn;
mod wire;

pub use busy::{Limit, Load};
pub use choice::{Work, least_loaded};
pub use crossing::Crossings;
pub use handle::{Parts, ShardHandle, spawn};
pub use intake::{Arrivals, Intake, Routes};
pub use order::{Counted, Order, Tell};
pub use queue::Queue;
pub use sockets::Unbound;

#[cfg(test)]
mod tests;
