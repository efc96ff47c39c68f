//! Whether anything is asked on a connection, and since when not.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

#[derive(Debug)]
struct State {
    /// Requests whose answers are not sent yet.
    active: usize,
    /// Since when there is none.
    quiet_since: Instant,
    /// There has been one.
    asked: bool,
    /// Answers that gave a part of their body which is not sent yet, by number, and since when.
    given: BTreeMap<u64, Instant>,
    next: u64,
}

/// Shared by a connection and the requests on it.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            active: 0,
            quiet_since: now,
            asked: false,
            given: BTreeMap::new(),
            next: 0,
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // Every change is one assignment or two: a panic elsewhere leaves nothing half done.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Asked {
        let number = self.with(|s| {
            s.active = s.active.saturating_add(1);
            s.asked = true;
            s.next = s.next.wrapping_add(1);
            s.next
        });
        Asked(self.clone(), number)
    }

    /// When the connection is to be closed unless something is asked. While something is, it is far away, but for a client
    /// who takes nothing of an answer for as long as `stalled`: its window (RFC 9113 section 5.2) is closed, and the kernel,
    /// to which it acknowledges everything, does not see it.
    pub(super) fn deadline(&self, first: Duration, idle: Duration, stalled: Duration) -> Instant {
        self.with(|s| {
            let allowed = if s.asked { idle } else { first };
            let idle = if s.active > 0 { Instant::now() + idle } else { s.quiet_since + allowed };
            s.given.values().min().map_or(idle, |since| idle.min(*since + stalled))
        })
    }
}

/// A request that is being answered.
pub(super) struct Asked(Activity, u64);

impl Asked {
    /// Ends when the response's body has been sent or dropped.
    pub(super) fn keep_with(self, response: Response) -> Response {
        response.map(|body| Body::new(Watched { body, asked: self }))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.with(|s| {
            s.given.remove(&self.1);
            s.active = s.active.saturating_sub(1);
            s.quiet_since = Instant::now();
        });
    }
}

struct Watched {
    body: Body,
    asked: Asked,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Asked(activity, number) = &self.asked;
        // It is polled again as soon as the client takes more.
        activity.with(|s| match &polled {
            Poll::Ready(Some(Ok(_))) => drop(s.given.insert(*number, Instant::now())),
            _ => drop(s.given.remove(number)),
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
