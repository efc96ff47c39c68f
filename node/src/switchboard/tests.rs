//! Three shards around a switchboard.

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity};

use super::*;

const LANE: Lane = (0, 0);

fn key(generation: u64) -> StreamKey {
    let (room, stream) = ("room".parse().unwrap(), "main".parse().unwrap());
    StreamKey { room, stream, generation: Generation(generation) }
}

fn remote(generation: u64, link: u32, alias: u32) -> RemoteStream {
    let identity: Identity = "host".parse().unwrap();
    let (key, started_at) = (key(generation), UnixMillis(1));
    RemoteStream { key, identity, started_at, tracks: Vec::new(), link: Link(link), alias }
}

fn out(board: &mut Switchboard) -> Vec<Output> {
    std::iter::from_fn(|| board.poll_output()).collect()
}

fn live(home: u16) -> Switchboard {
    let mut board = Switchboard::new(3);
    board.handle_live(home, &key(1), UnixMillis(1), Vec::new());
    board
}

#[test]
fn a_stream_is_shown_to_every_shard_but_its_home() {
    let mut board = live(1);
    let shards: Vec<u16> = out(&mut board)
        .into_iter()
        .map(|output| match output {
            Output::Up(shard, incoming) => {
                assert_eq!((incoming.hop, incoming.key), (Hop::Shard(1), key(1)));
                shard
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shards, [0, 2]);
}

#[test]
fn a_lane_crosses_once_for_each_shard_and_the_agent_hears_of_the_first_and_the_last() {
    let mut board = live(1);
    out(&mut board);
    board.handle_interest(0, &key(1), LANE, true);
    let [Output::Forward(1, forward), Output::Interest(_, LANE, true)] = &out(&mut board)[..] else {
        panic!("the home sends, the agent hears")
    };
    assert_eq!(forward.hop, Hop::Shard(0));
    board.handle_interest(1, &key(1), LANE, true);
    assert_eq!(out(&mut board), [], "the home needs nothing, and the agent knows");
    board.handle_interest(0, &key(1), LANE, true);
    assert_eq!(out(&mut board), [], "once");
    board.handle_interest(0, &key(1), LANE, false);
    assert_eq!(out(&mut board), [Output::Unforward(1, key(1), LANE, Hop::Shard(0))]);
    board.handle_interest(1, &key(1), LANE, false);
    assert_eq!(out(&mut board), [Output::Interest(key(1), LANE, false)]);
}

#[test]
fn a_wish_for_a_keyframe_goes_to_the_home_and_from_there_to_the_agent() {
    let mut board = live(2);
    out(&mut board);
    board.handle_keyframe_wanted(0, &key(1), LANE);
    assert_eq!(out(&mut board), [Output::Keyframe(2, key(1), LANE)]);
    board.handle_keyframe_wanted(2, &key(1), LANE);
    assert_eq!(out(&mut board), [Output::KeyframeWanted(key(1), LANE)]);
}

#[test]
fn a_stream_of_a_link_keeps_its_home_when_it_comes_by_another() {
    let mut board = Switchboard::new(3);
    board.handle_up(remote(1, 7, 70));
    let first = out(&mut board);
    assert_eq!(board.routes().collect::<Vec<_>>(), [((Link(7), 70), 0)]);
    assert_eq!(first.len(), 3, "two shards take it from the home, the home from the link");
    board.handle_up(remote(1, 8, 80));
    let [Output::Up(0, incoming)] = &out(&mut board)[..] else { panic!("the home alone hears of it") };
    assert_eq!((incoming.hop, incoming.alias), (Hop::Link(Link(8)), 80));
    assert_eq!(board.routes().collect::<Vec<_>>(), [((Link(8), 80), 0)]);
    board.handle_down(&key(1));
    assert_eq!(out(&mut board).len(), 3, "it ends for all");
    assert!(board.is_empty());
    assert_eq!(board.routes().count(), 0);
}

#[test]
fn streams_of_links_spread_over_the_shards() {
    let mut board = Switchboard::new(3);
    for n in 0..6_u32 {
        let stream = format!("s{n}").parse().unwrap();
        let mut of_link = remote(1, 1, n);
        of_link.key.stream = stream;
        board.handle_up(of_link);
    }
    let mut homes: Vec<u16> = board.routes().map(|(_, home)| home).collect();
    homes.sort_unstable();
    assert_eq!(homes, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_newer_publish_takes_the_place_of_an_older_and_an_older_one_comes_too_late() {
    let mut board = live(0);
    out(&mut board);
    board.handle_interest(1, &key(1), LANE, true);
    out(&mut board);
    board.handle_live(2, &key(2), UnixMillis(2), Vec::new());
    assert_eq!(out(&mut board).len(), 2);
    board.handle_unpublished(0, &key(1));
    board.handle_interest(1, &key(1), LANE, false);
    board.handle_live(0, &key(1), UnixMillis(1), Vec::new());
    assert_eq!(out(&mut board), [], "nothing of the older one counts");
    board.handle_unpublished(2, &key(2));
    assert_eq!(out(&mut board), [Output::Down(0, key(2)), Output::Down(1, key(2))]);
    assert!(board.is_empty());
}

#[test]
fn one_shard_needs_no_crossing() {
    let mut board = Switchboard::new(1);
    board.handle_live(0, &key(1), UnixMillis(1), Vec::new());
    board.handle_interest(0, &key(1), LANE, true);
    assert_eq!(out(&mut board), [Output::Interest(key(1), LANE, true)]);
}

#[test]
fn rates_of_layers_reach_every_shard_but_the_one_that_measured_them() {
    let rates = [LayerRate { track: 0, layer: 1, kbps: 700 }];
    let to = |board: &mut Switchboard| {
        let shard = |output| match output {
            Output::Layers(shard, _, told) if told == rates => shard,
            other => panic!("{other:?}"),
        };
        out(board).into_iter().map(shard).collect::<Vec<u16>>()
    };
    let mut board = live(1);
    out(&mut board);
    board.handle_layers(Some(1), &key(1), &rates);
    assert_eq!(to(&mut board), [0, 2]);
    board.handle_layers(None, &key(1), &rates);
    assert_eq!(to(&mut board), [0, 1, 2], "what a link tells, all need");
    board.handle_layers(None, &key(2), &rates);
    assert_eq!(out(&mut board), [], "a publish that is not known");
}
