//! The signed call: how a coordinator hands a request to a node.
//!
//! The request itself goes unchanged; the header `Freshet-Call` says who was found to ask for what, and carries the
//! room's plan. It is bound to method, path, body, time and a nonce, so it is good for one request, once, now. A node
//! without the cluster's secret takes no calls at all. It holds for the *inside* of a cluster: whoever has the secret
//! is a coordinator.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::secret::Secret;
use freshet_cluster::token::{Bound, Grants, Rooms};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::Unknown;
use freshet_cluster::{Identity, RoomId};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::bearer::Access;
use crate::nonces::{Nonces, Unused};
use crate::problem::Problem;

/// The header that carries it.
pub const CALL: HeaderName = HeaderName::from_static("freshet-call");
/// What a node that refuses a call names in `WWW-Authenticate`: the coordinator asks for no token then.
pub const CHALLENGE: &str = "Freshet-Call";
/// Version of what we write, and the newest that we read.
pub const VERSION: u32 = 1;
/// Clocks of coordinator and node may differ by so much, in milliseconds; older calls are refused.
pub const WINDOW_MS: u64 = 60_000;
/// Longest header that is written and read, in bytes. A plan that does not fit is left out: the node has it from the
/// store a moment later.
pub const HEADER_MAX: usize = 12 * 1024;
/// Nonces kept: at most two minutes of calls. Beyond it calls are refused (the newest lose), so that none is accepted
/// twice. At 24 bytes and a tree's overhead about 10 MB.
pub const NONCES_MAX: usize = 200_000;

/// What a coordinator says about a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    #[serde(default = "oldest")]
    pub min_v: u32,
    /// When it was signed.
    pub ts: UnixMillis,
    /// 128 random bits, 32 lower-case hexadecimal digits.
    pub nonce: String,
    /// The request's method.
    pub method: String,
    /// The request's path and query, as the node sees them.
    pub path: String,
    /// SHA-256 of the request's body, base64url without padding.
    pub body_sha256: String,
    /// Who asks.
    pub identity: Identity,
    /// Where the caller may do it: a room id, or `*`.
    pub room: Rooms,
    /// What the caller may do.
    pub grants: Grants,
    /// Streams that the caller may name.
    #[serde(default)]
    pub streams: Vec<String>,
    /// The caller was asked for no token.
    #[serde(default)]
    pub open: bool,
    /// The room's tree, for the node to adopt if it is newer than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RoomPlan>,
    /// How many sessions it may hold in a room.
    #[serde(default, skip_serializing_if = "is_unbound")]
    pub bound: Bound,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<IpAddr>,
    /// That the client is there is proven, as by TCP: it is no proxy's address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_there: bool,
    /// What `Location` is made absolute with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

fn is_unbound(bound: &Bound) -> bool {
    *bound == Bound::default()
}

fn oldest() -> u32 {
    VERSION
}

impl Call {
    /// A call for this request on behalf of this caller. `nonce` must be random and never used again.
    pub fn new(
        method: &Method,
        path: &str,
        body: &[u8],
        access: &Access,
        now: UnixMillis,
        nonce: u128,
    ) -> Self {
        Self {
            v: VERSION,
            min_v: VERSION,
            ts: now,
            nonce: format!("{nonce:032x}"),
            method: method.as_str().to_owned(),
            path: path.to_owned(),
            body_sha256: hash(body),
            identity: access.identity.clone(),
            room: access.rooms.clone(),
            grants: access.grants.clone(),
            streams: access.streams.clone(),
            open: access.open,
            bound: access.bound,
            plan: None,
            client_ip: None,
            client_there: false,
            public_url: None,
            unknown: Unknown::new(),
        }
    }

    /// The caller that it speaks for.
    pub fn access(&self) -> Access {
        Access {
            identity: self.identity.clone(),
            rooms: self.room.clone(),
            grants: self.grants.clone(),
            streams: self.streams.clone(),
            open: self.open,
            bound: self.bound,
        }
    }

    /// Whether it was made for this request; if not, which part is another.
    pub(crate) fn fits(&self, method: &Method, path: &str, body: &[u8]) -> Result<(), &'static str> {
        if self.method != method.as_str() {
            return Err("method");
        }
        if self.path != path {
            return Err("path");
        }
        if self.body_sha256 != hash(body) {
            return Err("body");
        }
        Ok(())
    }

    /// The plan, where it is one of this room.
    pub fn plan_of(&self, room: &RoomId) -> Option<&RoomPlan> {
        self.plan.as_ref().filter(|plan| &plan.room == room)
    }
}

fn hash(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, body))
}

pub(crate) fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
}

