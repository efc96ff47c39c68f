//! Which indices of a gapless numbering arrived, remembered for the last 4,096 and counted before that.

use crate::num;

/// Indices remembered one by one: 8 s of a fast video track, longer than any retransmission lives.
const SPAN: u64 = 4_096;
const WORDS: usize = 64;

/// What an index was when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before.
    Newest,
    /// New, but a higher one came first.
    Late,
    /// It had come already.
    Duplicate,
    /// So far behind that it is not known whether it had come; it was counted as missing, or came before the first.
    TooOld,
}

/// Counts arrived, missing and repeated indices.
#[derive(Debug, Clone)]
pub struct IndexWindow {
    bits: [u64; WORDS],
    first: u64,
    /// One above the highest; 0 while nothing came.
    next: u64,
    mark: Option<u64>,
    lost_after_mark: u64,
    arrived: u64,
}

impl Default for IndexWindow {
    fn default() -> Self {
        Self { bits: [0; WORDS], first: 0, next: 0, mark: None, lost_after_mark: 0, arrived: 0 }
    }
}

impl IndexWindow {
    /// Notes that `index` arrived.
    pub fn insert(&mut self, index: u64) -> Arrival {
        if self.next == 0 {
            self.first = index;
            self.next = index;
        }
        if index >= self.next {
            self.advance(index);
            self.arrived += 1;
            return Arrival::Newest;
        }
        if self.next - index > SPAN {
            return Arrival::TooOld;
        }
        if self.has(index) {
            return Arrival::Duplicate;
        }
        self.first = self.first.min(index);
        self.set(index, true);
        self.arrived += 1;
        Arrival::Late
    }

    /// Indices from here on are also counted apart (the first keyframe's). Only the first call counts.
    pub fn mark(&mut self, index: u64) {
        self.mark.get_or_insert(index);
    }

    /// The lowest index that came.
    pub fn first(&self) -> Option<u64> {
        (self.next > 0).then_some(self.first)
    }

    /// The highest index that came.
    pub fn last(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Different indices that came.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Indices between the first and the last that did not come.
    pub fn missing(&self) -> u64 {
        // What is too old to be told apart has not arrived, so this is all that there is to count.
        self.next - self.first - self.arrived
    }

    /// The same, from the mark on; 0 while there is none.
    pub fn missing_after_mark(&self) -> u64 {
        self.mark.map_or(0, |mark| self.lost_after_mark + self.gaps(mark.max(self.first)))
    }

    fn gaps(&self, from: u64) -> u64 {
        let from = from.max(self.next.saturating_sub(SPAN));
        num::len((from..self.next).filter(|index| !self.has(*index)).count())
    }

    fn advance(&mut self, index: u64) {
        let end = index.saturating_add(1);
        // What leaves the window without having come is lost for good.
        let old_floor = self.next.saturating_sub(SPAN).max(self.first);
        let new_floor = end.saturating_sub(SPAN);
        let counted = new_floor.min(self.next);
        for leaving in old_floor..counted {
            if !self.has(leaving) {
                self.lose(leaving, leaving + 1);
            }
        }
        // A jump longer than the window skips indices that never were inside it.
        if new_floor > self.next {
            self.lose(self.next, new_floor);
        }
        for entering in self.next.max(new_floor)..end {
            self.set(entering, false);
        }
        self.next = end;
        self.set(index, true);
    }

    fn lose(&mut self, from: u64, to: u64) {
        if let Some(mark) = self.mark {
            self.lost_after_mark += to.saturating_sub(from.max(mark));
        }
    }

    fn has(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn set(&mut self, index: u64, on: bool) {
        let (word, bit) = place(index);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits = if on { *bits | bit } else { *bits & !bit };
        }
    }
}

fn place(index: u64) -> (usize, u64) {
    (num::index(index % SPAN / 64), 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(indices: impl IntoIterator<Item = u64>) -> IndexWindow {
        let mut window = IndexWindow::default();
        indices.into_iter().for_each(|index| {
            window.insert(index);
        });
        window
    }

    #[test]
    fn gaps_are_counted_inside_the_window_and_beyond_it() {
        for start in [0, 1, 5_000, 1 << 40] {
            for length in [10, 4_095, 4_096, 4_097, 50_000] {
                let window = of((start..start + length).filter(|index| (index - start) % 50 != 49));
                assert_eq!(window.first(), Some(start));
                let last = if length % 50 == 0 { length - 2 } else { length - 1 };
                assert_eq!(window.last(), Some(start + last), "start {start} length {length}");
                let missing = (0..=last).filter(|offset| offset % 50 == 49).count() as u64;
                assert_eq!(window.missing(), missing, "start {start} length {length}");
                assert_eq!(window.arrived() + window.missing(), last + 1);
            }
        }
    }

    #[test]
    fn a_jump_beyond_the_window_loses_all_between() {
        let window = of([10, 100_010]);
        assert_eq!(window.missing(), 99_999);
        let window = of([10, 11, 10 + 4_096 + 1, 10 + 4_096 + 2]);
        assert_eq!(window.missing(), 4_095);
    }

    #[test]
    fn what_comes_late_is_no_longer_missing() {
        let mut window = of([0, 1, 4, 5]);
        assert_eq!(window.missing(), 2);
        assert_eq!(window.insert(3), Arrival::Late);
        assert_eq!(window.missing(), 1);
        assert_eq!(window.insert(3), Arrival::Duplicate);
        assert_eq!(window.insert(5), Arrival::Duplicate);
        assert_eq!(window.insert(6), Arrival::Newest);
        assert_eq!(window.insert(10_000), Arrival::Newest);
        assert_eq!(window.insert(2), Arrival::TooOld);
        assert_eq!(window.arrived(), 7);
    }

    #[test]
    fn a_reordered_first_packet_extends_the_range_downwards() {
        let mut window = of([7, 8]);
        assert_eq!(window.insert(5), Arrival::Late);
        assert_eq!((window.first(), window.missing()), (Some(5), 1));
    }

    #[test]
    fn the_mark_counts_only_what_is_missing_from_it_on() {
        let mut window = of([0, 5]);
        window.mark(5);
        window.mark(0);
        window.insert(7);
        assert_eq!((window.missing(), window.missing_after_mark()), (5, 1));
        window.insert(20_000);
        assert_eq!(window.missing_after_mark(), 1 + 19_992);
        assert_eq!(window.missing(), 5 + 19_992);
    }
}
