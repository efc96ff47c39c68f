//! What decides on links: how much may be in flight, and what is dropped when it is not enough.

pub mod congestion;
