//! Bodies: bounded in size and in time.
//!
//! A body that says too much in `Content-Length` is refused unread; one that turns out too large is read a little
//! further before the answer, so that a client that writes first and reads later sees the 413 instead of a reset.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::{Instant, timeout_at};

use crate::media_type::require_json;
pub use crate::media_type::{ACCEPT_PATCH, ACCEPT_POST};
use crate::problem::Problem;

/// Largest SDP offer or fragment, in bytes.
pub const SDP_MAX: usize = 64 * 1024;
/// Largest JSON body, in bytes.
pub const JSON_MAX: usize = 16 * 1024;
/// A body must be complete after this.
pub const TIME: Duration = Duration::from_secs(10);
/// What is read and thrown away of a body that is too large, in bytes.
const DRAIN_MAX: usize = 1024 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Reads a body whole: 413 beyond `limit` bytes, 408 after `time`.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Bytes, Problem> {
    let deadline = Instant::now() + time;
    let said = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    if said.is_some_and(|said| said > limit) {
        drain(&mut stream).await;
        return Err(Problem::too_large(limit));
    }
    let mut whole = BytesMut::new();
    loop {
        match timeout_at(deadline, stream.next()).await {
            Err(_late) => return Err(Problem::request_timeout(time)),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(_broken))) => return Err(Problem::bad_request("the body broke off: send it again")),
            Ok(Some(Ok(part))) => {
                if whole.len().saturating_add(part.len()) > limit {
                    drain(&mut stream).await;
                    return Err(Problem::too_large(limit));
                }
                whole.extend_from_slice(&part);
            }
        }
    }
}

async fn drain(stream: &mut axum::body::BodyDataStream) {
    let deadline = Instant::now() + DRAIN_TIME;
    let mut drained = 0usize;
    while let Ok(Some(Ok(part))) = timeout_at(deadline, stream.next()).await {
        drained = drained.saturating_add(part.len());
        if drained > DRAIN_MAX {
            return;
        }
    }
}

/// Reads an offer or a fragment; 400 when it is not UTF-8.
pub async fn read_sdp(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    let bytes = read(headers, body, SDP_MAX, TIME).await?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::bad_request("the body is not UTF-8").reason("bad-sdp"))
}

/// Reads a JSON object of this type: 415 unless it says `application/json`, 400 when it is none. `form` shows one, for
/// whoever sent another.
pub async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    form: &str,
) -> Result<T, Problem> {
    require_json(headers)?;
    let bytes = read(headers, body, JSON_MAX, TIME).await?;
    object(&bytes, form).map_err(|detail| Problem::bad_request(detail).reason("bad-json"))
}

fn object<T: DeserializeOwned>(bytes: &[u8], form: &str) -> Result<T, String> {
    let place = |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    // Looked at first: an array of the members in their order would be taken for the object.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    serde_json::from_slice(bytes)
        .map_err(|error| match error.classify() {
            _ if first.is_none() => format!("the body is empty: send an object such as {form}"),
            Category::Syntax | Category::Io => format!("the body is not JSON at {}", place(&error)),
            Category::Eof => format!("the body is not JSON: it breaks off at {}", place(&error)),
            Category::Data => format!("the body is not of the form {form}: look at {}", place(&error)),
        })
        .and_then(|read| match first {
            Some(b'{') => Ok(read),
            _ => Err(format!("the body is no JSON object: send one such as {form}")),
        })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn chunks(parts: Vec<Bytes>) -> Body {
        Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size() {
        let none = HeaderMap::new();
        let parts = |n: usize| chunks(vec![Bytes::from(vec![b'x'; 10]); n]);
        assert_eq!(read(&none, parts(3), 30, TIME).await.unwrap().len(), 30);
        assert_eq!(read(&none, parts(4), 30, TIME).await.unwrap_err().status(), 413);
        let one_more = chunks(vec![Bytes::from(vec![b'x'; 30]), Bytes::from_static(b"x")]);
        assert_eq!(read(&none, one_more, 30, TIME).await.unwrap_err().status(), 413);
        let mut said = HeaderMap::new();
        said.insert(header::CONTENT_LENGTH, 31.into());
        assert_eq!(read(&said, parts(1), 30, TIME).await.unwrap_err().status(), 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_time() {
        let began = Instant::now();
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&HeaderMap::new(), body, 30, TIME).await.unwrap_err().status(), 408);
        assert_eq!(began.elapsed().as_secs(), 10);
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"xxxxxxxxxx")));
        let read = read(&HeaderMap::new(), Body::from_stream(endless), 30, TIME).await;
        assert_eq!(read.unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn json_wants_its_media_type() {
        let mut headers = HeaderMap::new();
        let read = read_json::<One>(&headers, Body::from(r#"{"n":7}"#), "").await;
        assert_eq!(read.unwrap_err().status(), 415);
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        assert_eq!(read_json::<One>(&headers, Body::from(r#" {"n":7}"#), "").await.unwrap().n, 7);
        let refused = read_json::<One>(&headers, Body::from("[7]"), "").await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.why()), (400, Some("bad-json")));
    }

    #[derive(Debug, serde::Deserialize)]
    struct One {
        n: u8,
    }

    #[test]
    fn json_is_an_object_and_refused_in_our_words() {
        let why = |text: &str| object::<One>(text.as_bytes(), r#"{"n": 1}"#).unwrap_err();
        for (text, word) in [
            ("[7]", "no JSON object"),
            ("7", "of the form"),
            ("", "empty"),
            (" ", "empty"),
            ("{\"n\":700}", "of the form {\"n\": 1}: look at line 1, column"),
            ("{\n\"m\":7}", "of the form"),
            ("{\"n\":7", "breaks off"),
            ("{'n':7}", "not JSON at line 1"),
            ("{\"n\":7}x", "not JSON"),
            ("{\"n\":\"\u{9b}\"}", "of the form"),
        ] {
            let detail = why(text);
            assert!(detail.contains(word), "{text}: {detail}");
            for word in ["invalid", "missing field", "expected", "unknown", "u8", "struct"] {
                assert!(!detail.contains(word), "{text}: {detail}");
            }
        }
    }
}
