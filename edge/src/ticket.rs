//! The join ticket: how a coordinator sends a client on to a node.
//!
//! A browser takes `Authorization` away when it follows a redirect to another origin, so what the coordinator found to ask
//! travels in the URL, signed as a [call](crate::call) is. A URL is seen by proxies and written into their logs: so a
//! ticket is good for one request with one body, at one start of one node, once, for half a minute. Whoever finds
//! it later has nothing.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::secret::Secret;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Incarnation, NodeId};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::bearer::REALM;
use crate::call::{Call, NONCES_MAX, VERSION, WINDOW_MS, key};
use crate::nonces::{Nonces, Unused};
use crate::problem::Problem;

/// The query parameter that carries it; always the last.
const PARAMETER: &str = "ticket=";
/// How long it is good for, in milliseconds.
pub const LIFE_MS: u64 = 30_000;
/// Longest ticket that is read, in bytes.
pub const TICKET_MAX: usize = 8 * 1024;
/// What is signed begins with this, so that no ticket is a call and no call a ticket.
const KIND: &[u8] = b"freshet-ticket\n";

/// Which node shall take which request of whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// Who takes it.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Who was found to ask for what; its path is without the ticket.
    #[serde(flatten)]
    pub call: Call,
}

/// A request's path and query, and the ticket behind them; `None` without one.
pub fn split(path_and_query: &str) -> Option<(&str, &str)> {
    let (path, ticket) = path_and_query.rsplit_once(PARAMETER)?;
    let path = path.strip_suffix(['?', '&'])?;
    (!ticket.contains('&')).then_some((path, ticket))
}

/// Path and query with a ticket behind them.
pub fn join(path_and_query: &str, ticket: &str) -> String {
    let mark = if path_and_query.contains('?') { '&' } else { '?' };
    format!("{path_and_query}{mark}{PARAMETER}{ticket}")
}

fn tag(key: &hmac::Key, payload: &str) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(KIND);
    context.update(payload.as_bytes());
    context.sign()
}

/// Signs a ticket: characters that a URL takes as they are.
pub fn sign(secret: &Secret, ticket: &Ticket) -> String {
    // A struct with string keys only: encoding it cannot fail.
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(ticket).unwrap_or_default());
    let tag = URL_SAFE_NO_PAD.encode(tag(&key(secret), &payload));
    format!("{payload}.{tag}")
}

/// Why a ticket is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not of the form.
    #[error("the ticket is malformed")]
    Malformed,
    /// Signed with another secret.
    #[error("the ticket is signed with another secret than this node's")]
    Signature,
    /// Of a newer version.
    #[error("the ticket wants version {min_v} and this node has {VERSION}")]
    Version {
        /// Oldest reader that understands it.
        min_v: u32,
    },
    /// Of another node, or another start of it.
    #[error("the ticket is for another node, or another start of this one")]
    Node,
    /// Too late, or much too early.
    #[error("the ticket is not good now: it is good for 30 s, by clocks that agree")]
    Time,
    /// For another method, path or body.
    #[error("the ticket is for another {0}")]
    Mismatch(&'static str),
    /// Used before.
    #[error("the ticket was used before")]
    Used,
    /// More than can be remembered.
    #[error("more tickets came than this node can remember")]
    Full,
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Self {
        let detail = format!("{error}: send the offer to the coordinator again");
        if error == TicketError::Full {
            return Problem::unavailable("over-capacity", detail, std::time::Duration::from_secs(5));
        }
        let challenge = HeaderValue::from_str(&format!("Bearer realm=\"{REALM}\""));
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
        Problem::new(StatusCode::UNAUTHORIZED, detail)
            .reason("ticket-refused")
            .header(header::WWW_AUTHENTICATE, challenge)
            .genuine(!matches!(error, TicketError::Malformed | TicketError::Signature))
    }
}

/// The node's side: checks tickets and remembers those that were used.
pub struct Tickets {
    key: hmac::Key,
    node: NodeId,
    incarnation: Incarnation,
    used: Mutex<Nonces>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// Takes tickets for this start of this node, signed with this secret.
    pub fn new(secret: &Secret, node: NodeId, incarnation: Incarnation) -> Self {
        let used = Mutex::new(Nonces::new(WINDOW_MS, NONCES_MAX));
        Self { key: key(secret), node, incarnation, used }
    }

    /// Checks that it is a ticket at all, before a body is read for it.
    pub fn signed(&self, ticket: &str) -> Result<(), TicketError> {
        self.read(ticket).map(drop)
    }

    /// Checks the ticket of a request with this path and body, and uses it up.
    pub fn verify(
        &self,
        ticket: &str,
        method: &Method,
        path: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<Call, TicketError> {
        let ticket = self.read(ticket)?;
        if ticket.node != self.node || ticket.incarnation != self.incarnation {
            return Err(TicketError::Node);
        }
        let call = ticket.call;
        if now.0.saturating_sub(call.ts.0) > LIFE_MS || call.ts.0.saturating_sub(now.0) > WINDOW_MS {
            return Err(TicketError::Time);
        }
        call.fits(method, path, body).map_err(TicketError::Mismatch)?;
        // The set is whole after every step, so a panic elsewhere leaves nothing half done.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.take(call.ts, &call.nonce, now).map_err(|unused| match unused {
            Unused::Malformed => TicketError::Malformed,
            Unused::Again => TicketError::Used,
            Unused::Full => TicketError::Full,
        })?;
        Ok(call)
    }

    fn read(&self, ticket: &str) -> Result<Ticket, TicketError> {
        if ticket.len() > TICKET_MAX {
            return Err(TicketError::Malformed);
        }
        let (payload, theirs) = ticket.split_once('.').ok_or(TicketError::Malformed)?;
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| TicketError::Malformed);
        let mut signed = KIND.to_vec();
        signed.extend_from_slice(payload.as_bytes());
        hmac::verify(&self.key, &signed, &decode(theirs)?).map_err(|_| TicketError::Signature)?;
        let json = decode(payload)?;
        let versions: Versions = serde_json::from_slice(&json).map_err(|_| TicketError::Malformed)?;
        if versions.min_v > VERSION {
            return Err(TicketError::Version { min_v: versions.min_v });
        }
        serde_json::from_slice(&json).map_err(|_| TicketError::Malformed)
    }
}

/// What is looked at before the rest.
#[derive(Deserialize)]
struct Versions {
    min_v: u32,
}

#[cfg(test)]
mod tests;
