//! The parameter sets of an encoding that count at present.

use crate::media::codec::h264::{PPS, SPS};

/// Most bytes of all sets together: they are sent in front of keyframes.
const BYTES_MAX: usize = 1_024;
/// Most sets: each is a packet of its own.
const SETS_MAX: usize = 8;
/// Bytes before the id: header, and for a sequence set profile, constraints and level.
const BEFORE_ID: [(u8, usize); 2] = [(SPS, 4), (PPS, 1)];

#[derive(Debug)]
struct Set {
    kind: u8,
    id: u64,
    /// Of the packet that brought it.
    seq: u64,
    unit: Vec<u8>,
}

/// Sequence and picture parameter sets by their ids, in the order in which a decoder needs them.
#[derive(Debug, Default)]
pub(super) struct Sets(Vec<Set>);

impl Sets {
    /// Takes a set's NAL unit, unless one with its id has come in a later packet.
    pub fn remember(&mut self, seq: u64, unit: &[u8]) {
        let kind = unit.first().map_or(0, |header| header & 0x1f);
        let Some((_, skip)) = BEFORE_ID.iter().find(|(of, _)| *of == kind) else { return };
        let Some(id) = unit.get(*skip..).and_then(exp_golomb) else { return };
        let at = match self.0.binary_search_by_key(&(kind, id), |set| (set.kind, set.id)) {
            Ok(at) => {
                let Some(set) = self.0.get_mut(at).filter(|set| set.seq <= seq) else { return };
                if set.unit == unit {
                    set.seq = seq;
                    return;
                }
                self.0.remove(at);
                at
            }
            Err(at) => at,
        };
        if unit.len() > BYTES_MAX {
            return;
        }
        self.0.insert(at, Set { kind, id, seq, unit: unit.to_vec() });
        while self.0.len() > SETS_MAX || self.0.iter().map(|set| set.unit.len()).sum::<usize>() > BYTES_MAX {
            let oldest = self.0.iter().enumerate().min_by_key(|(_, set)| set.seq).map(|(at, _)| at);
            let Some(oldest) = oldest else { return };
            self.0.remove(oldest);
        }
    }

    /// Packets are numbered anew: whatever comes is later.
    pub fn restart(&mut self) {
        for set in &mut self.0 {
            set.seq = 0;
        }
    }

    /// There is one of either kind.
    pub fn is_complete(&self) -> bool {
        [SPS, PPS].iter().all(|kind| self.0.iter().any(|set| set.kind == *kind))
    }

    pub fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|set| set.unit.as_slice())
    }
}

/// The first number of a bit string (ITU-T H.264 section 9.1); ids have at most 8 bits.
fn exp_golomb(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    let word = u64::from_be_bytes(word);
    let zeros = word.leading_zeros();
    if zeros > 8 {
        return None;
    }
    (word >> (63 - 2 * zeros)).checked_sub(1)
}
