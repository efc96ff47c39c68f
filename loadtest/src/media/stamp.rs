//! The stamp inside each packet's payload, and the fill after it.
//!
//! Every byte of stamp and fill has its high bit set, so no H.264 start code can come up by chance and none needs
//! escaping. The stamp is found by its magic near the start of the payload: a server may rewrite what is before it (a
//! VP8 picture id, for one). The last byte is 0x80, the stop bit of an H.264 NAL unit.

use crate::num;

/// Bytes of a stamp without fill.
pub const LEN: usize = 48;

const MAGIC: [u8; 4] = [0xF5, 0xE3, 0xA7, 0x9D];
/// How far into a payload a stamp may begin: behind the longest prefix that the packetisers write.
const SEARCH: usize = 96;
const KEYFRAME: u8 = 1;
const FRAME_END: u8 = 2;
const VIDEO: u8 = 4;
/// Where in the flags the layer stands, as its place + 1.
const LAYER: u32 = 3;
const LAYERS: u8 = 3;
const STOP: u8 = 0x80;
/// Publisher ids and sequences have 63 bits on the wire.
pub const MAX_NUMBER: u64 = (1 << 63) - 1;

/// What a publisher says about a packet inside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Random number of the publisher's session (63 bits): a publish that replaces another has another number.
    pub publisher: u64,
    /// Number of the packet on its track, from 0, without gaps.
    pub sequence: u64,
    /// When the packet was due to be captured, in microseconds since the Unix epoch ([`crate::clock`]).
    pub captured_us: u64,
    /// Number of the frame, from 0.
    pub frame: u32,
    /// Number of the packet inside its frame, from 0.
    pub part: u16,
    /// The frame is a keyframe.
    pub keyframe: bool,
    /// The packet is the last of its frame.
    pub frame_end: bool,
    /// The track is video.
    pub video: bool,
    /// Which simulcast layer it is of, from 0, the largest: each numbers its packets by itself, frames have one number in
    /// all. `None`: there is one encoding.
    pub layer: Option<u8>,
}

/// Why a payload is not what its publisher sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// No stamp: the media is not ours.
    #[error("the payload has no stamp")]
    Unstamped,
    /// The stamp's own fields fail their checksum.
    #[error("the stamp's checksum is wrong")]
    Checksum,
    /// The payload is longer or shorter than it was when sent.
    #[error("the payload has {actual} bytes after its prefix where {expected} were sent")]
    Length {
        /// Bytes that the publisher sent.
        expected: usize,
        /// Bytes that arrived.
        actual: usize,
        /// [`Stamp::captured_us`], which is right all the same.
        captured_us: u64,
    },
    /// A byte of the fill differs.
    #[error("the payload's bytes are not those that were sent")]
    Fill,
}

impl Stamp {
    /// Appends the stamp and fill to `payload` so that together they take `length` bytes (at least [`LEN`] + 1).
    pub fn write(&self, payload: &mut Vec<u8>, length: usize) {
        let length = length.clamp(LEN + 1, usize::from(u16::MAX >> 2));
        let start = payload.len();
        payload.extend_from_slice(&MAGIC);
        let flags = (if self.keyframe { KEYFRAME } else { 0 })
            | (if self.frame_end { FRAME_END } else { 0 })
            | (if self.video { VIDEO } else { 0 })
            | (self.layer.map_or(0, |layer| (layer + 1) & LAYERS) << LAYER);
        payload.push(STOP | flags);
        septets::<9>(payload, self.publisher);
        septets::<9>(payload, self.sequence);
        septets::<9>(payload, self.captured_us);
        septets::<5>(payload, u64::from(self.frame));
        septets::<3>(payload, u64::from(self.part));
        septets::<3>(payload, num::len(length));
        let sum = checksum(payload.get(start..).unwrap_or_default());
        septets::<5>(payload, u64::from(sum));
        let mut fill = Fill::new(self.publisher, self.sequence);
        let mut left = length.saturating_sub(LEN + 1);
        while left > 0 {
            let word = fill.next();
            let take = left.min(8);
            payload.extend_from_slice(word.get(..take).unwrap_or_default());
            left -= take;
        }
        payload.push(STOP);
    }

