//! Numbers that are good once, remembered for as long as they could come again. Pure.

use std::collections::BTreeSet;

use freshet_cluster::unit::UnixMillis;

/// Numbers that were used.
#[derive(Debug)]
pub struct Nonces {
    window_ms: u64,
    max: usize,
    seen: BTreeSet<(UnixMillis, u128)>,
}

/// Why a number cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// Not 32 hexadecimal digits.
    Malformed,
    /// It was used before.
    Again,
    /// No more can be remembered: the newest lose, so that none is accepted twice.
    Full,
}

impl Nonces {
    /// Of what was signed longer than `window_ms` ago, none is remembered; of the rest at most `max`.
    pub fn new(window_ms: u64, max: usize) -> Self {
        Self { window_ms, max, seen: BTreeSet::new() }
    }

    /// Uses a number that was made at `at`. The caller refuses what is older than the window.
    pub fn take(&mut self, at: UnixMillis, nonce: &str, now: UnixMillis) -> Result<(), Unused> {
        let plain = nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit());
        let nonce = u128::from_str_radix(nonce, 16).ok().filter(|_| plain).ok_or(Unused::Malformed)?;
        let oldest = UnixMillis(now.0.saturating_sub(self.window_ms));
        while self.seen.first().is_some_and(|(at, _)| *at < oldest) {
            self.seen.pop_first();
        }
        if self.seen.len() >= self.max {
            return Err(Unused::Full);
        }
        if self.seen.insert((at, nonce)) { Ok(()) } else { Err(Unused::Again) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_good_once_and_the_memory_is_bounded() {
        let mut nonces = Nonces::new(60_000, 3);
        let (t, later) = (UnixMillis(100_000), UnixMillis(160_001));
        let number = |n: u8| format!("{n:032x}");
        for n in 0..3 {
            assert_eq!(nonces.take(t, &number(n), t), Ok(()));
        }
        assert_eq!(nonces.take(t, &number(9), t), Err(Unused::Full));
        assert_eq!(nonces.take(later, &number(1), later), Ok(()), "the old ones are forgotten");
        assert_eq!(nonces.take(later, &number(1), later), Err(Unused::Again));
        assert_eq!(nonces.seen.len(), 1);
        for bad in ["", "1", &"g".repeat(32), &"0".repeat(33), &format!("+{}", "0".repeat(31))] {
            assert_eq!(nonces.take(later, bad, later), Err(Unused::Malformed), "{bad}");
        }
    }
}
