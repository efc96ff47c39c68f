//! The door of a server: where each request comes from, and how often one may come.
//!
//! Of who asks by POST the identity is asked first: one whose token is used too often is refused before it costs those
//! behind the same address anything. Then the address (of IPv6 the /64), which is generous, because a whole office may be
//! behind one; POSTs that are refused for who asks count there too. An address from which too many requests come with
//! credentials that nobody signed gets no more looked at for a moment: those whose time is over are no guesses, and an event's
//! pages keep theirs for long.
//! Calls of coordinators are bounded by none of it: the coordinator has asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use freshet_cluster::Identity;
use http::header::HeaderName;
use http::{Extensions, HeaderMap, Method, StatusCode, header};
use prometheus::{IntCounterVec, Opts};
use rand::Rng as _;

use crate::bearer::Access;
use crate::call::Verifier;
use crate::hops::{Household, Trusted};
use crate::metrics::Metrics;
use crate::places;
use crate::problem::{Genuine, Problem};
use crate::rate::{Buckets, Rate};
use crate::ticket;

/// Requests on sessions that are no POSTs may come so many times as often: each is a call to a node, and looks for a session
/// there. A whole office that leaves at once is far below.
const OTHERS: u32 = 5;
/// Buckets of each kind that are remembered: at about 100 bytes and a name, some 15 MB in a storm from everywhere.
const REMEMBERED: usize = 100_000;
/// Longest region that a client or a proxy may name, in characters.
const REGION_MAX: usize = 64;
/// A crowd behind one address that is refused comes back spread over so many more seconds.
const SPREAD_S: u64 = 4;

/// What a door is told at start.
#[derive(Debug, Clone, PartialEq)]
pub struct DoorConfig {
    /// Proxies whose word about the client counts.
    pub trusted: Trusted,
    /// The header in which such a proxy names the client's region.
    pub region_header: Option<HeaderName>,
    /// POSTs of one identity; without bound if `None`.
    pub identity: Option<Rate>,
    /// POSTs from one address.
    pub address: Option<Rate>,
    /// Failed authentications from one address.
    pub failures: Option<Rate>,
    /// Event streams that one identity reads at a time; 0: as many as there are.
    pub listeners: u32,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            trusted: Trusted::default(),
            region_header: None,
            identity: Some(Rate { per_second: 100.0, burst: 1_000 }),
            address: Some(Rate { per_second: 200.0, burst: 2_000 }),
            failures: Some(Rate { per_second: 20.0, burst: 100 }),
            listeners: places::EACH,
        }
    }
}

/// Where a request comes from; handlers find it among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub ip: IpAddr,
    /// That it is the client's is proven by TCP, or said by a trusted proxy; it is not a proxy's own.
    pub there: bool,
    /// The region that a trusted proxy names.
    pub region: Option<String>,
}

impl Client {
    /// The client of a request that came through a [`Door`].
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Its address.
    pub fn ip_of(extensions: &Extensions) -> Option<IpAddr> {
        Self::of(extensions).map(|client| client.ip)
    }
}

/// One server's door.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    trusted: Trusted,
    region_header: Option<HeaderName>,
    posts: Limits,
    others: Limits,
    failures: Option<Mutex<Buckets<Household>>>,
    limited: IntCounterVec,
    takes_calls: bool,
}

/// How often one may come.
struct Limits {
    identity: Option<Mutex<Buckets<Identity>>>,
    address: Option<Mutex<Buckets<Household>>>,
}

