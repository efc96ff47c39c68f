//! WHIP and WHEP: place a session and hand its request to the node.
//!
//! A node's refusal (`Freshet-Refused`) or silence leads to the next best, three nodes at most; then 503 with a
//! `Retry-After` that is spread, so that a refused crowd does not come back as one. Everything else that a node
//! answers is passed on as it is.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::token::Grant;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{NodeId, RoomId};
use freshet_edge::names::InRoom;
use freshet_edge::scope::Params;
use freshet_edge::waiting::RETRY_S;
use freshet_edge::{Access, Client, Door, Problem, body, media_type};
use http::{Request, StatusCode, header};
use rand::Rng as _;

use super::call::{self, CallError, NodeClient, Whole};
use super::onward::{Joiner, redirect};
use super::publishing::{Nobody, is_published};
use super::roster::Roster;
use crate::place::{Ask, Candidate, rank};
use crate::shell::plans::{self, PlanError};
use crate::shell::state::State;

/// Nodes that are asked before a client is sent away.
const TRIES: usize = 3;
/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// WHIP: a publisher.
    Publish,
    /// WHEP: a viewer.
    View,
}

impl Kind {
    fn grant(self) -> Grant {
        match self {
            Self::Publish => Grant::Publish,
            Self::View => Grant::Subscribe,
        }
    }

    /// How many of it one may hold in a room, and the word for it among sessions.
    fn bound(self, access: &Access) -> (Option<NonZeroU32>, &'static str) {
        match self {
            Self::Publish => (access.bound.publish, "publish"),
            Self::View => (access.bound.subscribe, "view"),
        }
    }

    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::View => "view",
        }
    }
}

/// What joins need besides the state.
pub struct Gateway {
    /// The shared state.
    pub state: Arc<State>,
    /// Calls nodes.
    pub client: NodeClient,
    /// How often clients may come.
    pub door: Door,
    /// Rooms that nobody publishes in.
    pub nobody: Nobody,
    /// The sessions of rooms.
    pub roster: Roster,
}

/// A time after which to come back, spread at random.
pub fn spread() -> Duration {
    Duration::from_secs(rand::rng().random_range(RETRY_S))
}

impl Gateway {
    /// Serves a POST to `/whip/…` or `/whep/…`.
    pub async fn join(&self, kind: Kind, name: InRoom, request: Request<Body>) -> Result<Response, Problem> {
        let began = Instant::now();
        let result = self.try_join(kind, name, request).await;
        let outcome = match &result {
            Ok(response) if response.status().is_success() => "accepted",
            Ok(response) if response.status().is_redirection() => "redirected",
            Ok(response) if response.status().is_server_error() => "failed",
            Ok(_) => "refused",
            Err(problem) if problem.status().is_server_error() => "unplaced",
            Err(_) => "refused",
        };
        self.state.metrics.joined(kind.as_str(), outcome, began.elapsed());
        result
    }

