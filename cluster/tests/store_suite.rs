//! What a store promises, asked of every implementation: the same steps against memory and against a real etcd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_cluster::store::etcd::{EtcdConfig, EtcdStore};
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::store::{
    Entry, Expect, Follow, LeaseId, Listing, Revision, SharedStore, Store, StoreError,
};
use freshet_cluster::testing::{EtcdServer, Proxy};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Longest wait for anything that must happen.
const SOON: Duration = Duration::from_secs(10);
/// A dead connection is seen within this time.
const DEAD: Duration = Duration::from_secs(5);

/// What a test does to a store from outside.
enum Site {
    Memory(MemoryStore),
    Etcd { server: EtcdServer, store: EtcdStore },
}

impl Site {
    fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    fn etcd() -> Self {
        let server = EtcdServer::start();
        let store = etcd_store(&server);
        Self::Etcd { server, store }
    }

    fn store(&self) -> SharedStore {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Etcd { store, .. } => Arc::new(store.clone()),
        }
    }

    fn go_away(&mut self) {
        match self {
            Self::Memory(store) => store.set_away(true),
            Self::Etcd { server, .. } => server.stop(),
        }
    }

    fn come_back(&mut self) {
        match self {
            Self::Memory(store) => store.set_away(false),
            Self::Etcd { server, .. } => server.restart(),
        }
    }

    /// While it is away.
    fn wipe(&mut self) {
        match self {
            Self::Memory(store) => store.wipe(),
            Self::Etcd { server, .. } => server.wipe(),
        }
    }

    async fn compact(&self) {
        match self {
            Self::Memory(store) => store.compact(),
            Self::Etcd { server, store } => {
                let at = store.list("/").await.unwrap().revision.0;
                let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
                client.compact(i64::try_from(at).unwrap(), None).await.unwrap();
            }
        }
    }
}

fn etcd_store(server: &EtcdServer) -> EtcdStore {
    EtcdStore::new(EtcdConfig { endpoints: vec![server.url()], ..EtcdConfig::default() }).unwrap()
}

/// A store whose connection can be cut while the server and others go on.
async fn behind_proxy(server: &EtcdServer) -> (SharedStore, Proxy) {
    let proxy = Proxy::start(server.port()).await;
    let endpoints = vec![format!("http://127.0.0.1:{}", proxy.port())];
    let store = EtcdStore::new(EtcdConfig { endpoints, ..EtcdConfig::default() }).unwrap();
    (Arc::new(store), proxy)
}

/// Each step against both.
macro_rules! suite {
    ($($step:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $step() { super::$step(super::Site::memory()).await })*
        }
        mod etcd {
            $(#[tokio::test] async fn $step() { super::$step(super::Site::etcd()).await })*
        }
    };
}

suite!(
    create_only_succeeds_once,
    revision_cas_lets_one_writer_through,
    racing_writers_lose_no_update,
    a_listing_is_sorted_and_stays_under_its_prefix,
    changes_come_in_the_order_of_their_writes,
    two_followers_see_the_same,
    a_watch_survives_compaction,
    a_follower_that_was_away_over_a_compaction_lists_again,
    a_lost_lease_removes_its_keys,
    a_lease_that_is_kept_alive_stays,
    a_revoked_lease_removes_its_keys_at_once,
    a_store_that_was_away_loses_no_update,
    a_wiped_store_is_recognised,
    a_wiped_store_is_recognised_when_its_revision_has_caught_up,
    calls_to_a_store_that_is_away_fail_in_time,
    a_store_may_be_away_at_first,
    a_dropped_receiver_ends_its_follower,
);

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(store: &SharedStore, key: &str, value: &str) -> Revision {
    store.put(key, b(value), Expect::Any, None).await.unwrap()
}

async fn next(rx: &mut Receiver<Follow>) -> Follow {
    timeout(SOON, rx.recv()).await.expect("a follower says something soon").expect("a follower does not end")
}

async fn snapshot(rx: &mut Receiver<Follow>) -> (Listing, bool) {
    match next(rx).await {
        Follow::Snapshot { listing, wiped } => (listing, wiped),
        other => panic!("a snapshot comes first, not {other:?}"),
    }
}

fn pairs(listing: &Listing) -> Vec<(&str, &[u8])> {
    listing.entries.iter().map(|e| (e.key.as_str(), &e.value[..])).collect()
}

