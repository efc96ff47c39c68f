//! The sessions of a room over all its nodes: each node is asked for its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use bytes::Bytes;
use freshet_cluster::token::{Grant, Rooms};
use freshet_cluster::{Identity, NodeId, RoomId, SessionId};
use freshet_edge::roster::{PAGE_MAX, SessionEntry, SessionsPage};
use freshet_edge::{Access, Problem, ticket};
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::Semaphore;

use super::call::{CallError, NodeClient, Whole};
use crate::liveness::Liveness;
use crate::shell::state::State;
use crate::view::View;

/// A node that does not answer in this time is left out.
const TIME: Duration = Duration::from_secs(3);
/// Nodes that are asked at the same time.
const AT_ONCE: usize = 16;
/// Clients that were sent on and are looked out for at the same time. Of more than these the nodes alone bound what
/// they hold.
const LOOKOUTS: usize = 1_000;
/// When the node is asked first whether such a client has come, and how rarely at last.
const LOOK_MS: (u64, u64) = (250, 4_000);
/// Who has not come in this time does not come any more: a ticket's life, and what the request may take.
const COMES_WITHIN: Duration = Duration::from_millis(ticket::LIFE_MS.saturating_add(5_000));

/// Asks the nodes of a room.
#[derive(Clone)]
pub struct Roster {
    state: Arc<State>,
    client: NodeClient,
    lookouts: Arc<Semaphore>,
}

/// A node's answer.
type Answer = (NodeId, Result<Response<Bytes>, CallError>);

/// Where a session is, or who could not be asked.
pub enum Found {
    /// There.
    Here(Box<SessionEntry>),
    /// Nowhere among those who answered; these did not.
    Nowhere(Vec<NodeId>),
}

impl Roster {
    /// Over the state and the way to nodes.
    pub fn new(state: Arc<State>, client: NodeClient) -> Self {
        Self { state, client, lookouts: Arc::new(Semaphore::new(LOOKOUTS)) }
    }

    /// Nodes that have sessions of the room, or may: its plan's, and those that say so themselves.
    fn nodes(&self, room: &RoomId) -> Vec<(NodeId, String)> {
        let core = self.state.core();
        let view = core.view();
        let Some(known) = view.room(room) else { return Vec::new() };
        let members = known.plan.iter().flat_map(|plan| &plan.members).map(|member| &member.node);
        let mut ids: Vec<&NodeId> = members.chain(known.carriers.keys()).collect();
        ids.sort();
        ids.dedup();
        ids.into_iter().filter_map(|id| base(view, id)).collect()
    }

    /// All others. One that was asked for a session by its client has it before its heartbeat tells of the room.
    fn others(&self, nodes: &[(NodeId, String)]) -> Vec<(NodeId, String)> {
        let core = self.state.core();
        let view = core.view();
        let others = view.nodes().map(|(id, _)| id).filter(|id| nodes.iter().all(|(node, _)| node != *id));
        others.filter_map(|id| base(view, id)).collect()
    }

    /// Asks in the coordinator's own name: who it asks for has been judged.
    async fn ask(&self, room: &RoomId, node: NodeId, base: &str, method: Method, path: String) -> Answer {
        let Ok(identity) = "~coordinator".parse::<Identity>() else {
            return (node, Err(CallError::Unusable("no name".to_owned())));
        };
        let access = Access {
            grants: [Grant::Admin].into_iter().collect(),
            rooms: Rooms::One(room.clone()),
            ..Access::holder(identity)
        };
        let whole = Whole { method, path, headers: HeaderMap::new(), body: Bytes::new() };
        let answer = self.client.call(base, &whole, &access, TIME, |_| {}).await;
        (node, answer)
    }

    async fn ask_all(&self, room: &RoomId, path: &str) -> Vec<Answer> {
        let mut answers = Vec::new();
        for some in self.nodes(room).chunks(AT_ONCE) {
            let asks = some
                .iter()
                .map(|(node, base)| self.ask(room, node.clone(), base, Method::GET, path.to_owned()));
            answers.extend(join_all(asks).await);
        }
        answers
    }

