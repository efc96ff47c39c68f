//! Reading compound packets.

use super::{BYE, Feedback, PAYLOAD_FEEDBACK, RECEIVER_REPORT, SENDER_REPORT, TRANSPORT_FEEDBACK};
use crate::media::clock::NtpTime;

const NACK: u8 = 1;
const TWCC: u8 = 15;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;
const REPORT_BLOCK: usize = 24;

/// Takes a compound packet (or one of reduced size, RFC 5506) apart.
pub fn parse(compound: &[u8]) -> Feedbacks<'_> {
    Feedbacks { rest: compound, blocks: &[], entries: &[] }
}

/// The feedback of a compound packet, in its order.
#[derive(Debug, Clone)]
pub struct Feedbacks<'a> {
    rest: &'a [u8],
    /// Report blocks still to be told.
    blocks: &'a [u8],
    /// FIR entries still to be told.
    entries: &'a [u8],
}

impl<'a> Iterator for Feedbacks<'a> {
    type Item = Feedback<'a>;

    fn next(&mut self) -> Option<Feedback<'a>> {
        loop {
            if let Some((block, rest)) = self.blocks.split_first_chunk::<REPORT_BLOCK>() {
                self.blocks = rest;
                return Some(report_block(block));
            }
            if let Some((&[a, b, c, d, seq, _, _, _], rest)) = self.entries.split_first_chunk::<8>() {
                self.entries = rest;
                return Some(Feedback::Fir { ssrc: u32::from_be_bytes([a, b, c, d]), seq });
            }
            let (&[first, packet_type, l0, l1], after) = self.rest.split_first_chunk::<4>()?;
            let len = 4 * usize::from(u16::from_be_bytes([l0, l1]));
            if first >> 6 != 2 || len > after.len() {
                self.rest = &[];
                return None;
            }
            let (mut body, rest) = after.split_at_checked(len)?;
            self.rest = rest;
            if first & 0x20 != 0 {
                let padding = body.last().map_or(0, |padding| usize::from(*padding));
                body = body.get(..body.len().saturating_sub(padding)).unwrap_or_default();
            }
            if let Some(feedback) = self.packet(packet_type, first & 0x1f, body) {
                return Some(feedback);
            }
        }
    }
}

impl<'a> Feedbacks<'a> {
    /// What one packet says first; its blocks or entries are left for later.
    fn packet(&mut self, packet_type: u8, count: u8, body: &'a [u8]) -> Option<Feedback<'a>> {
        match (packet_type, count) {
            (SENDER_REPORT, count) => {
                let (ssrc, rest) = word(body)?;
                let (&[a, b, c, d, e, f, g, h], rest) = rest.split_first_chunk::<8>()?;
                let (rtp, rest) = word(rest)?;
                let (packets, rest) = word(rest)?;
                let (octets, blocks) = word(rest)?;
                self.take_blocks(count, blocks);
                let ntp = NtpTime(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
                Some(Feedback::SenderReport { ssrc, ntp, rtp, packets, octets })
            }
            (RECEIVER_REPORT, count) => {
                let (_, blocks) = word(body)?;
                self.take_blocks(count, blocks);
                None
            }
            (BYE, count) => {
                let ssrc = word(body)?.0;
                (count > 0).then_some(Feedback::Bye { ssrc })
            }
            (TRANSPORT_FEEDBACK, NACK) => {
                let (ssrc, entries) = media(body)?;
                Some(Feedback::Nack { ssrc, seqs: NackSeqs::new(entries) })
            }
            (TRANSPORT_FEEDBACK, TWCC) => {
                let (ssrc, raw) = media(body)?;
                Some(Feedback::Twcc { ssrc, raw })
            }
            (PAYLOAD_FEEDBACK, PLI) => Some(Feedback::Pli { ssrc: media(body)?.0 }),
            (PAYLOAD_FEEDBACK, FIR) => {
                let (_, entries) = media(body)?;
                self.entries = entries;
                None
            }
            (PAYLOAD_FEEDBACK, APPLICATION) => remb(media(body)?.1).or(Some(Feedback::Other { packet_type })),
            _ => Some(Feedback::Other { packet_type }),
        }
    }

    fn take_blocks(&mut self, count: u8, blocks: &'a [u8]) {
        let len = blocks.len().min(usize::from(count) * REPORT_BLOCK);
        self.blocks = blocks.get(..len - len % REPORT_BLOCK).unwrap_or_default();
    }
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// SSRC of the media and what stands behind it.
fn media(body: &[u8]) -> Option<(u32, &[u8])> {
    let (_, rest) = word(body)?;
    word(rest)
}

fn report_block(block: &[u8; REPORT_BLOCK]) -> Feedback<'static> {
    let [s0, s1, s2, s3, fraction_lost, l0, l1, l2, rest @ ..] = *block;
    let [h0, h1, h2, h3, j0, j1, j2, j3, t0, t1, t2, t3, d0, d1, d2, d3] = rest;
    Feedback::ReceiverReport {
        ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        fraction_lost,
        // 24 bits, signed.
        lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
        highest_seq: u32::from_be_bytes([h0, h1, h2, h3]),
        jitter: u32::from_be_bytes([j0, j1, j2, j3]),
        lsr: u32::from_be_bytes([t0, t1, t2, t3]),
        dlsr: u32::from_be_bytes([d0, d1, d2, d3]),
    }
}

/// `"REMB" | number of SSRCs | exponent (6) mantissa (18) | SSRCs`.
fn remb(body: &[u8]) -> Option<Feedback<'static>> {
    let (&[b'R', b'E', b'M', b'B', _, e, m1, m2], _) = body.split_first_chunk::<8>()? else { return None };
    let mantissa = u64::from(u32::from_be_bytes([0, e & 0x03, m1, m2]));
    let bitrate = u128::from(mantissa) << (e >> 2);
    Some(Feedback::Remb { bitrate: u64::try_from(bitrate).unwrap_or(u64::MAX) })
}

/// Sequence numbers asked for: pairs of a number and a mask of the sixteen behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NackSeqs<'a> {
    entries: &'a [u8],
    next: u16,
    /// Lowest bit: `next` itself is asked for.
    mask: u32,
}

impl<'a> NackSeqs<'a> {
    fn new(entries: &'a [u8]) -> Self {
        Self { entries, next: 0, mask: 0 }
    }
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (&[p0, p1, m0, m1], rest) = self.entries.split_first_chunk::<4>()?;
            self.entries = rest;
            self.next = u16::from_be_bytes([p0, p1]);
            self.mask = u32::from(u16::from_be_bytes([m0, m1])) << 1 | 1;
        }
        let skipped = self.mask.trailing_zeros();
        let seq = self.next.wrapping_add(u16::try_from(skipped).unwrap_or(0));
        self.next = seq.wrapping_add(1);
        self.mask = self.mask >> skipped >> 1;
        Some(seq)
    }
}
