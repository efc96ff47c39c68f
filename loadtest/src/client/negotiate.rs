//! From a configuration to a session that only needs driving: socket, offer, POST, answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::http::Method;
use bytes::Bytes;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::{Candidate, Rtc};
use tokio::net::UdpSocket;

use super::headers::{IceServer, ice_servers, retry_after};
use super::http::HttpCaller;
use super::resource::SessionResource;
use super::rtc::{self, Codecs};
use super::target::{check_url, is_near, resolve_reference};
use super::{ClientError, HttpResponse, Trust, sdp};
use crate::media::Kind;

/// Receive buffer asked for: the kernel may give less, and what it drops is reported.
const RECEIVE_BUFFER: usize = 1 << 20;
const SEND_BUFFER: usize = 1 << 20;
/// Pause before a retry where the server named none.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What publisher and viewer have in common when they open a session.
#[derive(Debug, Clone)]
pub(super) struct Opening<'a> {
    pub url: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(String, String)],
    pub bind: Option<IpAddr>,
    pub http_bind: Option<IpAddr>,
    pub allow_public: bool,
    pub trust: &'a Trust,
    pub http_timeout: Duration,
    /// Obey `Retry-After` for so long.
    pub retry_for: Duration,
    pub codecs: Codecs,
    pub medias: &'a [Kind],
    pub direction: Direction,
}

/// How the two sides agreed.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// The offer that was sent.
    pub offer: String,
    /// The answer as it came.
    pub answer: String,
    /// The whole 201 response.
    pub response: HttpResponse,
    /// `ETag` of the response.
    pub etag: Option<String>,
    /// STUN and TURN servers that the response named.
    pub ice_servers: Vec<IceServer>,
    /// From the first request to the response that succeeded.
    pub http_time: Duration,
    /// Requests made; more than 1 where the server asked to come again.
    pub attempts: u32,
}

pub(super) struct Opened {
    pub rtc: Rtc,
    pub socket: UdpSocket,
    pub local: SocketAddr,
    pub mids: Vec<(Mid, Kind)>,
    pub negotiated: Negotiated,
    pub resource: SessionResource,
}

pub(super) async fn open(opening: &Opening<'_>) -> Result<Opened, ClientError> {
    let target = check_url(opening.url, opening.allow_public).await?;
    let (socket, local) = bind(opening.bind, target)?;
    let mut rtc = rtc::build(&opening.codecs, Instant::now())?;
    let session = |error: &dyn std::fmt::Display| ClientError::Session(error.to_string());
    let candidate = Candidate::host(local, "udp").map_err(|error| session(&error))?;
    rtc.add_local_candidate(candidate);
    let mut changes = rtc.sdp_api();
    let mut mids = Vec::with_capacity(opening.medias.len());
    for kind in opening.medias {
        let media = match kind {
            Kind::Video => MediaKind::Video,
            Kind::Audio => MediaKind::Audio,
        };
        mids.push((changes.add_media(media, opening.direction, None, None, None), *kind));
    }
    let Some((offer, pending)) = changes.apply() else {
        return Err(ClientError::BadConfig("a session needs video, audio or both".into()));
    };
    let offer = offer.to_sdp_string();

    let token = opening.token.map(str::to_owned);
    let (timeout, from) = (opening.http_timeout, opening.http_bind);
    let caller = HttpCaller::new(token, opening.allow_public, timeout, opening.trust, from)?;
    let began = Instant::now();
    let (response, attempts) = post(opening, &caller, &offer).await?;
    let http_time = began.elapsed();
    let answer = response.text();
    let bad = |why: String| ClientError::BadResponse { url: response.url.clone(), why };
    let location = response.header("location").ok_or_else(|| bad("201 without Location".into()))?;
    let url = resolve_reference(&response.url, location)?;
    if let Some(public) =
        sdp::candidate_addresses(&answer).into_iter().find(|ip| !opening.allow_public && !is_near(*ip))
    {
        return Err(ClientError::ForbiddenTarget {
            host: "a candidate of the answer".into(),
            address: public,
        });
    }
    let parsed =
        SdpAnswer::from_sdp_string(&answer).map_err(|error| bad(format!("no SDP answer: {error}")))?;
    rtc.sdp_api()
        .accept_answer(pending, parsed)
        .map_err(|error| bad(format!("the SDP answer does not fit: {error}")))?;

    let etag = response.header("etag").map(str::to_owned);
    let ice_servers = ice_servers(&response.headers);
    let resource = SessionResource::new(url, caller, etag.clone(), offer.clone(), answer.clone());
    let negotiated = Negotiated { offer, answer, response, etag, ice_servers, http_time, attempts };
    Ok(Opened { rtc, socket, local, mids, negotiated, resource })
}

async fn post(
    opening: &Opening<'_>,
    caller: &HttpCaller,
    offer: &str,
) -> Result<(HttpResponse, u32), ClientError> {
    let mut headers = vec![("content-type".to_owned(), "application/sdp".to_owned())];
    headers.extend(opening.headers.iter().cloned());
    let end = Instant::now() + opening.retry_for;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let body = Bytes::copy_from_slice(offer.as_bytes());
        let response = caller.send(&Method::POST, opening.url, &headers, body).await?;
        if response.status == 201 {
            return Ok((response, attempts));
        }
        let asked = retry_after(&response.headers);
        let again = response.status == 503 || (matches!(response.status, 409 | 429) && asked.is_some());
        let pause = asked.unwrap_or(RETRY_PAUSE).max(Duration::from_millis(50));
        if !again || Instant::now() + pause > end {
            return Err(response.refusal(&Method::POST));
        }
        tokio::time::sleep(pause).await;
    }
}

fn bind(ip: Option<IpAddr>, target: SocketAddr) -> Result<(UdpSocket, SocketAddr), ClientError> {
    let host = |what: &str, error: std::io::Error| ClientError::Host {
        what: what.to_owned(),
        why: error.to_string(),
    };
    let ip = match ip {
        Some(ip) => ip,
        None => towards(target).map_err(|error| host("no local address towards the target", error))?,
    };
    let socket =
        std::net::UdpSocket::bind((ip, 0)).map_err(|error| host("a UDP socket cannot be bound", error))?;
    let options = socket2::SockRef::from(&socket);
    // The kernel clamps these to its limits; drops are counted, so a smaller buffer does not go unnoticed.
    for result in [options.set_recv_buffer_size(RECEIVE_BUFFER), options.set_send_buffer_size(SEND_BUFFER)] {
        result.map_err(|error| host("a UDP socket's buffer cannot be set", error))?;
    }
    let prepared = socket.set_nonblocking(true).and_then(|()| {
        let local = socket.local_addr()?;
        Ok((UdpSocket::from_std(socket)?, local))
    });
    prepared.map_err(|error| host("a UDP socket cannot be used", error))
}

/// The local address from which the target is reached. No packet is sent.
fn towards(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip())
}
