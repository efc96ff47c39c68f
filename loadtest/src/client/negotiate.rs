//! From a configuration to a session that only needs driving: socket, offer, POST, answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Method;
use bytes::Bytes;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::{Candidate, Rtc};
use tokio::net::UdpSocket;

use super::contain::{PANICKED, contained};
use super::gate::Reach;
use super::headers::{IceServer, ice_servers, retry_after};
use super::http::{HttpCaller, Token};
use super::relay::{self, Relay, Wire};
use super::resource::SessionResource;
use super::rtc::{self, Codecs};
use super::target::{check_url, resolve_reference};
use super::{ClientError, Gate, HttpResponse, Trust, sdp};
use crate::media::Kind;

/// Receive buffer asked for: the kernel may give less, and what it drops is reported.
const RECEIVE_BUFFER: usize = 1 << 20;
const SEND_BUFFER: usize = 1 << 20;
/// Pause before a retry where the server named none.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Characters of what is no SDP that are shown.
const BEGINNING: usize = 40;
/// The status that carries a server's own offer.
const COUNTERED: u16 = 406;

/// What publisher and viewer have in common when they open a session.
#[derive(Debug, Clone)]
pub(super) struct Opening<'a> {
    pub url: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(String, String)],
    pub bind: Option<IpAddr>,
    pub http_bind: Option<IpAddr>,
    pub allow_public: bool,
    pub gate: Option<&'a Arc<Gate>>,
    pub trust: &'a Trust,
    pub http_timeout: Duration,
    /// Obey `Retry-After` for so long.
    pub retry_for: Duration,
    pub codecs: Codecs,
    pub medias: &'a [Kind],
    /// Names of the simulcast layers of what pictures are sent, the largest first; none: there is one encoding.
    pub layers: &'a [&'static str],
    pub direction: Direction,
    /// By a TURN server that the response names, and in no other way.
    pub relayed: bool,
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
    /// The statuses with which it did.
    pub put_off: Vec<u16>,
    /// The server refused the offer and made one of its own (406): `answer` is that one, `offer` what was answered.
    pub countered: bool,
}

pub(super) struct Opened {
    pub rtc: Rtc,
    pub socket: Wire,
    /// What ICE takes for this side's address.
    pub local: SocketAddr,
    /// Where datagrams arrive at this host.
    pub host: SocketAddr,
    pub mids: Vec<(Mid, Kind)>,
    pub negotiated: Negotiated,
    pub resource: SessionResource,
}

pub(super) async fn open(opening: &Opening<'_>) -> Result<Opened, ClientError> {
    let token = Token::of(opening.url, opening.token);
    let (timeout, from) = (opening.http_timeout, opening.http_bind);
    let caller = HttpCaller::new(token, opening.allow_public, timeout, opening.trust, from)?;
    let caller = caller.kept_by(opening.gate.cloned());
    caller.check(opening.url).await?;
    let target = check_url(opening.url, opening.allow_public).await?;
    let (socket, host) = bind(opening.bind, target)?;
    let mut rtc = session(opening, (!opening.relayed).then_some(host))?;
    let mut changes = rtc.sdp_api();
    let mut mids = Vec::with_capacity(opening.medias.len());
    for kind in opening.medias {
        let media = match kind {
            Kind::Video => MediaKind::Video,
            Kind::Audio => MediaKind::Audio,
        };
        let layers = simulcast(opening.layers).filter(|_| *kind == Kind::Video);
        mids.push((changes.add_media(media, opening.direction, None, None, layers), *kind));
    }
    let Some((offer, pending)) = changes.apply() else {
        return Err(ClientError::BadConfig("a session needs video, audio or both".into()));
    };
    let offer = offer.to_sdp_string();

    let began = Instant::now();
    let (response, put_off) = post(opening, &caller, &offer).await?;
    let location = response.header("location").ok_or_else(|| ClientError::BadResponse {
        url: response.url.clone(),
        why: format!("{} without Location", response.status),
    })?;
    let url = resolve_reference(&response.url, location)?;
    caller.check(&url).await?;
    let etag = response.header("etag").map(str::to_owned);
    let resource = SessionResource::new(url, caller, etag, offer.clone(), response.text());
    let ours = Ours { rtc, pending, mids, offer, socket, host };
    match agree(opening, ours, response, &resource, began).await {
        Ok(agreed) => {
            let Agreed { rtc, socket, local, mids, mut negotiated } = agreed;
            negotiated.attempts = u32::try_from(put_off.len()).unwrap_or(u32::MAX).saturating_add(1);
            negotiated.put_off = put_off;
            Ok(Opened { rtc, socket, local, host, mids, negotiated, resource })
        }
        Err(error) => {
            // The server has a session of which nothing will come.
            resource.abandon().await;
            Err(error)
        }
    }
}

