//! A page of text that is fetched again and again, such as a server's metrics.

use std::time::Duration;

use ::http::Method;
use bytes::Bytes;

use super::http::HttpCaller;
use super::{ClientError, ViewerConfig};

/// A page by its URL.
#[derive(Debug, Clone)]
pub struct Page {
    caller: HttpCaller,
    url: String,
}

impl Page {
    /// The page at a URL, of so many bytes at most, within such a time; as careful of its target as `like`.
    pub fn new(url: &str, most: usize, within: Duration, like: &ViewerConfig) -> Result<Self, ClientError> {
        let caller = HttpCaller::new(None, like.allow_public, within, &like.trust, None)?;
        let caller = caller.kept_by(like.gate.clone());
        Ok(Self { caller: caller.reading(most), url: url.to_owned() })
    }

    /// What it says now.
    pub async fn fetch(&self) -> Result<String, ClientError> {
        let answer = self.caller.send(&Method::GET, &self.url, &[], Bytes::new()).await?;
        if answer.status != 200 {
            return Err(answer.refusal(&Method::GET));
        }
        Ok(answer.text())
    }
}
