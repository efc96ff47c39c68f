//! From the ring to viewers: headers, seals, trains, reports.

pub mod allowance;
pub mod blank;
pub mod egress;
pub mod history;
pub mod pace;
pub mod recent;
pub mod reception;
pub mod rtcp;
pub mod rtp;
pub mod spare;
pub mod srtp;
pub mod stamp;
pub mod train;