/// The changes of a follower as text: `key=value` or `-key`.
async fn changes(rx: &mut Receiver<Follow>, n: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < n {
        seen.push(match next(rx).await {
            Follow::Put(Entry { key, value, .. }) => format!("{key}={}", String::from_utf8_lossy(&value)),
            Follow::Delete { key, .. } => format!("-{key}"),
            other => format!("{other:?}"),
        });
    }
    seen
}

async fn create_only_succeeds_once(site: Site) {
    let store = site.store();
    let first = store.put("/a", b("1"), Expect::Absent, None).await.unwrap();
    let second = store.put("/a", b("2"), Expect::Absent, None).await;
    assert!(matches!(second, Err(StoreError::Conflict { key }) if key == "/a"));
    let found = store.get("/a").await.unwrap().unwrap();
    assert_eq!(found, Entry { key: "/a".into(), value: b("1"), revision: first, lease: None });
    let gone = store.delete("/a", Expect::Any).await.unwrap();
    assert!(gone > first, "a removal has a revision of its own");
    assert_eq!(store.get("/a").await.unwrap(), None);
    assert!(store.delete("/a", Expect::Any).await.unwrap() >= gone, "it is as it was");
    assert!(store.put("/a", b("3"), Expect::Absent, None).await.unwrap() > gone);
}

