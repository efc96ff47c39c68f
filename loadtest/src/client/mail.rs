//! Commands to the task of a session.
//!
//! A task is woken for each packet and hardly ever for a command. Looking into an empty channel costs a tenth of what a packet
//! costs that is counted by its header; so it is looked into only when something was put there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendError, TrySendError};

/// A channel for so many commands.
pub(super) fn mail<T>(size: usize) -> (Sender<T>, Receiver<T>) {
    let (inner, commands) = mpsc::channel(size);
    let waiting = Arc::new(AtomicUsize::new(0));
    let sender = Sender { inner, waiting: Arc::clone(&waiting) };
    (sender, Receiver { inner: commands, waiting, registered: false })
}

pub(super) struct Sender<T> {
    inner: mpsc::Sender<T>,
    waiting: Arc<AtomicUsize>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> Sender<T> {
    pub fn try_send(&self, command: T) -> Result<(), TrySendError<T>> {
        // Before it is there: who is woken by it must not find the count at zero.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let sent = self.inner.try_send(command);
        if sent.is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        sent
    }

    pub async fn send(&self, command: T) -> Result<(), SendError<T>> {
        let Ok(place) = self.inner.reserve().await else { return Err(SendError(command)) };
        self.waiting.fetch_add(1, Ordering::AcqRel);
        place.send(command);
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // That the last one is gone has to be seen as well.
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }
}

pub(super) struct Receiver<T> {
    inner: mpsc::Receiver<T>,
    /// Put there, or about to be.
    waiting: Arc<AtomicUsize>,
    /// The channel knows whom to wake.
    registered: bool,
}

impl<T> Receiver<T> {
    /// The next command; `None` once there is nobody to send one.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if self.registered && self.waiting.load(Ordering::Acquire) == 0 {
            return Poll::Pending;
        }
        let came = self.inner.poll_recv(context);
        self.registered = came.is_pending();
        if let Poll::Ready(Some(_)) = came {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_command_comes_and_the_end_too() {
        let (sender, mut receiver) = mail(2);
        let taker = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(command) = poll_fn(|context| receiver.poll(context)).await {
                taken.push(command);
            }
            taken
        });
        for number in 0..1_000 {
            if number % 3 == 0 {
                sender.send(number).await.unwrap();
            } else {
                while sender.try_send(number).is_err() {
                    tokio::task::yield_now().await;
                }
            }
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        drop(sender.clone());
        drop(sender);
        let taken =
            tokio::time::timeout(Duration::from_secs(5), taker).await.expect("the end is seen").unwrap();
        assert_eq!(taken, (0..1_000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_command_is_overlooked_by_a_task_on_another_thread() {
        let (sender, mut receiver) = mail(8);
        let taker = tokio::spawn(async move {
            let mut count = 0_u32;
            while poll_fn(|context| receiver.poll(context)).await.is_some() {
                count += 1;
            }
            count
        });
        let putters = (0..4).map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for _ in 0..5_000 {
                    sender.send(()).await.unwrap();
                }
            })
        });
        for putter in putters.collect::<Vec<_>>() {
            putter.await.unwrap();
        }
        drop(sender);
        let count =
            tokio::time::timeout(Duration::from_secs(20), taker).await.expect("the end is seen").unwrap();
        assert_eq!(count, 20_000);
    }
}
