//! Units as types, so that bits are never taken for bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bitrate(u64);

impl Bitrate {
    /// From bits per second.
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// From thousands of bits per second.
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1_000))
    }

    /// From millions of bits per second.
    pub const fn from_mbps(mbps: u64) -> Self {
        Self(mbps.saturating_mul(1_000_000))
    }

    /// In bits per second.
    pub const fn bps(self) -> u64 {
        self.0
    }

    /// Bytes that pass in so many microseconds, rounded down.
    pub const fn bytes_in_us(self, us: u64) -> u64 {
        self.0.saturating_mul(us) / 8_000_000
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bps if bps >= 10_000_000 => write!(f, "{} Mbit/s", bps / 1_000_000),
            bps if bps >= 10_000 => write!(f, "{} kbit/s", bps / 1_000),
            bps => write!(f, "{bps} bit/s"),
        }
    }
}

/// Wall-clock time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);