    /// A page of the room's sessions; `query` has been read already.
    pub async fn list(&self, room: &RoomId, query: &str, limit: usize) -> SessionsPage {
        let path = format!("/v1/rooms/{}/sessions?{query}", room.as_str());
        let (mut sessions, mut more, mut unreachable) = (Vec::new(), false, Vec::new());
        for (node, answer) in self.ask_all(room, &path).await {
            match answer.ok().and_then(|answer| serde_json::from_slice::<SessionsPage>(answer.body()).ok()) {
                Some(page) => {
                    more |= page.next.is_some();
                    sessions.extend(page.sessions);
                }
                None => unreachable.push(node),
            }
        }
        let mut page = SessionsPage::of(sessions, limit);
        // A node that has more has none before the last that it told: the page is whole up to its end.
        if more && page.next.is_none() {
            page.next = page.sessions.last().map(|entry| entry.session.to_string());
        }
        page.unreachable = unreachable;
        page
    }

    /// Where a session of the room is: the room's nodes are asked first, then the others.
    pub async fn find(&self, room: &RoomId, session: SessionId) -> Found {
        let path = format!("/v1/rooms/{}/sessions/{session}", room.as_str());
        let mut unreachable = Vec::new();
        let mut nodes = self.nodes(room);
        let others = self.others(&nodes);
        nodes.extend(others);
        let asks = nodes.into_iter().map(|(node, base)| {
            let path = path.clone();
            async move { self.ask(room, node, &base, Method::GET, path).await }
        });
        // Who has it is not kept waiting for by one that hangs.
        let mut answers = stream::iter(asks).buffer_unordered(AT_ONCE);
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    if let Ok(entry) = serde_json::from_slice(answer.body()) {
                        return Found::Here(Box::new(entry));
                    }
                    unreachable.push(node);
                }
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {}
                Ok(_) | Err(_) => unreachable.push(node),
            }
        }
        unreachable.sort();
        Found::Nowhere(unreachable)
    }

    /// Ends a session where it is. One that has ended by itself is as good.
    pub async fn end(
        &self,
        room: &RoomId,
        entry: &SessionEntry,
        reason: Option<&str>,
    ) -> Result<(), Problem> {
        let base = base(self.state.core().view(), &entry.node);
        let query = reason.map(|reason| format!("?reason={reason}")).unwrap_or_default();
        let path = format!("/v1/rooms/{}/sessions/{}{query}", room.as_str(), entry.session);
        if let Some((node, base)) = base {
            let (_, answer) = self.ask(room, node, &base, Method::DELETE, path).await;
            if answer.is_ok_and(|answer| matches!(answer.status().as_u16(), 200 | 404)) {
                return Ok(());
            }
        }
        Err(unreachable(std::slice::from_ref(&entry.node)))
    }

    /// Ends the oldest of an identity's sessions beyond what it may hold, wherever they are: of those that are older than
    /// the one that has just been made. Its own node has done so for its own already.
    pub async fn bound(
        self,
        room: RoomId,
        identity: Identity,
        direction: &'static str,
        most: u32,
        new: SessionId,
    ) {
        if self.nodes(&room).len() < 2 {
            return;
        }
        let all = self.list(&room, &query_of(&identity, direction), PAGE_MAX).await.sessions;
        for entry in beyond(&all, new, usize::try_from(most).unwrap_or(usize::MAX)) {
            if let Err(problem) = self.end(&room, entry, Some("taken-over")).await {
                tracing::warn!(room = room.as_str(), session = entry.session.short(), %problem, "session goes on");
            }
        }
    }

    /// As [`bound`](Self::bound), for a join that was sent on to `to`: its session is there when the client has come with its
    /// ticket, and only the node knows when that is.
    pub fn bound_sent_on(
        &self,
        room: RoomId,
        identity: Identity,
        direction: &'static str,
        most: u32,
        to: (NodeId, String),
    ) {
        let Ok(place) = Arc::clone(&self.lookouts).try_acquire_owned() else {
            tracing::warn!(
                room = room.as_str(),
                "too many clients are on their way: sessions of one may stay on other nodes"
            );
            return;
        };
        let (roster, sent) = (self.clone(), Instant::now());
        let path = format!("/v1/rooms/{}/sessions?{}", room.as_str(), query_of(&identity, direction));
        tokio::spawn(async move {
            let (_place, (node, base)) = (place, to);
            let mut wait = LOOK_MS.0;
            while sent.elapsed() < COMES_WITHIN {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                wait = wait.saturating_mul(2).min(LOOK_MS.1);
                let (_, answer) = roster.ask(&room, node.clone(), &base, Method::GET, path.clone()).await;
                let page =
                    answer.ok().and_then(|answer| serde_json::from_slice::<SessionsPage>(answer.body()).ok());
                if let Some(new) = page.and_then(|page| youngest(&page.sessions, sent.elapsed())) {
                    return roster.bound(room, identity, direction, most, new).await;
                }
            }
        });
    }
}

