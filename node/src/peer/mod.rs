//! Sessions around str0m: ICE, DTLS, SDP and RTCP intake.
//!
//! A publisher's media ends here and goes to the ring. A viewer's media never passes here: str0m's send streams are
//! removed when the answer is made, and `forward::egress` seals packets under the keys that [`crypto`] saw.

pub mod contain;
pub mod crypto;
pub mod extensions;
pub mod keys;
pub mod negotiate;
pub mod opened;
pub mod publisher;
pub mod sdp;
pub mod viewer;
