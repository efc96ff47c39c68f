//! The session's own URL: trickle, ICE restart and the end of a session (RFC 9725 sections 4.2 and 4.3).

use std::sync::Mutex;
use std::time::Duration;

use ::http::Method;
use bytes::Bytes;

use super::guard::lock;
use super::http::HttpCaller;
use super::{ClientError, HttpResponse, sdp};

const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// So long a server is waited for that is told of a session's end, at most: goodbyes of thousands are not to wait for one.
const PARTING: Duration = Duration::from_secs(2);

/// A session as its server names it.
#[derive(Debug)]
pub struct SessionResource {
    url: String,
    caller: HttpCaller,
    etag: Mutex<Option<String>>,
    offer: Mutex<String>,
    answer: Mutex<String>,
}

/// What a PATCH did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchOutcome {
    /// Status of the response.
    pub status: u16,
    /// `ETag` of the response.
    pub etag: Option<String>,
    /// Its body: empty, or a fragment with the server's new credentials.
    pub body: String,
}

impl SessionResource {
    pub(super) fn new(
        url: String,
        caller: HttpCaller,
        etag: Option<String>,
        offer: String,
        answer: String,
    ) -> Self {
        Self { url, caller, etag: Mutex::new(etag), offer: Mutex::new(offer), answer: Mutex::new(answer) }
    }

    /// Answers the server's own offer (406 of the WHEP draft); gives the `ETag` of the response.
    pub(super) async fn answer(&self, sdp: &str) -> Result<Option<String>, ClientError> {
        let headers = [("content-type", "application/sdp")];
        let taken = self.request(Method::PATCH, &headers, sdp.to_owned()).await?;
        if !matches!(taken.status, 200..=299) {
            return Err(taken.refusal(&Method::PATCH));
        }
        Ok(taken.header("etag").map(str::to_owned))
    }

    /// The server's own offer was answered: with this, and by this it is remembered.
    pub(super) fn countered(&self, etag: Option<String>, ours: &str, theirs: String) {
        if etag.is_some() {
            *lock(&self.etag) = etag;
        }
        ours.clone_into(&mut lock(&self.offer));
        *lock(&self.answer) = theirs;
    }

    /// The session's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The last `ETag`.
    pub fn etag(&self) -> Option<String> {
        lock(&self.etag).clone()
    }

    /// Any request to the session's URL, with the session's token; statuses are not judged.
    pub async fn request(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<HttpResponse, ClientError> {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.caller.send(&method, &self.url, &headers, body.into()).await
    }

    /// A caller like the session's own.
    pub(super) fn caller(&self) -> HttpCaller {
        self.caller.clone()
    }

    /// Sends candidates (`candidate:…` lines without `a=`), with `If-Match` where the server gave an `ETag`.
    pub async fn trickle(
        &self,
        candidates: &[String],
        end_of_candidates: bool,
    ) -> Result<PatchOutcome, ClientError> {
        let body = sdp::fragment(&lock(&self.offer), candidates, end_of_candidates);
        let etag = self.etag();
        self.patch(body, etag.as_deref()).await
    }

    /// Ends the session. A server that does not know it any more (404) has ended it too. Takes 2 s at most.
    pub async fn delete(&self) -> Result<(), ClientError> {
        let asking = self.request(Method::DELETE, &[], Bytes::new());
        let answered = tokio::time::timeout(PARTING, asking).await;
        let response =
            answered.map_err(|_| ClientError::Timeout { what: "DELETE".into(), after: PARTING })??;
        if matches!(response.status, 200..=299 | 404) {
            Ok(())
        } else {
            Err(response.refusal(&Method::DELETE))
        }
    }

    /// Tells the server that the session has come to nothing, so that it does not keep it until its own time is over.
    pub(super) async fn abandon(&self) {
        if let Err(error) = self.delete().await {
            tracing::debug!(%error, "a session that came to nothing could not be deleted");
        }
    }

    /// Sends the credentials of a new offer and gives the answer of before with the server's new ones.
    pub(super) async fn restart(&self, offer: &str) -> Result<(PatchOutcome, String), ClientError> {
        let candidates = sdp::ice_attributes(offer).candidates;
        let outcome = self.patch(sdp::fragment(offer, &candidates, false), Some("*")).await?;
        let fresh = sdp::ice_attributes(&outcome.body);
        if fresh.ufrag.is_none() || fresh.pwd.is_none() {
            let why = format!("an ICE restart was answered with {} and no new credentials", outcome.status);
            return Err(ClientError::BadResponse { url: self.url.clone(), why });
        }
        let renewed = sdp::renewed_answer(&lock(&self.answer), &outcome.body);
        *lock(&self.offer) = offer.to_owned();
        lock(&self.answer).clone_from(&renewed);
        Ok((outcome, renewed))
    }

    async fn patch(&self, body: String, if_match: Option<&str>) -> Result<PatchOutcome, ClientError> {
        let mut headers = vec![("content-type", FRAGMENT)];
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        let response = self.request(Method::PATCH, &headers, body).await?;
        if !matches!(response.status, 200..=299) {
            return Err(response.refusal(&Method::PATCH));
        }
        let etag = response.header("etag").map(str::to_owned);
        if etag.is_some() {
            lock(&self.etag).clone_from(&etag);
        }
        Ok(PatchOutcome { status: response.status, etag, body: response.text() })
    }
}
