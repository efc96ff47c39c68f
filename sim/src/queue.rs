//! What happens when, in virtual time. Events of one moment happen in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

struct Due<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events by time since the start of the run.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Due<E>>>,
    order: u64,
}

impl<E> Queue<E> {
    /// Nothing will happen.
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), order: 0 }
    }

    /// Something will.
    pub fn push(&mut self, at: Duration, event: E) {
        self.order = self.order.saturating_add(1);
        self.heap.push(Reverse(Due { at, order: self.order, event }));
    }

    /// What happens next.
    pub fn pop(&mut self) -> Option<(Duration, E)> {
        self.heap.pop().map(|Reverse(due)| (due.at, due.event))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}