async fn revision_cas_lets_one_writer_through(site: Site) {
    let store = site.store();
    let r1 = put(&store, "/a", "1").await;
    put(&store, "/other", "x").await;
    let r2 = store.put("/a", b("2"), Expect::At(r1), None).await.unwrap();
    assert!(r2 > r1);
    let stale = store.put("/a", b("3"), Expect::At(r1), None).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    assert!(matches!(store.delete("/a", Expect::At(r1)).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(store.delete("/a", Expect::Absent).await, Err(StoreError::Conflict { .. })));
    store.delete("/a", Expect::At(r2)).await.unwrap();
    let gone = store.put("/a", b("4"), Expect::At(r2), None).await;
    assert!(matches!(gone, Err(StoreError::Conflict { .. })), "a key that is gone has no revision");
    store.delete("/a", Expect::Any).await.expect("removing nothing is no error");
    let missing = store.put("/never", b("4"), Expect::At(Revision(u64::MAX)), None).await;
    assert!(matches!(missing, Err(StoreError::Conflict { .. })));
}

async fn racing_writers_lose_no_update(site: Site) {
    let store = site.store();
    put(&store, "/n", "0").await;
    let add = |store: SharedStore| async move {
        for _ in 0..10 {
            loop {
                let found = store.get("/n").await.unwrap().unwrap();
                let n: u64 = std::str::from_utf8(&found.value).unwrap().parse().unwrap();
                match store.put("/n", b(&(n + 1).to_string()), Expect::At(found.revision), None).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..4).map(|_| tokio::spawn(add(store.clone()))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.get("/n").await.unwrap().unwrap().value, b("40"));
}

async fn a_listing_is_sorted_and_stays_under_its_prefix(site: Site) {
    let store = site.store();
    for key in ["/p/b", "/p/a", "/pp", "/o/z", "/p/a/x", "/q"] {
        put(&store, key, key).await;
    }
    let listing = store.list("/p/").await.unwrap();
    assert_eq!(pairs(&listing), [("/p/a", &b"/p/a"[..]), ("/p/a/x", b"/p/a/x"), ("/p/b", b"/p/b")]);
    let last = store.get("/q").await.unwrap().unwrap().revision;
    assert_eq!(listing.revision, last, "a listing carries the store's revision");
    assert!(store.list("/nothing/").await.unwrap().entries.is_empty());
}

async fn changes_come_in_the_order_of_their_writes(site: Site) {
    let store = site.store();
    put(&store, "/p/old", "0").await;
    let mut rx = store.follow("/p/");
    let (listing, wiped) = snapshot(&mut rx).await;
    assert_eq!((pairs(&listing), wiped), (vec![("/p/old", &b"0"[..])], false));
    let mut expected = Vec::new();
    for i in 0..50 {
        put(&store, "/q/noise", "x").await;
        let key = format!("/p/{}", i % 3);
        put(&store, &key, &i.to_string()).await;
        expected.push(format!("{key}={i}"));
        if i % 10 == 9 {
            store.delete(&key, Expect::Any).await.unwrap();
            expected.push(format!("-{key}"));
        }
    }
    assert_eq!(changes(&mut rx, expected.len()).await, expected);
}

async fn two_followers_see_the_same(site: Site) {
    let store = site.store();
    let (mut one, mut two) = (store.follow("/p/"), store.follow("/p/"));
    snapshot(&mut one).await;
    snapshot(&mut two).await;
    for i in 0..10 {
        put(&store, "/p/k", &i.to_string()).await;
    }
    assert_eq!(changes(&mut one, 10).await, changes(&mut two, 10).await);
}

async fn a_watch_survives_compaction(site: Site) {
    let store = site.store();
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    put(&store, "/p/a", "1").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/a=1"]);
    site.compact().await;
    put(&store, "/p/b", "2").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/b=2"]);
}

async fn a_follower_that_was_away_over_a_compaction_lists_again(site: Site) {
    // With etcd the follower alone is cut off, while others go on writing.
    let (store, proxy) = match &site {
        Site::Memory(_) => (site.store(), None),
        Site::Etcd { server, .. } => {
            let (store, proxy) = behind_proxy(server).await;
            (store, Some(proxy))
        }
    };
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    put(&store, "/p/a", "1").await;
    put(&store, "/p/gone", "1").await;
    assert_eq!(changes(&mut rx, 2).await, ["/p/a=1", "/p/gone=1"]);
    if let Site::Memory(memory) = &site {
        memory.set_away(true);
        assert_eq!(next(&mut rx).await, Follow::Away);
        memory.set_away(false);
    }
    if let Some(proxy) = &proxy {
        proxy.cut();
        assert_eq!(next(&mut rx).await, Follow::Away);
    }
    // Nothing here waits in memory, so its follower sees none of it before the compaction.
    let others = site.store();
    others.delete("/p/gone", Expect::Any).await.unwrap();
    let written = put(&others, "/p/b", "2").await;
    site.compact().await;
    if let Some(proxy) = &proxy {
        proxy.mend();
    }
    assert_eq!(next(&mut rx).await, Follow::Back);
    let (listing, wiped) = snapshot(&mut rx).await;
    assert!(!wiped, "its past is there, only the history of changes is not");
    assert_eq!(pairs(&listing), [("/p/a", &b"1"[..]), ("/p/b", b"2")]);
    assert_eq!(listing.revision, written);
    put(&store, "/p/c", "3").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/c=3"]);
}

async fn a_lost_lease_removes_its_keys(site: Site) {
    let store = site.store();
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    store.put("/p/leased", b("1"), Expect::Absent, Some(lease)).await.unwrap();
    put(&store, "/p/free", "1").await;
    assert_eq!(store.get("/p/leased").await.unwrap().unwrap().lease, Some(lease));
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    let begun = Instant::now();
    assert_eq!(changes(&mut rx, 1).await, ["-/p/leased"]);
    assert!(begun.elapsed() >= Duration::from_millis(500), "not before its time");
    assert_eq!(pairs(&store.list("/p/").await.unwrap()), [("/p/free", &b"1"[..])]);
    let late = store.keep_alive(lease).await;
    assert!(matches!(late, Err(StoreError::LeaseGone(l)) if l == lease), "{late:?}");
    let late = store.put("/p/leased", b("2"), Expect::Any, Some(lease)).await;
    assert!(matches!(late, Err(StoreError::LeaseGone(l)) if l == lease), "{late:?}");
    let never = store.keep_alive(LeaseId(4_711)).await;
    assert!(matches!(never, Err(StoreError::LeaseGone(_))), "{never:?}");
}

async fn a_lease_that_is_kept_alive_stays(site: Site) {
    let store = site.store();
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    store.put("/p/leased", b("1"), Expect::Absent, Some(lease)).await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        store.keep_alive(lease).await.unwrap();
    }
    assert!(store.get("/p/leased").await.unwrap().is_some());
}

async fn a_revoked_lease_removes_its_keys_at_once(site: Site) {
    let store = site.store();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    store.put("/p/a", b("1"), Expect::Absent, Some(lease)).await.unwrap();
    store.put("/p/b", b("1"), Expect::Absent, Some(lease)).await.unwrap();
    store.revoke(lease).await.unwrap();
    assert!(store.list("/p/").await.unwrap().entries.is_empty());
    let mut told = changes(&mut rx, 4).await;
    told[2..].sort();
    assert_eq!(told, ["/p/a=1", "/p/b=1", "-/p/a", "-/p/b"]);
    assert!(matches!(store.revoke(lease).await, Err(StoreError::LeaseGone(_))));
}

async fn a_store_that_was_away_loses_no_update(mut site: Site) {
    let store = site.store();
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    let lease = store.grant(Duration::from_secs(3)).await.unwrap();
    store.put("/p/leased", b("1"), Expect::Absent, Some(lease)).await.unwrap();
    put(&store, "/p/a", "1").await;
    assert_eq!(changes(&mut rx, 2).await, ["/p/leased=1", "/p/a=1"]);
    site.go_away();
    let begun = Instant::now();
    assert_eq!(next(&mut rx).await, Follow::Away);
    assert!(begun.elapsed() < DEAD);
    assert!(matches!(store.get("/p/a").await, Err(StoreError::Unavailable(_))));
    site.come_back();
    let back = loop {
        match store.put("/p/a", b("2"), Expect::Any, None).await {
            Ok(at) => break at,
            Err(StoreError::Unavailable(_)) => assert!(begun.elapsed() < SOON),
            Err(e) => panic!("{e}"),
        }
    };
    store.keep_alive(lease).await.expect("a lease outlives an outage");
    assert_eq!(next(&mut rx).await, Follow::Back);
    let Follow::Put(seen) = next(&mut rx).await else { panic!("the write of the meantime comes next") };
    assert_eq!((seen.key.as_str(), seen.revision), ("/p/a", back));
    put(&store, "/p/b", "3").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/b=3"]);
}

async fn lose_past(mut site: Site, writes: u64) {
    // With etcd the follower is cut off until the others have written: else it may be back before they begin.
    let (store, proxy) = match &site {
        Site::Memory(_) => (site.store(), None),
        Site::Etcd { server, .. } => {
            let (store, proxy) = behind_proxy(server).await;
            (store, Some(proxy))
        }
    };
    for i in 0..20 {
        put(&store, &format!("/p/{i}"), "1").await;
    }
    let mut rx = store.follow("/p/");
    assert_eq!(snapshot(&mut rx).await.0.entries.len(), 20);
    if let Some(proxy) = &proxy {
        proxy.cut();
    }
    site.go_away();
    assert_eq!(next(&mut rx).await, Follow::Away);
    site.wipe();
    site.come_back();
    let others = match &site {
        Site::Memory(_) => site.store(),
        Site::Etcd { server, .. } => Arc::new(etcd_store(server)),
    };
    for i in 0..writes {
        put(&others, "/p/new", &i.to_string()).await;
    }
    if let Some(proxy) = &proxy {
        proxy.mend();
    }
    assert_eq!(next(&mut rx).await, Follow::Back);
    let (listing, wiped) = snapshot(&mut rx).await;
    assert!(wiped);
    assert!(listing.entries.iter().all(|e| e.key == "/p/new"), "{listing:?}");
    put(&store, "/p/after", "1").await;
    while !matches!(next(&mut rx).await, Follow::Put(e) if e.key == "/p/after") {}
}

async fn a_wiped_store_is_recognised(site: Site) {
    lose_past(site, 1).await;
}

async fn a_wiped_store_is_recognised_when_its_revision_has_caught_up(site: Site) {
    lose_past(site, 60).await;
}

async fn calls_to_a_store_that_is_away_fail_in_time(mut site: Site) {
    let store = site.store();
    put(&store, "/a", "1").await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    site.go_away();
    let begun = Instant::now();
    let away = |e: StoreError| assert!(matches!(e, StoreError::Unavailable(_)), "{e}");
    away(store.get("/a").await.unwrap_err());
    away(store.list("/").await.unwrap_err());
    away(store.put("/a", b("2"), Expect::Any, None).await.unwrap_err());
    away(store.delete("/a", Expect::Any).await.unwrap_err());
    away(store.grant(Duration::from_secs(5)).await.unwrap_err());
    away(store.keep_alive(lease).await.unwrap_err());
    away(store.revoke(lease).await.unwrap_err());
    assert!(begun.elapsed() < Duration::from_millis(7 * 3_500), "each within 3 s");
}

async fn a_store_may_be_away_at_first(mut site: Site) {
    site.go_away();
    let store = site.store();
    let mut rx = store.follow("/p/");
    assert_eq!(next(&mut rx).await, Follow::Away);
    site.come_back();
    assert_eq!(next(&mut rx).await, Follow::Back);
    assert!(!snapshot(&mut rx).await.1);
}

async fn a_dropped_receiver_ends_its_follower(site: Site) {
    let store = site.store();
    let metrics = tokio::runtime::Handle::current().metrics();
    // The connection has tasks of its own; make it first.
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    let before = metrics.num_alive_tasks();
    let mut more: Vec<_> = (0..5).map(|_| store.follow("/p/")).collect();
    for rx in &mut more {
        snapshot(rx).await;
    }
    assert!(metrics.num_alive_tasks() >= before + 5);
    drop(more);
    let begun = Instant::now();
    while metrics.num_alive_tasks() > before {
        assert!(begun.elapsed() < SOON, "{} tasks are left", metrics.num_alive_tasks() - before);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// etcd only: an etcd that hangs (no answer, no reset) is noticed by pings.
#[tokio::test]
async fn an_etcd_that_hangs_is_noticed() {
    let server = EtcdServer::start();
    let store = etcd_store(&server);
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    let signal = |name: &str| {
        let pid = server.pid().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let begun = Instant::now();
    assert_eq!(next(&mut rx).await, Follow::Away);
    assert!(begun.elapsed() < DEAD, "took {:?}", begun.elapsed());
    signal("-CONT");
    assert_eq!(next(&mut rx).await, Follow::Back);
    put(&(Arc::new(store) as SharedStore), "/p/a", "1").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/a=1"]);
}

/// etcd only: neither our pings nor our questions make it close a watch on which nothing happens.
#[tokio::test]
async fn a_quiet_watch_is_left_alone() {
    let server = EtcdServer::start();
    let store: SharedStore = Arc::new(etcd_store(&server));
    let mut rx = store.follow("/p/");
    snapshot(&mut rx).await;
    let told = timeout(Duration::from_secs(14), rx.recv()).await;
    assert!(told.is_err(), "nothing happened, but it says {told:?}");
    put(&store, "/p/a", "1").await;
    assert_eq!(changes(&mut rx, 1).await, ["/p/a=1"]);
}

/// etcd only: user and password, and a token that etcd forgot over a restart.
#[tokio::test]
async fn an_etcd_user_authenticates_again_after_a_restart() {
    use etcd_client::{Client, Permission, PermissionType};
    let mut server = EtcdServer::start();
    let mut admin = Client::connect([server.url()], None).await.unwrap();
    admin.user_add("root", "rootpass", None).await.unwrap();
    admin.role_add("root").await.ok();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("freshet").await.unwrap();
    let all = Permission::new(PermissionType::Readwrite, "/freshet/").with_prefix();
    admin.role_grant_permission("freshet", all).await.unwrap();
    admin.user_add("freshet", "pass", None).await.unwrap();
    admin.user_grant_role("freshet", "freshet").await.unwrap();
    admin.auth_enable().await.unwrap();

    let config = |password: &str| EtcdConfig {
        endpoints: vec![server.url()],
        user: Some(("freshet".into(), freshet_cluster::secret::Secret::new(password))),
        ..EtcdConfig::default()
    };
    let wrong = EtcdStore::new(config("wrong")).unwrap().get("/freshet/v1/x").await;
    assert!(matches!(wrong, Err(StoreError::Refused(_))), "{wrong:?}");
    let anonymous = etcd_store(&server).get("/freshet/v1/x").await;
    assert!(matches!(anonymous, Err(StoreError::Refused(_))), "{anonymous:?}");

    let store = EtcdStore::new(config("pass")).unwrap();
    let shared: SharedStore = Arc::new(store.clone());
    put(&shared, "/freshet/v1/x", "1").await;
    let forbidden = store.get("/other").await;
    assert!(matches!(forbidden, Err(StoreError::Refused(_))), "{forbidden:?}");
    let mut rx = store.follow("/freshet/v1/");
    snapshot(&mut rx).await;
    server.restart();
    assert_eq!(next(&mut rx).await, Follow::Away);
    assert_eq!(next(&mut rx).await, Follow::Back);
    put(&shared, "/freshet/v1/x", "2").await;
    assert_eq!(changes(&mut rx, 1).await, ["/freshet/v1/x=2"]);
}
