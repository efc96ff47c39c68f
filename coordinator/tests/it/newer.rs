//! Values that a newer version wrote and older readers must not touch.

use bytes::Bytes;
use freshet_cluster::keys;
use freshet_cluster::store::{Expect, Store as _};

use crate::support::client::offer;
use crate::support::node::Behaviour;
use crate::support::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_a_newer_version_is_left_alone_and_counted() {
    let world = World::open(1).await;
    let _node = world.node("a", Behaviour::Accept).await;
    let key = keys::room_plan(&"r1".parse().unwrap());
    let newer = Bytes::from_static(br#"{"v":9,"min_v":9,"from_the_future":true}"#);
    let revision = world.store.put(&key, newer.clone(), Expect::Absent, None).await.unwrap();
    until("it is counted", async || {
        world.metric(0, "freshet_coordinator_values_unreadable_total").await >= 1.0
    })
    .await;
    let refused = offer(&world.url(0, "/whip/r1")).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(offer(&world.url(0, "/whip/r2")).await.status, 201, "other rooms are served");
    let entry = world.store.get(&key).await.unwrap().unwrap();
    assert_eq!((entry.value, entry.revision), (newer, revision));
}
