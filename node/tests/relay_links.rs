//! Links between relays: who may, which of two stays, how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

#[path = "support/nodes.rs"]
mod nodes;

use std::time::Duration;

use bytes::Bytes;
use freshet_cluster::{Epoch, Generation, Incarnation};
use freshet_node::quic::{Peer, RelayConfig, RelayEvent};
use freshet_relay_proto::code::{CloseCode, GoawayReason, RefuseCode};
use freshet_relay_proto::control::{Announce, Control};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::track::MediaKind;
use nodes::{Registry, TestNode, config, linked, node, until};

fn header(index: u64) -> MediaHeader {
    MediaHeader {
        alias: 3,
        track: 1,
        layer: 2,
        index,
        timestamp: 90_000,
        marker: true,
        keyframe: true,
        codec: 1,
        capture: 1_790_000_000_000_000,
        exts: Extensions {
            audio_level: Some((33, true)),
            orientation: Some(1),
            playout_delay: Some((0, 40)),
            abs_capture_time: Some(0xee62_ba80_1f9a_dd37),
        },
    }
}

#[tokio::test]
async fn frames_and_packets_of_any_size_pass_both_ways() {
    let registry = Registry::default();
    let (mut a, to_b, mut b, to_a) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    assert_eq!(
        (to_b.incarnation(), to_a.incarnation()),
        (Incarnation::from_bits(2), Incarnation::from_bits(1))
    );
    let join = Control::RoomJoin { room: "r".parse().unwrap(), epoch: Epoch(4) };
    assert!(to_b.send(join.clone()));
    assert_eq!(b.frame().await, join);
    assert!(to_a.send(join.clone()));
    assert_eq!(a.frame().await, join);
    for (n, len) in [0, 1, 1_000, 1_200, 1_400, 4_000, 20_000, 60_000].into_iter().enumerate() {
        let payload: Bytes = (0..len).map(|i: u32| (i % 251) as u8).collect::<Vec<_>>().into();
        assert!(to_b.media().try_send(MediaKind::Video, header(n as u64), payload.clone()));
        let got = tokio::time::timeout(nodes::PATIENCE, b.media.recv()).await.expect("it comes").unwrap();
        assert_eq!((got.header, got.payload), (header(n as u64), payload), "{len} bytes");
        assert_eq!(got.link, to_a.id());
    }
    let info = &a.relay.links()[0];
    assert_eq!((info.offered, info.packets, info.dropped), (8, 8, 0));
    assert!(info.sent > info.packets, "large packets were split");
}

/// A dials what the registry says of B, after `change` made it wrong. What A's dial and B's accept end with.
async fn refused(
    b: RelayConfig,
    change: impl FnOnce(&Registry, &TestNode, &TestNode),
) -> (TestNode, TestNode) {
    let registry = Registry::default();
    let a = TestNode::start(&registry, config("a", 1)).await;
    let b = TestNode::start(&registry, b).await;
    change(&registry, &a, &b);
    let peer = registry.get(&node("b")).unwrap_or_else(|| b.peer.clone());
    a.relay.dial(peer);
    (a, b)
}

/// Neither end has a link, and both count a refusal.
async fn stays_refused(mut a: TestNode, mut b: TestNode) {
    until("a connection is refused", || a.relay.refused() > 0).await;
    a.quiet(Duration::from_millis(300)).await;
    b.quiet(Duration::from_millis(1)).await;
    assert!(a.relay.links().is_empty() && b.relay.links().is_empty());
}

/// What a plain QUIC client is told that says this in its Hello.
async fn told(
    registry: &Registry,
    b: &TestNode,
    hello: RelayConfig,
    registered: bool,
) -> (CloseCode, String) {
    let c = if registered {
        TestNode::start(registry, hello).await
    } else {
        TestNode::start_unregistered(registry, hello).await
    };
    let before = c.relay.refused();
    c.relay.dial(b.peer.clone());
    until("it is refused", || c.relay.refused() > before).await;
    let last = c.relay.last_refusal().expect("a refusal is kept");
    assert!(last.by_peer, "{last}");
    (last.code.unwrap(), last.detail)
}

#[tokio::test]
async fn a_node_that_the_registry_does_not_know_is_a_stranger() {
    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    let (code, detail) = told(&registry, &b, config("c", 3), false).await;
    assert_eq!(code, CloseCode::Stranger, "{detail}");
    assert!(detail.contains("node_c"), "{detail}");
}

