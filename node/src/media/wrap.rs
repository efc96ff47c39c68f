//! Numbers that are 64 bits wide here and 32 on the wire, where they wrap.

/// What RTP and RTCP carry of a timestamp or a count: the lower 32 bits.
pub fn low_32(value: u64) -> u32 {
    let [.., a, b, c, d] = value.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_32_bits_falls_away() {
        assert_eq!(low_32(0x0102_0304_0506_0708), 0x0506_0708);
        assert_eq!(low_32(u64::from(u32::MAX) + 1), 0);
    }
}
