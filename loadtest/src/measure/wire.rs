//! What the wire says before anything is decrypted: which datagrams are media, which are retransmissions, which repeat.

use std::collections::HashMap;

use super::{Arrival, IndexWindow};
use crate::num;

/// SSRCs remembered; a session has a handful, so more means nonsense.
const MAX_SOURCES: usize = 64;

/// The plain head of an SRTP packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPeek {
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpPeek {
    /// Reads the head; `None` for STUN, DTLS, RTCP (RFC 7983, RFC 5761) and what is too short.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let head = datagram.first_chunk::<12>()?;
        let [first, second, s0, s1, _, _, _, _, c0, c1, c2, c3] = *head;
        let payload_type = second & 0x7f;
        if first & 0xc0 != 0x80 || (64..96).contains(&payload_type) {
            return None;
        }
        let sequence = u16::from_be_bytes([s0, s1]);
        Some(Self { payload_type, sequence, ssrc: u32::from_be_bytes([c0, c1, c2, c3]) })
    }
}

/// All that stands in the clear before an SRTP packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHead {
    /// Payload type, sequence number, source.
    pub peek: RtpPeek,
    /// Timestamp, in the clock of its codec.
    pub timestamp: u32,
    /// The payload ends with padding.
    pub padded: bool,
    /// Bytes before the payload.
    pub length: usize,
    /// Transport-wide sequence number.
    pub transport: Option<u16>,
}

impl RtpHead {
    /// Reads a head whose transport-wide numbers are under this extension id; `None` for what is no media, or cut.
    pub fn read(datagram: &[u8], transport: Option<u8>) -> Option<Self> {
        let peek = RtpPeek::read(datagram)?;
        let [first, _, _, _, t0, t1, t2, t3, ..] = *datagram.first_chunk::<12>()?;
        let mut length = 12 + 4 * usize::from(first & 0x0f);
        let mut number = None;
        if first & 0x10 != 0 {
            let [p0, p1, w0, w1] = *datagram.get(length..)?.first_chunk::<4>()?;
            let words = usize::from(u16::from_be_bytes([w0, w1]));
            let extensions = datagram.get(length + 4..)?.get(..words * 4)?;
            number = transport.and_then(|id| element(u16::from_be_bytes([p0, p1]), id, extensions));
            length += 4 + words * 4;
        }
        datagram.get(length..)?;
        let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        let transport = number.and_then(|bytes| bytes.first_chunk().copied()).map(u16::from_be_bytes);
        Some(Self { peek, timestamp, padded: first & 0x20 != 0, length, transport })
    }
}

/// An extension's bytes (RFC 8285 section 4).
fn element(profile: u16, wanted: u8, mut rest: &[u8]) -> Option<&[u8]> {
    let short = profile == 0xbede;
    if !short && profile & 0xfff0 != 0x1000 {
        return None;
    }
    loop {
        let (first, behind) = rest.split_first()?;
        if *first == 0 {
            rest = behind;
            continue;
        }
        let (id, length, behind) = if short {
            (first >> 4, usize::from(first & 0x0f) + 1, behind)
        } else {
            let (length, behind) = behind.split_first()?;
            (*first, usize::from(*length), behind)
        };
        if short && id == 15 {
            return None;
        }
        let (bytes, behind) = behind.split_at_checked(length)?;
        if id == wanted {
            return Some(bytes);
        }
        rest = behind;
    }
}

/// Finds packets that the wire repeated under one SSRC and sequence number.
#[derive(Debug, Default)]
pub struct WireMeter {
    sources: HashMap<u32, (u64, IndexWindow)>,
}

