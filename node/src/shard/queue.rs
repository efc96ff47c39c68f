//! Where packets wait for a shard: those of links, and those of other shards.
//!
//! A shard that does not keep up loses the oldest, and they are counted; nobody waits for it. A burst may wait, but a
//! queue that is not empty for a while does not become so by waiting: then what is old makes way, because it is too late
//! for players and takes the time of what is fresh.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Packets that wait at most: about 20 MB.
const WAITING: usize = 16_384;
/// A queue that has not been empty for so long is that of a shard with too much to do.
const STANDING: Duration = Duration::from_secs(1);
/// What has waited for so long in such a queue is dropped.
const STALE: Duration = Duration::from_millis(100);

/// Packets that wait for one shard.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Notify,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Waiting<T> {
    /// Each with the time since when it waits.
    items: VecDeque<(Instant, T)>,
    /// Since when something waits.
    since: Option<Instant>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let waiting = Waiting { items: VecDeque::new(), since: None };
        Self { waiting: Mutex::new(waiting), wake: Notify::new(), dropped: AtomicU64::new(0) }
    }
}

impl<T> Queue<T> {
    /// Hands a packet over.
    pub fn put(&self, now: Instant, item: T) {
        self.put_all(now, std::iter::once(item));
    }

    /// Hands packets over, under one lock and with one wake-up.
    pub fn put_all(&self, now: Instant, items: impl Iterator<Item = T>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.since.get_or_insert(now);
        waiting.items.extend(items.map(|item| (now, item)));
        let surplus = waiting.items.len().saturating_sub(WAITING);
        waiting.items.drain(..surplus);
        drop(waiting);
        self.drop_some(surplus);
        self.wake.notify_one();
    }

    /// Takes what waits, oldest first, so many at most. What is left makes [`Self::filled`] return at once.
    pub fn take(&self, now: Instant, most: usize, into: &mut Vec<T>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { items, since } = &mut *waiting;
        let mut stale = 0;
        if since.is_some_and(|since| now.saturating_duration_since(since) >= STANDING) {
            stale = items.partition_point(|(put, _)| now.saturating_duration_since(*put) > STALE);
            items.drain(..stale);
        }
        let most = items.len().min(most);
        into.extend(items.drain(..most).map(|(_, item)| item));
        let left = !items.is_empty();
        if !left {
            *since = None;
        }
        drop(waiting);
        self.drop_some(stale);
        if left {
            self.wake.notify_one();
        }
    }

    /// Returns once something waits that was put, or left, since the last time that this returned.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Packets lost because the shard did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn drop_some(&self, packets: usize) {
        if packets > 0 {
            self.dropped.fetch_add(u64::try_from(packets).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn taken(queue: &Queue<usize>, now: Instant, most: usize) -> Vec<usize> {
        let mut taken = vec![];
        queue.take(now, most, &mut taken);
        taken
    }

    #[test]
    fn a_full_queue_loses_the_oldest_and_they_are_counted() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.put_all(now, 0..WAITING);
        (0..10).for_each(|more| queue.put(now, WAITING + more));
        assert_eq!(queue.dropped(), 10);
        let left = taken(&queue, now, usize::MAX);
        assert_eq!(left, (10..WAITING + 10).collect::<Vec<_>>(), "in order, the newest kept");
    }

    #[tokio::test]
    async fn nothing_that_was_put_or_left_is_missed() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.put_all(now, 0..3);
        let soon = |queue| async move { tokio::time::timeout(MS * 50, Queue::filled(queue)).await.is_ok() };
        assert!(soon(&queue).await);
        assert_eq!(taken(&queue, now, 2), [0, 1]);
        assert!(soon(&queue).await, "one is left");
        assert_eq!(taken(&queue, now, 2), [2]);
        assert!(!soon(&queue).await, "none is left");
    }

    #[test]
    fn a_burst_may_wait_and_a_standing_queue_keeps_what_is_fresh() {
        let (queue, begin) = (Queue::default(), Instant::now());
        // The shard stood still for most of a second: nothing is lost.
        (0..900).for_each(|n: usize| queue.put(begin + MS * u32::try_from(n).unwrap(), n));
        assert_eq!(taken(&queue, begin + MS * 900, usize::MAX).len(), 900);
        assert_eq!(queue.dropped(), 0);
        // Two come in each millisecond and one is taken: from a second on nothing is old that is taken.
        let begin = begin + MS * 1_000;
        for n in 0..3_000 {
            let now = begin + MS * n;
            queue.put_all(now, [n as usize, n as usize].into_iter());
            let one = taken(&queue, now, 1)[0];
            let age = n as usize - one;
            if n < 999 {
                assert_eq!(age, n as usize - n as usize / 2, "all are taken, each in its turn");
            } else if n > 1_000 {
                assert!(age <= 100, "{age} ms");
            }
        }
        assert!((2_700..2_900).contains(&queue.dropped()), "{} of 6,000", queue.dropped());
        // It has caught up: bursts may wait again.
        let later = begin + MS * 3_000;
        taken(&queue, later, usize::MAX);
        let dropped = queue.dropped();
        queue.put(later, 1);
        assert_eq!(taken(&queue, later + MS * 900, 1), [1]);
        assert_eq!(queue.dropped(), dropped);
    }
}
