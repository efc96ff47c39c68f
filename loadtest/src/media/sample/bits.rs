//! The bits of an H.264 NAL unit, and the little of them that is read: how long a frame lasts, and what a slice is.

/// Reads bits, the highest first. What is behind the end is not there.
pub(super) struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    /// The payload of a NAL unit of which the first bytes are enough, without what prevents start codes (section 7.4.1).
    pub fn of(unit: &[u8], most: usize) -> Self {
        let mut bytes = Vec::with_capacity(unit.len().min(most));
        let mut zeros = 0;
        for byte in unit.iter().skip(1).take(most) {
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            bytes.push(*byte);
        }
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = (byte >> (7 - self.at % 8)) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn flag(&mut self) -> Option<bool> {
        self.bit().map(|bit| bit == 1)
    }

    fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0_u32, |value, _| Some((value << 1) | self.bit()?))
    }

    /// An unsigned number of Exp-Golomb code (section 9.1).
    pub fn number(&mut self) -> Option<u32> {
        let mut zeros = 0_u32;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        (1_u32.checked_shl(zeros)? - 1).checked_add(rest)
    }

    fn numbers(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.number().map(|_| ()))
    }

    fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.number()?);
        Some(if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 })
    }

    fn scaling_list(&mut self, size: u32) -> Option<()> {
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..size {
            if next != 0 {
                next = (last + self.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }
}

/// Profiles whose parameter sets tell of chroma and scaling (section 7.3.2.1.1).
const HIGH: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// Bytes of a parameter set that are looked at.
const SET_MAX: usize = 1_024;

/// How long a frame lasts, as a fraction of seconds, where a sequence parameter set says so (section E.1.1).
pub(super) fn period(set: &[u8]) -> Option<(u64, u64)> {
    let mut bits = Bits::of(set, SET_MAX);
    let profile = bits.bits(8)?;
    bits.bits(16)?;
    bits.number()?;
    if HIGH.contains(&profile) {
        let chroma = bits.number()?;
        if chroma == 3 {
            bits.bit()?;
        }
        bits.numbers(2)?;
        bits.bit()?;
        if bits.flag()? {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.flag()? {
                    bits.scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.number()?;
    match bits.number()? {
        0 => bits.numbers(1)?,
        1 => {
            bits.bit()?;
            bits.numbers(2)?;
            let cycle = bits.number()?;
            bits.numbers(cycle.min(255))?;
        }
        _ => {}
    }
    bits.number()?;
    bits.bit()?;
    bits.numbers(2)?;
    if !bits.flag()? {
        bits.bit()?;
    }
    bits.bit()?;
    if bits.flag()? {
        bits.numbers(4)?;
    }
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.bits(8)? == 255 {
        bits.bits(32)?;
    }
    if bits.flag()? {
        bits.bit()?;
    }
    if bits.flag()? {
        bits.bits(4)?;
        if bits.flag()? {
            bits.bits(24)?;
        }
    }
    if bits.flag()? {
        bits.numbers(2)?;
    }
    if !bits.flag()? {
        return None;
    }
    let (units, scale) = (u64::from(bits.bits(32)?), u64::from(bits.bits(32)?));
    // A frame is two fields.
    let (period, scale) = (units * 2, scale);
    // Between 1 and 240 a second can be sent.
    (period > 0 && scale >= period && scale <= period * 240).then_some((period, scale))
}