/// How to reach a node that is not known to be dead.
fn base(view: &View, id: &NodeId) -> Option<(NodeId, String)> {
    let node = view.node(id)?;
    let dead = view.liveness(id, node.incarnation(), Instant::now()) == Liveness::Dead;
    (!dead).then(|| (id.clone(), node.record.http.clone()))
}

/// One's sessions of a kind.
fn query_of(identity: &Identity, direction: &str) -> String {
    format!("identity={}&direction={direction}&limit={PAGE_MAX}", percent(identity.as_str()))
}

/// The youngest session that was made within this time.
fn youngest(all: &[SessionEntry], within: Duration) -> Option<SessionId> {
    let new = all.iter().filter(|entry| u128::from(entry.age_ms) <= within.as_millis());
    new.min_by_key(|entry| entry.age_ms).map(|entry| entry.session)
}

/// Two sessions whose ages differ by less were made at the same time: ages come over networks.
const SAME_MS: u64 = 50;

/// Which of one's sessions make way for a new one, of those that are older. Two that are made at the same time are told
/// apart by their ids, so that behind two joins one of them goes, and not both.
fn beyond(all: &[SessionEntry], new: SessionId, most: usize) -> Vec<&SessionEntry> {
    let Some(own) = all.iter().find(|entry| entry.session == new) else { return Vec::new() };
    let is_older = |entry: &&SessionEntry| match entry.age_ms.abs_diff(own.age_ms) {
        0..SAME_MS => entry.session < own.session,
        _ => entry.age_ms > own.age_ms,
    };
    let mut older: Vec<&SessionEntry> = all.iter().filter(is_older).collect();
    older.sort_by_key(|entry| (std::cmp::Reverse(entry.age_ms), entry.session));
    older.truncate(all.len().saturating_sub(most));
    older
}

/// 502: somebody did not answer.
pub fn unreachable(nodes: &[NodeId]) -> Problem {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    let detail = format!("nodes do not answer ({}): ask again", names.join(", "));
    let problem = Problem::new(StatusCode::BAD_GATEWAY, detail).reason("node-unreachable");
    problem.retry_after(Duration::from_secs(1))
}

/// As a query's value: whatever is not plain is written in hexadecimal digits.
fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use freshet_cluster::Incarnation;

    use super::*;

    fn entry(bits: u128, age_ms: u64) -> SessionEntry {
        SessionEntry {
            session: SessionId::from_bits(bits),
            identity: "ann".parse().unwrap(),
            direction: "view".to_owned(),
            stream: None,
            since_ms: 0,
            age_ms,
            node: "n".parse().unwrap(),
            incarnation: Incarnation::from_bits(1),
        }
    }

    fn ends(all: &[SessionEntry], new: u128, most: usize) -> Vec<u128> {
        beyond(all, SessionId::from_bits(new), most).into_iter().map(|entry| entry.session.bits()).collect()
    }

    #[test]
    fn older_ones_make_way_oldest_first() {
        let all = [entry(1, 900), entry(2, 90_000), entry(3, 5), entry(4, 500)];
        assert_eq!(ends(&all, 3, 1), [2, 1, 4]);
        assert_eq!(ends(&all, 3, 3), [2]);
        assert_eq!(ends(&all, 3, 4), []);
        assert_eq!(ends(&all, 9, 1), [], "one that has ended by itself makes nobody go");
        // One that is newer than the join that asks: it asks for itself.
        assert_eq!(ends(&all, 4, 1), [2, 1]);
    }

    #[test]
    fn who_was_sent_on_is_the_youngest_that_came_since() {
        let all = [entry(1, 90_000), entry(2, 300), entry(3, 200), entry(4, 1_001)];
        let found = |ms| youngest(&all, Duration::from_millis(ms)).map(|session| session.bits());
        assert_eq!([found(1_000), found(299), found(199)], [Some(3), Some(3), None]);
    }

    #[test]
    fn of_two_joins_at_the_same_time_one_goes_and_not_both() {
        for ages in [(0, 0), (0, 49), (49, 0), (0, 50), (50, 0), (7, 3_000)] {
            let all = [entry(1, ages.0), entry(2, ages.1)];
            let gone = [ends(&all, 1, 1), ends(&all, 2, 1)].concat();
            assert_eq!(gone.len(), 1, "{ages:?}: {gone:?}");
        }
    }

    #[test]
    fn a_name_in_a_query_is_read_back_as_it_was() {
        assert_eq!(percent("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(percent("Zoë & co/+"), "Zo%C3%AB%20%26%20co%2F%2B");
    }
}
