//! A session's own events (WHEP draft section 4.9.1), of which one concerns a viewer that only measures: `reconnect`.

use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::headers::links;
use super::http::HttpCaller;
use super::target::resolve_reference;

/// The extension's relation type.
const EXTENSION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const RECONNECT: &str = "reconnect";
/// Longest line of a stream; who sends a longer one is not listened to any more.
const LINE_MAX: usize = 64 * 1024;
/// A stream that ended is asked for again after so long, and so many times in a row.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

/// A server told a viewer to drop its session and to make a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    /// The endpoint to go to, if it is not the one of before.
    pub url: Option<String>,
}

/// Listens as long as it lives.
#[derive(Debug)]
pub(super) struct Events {
    task: JoinHandle<()>,
    told: watch::Receiver<Option<Reconnect>>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Events {
    /// Listens where the response's `Link` says that `reconnect` may come; a server without it costs nothing.
    pub fn listen(headers: &HeaderMap, base: &str, caller: HttpCaller) -> Option<Self> {
        let url = resolve_reference(base, &offered(headers)?).ok()?;
        let (tell, told) = watch::channel(None);
        let task = tokio::spawn(async move {
            match listen(&caller, &url).await {
                Some(reconnect) => drop(tell.send_replace(Some(reconnect))),
                // Nothing will come; the sender stays, so that nobody takes its end for news.
                None => tell.closed().await,
            }
        });
        Some(Self { task, told })
    }

    pub fn told(&self) -> watch::Receiver<Option<Reconnect>> {
        self.told.clone()
    }
}

/// Where the extension is, if the server offers `reconnect` or does not say which events it has.
fn offered(headers: &HeaderMap) -> Option<String> {
    let found = links(headers).into_iter().find(|link| link.is(EXTENSION))?;
    let wanted = found
        .parameter("events")
        .is_none_or(|events| events.split(',').any(|event| event.trim().eq_ignore_ascii_case(RECONNECT)));
    wanted.then_some(found.url)
}

async fn listen(caller: &HttpCaller, url: &str) -> Option<Reconnect> {
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let body = Bytes::from_static(br#"["reconnect"]"#);
    let made = caller.send(&Method::POST, url, &json, body).await.ok()?;
    if !matches!(made.status, 200..=299) {
        return None;
    }
    let stream = resolve_reference(&made.url, made.header("location")?).ok()?;
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        // What answers with an error has no events any more.
        let mut body = caller.stream(&stream).await.ok()?;
        let mut reader = EventReader::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            let found = reader.push(data)?;
            tries = 0;
            if let Some((_, data)) = found.into_iter().find(|(event, _)| event == RECONNECT) {
                return Some(Reconnect { url: target(&data) });
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    None
}

/// The `url` of the event's data.
fn target(data: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(data).ok()?;
    value.get("url")?.as_str().filter(|url| !url.is_empty()).map(str::to_owned)
}

/// Reads an event stream in whatever pieces it comes (HTML standard section 9.2.6).
#[derive(Debug, Default)]
struct EventReader {
    line: Vec<u8>,
    /// The last byte was a CR: an LF behind it ends nothing.
    returned: bool,
    event: String,
    data: String,
}

impl EventReader {
    /// The events that a piece completes; `None` if a line is too long.
    fn push(&mut self, piece: &[u8]) -> Option<Vec<(String, String)>> {
        let mut events = Vec::new();
        for byte in piece {
            let after_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ if self.line.len() >= LINE_MAX => return None,
                _ => self.line.push(*byte),
            }
        }
        Some(events)
    }

    fn end_of_line(&mut self) -> Option<(String, String)> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            return (!event.is_empty()).then_some((event, data));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            // The draft allows one line of data.
            "data" if self.data.is_empty() => value.clone_into(&mut self.data),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_in_whatever_pieces_it_comes() {
        let text = b": hello\r\n\r\nevent: active\ndata: {}\n\nevent:reconnect\rdata: {\"url\":\"/x\"}\r\rdata: nothing\n\n";
        let expected =
            [("active", "{}"), ("reconnect", r#"{"url":"/x"}"#)].map(|(e, d)| (e.to_owned(), d.to_owned()));
        for size in 1..text.len() {
            let mut reader = EventReader::default();
            let found: Vec<_> = text.chunks(size).flat_map(|piece| reader.push(piece).unwrap()).collect();
            assert_eq!(found, expected, "pieces of {size}");
        }
        assert_eq!(EventReader::default().push(&vec![b'x'; LINE_MAX + 1]), None);
    }

    #[test]
    fn the_events_own_url_goes_before() {
        assert_eq!(target(r#"{"url":"http://h/whep"}"#).as_deref(), Some("http://h/whep"));
        for none in ["{}", "", "nonsense", r#"{"url":""}"#, r#"{"url":7}"#] {
            assert_eq!(target(none), None, "{none}");
        }
    }

    #[test]
    fn who_does_not_offer_it_is_not_asked() {
        let of = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(::http::header::LINK, link.parse().unwrap());
            offered(&headers)
        };
        let rel = format!("rel=\"{EXTENSION}\"");
        assert_eq!(of(&format!("</s>; {rel}; events=\"active,inactive,layers\"")), None);
        assert_eq!(of(&format!("</s>; {rel}; events=\"active, reconnect\"")).as_deref(), Some("/s"));
        assert_eq!(of(&format!("</s>; {rel}")).as_deref(), Some("/s"), "it does not say what it has");
        assert_eq!(of("</s>; rel=\"ice-server\""), None);
    }
}
