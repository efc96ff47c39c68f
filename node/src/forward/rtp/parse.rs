//! Reading headers.

use super::Fields;

/// A packet taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The fixed part.
    pub fields: Fields,
    /// Length of the header, contributing sources and extensions included.
    pub header_len: usize,
    /// Payload without padding (sealed packets: with tag, and padding that only their receiver sees).
    pub payload: &'a [u8],
    two_byte: bool,
    extensions: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// The value of a header extension.
    pub fn extension(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut rest = self.extensions;
        while let Some((&head, after)) = rest.split_first() {
            if head == 0 {
                rest = after;
                continue;
            }
            let (id, len, values) = if self.two_byte {
                let (&len, values) = after.split_first()?;
                (head, usize::from(len), values)
            } else {
                (head >> 4, usize::from(head & 0x0f) + 1, after)
            };
            if !self.two_byte && id == 15 {
                return None;
            }
            let (value, next) = values.split_at_checked(len)?;
            if id == wanted {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

/// Takes an RTP packet apart; none when it is not one.
pub fn parse(packet: &[u8]) -> Option<Parsed<'_>> {
    let (&[first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3], rest) =
        packet.split_first_chunk::<12>()?;
    if first >> 6 != 2 {
        return None;
    }
    let (_, mut rest) = rest.split_at_checked(4 * usize::from(first & 0x0f))?;
    let (mut extensions, mut two_byte): (&[u8], bool) = (&[], false);
    if first & 0x10 != 0 {
        let (&[p0, p1, w0, w1], after) = rest.split_first_chunk::<4>()?;
        let (block, after) = after.split_at_checked(4 * usize::from(u16::from_be_bytes([w0, w1])))?;
        rest = after;
        match u16::from_be_bytes([p0, p1]) {
            0xbede => extensions = block,
            profile if profile & 0xfff0 == 0x1000 => (extensions, two_byte) = (block, true),
            _ => {}
        }
    }
    let header_len = packet.len() - rest.len();
    if first & 0x20 != 0 {
        let padding = usize::from(*rest.last()?);
        if padding == 0 {
            return None;
        }
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    Some(Parsed {
        fields: Fields {
            pt: second & 0x7f,
            marker: second & 0x80 != 0,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
        },
        header_len,
        payload: rest,
        two_byte,
        extensions,
    })
}
