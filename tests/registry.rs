//! A node and its place in the registry: another start of it, a lost lease, a store that never answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::plan::{Member, RoomPlan};
use freshet_cluster::record::NodeRecord;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::store::{
    Entry, Expect, Follow, LeaseId, Listing, Revision, SharedStore, Store, StoreError,
};
use freshet_cluster::version::{Unknown, decode};
use freshet_cluster::{Epoch, Incarnation, NodeId, RoomId, keys};
use freshet_node::Node;
use freshet_node::control::standing::{LOST_MAX, Unfit};
use freshet_node::session::{CreateError, CreateSession, Created, Direction};
use freshet_test_support as support;
use support::eventually;
use support::node::config;
use tokio::sync::mpsc;

const OFFER: &str = include_str!("data/offer-publish.sdp");
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any queue on the way to the registrar.
const FLAPS: u32 = 5_000;

fn id() -> NodeId {
    "one".parse().unwrap()
}

async fn start(store: SharedStore) -> Node {
    Node::start(config(id().as_str(), 1), store, Arc::new(MemoryBus::new())).await.unwrap()
}

async fn publish(node: &Node, room: &str, plan: Option<RoomPlan>) -> Result<Created, CreateError> {
    let ask = CreateSession {
        direction: Direction::Publish,
        room: room.parse().unwrap(),
        stream: Some("main".parse().unwrap()),
        identity: "host".parse().unwrap(),
        offer: OFFER.to_owned(),
        only_if_absent: false,
        wait: false,
        placed: plan.is_some(),
        plan,
        client: None,
        there: None,
        whose: Default::default(),
        most: None,
    };
    node.service().create(ask).await
}

fn is_registered(node: &Node) -> bool {
    node.shared().standing(|standing| standing.is_registered())
}

async fn registered(node: &Node) {
    eventually(PATIENCE, "the node is registered", || async { is_registered(node).then_some(()) }).await;
}

