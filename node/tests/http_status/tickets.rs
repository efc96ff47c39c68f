//! Joins that a coordinator has sent on: a ticket in the URL stands for the token.

use std::num::NonZeroU32;

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{Bound, Grant, Rooms};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Incarnation, NodeId};
use freshet_edge::Access;
use freshet_edge::call::Call;
use freshet_edge::ticket::{self, Ticket};
use http::Method;

use super::wire::{CLUSTER, SDP, Setup, check_problem, incarnation, node_id, start, token};

const OFFER: &str = "v=0\r\nfine\r\n";

fn ticket(path: &str, grant: Grant, edit: impl FnOnce(&mut Ticket)) -> String {
    let access = Access {
        rooms: Rooms::One("r1".parse().unwrap()),
        grants: [grant].into_iter().collect(),
        bound: Bound::of(None),
        ..Access::holder("alice".parse().unwrap())
    };
    let call = Call::new(&Method::POST, path, OFFER.as_bytes(), &access, UnixMillis::now(), rand::random());
    let mut ticket = Ticket { node: node_id(), incarnation: incarnation(), call };
    ticket.call.client_ip = Some("2001:db8::7".parse().unwrap());
    ticket.call.public_url = Some("https://n1.example/x".to_owned());
    edit(&mut ticket);
    ticket::join(path, &ticket::sign(&Secret::new(CLUSTER), &ticket))
}

#[tokio::test]
async fn a_ticket_stands_for_the_token_once_and_the_session_is_its_identitys() {
    let node = start(Setup::default()).await;
    let url = ticket("/whip/r1?x=y", Grant::Publish, |_| {});
    let reply = node.ask("POST", &url, &[SDP, ("Origin", "null")], OFFER).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let location = reply.location();
    let path = location.strip_prefix("https://n1.example/x").expect("the URL that clients reach it by");
    assert!(path.starts_with("/sessions/n1/"), "{location}");
    let ask = node.fake.last();
    assert_eq!((ask.identity.as_str(), ask.stream.unwrap().as_str()), ("alice", "alice"));
    assert!(ask.placed, "the coordinator knew whether somebody publishes");
    assert_eq!((ask.client, ask.plan), (Some("2001:db8::7".parse().unwrap()), None));
    assert_eq!(ask.most.map(NonZeroU32::get), Some(1), "how many she may hold is known to the node");
    check_problem(&node.ask("POST", &url, &[SDP], OFFER).await, 401, Some("ticket-refused"));

    let (alice, bob) = (token("r1", "alice", &["publish"], &[]), token("r1", "bob", &["publish"], &[]));
    let end = async |bearer: &str| node.ask("DELETE", path, &[("Authorization", bearer)], "").await;
    check_problem(&end(&bob).await, 403, Some("not-yours"));
    assert_eq!(end(&alice).await.status, 200);
}

#[tokio::test]
async fn what_a_ticket_is_not_for_is_refused() {
    let node = start(Setup::default()).await;
    let good = token("r1", "alice", &["publish", "subscribe"], &[]);
    let headers = [SDP, ("Authorization", good.as_str())];
    let other = |node: &str| node.parse::<NodeId>().unwrap();
    let elsewhere = ticket("/whip/r1", Grant::Publish, |t| t.node = other("n2"));
    let before = ticket("/whip/r1", Grant::Publish, |t| t.incarnation = Incarnation::from_bits(1));
    let late = ticket("/whip/r1", Grant::Publish, |t| t.call.ts = UnixMillis(UnixMillis::now().0 - 30_500));
    let room = ticket("/whip/r1", Grant::Publish, |_| {}).replace("/whip/r1", "/whip/r2");
    let deed = ticket("/whip/r1", Grant::Publish, |_| {}).replace("/whip/", "/whep/");
    let forged = format!("{}x", ticket("/whip/r1", Grant::Publish, |_| {}));
    for url in [elsewhere, before, late, room, deed, forged, "/whip/r1?ticket=".to_owned()] {
        // A good token beside it does not help: whoever sends both would not know which was taken.
        check_problem(&node.ask("POST", &url, &headers, OFFER).await, 401, Some("ticket-refused"));
    }
    let url = ticket("/whip/r1", Grant::Publish, |_| {});
    check_problem(&node.ask("POST", &url, &[SDP], "v=0\r\nanother\r\n").await, 401, Some("ticket-refused"));
    node.ask("POST", &url, &[SDP], OFFER).await.location();
    // What it grants is checked as of a token.
    let url = ticket("/whip/r1", Grant::Subscribe, |_| {});
    check_problem(&node.ask("POST", &url, &[SDP], OFFER).await, 403, Some("not-allowed"));
    let alone = start(Setup { calls: false, ..Setup::default() }).await;
    let url = ticket("/whip/r1", Grant::Publish, |_| {});
    check_problem(&alone.ask("POST", &url, &[SDP], OFFER).await, 401, Some("ticket-refused"));
}
