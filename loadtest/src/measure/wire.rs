//! What the wire says before anything is decrypted: which datagrams are media, which are retransmissions, which repeat.

use std::collections::HashMap;

use super::{Arrival, IndexWindow};

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
        let index = extend(*highest, peek.sequence);
        *highest = index.max(*highest);
        matches!(window.insert(index), Arrival::Duplicate)
    }
}

/// The index nearest to `near` whose low 16 bits are `sequence` (RFC 3711 section 3.3.1).
fn extend(near: u64, sequence: u16) -> u64 {
    let base = (near & !0xffff) | u64::from(sequence);
    [base.saturating_sub(65_536), base, base + 65_536]
        .into_iter()
        .min_by_key(|candidate| candidate.abs_diff(near))
        .unwrap_or(base)
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
