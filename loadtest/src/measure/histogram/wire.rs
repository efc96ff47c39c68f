//! A histogram as bytes: HdrHistogram's own V2 encoding, which other tools read, and behind it what it does not know.

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::{FIGURES, Histogram, MAX_MICROS};
use crate::num;

/// How V2 begins.
const COOKIE: u32 = 0x1c84_9313;
/// Bytes before the counts.
const HEAD: usize = 40;
/// The longest and the sum, exactly, behind the counts.
const TAIL: usize = 16;
/// One beyond the largest value that ours keep apart: the end of the step of an hour.
const RANGE: u64 = 1 << 32;
/// Most values: of a few hundred such the sum still fits.
const VALUES_MAX: u64 = 1 << 48;
/// A number that begins with so many bytes of which each has another behind it is larger than any of ours.
const NUMBER_MAX: usize = 8;

/// Why bytes are no histogram of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a histogram: {0}")]
pub struct NotAHistogram(&'static str);

impl Histogram {
    /// All that was counted, as bytes: a few for each step in use.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NotAHistogram> {
        let mut bytes = Vec::new();
        let mut write = |counts: &Hdr<u64>| V2Serializer::new().serialize(counts, &mut bytes);
        let written = match &self.counts {
            Some(counts) => write(counts),
            None => write(&Hdr::new(FIGURES).map_err(|_| NotAHistogram("it cannot be made"))?),
        };
        written.map_err(|_| NotAHistogram("a count is too large"))?;
        bytes.extend_from_slice(&self.max.to_be_bytes());
        bytes.extend_from_slice(&self.sum.to_be_bytes());
        Ok(bytes)
    }

    /// Reads what [`Self::to_bytes`] wrote, or plain V2, whose longest and mean are as exact as a percentile.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAHistogram> {
        let no = |why| Err(NotAHistogram(why));
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return no("it is too short") };
        let long = |at: usize| field::<8>(head, at).map_or(0, u64::from_be_bytes);
        let short = |at: usize| field::<4>(head, at).map_or(0, u32::from_be_bytes);
        if short(0) != COOKIE {
            return no("it does not begin as V2 does");
        }
        if (short(12), long(16)) != (FIGURES.into(), 1) || !(2..RANGE).contains(&long(24)) {
            return no("it has other figures or another range");
        }
        // The decoder reserves what the head says before it reads.
        let Some((counts, tail)) = rest.split_at_checked(num::index(short(4).into())) else {
            return no("it is cut");
        };
        if counts.windows(NUMBER_MAX).any(|bytes| bytes.iter().all(|byte| *byte >= 0x80)) {
            return no("a count is too large");
        }
        let read = Deserializer::new().deserialize::<u64, _>(&mut &*bytes);
        let Ok(mut counts) = read else { return no("its counts are broken") };
        // A sum that does not fit is told as the largest number.
        if counts.len() > VALUES_MAX {
            return no("a count is too large");
        }
        counts.auto(true);
        if counts.is_empty() {
            return Ok(Self::new());
        }
        let (max, sum) = match tail.len() {
            0 => (counts.max().min(MAX_MICROS), num::count(counts.mean() * num::float(counts.len()))),
            TAIL => {
                let of = |at| field::<8>(tail, at).map_or(0, u64::from_be_bytes);
                (of(0), of(8))
            }
            _ => return no("something is behind it"),
        };
        if max > MAX_MICROS || !counts.equivalent(max, counts.max().min(MAX_MICROS)) {
            return no("its longest is none of its values");
        }
        Ok(Self { counts: Some(Box::new(counts)), max, sum })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