impl WireMeter {
    /// Notes a packet; true if the same SSRC and number came before.
    pub fn repeats(&mut self, peek: RtpPeek) -> bool {
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&peek.ssrc) {
            return false;
        }
        let (highest, window) = self.sources.entry(peek.ssrc).or_insert_with(|| {
            // Room below the first number for what was overtaken.
            (u64::from(peek.sequence) + 65_536, IndexWindow::default())
        });
        let index = num::extend(*highest, peek.sequence);
        *highest = index.max(*highest);
        matches!(window.insert(index), Arrival::Duplicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(sequence: u16) -> RtpPeek {
        RtpPeek { payload_type: 108, sequence, ssrc: 5 }
    }

    #[test]
    fn media_is_told_from_stun_dtls_and_rtcp() {
        let mut packet = [0u8; 20];
        packet[0] = 0x90;
        packet[1] = 0x80 | 108;
        packet[2..4].copy_from_slice(&513u16.to_be_bytes());
        packet[8..12].copy_from_slice(&7u32.to_be_bytes());
        assert_eq!(RtpPeek::read(&packet), Some(RtpPeek { payload_type: 108, sequence: 513, ssrc: 7 }));
        assert_eq!(RtpPeek::read(&packet[..11]), None);
        for (first, second) in [(0x00, 1), (0x16, 254), (0x80, 200), (0x81, 206)] {
            packet[0] = first;
            packet[1] = second;
            assert_eq!(RtpPeek::read(&packet), None, "{first:#x} {second}");
        }
    }

    #[test]
    fn a_head_is_read_to_its_end() {
        let mut packet = vec![0xb1, 96, 2, 1, 0, 0, 1, 0, 0, 0, 0, 7, 9, 9, 9, 9];
        packet.extend([0xbe, 0xde, 0, 2, 0x10, 1, 0, 0x31, 0x12, 0x34, 0, 0, 0xab]);
        let head = RtpHead::read(&packet, Some(3)).unwrap();
        assert_eq!((head.peek.payload_type, head.peek.sequence, head.peek.ssrc), (96, 513, 7));
        assert_eq!((head.timestamp, head.padded, head.length), (256, true, 28));
        assert_eq!(head.transport, Some(0x1234));
        assert_eq!(RtpHead::read(&packet, Some(4)).unwrap().transport, None);
        assert_eq!(RtpHead::read(&packet, None).unwrap().transport, None);
        packet[16..20].copy_from_slice(&[0x10, 0, 0, 2]);
        packet[20..28].copy_from_slice(&[1, 0, 0, 3, 2, 0x56, 0x78, 0]);
        assert_eq!(RtpHead::read(&packet, Some(3)).unwrap().transport, Some(0x5678));
        for length in 0..28 {
            assert_eq!(RtpHead::read(&packet[..length], Some(3)), None, "{length}");
        }
        packet[21] = 200;
        assert_eq!(RtpHead::read(&packet, Some(3)).unwrap().transport, None, "longer than there is");
    }

    #[test]
    fn numbers_are_extended_to_the_nearest() {
        let cases = [
            (65_536, 0, 65_536),
            (65_536, 65_535, 65_535),
            (131_071, 0, 131_072),
            (5, 65_535, 65_535),
            (0x1_8000, 0, 65_536),
        ];
        for (near, sequence, index) in cases {
            assert_eq!(num::extend(near, sequence), index, "{near} {sequence}");
        }
    }

    #[test]
    fn repeats_are_found_across_the_wrap_and_reordering_is_none() {
        let mut meter = WireMeter::default();
        for sequence in [65_533, 65_535, 65_534, 0, 2, 1, 65_532] {
            assert!(!meter.repeats(peek(sequence)), "{sequence}");
        }
        for sequence in [65_534, 0, 2] {
            assert!(meter.repeats(peek(sequence)), "{sequence}");
        }
        assert!(!meter.repeats(RtpPeek { ssrc: 6, ..peek(0) }), "another source has numbers of its own");
    }

    #[test]
    fn a_whole_round_of_numbers_repeats_nothing() {
        let mut meter = WireMeter::default();
        for round in 0..200_000u32 {
            let sequence = u16::try_from(round & 0xffff).unwrap();
            assert!(!meter.repeats(peek(sequence)));
        }
    }
}
