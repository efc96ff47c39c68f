//! How a publisher's media arrives: asked of the node that has the publisher.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{RoomId, StreamId};
use freshet_edge::Problem;
use freshet_edge::bearer::insufficient;
use http::Request;

use super::call::{self, Whole};
use super::join::Gateway;
use super::session::{TIME, known};
use crate::view::streams::{Phase, StreamView};

impl Gateway {
    /// Serves GET on `/v1/rooms/{room}/streams/{stream}/health`.
    pub async fn stream_health(
        &self,
        room: RoomId,
        stream: StreamId,
        client_ip: Option<IpAddr>,
        request: Request<Body>,
    ) -> Result<Response, Problem> {
        let (parts, _) = request.into_parts();
        let access = self.state.config.guard.authenticate(&parts.headers, UnixMillis::now())?;
        if !access.rooms.covers(&room) {
            return Err(insufficient(format!("the token is for another room than {:?}", room.as_str())));
        }
        // Each is a call to a node, and a question to a media thread there.
        self.door.admit(&access, &parts.method, &parts.extensions)?;
        known(&self.state)?;
        let (base, node) = {
            let core = self.state.core();
            let view = core.view();
            // One that is claimed, too: its node says that it is not live yet, and whoever just published gets an answer.
            let published = |known: &StreamView| !matches!(known.phase, Phase::Ended(_));
            let known = view.streams(&room).find(|(id, known)| **id == stream && published(known));
            let origin = known.and_then(|(_, known)| view.node(&known.node));
            let Some(origin) = origin else {
                let detail = "nobody publishes this stream now: ask again once somebody does";
                return Err(Problem::not_found(detail).reason("no-publisher"));
            };
            (origin.record.http.clone(), (origin.record.id.clone(), origin.incarnation()))
        };
        let path = format!("/v1/rooms/{}/streams/{}/health", room.as_str(), stream.as_str());
        let whole = Whole { method: parts.method, path, headers: parts.headers, body: Bytes::new() };
        let answer = self.client.call(&base, &whole, &access, TIME, |call| call.client_ip = client_ip).await;
        answer.map(call::pass_on).map_err(|error| {
            self.state.core().handle_unreachable(&node.0, node.1, Instant::now());
            tracing::warn!(node = node.0.as_str(), room = room.as_str(), %error, "stream health out of reach");
            let detail = "the node that has the publisher does not answer: its media may still flow; ask again";
            Problem::new(error.status(), detail).reason("node-unreachable").retry_after(Duration::from_secs(1))
        })
    }
}
