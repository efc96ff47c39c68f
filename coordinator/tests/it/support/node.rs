//! A node that registers, beats and answers calls, without media.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use freshet_cluster::bus::Bus as _;
use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::keys::{self, Topic};
use freshet_cluster::load::{LinkLoad, NodeLoad, RoomLoad, StreamLoad};
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{Capacity, NodeRecord, StreamRecord};
use freshet_cluster::room::{EndReason, StreamEvent, StreamState};
use freshet_cluster::secret::Secret;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::store::{Expect, LeaseId, Store as _};
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::version::{Unknown, encode};
use freshet_cluster::{Epoch, Generation, Incarnation, NodeId, RoomId, SessionId};
use freshet_edge::call::{Call, Verifier};
use freshet_edge::roster::{SessionEntry, SessionsPage};
use freshet_edge::sse::{self, EventSender};
use freshet_edge::{Problem, body};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it does with joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Accept,
    Refuse(&'static str),
    Hang,
    NoPublisher,
}

/// A call as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
    pub call: Call,
}

#[derive(Default)]
struct Inside {
    seen: Vec<Seen>,
    behaviour: Option<Behaviour>,
    rooms: BTreeMap<RoomId, Carried>,
    links: Vec<(NodeId, Incarnation)>,
    seq: u64,
    quiet: bool,
    joins: u64,
    /// It does not answer those who end a session of a room.
    deaf: bool,
    /// Sessions that it was told to end, by those who run rooms.
    dismissed: Vec<String>,
    /// Who reads event streams of its sessions.
    readers: Vec<EventSender>,
}

#[derive(Debug, Default, Clone)]
struct Carried {
    epoch: u64,
    viewers: u32,
    streams: Vec<(String, u64)>,
}

pub struct FakeNode {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub addr: SocketAddr,
    pub lease: LeaseId,
    inside: Arc<Mutex<Inside>>,
    store: MemoryStore,
    bus: MemoryBus,
    tasks: Vec<JoinHandle<()>>,
}

const BEAT: Duration = Duration::from_millis(100);

