//! The vocabulary of a Freshet cluster.
//!
//! Values, keys, store, bus and tokens: what node and coordinator must agree on and nothing else. Every id is
//! checked once, when it is parsed; from then on a key or a subject made of it cannot name another's.

pub mod access;
#[cfg(any(feature = "etcd", feature = "nats"))]
mod backoff;
pub mod bus;
mod clock;
pub mod id;
pub mod keys;
pub mod load;
pub mod plan;
pub mod record;
pub mod room;
pub mod secret;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod unit;
pub mod version;

pub use id::{Epoch, Generation, Identity, Incarnation, NodeId, RoomId, SessionId, StreamId};
