//! Conversions between number types, each of which says what happens at the edges.

use std::time::Duration;

/// A count as a float; exact below 2^53.
pub(crate) const fn float(value: u64) -> f64 {
    value as f64
}

/// A float as a count: rounded down, clamped to what fits, NaN is 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, NaN becomes 0"
)]
pub(crate) const fn count(value: f64) -> u64 {
    value as u64
}

/// The low 32 bits: RTP timestamps wrap.
#[allow(clippy::cast_possible_truncation, reason = "masked")]
pub(crate) const fn wrap32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The low 16 bits: RTP sequence numbers wrap.
#[allow(clippy::cast_possible_truncation, reason = "masked")]
pub(crate) const fn wrap16(value: u64) -> u16 {
    (value & 0xffff) as u16
}

/// The low 8 bits.
#[allow(clippy::cast_possible_truncation, reason = "masked")]
pub(crate) const fn wrap8(value: u64) -> u8 {
    (value & 0xff) as u8
}

/// The index nearest to `near` whose low 16 bits are `sequence` (RFC 3711 section 3.3.1).
pub(crate) fn extend(near: u64, sequence: u16) -> u64 {
    let base = (near & !0xffff) | u64::from(sequence);
    let ahead = base.saturating_sub(near);
    let behind = near.saturating_sub(base);
    if ahead > 0x8000 && base >= 0x1_0000 {
        base - 0x1_0000
    } else if behind > 0x8000 {
        base + 0x1_0000
    } else {
        base
    }
}

/// A length as a count.
pub(crate) fn len(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// A count as a length, for tables that are far smaller than memory.
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Whole microseconds of a duration.
pub(crate) fn micros(value: Duration) -> u64 {
    u64::try_from(value.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds with their fraction.
pub(crate) fn millis(value: Duration) -> f64 {
    value.as_secs_f64() * 1_000.0
}
