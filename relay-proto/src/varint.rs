//! Variable-length integers as QUIC writes them (RFC 9000 section 16): two bits of length, then 6, 14, 30 or 62 bits.

use crate::error::EncodeError;

/// The largest number that can be written: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// How many bytes a number takes; `None` above [`MAX`].
pub fn size(value: u64) -> Option<usize> {
    match value {
        0..=0x3f => Some(1),
        0x40..=0x3fff => Some(2),
        0x4000..=0x3fff_ffff => Some(4),
        0x4000_0000..=MAX => Some(8),
        _ => None,
    }
}

/// Appends a number in its shortest form.
pub fn write(out: &mut Vec<u8>, what: &'static str, value: u64) -> Result<(), EncodeError> {
    let bytes = value.to_be_bytes();
    let [.., e, f, g, h] = bytes;
    match size(value) {
        Some(1) => out.push(h),
        Some(2) => out.extend([0x40 | g, h]),
        Some(4) => out.extend([0x80 | e, f, g, h]),
        Some(_) => {
            let [a, rest @ ..] = bytes;
            out.push(0xc0 | a);
            out.extend(rest);
        }
        None => return Err(EncodeError::TooLarge { what, value }),
    }
    Ok(())
}

/// Reads a number from the front and moves past it; `None` when bytes are missing. Longer forms than needed are
/// taken, as in QUIC.
pub fn read(input: &mut &[u8]) -> Option<u64> {
    let (first, rest) = input.split_first()?;
    let len = match first >> 6 {
        0 => 0,
        1 => 1,
        2 => 3,
        _ => 7,
    };
    let (more, rest) = rest.split_at_checked(len)?;
    let value = more.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    *input = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_rfc_are_read_and_written() {
        // RFC 9000 appendix A.1.
        for (value, bytes) in [
            (151_288_809_941_952_652_u64, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ] {
            let mut out = Vec::new();
            write(&mut out, "n", value).unwrap();
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &bytes[..]), Some(value));
        }
        assert_eq!(read(&mut &[0x40, 0x25][..]), Some(37), "a longer form than needed");
        assert!(write(&mut Vec::new(), "n", MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn every_number_comes_back(value in 0..=MAX, tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut out = Vec::new();
            write(&mut out, "n", value).unwrap();
            prop_assert_eq!(Some(out.len()), size(value));
            out.extend(&tail);
            let mut input = &out[..];
            prop_assert_eq!(read(&mut input), Some(value));
            prop_assert_eq!(input, &tail[..]);
        }

        #[test]
        fn missing_bytes_are_seen(value in 0x40..=MAX) {
            let mut out = Vec::new();
            write(&mut out, "n", value).unwrap();
            out.pop();
            let mut input = &out[..];
            prop_assert_eq!(read(&mut input), None);
            prop_assert_eq!(input.len(), out.len(), "nothing is taken");
        }
    }
}
