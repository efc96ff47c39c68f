//! Media types of bodies, and the headers that announce them.

use http::header::HeaderName;
use http::{HeaderMap, header};

use crate::problem::Problem;

/// Offers and answers.
pub const SDP: &str = "application/sdp";
/// SDP fragments in PATCH (RFC 8840).
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// JSON.
pub const JSON: &str = "application/json";

/// The media types that POST takes (Linked Data Platform section 7.1).
pub const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// The media types that PATCH takes (RFC 5789 section 3.1).
pub const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Whether `Content-Type` is this media type. Parameters mean nothing here; case does not matter.
pub fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next().and_then(|v| v.to_str().ok());
    let essence = first.map(|t| t.split(';').next().unwrap_or_default().trim());
    values.next().is_none() && essence.is_some_and(|e| e.eq_ignore_ascii_case(wanted))
}

/// Refuses with 415 unless the body is an offer.
pub fn require_sdp(headers: &HeaderMap) -> Result<(), Problem> {
    require(headers, SDP, ACCEPT_POST)
}

/// Refuses with 415 unless the body is a fragment.
pub fn require_fragment(headers: &HeaderMap) -> Result<(), Problem> {
    require(headers, FRAGMENT, ACCEPT_PATCH)
}

/// Refuses with 415 unless the body is JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    require(headers, JSON, ACCEPT_POST)
}

fn require(headers: &HeaderMap, wanted: &'static str, accept: HeaderName) -> Result<(), Problem> {
    if is_type(headers, wanted) { Ok(()) } else { Err(Problem::unsupported_media_type(wanted, accept)) }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn media_types_are_compared_without_case_and_parameters() {
        let typed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            headers
        };
        for good in
            ["application/sdp", "Application/SDP", "application/sdp; charset=utf-8", " application/sdp ;x"]
        {
            require_sdp(&typed(good)).unwrap();
        }
        for bad in ["text/plain", "application/sdp2", "application/json;application/sdp", ""] {
            assert_eq!(require_sdp(&typed(bad)).unwrap_err().status(), 415, "{bad:?}");
        }
        assert_eq!(require_fragment(&HeaderMap::new()).unwrap_err().headers()["accept-patch"], FRAGMENT);
        let mut two = typed(SDP);
        two.append(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
        assert!(!is_type(&two, SDP));
    }
}
