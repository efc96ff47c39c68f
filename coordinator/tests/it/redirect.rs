//! Joins that are sent on to the node instead of being handed over.

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{ApiKey, ApiKeys, Rooms};
use freshet_cluster::unit::UnixMillis;
use freshet_coordinator::CoordinatorConfig;
use freshet_edge::Guard;
use freshet_edge::ticket::{self, Tickets};
use http::Method;

use crate::support::{Answer, Behaviour, FakeNode, KEY, SECRET, World, ask, token, until};

const OFFER: &str = "v=0\r\no=ann\r\n";

async fn world(shape: impl Fn(&mut CoordinatorConfig)) -> World {
    let keys = Guard::tokens(ApiKeys::new([KEY.parse::<ApiKey>().unwrap()]).unwrap());
    let shape = |config: &mut CoordinatorConfig| {
        config.redirect = true;
        shape(config);
    };
    World::with(1, keys, shape).await
}

async fn join(world: &World, path: &str) -> Answer {
    let bearer = format!("Bearer {}", token("*", "ann", &["publish"]));
    let headers = [("content-type", "application/sdp"), ("authorization", bearer.as_str())];
    ask(Method::POST, &world.url(0, path), &headers, OFFER).await
}

/// What a ticket says at the node, for this path.
fn says(node: &FakeNode, url: &str, base: &str) -> freshet_edge::call::Call {
    let (path, ticket) = ticket::split(url.strip_prefix(base).expect("the node's URL")).expect("a ticket");
    let tickets = Tickets::new(&Secret::new(SECRET), node.id.clone(), node.incarnation);
    tickets.verify(ticket, &Method::POST, path, OFFER.as_bytes(), UnixMillis::now()).expect("it is good")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_is_placed_planned_and_sent_on_with_a_ticket() {
    let world = world(|_| {}).await;
    let node = world.node("a", Behaviour::Accept).await;
    let answer = join(&world, "/whip/r1?x=%C3%A9").await;
    assert_eq!((answer.status, answer.header("cache-control")), (307, "no-store"), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let base = format!("http://{}", node.addr);
    let location = answer.header("location");
    assert!(location.starts_with(&format!("{base}/whip/r1?x=%C3%A9&ticket=")), "{location}");
    let call = says(&node, location, &base);
    assert_eq!((call.identity.as_str(), call.room), ("ann", Rooms::One("r1".parse().unwrap())), "one room");
    assert_eq!((call.plan, call.public_url), (None, Some(base)));
    assert!(call.client_ip.unwrap().is_loopback());
    assert!(node.seen().is_empty(), "the node was not asked");
    assert_eq!(world.plan("r1").await.unwrap().members[0].incarnation, node.incarnation);
    let counted = "freshet_coordinator_joins_total{kind=\"publish\",outcome=\"redirected\"}";
    assert_eq!(world.metric(0, counted).await, 1.0);
    // Who may not is told here, as ever.
    let bare =
        ask(Method::POST, &world.url(0, "/whip/r1"), &[("content-type", "application/sdp")], OFFER).await;
    assert_eq!(bare.status, 401);
    let viewer = join(&world, "/whep/r1?wait=1").await;
    assert_eq!(viewer.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_own_public_url_is_taken_and_the_coordinators_is_not() {
    const OURS: &str = "https://live.example/cast";
    let world = world(|config| config.public_url = Some(OURS.to_owned())).await;
    let node = world.node("a", Behaviour::Accept).await;
    node.register_as(|record| record.public_url = Some("https://a.example/n".to_owned())).await;
    until("the node's URL to be known", async || {
        join(&world, "/whip/r1").await.header("location").starts_with("https://a.example/n/whip/r1?ticket=")
    })
    .await;
    // It comes back with the ticket: a node's URL that leads to coordinators is no circle.
    let before = node.seen().len();
    assert_eq!(join(&world, "/whip/r1?ticket=x").await.status, 201);
    assert_eq!(node.seen().len(), before + 1);
    node.register_as(|record| record.public_url = Some(OURS.to_owned())).await;
    until("the other URL to be known", async || join(&world, "/whip/r1").await.status == 201).await;
    let page = ask(Method::GET, &world.url(0, "/"), &[], "").await;
    assert!(
        page.header("content-security-policy").contains("connect-src 'self' https://live.example https:;")
    );
}