/// Who stands in the registry, and since which write.
async fn standing(store: &MemoryStore) -> Option<(Incarnation, Revision, LeaseId)> {
    let entry = store.get(&keys::node(&id())).await.ok()??;
    let record: NodeRecord = decode("node record", &entry.value).ok()?;
    Some((record.incarnation, entry.revision, entry.lease?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_starts_of_one_id_the_later_takes_sessions_until_it_leaves() {
    let store = MemoryStore::new();
    let first = start(Arc::new(store.clone())).await;
    registered(&first).await;
    let session = publish(&first, "r1", None).await.expect("it takes sessions").session;

    let second = start(Arc::new(store.clone())).await;
    registered(&second).await;
    eventually(PATIENCE, "the older one refuses", || async {
        (publish(&first, "r2", None).await.err() == Some(CreateError::Replaced)).then_some(())
    })
    .await;
    assert!(!is_registered(&first));
    assert_eq!(
        publish(&first, "r1", None).await.unwrap_err(),
        CreateError::Replaced,
        "nor rooms that it has"
    );
    let (who, since, _) = standing(&store).await.unwrap();
    assert_eq!(who, second.incarnation());
    publish(&second, "r3", None).await.expect("the later one takes sessions");

    // Both renew every 3 seconds: they do not write over each other.
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    let (who, still, _) = standing(&store).await.unwrap();
    assert_eq!((who, still), (second.incarnation(), since), "the key was not written again");
    assert!(first.service().look(session, None).await.is_ok(), "running media goes on");

    second.stop().await;
    registered(&first).await;
    publish(&first, "r4", None).await.expect("the place is free: it is this one's again");
    assert_eq!(standing(&store).await.unwrap().0, first.incarnation());
    first.stop().await;
}

/// A store in memory that grants no leases while told so, or never answers at all.
struct Tampered {
    inner: MemoryStore,
    grants: AtomicBool,
    answers: bool,
    flapped: Arc<AtomicU32>,
}

impl Tampered {
    fn new(inner: MemoryStore, answers: bool) -> Arc<Self> {
        Arc::new(Self { inner, grants: AtomicBool::new(true), answers, flapped: Arc::default() })
    }

    async fn hang(&self) {
        if !self.answers {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Store for Tampered {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.hang().await;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.hang().await;
        self.inner.list(prefix).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        self.hang().await;
        self.inner.put(key, value, expect, lease).await
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<Revision, StoreError> {
        self.hang().await;
        self.inner.delete(key, expect).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.hang().await;
        if !self.grants.load(Ordering::Acquire) {
            return Err(StoreError::Refused("no space".into()));
        }
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.hang().await;
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.hang().await;
        self.inner.revoke(lease).await
    }

    /// One that never answers comes back again and again, and each time the node wants to look.
    fn follow(&self, prefix: &str) -> mpsc::Receiver<Follow> {
        if self.answers {
            return self.inner.follow(prefix);
        }
        let (out, follow) = mpsc::channel(1);
        let (flaps, flapped) = (prefix == keys::NODES, self.flapped.clone());
        tokio::spawn(async move {
            while flaps && flapped.load(Ordering::Acquire) < FLAPS && out.send(Follow::Back).await.is_ok() {
                flapped.fetch_add(1, Ordering::AcqRel);
            }
            out.closed().await;
        });
        follow
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_lost_counts_against_a_node_only_while_the_store_answers() {
    let memory = MemoryStore::new();
    let store = Tampered::new(memory.clone(), true);
    let node = start(store.clone()).await;
    registered(&node).await;
    let later = |carried| {
        let then = Instant::now() + LOST_MAX;
        node.shared().standing(|standing| standing.unfit(then, carried))
    };

    // Away: nothing is known, so nothing changes.
    memory.set_away(true);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(is_registered(&node));
    assert_eq!(later(false), None);
    memory.set_away(false);

    // The lease is gone and there is no other: the node knows.
    store.grants.store(false, Ordering::Release);
    let (_, _, lease) = standing(&memory).await.unwrap();
    memory.expire_lease(lease);
    eventually(PATIENCE, "the node knows that it is not registered", || async {
        (later(false) == Some(Unfit::LeaseLost)).then_some(())
    })
    .await;
    assert_eq!(later(true), None, "rooms that it carries go on");
    assert!(standing(&memory).await.is_none());

    // Away again: it knows no more.
    memory.set_away(true);
    eventually(PATIENCE, "it does not know", || async { later(false).is_none().then_some(()) }).await;
    memory.set_away(false);
    store.grants.store(true, Ordering::Release);
    registered(&node).await;
    assert!(standing(&memory).await.is_some());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_store_never_answers_goes_on_deciding() {
    let store = Tampered::new(MemoryStore::new(), false);
    let node = start(store.clone()).await;
    eventually(PATIENCE, "the agent hears everything", || async {
        (store.flapped.load(Ordering::Acquire) == FLAPS).then_some(())
    })
    .await;
    let (service, incarnation) = (node.service(), node.incarnation());
    let member = Member { node: id(), incarnation, parent: None, standby: None, unknown: Unknown::new() };
    let room = "room".parse().unwrap();
    let plan =
        RoomPlan { epoch: Epoch(7), members: vec![member], ..RoomPlan::empty("room".parse().unwrap()) };
    // The call brings the plan along. The claim waits for the store; nobody waits for the claim.
    let _claiming = tokio::spawn(async move {
        let ask = CreateSession {
            direction: Direction::Publish,
            room: "room".parse().unwrap(),
            stream: Some("main".parse().unwrap()),
            identity: "host".parse().unwrap(),
            offer: OFFER.to_owned(),
            only_if_absent: false,
            wait: false,
            placed: true,
            plan: Some(plan),
            client: None,
            there: None,
            whose: Default::default(),
            most: None,
        };
        service.create(ask).await
    });
    eventually(PATIENCE, "the plan is obeyed", || async {
        let snapshot = tokio::time::timeout(Duration::from_secs(5), node.snapshot()).await.ok()??;
        (snapshot.rooms.get(&room)?.epoch == Epoch(7)).then_some(())
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_version_wrote_for_newer_readers_is_left_alone() {
    let store = MemoryStore::new();
    let newer = Bytes::from_static(br#"{"v":9,"min_v":9,"from_the_future":true}"#);
    let room: RoomId = "r1".parse().unwrap();
    let keys = [keys::node(&id()), keys::room_plan(&room), keys::stream(&room, &"main".parse().unwrap())];
    let mut written = Vec::new();
    for key in &keys {
        written.push(store.put(key, newer.clone(), Expect::Absent, None).await.unwrap());
    }
    let node = start(Arc::new(store.clone())).await;
    // The stream that is there is not taken over, and says why; others are taken.
    assert_eq!(publish(&node, "r1", None).await.err(), Some(CreateError::StoreTooNew));
    publish(&node, "r2", None).await.expect("another room's stream is its own");
    // Long enough for two renewals.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!is_registered(&node), "the place is taken by a start that it cannot read");
    for (key, revision) in keys.iter().zip(written) {
        let entry = store.get(key).await.unwrap().expect(key);
        assert_eq!((entry.value, entry.revision), (newer.clone(), revision), "{key}");
    }
    // When the newer one has left, the place is free.
    store.delete(&keys[0], Expect::Any).await.unwrap();
    registered(&node).await;
    // A newer node may take a stream over while this one renews what it has.
    for room in ["r3", "r4"] {
        publish(&node, room, None).await.expect("its own stream");
    }
    let [taken, own] = ["r3", "r4"].map(|room| {
        let (room, stream) = (room.parse().unwrap(), "main".parse().unwrap());
        keys::stream(&room, &stream)
    });
    let revision = store.put(&taken, newer.clone(), Expect::Any, None).await.unwrap();
    // What is its own and is lost is written again; the second time, all of it has been looked at once.
    for _ in 0..2 {
        store.delete(&own, Expect::Any).await.unwrap();
        let again = async || store.get(&own).await.unwrap().map(drop);
        eventually(PATIENCE, "its own stream is written again", again).await;
    }
    let entry = store.get(&taken).await.unwrap().expect(&taken);
    assert_eq!((entry.value, entry.revision), (newer, revision), "{taken}");
    node.stop().await;
}
