//! A session's URL: handed to the node and incarnation that it names, whatever the method.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::names::{SessionPath, no_session};
use freshet_edge::{Access, Problem, body};
use http::Request;

use super::call::{self, CallError, Whole};
use super::join::{Gateway, spread};
use crate::liveness::Liveness;
use crate::shell::state::State;

/// A node that does not answer for a session in this time is given up on.
pub(super) const TIME: Duration = Duration::from_secs(5);

/// 503 as long as the store has not been read: what is not known yet must not be told as if there were nothing.
pub fn known(state: &State) -> Result<(), Problem> {
    if state.core().view().is_synced() && state.config.guard.rules().is_read() {
        return Ok(());
    }
    let detail =
        "this coordinator has not read the cluster's store yet and does not know what there is: ask again";
    Err(Problem::unavailable("store-away", detail, spread()))
}

impl Gateway {
    /// Serves any method on `/sessions/{node}/{incarnation}/{session}` and what is below it, event streams left out. Its body
    /// has `limit` bytes at most.
    pub async fn session(
        &self,
        name: SessionPath,
        client_ip: Option<IpAddr>,
        request: Request<Body>,
        limit: usize,
    ) -> Result<Response, Problem> {
        let (base, whole, access) = self.of_session(&name, request, limit).await?;
        let answer = self.client.call(&base, &whole, &access, TIME, |call| call.client_ip = client_ip).await;
        Ok(call::pass_on(answer.map_err(|error| self.out_of_reach(&name, &error))?))
    }

    /// The session's node, the request as it gets it, and who asks.
    pub(super) async fn of_session(
        &self,
        name: &SessionPath,
        request: Request<Body>,
        limit: usize,
    ) -> Result<(String, Whole, Access), Problem> {
        let (parts, body) = request.into_parts();
        let access = self.state.config.guard.holder(&parts.headers, UnixMillis::now())?;
        self.door.admit(&access, &parts.method, &parts.extensions)?;
        let base = self.base_of(name)?;
        let body = body::read(&parts.headers, body, limit, body::TIME).await?;
        let path =
            parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
        let whole = Whole { method: parts.method, path, headers: parts.headers, body };
        Ok((base, whole, access))
    }

    /// What a client hears when the node of its session does not answer.
    pub(super) fn out_of_reach(&self, name: &SessionPath, error: &CallError) -> Problem {
        self.state.core().handle_unreachable(&name.node, name.incarnation, Instant::now());
        tracing::warn!(node = name.node.as_str(), session = name.session.short(), %error, "session out of reach");
        let detail = "the node that holds this session does not answer: its media may still flow; ask again, and make a \
                      new session if it stays so";
        Problem::new(error.status(), detail).reason("node-unreachable").retry_after(Duration::from_secs(1))
    }

    /// Where the node is, if it still is the incarnation that the URL names.
    fn base_of(&self, name: &SessionPath) -> Result<String, Problem> {
        let core = self.state.core();
        let view = core.view();
        if let Some(node) = view.node(&name.node) {
            if node.incarnation() != name.incarnation {
                let detail =
                    "the node has started anew since, and its sessions ended: make a new one with POST";
                return Err(Problem::not_found(detail).reason("wrong-incarnation"));
            }
            let dead = view.liveness(&name.node, name.incarnation, Instant::now()) == Liveness::Dead;
            return if dead { Err(no_session()) } else { Ok(node.record.http.clone()) };
        }
        if view.is_synced() {
            return Err(no_session());
        }
        let detail = "this coordinator has not read the store yet: ask again";
        Err(Problem::unavailable("starting", detail, spread()))
    }
}
