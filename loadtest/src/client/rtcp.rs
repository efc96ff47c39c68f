//! RTCP that a viewer writes whose media str0m does not see (RFC 3550 section 6.4, RFC 4585 section 6), and what it
//! reads of the server's.

/// A receiver report's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    pub ssrc: u32,
    /// Lost of 256 since the last report.
    pub fraction: u8,
    /// All that are lost, clamped to 24 bits.
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    pub jitter: u32,
    /// The middle of the last sender report's time, and how long ago it came, in 2⁻¹⁶ s.
    pub last_report: u32,
    pub delay: u32,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Blocks of one report: 5 bits count them.
const BLOCKS: usize = 31;
const LARGEST_LOSS: i32 = 0x7f_ffff;

/// Appends a packet whose body is whole words of 32 bits.
pub(super) fn packet(out: &mut Vec<u8>, format: u8, kind: u8, body: &[u8]) {
    let words = u16::try_from(body.len() / 4).unwrap_or(u16::MAX);
    out.extend_from_slice(&[0x80 | (format & 0x1f), kind]);
    out.extend_from_slice(&words.to_be_bytes());
    out.extend_from_slice(body);
}

/// A receiver report and who it is from: what every compound packet begins with.
pub(super) fn report(out: &mut Vec<u8>, sender: u32, blocks: &[Block]) {
    let blocks = blocks.get(..BLOCKS).unwrap_or(blocks);
    let mut body = sender.to_be_bytes().to_vec();
    for block in blocks {
        let [_, l1, l2, l3] = block.lost.clamp(-LARGEST_LOSS, LARGEST_LOSS).to_be_bytes();
        body.extend_from_slice(&block.ssrc.to_be_bytes());
        body.extend_from_slice(&[block.fraction, l1, l2, l3]);
        for word in [block.highest, block.jitter, block.last_report, block.delay] {
            body.extend_from_slice(&word.to_be_bytes());
        }
    }
    packet(out, u8::try_from(blocks.len()).unwrap_or_default(), RECEIVER_REPORT, &body);
    // The canonical name: an item of type 1, then zeros to the next word, at least one.
    let name = format!("{sender:08x}");
    let mut body = sender.to_be_bytes().to_vec();
    body.extend_from_slice(&[1, u8::try_from(name.len()).unwrap_or_default()]);
    body.extend_from_slice(name.as_bytes());
    body.resize((body.len() / 4 + 1) * 4, 0);
    packet(out, 1, DESCRIPTION, &body);
}

/// Asks for a keyframe.
pub(super) fn picture_loss(out: &mut Vec<u8>, sender: u32, media: u32) {
    packet(out, 1, PAYLOAD_FEEDBACK, &[sender.to_be_bytes(), media.to_be_bytes()].concat());
}

/// Asks for packets again; their numbers are in order.
pub(super) fn nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    let mut body = [sender.to_be_bytes(), media.to_be_bytes()].concat();
    let mut rest = lost;
    while let Some((first, behind)) = rest.split_first() {
        // One number, and a bit for each of the 16 behind it.
        let within = |number: &&u16| (1..=16).contains(&number.wrapping_sub(*first));
        let near = behind.iter().take_while(within);
        let bits = near.clone().fold(0_u16, |bits, number| bits | 1 << (number.wrapping_sub(*first) - 1));
        body.extend_from_slice(&first.to_be_bytes());
        body.extend_from_slice(&bits.to_be_bytes());
        rest = behind.get(near.count()..).unwrap_or_default();
    }
    packet(out, 1, TRANSPORT_FEEDBACK, &body);
}

/// The sender reports of a compound packet: SSRC, and the middle 32 bits of its time.
pub(super) fn sender_reports(compound: &[u8]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let [_, kind, l0, l1] = *rest.first_chunk::<4>()?;
        let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
        let (one, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some((kind, one))
    })
    .filter(|(kind, _)| *kind == SENDER_REPORT)
    .filter_map(|(_, one)| {
        let word = |from: usize| Some(u32::from_be_bytes(*one.get(from..)?.first_chunk()?));
        Some((word(4)?, word(10)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_rfc_3550_wants() {
        let block = Block {
            ssrc: 0x0102_0304,
            fraction: 5,
            lost: -1,
            highest: 0x0001_0002,
            jitter: 9,
            last_report: 7,
            delay: 65_536,
        };
        let mut out = Vec::new();
        report(&mut out, 0xaabb_ccdd, &[block]);
        let expected = [
            &[0x81, 201, 0, 7, 0xaa, 0xbb, 0xcc, 0xdd, 1, 2, 3, 4, 5, 0xff, 0xff, 0xff, 0, 1, 0, 2][..],
            &[0, 0, 0, 9, 0, 0, 0, 7, 0, 1, 0, 0],
            &[0x81, 202, 0, 4, 0xaa, 0xbb, 0xcc, 0xdd, 1, 8],
            b"aabbccdd",
            &[0, 0],
        ]
        .concat();
        assert_eq!(out, expected);
        let mut empty = Vec::new();
        report(&mut empty, 1, &[]);
        assert_eq!(empty[..8], [0x80, 201, 0, 1, 0, 0, 0, 1]);
        assert_eq!(empty.len() % 4, 0);
    }

    #[test]
    fn lost_numbers_are_packed_and_wrap() {
        let of = |lost: &[u16]| {
            let mut out = Vec::new();
            nack(&mut out, 1, 2, lost);
            assert_eq!(usize::from(out[3]) * 4 + 4, out.len());
            out.split_off(12)
        };
        assert_eq!(of(&[10]), [0, 10, 0, 0]);
        assert_eq!(of(&[10, 11, 26]), [0, 10, 0x80, 1]);
        assert_eq!(of(&[10, 27, 28]), [0, 10, 0, 0, 0, 27, 0, 1]);
        assert_eq!(of(&[65_535, 0, 1]), [0xff, 0xff, 0, 3]);
        let mut out = Vec::new();
        picture_loss(&mut out, 1, 2);
        assert_eq!(out, [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn sender_reports_are_found_and_nonsense_is_none() {
        let mut compound = Vec::new();
        packet(&mut compound, 0, SENDER_REPORT, &[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]);
        packet(&mut compound, 0, DESCRIPTION, &[0; 8]);
        packet(&mut compound, 0, SENDER_REPORT, &[0, 0, 0, 8, 0, 0, 9, 9, 8, 8, 0, 0]);
        assert_eq!(sender_reports(&compound).collect::<Vec<_>>(), [(7, 0x0304_0506), (8, 0x0909_0808)]);
        for length in 0..20 {
            assert!(sender_reports(&compound[..length]).count() <= 1);
        }
        assert_eq!(sender_reports(&[0x80, 200, 0xff, 0xff, 0]).count(), 0);
    }
}
