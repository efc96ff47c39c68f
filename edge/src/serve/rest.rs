//! What is left of a request's body when its answer is ready.
//!
//! An answer that comes before the body was read (401, 415, …) would leave the client sending: HTTP/2 then resets the
//! stream behind the answer and HTTP/1.1 closes the connection, and clients that are still sending lose the answer with
//! it. So a small rest is read and thrown away before the answer goes out, bounded in size and in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::body::SDP_MAX;

/// What is read and thrown away, in bytes: as much as a body may have anywhere.
const MOST: usize = SDP_MAX;
/// How long that may take. It is the client's time to bring what it is sending already.
const TIME: Duration = Duration::from_secs(1);

/// A request's body that comes back when nobody wants it any more.
pub(super) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

/// Where it comes back to; `None` where the client waits to be asked for the body (RFC 9110, section 10.1.1): it sees
/// the answer first and sends none.
pub(super) type Back = Option<oneshot::Receiver<Incoming>>;

/// Lends a body.
pub(super) fn lend(body: Incoming, version: Version, headers: &HeaderMap) -> (Lent, Back) {
    if body.is_end_stream() || (version < Version::HTTP_2 && headers.contains_key(header::EXPECT)) {
        return (Lent { body: Some(body), back: None }, None);
    }
    let (back, rest) = oneshot::channel();
    (Lent { body: Some(body), back: Some(back) }, Some(rest))
}

/// Reads what is left, unless it is large or late, or a handler still has it.
pub(super) async fn clear(back: Back) {
    let Some(mut rest) = back.and_then(|mut back| back.try_recv().ok()) else { return };
    let (deadline, mut read) = (Instant::now() + TIME, 0_usize);
    if rest.size_hint().lower() > u64::try_from(MOST).unwrap_or(u64::MAX) {
        return;
    }
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, rest.frame()).await {
        read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if read > MOST {
            return;
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(back), Some(rest)) = (self.back.take(), rest) {
            // Who lent it may have gone with its connection.
            let _gone = back.send(rest);
        }
    }
}
