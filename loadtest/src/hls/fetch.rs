//! Playlists and media by HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::playlist::{Media, Playlist, Resource, parse};
use crate::client::{ClientError, WebClient, resolve_reference, within};

/// Largest playlist that is read, in bytes.
const PLAYLIST_MAX: usize = 4 << 20;
/// Largest segment that is read, in bytes.
const SEGMENT_MAX: u64 = 256 << 20;

/// Fetches for one viewer.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub web: WebClient,
    pub timeout: Duration,
}

/// A media playlist as it was read.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub what: T,
    /// The URL that answered: what references are relative to.
    pub base: String,
}

impl Fetcher {
    /// Reads a playlist of whichever kind. `patience`: the server may hold the request back for so long.
    pub async fn playlist(&self, url: &str, patience: Duration) -> Result<Fetched<Playlist>, ClientError> {
        let asking = async {
            let opened = self.web.open(&Method::GET, url, &[], Bytes::new()).await?;
            opened.whole(PLAYLIST_MAX).await
        };
        let answer = within(self.timeout.saturating_add(patience), "a playlist", asking).await?;
        if answer.status != 200 {
            return Err(answer.refusal(&Method::GET));
        }
        let bad = |why: String| ClientError::BadResponse { url: answer.url.clone(), why };
        let what = parse(&answer.text()).map_err(|error| bad(error.to_string()))?;
        Ok(Fetched { what, base: answer.url })
    }

    /// Reads a media playlist.
    pub async fn media(&self, url: &str, patience: Duration) -> Result<Fetched<Media>, ClientError> {
        let Fetched { what, base } = self.playlist(url, patience).await?;
        match what {
            Playlist::Media(what) => Ok(Fetched { what, base }),
            Playlist::Master(_) => {
                let why = "a playlist of variants where one of segments was announced".to_owned();
                Err(ClientError::BadResponse { url: base, why })
            }
        }
    }

    /// Reads something to its end and throws it away; says how many bytes it was.
    pub async fn resource(
        &self,
        base: &str,
        resource: &Resource,
        patience: Duration,
    ) -> Result<u64, ClientError> {
        let url = resolve_reference(base, &resource.uri)?;
        let range = resource.range.map(|(first, length)| {
            let last = length.map(|length| first.saturating_add(length).saturating_sub(1));
            ("range", format!("bytes={first}-{}", last.map_or(String::new(), |last| last.to_string())))
        });
        let asking = async {
            let headers = range.as_slice();
            let opened = self.web.open(&Method::GET, &url, headers, Bytes::new()).await?;
            if !matches!(opened.status, 200 | 206) {
                return Err(opened.whole(PLAYLIST_MAX).await?.refusal(&Method::GET));
            }
            opened.drain(SEGMENT_MAX).await
        };
        within(self.timeout.saturating_add(patience), "media", asking).await
    }
}

/// A URL with the directives of a reload that the server holds back.
pub(super) fn held_back(url: &str, (segment, part): (u64, Option<usize>)) -> String {
    let bare = url.split_once('#').map_or(url, |(bare, _)| bare);
    let joint = if bare.contains('?') { '&' } else { '?' };
    let part = part.map_or(String::new(), |part| format!("&_HLS_part={part}"));
    format!("{bare}{joint}_HLS_msn={segment}{part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_come_behind_what_is_there() {
        assert_eq!(held_back("http://h/a.m3u8", (5, None)), "http://h/a.m3u8?_HLS_msn=5");
        assert_eq!(held_back("http://h/a?t=1#x", (5, Some(2))), "http://h/a?t=1&_HLS_msn=5&_HLS_part=2");
    }
}
