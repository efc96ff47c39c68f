//! RTCP of viewers: feedback read, reports written.
//!
//! Feedback comes from strangers (authenticated ones, by SRTCP): a compound packet is walked once, from one end to the
//! other, lengths are checked, and what does not parse ends the walk. What is read borrows from the packet; nothing is
//! allocated. How much of it is acted upon is the caller's.

use crate::media::clock::NtpTime;

mod feedback;
mod report;
mod twcc;

pub use feedback::{Feedbacks, NackSeqs, parse};
pub use report::{Compound, SenderReport, write_bye, write_receiver_report, write_sender_report};
pub use twcc::{Statuses, Twcc};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// One piece of feedback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feedback<'a> {
    /// Packets are missing (RFC 4585 section 6.2.1).
    Nack {
        /// SSRC that misses packets.
        ssrc: u32,
        /// The packets' sequence numbers.
        seqs: NackSeqs<'a>,
    },
    /// A keyframe is wanted (RFC 4585 section 6.3.1).
    Pli {
        /// SSRC that wants it.
        ssrc: u32,
    },
    /// A keyframe is wanted, once for each number (RFC 5104 section 4.3.1).
    Fir {
        /// SSRC that wants it.
        ssrc: u32,
        /// Changes with each new request.
        seq: u8,
    },
    /// One block of a receiver (or sender) report (RFC 3550 section 6.4).
    ReceiverReport {
        /// SSRC that the block is about: one of ours.
        ssrc: u32,
        /// Lost since the block before, in 256ths.
        fraction_lost: u8,
        /// Lost in all; negative where duplicates came.
        lost: i32,
        /// Extended highest sequence number received.
        highest_seq: u32,
        /// Interarrival jitter in ticks of the RTP clock.
        jitter: u32,
        /// Middle 32 bits of the last sender report's NTP time, 0 before the first.
        lsr: u32,
        /// Time since it came, in units of 1/65536 s.
        dlsr: u32,
    },
    /// A sender report's own part.
    SenderReport {
        /// Its SSRC.
        ssrc: u32,
        /// NTP time.
        ntp: NtpTime,
        /// RTP time of the same moment.
        rtp: u32,
        /// Packets sent.
        packets: u32,
        /// Payload bytes sent.
        octets: u32,
    },
    /// Receiver's estimate of the maximum bitrate (draft-alvestrand-rmcat-remb).
    Remb {
        /// Bits a second.
        bitrate: u64,
    },
    /// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), taken apart by [`Twcc`].
    Twcc {
        /// SSRC it was sent for.
        ssrc: u32,
        /// The packet behind the two SSRCs: base sequence number, status count, reference time, chunks, deltas.
        raw: &'a [u8],
    },
    /// A source has left (RFC 3550 section 6.6).
    Bye {
        /// The source; the first, where several are named.
        ssrc: u32,
    },
    /// A packet of a kind that nobody here needs.
    Other {
        /// RTCP packet type.
        packet_type: u8,
    },
}

#[cfg(test)]
mod tests;
