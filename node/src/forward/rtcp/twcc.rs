//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

/// A tick of arrival times is 250 µs; the reference time counts 64 ms.
const TICKS_OF_REFERENCE: u32 = 256;
/// Statuses of a chunk of two-bit and of one-bit symbols.
const TWO_BIT: u16 = 7;
const ONE_BIT: u16 = 14;

const SMALL: u16 = 1;
const LARGE: u16 = 2;

/// One feedback packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twcc<'a> {
    base: u16,
    statuses: u16,
    reference: u32,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> Twcc<'a> {
    /// Takes what stands behind the two SSRCs. None when it is too short for what it announces.
    pub fn read(raw: &'a [u8]) -> Option<Self> {
        let (&[b0, b1, c0, c1, r0, r1, r2, _], rest) = raw.split_first_chunk::<8>()?;
        let statuses = u16::from_be_bytes([c0, c1]);
        let (mut left, mut end) = (statuses, 0_usize);
        while left > 0 {
            let chunk = rest.get(end..)?.first_chunk::<2>()?;
            left = left.saturating_sub(length(u16::from_be_bytes(*chunk)).max(1));
            end = end.saturating_add(2);
        }
        let (chunks, deltas) = rest.split_at_checked(end)?;
        Some(Self {
            base: u16::from_be_bytes([b0, b1]),
            statuses,
            reference: u32::from_be_bytes([0, r0, r1, r2]).wrapping_mul(TICKS_OF_REFERENCE),
            chunks,
            deltas,
        })
    }

    /// The packets it tells of, in order: transport-wide number, and for those that came when, in ticks of 250 µs that
    /// wrap after twelve days. Up to 65,535 for a packet of a few bytes: take no more than are of use.
    pub fn statuses(self) -> Statuses<'a> {
        Statuses {
            chunks: self.chunks,
            deltas: self.deltas,
            chunk: 0,
            of_chunk: 0,
            next: self.base,
            left: self.statuses,
            time: self.reference,
        }
    }
}

/// How many statuses a chunk has.
fn length(chunk: u16) -> u16 {
    match chunk >> 14 {
        0 | 1 => chunk & 0x1fff,
        2 => ONE_BIT,
        _ => TWO_BIT,
    }
}

/// See [`Twcc::statuses`].
#[derive(Debug, Clone)]
pub struct Statuses<'a> {
    chunks: &'a [u8],
    deltas: &'a [u8],
    chunk: u16,
    /// Statuses left of the chunk.
    of_chunk: u16,
    next: u16,
    left: u16,
    time: u32,
}

impl Statuses<'_> {
    /// The next symbol, 0 to 3.
    fn symbol(&mut self) -> Option<u16> {
        while self.of_chunk == 0 {
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunks = rest;
            self.chunk = u16::from_be_bytes(*chunk);
            self.of_chunk = length(self.chunk);
        }
        self.of_chunk = self.of_chunk.saturating_sub(1);
        Some(match self.chunk >> 14 {
            0 | 1 => self.chunk >> 13 & 3,
            2 => self.chunk >> self.of_chunk & 1,
            _ => self.chunk >> (2 * self.of_chunk) & 3,
        })
    }
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<u32>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let delta = match self.symbol()? {
            SMALL => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i32::from(*delta))
            }
            LARGE => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i32::from(i16::from_be_bytes(*delta)))
            }
            _ => None,
        };
        let seq = self.next;
        self.next = seq.wrapping_add(1);
        let arrival = delta.map(|delta| {
            self.time = self.time.wrapping_add_signed(delta);
            self.time
        });
        Some((seq, arrival))
    }
}
