//! A join that is sent on: the client's own next request goes to the node, with a ticket instead of a token.

use std::net::IpAddr;

use axum::response::{IntoResponse, Response};
use freshet_cluster::RoomId;
use freshet_cluster::token::Rooms;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Access;
use freshet_edge::call::Call;
use freshet_edge::ticket::{self, Ticket};
use http::{HeaderValue, StatusCode, header};

use super::call::Whole;
use crate::config::CoordinatorConfig;
use crate::place::Candidate;

/// Longest `Location`, in bytes: half of the head that a node reads. A join of a longer one is handed over.
const LOCATION_MAX: usize = 8 * 1024;

/// Who joins.
pub(super) struct Joiner<'a> {
    /// Who was found to ask.
    pub access: &'a Access,
    /// Where the client is.
    pub ip: Option<IpAddr>,
    /// That it is there is proven.
    pub there: bool,
    /// And in which region.
    pub region: &'a str,
}

/// 307 to the node with a ticket, unless joins are handed over.
pub(super) fn redirect(
    config: &CoordinatorConfig,
    to: &Candidate,
    room: &RoomId,
    joiner: &Joiner<'_>,
    whole: &Whole,
) -> Option<Response> {
    // Who comes with a ticket was sent on before, by a node's URL that leads to coordinators: not in circles.
    if !config.redirect || ticket::split(&whole.path).is_some() {
        return None;
    }
    let base = to.public_url.as_deref().unwrap_or(&to.http);
    let own = config.public_url.as_deref();
    // From a secure page nobody gets to a node without TLS, and a ticket stays as secret as the token was.
    let secure = own.map_or(config.tls.is_some(), |own| own.starts_with("https:"));
    // A node that has the coordinators' own name has none of its own.
    if own == Some(base) || (secure && base.starts_with("http:")) {
        return None;
    }
    let access = Access { rooms: Rooms::One(room.clone()), ..joiner.access.clone() };
    let now = UnixMillis::now();
    let mut call = Call::new(&whole.method, &whole.path, &whole.body, &access, now, rand::random());
    (call.client_ip, call.client_there) = (joiner.ip, joiner.there);
    call.public_url = Some(base.to_owned());
    let ticket = Ticket { node: to.node.clone(), incarnation: to.incarnation, call };
    let ticket = ticket::sign(&config.cluster_secret, &ticket);
    let location = format!("{base}{}", ticket::join(&whole.path, &ticket));
    let mut value = HeaderValue::from_str(&location).ok().filter(|_| location.len() <= LOCATION_MAX)?;
    value.set_sensitive(true);
    let store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, value), store]).into_response())
}
