//! Wishes for keyframes, from viewers and from other hops, on their way to the publisher.

use std::time::Duration;

use freshet_cluster::room::EndReason;
use str0m::media::KeyframeRequestKind::{Fir, Pli};
use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
use super::nodes::Nodes;
use super::world::World;
use crate::service::Direction::{Publish, View};

/// At most one request in this time.
const APART_MS: u64 = 500;
const STEP: Duration = Duration::from_millis(50);

/// A publisher whose last keyframe is old, and viewers that were served from it.
fn waiting(viewers: usize) -> (World, Vec<usize>) {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    let viewers: Vec<usize> = (0..viewers).map(|_| world.join(View, &[Video])).collect();
    world.pass(Duration::from_millis(100));
    world.frame(0, Video, 100, 3, 0, true);
    world.pass(Duration::from_millis(1_500));
    world.frame(0, Video, 103, 3, 135_000, false);
    world.pass(Duration::from_millis(50));
    (world, viewers)
}

#[test]
fn twenty_viewers_who_go_on_asking_by_pli_and_fir_cost_a_publisher_that_does_not_answer_a_request_a_second() {
    let (mut world, viewers) = waiting(20);
    let before = world.clients[0].keyframes_asked;
    for round in 0..60_usize {
        for viewer in &viewers {
            world.clients[*viewer].ask_keyframe_by(if (viewer + round) % 2 == 0 { Pli } else { Fir });
        }
        world.pass(STEP);
    }
    let asked = world.clients[0].keyframes_asked - before;
    assert!((3..=4).contains(&asked), "{asked} in 3 s");
    assert!(world.sfu.counters().keyframe_wishes >= 600, "{:?}", world.sfu.counters());
}

#[test]
fn a_viewer_may_ask_by_either_kind() {
    for kind in [Pli, Fir] {
        let (mut world, viewers) = waiting(1);
        let before = world.clients[0].keyframes_asked;
        world.clients[viewers[0]].ask_keyframe_by(kind);
        world.pass(Duration::from_millis(100));
        assert_eq!(world.clients[0].keyframes_asked - before, 1, "{kind:?}");
    }
}

#[test]
fn wishes_of_many_hops_and_of_viewers_here_are_one() {
    let (mut world, viewers) = waiting(3);
    let before = world.clients[0].keyframes_asked;
    let mut answered = before;
    for step in 0..60_u32 {
        let asked = world.clients[0].keyframes_asked;
        if asked > answered {
            answered = asked;
            world.frame(0, Video, 200 + u64::from(step), 1, 200_000 + step * 4_500, true);
        }
        for _other_node in 0..10 {
            world.sfu.handle_keyframe_request(world.now, &World::key(1), (1, 0));
        }
        world.clients[viewers[0]].ask_keyframe_by(Pli);
        world.pass(STEP);
    }
    let asked = world.clients[0].keyframes_asked - before;
    assert!((5..=7).contains(&asked), "{asked} in 3 s, one each {APART_MS} ms");
}

#[test]
fn who_takes_a_lane_that_was_left_a_moment_ago_is_served_from_the_keyframe_that_is_at_hand() {
    let mut home = World::new();
    home.join(Publish, &[Video]);
    home.claim(0, 1);
    home.pass(Duration::from_millis(200));
    let mut nodes = Nodes::new(home);
    let first = nodes.child.join(View, &[Video]);
    nodes.pass(Duration::from_millis(200));
    nodes.home.frame(0, Video, 100, 3, 0, true);
    nodes.pass(Duration::from_millis(20));
    assert_eq!(nodes.child.clients[first].got.len(), 3);
    let asked = nodes.home.sfu.counters().keyframe_requests;
    assert!(asked > 0);
    assert!(nodes.child.sfu.end(nodes.child.now, nodes.child.clients[first].session, EndReason::Closed));
    nodes.pass(Duration::from_millis(20));
    nodes.home.frame(0, Video, 103, 3, 3_000, false);
    nodes.pass(Duration::from_millis(20));
    let second = nodes.child.join(View, &[Video]);
    nodes.pass(Duration::from_millis(600));
    let got = nodes.child.clients[second].got.iter().map(|packet| packet.payload.to_vec());
    let sent: Vec<Vec<u8>> = (100..106).map(|seq| payload(Video, seq, seq == 100)).collect();
    assert_eq!(got.collect::<Vec<_>>(), sent, "with what the node did not take meanwhile");
    assert_eq!(nodes.home.sfu.counters().keyframe_requests, asked, "and the publisher was not asked again");
}
