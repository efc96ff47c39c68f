//! Joins whose shard is the test: it carries out orders when it likes.

use freshet_cluster::store::Store as _;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::unit::Bitrate;
use freshet_cluster::version::Unknown;
use freshet_cluster::{Incarnation, keys};
use std::num::NonZeroU32;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

struct Node {
    service: Arc<Service>,
    store: MemoryStore,
    orders: mpsc::Receiver<Order>,
    /// Open, and read by nobody.
    _rest: (mpsc::Receiver<Command>, mpsc::Receiver<crate::control::registrar::Notice>),
}

/// A session that is being made, as its shard sees it.
struct Asked {
    session: SessionId,
    reply: oneshot::Sender<Result<(String, String), CreateError>>,
}

impl Asked {
    fn answer(self) -> SessionId {
        self.reply.send(Ok(("answer".to_owned(), "tag".to_owned()))).unwrap();
        self.session
    }
}

impl Node {
    fn start() -> Self {
        let (id, incarnation) = ("n".parse().unwrap(), Incarnation::from_bits(1));
        let record = freshet_cluster::record::NodeRecord {
            v: 1,
            min_v: 1,
            id,
            incarnation,
            region: String::new(),
            zone: String::new(),
            public_url: None,
            http: String::new(),
            relay: String::new(),
            relay_cert_sha256: String::new(),
            started_at: UnixMillis(0),
            draining: false,
            capacity: freshet_cluster::record::Capacity {
                sessions: 10,
                egress: Bitrate::default(),
                egress_pps: 0,
                unknown: Unknown::new(),
            },
            unknown: Unknown::new(),
        };
        let (store, shared) = (MemoryStore::new(), Shared::new(record.id.clone(), incarnation, 10));
        let shared = Arc::new(shared);
        let (notices, told) = mpsc::channel(8);
        let (commands, commanded) = mpsc::channel(8);
        let registrar = Registrar::spawn(Arc::new(store.clone()), record, shared.clone(), notices);
        let (shard, orders) = ShardHandle::of_tests();
        let service = Arc::new(Service::new(shared, vec![shard], registrar, commands));
        Self { service, store, orders, _rest: (commanded, told) }
    }

    fn join(&self, direction: Direction, most: Option<u32>) -> JoinHandle<Result<Created, CreateError>> {
        self.make(CreateSession { most: most.and_then(NonZeroU32::new), ..ask(direction) })
    }

    fn make(&self, ask: CreateSession) -> JoinHandle<Result<Created, CreateError>> {
        let service = self.service.clone();
        tokio::spawn(async move { service.create(ask).await })
    }

    async fn order(&mut self) -> Order {
        timeout(Duration::from_secs(20), self.orders.recv()).await.expect("an order").unwrap()
    }

    async fn asked(&mut self) -> Asked {
        match self.order().await {
            Order::Create(Ask { session, .. }, reply) => Asked { session, reply },
            _ => panic!("another order"),
        }
    }

    async fn ended(&mut self) -> (SessionId, EndReason) {
        match self.order().await {
            Order::Tell(Tell::End(session, reason)) => (session, reason),
            _ => panic!("another order"),
        }
    }

    fn listed(&self) -> Vec<SessionId> {
        let filter = Filter { limit: 10, ..Filter::default() };
        self.service.list(&"r".parse().unwrap(), &filter).into_iter().map(|one| one.session).collect()
    }
}

fn ask(direction: Direction) -> CreateSession {
    CreateSession {
        direction,
        room: "r".parse().unwrap(),
        stream: (direction == Direction::Publish).then(|| "cam".parse().unwrap()),
        identity: "ann".parse().unwrap(),
        offer: String::new(),
        only_if_absent: false,
        wait: true,
        placed: false,
        plan: None,
        client: None,
        there: None,
        whose: crate::session::Whose::default(),
        most: None,
    }
}

#[tokio::test]
async fn who_is_placed_by_a_coordinator_is_let_in_though_the_node_knows_of_no_publisher_yet() {
    let mut node = Node::start();
    let by_oneself = node.make(CreateSession { wait: false, ..ask(Direction::View) });
    assert!(matches!(by_oneself.await.unwrap(), Err(CreateError::NoPublisher { .. })));
    let placed = node.make(CreateSession { wait: false, placed: true, ..ask(Direction::View) });
    let session = node.asked().await.answer();
    placed.await.unwrap().unwrap();
    assert_eq!(node.listed(), [session]);
}

#[tokio::test]
async fn what_is_ended_while_it_is_being_made_does_not_come_up() {
    for direction in [Direction::View, Direction::Publish] {
        let mut node = Node::start();
        let making = node.join(direction, None);
        let asked = node.asked().await;
        let session = asked.session;
        assert!(node.service.find(session).is_some() && node.listed().is_empty());
        // The shard hears of the end before it has made anything: there is nothing to end.
        node.service.dismiss(session, EndReason::Revoked).await;
        assert_eq!(node.ended().await, (session, EndReason::Revoked));
        asked.answer();
        assert_eq!(node.ended().await, (session, EndReason::Revoked), "now there is");
        assert_eq!(making.await.unwrap().unwrap_err(), CreateError::Dismissed);
        assert!(node.listed().is_empty());
        assert!(
            node.store.list(keys::ROOMS).await.unwrap().entries.is_empty(),
            "no stream is claimed for it"
        );
    }
}

#[tokio::test]
async fn of_joins_at_once_as_many_stay_as_one_may_hold() {
    for last_first in [false, true] {
        let mut node = Node::start();
        let joins = [1, 2, 3].map(|_| node.join(Direction::View, Some(2)));
        let mut asked = vec![node.asked().await, node.asked().await, node.asked().await];
        if last_first {
            asked.reverse();
        }
        let made: Vec<SessionId> = asked.into_iter().map(Asked::answer).collect();
        for join in joins {
            join.await.unwrap().unwrap();
        }
        let (ended, reason) = node.ended().await;
        assert_eq!(reason, EndReason::TakenOver);
        assert!(made.contains(&ended) && node.orders.try_recv().is_err(), "one makes way, and no more");
        assert_eq!(node.listed().len(), 3, "until its shard has ended it");
    }
}

#[tokio::test]
async fn sessions_are_listed_by_id_and_one_more_than_asked_for() {
    let mut node = Node::start();
    let mut made = Vec::new();
    for _ in 0..4 {
        let join = node.join(Direction::View, None);
        made.push(node.asked().await.answer());
        join.await.unwrap().unwrap();
    }
    made.sort();
    let list = |filter: Filter| -> Vec<SessionId> {
        node.service.list(&"r".parse().unwrap(), &filter).into_iter().map(|one| one.session).collect()
    };
    let filter = Filter { limit: 2, ..Filter::default() };
    assert_eq!(list(filter.clone()), made[..3]);
    assert_eq!(list(Filter { after: Some(made[1]), ..filter.clone() }), made[2..]);
    assert_eq!(list(Filter { identity: Some("ann".parse().unwrap()), ..filter.clone() }), made[..3]);
    assert!(list(Filter { identity: Some("bob".parse().unwrap()), ..filter.clone() }).is_empty());
    assert!(list(Filter { direction: Some("publish".to_owned()), ..filter }).is_empty());
}
