//! Media as values: packets, the ring that keeps them, and the machines that decide about them.
//!
//! Nothing here does I/O, reads a clock or draws a random number: `now` and seeds come in, decisions come out.

pub mod clock;
pub mod codec;
pub mod h264;
pub mod keyframe;
pub mod layer;
pub mod monitor;
pub mod packet;
pub mod rewrite;
pub mod ring;
pub mod vp8;
pub mod wrap;
