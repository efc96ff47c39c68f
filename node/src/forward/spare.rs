//! Memory of viewers who have gone, for those who come.
//!
//! What a viewer was sent is remembered in two lists of some kilobytes. When it goes, they are emptied and overwritten,
//! and their memory waits here for the next viewer. Nothing else of a session comes here: no keys, no media, and nothing
//! that says whose it was.

use super::blank::Blank;
use super::egress::repeated::Repeat;
use super::history::Sent;

/// What is kept for the viewers who come.
#[derive(Debug, Default)]
pub struct Spares {
    most: usize,
    histories: Vec<Blank<Sent>>,
    repeated: Vec<Blank<Repeat>>,
}

impl Spares {
    /// Keeps so many lists of each kind at most.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// For the packets sent to a viewer, if somebody left some.
    pub fn history(&mut self) -> Blank<Sent> {
        self.histories.pop().unwrap_or_default()
    }

    /// For what is sent again, if somebody left some.
    pub fn repeated(&mut self) -> Blank<Repeat> {
        self.repeated.pop().unwrap_or_default()
    }

    /// Takes what a viewer leaves.
    pub fn keep(&mut self, history: Blank<Sent>, repeated: impl Iterator<Item = Blank<Repeat>>) {
        keep(&mut self.histories, self.most, history);
        repeated.for_each(|memory| keep(&mut self.repeated, self.most, memory));
    }

    /// How many lists of each kind there are: of packets sent, and of packets sent again.
    pub fn kept(&self) -> (usize, usize) {
        (self.histories.len(), self.repeated.len())
    }
}

/// Who was sent nothing has made no list.
fn keep<T>(kept: &mut Vec<Blank<T>>, most: usize, memory: Blank<T>) {
    if memory.has_memory() && kept.len() < most {
        kept.push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_bounded_and_nothing_that_has_no_memory() {
        let mut spares = Spares::new(3);
        for _ in 0..5 {
            spares.keep(Blank::default(), std::iter::once(Blank::default()));
        }
        assert_eq!(spares.kept(), (0, 0));
        for _ in 0..5 {
            let (sent, repeated) = (vec![Sent::default(); 8], [(); 2].map(|()| vec![Repeat::default(); 8]));
            spares.keep(Blank::of(sent), repeated.into_iter().map(Blank::of));
        }
        assert_eq!(spares.kept(), (3, 3));
        assert!(
            spares.history().into_list().capacity() >= 8 && spares.repeated().into_list().capacity() >= 8
        );
        assert_eq!(spares.kept(), (2, 2));
        let rest: Vec<usize> = (0..3).map(|_| spares.history().into_list().capacity()).collect();
        assert!(rest[1] >= 8 && rest[2] == 0, "nothing is left: new memory; {rest:?}");
    }
}
