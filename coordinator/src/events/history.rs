//! The last chat messages of a room, and what a listener that comes back has missed. Pure.

use std::collections::VecDeque;

use freshet_edge::sse::Event;

/// Messages that a newcomer gets first.
pub const HISTORY: usize = 100;

/// Where a listener wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It is new.
    Start,
    /// After a sequence that this coordinator has seen, or that the bus knows.
    After(u64),
    /// After a sequence that the history never had: it was wiped.
    Reset,
}

/// What to do with a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// Send these frames (after a `reset` event if `reset`), then what is newer than `after`.
    Send {
        /// The place it wanted to go on from is lost.
        reset: bool,
        /// Encoded messages, in order.
        frames: Vec<Event>,
        /// Later frames up to this sequence are not for it.
        after: u64,
    },
    /// Its sequence is above all that we have read: ask the bus whether it ever was.
    AskBus(u64),
}

/// Encoded messages of one room, oldest first.
#[derive(Debug, Default)]
pub struct History {
    first: u64,
    kept: VecDeque<(u64, Event)>,
}

impl History {
    /// Which history it is: the first sequence that it could give, zero when that cannot be told.
    pub fn begin(&mut self, first: u64) {
        self.first = first;
    }

    /// The next message, encoded.
    pub fn push(&mut self, seq: u64, frame: Event) {
        self.kept.push_back((seq, frame));
        if self.kept.len() > HISTORY {
            self.kept.pop_front();
        }
    }

    /// The bus lost its history.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// What a listener gets now. `asked` says that the bus was asked about its sequence and knows it.
    pub fn welcome(&self, resume: Resume, asked: bool) -> Welcome {
        let newest = self.kept.back().map_or(0, |(seq, _)| *seq);
        let (reset, after) = match resume {
            Resume::Start => (false, 0),
            Resume::Reset => (true, 0),
            // Of an earlier history, however long this one has grown since.
            Resume::After(seq) if seq < self.first => (true, 0),
            Resume::After(seq) if seq > newest && !asked => return Welcome::AskBus(seq),
            Resume::After(seq) => (false, seq),
        };
        let frames =
            self.kept.iter().filter(|(seq, _)| *seq > after).map(|(_, frame)| frame.clone()).collect();
        Welcome::Send { reset, frames, after: newest.max(after) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(seqs: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        for seq in seqs {
            history.push(seq, Event::text("chat", Some(seq), ""));
        }
        history
    }

    fn sent(welcome: Welcome) -> (bool, Vec<String>, u64) {
        let Welcome::Send { reset, frames, after } = welcome else { panic!("{welcome:?}") };
        let id = |frame: &Event| {
            let text = std::str::from_utf8(frame.as_bytes()).unwrap();
            text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
        };
        (reset, frames.iter().map(id).collect(), after)
    }

    #[test]
    fn a_newcomer_gets_the_last_hundred_and_one_who_returns_gets_what_it_missed() {
        let history = history((1..=250).map(|n| n * 2));
        let (reset, frames, after) = sent(history.welcome(Resume::Start, false));
        assert_eq!((reset, frames.len(), after), (false, HISTORY, 500));
        assert_eq!(frames[0], "302");
        assert_eq!(
            sent(history.welcome(Resume::After(495), false)),
            (false, vec!["496".into(), "498".into(), "500".into()], 500)
        );
        assert_eq!(sent(history.welcome(Resume::After(500), false)), (false, vec![], 500));
        assert_eq!(sent(history.welcome(Resume::After(3), false)).1.len(), HISTORY, "a hole too old to fill");
    }

    #[test]
    fn a_sequence_that_we_have_not_read_is_asked_for_before_it_is_called_lost() {
        let history = history([4, 5]);
        assert_eq!(history.welcome(Resume::After(9), false), Welcome::AskBus(9));
        assert_eq!(
            sent(history.welcome(Resume::After(9), true)),
            (false, vec![], 9),
            "another coordinator was faster"
        );
        assert_eq!(sent(history.welcome(Resume::Reset, true)), (true, vec!["4".into(), "5".into()], 5));
        assert_eq!(History::default().welcome(Resume::After(1), false), Welcome::AskBus(1));
    }

    #[test]
    fn a_sequence_of_an_earlier_history_is_lost_though_the_new_one_is_longer() {
        let mut history = history(1_000..=1_250);
        history.begin(1_000);
        for seq in [0, 999] {
            let (reset, frames, after) = sent(history.welcome(Resume::After(seq), false));
            assert_eq!((reset, frames.len(), after), (true, HISTORY, 1_250), "{seq}");
        }
        let (reset, frames, _) = sent(history.welcome(Resume::After(1_000), false));
        assert_eq!((reset, frames.len()), (false, HISTORY), "its own, and long ago");
    }
}
