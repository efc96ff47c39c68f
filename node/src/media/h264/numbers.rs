//! The indexes of an encoding's packets.
//!
//! An index is the extended sequence number and what is added to it: room for packets that go in front of others. Where
//! the numbers begin anew, so much is added that the next packet stands right behind the highest index so far, whichever
//! number it has: what stands behind the publisher knows an encoding by its indexes, and refuses those that fell out.

use std::collections::VecDeque;

/// Moves that are remembered for late packets. Sets go in front ten times a second at most, so these are of more than
/// three seconds; what is later than that is lost.
const MOVES: usize = 32;

/// From this sequence number on, so much is added, modulo 2^64: it may be less than nothing.
#[derive(Debug, Clone, Copy)]
struct Move {
    first: u64,
    shift: u64,
}

/// Sequence numbers in, indexes out.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    moves: VecDeque<Move>,
    /// What is added below the first of them, and where that ends to be known.
    before: u64,
    floor: u64,
    highest: Option<u64>,
    /// The next packet is the first of numbers that have nothing to do with those before.
    anew: bool,
}

impl Numbers {
    /// The index of a packet; none when it is later than is remembered, or from before the first since they began anew.
    pub fn give(&mut self, seq: u64) -> Option<u64> {
        if std::mem::take(&mut self.anew)
            && let Some(highest) = self.highest
        {
            self.moves.clear();
            (self.before, self.floor) = (highest.wrapping_add(1).wrapping_sub(seq), seq);
        }
        let shift = match self.moves.iter().rev().find(|of| of.first <= seq) {
            Some(of) => of.shift,
            None if seq >= self.floor => self.before,
            None => return None,
        };
        Some(self.given(seq.wrapping_add(shift)))
    }

    /// The numbers begin anew with the next packet.
    pub fn restart(&mut self) {
        self.anew = true;
    }

    /// Moves `seq` and what is behind it up; returns the index that it has then.
    pub fn make_room(&mut self, seq: u64, by: u64) -> u64 {
        let shift = self.moves.back().map_or(self.before, |of| of.shift).wrapping_add(by);
        if self.moves.len() >= MOVES
            && let Some(oldest) = self.moves.pop_front()
        {
            (self.before, self.floor) = (oldest.shift, oldest.first);
        }
        self.moves.push_back(Move { first: seq, shift });
        self.given(seq.wrapping_add(shift))
    }

    fn given(&mut self, index: u64) -> u64 {
        self.highest = self.highest.max(Some(index));
        index
    }
}