/// What this side has made before the server answered.
struct Ours {
    rtc: Rtc,
    pending: SdpPendingOffer,
    mids: Vec<(Mid, Kind)>,
    offer: String,
    socket: UdpSocket,
    host: SocketAddr,
}

/// What the two sides agreed on.
struct Agreed {
    rtc: Rtc,
    socket: Wire,
    local: SocketAddr,
    mids: Vec<(Mid, Kind)>,
    negotiated: Negotiated,
}

/// From the server's answer, or its own offer, to a session that can be driven.
async fn agree(
    opening: &Opening<'_>,
    ours: Ours,
    response: HttpResponse,
    resource: &SessionResource,
    began: Instant,
) -> Result<Agreed, ClientError> {
    let Ours { mut rtc, pending, mut mids, mut offer, socket, host } = ours;
    let bad = |why: String| ClientError::BadResponse { url: response.url.clone(), why };
    let theirs = response.text();
    let countered = response.status == COUNTERED;
    let reach = Reach { allow_public: opening.allow_public, gate: opening.gate.cloned() };
    let strange = |candidate: &SocketAddr| !reach.allows(candidate.ip());
    if let Some(address) = sdp::candidates(&theirs).into_iter().find(strange).map(|found| found.ip()) {
        let what = "a candidate of the answer".to_owned();
        return Err(match opening.allow_public {
            false => ClientError::ForbiddenTarget { host: what, address },
            true => ClientError::StrangeHost { url: what, host: address.to_string() },
        });
    }
    if countered {
        rtc = session(opening, (!opening.relayed).then_some(host))?;
        let answer = contained(|| accept(&mut rtc, &theirs)).unwrap_or_else(|| Err(PANICKED.into()));
        offer = sdp::whole_answer(&theirs, &answer.map_err(bad)?);
        mids = sdp::medias(&offer);
        if mids.is_empty() {
            return Err(bad("its own offer has neither sound nor picture that can be taken".into()));
        }
        let etag = resource.answer(&offer).await?;
        // What an ICE restart will take for the server's answer: its role has been decided since.
        resource.countered(etag, &offer, theirs.replace("a=setup:actpass", "a=setup:passive"));
    } else {
        let taken = contained(|| answered(&mut rtc, pending, &theirs));
        taken.unwrap_or_else(|| Err(PANICKED.into())).map_err(bad)?;
    }
    let http_time = began.elapsed();
    let ice_servers = ice_servers(&response.headers);
    let (socket, local) = match opening.relayed {
        false => (Wire::Direct(socket), host),
        true => relayed(opening, socket, host, &theirs, &ice_servers, &mut rtc, resource).await?,
    };
    let (etag, answer) = (resource.etag(), theirs);
    let (attempts, put_off) = (1, Vec::new());
    let negotiated =
        Negotiated { offer, answer, response, etag, ice_servers, http_time, attempts, put_off, countered };
    Ok(Agreed { rtc, socket, local, mids, negotiated })
}

/// A session that has not negotiated yet, with the host's own address where it may be used.
fn session(opening: &Opening<'_>, own: Option<SocketAddr>) -> Result<Rtc, ClientError> {
    let mut rtc = rtc::build(&opening.codecs, Instant::now())?;
    if let Some(own) = own {
        let candidate =
            Candidate::host(own, "udp").map_err(|error| ClientError::Session(error.to_string()))?;
        rtc.add_local_candidate(candidate);
    }
    Ok(rtc)
}

