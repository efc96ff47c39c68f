//! What was said in a room, and what each listener had of it. Pure: times are microseconds of the Unix epoch.
//!
//! The messages of a room are numbered as they are due. Each one's text says which it is, so that it is known whether it
//! came, how often, in which order and how late.

use crate::measure::Histogram;
use crate::num;

/// What texts begin with.
const MARK: &str = "load";
/// Most messages of a room: what is beyond is not counted.
const MESSAGES_MAX: u64 = 100_000_000;

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run: what others say is not ours.
    pub run: u64,
    /// The room's number.
    pub room: u32,
    /// The message's number in the room.
    pub number: u64,
    /// When it was due to be posted.
    pub due: u64,
}

impl Stamp {
    /// As text.
    pub fn text(&self) -> String {
        format!("{MARK} {:016x} {} {} {}", self.run, self.room, self.number, self.due)
    }

    /// Of a text; nothing if somebody else wrote it.
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let run = u64::from_str_radix(words.next()?, 16).ok()?;
        let room = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok().filter(|number| *number < MESSAGES_MAX)?;
        let due = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { run, room, number, due })
    }
}

/// A set of numbers, a bit each.
#[derive(Debug, Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, number: u64) -> bool {
        self.0.get(num::index(number / 64)).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds a number; false if it was there.
    fn add(&mut self, number: u64) -> bool {
        let place = num::index(number / 64);
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        let Some(word) = self.0.get_mut(place) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// The messages of a room.
#[derive(Debug, Default)]
pub struct Room {
    /// When each was posted first; 0: never.
    posted: Vec<u64>,
    stored: Bits,
    /// Messages that were posted.
    pub sent: u64,
    /// Those that the server said it has stored.
    pub acknowledged: u64,
    /// Messages whose answer is still to come.
    pub asked: u64,
}

impl Room {
    /// A message is about to be posted for the first time.
    pub fn posts(&mut self, number: u64, now: u64) {
        let place = num::index(number.min(MESSAGES_MAX));
        if self.posted.len() <= place {
            self.posted.resize(place + 1, 0);
        }
        if let Some(posted) = self.posted.get_mut(place) {
            *posted = now;
        }
        self.sent += 1;
        self.asked += 1;
    }

    /// What became of it: it is stored, or nobody knows.
    pub fn answered(&mut self, number: u64, stored: bool) {
        self.asked = self.asked.saturating_sub(1);
        if stored && self.stored.add(number) {
            self.acknowledged += 1;
        }
    }

    fn posted(&self, number: u64) -> Option<u64> {
        self.posted.get(num::index(number)).copied().filter(|at| *at > 0)
    }
}

/// What one listener had.
#[derive(Debug, Default)]
pub struct Listener {
    /// When its stream opened first.
    opened: Option<u64>,
    seen: Bits,
    /// After a history was lost what is there comes again, which is no repeat.
    again: Bits,
    last_id: u64,
    /// The last number of each sender.
    last: Vec<Option<u64>>,
    /// What was counted.
    pub counts: ListenerCounts,
}

/// What was counted of one listener.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListenerCounts {
    /// Messages that came, of those posted while it listened; each once.
    pub received: u64,
    /// Messages that came once more.
    pub repeated: u64,
    /// Messages behind one that is later.
    pub out_of_order: u64,
    /// Messages from before it listened.
    pub history: u64,
    /// Messages of somebody else.
    pub foreign: u64,
    /// Times that the history was lost.
    pub resets: u64,
    /// From when a message was due until it was here.
    pub delay: Histogram,
}

impl Listener {
    /// The stream is open. What is posted from the first time on is expected.
    pub fn opens(&mut self, now: u64) {
        self.opened.get_or_insert(now);
    }

    /// Whether it was ever open.
    pub fn opened(&self) -> Option<u64> {
        self.opened
    }

    /// A message came; `stamp`: nothing if it is somebody else's, `id`: its place in the room, `senders`: of the room.
    pub fn hears(&mut self, now: u64, room: &Room, stamp: Option<Stamp>, id: Option<u64>, senders: u32) {
        let Some(Stamp { number, due, .. }) = stamp else {
            self.counts.foreign += 1;
            return;
        };
        if !self.seen.add(number) {
            if self.again.has(number) {
                self.again = without(std::mem::take(&mut self.again), number);
            } else {
                self.counts.repeated += 1;
            }
            return;
        }
        self.order(number, id, senders);
        let during = room.posted(number).zip(self.opened).is_some_and(|(posted, opened)| posted >= opened);
        if !during {
            self.counts.history += 1;
            return;
        }
        self.counts.received += 1;
        self.counts.delay.record_micros(now.saturating_sub(due));
    }

