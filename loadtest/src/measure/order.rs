//! Whether packets, put into the order of their RTP sequence numbers, are in the order in which they were captured.
//!
//! A receiver's jitter buffer does just that, so this is "in order after recovery": a packet that was retransmitted in
//! time has its place, and only a server that renumbers wrongly is caught.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Packets held back: about 2 s of video, longer than a retransmission takes.
const HELD: usize = 512;

/// Where in what was captured a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The frame, or the packet where there is one encoding.
    pub frame: u64,
    pub layer: u8,
    pub part: u16,
}

impl Place {
    fn is_after(self, before: Self) -> bool {
        match self.frame.cmp(&before.frame) {
            Ordering::Greater => true,
            // A viewer that is switched to another layer may be shown the same moment in both.
            Ordering::Equal => self.layer != before.layer || self.part > before.part,
            Ordering::Less => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct OrderCheck {
    held: BTreeMap<u64, Place>,
    last: Option<Place>,
    wrong: u64,
}

impl OrderCheck {
    pub fn insert(&mut self, rtp_sequence: u64, captured: Place) {
        self.held.insert(rtp_sequence, captured);
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
        match self.last {
            Some(last) if !captured.is_after(last) => self.wrong += 1,
            _ => self.last = Some(captured),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(frame: u64) -> Place {
        Place { frame, layer: 0, part: 0 }
    }

    #[test]
    fn the_same_moment_may_come_in_two_layers_and_no_other_twice() {
        let wrong = |places: &[(u64, u8, u16)]| {
            let mut check = OrderCheck::default();
            for (rtp, &(frame, layer, part)) in (0..).zip(places) {
                check.insert(rtp, Place { frame, layer, part });
            }
            check.wrong()
        };
        assert_eq!(wrong(&[(1, 2, 0), (2, 2, 0), (2, 0, 0), (2, 0, 1), (3, 0, 0)]), 0);
        assert_eq!(wrong(&[(1, 2, 0), (2, 2, 0), (1, 0, 0), (1, 0, 1), (3, 0, 0)]), 2, "back by a frame");
        assert_eq!(wrong(&[(1, 0, 0), (1, 0, 1), (1, 0, 1), (2, 0, 0), (1, 0, 2)]), 2, "one layer");
    }

    #[test]
    fn late_packets_have_their_place_and_wrong_numbers_are_counted() {
        let mut check = OrderCheck::default();
        for (rtp, captured) in [(100, 0), (102, 2), (101, 1), (103, 3)] {
            check.insert(rtp, only(captured));
        }
        assert_eq!(check.wrong(), 0);
        check.insert(104, only(2));
        assert_eq!(check.wrong(), 1);
        assert_eq!(check.wrong(), 1, "asking changes nothing");
        check.restart();
        check.insert(105, only(0));
        assert_eq!(check.wrong(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut check = OrderCheck::default();
        for number in 0..10_000 {
            check.insert(number, only(number));
        }
        assert_eq!((check.held.len(), check.wrong()), (HELD, 0));
    }
}