impl FakeNode {
    pub async fn start(name: &str, behaviour: Behaviour, store: &MemoryStore, bus: &MemoryBus) -> Self {
        let id: NodeId = name.parse().unwrap();
        let incarnation = Incarnation::from_bits(rand::random());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let inside = Arc::new(Mutex::new(Inside { behaviour: Some(behaviour), ..Inside::default() }));
        let lease = store.grant(Duration::from_secs(3600)).await.unwrap();
        let mut node = Self {
            id,
            incarnation,
            addr,
            lease,
            inside,
            store: store.clone(),
            bus: bus.clone(),
            tasks: Vec::new(),
        };
        node.register().await;
        let verifier = Arc::new(Verifier::new(&Secret::new(SECRET)));
        let (inside, me) = (Arc::clone(&node.inside), (node.id.clone(), incarnation));
        let serve = move |request: Request<Body>| {
            let (inside, verifier, me) = (Arc::clone(&inside), Arc::clone(&verifier), me.clone());
            async move { answer(&inside, &verifier, &me, request).await }
        };
        let router = Router::new().fallback(serve);
        node.tasks.push(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        let (inside, bus, me) = (Arc::clone(&node.inside), bus.clone(), (node.id.clone(), incarnation));
        node.tasks.push(tokio::spawn(async move {
            loop {
                let load = load(&mut inside.lock().unwrap(), &me);
                let quiet = inside.lock().unwrap().quiet;
                if !quiet {
                    let _away = bus.publish(&keys::load_subject(&me.0), encode(&load)).await;
                }
                tokio::time::sleep(BEAT).await;
            }
        }));
        node
    }

    /// Writes its record, under a lease that no one renews and that lasts for the test.
    pub async fn register(&self) {
        self.register_as(|_| {}).await;
    }

    /// The same, saying something else.
    pub async fn register_as(&self, edit: impl FnOnce(&mut NodeRecord)) {
        let mut record = NodeRecord {
            v: 1,
            min_v: 1,
            id: self.id.clone(),
            incarnation: self.incarnation,
            region: String::new(),
            zone: String::new(),
            http: format!("http://{}", self.addr),
            public_url: None,
            relay: String::new(),
            relay_cert_sha256: String::new(),
            started_at: UnixMillis::now(),
            draining: false,
            capacity: Capacity {
                sessions: 1000,
                egress: Bitrate::default(),
                egress_pps: 0,
                unknown: Default::default(),
            },
            unknown: Unknown::new(),
        };
        edit(&mut record);
        let key = keys::node(&self.id);
        let lease = if self.store.keep_alive(self.lease).await.is_ok() { Some(self.lease) } else { None };
        self.store.put(&key, encode(&record), Expect::Any, lease).await.unwrap();
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.inside.lock().unwrap().behaviour = Some(behaviour);
    }

    /// It does not answer those who end a session of a room (any more, or again).
    pub fn set_deaf(&self, deaf: bool) {
        self.inside.lock().unwrap().deaf = deaf;
    }

    /// Sessions that it was told to end, by those who run rooms.
    pub fn dismissed(&self) -> Vec<String> {
        self.inside.lock().unwrap().dismissed.clone()
    }

    /// Its heartbeats are not heard (any more, or again).
    pub fn set_quiet(&self, quiet: bool) {
        self.inside.lock().unwrap().quiet = quiet;
    }

    /// Those who read event streams of its sessions.
    pub fn readers(&self) -> Vec<EventSender> {
        self.inside.lock().unwrap().readers.clone()
    }

    /// Ends its event streams.
    pub fn end_events(&self) {
        self.inside.lock().unwrap().readers.clear();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inside.lock().unwrap().seen.clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a call")
    }

    /// Viewers and the epoch of the plan that it claims to know.
    pub fn carry(&self, room: &str, epoch: u64, viewers: u32) {
        let mut inside = self.inside.lock().unwrap();
        let carried = inside.rooms.entry(room.parse().unwrap()).or_default();
        carried.epoch = carried.epoch.max(epoch);
        carried.viewers = viewers;
    }

    pub fn forget(&self, room: &str) {
        self.inside.lock().unwrap().rooms.remove(&room.parse::<RoomId>().unwrap());
    }

    pub fn link(&self, peer: &FakeNode) {
        self.inside.lock().unwrap().links.push((peer.id.clone(), peer.incarnation));
    }

    /// A publisher's stream: claimed in the store, told on the bus, listed in heartbeats.
    pub async fn publish(&self, room: &str, stream: &str, generation: u64) {
        self.claim(room, stream, generation).await;
        self.inside
            .lock()
            .unwrap()
            .rooms
            .entry(room.parse().unwrap())
            .or_default()
            .streams
            .push((stream.to_owned(), generation));
        self.tell(room, stream, generation, StreamState::Started, None).await;
    }

    /// Only the store's key.
    pub async fn claim(&self, room: &str, stream: &str, generation: u64) {
        let record = StreamRecord {
            v: 1,
            min_v: 1,
            room: room.parse().unwrap(),
            stream: stream.parse().unwrap(),
            generation: Generation(generation),
            identity: "host".parse().unwrap(),
            node: self.id.clone(),
            incarnation: self.incarnation,
            session: SessionId::from_bits(1),
            started_at: UnixMillis(1),
            live: true,
            unknown: Unknown::new(),
        };
        let key = keys::stream(&record.room, &record.stream);
        self.store.put(&key, encode(&record), Expect::Any, Some(self.lease)).await.unwrap();
    }

    pub async fn end(&self, room: &str, stream: &str, generation: u64, reason: EndReason) {
        let id: RoomId = room.parse().unwrap();
        if let Some(carried) = self.inside.lock().unwrap().rooms.get_mut(&id) {
            carried.streams.retain(|(name, _)| name != stream);
        }
        self.tell(room, stream, generation, StreamState::Ended, Some(reason)).await;
    }

    async fn tell(
        &self,
        room: &str,
        stream: &str,
        generation: u64,
        state: StreamState,
        reason: Option<EndReason>,
    ) {
        let event = StreamEvent {
            v: 1,
            min_v: 1,
            room: room.parse().unwrap(),
            stream: stream.parse().unwrap(),
            generation: Generation(generation),
            identity: "host".parse().unwrap(),
            node: self.id.clone(),
            state,
            reason,
            at: UnixMillis::now(),
            unknown: Unknown::new(),
        };
        let subject = keys::room_subject(&event.room, Topic::Stream);
        self.bus.publish(&subject, encode(&event)).await.unwrap();
    }

    /// It stops to answer and to beat; its key stays until its lease is expired.
    pub fn vanish(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.vanish();
    }
}

use super::SECRET;

fn load(inside: &mut Inside, me: &(NodeId, Incarnation)) -> NodeLoad {
    inside.seq += 1;
    let stream = |(stream, generation): &(String, u64)| StreamLoad {
        stream: stream.parse().unwrap(),
        generation: Generation(*generation),
        identity: "host".parse().unwrap(),
        started_at: UnixMillis(1),
        live: true,
        unknown: Unknown::new(),
    };
    let rooms = inside.rooms.iter().map(|(room, carried)| RoomLoad {
        room: room.clone(),
        epoch: Epoch(carried.epoch),
        viewers: carried.viewers,
        streams: carried.streams.iter().map(stream).collect(),
        unknown: Unknown::new(),
    });
    let links = inside.links.iter().map(|(peer, incarnation)| LinkLoad {
        peer: peer.clone(),
        incarnation: *incarnation,
        rtt_us: 500,
        unknown: Unknown::new(),
    });
    NodeLoad {
        v: 1,
        min_v: 1,
        node: me.0.clone(),
        incarnation: me.1,
        seq: inside.seq,
        draining: false,
        sessions: inside.rooms.values().map(|carried| carried.viewers).sum(),
        joins_total: inside.joins,
        egress: Bitrate::default(),
        egress_pps: 0,
        cpu_millicores: 10,
        rooms: rooms.collect(),
        links: links.collect(),
        unknown: Unknown::new(),
    }
}

/// The one session that each room of a fake node has, or the one that is named.
fn sessions(path: &str, me: &(NodeId, Incarnation)) -> Response {
    let named = path.split('?').next().and_then(|path| path.rsplit('/').next()?.parse::<SessionId>().ok());
    let entry = SessionEntry {
        session: named.unwrap_or(SessionId::from_bits(7)),
        identity: "viewer-7".parse().unwrap(),
        direction: "view".to_owned(),
        stream: None,
        since_ms: 7,
        age_ms: 7,
        node: me.0.clone(),
        incarnation: me.1,
    };
    match named {
        Some(_) => axum::Json(entry).into_response(),
        None => axum::Json(SessionsPage::of(vec![entry], 100)).into_response(),
    }
}

async fn answer(
    inside: &Mutex<Inside>,
    verifier: &Verifier,
    me: &(NodeId, Incarnation),
    request: Request<Body>,
) -> Response {
    let (parts, content) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let content = body::read(&parts.headers, content, body::SDP_MAX, body::TIME).await.unwrap();
    let signed = verifier.signed(&parts.headers);
    let call = match signed.and_then(|call| call.verify(&parts.method, &path, &content, UnixMillis::now())) {
        Ok(call) => call,
        Err(error) => return Problem::from(error).into_response(),
    };
    // Asked behind joins, too: not among what tests count.
    if path.starts_with("/v1/rooms/") && !path.ends_with("/health") {
        if parts.method == http::Method::DELETE {
            let deaf = {
                let mut inside = inside.lock().unwrap();
                inside.dismissed.push(path.clone());
                inside.deaf
            };
            if deaf {
                std::future::pending::<()>().await;
            }
        }
        return sessions(&path, me);
    }
    let plan: Option<RoomPlan> = call.plan.clone();
    let behaviour = {
        let mut inside = inside.lock().unwrap();
        inside.seen.push(Seen {
            method: parts.method.to_string(),
            path: path.clone(),
            headers: parts.headers,
            body: String::from_utf8(content.to_vec()).unwrap(),
            call,
        });
        inside.behaviour.unwrap()
    };
    if path.ends_with("/health") {
        return match behaviour {
            Behaviour::Hang => std::future::pending().await,
            _ => (StatusCode::OK, [("cache-control", "no-store")], format!("health by {}", me.0.as_str()))
                .into_response(),
        };
    }
    if path.starts_with("/sessions/") {
        return match behaviour {
            Behaviour::Hang => std::future::pending().await,
            _ if path.contains("/sse/") && parts.method == http::Method::GET => {
                let (reader, events) = sse::channel(4, sse::KEEP_ALIVE);
                reader.try_send(sse::Event::text("active", None, "{}")).unwrap();
                inside.lock().unwrap().readers.push(reader);
                events.into_response()
            }
            _ if matches!(parts.method, http::Method::GET | http::Method::HEAD)
                && !path.contains("/sse/") =>
            {
                (StatusCode::NO_CONTENT, [("etag", "\"1\"")]).into_response()
            }
            _ if path.ends_with("/sse") => {
                (StatusCode::CREATED, [("location", format!("{path}/1"))]).into_response()
            }
            _ => (StatusCode::OK, [("etag", "\"1\"")], format!("{} of {}", parts.method, me.0.as_str()))
                .into_response(),
        };
    }
    match behaviour {
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Refuse(reason) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not now").refused(reason).into_response()
        }
        Behaviour::NoPublisher => {
            Problem::conflict("no-publisher", "nobody").retry_after(Duration::from_secs(2)).into_response()
        }
        Behaviour::Accept => {
            let mut inside = inside.lock().unwrap();
            inside.joins += 1;
            if let Some(plan) = plan {
                let carried = inside.rooms.entry(plan.room.clone()).or_default();
                carried.epoch = carried.epoch.max(plan.epoch.0);
                carried.viewers += 1;
            }
            let session = SessionId::from_bits(rand::random());
            let location = format!("/sessions/{}/{}/{session}", me.0.as_str(), me.1);
            let headers = [("content-type", "application/sdp"), ("location", &location), ("etag", "\"0\"")];
            (StatusCode::CREATED, headers, "v=0\r\na=answer\r\n").into_response()
        }
    }
}