    /// Later than what came before: by its place in the room, and by its sender's own count.
    fn order(&mut self, number: u64, id: Option<u64>, senders: u32) {
        let sender = num::index(number % u64::from(senders.max(1)));
        if self.last.len() <= sender {
            self.last.resize(sender + 1, None);
        }
        let Some(last) = self.last.get_mut(sender) else { return };
        let early = last.is_some_and(|last| number < last) || id.is_some_and(|id| id < self.last_id);
        self.counts.out_of_order += u64::from(early);
        *last = Some(last.map_or(number, |last| last.max(number)));
        self.last_id = self.last_id.max(id.unwrap_or(0));
    }

    /// The server's history is gone: numbers begin anew, and what is there comes again.
    pub fn resets(&mut self) {
        self.counts.resets += 1;
        self.again = self.seen.clone();
        self.last_id = 0;
        self.last.clear();
    }

    /// Messages that were stored while it listened and never came.
    pub fn lost(&self, room: &Room) -> u64 {
        let Some(opened) = self.opened else { return 0 };
        let due = (0..).zip(&room.posted).filter(|(_, posted)| **posted >= opened);
        num::len(due.filter(|(number, _)| room.stored.has(*number) && !self.seen.has(*number)).count())
    }
}

fn without(mut bits: Bits, number: u64) -> Bits {
    if let Some(word) = bits.0.get_mut(num::index(number / 64)) {
        *word &= !(1 << (number % 64));
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u64) -> Option<Stamp> {
        Some(Stamp { run: 7, room: 0, number, due: 1_000 + number })
    }

    fn room(messages: u64) -> Room {
        let mut room = Room::default();
        for number in 0..messages {
            room.posts(number, 1_000 + number);
            room.answered(number, true);
        }
        room
    }

    #[test]
    fn a_text_says_which_message_it_is() {
        let stamp = stamp(5).unwrap();
        assert_eq!(Stamp::read(&stamp.text()), Some(stamp));
        for other in ["", "hello", "load", "load x 0 1 2", "load 7 0 1 2 3", "load 7 0 999999999 2"] {
            assert_eq!(Stamp::read(other), None, "{other}");
        }
    }

    #[test]
    fn all_once_and_in_order_is_nothing_to_complain_about() {
        let (room, mut listener) = (room(130), Listener::default());
        listener.opens(1_000);
        for number in 0..130 {
            listener.hears(1_500 + number, &room, stamp(number), Some(number + 1), 3);
        }
        let counts = &listener.counts;
        assert_eq!((counts.received, counts.repeated, counts.out_of_order), (130, 0, 0));
        assert_eq!((listener.lost(&room), counts.history, counts.foreign), (0, 0, 0));
        assert_eq!(counts.delay.max().unwrap().as_micros(), 500);
    }

    #[test]
    fn lost_repeated_and_out_of_order_are_counted_each() {
        let (mut room, mut listener) = (room(10), Listener::default());
        // The eleventh was posted and never acknowledged: nobody promised it.
        room.posts(10, 1_010);
        room.answered(10, false);
        assert_eq!((room.sent, room.acknowledged, room.asked), (11, 10, 0));
        listener.opens(1_002);
        for (number, id) in [(0, 1), (1, 2), (2, 3), (4, 5), (3, 4), (4, 5), (6, 7), (9, 10), (8, 9)] {
            listener.hears(2_000, &room, stamp(number), Some(id), 2);
        }
        listener.hears(2_000, &room, None, Some(11), 2);
        let counts = &listener.counts;
        assert_eq!((counts.history, counts.foreign), (2, 1), "0 and 1 were there before");
        assert_eq!((counts.received, counts.repeated, counts.out_of_order), (6, 1, 2));
        assert_eq!(listener.lost(&room), 2, "5 and 7");
    }

    #[test]
    fn one_senders_order_counts_even_where_the_room_numbers_otherwise() {
        let (room, mut listener) = (room(6), Listener::default());
        listener.opens(1_000);
        // Two senders: 0, 2, 4 and 1, 3, 5. That one overtakes the other is no disorder, that 4 overtakes 2 is one.
        for (number, id) in [(1, 1), (0, 2), (4, 3), (2, 4)] {
            listener.hears(2_000, &room, stamp(number), Some(id), 2);
        }
        assert_eq!(listener.counts.out_of_order, 1);
    }

    #[test]
    fn what_comes_again_after_a_history_was_lost_is_no_repeat() {
        let (room, mut listener) = (room(4), Listener::default());
        listener.opens(1_000);
        for number in 0..3 {
            listener.hears(2_000, &room, stamp(number), Some(number + 100), 1);
        }
        listener.resets();
        for number in [1, 2, 3, 2] {
            listener.hears(2_000, &room, stamp(number), Some(number), 1);
        }
        let counts = &listener.counts;
        assert_eq!((counts.received, counts.repeated, counts.out_of_order, counts.resets), (4, 1, 0, 1));
    }
}