/// Signs a call. The plan is left out when the header would grow beyond [`HEADER_MAX`].
pub fn sign(secret: &Secret, call: &Call) -> HeaderValue {
    let seal = |call: &Call| {
        // A struct with string keys only: encoding it cannot fail.
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(call).unwrap_or_default());
        let tag = hmac::sign(&key(secret), payload.as_bytes());
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let mut text = seal(call);
    if text.len() > HEADER_MAX && call.plan.is_some() {
        text = seal(&Call { plan: None, ..call.clone() });
    }
    // base64url and a dot: always a header value.
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node has no secret of a cluster.
    #[error("this node takes no calls of coordinators: give it --cluster-secret")]
    NotTaken,
    /// There is no such header.
    #[error("there is no Freshet-Call header")]
    Missing,
    /// Two headers, or not `<base64url>.<base64url>`, or too long.
    #[error("the Freshet-Call header is malformed: {0}")]
    Malformed(&'static str),
    /// Signed with another secret.
    #[error(
        "the Freshet-Call header is signed with another secret: give coordinators and nodes the same --cluster-secret"
    )]
    Signature,
    /// Written by a newer version that says we cannot understand it.
    #[error("the call wants version {min_v} and this node has {VERSION}: update the node first")]
    Version {
        /// Oldest reader that understands it.
        min_v: u32,
    },
    /// Too old, or from the future.
    #[error("the call is {off_ms} ms off this node's clock (at most {WINDOW_MS}): set the clocks right")]
    Time {
        /// Distance to our clock, in milliseconds.
        off_ms: u64,
    },
    /// It is for another request.
    #[error("the call is for another {0}")]
    Mismatch(&'static str),
    /// It was used before.
    #[error("the call was used before: sign each request anew")]
    Replayed,
    /// More calls in a minute than can be remembered.
    #[error("more than {NONCES_MAX} calls in a minute: send fewer")]
    Full,
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        if error == CallError::Full {
            // Another node remembers others.
            return Problem::unavailable("over-capacity", detail, std::time::Duration::from_secs(5))
                .refused("over-capacity");
        }
        Problem::new(StatusCode::UNAUTHORIZED, detail)
            .reason("call-refused")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE))
    }
}

/// The node's side: checks calls and remembers nonces.
pub struct Verifier {
    key: hmac::Key,
    seen: Mutex<Nonces>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Takes calls signed with this secret.
    pub fn new(secret: &Secret) -> Self {
        Self { key: key(secret), seen: Mutex::new(Nonces::new(WINDOW_MS, NONCES_MAX)) }
    }

    /// Whether the request claims to be a call.
    pub fn is_call(headers: &HeaderMap) -> bool {
        headers.contains_key(&CALL)
    }

    /// The call of a request, if who made it has the secret, whatever it is for: asked before a body is read for it.
    pub fn signed(&self, headers: &HeaderMap) -> Result<Signed<'_>, CallError> {
        self.authenticate(headers).map(|payload| Signed { verifier: self, payload })
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Vec<u8>, CallError> {
        let mut values = headers.get_all(&CALL).iter();
        let value = values.next().ok_or(CallError::Missing)?;
        if values.next().is_some() {
            return Err(CallError::Malformed("it is there twice"));
        }
        if value.len() > HEADER_MAX {
            return Err(CallError::Malformed("it is too long"));
        }
        let (payload, tag) = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once('.'))
            .ok_or(CallError::Malformed("it has no dot"))?;
        let decode =
            |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| CallError::Malformed("it is not base64url"));
        hmac::verify(&self.key, payload.as_bytes(), &decode(tag)?).map_err(|_| CallError::Signature)?;
        decode(payload)
    }

    fn use_nonce(&self, call: &Call, now: UnixMillis) -> Result<(), CallError> {
        // The set is whole after every step, so a panic elsewhere leaves nothing half done.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(call.ts, &call.nonce, now).map_err(|unused| match unused {
            Unused::Malformed => CallError::Malformed("its nonce is not 32 hexadecimal digits"),
            Unused::Again => CallError::Replayed,
            Unused::Full => CallError::Full,
        })
    }
}

/// A call whose signature is good. What it says is not looked at yet.
pub struct Signed<'a> {
    verifier: &'a Verifier,
    payload: Vec<u8>,
}

impl Signed<'_> {
    /// Checks the call against its request: version, time, request and nonce. `path` is path and query.
    pub fn verify(
        self,
        method: &Method,
        path: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<Call, CallError> {
        let versions: Versions =
            serde_json::from_slice(&self.payload).map_err(|_| CallError::Malformed("it has no version"))?;
        if versions.min_v > VERSION {
            return Err(CallError::Version { min_v: versions.min_v });
        }
        let call: Call = serde_json::from_slice(&self.payload)
            .map_err(|_| CallError::Malformed("its JSON is not a call"))?;
        let off_ms = call.ts.0.abs_diff(now.0);
        if off_ms > WINDOW_MS {
            return Err(CallError::Time { off_ms });
        }
        call.fits(method, path, body).map_err(CallError::Mismatch)?;
        // What changes nothing may come twice, and there is no end of it: those who look must not fill the memory that those
        // who join need.
        if !method.is_safe() {
            self.verifier.use_nonce(&call, now)?;
        }
        Ok(call)
    }
}

/// What is looked at before the rest.
#[derive(Deserialize)]
struct Versions {
    #[serde(default = "oldest")]
    min_v: u32,
}

#[cfg(test)]
mod tests;
