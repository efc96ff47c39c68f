//! Whether packets, put into the order of their RTP sequence numbers, are in the order in which they were captured.
//!
//! A receiver's jitter buffer does just that, so this is "in order after recovery": a packet that was retransmitted in
//! time has its place, and only a server that renumbers wrongly is caught.

use std::collections::BTreeMap;

/// Packets held back: about 2 s of video, longer than a retransmission takes.
const HELD: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct OrderCheck {
    held: BTreeMap<u64, u64>,
    last: Option<u64>,
    wrong: u64,
}

impl OrderCheck {
    pub fn insert(&mut self, rtp_sequence: u64, captured_sequence: u64) {
        self.held.insert(rtp_sequence, captured_sequence);
        while self.held.len() > HELD {
            self.release();
        }
    }

    /// Violations so far, with what is still held back.
    pub fn wrong(&self) -> u64 {
        let mut rest = self.clone();
        while rest.release() {}
        rest.wrong
    }

    /// The source was replaced: numbers begin anew.
    pub fn restart(&mut self) {
        while self.release() {}
        self.last = None;
    }

    fn release(&mut self) -> bool {
        let Some((_, captured)) = self.held.pop_first() else { return false };
        if self.last.is_some_and(|last| captured <= last) {
            self.wrong += 1;
        }
        self.last = Some(self.last.map_or(captured, |last| last.max(captured)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_packets_have_their_place_and_wrong_numbers_are_counted() {
        let mut check = OrderCheck::default();
        for (rtp, captured) in [(100, 0), (102, 2), (101, 1), (103, 3)] {
            check.insert(rtp, captured);
        }
        assert_eq!(check.wrong(), 0);
        check.insert(104, 2);
        assert_eq!(check.wrong(), 1);
        assert_eq!(check.wrong(), 1, "asking changes nothing");
        check.restart();
        check.insert(105, 0);
        assert_eq!(check.wrong(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut check = OrderCheck::default();
        for number in 0..10_000 {
            check.insert(number, number);
        }
        assert_eq!((check.held.len(), check.wrong()), (HELD, 0));
    }
}