    async fn try_join(&self, kind: Kind, name: InRoom, request: Request<Body>) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let now = UnixMillis::now();
        let access = self.state.config.guard.check(&parts.headers, &name.room, kind.grant(), now)?;
        let params = Params::read(&parts.uri)?;
        let access = access.named(&params)?;
        self.door.admit(&access, &parts.method, &parts.extensions)?;
        media_type::require_sdp(&parts.headers)?;
        if kind == Kind::Publish {
            access.publishes(name.stream.clone(), &params)?;
        }
        let client = Client::of(&parts.extensions);
        let (ip, there) = (client.map(|client| client.ip), client.is_some_and(|client| client.there));
        let told = client.and_then(|client| client.region.as_deref());
        let region = params.region()?.or(told).unwrap_or(&self.state.config.region).to_owned();
        let body = body::read(&parts.headers, body, body::SDP_MAX, body::TIME).await?;
        if self.state.is_draining() {
            let detail = "this coordinator is being stopped: another one will answer";
            return Err(Problem::unavailable("draining", detail, Duration::from_secs(1)));
        }
        if !self.state.core().view().is_synced() || !self.state.config.guard.rules().is_read() {
            let detail = "this coordinator has not read the store yet: ask again";
            return Err(Problem::unavailable("starting", detail, spread()));
        }
        // Before anybody looks for a publisher, and a room is planned for it. The node reads the rest.
        if !body.starts_with(b"v=0") {
            let detail = "the body is not SDP: it does not begin with v=0";
            return Err(Problem::bad_request(detail).reason("bad-sdp"));
        }
        if kind == Kind::View
            && !params.waits()?
            && !is_published(&self.state, &self.nobody, &name.room, name.stream.as_ref()).await
        {
            let detail = "nobody publishes here yet: ask again later, or with ?wait=1 to get a session whose media follows";
            return Err(Problem::conflict("no-publisher", detail)
                .retry_after(self.nobody.come_back(&self.state, &name.room)));
        }
        let path =
            parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
        let whole = Whole { method: parts.method, path, headers: parts.headers, body };
        let joiner = Joiner { access: &access, ip, there, region: &region };
        self.place(kind, &name.room, &joiner, &whole).await
    }

    async fn place(
        &self,
        kind: Kind,
        room: &RoomId,
        joiner: &Joiner<'_>,
        whole: &Whole,
    ) -> Result<Response, Problem> {
        let state = &self.state;
        let mut passed: BTreeSet<NodeId> = BTreeSet::new();
        let (mut asked, mut store_away) = (0usize, false);
        let mut why = String::from("no node has room to spare");
        while asked < TRIES {
            let Some((candidate, pending)) = self.choose(room, joiner.region, &passed, store_away) else {
                break;
            };
            passed.insert(candidate.node.clone());
            let plan = match plans::ensure(state, room, &candidate.node, candidate.incarnation).await {
                Ok(plan) => plan,
                Err(PlanError::StoreAway) => {
                    store_away = true;
                    why = PlanError::StoreAway.to_string();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(room = room.as_str(), node = candidate.node.as_str(), %error, "not placed");
                    why = error.to_string();
                    asked = asked.saturating_add(1);
                    continue;
                }
            };
            if let Some(sent_on) = redirect(&state.config, &candidate, room, joiner, whole) {
                // It counts against the node until a heartbeat counts it, or should have.
                pending.accepted();
                tracing::debug!(
                    room = room.as_str(),
                    node = candidate.node.as_str(),
                    kind = kind.as_str(),
                    "client is sent on"
                );
                self.bound_sent_on(kind, room, joiner.access, &candidate);
                return Ok(sent_on);
            }
            asked = asked.saturating_add(1);
            match self.ask(&candidate, pending, plan, joiner, whole).await {
                Ok(answer) => {
                    self.bound(kind, room, joiner.access, &answer);
                    return Ok(answer);
                }
                Err(refused) => {
                    tracing::info!(
                        room = room.as_str(),
                        node = candidate.node.as_str(),
                        kind = kind.as_str(),
                        why = refused,
                        placed = %candidate.score,
                        "node did not take a session"
                    );
                    why = refused;
                }
            }
        }
        if passed.is_empty()
            && let Err(missing) = state.ready(Instant::now())
        {
            let detail = format!("this coordinator has just started and {missing}: ask again");
            return Err(Problem::unavailable("starting", detail, spread()));
        }
        let reason = if store_away { "store-away" } else { "over-capacity" };
        let detail = format!("no node could take the session ({why}): ask again later");
        Err(Problem::unavailable(reason, detail, spread()))
    }

    /// Lets the identity's oldest sessions on other nodes make way for one that was made, where it may not hold so many.
    fn bound(&self, kind: Kind, room: &RoomId, access: &Access, answer: &Response) {
        let (most, direction) = kind.bound(access);
        let made = answer.headers().get(header::LOCATION).filter(|_| answer.status() == StatusCode::CREATED);
        let name = made.and_then(|location| location.to_str().ok()?.rsplit('/').next()?.parse().ok());
        if let (Some(most), Some(session)) = (most, name) {
            let (room, identity) = (room.clone(), access.identity.clone());
            tokio::spawn(self.roster.clone().bound(room, identity, direction, most.get(), session));
        }
    }

    /// The same for one that will be made when the client gets to its node, if it does.
    fn bound_sent_on(&self, kind: Kind, room: &RoomId, access: &Access, to: &Candidate) {
        if let (Some(most), direction) = kind.bound(access) {
            let (room, identity) = (room.clone(), access.identity.clone());
            self.roster.bound_sent_on(
                room,
                identity,
                direction,
                most.get(),
                (to.node.clone(), to.http.clone()),
            );
        }
    }

    /// The best node that was not asked yet, with the join counted against it before the lock is let go.
    fn choose(
        &self,
        room: &RoomId,
        region: &str,
        passed: &BTreeSet<NodeId>,
        members_only: bool,
    ) -> Option<(Candidate, Pending<'_>)> {
        let mut core = self.state.core();
        let ranking = rank(core.view(), &Ask { room, region }, Instant::now());
        let fits = |c: &Candidate| !passed.contains(&c.node) && (c.member || !members_only);
        let candidate = ranking.candidates.into_iter().find(fits)?;
        core.handle_join_sent(&candidate.node, candidate.incarnation);
        let pending = Pending {
            state: &self.state,
            room: room.clone(),
            to: candidate.clone(),
            sent: false,
            done: false,
        };
        Some((candidate, pending))
    }

    async fn ask(
        &self,
        to: &Candidate,
        mut pending: Pending<'_>,
        plan: RoomPlan,
        joiner: &Joiner<'_>,
        whole: &Whole,
    ) -> Result<Response, String> {
        pending.sent = true;
        let time = self.state.config.join_timeout;
        let answer = self
            .client
            .call(&to.http, whole, joiner.access, time, |call| {
                call.plan = Some(plan);
                (call.client_ip, call.client_there) = (joiner.ip, joiner.there);
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let word = match &error {
                    CallError::Late(_) => "late",
                    CallError::Unreachable(_) => "unreachable",
                    CallError::Refused(_) => "call-refused",
                    CallError::Unusable(_) => "unusable",
                };
                if let CallError::Refused(why) = &error {
                    tracing::warn!(node = to.node.as_str(), why, "node takes no calls of this coordinator's");
                }
                self.state.metrics.refused(word);
                self.state.core().handle_unreachable(&to.node, to.incarnation, Instant::now());
                if !matches!(error, CallError::Late(_)) {
                    pending.refused();
                }
                return Err(error.to_string());
            }
        };
        if let Some(reason) = call::refusal(&answer) {
            self.state.metrics.refused(&reason);
            pending.refused();
            return Err(reason);
        }
        if answer.status().is_success() {
            pending.accepted()
        } else {
            pending.refused()
        }
        Ok(call::pass_on(answer))
    }
}

/// A join that counts against its node until it is known what became of it. Dropped on the way (the client went
/// away, or the answer is late), it counts as taken if it had been sent.
struct Pending<'a> {
    state: &'a State,
    room: RoomId,
    to: Candidate,
    sent: bool,
    done: bool,
}

impl Pending<'_> {
    fn accepted(mut self) {
        self.settle(true);
    }

    fn refused(mut self) {
        self.settle(false);
    }

    fn settle(&mut self, taken: bool) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let mut core = self.state.core();
        if taken {
            core.handle_join_accepted(&self.room, &self.to.node, self.to.incarnation, Instant::now());
        } else {
            core.handle_join_refused(&self.to.node, self.to.incarnation);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.settle(self.sent);
    }
}
