//! One shard's machine: its sessions, its rings and what crosses between them.
//!
//! Datagrams, packets of links, commands and time come in; packets for sockets and links, and events for the agent
//! come out. The machine owns its sessions outright: another shard sees a packet only as a value in a queue.

mod ahead;
mod ask_back;
mod counters;
mod ended;
mod feed;
mod flush;
mod hush;
mod lane;
mod layers;
#[cfg(test)]
mod looks;
mod machine;
mod opening;
mod places;
mod program;
mod publishers;
mod rest;
mod room;
mod session;
mod sessions;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod trickle;
mod types;
mod viewers;
mod viewing;
mod way_back;

pub use counters::Counters;
pub use ended::Ended;
pub use machine::Sfu;
pub use types::{Ask, Config, Datagram, Event, Hop, HopPacket, Incoming};
pub use viewers::{Path, Told};