impl Limits {
    fn new(identity: Option<Rate>, address: Option<Rate>) -> Self {
        Self {
            identity: identity.map(|rate| Mutex::new(Buckets::new(rate, REMEMBERED))),
            address: address.map(|rate| Mutex::new(Buckets::new(rate, REMEMBERED))),
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Door {
    /// Counts in `freshet_{role}_http_limited_total`. `takes_calls` is true where coordinators' calls are judged behind it:
    /// elsewhere who claims to make one is a client like any other.
    pub fn new(
        config: DoorConfig,
        metrics: &Metrics,
        role: &str,
        takes_calls: bool,
    ) -> Result<Self, prometheus::Error> {
        let help = "HTTP requests refused with 429, by what is bounded: identity, address, failures";
        let limited = Opts::new(format!("freshet_{role}_http_limited_total"), help);
        let limited = IntCounterVec::new(limited, &["by"])?;
        for by in ["identity", "address", "failures"] {
            limited.with_label_values(&[by]).reset();
        }
        metrics.add(limited.clone());
        Ok(Self(Arc::new(Inner {
            trusted: config.trusted,
            region_header: config.region_header,
            posts: Limits::new(config.identity, config.address),
            others: Limits::new(
                config.identity.map(|rate| rate.times(OTHERS)),
                config.address.map(|rate| rate.times(OTHERS)),
            ),
            failures: config.failures.map(|rate| Mutex::new(Buckets::new(rate, REMEMBERED))),
            limited,
            takes_calls,
        })))
    }

    /// Where a request comes from.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let ip = self.0.trusted.client(peer, headers);
        let named = self.0.region_header.as_ref().filter(|_| self.0.trusted.contains(peer));
        let region = named.and_then(|name| headers.get(name)?.to_str().ok()).map(str::trim);
        let region = region.filter(|region| !region.is_empty() && is_region(region)).map(str::to_owned);
        Client { ip, there: !self.0.trusted.contains(ip), region }
    }

    /// Lets a request of a caller through who has said who it is, or refuses with 429: POSTs by the limits as they are
    /// configured, all else by its own, which are [`OTHERS`] times as much.
    pub fn admit(&self, access: &Access, method: &Method, extensions: &Extensions) -> Result<(), Problem> {
        let limits = if method == Method::POST { &self.0.posts } else { &self.0.others };
        if let (Some(buckets), Some(identity)) = (&limits.identity, access.proven()) {
            let taken = with(buckets, |buckets| buckets.take(identity.clone(), Instant::now()));
            taken.map_err(|wait| {
                self.count("identity");
                let detail =
                    "this token's identity sends more requests than it may: ask again after Retry-After";
                Problem::too_many_requests(detail, wait)
            })?;
        }
        if let (Some(buckets), Some(ip)) = (&limits.address, Client::ip_of(extensions)) {
            let taken = with(buckets, |buckets| buckets.take(Household::from(ip), Instant::now()));
            taken.map_err(|wait| self.crowded(wait))?;
        }
        Ok(())
    }

    fn crowded(&self, wait: Duration) -> Problem {
        self.count("address");
        let detail = "more requests come from your address than may: ask again after Retry-After";
        Problem::too_many_requests(detail, spread(wait))
    }

    /// Refuses a POST from an address that has none left, before anybody looks who it is.
    fn has_room(&self, client: &Client) -> Result<(), Problem> {
        let Some(buckets) = &self.0.posts.address else { return Ok(()) };
        let looked = with(buckets, |buckets| buckets.look(&Household::from(client.ip), Instant::now()));
        looked.map_err(|wait| self.crowded(wait))
    }

    /// Refuses who comes from an address from which too much has failed lately.
    fn suspects(&self, client: &Client) -> Result<(), Problem> {
        let Some(buckets) = &self.0.failures else { return Ok(()) };
        let looked = with(buckets, |buckets| buckets.look(&Household::from(client.ip), Instant::now()));
        looked.map_err(|wait| {
            self.count("failures");
            let detail =
                "too many requests from your address came without a valid token: ask again after Retry-After";
            Problem::too_many_requests(detail, spread(wait))
        })
    }

    fn count(&self, by: &str) {
        self.0.limited.with_label_values(&[by]).inc();
    }
}

/// Whether a text can name a region.
pub fn is_region(text: &str) -> bool {
    text.chars().count() <= REGION_MAX && text.chars().all(|c| !c.is_control())
}

fn spread(wait: Duration) -> Duration {
    wait.saturating_add(Duration::from_secs(rand::rng().random_range(0..=SPREAD_S)))
}

fn with<K, T>(buckets: &Mutex<Buckets<K>>, act: impl FnOnce(&mut Buckets<K>) -> T) -> T {
    // A bucket is written in one piece: a panic elsewhere leaves nothing half done.
    act(&mut buckets.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Takes one from a client's household, behind the answer: that none is left is what the next one will hear.
fn charge(buckets: Option<&Mutex<Buckets<Household>>>, client: &Client) {
    if let Some(buckets) = buckets {
        let _none = with(buckets, |buckets| buckets.take(Household::from(client.ip), Instant::now()));
    }
}

/// Middleware, inside of CORS so that pages can read its refusals:
/// `router.layer(axum::middleware::from_fn_with_state(door, door::layer))`.
pub async fn layer(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
    let Some(peer) = peer else { return next.run(request).await };
    let client = door.client(peer, request.headers());
    // A call is judged by its signature, always: coordinators must not be shut out by who else comes from their address.
    let call = door.0.takes_calls && Verifier::is_call(request.headers());
    let presents = !call && presents(&request);
    if presents && let Err(refused) = door.suspects(&client) {
        return refused.into_response();
    }
    let post = !call && request.method() == Method::POST;
    if post && let Err(refused) = door.has_room(&client) {
        return refused.into_response();
    }
    request.extensions_mut().insert(client.clone());
    let response = next.run(request).await;
    let guessed =
        response.status() == StatusCode::UNAUTHORIZED && response.extensions().get::<Genuine>().is_none();
    if presents && guessed {
        charge(door.0.failures.as_ref(), &client);
    }
    if post && matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // It was refused before it was counted.
        charge(door.0.posts.address.as_ref(), &client);
    }
    response
}

/// Whether it has credentials that can be wrong.
fn presents(request: &Request) -> bool {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    request.headers().contains_key(header::AUTHORIZATION) || ticket::split(path).is_some()
}

#[cfg(test)]
mod tests;
