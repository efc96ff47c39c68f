//! What a reader of a kept subject is told next. Pure: the shells bring openings, messages and failures.

use std::collections::VecDeque;

use super::{Kept, ReadFrom, Tail};

/// The reader of one subject.
#[derive(Debug)]
pub(super) struct Reader {
    at: ReadFrom,
    /// Which life of the history the position belongs to.
    life: Option<String>,
    caught_up: bool,
    away: bool,
    out: VecDeque<Tail>,
}

impl Reader {
    pub(super) fn new(from: ReadFrom) -> Self {
        Self { at: from, life: None, caught_up: false, away: false, out: VecDeque::new() }
    }

    /// The history answered: which life of it this is, the first sequence that this life could give (zero when that
    /// cannot be told), and its newest over all subjects. Returns where to read from.
    pub(super) fn handle_open(&mut self, life: &str, first: u64, last: u64) -> ReadFrom {
        if std::mem::take(&mut self.away) {
            self.out.push_back(Tail::Back);
        }
        let other = self.life.as_deref().is_some_and(|known| known != life);
        if other || self.life.is_none() {
            self.out.push_back(Tail::History { first });
        }
        if let ReadFrom::After(seq) = self.at
            && (other || seq > last || seq < first)
        {
            self.at = ReadFrom::Start;
            self.caught_up = false;
            self.out.push_back(Tail::Reset);
        }
        self.life = Some(life.to_owned());
        self.at
    }

    /// The next message; one that was delivered before is dropped.
    pub(super) fn handle_kept(&mut self, kept: Kept) {
        if let ReadFrom::After(seq) = self.at
            && kept.seq <= seq
        {
            return;
        }
        self.at = ReadFrom::After(kept.seq);
        self.out.push_back(Tail::Kept(kept));
    }

    /// Nothing more is there now.
    pub(super) fn handle_drained(&mut self) {
        if !std::mem::replace(&mut self.caught_up, true) {
            self.out.push_back(Tail::CaughtUp);
        }
    }

    /// The connection is lost, or could not be made.
    pub(super) fn handle_failure(&mut self) {
        if !std::mem::replace(&mut self.away, true) {
            self.out.push_back(Tail::Away);
        }
    }

    /// What to tell the consumer; drain after each call above.
    pub(super) fn poll_output(&mut self) -> Option<Tail> {
        self.out.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: Tail = Tail::History { first: 0 };

    fn kept(seq: u64) -> Kept {
        Kept { seq, subject: "s".into(), payload: "p".into() }
    }

    fn drain(r: &mut Reader) -> Vec<Tail> {
        std::iter::from_fn(|| r.poll_output()).collect()
    }

    #[test]
    fn history_then_caught_up_once_then_live() {
        let mut r = Reader::new(ReadFrom::Start);
        assert_eq!(r.handle_open("a", 0, 9), ReadFrom::Start);
        r.handle_kept(kept(3));
        r.handle_kept(kept(9));
        r.handle_drained();
        r.handle_kept(kept(12));
        r.handle_drained();
        assert_eq!(
            drain(&mut r),
            [HISTORY, Tail::Kept(kept(3)), Tail::Kept(kept(9)), Tail::CaughtUp, Tail::Kept(kept(12))]
        );
    }

    #[test]
    fn resumes_after_an_outage_without_gap_or_repeat() {
        let mut r = Reader::new(ReadFrom::Start);
        r.handle_open("a", 0, 3);
        r.handle_kept(kept(3));
        r.handle_failure();
        r.handle_failure();
        assert_eq!(r.handle_open("a", 0, 4), ReadFrom::After(3));
        r.handle_kept(kept(3));
        r.handle_kept(kept(4));
        assert_eq!(
            drain(&mut r),
            [HISTORY, Tail::Kept(kept(3)), Tail::Away, Tail::Back, Tail::Kept(kept(4))]
        );
    }

    #[test]
    fn a_position_beyond_the_history_resets() {
        let mut r = Reader::new(ReadFrom::After(10));
        assert_eq!(r.handle_open("a", 0, 9), ReadFrom::Start);
        r.handle_kept(kept(2));
        r.handle_drained();
        assert_eq!(drain(&mut r), [HISTORY, Tail::Reset, Tail::Kept(kept(2)), Tail::CaughtUp]);
        let mut r = Reader::new(ReadFrom::After(10));
        assert_eq!(r.handle_open("a", 0, 10), ReadFrom::After(10), "the newest message itself is known");
        assert_eq!(drain(&mut r), [HISTORY]);
    }

    #[test]
    fn another_life_of_the_history_resets_even_when_it_has_grown_past_the_position() {
        let mut r = Reader::new(ReadFrom::Start);
        r.handle_open("a", 0, 1);
        r.handle_kept(kept(1));
        r.handle_drained();
        r.handle_failure();
        assert_eq!(r.handle_open("b", 0, 50), ReadFrom::Start);
        r.handle_kept(kept(1));
        r.handle_drained();
        assert_eq!(
            drain(&mut r),
            [
                HISTORY,
                Tail::Kept(kept(1)),
                Tail::CaughtUp,
                Tail::Away,
                Tail::Back,
                HISTORY,
                Tail::Reset,
                Tail::Kept(kept(1)),
                Tail::CaughtUp
            ]
        );
    }

    #[test]
    fn a_position_of_an_earlier_history_resets_however_long_the_new_one_is() {
        let mut r = Reader::new(ReadFrom::After(999));
        assert_eq!(r.handle_open("b", 1_000, 5_000), ReadFrom::Start);
        assert_eq!(drain(&mut r), [Tail::History { first: 1_000 }, Tail::Reset]);
        let mut r = Reader::new(ReadFrom::After(1_000));
        assert_eq!(r.handle_open("b", 1_000, 5_000), ReadFrom::After(1_000), "its first message is its own");
        assert_eq!(drain(&mut r), [Tail::History { first: 1_000 }]);
    }
}
