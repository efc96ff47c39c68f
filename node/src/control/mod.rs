//! The node's shell around its agent: store, bus, links and shards on one side, the machine that decides on the other.
//!
//! One task owns the agent and waits for nothing but its own inputs. Writes to the store go through [`registrar`],
//! which brings the store to what the node wants it to say, however long the store is away. Media never waits here.

mod desk;
pub mod directory;
pub mod heartbeat;
pub mod registrar;
pub mod roll;
pub mod service;
mod shared;
pub mod standing;
pub mod sweep;
mod task;

pub use service::Service;
pub use shared::Shared;
pub use task::{Command, Parts, Snapshot, spawn};