    /// Finds and checks the stamp of a payload, and every byte after it.
    pub fn read(payload: &[u8]) -> Result<Self, StampError> {
        let head = payload.get(..payload.len().min(SEARCH + MAGIC.len())).unwrap_or_default();
        let start =
            head.windows(MAGIC.len()).position(|window| window == MAGIC).ok_or(StampError::Unstamped)?;
        let body = payload.get(start..).unwrap_or_default();
        let (stamp, fill) = body.split_at_checked(LEN).ok_or(StampError::Checksum)?;
        let (fields, sum) = stamp.split_at_checked(LEN - 5).ok_or(StampError::Checksum)?;
        if unseptets(sum) != u64::from(checksum(fields)) {
            return Err(StampError::Checksum);
        }
        let mut rest = fields.get(MAGIC.len()..).unwrap_or_default();
        let flags = num::wrap8(take(&mut rest, 1) & 0x7f);
        let publisher = take(&mut rest, 9);
        let sequence = take(&mut rest, 9);
        let captured_us = take(&mut rest, 9);
        let frame = num::wrap32(take(&mut rest, 5));
        let part = u16::try_from(take(&mut rest, 3)).unwrap_or(u16::MAX);
        let expected = num::index(take(&mut rest, 3));
        if expected != body.len() {
            return Err(StampError::Length { expected, actual: body.len(), captured_us });
        }
        let (stop, fill) = fill.split_last().ok_or(StampError::Fill)?;
        let mut source = Fill::new(publisher, sequence);
        let right = fill.chunks(8).all(|chunk| source.next().starts_with(chunk));
        if !right || *stop != STOP {
            return Err(StampError::Fill);
        }
        let flag = |bit: u8| flags & bit != 0;
        Ok(Self {
            publisher,
            sequence,
            captured_us,
            frame,
            part,
            keyframe: flag(KEYFRAME),
            frame_end: flag(FRAME_END),
            video: flag(VIDEO),
            layer: ((flags >> LAYER) & LAYERS).checked_sub(1),
        })
    }
}

fn septets<const N: usize>(payload: &mut Vec<u8>, value: u64) {
    for place in (0..N).rev() {
        let shift = u32::try_from(place * 7).unwrap_or(0);
        payload.push(STOP | (num::wrap8(value >> shift) & 0x7f));
    }
}

fn unseptets(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 7) | u64::from(byte & 0x7f))
}

fn take(rest: &mut &[u8], count: usize) -> u64 {
    let (head, tail) = rest.split_at_checked(count).unwrap_or((rest, &[]));
    *rest = tail;
    unseptets(head)
}

/// FNV-1a: finds damage, proves nothing against an adversary, which SRTP does.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Bytes that follow from publisher and sequence, so that a packet with another's content is noticed.
struct Fill(u64);

impl Fill {
    fn new(publisher: u64, sequence: u64) -> Self {
        Self((publisher ^ sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1)
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) | 0x8080_8080_8080_8080).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            publisher: MAX_NUMBER - 5,
            sequence: 123_456_789_012,
            captured_us: 1_795_228_800_000_000,
            frame: u32::MAX - 1,
            part: 17,
            keyframe: true,
            frame_end: false,
            video: true,
            layer: None,
        }
    }

    #[test]
    fn what_is_written_is_read_behind_any_prefix_and_at_any_length() {
        for prefix in [0, 1, 2, 7, 46] {
            for length in [LEN + 1, LEN + 2, LEN + 9, 100, 1_198, 1_850] {
                let mut payload = vec![0x41; prefix];
                stamp().write(&mut payload, length);
                assert_eq!(payload.len(), prefix + length);
                assert_eq!(Stamp::read(&payload), Ok(stamp()), "prefix {prefix} length {length}");
            }
        }
        for layer in [None, Some(0), Some(1), Some(2)] {
            let mut payload = Vec::new();
            Stamp { layer, ..stamp() }.write(&mut payload, 100);
            assert_eq!(Stamp::read(&payload), Ok(Stamp { layer, ..stamp() }));
        }
    }

    #[test]
    fn no_byte_can_take_part_in_a_start_code() {
        let mut payload = Vec::new();
        stamp().write(&mut payload, 1_200);
        assert!(payload.iter().all(|byte| *byte >= 0x80));
        assert_eq!(payload.last(), Some(&0x80));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let mut payload = vec![0x41];
        stamp().write(&mut payload, 300);
        for place in 1..payload.len() {
            let mut changed = payload.clone();
            changed[place] ^= 0x01;
            assert!(Stamp::read(&changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_cut_or_grown_payload_is_noticed() {
        let mut payload = vec![0x41];
        stamp().write(&mut payload, 300);
        let cut = Stamp::read(&payload[..payload.len() - 1]);
        let captured_us = stamp().captured_us;
        assert_eq!(cut, Err(StampError::Length { expected: 300, actual: 299, captured_us }));
        payload.push(0x80);
        assert_eq!(
            Stamp::read(&payload),
            Err(StampError::Length { expected: 300, actual: 301, captured_us })
        );
    }

    #[test]
    fn the_fill_of_another_packet_is_noticed() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        stamp().write(&mut one, 300);
        Stamp { sequence: 7, ..stamp() }.write(&mut other, 300);
        let mixed = [&one[..LEN], &other[LEN..]].concat();
        assert_eq!(Stamp::read(&mixed), Err(StampError::Fill));
    }

    #[test]
    fn foreign_media_is_unstamped_and_no_bytes_panic() {
        assert_eq!(Stamp::read(&[]), Err(StampError::Unstamped));
        assert_eq!(Stamp::read(&[0x65; 1_200]), Err(StampError::Unstamped));
        for length in 0..120 {
            let mut bytes = MAGIC.to_vec();
            bytes.resize(length, 0xff);
            assert!(Stamp::read(&bytes).is_err());
        }
    }
}
