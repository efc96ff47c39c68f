//! Sessions around str0m: ICE, DTLS, SDP and RTCP intake.
//!
//! A publisher's media ends here and goes to the ring. A viewer's media never passes here: its str0m has no send streams,
//! and `forward::egress` seals packets under the keys that [`crypto`] saw.

pub mod answers;
pub mod contain;
pub mod crypto;
pub mod extensions;
pub mod keys;
pub mod negotiate;
pub mod opened;
pub mod publisher;
pub mod sdp;
pub mod shape;
pub mod stun;
pub mod template;
mod unread;
pub mod viewer;
