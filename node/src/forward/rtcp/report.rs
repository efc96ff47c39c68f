//! Writing sender reports and goodbyes.

use super::{BYE, RECEIVER_REPORT, SDES, SENDER_REPORT};
use crate::media::clock::NtpTime;
use crate::media::wrap::low_32;

/// Longest compound packet, before it is sealed: below every path's MTU.
const COMPOUND_MAX: usize = 1_152;
const VERSION: u8 = 0x80;
const CNAME: u8 = 1;
const SENDER_REPORT_LEN: usize = 28;

/// What a sender report says (RFC 3550 section 6.4.1). Counters wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// The SSRC it is about.
    pub ssrc: u32,
    /// Wall time of the report.
    pub ntp: NtpTime,
    /// RTP time of the same moment.
    pub rtp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// Reports about several SSRCs that leave in one datagram: RFC 3550 section 6.1 recommends it to whoever sends for many,
/// and a datagram of its own costs a server more than what stands in it.
pub struct Compound {
    plain: [u8; COMPOUND_MAX],
    len: usize,
}

impl Default for Compound {
    fn default() -> Self {
        Self { plain: [0; COMPOUND_MAX], len: 0 }
    }
}

impl Compound {
    /// Appends what is written, unless there is no room for it: a viewer's eight m-lines have room with CNAMEs of 100 bytes,
    /// and ours have 16.
    pub fn add(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        let written = self.plain.get_mut(self.len..).and_then(write);
        self.len = self.len.saturating_add(written.unwrap_or_default());
    }

    /// What stands in it; none while that is nothing.
    pub fn plain(&self) -> Option<&[u8]> {
        self.plain.get(..self.len).filter(|plain| !plain.is_empty())
    }
}

/// Writes, to the start of `out`, a sender report and an SDES packet with the CNAME, which RFC 3550 wants in every compound packet.
///
/// Returns the length; none when it does not fit or the CNAME is longer than 255 bytes.
pub fn write_sender_report(report: &SenderReport, cname: &str, out: &mut [u8]) -> Option<usize> {
    let (head, rest) = out.split_first_chunk_mut::<SENDER_REPORT_LEN>()?;
    let words =
        [report.ssrc, high(report.ntp), low_32(report.ntp.0), report.rtp, report.packets, report.octets];
    let header = [VERSION, SENDER_REPORT, 0, 6];
    for (byte, from) in
        head.iter_mut().zip(header.into_iter().chain(words.into_iter().flat_map(u32::to_be_bytes)))
    {
        *byte = from;
    }
    Some(SENDER_REPORT_LEN + write_cname(report.ssrc, cname, rest)?)
}

/// Writes, to the start of `out`, a receiver report without blocks and an SDES packet with the CNAME. As
/// [`write_sender_report`].
pub fn write_receiver_report(ssrc: u32, cname: &str, out: &mut [u8]) -> Option<usize> {
    let (head, rest) = out.split_first_chunk_mut::<8>()?;
    let [a, b, c, d] = ssrc.to_be_bytes();
    *head = [VERSION, RECEIVER_REPORT, 0, 1, a, b, c, d];
    Some(head.len() + write_cname(ssrc, cname, rest)?)
}

fn write_cname(ssrc: u32, cname: &str, rest: &mut [u8]) -> Option<usize> {
    // Chunk: SSRC, item, and one to four zeros that end the list and fill the word.
    let cname_len = u8::try_from(cname.len()).ok()?;
    let body = 4 + (2 + cname.len() + 1).next_multiple_of(4);
    let sdes = rest.get_mut(..4 + body)?;
    sdes.fill(0);
    let [w0, w1] = u16::try_from(body / 4).ok()?.to_be_bytes();
    let [a, b, c, d] = ssrc.to_be_bytes();
    let start = [VERSION | 1, SDES, w0, w1, a, b, c, d, CNAME, cname_len];
    for (byte, from) in sdes.iter_mut().zip(start.iter().chain(cname.as_bytes())) {
        *byte = *from;
    }
    Some(4 + body)
}

/// Writes, to the start of `out`, a goodbye for one SSRC. Returns its length; none when it does not fit.
pub fn write_bye(ssrc: u32, out: &mut [u8]) -> Option<usize> {
    let [a, b, c, d] = ssrc.to_be_bytes();
    *out.first_chunk_mut::<8>()? = [VERSION | 1, BYE, 0, 1, a, b, c, d];
    Some(8)
}

fn high(ntp: NtpTime) -> u32 {
    let [a, b, c, d, ..] = ntp.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
