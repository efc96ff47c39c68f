//! What the coordinator knows, for reading.
//!
//! Rooms are shown to whoever may take part in them; nodes and trees are for operators (grant `admin` for every room). In
//! open mode everything is shown to everybody.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use freshet_cluster::token::{Grant, Rooms};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{NodeId, RoomId};
use freshet_edge::bearer::insufficient;
use freshet_edge::names::InRoom;
use freshet_edge::problem::ProblemDetail;
use freshet_edge::{Access, Problem};
use http::HeaderMap;

use super::model::{
    CapacityInfo, ClusterInfo, LinkInfo, MemberInfo, NodeInfo, NodesPage, RoomInfo, RoomsPage, StreamInfo,
    TreeInfo,
};
use crate::app::App;
use crate::gateway::session::known;
use crate::place;
use crate::view::View;
use crate::view::nodes::NodeView;
use crate::view::streams::Phase;

/// Most rooms in one answer.
const ROOMS_MAX: usize = 1_000;

fn authenticate(app: &App, headers: &HeaderMap) -> Result<Access, Problem> {
    app.state().config.guard.authenticate(headers, UnixMillis::now())
}

fn operator(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let access = authenticate(app, headers)?;
    if access.grants.allows(Grant::Admin) && access.rooms == Rooms::Every {
        return Ok(());
    }
    let detail =
        "nodes and trees are shown to those who run every room: get a token with room \"*\" and grant admin";
    Err(insufficient(detail.to_owned()))
}

/// Rooms with a stream or a viewer.
#[utoipa::path(
    get, path = "/v1/rooms", tag = "rooms", operation_id = "rooms",
    responses(
        (status = 200, description = "Rooms that the caller may take part in, most viewers first", body = RoomsPage),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn rooms(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<RoomsPage>, Problem> {
    let access = authenticate(&app, &headers)?;
    known(app.state())?;
    let core = app.state().core();
    let view = core.view();
    let known = view.rooms();
    let mut rooms: Vec<RoomInfo> = known
        .iter()
        .filter(|room| access.rooms.covers(room))
        .map(|room| room_info(view, room))
        .filter(|info| info.viewers > 0 || !info.streams.is_empty())
        .collect();
    rooms.sort_by(|a, b| (Reverse(a.viewers), &a.room).cmp(&(Reverse(b.viewers), &b.room)));
    let truncated = rooms.len() > ROOMS_MAX;
    rooms.truncate(ROOMS_MAX);
    Ok(Json(RoomsPage { rooms, truncated }))
}

/// One room.
#[utoipa::path(
    get, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "room",
    params(("room" = String, Path, description = "Room id")),
    responses(
        (status = 200, description = "The room", body = RoomInfo),
        (status = 400, description = "Not a room id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token is for another room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "Nobody is in it", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn room(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    headers: HeaderMap,
) -> Result<Json<RoomInfo>, Problem> {
    let access = authenticate(&app, &headers)?;
    if !access.rooms.covers(&room) {
        return Err(insufficient(format!("the token is for another room than {:?}", room.as_str())));
    }
    known(app.state())?;
    let core = app.state().core();
    if !core.view().rooms().contains(&room) {
        return Err(Problem::not_found(
            "nobody is in this room: it begins with the first publisher or viewer",
        ));
    }
    Ok(Json(room_info(core.view(), &room)))
}

fn room_info(view: &View, room: &RoomId) -> RoomInfo {
    let running = view.streams(room).filter(|(_, stream)| !matches!(stream.phase, Phase::Ended(_)));
    let streams: Vec<StreamInfo> = running
        .map(|(id, stream)| StreamInfo {
            stream: id.clone(),
            generation: stream.generation,
            identity: stream.identity.clone(),
            started_at_ms: stream.started_at.0,
            live: stream.phase == Phase::Live,
        })
        .collect();
    let started_at_ms = streams.iter().map(|stream| stream.started_at_ms).min();
    RoomInfo { room: room.clone(), viewers: view.viewers(room), streams, started_at_ms }
}

/// All nodes.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "cluster", operation_id = "nodes",
    responses(
        (status = 200, description = "All nodes, the recently dead included", body = NodesPage),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of every room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn nodes(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<NodesPage>, Problem> {
    operator(&app, &headers)?;
    let core = app.state().core();
    Ok(Json(NodesPage { nodes: all_nodes(core.view(), Instant::now()) }))
}

/// Nodes and rooms' trees.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", operation_id = "cluster",
    responses(
        (status = 200, description = "The cluster as this coordinator sees it", body = ClusterInfo),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of every room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn cluster(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<ClusterInfo>, Problem> {
    operator(&app, &headers)?;
    let bus_up = app.state().bus.is_up();
    let core = app.state().core();
    let view = core.view();
    let rooms = view.rooms().iter().filter_map(|room| tree(view, room)).collect();
    let nodes = all_nodes(view, Instant::now());
    Ok(Json(ClusterInfo { nodes, rooms, store_up: view.is_store_up(), bus_up }))
}

fn tree(view: &View, room: &RoomId) -> Option<TreeInfo> {
    let known = view.room(room)?;
    let plan = known.plan.as_ref()?;
    let members = plan.members.iter().map(|member| {
        let carrier = known.carriers.get(&member.node).filter(|c| c.incarnation == member.incarnation);
        MemberInfo {
            node: member.node.clone(),
            incarnation: member.incarnation,
            parent: member.parent.clone(),
            standby: member.standby.clone(),
            epoch: carrier.map(|carrier| carrier.epoch),
            viewers: carrier.map_or(0, |carrier| carrier.viewers),
            publishers: carrier.map_or(0, |carrier| carrier.publishers),
        }
    });
    Some(TreeInfo { room: room.clone(), epoch: plan.epoch, members: members.collect() })
}

fn all_nodes(view: &View, now: Instant) -> Vec<NodeInfo> {
    view.nodes().map(|(id, node)| node_info(view, id, node, now)).collect()
}

fn node_info(view: &View, id: &NodeId, node: &NodeView, now: Instant) -> NodeInfo {
    let record = &node.record;
    let load = node.load.as_ref();
    let heard = now.saturating_duration_since(node.heard_at).as_millis();
    let link =
        |link: &freshet_cluster::load::LinkLoad| LinkInfo { peer: link.peer.clone(), rtt_us: link.rtt_us };
    NodeInfo {
        id: id.clone(),
        incarnation: record.incarnation,
        region: record.region.clone(),
        zone: record.zone.clone(),
        state: view.liveness(id, record.incarnation, now).as_str().to_owned(),
        registered: node.registered,
        started_at_ms: record.started_at.0,
        heard: load.is_some(),
        heard_ms_ago: u64::try_from(heard).unwrap_or(u64::MAX),
        sessions: load.map_or(0, |load| load.sessions),
        pending: node.ledger.pending(),
        load_permille: place::load(node).0,
        egress_bps: load.map_or(0, |load| load.egress.bps()),
        egress_pps: load.map_or(0, |load| load.egress_pps),
        cpu_millicores: load.map_or(0, |load| load.cpu_millicores),
        rooms: load.map_or(0, |load| load.rooms.len()),
        capacity: CapacityInfo {
            sessions: record.capacity.sessions,
            egress_bps: record.capacity.egress.bps(),
            egress_pps: record.capacity.egress_pps,
        },
        links: load.map(|load| load.links.iter().map(link).collect()).unwrap_or_default(),
    }
}