#[tokio::test]
async fn a_certificate_that_the_registry_does_not_name_is_refused() {
    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    // Someone who claims to be c, with a key of his own.
    let c = TestNode::start(&registry, config("c", 3)).await;
    let claim = config("c", 3);
    let (code, detail) = told(&registry, &b, claim, false).await;
    assert_eq!(code, CloseCode::Fingerprint, "{detail}");
    assert!(detail.contains(&c.peer.cert_sha256), "{detail}");
}

#[tokio::test]
async fn another_start_of_a_node_is_refused() {
    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    let _newer = TestNode::start(&registry, config("c", 4)).await;
    let (code, detail) = told(&registry, &b, config("c", 3), false).await;
    assert_eq!(code, CloseCode::StaleIncarnation, "{detail}");
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_refused() {
    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    let future = RelayConfig { versions: (9, 8), ..config("c", 3) };
    let (code, detail) = told(&registry, &b, future, true).await;
    assert_eq!(code, CloseCode::Version, "{detail}");
    assert!(detail.contains('8') && detail.contains('1'), "it says both: {detail}");
}

#[tokio::test]
async fn a_node_that_dials_itself_is_told_so() {
    let registry = Registry::default();
    let b = TestNode::start(&registry, config("b", 2)).await;
    b.relay.dial(b.peer.clone());
    until("it is refused", || b.relay.refused() > 0).await;
    assert_eq!(b.relay.last_refusal().unwrap().code, Some(CloseCode::Loop));
}

#[tokio::test]
async fn a_dialler_does_not_speak_to_a_certificate_that_it_does_not_expect() {
    let (a, b) = refused(config("b", 2), |registry, _, b| {
        registry.put(Peer { cert_sha256: "0".repeat(64), ..b.peer.clone() });
    })
    .await;
    until("it is refused", || a.relay.refused() > 0).await;
    let last = a.relay.last_refusal().unwrap();
    assert_eq!((last.code, last.by_peer), (Some(CloseCode::Fingerprint), false), "{last}");
    stays_refused(a, b).await;
}

#[tokio::test]
async fn a_dialler_leaves_a_node_that_is_not_the_one_it_wants() {
    // The registry's entry of b names the address and certificate of another node.
    let (a, b) = refused(config("c", 2), |registry, _, other| {
        registry.put(Peer { node: node("b"), ..other.peer.clone() });
    })
    .await;
    until("it is refused", || a.relay.refused() > 0).await;
    assert_eq!(a.relay.last_refusal().unwrap().code, Some(CloseCode::Stranger));
    drop(b);
}

#[tokio::test]
async fn a_registry_that_learns_of_a_node_late_lets_it_in() {
    let registry = Registry::default();
    let mut b = TestNode::start(&registry, config("b", 2)).await;
    let mut c = TestNode::start_unregistered(&registry, config("c", 3)).await;
    c.relay.dial(b.peer.clone());
    until("it is refused", || c.relay.refused() > 0).await;
    registry.put(c.peer.clone());
    c.up().await;
    b.up().await;
}

#[tokio::test]
async fn two_that_dial_each_other_at_once_keep_the_connection_of_the_lower_id() {
    for _ in 0..5 {
        let registry = Registry::default();
        let mut a = TestNode::start(&registry, config("a", 1)).await;
        let mut b = TestNode::start(&registry, config("b", 2)).await;
        a.relay.dial(b.peer.clone());
        b.relay.dial(a.peer.clone());
        a.relay.dial(b.peer.clone());
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (n, dialled) in [(&mut a, true), (&mut b, false)] {
            let links = n.relay.links();
            assert_eq!(links.len(), 1);
            assert_eq!(links[0].dialled, dialled, "the one that a dialled");
            // Events are in order: a link that was replaced is down before the next is up.
            let mut live = 0;
            while let Ok(event) = n.events.try_recv() {
                match event {
                    RelayEvent::Up(_) => live += 1,
                    RelayEvent::Down { reason, .. } => {
                        assert_eq!(reason.code, Some(CloseCode::Superseded), "{reason}");
                        live -= 1;
                    }
                    RelayEvent::Control { .. } => {}
                }
                assert!((0..=1).contains(&live));
            }
            assert_eq!(live, 1);
        }
    }
}

#[tokio::test]
async fn a_new_start_of_a_node_replaces_the_old_at_once() {
    let registry = Registry::default();
    let (_old, _, mut b, _) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    let mut new = TestNode::start(&registry, config("a", 7)).await;
    new.relay.dial(b.peer.clone());
    let ended = b.down().await;
    assert_eq!((ended.code, ended.by_peer), (Some(CloseCode::Superseded), false));
    assert_eq!(b.up().await.incarnation(), Incarnation::from_bits(7));
    new.up().await;
    assert_eq!(b.relay.links().len(), 1);
}

#[tokio::test]
async fn a_link_that_breaks_is_dialled_again_and_one_that_is_forgotten_is_not() {
    let registry = Registry::default();
    let (mut a, _, b, _) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    b.relay.close().await;
    let ended = a.down().await;
    assert_eq!((ended.code, ended.by_peer), (Some(CloseCode::GoingAway), true), "{ended}");
    // The same start of b with another socket and certificate: the registry says where.
    let mut b = TestNode::start(&registry, config("b", 2)).await;
    a.up().await;
    b.up().await;
    a.relay.forget(&node("b"), Incarnation::from_bits(2));
    let ended = b.down().await;
    assert_eq!((ended.code, ended.by_peer), (Some(CloseCode::GoingAway), true));
    a.down().await;
    a.quiet(Duration::from_millis(500)).await;
    assert!(b.relay.links().is_empty());
}

#[tokio::test]
async fn a_forgotten_link_stays_while_the_other_end_is_joined_to_a_room() {
    let registry = Registry::default();
    let (mut a, to_b, mut b, to_a) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    let room: freshet_cluster::RoomId = "r".parse().unwrap();
    assert!(to_a.send(Control::RoomJoin { room: room.clone(), epoch: Epoch(1) }));
    a.frame().await;
    a.relay.forget(&node("b"), Incarnation::from_bits(2));
    b.quiet(Duration::from_millis(1_500)).await;
    assert!(to_b.send(Control::Goaway { reason: GoawayReason::Draining }));
    assert_eq!(b.frame().await, Control::Goaway { reason: GoawayReason::Draining });
    assert!(to_a.send(Control::RoomLeave { room }));
    let ended = b.down().await;
    assert_eq!(ended.code, Some(CloseCode::GoingAway), "{ended}");
}

#[tokio::test]
async fn frames_that_were_sent_before_the_close_arrive() {
    let registry = Registry::default();
    let (a, to_b, mut b, _) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    for _ in 0..100 {
        assert!(to_b.send(Control::RoomLeave { room: "r".parse().unwrap() }));
    }
    a.relay.close().await;
    for _ in 0..100 {
        b.frame().await;
    }
    assert_eq!(b.down().await.code, Some(CloseCode::GoingAway));
    assert!(!to_b.send(Control::RoomLeave { room: "r".parse().unwrap() }), "the link is gone");
}

#[tokio::test]
async fn an_announcement_that_comes_back_is_refused_with_its_code() {
    let registry = Registry::default();
    let (mut a, to_b, mut b, to_a) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    let announce = Announce {
        room: "r".parse().unwrap(),
        stream: "s".parse().unwrap(),
        generation: Generation(1),
        alias: 5,
        origin: node("b"),
        origin_incarnation: Incarnation::from_bits(2),
        path: vec![node("b"), node("a")],
        identity: "i".parse().unwrap(),
        started_at_ms: 1,
        tracks: Vec::new(),
    };
    assert!(to_b.send(Control::Announce(announce)));
    let Control::Announce(came) = b.frame().await else { panic!("not an announcement") };
    assert!(came.passed(&b.peer.node), "b finds itself in the path");
    assert!(to_a.send(Control::Refuse { alias: came.alias, code: RefuseCode::Loop }));
    assert_eq!(a.frame().await, Control::Refuse { alias: 5, code: RefuseCode::Loop });
}

#[tokio::test]
async fn more_frames_than_a_link_holds_close_it() {
    let registry = Registry::default();
    let (mut a, to_b, b, _) = linked(&registry, config("a", 1), config("b", 2), |addr| addr).await;
    // b's node takes no events, so b stops reading; frames pile up at a until it gives up.
    let frame = Control::RoomLeave { room: "r".repeat(64).parse().unwrap() };
    let mut sent = 0_u32;
    while to_b.send(frame.clone()) && sent < 1_000_000 {
        sent += 1;
        if sent.is_multiple_of(1_000) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let ended = a.down().await;
    assert_eq!((ended.code, ended.by_peer), (Some(CloseCode::Overflow), false), "{ended} after {sent}");
    assert!(sent > 8_000, "after {sent}");
    drop(b);
}
