//! Server-sent events: encoder, and a bounded channel that is a response body.
//!
//! A reader that does not keep up is never waited for: [`EventSender::try_send`] says `Full`, the sender is dropped, and
//! the stream ends after what was queued. The client comes back with the last id that it saw.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::media_type::EVENT_STREAM;
use crate::places::Place;
use crate::problem::Problem;

/// A comment is sent when nothing else was for so long, so that proxies keep the connection and the dead are found.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(Bytes);

impl Event {
    /// An event of this name whose data is JSON (one line, since JSON escapes line ends).
    pub fn json(name: &str, id: Option<u64>, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::text(name, id, &serde_json::to_string(data)?))
    }

    /// An event of this name with any text. Line ends in the data begin another `data:` line, those in the name are
    /// dropped: no text can make a field of its own.
    pub fn text(name: &str, id: Option<u64>, data: &str) -> Self {
        let mut out = String::with_capacity(data.len().saturating_add(48));
        if let Some(id) = id {
            out.push_str(&format!("id: {id}\n"));
        }
        out.push_str("event: ");
        out.extend(name.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')));
        out.push('\n');
        for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
            out.push_str("data: ");
            out.push_str(line);
            out.push('\n');
        }
        out.push('\n');
        Self(out.into())
    }

    /// Tells the client how long to wait before it comes back.
    pub fn retry(after: Duration) -> Self {
        Self(format!("retry: {}\n\n", after.as_millis()).into())
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The listener does not keep up: drop the sender.
    #[error("the listener's queue is full")]
    Full,
    /// The listener has gone.
    #[error("the listener has gone")]
    Closed,
}

/// The end that events are put in. Dropping it ends the response.
#[derive(Debug, Clone)]
pub struct EventSender(mpsc::Sender<Bytes>);

impl EventSender {
    /// Puts an event in without waiting.
    pub fn try_send(&self, event: Event) -> Result<(), SendError> {
        self.0.try_send(event.0).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Ends when the listener has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Whether the listener has gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Events that still fit.
    pub fn room(&self) -> usize {
        self.0.capacity()
    }
}

/// The response's side: events, and comments in between.
pub struct EventStream {
    /// Given back when the client has gone.
    _place: Option<Place>,
    events: mpsc::Receiver<Bytes>,
    keep_alive: Duration,
    timer: Pin<Box<Sleep>>,
}

impl EventStream {
    /// Holds a place as long as it is read.
    #[must_use]
    pub fn within(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = match self.events.poll_recv(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => event,
            Poll::Pending => {
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Bytes::from_static(b": keep-alive\n\n")
            }
        };
        let next = Instant::now() + self.keep_alive;
        self.timer.as_mut().reset(next);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        (headers(), Body::from_stream(self)).into_response()
    }
}

/// The headers of an event stream: all that HEAD is answered with.
pub fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}

/// Refuses with 406 a client that takes no event stream.
pub fn require_accepted(headers: &HeaderMap) -> Result<(), Problem> {
    if accepts(headers) {
        return Ok(());
    }
    let detail = "an event stream is text/event-stream, which Accept leaves out: add it";
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail).reason("not-acceptable"))
}

/// Whether a client that sends these headers takes an event stream: without `Accept` everything is taken.
fn accepts(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().peekable();
    let fits = |range: &str| {
        let mut parts = range.split(';');
        let kind = parts.next().unwrap_or_default().trim();
        let refused = |p: &str| p.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        let named = [EVENT_STREAM, "text/*", "*/*"].iter().any(|known| kind.eq_ignore_ascii_case(known));
        named && !parts.any(refused)
    };
    ranges.peek().is_none() || ranges.any(|v| v.to_str().is_ok_and(|text| text.split(',').any(fits)))
}

/// A queue of at most `capacity` events, and the response that sends them.
pub fn channel(capacity: usize, keep_alive: Duration) -> (EventSender, EventStream) {
    let (sender, events) = mpsc::channel(capacity.max(1));
    let timer = Box::pin(sleep_until(Instant::now() + keep_alive));
    (EventSender(sender), EventStream { _place: None, events, keep_alive, timer })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_is_written_as_the_html_standard_wants() {
        let event = Event::json("chat", Some(7), &serde_json::json!({"text": "a\nb"})).unwrap();
        assert_eq!(event.as_bytes(), b"id: 7\nevent: chat\ndata: {\"text\":\"a\\nb\"}\n\n");
        let event = Event::text("x\nid: 9", None, "a\r\nb\rc\n");
        assert_eq!(event.as_bytes(), b"event: xid: 9\ndata: a\ndata: b\ndata: c\ndata: \n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments() {
        let (sender, mut stream) = channel(2, KEEP_ALIVE);
        let began = Instant::now();
        assert_eq!(stream.next().await.unwrap().unwrap(), ": keep-alive\n\n");
        assert_eq!(began.elapsed(), KEEP_ALIVE);
        tokio::time::advance(Duration::from_secs(10)).await;
        sender.try_send(Event::text("a", None, "")).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "event: a\ndata: \n\n");
        assert_eq!(stream.next().await.unwrap().unwrap(), ": keep-alive\n\n");
        assert_eq!(began.elapsed().as_secs(), 15 + 10 + 15, "counted from what was sent last");
        drop(sender);
        assert!(stream.next().await.is_none());
    }

    #[test]
    fn an_event_stream_is_taken_by_who_names_it_or_everything() {
        let taken = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            accepts(&headers)
        };
        let good: [&[&str]; 6] =
            [&[], &["text/event-stream"], &["*/*"], &["a/b, Text/*;q=0.5"], &["a/b", "*/*"], &["a/b,*/*"]];
        for good in good {
            assert!(taken(good), "{good:?}");
        }
        for bad in ["", "application/json", "text/event-stream;q=0", "text/html, text/event"] {
            assert!(!taken(&[bad]), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_apart_from_one_that_left() {
        let (sender, stream) = channel(1, KEEP_ALIVE);
        sender.try_send(Event::text("a", None, "")).unwrap();
        assert_eq!(sender.try_send(Event::text("a", None, "")), Err(SendError::Full));
        drop(stream);
        assert_eq!(sender.try_send(Event::text("a", None, "")), Err(SendError::Closed));
        sender.closed().await;
    }

    proptest! {
        #[test]
        fn no_text_makes_a_field(name in "[a\\r\\n:]{0,9}", data in "(id: 1|\\r|\\n|x){0,20}") {
            let event = Event::text(&name, None, &data);
            let text = std::str::from_utf8(event.as_bytes()).unwrap();
            let body = text.strip_suffix("\n\n").unwrap();
            prop_assert!(!text.contains('\r'));
            for (i, line) in body.split('\n').enumerate() {
                prop_assert!(line.starts_with(if i == 0 { "event: " } else { "data: " }), "{text:?}");
            }
        }
    }
}
