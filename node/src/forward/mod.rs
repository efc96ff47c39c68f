//! From the ring to viewers: headers, seals, trains, reports.

pub mod allowance;
pub mod egress;
pub mod history;
pub mod pace;
pub mod reception;
pub mod rtcp;
pub mod rtp;
pub mod srtp;
pub mod stamp;
pub mod train;