/// Layers as they are offered: the smallest first, as browsers do.
fn simulcast(names: &[&'static str]) -> Option<Simulcast> {
    let mut simulcast = Simulcast::new();
    names.iter().rev().for_each(|name| simulcast.add_send_layer(SimulcastLayer::new(name)));
    (!names.is_empty()).then_some(simulcast)
}

fn answered(rtc: &mut Rtc, pending: SdpPendingOffer, answer: &str) -> Result<(), String> {
    let parsed = SdpAnswer::from_sdp_string(answer).map_err(|_| format!("no SDP answer{}", like(answer)))?;
    let accepted = rtc.sdp_api().accept_answer(pending, parsed);
    accepted.map_err(|error| format!("the SDP answer does not fit: {error}"))
}

/// Answers the server's own offer.
fn accept(rtc: &mut Rtc, offer: &str) -> Result<String, String> {
    let parsed = SdpOffer::from_sdp_string(offer).map_err(|_| format!("no SDP offer{}", like(offer)))?;
    let answer = rtc.sdp_api().accept_offer(parsed);
    answer
        .map(|answer| answer.to_sdp_string())
        .map_err(|error| format!("the SDP offer does not fit: {error}"))
}

/// What it is like instead. The parser's own words are lines long and differ from one viewer to the next.
fn like(text: &str) -> String {
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => {
            format!(": it begins with {:?}", line.trim().chars().take(BEGINNING).collect::<String>())
        }
        None => ": it is empty".to_owned(),
    }
}

/// The way by a TURN server.
async fn relayed(
    opening: &Opening<'_>,
    socket: UdpSocket,
    host: SocketAddr,
    theirs: &str,
    servers: &[IceServer],
    rtc: &mut Rtc,
    resource: &SessionResource,
) -> Result<(Wire, SocketAddr), ClientError> {
    let server = relay::usable(servers).ok_or_else(|| ClientError::Relay {
        url: servers.first().map_or("(none)".into(), |server| server.url.clone()),
        why: "the response names none that can be used: TURN by UDP, with username and credential".into(),
    })?;
    let relay = Relay::allocate(
        Arc::new(socket),
        server,
        &sdp::candidates(theirs),
        opening.allow_public,
        opening.gate.map(|gate| &**gate),
    )
    .await?;
    let address = relay.address;
    let candidate = Candidate::relayed(address, host, "udp");
    let candidate = candidate.map_err(|error| ClientError::Session(error.to_string()))?;
    let line = candidate.to_sdp_string();
    rtc.add_local_candidate(candidate);
    // Trickle is optional: who does not take it finds the address when it is asked from there.
    let trickled = resource.trickle(&[line.trim_start_matches("a=").to_owned()], true).await;
    if let Err(error) = trickled {
        tracing::debug!(%error, "the relayed candidate was not taken");
    }
    Ok((Wire::Relayed(Box::new(relay)), address))
}

/// Posts the offer until it is answered; the statuses that put it off come along.
async fn post(
    opening: &Opening<'_>,
    caller: &HttpCaller,
    offer: &str,
) -> Result<(HttpResponse, Vec<u16>), ClientError> {
    let mut headers = vec![("content-type".to_owned(), "application/sdp".to_owned())];
    headers.extend(opening.headers.iter().cloned());
    let end = Instant::now() + opening.retry_for;
    let mut put_off = Vec::new();
    loop {
        let body = Bytes::copy_from_slice(offer.as_bytes());
        let response = caller.send(&Method::POST, opening.url, &headers, body).await?;
        // Only a server of viewers may make an offer of its own (WHEP draft 04 section 3.2).
        let sdp = response.header("content-type").is_some_and(|kind| kind.starts_with("application/sdp"));
        let countered = response.status == COUNTERED && sdp && opening.direction == Direction::RecvOnly;
        if response.status == 201 || countered {
            return Ok((response, put_off));
        }
        let asked = retry_after(&response.headers);
        let again = response.status == 503 || (matches!(response.status, 409 | 429) && asked.is_some());
        let pause = asked.unwrap_or(RETRY_PAUSE).max(Duration::from_millis(50));
        if !again || Instant::now() + pause > end {
            return Err(response.refusal(&Method::POST));
        }
        put_off.push(response.status);
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
