//! Whether a server makes packets anew.

use crate::media::stamp::{Stamp, StampError};

/// So many stamps have to be cut before it is believed.
const ENOUGH: u64 = 8;

/// Looks at stamps. Damage changes bytes; a stamp whose own fields are right but whose packet has another length is of
/// somebody who put frames together and cut them in another way. Then the numbers in stamps are not those of packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Remaking {
    intact: u64,
    cut: u64,
    seen: bool,
}

impl Remaking {
    /// It is so.
    pub fn is_seen(self) -> bool {
        self.seen
    }

    /// It may be so: every packet that can tell should be looked at.
    pub fn may_be(self) -> bool {
        !self.seen && self.cut > 0 && self.many()
    }

    /// A fifth of all stamps at least were cut.
    fn many(self) -> bool {
        self.cut * 4 >= self.intact
    }

    /// Looks at another packet; true once, with the one by which it is seen: when [`ENOUGH`] stamps were cut, and they are a
    /// fifth at least of all.
    pub fn begins(&mut self, stamp: &Result<Stamp, StampError>) -> bool {
        match stamp {
            Ok(_) => self.intact += 1,
            Err(StampError::Length { .. }) => self.cut += 1,
            Err(_) => {}
        }
        let begins = !self.seen && self.cut >= ENOUGH && self.many();
        self.seen |= begins;
        begins
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Frames of four packets that a server puts together and cuts anew, 250 bytes each; gives what of each piece can be read.
    pub fn remade(frames: u64, noon: u64) -> Vec<(u64, Result<Stamp, StampError>)> {
        let mut pieces = Vec::new();
        for frame in 0..frames {
            let mut whole = Vec::new();
            for part in 0..4 {
                let stamp = Stamp {
                    publisher: 7,
                    sequence: frame * 4 + part,
                    captured_us: noon + frame * 33_000,
                    frame: u32::try_from(frame).unwrap(),
                    part: u16::try_from(part).unwrap(),
                    keyframe: false,
                    frame_end: part == 3,
                    video: true,
                    layer: None,
                };
                stamp.write(&mut whole, 300);
            }
            pieces.extend(whole.chunks(250).map(|piece| (frame * 33_000, Stamp::read(piece))));
        }
        pieces
    }
}
