//! The HTTP vocabulary that node and coordinator share.
//!
//! Both serve the same public surface, so what a client sees must not depend on which of them answers: problem details,
//! limits, CORS, credentials, names in paths, SDP media types, ICE servers. Also here: the server itself, with
//! and without TLS, and the signed call by which a coordinator hands a request to a node. Nothing here knows of rooms' media, placement, store or bus.

pub mod bearer;
pub mod bind;
pub mod body;
pub mod call;
pub mod conditional;
pub mod cors;
pub mod door;
pub mod health;
pub mod hops;
pub mod ice;
pub mod jwks;
pub mod keys;
pub mod media_type;
pub mod metrics;
pub mod names;
mod nonces;
pub mod places;
pub mod problem;
pub mod rate;
pub mod roster;
pub mod rules;
pub mod scope;
pub mod sdp;
pub mod serve;
pub mod sse;
pub mod stream_health;
pub mod ticket;
pub mod tls;
pub mod waiting;

pub use bearer::{Access, Guard};
pub use door::{Client, Door, DoorConfig};
pub use problem::Problem;
