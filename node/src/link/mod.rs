//! What decides on relay links: how fast a link is, what waits and what is dropped, which of two connections stays.
//!
//! Pure machines; `quic` is the shell around them.

pub mod congestion;
pub mod neighbour;
pub mod pairs;
pub mod queue;
